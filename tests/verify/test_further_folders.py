"""Folders of the further kinds: saved whole, loaded the same, refused where they do not fit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from system2.core import Problem, ScoreRequest, UserError
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel, ModelConfig
from system2.engine.tokenizer import Tokenizer, load_tokenizer
from system2.train.words import word_vocabulary, write_word_tokenizer
from system2.verify.advantage import AdvantageVerifier
from system2.verify.folders import LearnedVerifier, load_verifier, save_verifier
from system2.verify.generative import GenerativeVerifier, Judging
from system2.verify.implicit import ImplicitVerifier
from system2.verify.meta_critic import MetaCritic
from system2.verify.neighbours import Solved
from system2.verify.process import Calibration, ProcessVerifier
from tests.toys import spread_model

PROBLEM = Problem("p", "Tom has 3 + 4 apples.", "7", "word_problems")
KINDS = ("implicit", "pav", "generative", "meta")
SOLVED = (Solved("s", "Tom has 1 + 2 apples.", "1 + 2 = 3"),)


def model_of(seed: int, size: int = 16) -> LanguageModel:
    return spread_model(ModelConfig(390, size, 2, 4, 2, 4, 32), seed)


@pytest.fixture(scope="module")
def policy(small_tokenizer: Tokenizer) -> LocalPolicy:
    """A policy of random weights."""
    return LocalPolicy(model_of(0), small_tokenizer)


def verifier_of(kind: str, policy: LocalPolicy) -> LearnedVerifier:
    """A verifier of a kind whose values differ, with numbers that are not the usual ones."""
    model, tokenizer = policy.model, policy.tokenizer
    calibration = Calibration(2.0, 0.25)
    judge = ProcessVerifier(model, tokenizer, step_stop="..", calibration=calibration)
    judging = Judging(chains=2, chain_tokens=5, temperature=0.5, neighbours=1, seed=7)
    made: dict[str, LearnedVerifier] = {
        "implicit": ImplicitVerifier(model, tokenizer, 1, beta=0.3, calibration=calibration),
        "pav": AdvantageVerifier(judge, alpha=2.5, k=3),
        "generative": GenerativeVerifier(model_of(9), tokenizer, judging, SOLVED),
        "meta": MetaCritic(judge),
    }
    verifier, generator = made[kind].eval(), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in verifier.parameters():
            _ = parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return verifier


@pytest.fixture(params=KINDS)
def saved(request: pytest.FixtureRequest, policy: LocalPolicy, tmp_path: Path) -> Path:
    """A folder of each kind."""
    save_verifier(tmp_path / request.param, verifier_of(request.param, policy), policy.tokenizer)
    return tmp_path / request.param


def asked(tokenizer: Tokenizer) -> list[ScoreRequest]:
    prompt = tokenizer.prompt(PROBLEM.prompt)
    texts = ("3 + 4 = 7", "3..", "")
    tried = (tokenizer.encode("3 + 4 = 9"),)
    return [ScoreRequest(PROBLEM, tuple(prompt + tokenizer.encode(t) for t in texts), tried)]


def test_what_was_saved_judges_the_same(saved: Path, policy: LocalPolicy) -> None:
    loaded, settings = load_verifier(str(saved), policy)
    expected = verifier_of(saved.name, policy)
    assert type(loaded) is type(expected)
    assert settings == {}
    assert not loaded.training
    requests = asked(policy.tokenizer)
    assert loaded.score(requests) == expected.score(requests)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
    theirs = dict(expected.named_parameters())
    for name, parameter in loaded.named_parameters():
        assert torch.equal(parameter, theirs.pop(name))
    assert not theirs


def test_the_policy_is_not_moved_by_loading(saved: Path, policy: LocalPolicy) -> None:
    before = [parameter.detach().clone() for parameter in policy.model.parameters()]
    _ = load_verifier(str(saved), policy)
    for parameter, old in zip(policy.model.parameters(), before, strict=True):
        assert torch.equal(parameter, old)


def assert_refused(folder: Path, policy: LocalPolicy, named: str) -> None:
    with pytest.raises(UserError) as caught:
        load_verifier(str(folder), policy)
    line = str(caught.value)
    assert "\n" not in line
    assert str(folder) in line
    assert named in line


def test_another_policy_or_tokenizer_is_refused(
    saved: Path, policy: LocalPolicy, tmp_path: Path
) -> None:
    words = word_vocabulary(["Ann has 3 pears."], max_number=20, max_bare_number=9)
    write_word_tokenizer(tmp_path / "words", words)
    other = replace(policy, tokenizer=load_tokenizer(tmp_path / "words"))
    assert_refused(saved, other, "another tokenizer")
    moved = replace(policy, model=model_of(1))
    if saved.name != "generative":
        assert_refused(saved, moved, "another policy")
    else:  # a whole model of its own judges anybody's texts
        requests = asked(policy.tokenizer)
        one, other_one = (load_verifier(str(saved), p)[0] for p in (policy, moved))
        assert one.score(requests) == other_one.score(requests)  # pyright: ignore[reportAttributeAccessIssue]
        assert_refused(saved, replace(policy, model=model_of(1, 24)), "shape")


@pytest.mark.parametrize(
    ("kind", "spoil", "named"),
    [
        ("implicit", {"beta": "0.1"}, "beta"),
        ("implicit", {"beta": 0}, "beta is 0"),
        ("implicit", {"beta": 10**400}, "beta"),
        ("implicit", {"beta": True}, "beta"),
        ("implicit", {"calibration": None}, "calibration"),
        ("implicit", {"calibration": {"temperature": 1}}, "bias"),
        ("implicit", {"calibration": {"temperature": -1, "bias": 0}}, "temperature"),
        ("implicit", {"num_adapted": None}, "num_adapted"),
        ("implicit", {"num_adapted": 9}, "cannot adapt 9"),
        ("pav", {"alpha": -1}, "alpha"),
        ("pav", {"alpha": None}, "alpha"),
        ("pav", {"best_of": 0}, "best_of"),
        ("pav", {"best_of": 2.5}, "best_of"),
        ("pav", {"step_stop": ""}, "step_stop"),
        ("meta", {"layout": "vocab"}, "layout"),
        ("meta", {"aggregation": ["last"]}, "aggregation"),
        ("generative", {"chains": -1}, "chains"),
        ("generative", {"chains": 10**12}, "chains"),
        ("generative", {"chain_tokens": "5"}, "chain_tokens"),
        ("generative", {"temperature": -0.5}, "temperature"),
        ("generative", {"embedding": ["hashed"]}, "no embedding"),
        ("generative", {"seed": None}, "seed"),
        ("generative", {"solved": None}, "solved"),
        ("generative", {"solved": [["a", "b"]]}, "solved problem 1"),
        ("generative", {"solved": [["a", "b", "c"], ["a", "b", 3]]}, "solved problem 2"),
        ("generative", {"solved": [{"a": "b"}]}, "solved problem 1"),
    ],
)
def test_a_wrong_description_is_named(
    kind: str, spoil: dict[str, Any], named: str, policy: LocalPolicy, tmp_path: Path
) -> None:
    save_verifier(tmp_path / kind, verifier_of(kind, policy), policy.tokenizer)
    path = tmp_path / kind / "verifier.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | spoil))
    assert_refused(tmp_path / kind, policy, named)


@pytest.mark.parametrize(
    ("kind", "changes", "named"),
    [
        ("pav", {"alpha": 0.5, "best_of": 9}, None),
        ("generative", {"chains": 0}, None),
        ("generative", {"chains": -3}, "chains"),
        ("meta", {"alpha": 1}, "no alpha"),
    ],
)
def test_dials_may_be_changed_as_it_is_loaded(
    kind: str, changes: dict[str, float], named: str | None, policy: LocalPolicy, tmp_path: Path
) -> None:
    save_verifier(tmp_path / kind, verifier_of(kind, policy), policy.tokenizer)
    if named is not None:
        with pytest.raises(UserError, match=named):
            load_verifier(str(tmp_path / kind), policy, changes=changes)
        return
    loaded, _ = load_verifier(str(tmp_path / kind), policy, changes=changes)
    requests = asked(policy.tokenizer)
    usual = verifier_of(kind, policy).score(requests)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
    assert loaded.score(requests) != usual  # pyright: ignore[reportAttributeAccessIssue]
