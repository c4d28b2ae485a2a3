"""Process verifiers: values at the ends of steps, one value a prefix, by hand and from a folder."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from system2.core import Problem, ScoreRequest, Tokens, UserError
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel, ModelConfig, initialise
from system2.engine.tokenizer import Tokenizer
from system2.verify import process
from system2.verify.folders import VERIFIERS, kind_of, load_verifier, save_verifier
from system2.verify.outcome import OutcomeVerifier
from system2.verify.process import (
    AGGREGATIONS,
    Aggregation,
    Calibration,
    ProcessLayout,
    ProcessVerifier,
)

SHAPE = ModelConfig(390, 16, 3, 4, 2, 4, 96)
PROBLEM = Problem("p", "Tom has 3 apples.", "3", "word_problems")


@pytest.fixture(scope="module")
def policy(small_tokenizer: Tokenizer) -> LocalPolicy:
    """A policy of random weights that are not small."""
    model = LanguageModel(SHAPE).eval()
    initialise(model, 0)
    return LocalPolicy(moved(model, 3), small_tokenizer)


def moved(module: Any, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            _ = parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module


def verifier_of(policy: LocalPolicy, **given: Any) -> ProcessVerifier:
    calibration = Calibration(temperature=2.0, bias=0.25)
    given = {"calibration": calibration, "num_adapted": 2, **given}
    return moved(ProcessVerifier(policy.model, policy.tokenizer, **given), 5).eval()


def value_alone(verifier: ProcessVerifier, prefix: Tokens) -> float:
    """Return the value at a prefix's end by definition: sigmoid(w . h / T + b)."""
    top, policy, row = verifier.top, verifier.policy, torch.tensor([prefix])
    with torch.inference_mode():
        if verifier.layout == "separate":
            assert top.embed is not None
            tapped = top.embed(row)
        else:
            tapped = policy.run_layers(policy.model.embed_tokens(row), 0, top.tap)
        state = top.norm(policy.run(top.layers, tapped))[0, -1]
        return (top.head.weight[0] @ state / 2.0 + 0.25).sigmoid().item()


@pytest.mark.parametrize("layout", get_args(ProcessLayout))
def test_the_values_of_steps_become_one_by_hand(layout: ProcessLayout, policy: LocalPolicy) -> None:
    encode, prompt = policy.tokenizer.encode, policy.tokenizer.prompt(PROBLEM.prompt)
    end = min(policy.tokenizer.eos)
    one, two, three = encode("3 + 4\n"), encode("= 7.\n"), encode("So 7")
    prefixes = (
        prompt,
        (*prompt, *one),
        (*prompt, *one, *two),
        (*prompt, *one, *two, *three),
        (*prompt, *one, *two, *three, end),
    )
    verifier = verifier_of(policy, layout=layout)
    alone = [value_alone(verifier, prefix) for prefix in prefixes]
    assert len({round(value, 4) for value in alone}) == 5
    steps = [alone[:1], alone[1:2], alone[1:3], alone[1:4], [*alone[1:3], alone[4]]]
    by_hand = {
        "last": [found[-1] for found in steps],
        "min": [min(found) for found in steps],
        "product": [math.prod(found) for found in steps],
    }
    for name, expected in by_hand.items():
        verifier.aggregation = cast(Aggregation, name)
        (values,) = verifier.score([ScoreRequest(PROBLEM, prefixes)])
        assert values == pytest.approx(expected, abs=1e-5)


def test_aggregations_are_what_they_are_called() -> None:
    assert {name: combine([0.5, 0.25, 1.0]) for name, combine in AGGREGATIONS.items()} == {
        "last": 1.0,
        "min": 0.25,
        "product": 0.125,
    }


def test_lines_of_the_prompt_are_no_steps(policy: LocalPolicy) -> None:
    problem = replace(PROBLEM, prompt="Tom has\n3 apples.\n")
    prompt, step = policy.tokenizer.prompt(problem.prompt), policy.tokenizer.encode("3 + 4\n")
    verifier = verifier_of(policy, aggregation="product")
    assert "\n" in policy.tokenizer.decode(prompt)
    (values,) = verifier.score([ScoreRequest(problem, ((*prompt, *step),))])
    assert values == pytest.approx([value_alone(verifier, (*prompt, *step))], abs=1e-5)


def test_a_prefix_of_another_prompt_has_a_last_value_only(policy: LocalPolicy) -> None:
    prefix = policy.tokenizer.encode("3 + 4\n= 7.\n")
    request, verifier = ScoreRequest(PROBLEM, (prefix,)), verifier_of(policy)
    assert verifier.score([request])[0] == pytest.approx([value_alone(verifier, prefix)], abs=1e-5)
    verifier.aggregation = "min"
    with pytest.raises(UserError, match=r"problem p: .*use aggregation last"):
        verifier.score([request])


texts = st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple)


