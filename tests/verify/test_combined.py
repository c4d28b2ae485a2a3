"""Verifiers that judge together: each rule by hand, and no wrong value slips through."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from system2.core import Problem, ScoreRequest, Tokens, UserError, Verifier
from system2.engine.tokenizer import Tokenizer
from system2.verify.combined import JUDGE_RULES, CombinedVerifier, JudgeRule, combine

PROBLEM = Problem("one", "Tom has 4 + 5 apples.", "9", "toy")


@dataclass
class Says:
    """A verifier that values a prefix by its last plain token; it remembers what it was asked."""

    values: dict[int, Any]
    asked: list[Tokens] = field(default_factory=list[Tokens])

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        for request in requests:
            self.asked += request.prefixes
        return [[self.values[p[-1]] for p in request.prefixes] for request in requests]


def prefixes(tokenizer: Tokenizer, *last: int) -> tuple[Tokens, ...]:
    return tuple((*tokenizer.prompt(PROBLEM.prompt), token) for token in last)


def combined(tokenizer: Tokenizer, rule: JudgeRule, *judges: Verifier) -> Verifier:
    verifier = combine({f"judge {i}": judge for i, judge in enumerate(judges)}, rule, tokenizer)
    assert verifier is not None
    return verifier


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("product", [0.5 * 0.25, 0.0]), ("min", [0.25, 0.0]), ("mean", [0.375, 0.5])],
)
def test_values_are_joined_prefix_by_prefix(
    rule: JudgeRule, expected: list[float], small_tokenizer: Tokenizer
) -> None:
    verifier = combined(small_tokenizer, rule, Says({7: 0.5, 8: 1.0}), Says({7: 0.25, 8: 0.0}))
    one, other = (ScoreRequest(PROBLEM, prefixes(small_tokenizer, at)) for at in (7, 8))
    both = ScoreRequest(PROBLEM, prefixes(small_tokenizer, 7, 8))
    none = ScoreRequest(PROBLEM, ())
    answered = verifier.score([both, none, one, other])
    assert answered == [expected, [], expected[:1], expected[1:]]


def test_the_last_judges_what_is_finished_and_the_others_what_is_not(
    small_tokenizer: Tokenizer,
) -> None:
    end = min(small_tokenizer.eos)
    first, second = Says({7: 0.25, 8: 0.5}), Says({7: 0.75, 8: 0.5})
    last = Says({end: 1.0})
    verifier = combined(small_tokenizer, "last", first, second, last)
    asked = prefixes(small_tokenizer, 7, end, 8)
    assert verifier.score([ScoreRequest(PROBLEM, asked), ScoreRequest(PROBLEM, asked[1:2])]) == [
        [0.5, 1.0, 0.5],
        [1.0],
    ]
    assert last.asked == [asked[1]] * 2
    assert first.asked == second.asked == [asked[0], asked[2]], "nobody is asked in vain"


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=2, max_size=4))
def test_every_rule_stays_within_what_the_judges_say(
    small_tokenizer: Tokenizer, values_J: list[list[float]]
) -> None:
    asked = ScoreRequest(PROBLEM, prefixes(small_tokenizer, 5, 6, 7))
    judges = [Says(dict(zip((5, 6, 7), values, strict=True))) for values in values_J]
    for rule in JUDGE_RULES:
        (answered,) = combined(small_tokenizer, rule, *judges).score([asked])
        for value, said in zip(answered, zip(*values_J, strict=True), strict=True):
            lowest = 0.0 if rule == "product" else min(said)
            assert lowest - 1e-12 <= value <= max(said) + 1e-12


@pytest.mark.parametrize("rule", JUDGE_RULES)
@pytest.mark.parametrize("wrong", [float("nan"), -0.1, 1.1, float("inf"), None, "1", True])
def test_a_wrong_value_names_its_verifier_though_the_rule_would_hide_it(
    rule: JudgeRule, wrong: Any, small_tokenizer: Tokenizer
) -> None:
    verifier = combined(small_tokenizer, rule, Says({7: wrong}), Says({7: 0.0}), Says({}))
    if rule != "last":
        verifier = combined(small_tokenizer, rule, Says({7: wrong}), Says({7: 0.0}))
    with pytest.raises(UserError, match=r"verifier judge 0 gave .* problem one"):
        _ = verifier.score([ScoreRequest(PROBLEM, prefixes(small_tokenizer, 7))])


def test_numbers_of_numpy_are_numbers(small_tokenizer: Tokenizer) -> None:
    verifier = combined(small_tokenizer, "min", Says({7: np.float32(0.5)}), Says({7: 1}))
    assert verifier.score([ScoreRequest(PROBLEM, prefixes(small_tokenizer, 7))]) == [[0.5]]


@dataclass
class Miscounts:
    """A verifier whose answer has the wrong length."""

    answer: list[list[float]]

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        del requests
        return self.answer


@pytest.mark.parametrize("answer", [[], [[]], [[0.5, 0.5]], [[0.5], [0.5]]])
def test_too_few_or_too_many_values_name_their_verifier(
    answer: list[list[float]], small_tokenizer: Tokenizer
) -> None:
    verifier = combined(small_tokenizer, "mean", Says({7: 0.5}), Miscounts(answer))
    with pytest.raises(UserError, match="verifier judge 1"):
        _ = verifier.score([ScoreRequest(PROBLEM, prefixes(small_tokenizer, 7))])


def test_one_judge_is_itself_and_none_is_none(small_tokenizer: Tokenizer) -> None:
    alone = Says({})
    assert combine({"alone": alone}, "min", small_tokenizer) is alone
    assert combine({}, "min", small_tokenizer) is None
    with pytest.raises(UserError, match="no rule 'best'"):
        _ = CombinedVerifier((alone, alone), "best", small_tokenizer, ("a", "b"))  # pyright: ignore
