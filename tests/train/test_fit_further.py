"""Implicit, meta and generative verifiers learn what their data hold, each in a small world."""

import math
import random
from dataclasses import replace

import pytest
import torch

from system2.core import Problem, ScoreRequest, Tokens, UserError
from system2.engine.local import LocalPolicy
from system2.engine.model import ModelConfig
from system2.engine.tokenizer import Tokenizer
from system2.synthesise.searched import Found, Searched
from system2.synthesise.step_values import LabelledSolution, StepLabel
from system2.train.generative import (
    GenerativeFit,
    Judged,
    fit_generative_verifier,
    judged_attempts,
    judged_steps,
    verdict_examples,
)
from system2.train.implicit import (
    ImplicitFit,
    calibrated,
    fit_implicit_verifier,
    graded_batch,
    implicit_loss,
)
from system2.train.meta_critic import CriticFit, critic_texts, fit_meta_critic
from system2.train.outcome import Solution
from system2.verify.generative import GenerativeVerifier, Judging
from system2.verify.implicit import ImplicitVerifier
from system2.verify.meta_critic import MetaCritic
from system2.verify.process import ProcessVerifier
from tests.toys import spread_model

PROBLEM = Problem("p", "Tom has 3 + 4 apples.", "7", "word_problems")


@pytest.fixture(scope="module")
def policy(small_tokenizer: Tokenizer) -> LocalPolicy:
    """A policy of random weights, which tells its tokens apart."""
    shape = ModelConfig(small_tokenizer.vocab_size, 32, 2, 4, 2, 8, 64)
    return LocalPolicy(spread_model(shape, seed=0), small_tokenizer)


def solutions(num: int, seed: int) -> list[Solution]:
    """Right where token 70 stands among 71 to 79, at any place."""
    rng, found = random.Random(seed), list[Solution]()
    for i in range(num):
        tokens = [rng.randrange(71, 80) for _ in range(rng.randrange(3, 7))]
        if i % 2:
            tokens[rng.randrange(len(tokens))] = 70
        found.append(Solution((5, 60, *tokens), 2, i % 2 == 1))
    return found


# Implicit


def test_the_implicit_loss_is_the_cross_entropy_of_the_summed_ratios(policy: LocalPolicy) -> None:
    verifier = ImplicitVerifier(policy.model, policy.tokenizer, 1, beta=0.5)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in verifier.parameters():
            _ = parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    some = solutions(5, 0)
    expected = 0.0
    for one in some:
        reward = math.fsum(verifier.rewards([one.tokens], [one.start])[0])
        p = 1 / (1 + math.exp(-reward))
        expected -= math.log(p if one.is_right else 1 - p)
    batch = graded_batch(some)
    assert batch.num_targets == 5
    assert implicit_loss(verifier, batch).item() == pytest.approx(expected, abs=1e-4)


def test_an_implicit_verifier_finds_the_step_from_outcomes_alone(policy: LocalPolicy) -> None:
    before = [p.detach().clone() for p in policy.model.parameters()]
    verifier = ImplicitVerifier(policy.model, policy.tokenizer, 2, beta=0.2)
    config = ImplicitFit(epochs=25, learning_rate=3e-3, max_tokens=2048, micro_batches=1)
    steps, reports = fit_implicit_verifier(verifier, solutions(60, 1), config)
    losses = [report.loss for report in reports]
    assert len(losses) == steps
    assert losses[0] == pytest.approx(math.log(2), abs=1e-3)
    held_out = solutions(40, 2)
    values = verifier.eval().values([s.tokens for s in held_out], [s.start for s in held_out])
    right = [(v > 0.5) == s.is_right for v, s in zip(values, held_out, strict=True)]
    assert sum(right) / len(right) > 0.85
    # no step was labelled, and yet the value rises where it is decided
    text = (5, 60, 73, 70, 75, 77)
    begun, decided, whole = verifier.values([text[:3], text[:5], text], [2] * 3)
    assert begun < 0.5 < min(decided, whole)
    fitted = calibrated(verifier, held_out)
    assert fitted.temperature > 0
    assert calibrated(verifier, []).temperature == 1
    for parameter, old in zip(policy.model.parameters(), before, strict=True):
        assert torch.equal(parameter, old)


