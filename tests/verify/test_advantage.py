"""Process advantages: the formulas by hand, the parent of a step, and an order that is kept."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from system2.core import Problem, ScoreRequest, Tokens, UserError
from system2.engine.model import ModelConfig
from system2.engine.tokenizer import Tokenizer
from system2.verify.advantage import AdvantageVerifier, best_of_k, effective_value, in_unit
from system2.verify.process import ProcessVerifier
from tests.toys import spread_model

PROBLEM = Problem("p", "Tom has 3 + 4 apples.", "7", "word_problems")
unit = st.floats(0, 1)
counts = st.integers(1, 64)


@pytest.fixture(scope="module")
def judge(small_tokenizer: Tokenizer) -> ProcessVerifier:
    """A process verifier whose values differ."""
    model = spread_model(ModelConfig(small_tokenizer.vocab_size, 16, 2, 4, 2, 4, 32), seed=0)
    judge = ProcessVerifier(model, small_tokenizer).eval()
    with torch.no_grad():
        weight = judge.top.head.weight
        _ = weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    return judge


@given(value=unit, k=counts)
def test_the_best_of_k_attempts(value: float, k: int) -> None:
    assert best_of_k(value, k) == pytest.approx(1 - (1 - value) ** k, abs=1e-12)
    assert best_of_k(value, 1) == pytest.approx(value, abs=1e-12)
    assert 0 <= best_of_k(value, k) <= 1


def test_a_small_chance_is_not_lost() -> None:
    assert best_of_k(1e-20, 4) == pytest.approx(4e-20, rel=1e-9)
    assert best_of_k(0.0, 4) == 0.0
    assert best_of_k(1.0, 4) == 1.0


def test_an_effective_value_by_hand() -> None:
    # Q 0.5 after 0.2: the best of 2 rises from 0.36 to 0.75
    assert effective_value(0.5, 0.2, alpha=0.5, k=2) == pytest.approx(0.5 + 0.5 * 0.39)
    assert effective_value(0.5, 0.2, alpha=0.0, k=2) == 0.5
    assert in_unit(0.695, 0.5) == pytest.approx(1.195 / 2)


@given(
    one=st.tuples(unit, unit),
    other=st.tuples(unit, unit),
    alpha=st.floats(0, 10),
    k=counts,
)
def test_values_lie_in_the_unit_and_keep_the_order(
    one: tuple[float, float], other: tuple[float, float], alpha: float, k: int
) -> None:
    first, second = (effective_value(*pair, alpha=alpha, k=k) for pair in (one, other))
    low, high = in_unit(first, alpha), in_unit(second, alpha)
    assert 0 <= low <= 1
    if second - first > 1e-9:
        assert low < high


def test_a_step_is_compared_with_the_prefix_before_it(
    judge: ProcessVerifier, small_tokenizer: Tokenizer
) -> None:
    prompt, encode = small_tokenizer.prompt(PROBLEM.prompt), small_tokenizer.encode
    verifier = AdvantageVerifier(judge, alpha=2.0, k=3)
    first, second, begun = (encode(text) for text in ("3 + 4 = 7.\n", "So 7.\n", "So"))
    (end,) = small_tokenizer.eos
    parents: dict[Tokens, Tokens] = {
        prompt: prompt,
        prompt + first: prompt,
        prompt + first + second: prompt + first,
        prompt + first + begun: prompt + first,
        prompt + begun: prompt,
        (*prompt, *first, *second, end): (*prompt, *first, *second, end),
    }
    for prefix, parent in parents.items():
        assert verifier.parent(prefix, len(prompt)) == parent
    (values,) = verifier.score([ScoreRequest(PROBLEM, tuple(parents))])
    (known,) = judge.score([ScoreRequest(PROBLEM, tuple(parents))])
    q = dict(zip(parents, known, strict=True))
    for value, (prefix, parent) in zip(values, parents.items(), strict=True):
        gain = (1 - (1 - q[prefix]) ** 3) - (1 - (1 - q[parent]) ** 3)
        assert value == pytest.approx((q[prefix] + 2 * gain + 2) / 5, abs=1e-5)


def test_a_request_alone_is_as_good_as_among_others(
    judge: ProcessVerifier, small_tokenizer: Tokenizer
) -> None:
    prompt = small_tokenizer.prompt(PROBLEM.prompt)
    asked = [
        ScoreRequest(PROBLEM, tuple(prompt + small_tokenizer.encode(text) for text in texts))
        for texts in (["3 +", "3 + 4 = 7.\n"], [], ["3 + 4 = 7.\nSo"])
    ]
    verifier = AdvantageVerifier(judge)
    together = verifier.score(asked)
    for request, values in zip(asked, together, strict=True):
        assert values == pytest.approx(verifier.score([request])[0], abs=1e-6)


@pytest.mark.parametrize(
    ("dials", "named"),
    [
        ({"alpha": -1.0}, "alpha is -1.0"),
        ({"alpha": math.nan}, "alpha is nan"),
        ({"alpha": 1e9}, "alpha is"),
        ({"k": 0}, "best_of is 0"),
    ],
)
def test_dials_out_of_range_are_refused(
    dials: dict[str, float], named: str, judge: ProcessVerifier
) -> None:
    with pytest.raises(UserError, match=named):
        AdvantageVerifier(judge, **dials)  # pyright: ignore[reportArgumentType]
