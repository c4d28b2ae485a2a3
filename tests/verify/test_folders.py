"""Verifier folders: what was saved comes back; what does not fit is refused in one line."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from system2.core import UserError
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel, ModelConfig, initialise
from system2.engine.tokenizer import Tokenizer, load_tokenizer
from system2.train.words import word_vocabulary, write_word_tokenizer
from system2.verify.folders import (
    LearnedVerifier,
    find_verifier,
    load_verifier,
    policy_print,
    save_verifier,
    tokenizer_print,
)
from system2.verify.outcome import OutcomeVerifier
from system2.verify.token import LAYOUTS, TokenVerifier

SHAPE = ModelConfig(390, 16, 3, 4, 2, 4, 32)
KINDS = (*LAYOUTS, "outcome")


def model_of(seed: int, shape: ModelConfig = SHAPE) -> LanguageModel:
    model = LanguageModel(shape).eval()
    initialise(model, seed)
    return model


@pytest.fixture(scope="module")
def policy(small_tokenizer: Tokenizer) -> LocalPolicy:
    """A policy of random weights."""
    assert small_tokenizer.vocab_size == SHAPE.vocab_size
    return LocalPolicy(model_of(0), small_tokenizer)


def verifier_of(kind: str, model: LanguageModel) -> LearnedVerifier:
    """A verifier of a kind, its weights moved."""
    verifier = OutcomeVerifier(model, 1) if kind == "outcome" else TokenVerifier(model, kind, 1)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        for parameter in verifier.parameters():
            _ = parameter.add_(0.25)
    return verifier


@pytest.fixture(params=KINDS)
def saved(request: pytest.FixtureRequest, policy: LocalPolicy, tmp_path: Path) -> Path:
    """A folder with a verifier of each kind."""
    folder = tmp_path / request.param
    settings = {"alpha": 0.2, "beta": 0.5}
    verifier = verifier_of(request.param, policy.model)
    save_verifier(folder, verifier, policy.tokenizer, settings=settings)
    return folder


@pytest.fixture
def shared(policy: LocalPolicy, tmp_path: Path) -> Path:
    """A folder with a verifier of the shared layout."""
    folder = tmp_path / "verifier"
    save_verifier(folder, verifier_of("shared", policy.model), policy.tokenizer)
    return folder


def assert_refused(folder: Path, policy: LocalPolicy, *named: str) -> None:
    """Assert that loading ends in one line that holds the folder and the names."""
    with pytest.raises(UserError) as caught:
        load_verifier(str(folder), policy)
    line = str(caught.value)
    assert "\n" not in line
    for name in (str(folder), *named):
        assert name in line


def test_what_was_saved_comes_back(saved: Path, policy: LocalPolicy) -> None:
    loaded, settings = load_verifier(str(saved), policy)
    expected = verifier_of(saved.name, policy.model)
    assert type(loaded) is type(expected)
    assert settings == {"alpha": 0.2, "beta": 0.5}
    assert not loaded.training
    assert loaded.top.policy is policy.model
    theirs = dict(expected.named_parameters())
    for name, parameter in loaded.named_parameters():
        assert torch.equal(parameter, theirs.pop(name))
    assert not theirs


def test_a_folder_in_half_precision_loads(policy: LocalPolicy, tmp_path: Path) -> None:
    verifier = verifier_of("shared", policy.model)
    save_verifier(tmp_path / "half", verifier, policy.tokenizer, dtype=torch.float16)
    stored = load_file(tmp_path / "half" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    loaded, _ = load_verifier(str(tmp_path / "half"), policy)
    for one, other in zip(loaded.parameters(), verifier.parameters(), strict=True):
        assert one.dtype == torch.float32
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-4)


def test_another_tokenizer_is_refused(saved: Path, policy: LocalPolicy, tmp_path: Path) -> None:
    words = word_vocabulary(["Ann has 3 pears."], max_number=20, max_bare_number=9)
    write_word_tokenizer(tmp_path / "tokenizer", words)
    other = replace(policy, tokenizer=load_tokenizer(tmp_path / "tokenizer"))
    assert tokenizer_print(other.tokenizer) != tokenizer_print(policy.tokenizer)
    assert_refused(saved, other, "another tokenizer")


def test_another_policy_is_refused_but_by_a_verifier_of_its_own_trunk(
    saved: Path, policy: LocalPolicy
) -> None:
    other = replace(policy, model=model_of(1))
    if saved.name == "separate":
        loaded, _ = load_verifier(str(saved), other)
        assert loaded.top.policy is other.model
        larger = replace(policy, model=model_of(1, replace(SHAPE, hidden_size=24)))
        assert_refused(saved, larger, "shape")
    else:
        assert_refused(saved, other, "another policy")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        ({"layout": "sideways"}, "'sideways' is not known"),
        ({"layout": ["shared"]}, "is not known"),
        ({"kind": "clairvoyant"}, "'clairvoyant' is not known"),
        ({"kind": None}, "is not known"),
        ({"num_adapted": "1"}, "num_adapted"),
        ({"num_adapted": True}, "num_adapted"),
        ({"tokenizer": None}, "another tokenizer"),
        ({"policy": 3}, "another policy"),
        ({"settings": {"alpha": "0.1"}}, "alpha is '0.1'"),
        ({"settings": {"alpha": 1.5}}, "alpha is 1.5"),
        ({"settings": {"beta": -1}}, "beta is -1"),
        ({"settings": [1]}, "settings"),
    ],
)
def test_a_wrong_description_is_named(
    spoil: dict[str, Any], named: str, shared: Path, policy: LocalPolicy
) -> None:
    path = shared / "verifier.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | spoil))
    assert_refused(shared, policy, named)


@pytest.mark.parametrize("count", [-1, 4, 10**9])
def test_an_impossible_number_of_layers_is_refused(
    count: int, shared: Path, policy: LocalPolicy
) -> None:
    path = shared / "verifier.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_adapted": count}))
    with pytest.raises(UserError, match=f"cannot adapt {count} layers: the policy has 3"):
        load_verifier(str(shared), policy)


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def cut_description(folder: Path) -> None:
    path = folder / "verifier.json"
    path.write_text(path.read_text()[:-20])


def make_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def lose_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["top.head.weight"]
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (cut, "model.safetensors"),
        (cut_description, "verifier.json"),
        (make_pickle, "pickle"),
        (lose_a_tensor, "top.head.weight is missing"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
    ],
    ids=["truncated", "half a description", "pickle", "a tensor lost", "no weights"],
)
def test_a_broken_folder_is_named(
    spoil: Callable[[Path], None], named: str, shared: Path, policy: LocalPolicy
) -> None:
    spoil(shared)
    assert_refused(shared, policy, named)


def test_a_name_that_is_nothing_is_refused(tmp_path: Path) -> None:
    for name in ("nowhere", "tiny/nothing", "tiny/..", str(tmp_path)):
        with pytest.raises(UserError, match="no verifier"):
            find_verifier(name)


def test_what_is_no_verifier_is_not_overwritten(policy: LocalPolicy, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match=r"thesis\.txt"):
        save_verifier(tmp_path, verifier_of("shared", policy.model), policy.tokenizer)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_a_policy_is_told_by_its_weights_in_any_dtype(dtype: torch.dtype) -> None:
    assert policy_print(model_of(0).to(dtype)) == policy_print(model_of(0))
    assert policy_print(model_of(0).to(dtype)) != policy_print(model_of(1).to(dtype))