# Meta


def attempt(tokens: Tokens, is_right: bool) -> Found:
    return Found(0, tokens, len(tokens), is_right)


def test_what_was_tried_stands_before_and_is_not_counted(policy: LocalPolicy) -> None:
    judge = ProcessVerifier(policy.model, policy.tokenizer)
    encode = policy.tokenizer.encode
    (end,) = policy.tokenizer.eos
    a, b, c = ((*encode(f"3\nis {n}"), end) for n in (8, 7, 9))
    attempts = [attempt(a, False), attempt(b, True), attempt(c, False)]
    first, second = critic_texts((5, 6), attempts, judge)  # a search would stop there
    step = len(encode("3\n"))
    assert first.tokens == (5, 6, *a)
    assert first.places == (1, 1 + step, 1 + len(a))
    assert first.targets == pytest.approx((1 / 3, 1 / 3, 0.0))
    # the first was tried and wrong: of the other two, one is right
    assert second.tokens == (5, 6, *a, *b)
    assert second.places == (1 + len(a), 1 + len(a) + step, 1 + len(a) + len(b))
    assert second.targets == (0.5, 0.5, 1.0)
    whole = critic_texts((5, 6), attempts, judge, tried="all")
    assert whole[:2] == [first, second]
    assert whole[2].tokens == (5, 6, *a, *b, *c)
    assert whole[2].targets == (0.0, 0.0, 0.0)
    plain = critic_texts((5, 6), attempts, judge, tried="none")
    assert [text.tokens for text in plain] == [(5, 6, *x) for x in (a, b, c)]
    assert [text.targets for text in plain] == [text.targets for text in whole]


def searches(num: int, end: int) -> list[Searched]:
    """Each problem's attempts all end alike: right for one half of the problems, else wrong."""
    found: list[Searched] = []
    for i in range(num):
        problem = replace(PROBLEM, id=str(i))
        tokens = [(70 + (i + j) % 4, 80 + (i + 2 * j) % 4, end) for j in range(3)]
        nodes = tuple(attempt(t, i % 2 == 0) for t in tokens)
        found.append(Searched(problem, (5, 60), nodes))
    return found


def test_a_critic_learns_that_failures_foretell_failure(policy: LocalPolicy) -> None:
    (end,) = policy.tokenizer.eos
    critic = MetaCritic(ProcessVerifier(policy.model, policy.tokenizer, num_adapted=2))
    config = CriticFit(orders=1, epochs=60, learning_rate=1e-2, max_tokens=2048, micro_batches=1)
    steps, reports = fit_meta_critic(critic, searches(24, end), config)
    losses = [report.loss for report in reports]
    assert len(losses) == steps
    assert losses[-1] < losses[0]
    wrong = (70, 81, end)
    fresh, after = critic.eval().judge.values_at([(5, 60), (5, 60, *wrong)], [[1], [4]])
    assert fresh[0] == pytest.approx(0.5, abs=0.15)  # of a problem that nothing is known of
    assert after[0] < 0.2


@pytest.mark.parametrize(
    ("some", "named"),
    [
        ([], "0 of 0 graded attempts are right"),
        ([[True, True]], "2 of 2 graded attempts are right"),
        ([[True], [False]], "no tree has two graded attempts"),
    ],
)
def test_a_critic_needs_attempts_of_both_kinds(
    some: list[list[bool]], named: str, policy: LocalPolicy
) -> None:
    found = [
        Searched(PROBLEM, (5, 60), tuple(attempt((70,), grade) for grade in grades))
        for grades in some
    ]
    critic = MetaCritic(ProcessVerifier(policy.model, policy.tokenizer))
    with pytest.raises(UserError, match=named):
        _ = fit_meta_critic(critic, found, CriticFit())