@given(drawn=st.lists(st.lists(texts, max_size=5), max_size=4), budget=st.sampled_from([1, 8, 999]))
@settings(max_examples=25)
def test_values_are_those_of_each_prefix_alone_whatever_the_batch(
    policy: LocalPolicy, drawn: list[list[Tokens]], budget: int
) -> None:
    """Of so few tokens many texts begin alike, and are read off one another."""
    verifier = verifier_of(policy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "BATCH_TOKENS", budget)
        scores = verifier.score([ScoreRequest(PROBLEM, tuple(some)) for some in drawn])
    assert [len(values) for values in scores] == [len(some) for some in drawn]
    for values, some in zip(scores, drawn, strict=True):
        assert values == pytest.approx([value_alone(verifier, p) for p in some], abs=1e-5)
        assert all(0 <= value <= 1 for value in values)


def test_a_fresh_verifier_has_no_opinion(policy: LocalPolicy) -> None:
    fresh = ProcessVerifier(policy.model, policy.tokenizer, aggregation="product")
    prompt = policy.tokenizer.prompt(PROBLEM.prompt)
    steps = policy.tokenizer.encode("3\n4\n7")
    assert fresh.score([ScoreRequest(PROBLEM, (prompt, (*prompt, *steps)))]) == [[0.5, 0.125]]


@pytest.mark.parametrize("layout", get_args(ProcessLayout))
def test_a_folder_keeps_it_whole_and_its_aggregation_can_be_changed(
    layout: ProcessLayout, policy: LocalPolicy, tmp_path: Path
) -> None:
    verifier = verifier_of(policy, layout=layout, step_stop=" =", aggregation="min")
    save_verifier(tmp_path / "v", verifier, policy.tokenizer)
    prompt = policy.tokenizer.prompt(PROBLEM.prompt)
    reply = policy.tokenizer.encode("3 + 4 = 7\n7 = 7")
    request = ScoreRequest(PROBLEM, ((*prompt, *reply), prompt))
    by_name: dict[str, list[list[float]]] = {}
    for name in AGGREGATIONS:
        loaded, _ = load_verifier(str(tmp_path / "v"), policy, changes={"aggregation": name})
        verifier.aggregation = cast(Aggregation, name)
        by_name[name] = verifier.score([request])
        assert cast(ProcessVerifier, loaded).score([request]) == by_name[name]
    assert len({values[0][0] for values in by_name.values()}) > 1
    loaded, _ = load_verifier(str(tmp_path / "v"), policy)
    assert isinstance(loaded, ProcessVerifier)
    assert not loaded.training
    assert (loaded.aggregation, loaded.layout) == ("min", layout)
    assert loaded.step_ends.stop == " ="
    assert loaded.calibration == Calibration(2.0, 0.25)
    with pytest.raises(UserError, match="'median' is not known"):
        load_verifier(str(tmp_path / "v"), policy, changes={"aggregation": "median"})
    with pytest.raises(UserError, match="no step_stop to change"):
        load_verifier(str(tmp_path / "v"), policy, changes={"step_stop": "."})


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        ({"layout": "vocab"}, "layout 'vocab' is not known"),
        ({"layout": None}, "layout is None"),
        ({"aggregation": "median"}, "aggregation 'median' is not known"),
        ({"aggregation": ["last"]}, "aggregation is ['last']"),
        ({"step_stop": None}, "step_stop is None"),
        ({"step_stop": ""}, "step_stop is empty"),
        ({"calibration": None}, "calibration is None"),
        ({"calibration": {"temperature": 0}}, "temperature is 0"),
        ({"calibration": {"temperature": -1}}, "temperature is -1"),
        ({"calibration": {"temperature": True}}, "temperature is True"),
        ({"calibration": {"bias": "0"}}, "bias is '0'"),
        ({"calibration": {"bias": 10**400}}, "bias is 1000"),
        ({"calibration": {"bias": math.nan}}, "bias is nan"),
        ({"num_adapted": "1"}, "num_adapted is '1'"),
        ({"num_adapted": 9}, "cannot adapt 9 layers"),
    ],
)
def test_a_wrong_description_is_named(
    spoil: dict[str, Any], named: str, policy: LocalPolicy, tmp_path: Path
) -> None:
    save_verifier(tmp_path / "v", verifier_of(policy), policy.tokenizer)
    path = tmp_path / "v" / "verifier.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | spoil))
    with pytest.raises(UserError) as caught:
        load_verifier(str(tmp_path / "v"), policy)
    assert str(path) in str(caught.value)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_each_kind_is_found_again_by_its_class(policy: LocalPolicy) -> None:
    assert kind_of(verifier_of(policy)) == "process"
    assert kind_of(OutcomeVerifier(policy.model, 1)) == "outcome"
    with pytest.raises(ValueError, match="Linear is no kind"):
        kind_of(torch.nn.Linear(1, 1))
    for kind in VERIFIERS.values():
        assert kind.command.startswith("train ")