@pytest.mark.parametrize(
    ("dials", "named"), [({"tried": "some"}, "tried is 'some'"), ({"orders": 0}, "orders is 0")]
)
def test_dials_of_a_critic_out_of_range_are_refused(dials: dict[str, int], named: str) -> None:
    with pytest.raises(UserError, match=named):
        CriticFit(**dials)  # pyright: ignore[reportArgumentType]


# Generative


def judged(num: int) -> list[Judged]:
    return [
        Judged(replace(PROBLEM, id=str(i)), f"So the answer is {'7' if i % 2 else '8'}.", i % 2)
        for i in range(num)
    ]


def test_a_generative_verifier_learns_to_say_yes(
    policy: LocalPolicy, small_tokenizer: Tokenizer
) -> None:
    shape = ModelConfig(small_tokenizer.vocab_size, 32, 2, 4, 2, 8, 64)
    verifier = GenerativeVerifier(spread_model(shape, seed=1, by=5), small_tokenizer)
    config = GenerativeFit(epochs=40, learning_rate=5e-3, max_tokens=4096, micro_batches=1)
    steps, reports = fit_generative_verifier(verifier, judged(24), config)
    assert len(list(reports)) == steps
    prompt = small_tokenizer.prompt(PROBLEM.prompt)
    right, wrong = (prompt + small_tokenizer.encode(f"So the answer is {n}.") for n in (7, 8))
    ((yes, no),) = verifier.score([ScoreRequest(PROBLEM, (right, wrong))])
    assert yes > 0.8
    assert no < 0.2


def test_only_the_verdict_is_learned_and_a_share_is_drawn_once(policy: LocalPolicy) -> None:
    verifier = GenerativeVerifier(policy.model, policy.tokenizer)
    sure = [Judged(PROBLEM, f"{n}", value) for n, value in ((1, 1.0), (2, 0.0))]
    one, other = verdict_examples(verifier, sure, seed=0)
    assert one.tokens[:-1] == verifier.question(PROBLEM, "1")
    assert one.start == len(one.tokens) - 1
    assert (one.tokens[-1], other.tokens[-1]) == (verifier.reply.yes, verifier.reply.no)
    shares = [Judged(PROBLEM, f"{n}", 0.75) for n in range(200)]
    drawn = verdict_examples(verifier, shares, seed=0)
    assert drawn == verdict_examples(verifier, shares, seed=0)
    yes = sum(example.tokens[-1] == verifier.reply.yes for example in drawn)
    assert 120 < yes < 180


def test_attempts_and_steps_are_judged_once_each(policy: LocalPolicy) -> None:
    verifier = GenerativeVerifier(policy.model, policy.tokenizer)
    encode = policy.tokenizer.encode
    nodes = tuple(attempt(encode(t), g) for t, g in (("3", True), ("4", False), ("3", True)))
    found = list(judged_attempts(Searched(PROBLEM, (5,), nodes), verifier))
    assert [(one.attempt, one.value) for one in found] == [("3", 1.0), ("4", 0.0)]
    labels = (StepLabel(0.5), StepLabel(None), StepLabel(1.0))
    steps = list(judged_steps(LabelledSolution(PROBLEM, ("a\n", "b\n", "c"), labels)))
    assert [(one.attempt, one.value) for one in steps] == [("a\n", 0.5), ("a\nb\nc", 1.0)]


def test_verdicts_of_one_kind_and_written_checks_teach_nothing(policy: LocalPolicy) -> None:
    verifier = GenerativeVerifier(policy.model, policy.tokenizer)
    with pytest.raises(UserError, match="0 of 2 graded attempts are right"):
        _ = fit_generative_verifier(verifier, judged(4)[::2], GenerativeFit())
    writer = GenerativeVerifier(policy.model, policy.tokenizer, Judging(chains=1))
    with pytest.raises(UserError, match="--chains 0"):
        _ = fit_generative_verifier(writer, judged(4), GenerativeFit())
