"""From labelled solutions to a calibrated process verifier: targets, learning, calibration."""

import math
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from system2.core import Problem, UserError
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel
from system2.engine.steps import StepEnds
from system2.engine.tokenizer import Tokenizer
from system2.synthesise.step_values import UNKNOWN, LabelledSolution, StepLabel
from system2.train.batches import Example
from system2.train.loop import FitConfig, fit
from system2.train.losses import next_token_loss, value_loss
from system2.train.process import (
    JudgedText,
    ProcessFit,
    calibrated,
    divide,
    fit_process_verifier,
    is_held_out,
    judged_texts,
    platt,
    process_batch,
    solution_tokens,
)
from system2.train.sft import example_batches
from system2.verify.process import Calibration, ProcessVerifier

PROBLEM = Problem("p", "Tom has 3 apples.", "3", "sums")


def labelled(
    *values: float | None, steps: tuple[str, ...], finished: bool = True
) -> LabelledSolution:
    before, *rest = map(StepLabel, values)
    return LabelledSolution(PROBLEM, steps, tuple(rest), before, finished)


def test_values_stand_at_the_ends_of_steps_and_of_the_prompt(small_tokenizer: Tokenizer) -> None:
    encode, prompt = small_tokenizer.encode, small_tokenizer.prompt(PROBLEM.prompt)
    solution = labelled(0.25, 0.5, None, 1.0, steps=("1\n", "2\n", "So 3"))
    (text,) = judged_texts([solution], small_tokenizer)
    end = small_tokenizer.rust.token_to_id("<|end|>")
    assert text.tokens == (*prompt, *encode("1\n2\nSo 3"), end)
    first = len(prompt) + len(encode("1\n"))
    assert text.places == (len(prompt) - 1, first - 1, len(text.tokens) - 1)
    assert text.targets == (0.25, 0.5, 1.0)
    (hard,) = judged_texts([solution], small_tokenizer, labels="hard")
    assert hard.targets == (1.0, 1.0, 1.0)
    (cut,) = judged_texts([solution], small_tokenizer, max_positions=first)
    assert (cut.tokens, cut.targets) == (text.tokens[:first], (0.25, 0.5))
    (broken,) = judged_texts([replace(solution, is_finished=False)], small_tokenizer)
    assert broken.tokens == text.tokens[:-1]
    assert broken.places[-1] == len(text.tokens) - 2


def test_a_beginning_that_is_shared_counts_once(small_tokenizer: Tokenizer) -> None:
    one = labelled(0.5, 0.75, 1.0, steps=("1\n", "So 3"))
    other = labelled(0.5, 0.75, 0.0, steps=("1\n", "So 4"))
    unfinished = labelled(0.5, 0.75, 0.5, steps=("1\n", "So 3"), finished=False)
    texts = list(judged_texts([one, other, one, unfinished], small_tokenizer))
    assert [text.targets for text in texts] == [(0.5, 0.75, 1.0), (0.0,), (0.5,)]
    elsewhere = replace(one, problem=replace(PROBLEM, prompt="Ann has 3 apples."))
    assert len(list(judged_texts([one, elsewhere], small_tokenizer))) == 2
    nothing = replace(one, labels=(UNKNOWN, UNKNOWN), before=UNKNOWN)
    assert not list(judged_texts([nothing], small_tokenizer))


def test_a_text_that_says_the_end_token_does_not_end(small_tokenizer: Tokenizer) -> None:
    solution = labelled(0.5, 1.0, steps=("So <|end|> 3",))
    (text,) = judged_texts([solution], small_tokenizer)
    end = small_tokenizer.rust.token_to_id("<|end|>")
    prompt = small_tokenizer.prompt(PROBLEM.prompt)
    assert text.tokens[len(prompt) :].count(end) == 1
    assert text.tokens[-1] == end


def test_steps_of_several_lines_end_where_they_are_said_to(small_tokenizer: Tokenizer) -> None:
    step_ends, encode = StepEnds(small_tokenizer, "\n"), small_tokenizer.encode
    for steps in (("1\n", "2\n", "3"), ("1\n2\n", "3"), ("1", "2\n3"), (), ("1\n",), ("1\n", "")):
        tokens, ends = solution_tokens(step_ends, steps)
        assert tokens == encode("".join(steps))
        assert len(ends) == len(steps)
        for number, end in enumerate(ends, start=1):
            assert small_tokenizer.decode(tokens[:end]) == "".join(steps[:number])


def test_the_loss_is_that_of_all_rollouts_averaged() -> None:
    by_hand = 0.0
    for z, share in ((0.3, 0.75), (-1.2, 0.25)):
        p = 1 / (1 + math.exp(-z))
        by_hand -= share * math.log(p) + (1 - share) * math.log(1 - p)
    loss = value_loss(torch.tensor([0.3, -1.2]), torch.tensor([0.75, 0.25]))
    assert float(loss) == pytest.approx(by_hand, rel=1e-6)


def test_a_batch_is_padded_and_knows_its_places() -> None:
    batch = process_batch(
        [JudgedText((1, 2, 3), (0, 2), (0.5, 1.0)), JudgedText((4,), (0,), (0.0,))]
    )
    assert batch.tokens.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert batch.places.tolist() == [[0, 0], [0, 2], [1, 0]]
    assert batch.targets.tolist() == [0.5, 1.0, 0.0]
    assert batch.num_targets == 3
    assert torch.equal(batch.to(torch.device("cpu")).places, batch.places)


def test_one_problem_in_twelve_is_kept_out_with_all_its_solutions() -> None:
    solutions = [
        replace(labelled(1.0, steps=()), problem=Problem(f"{n}-{i}", f"{n}?", "", "t"))
        for n in range(1200)
        for i in range(2)
    ]
    learned, kept = divide(solutions)
    assert len(learned) + len(kept) == 2400
    assert 140 <= len(kept) <= 260
    assert not {s.problem.prompt for s in learned} & {s.problem.prompt for s in kept}
    alone = [s for s in solutions if is_held_out(s)][:1]
    assert divide(alone) == (alone, [])


# learning

KEPT, LENGTH, PLACES = 7 / 8, 10, (0, 3, 6, 9)


def kinds(count: int, seed: int) -> list[JudgedText]:
    """Texts that are right where every token is of the kind, even or odd, of the one before.

    Tokens keep it seven times of eight: that makes the share that ends right from each place.
    """
    rng, found = random.Random(seed), list[JudgedText]()
    for _ in range(count):
        tokens = [rng.randrange(24)]
        for _ in range(LENGTH - 1):
            kind = tokens[-1] % 2 if rng.random() < KEPT else 1 - tokens[-1] % 2
            tokens.append(2 * rng.randrange(12) + kind)
        changes = [one % 2 != other % 2 for one, other in pairwise(tokens)]
        shares = (0.0 if any(changes[:t]) else KEPT ** (LENGTH - 1 - t) for t in PLACES)
        found.append(JudgedText(tuple(tokens), PLACES, tuple(shares)))
    return found


@pytest.fixture(scope="module")
def trained(
    make_model: Callable[[int], LanguageModel], small_tokenizer: Tokenizer
) -> tuple[ProcessVerifier, list[float]]:
    policy = make_model(0)
    examples = [Example(text.tokens, 1) for text in kinds(200, 0)]
    batches, _ = example_batches(examples, 0, max_tokens=640, seed=0)
    for _ in fit(policy, batches, next_token_loss, FitConfig(60, 1e-2)):
        pass
    frozen = [p.detach().clone() for p in policy.parameters()]
    config = ProcessFit(num_adapted=1, epochs=8, learning_rate=1e-2, max_tokens=640)
    verifier, steps, reports = fit_process_verifier(
        policy.eval(), small_tokenizer, kinds(300, 1), config
    )
    losses = [report.loss for report in reports]
    assert len(losses) == steps
    for parameter, old in zip(policy.parameters(), frozen, strict=True):
        assert torch.equal(parameter, old), "the policy has moved"
    return verifier.eval(), losses


def test_training_lowers_the_loss_and_ranks_what_it_has_not_seen(
    trained: tuple[ProcessVerifier, list[float]],
) -> None:
    verifier, losses = trained
    assert losses[0] == pytest.approx(math.log(2), abs=1e-3)
    assert sum(losses[-5:]) / 5 < 0.45
    kept = kinds(150, 2)
    values = verifier.values_at([t.tokens for t in kept], [t.places for t in kept])
    for j in range(1, len(PLACES)):
        right = [v[j] for v, text in zip(values, kept, strict=True) if text.targets[j]]
        wrong = [v[j] for v, text in zip(values, kept, strict=True) if not text.targets[j]]
        above = [one > other for one in right for other in wrong]
        assert sum(above) / len(above) > 0.85
    errors = [
        abs(value - target)
        for found, text in zip(values, kept, strict=True)
        for value, target in zip(found, text.targets, strict=True)
    ]
    assert sum(errors) / len(errors) < 0.12


def test_calibration_lowers_the_loss_on_what_was_kept_out(
    trained: tuple[ProcessVerifier, list[float]],
) -> None:
    verifier, _ = trained
    kept = kinds(80, 3)
    logits = torch.cat(verifier.logits_at([t.tokens for t in kept], [t.places for t in kept]))
    targets = torch.tensor([target for text in kept for target in text.targets])

    def loss(calibration: Calibration) -> float:
        values = calibration.values(logits.double())
        return float(torch.nn.functional.binary_cross_entropy(values, targets.double()))

    assert loss(calibrated(verifier, kept)) < loss(Calibration())
    assert calibrated(verifier, []) == Calibration()


def test_platt_finds_a_known_calibration_and_stays_finite() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, generator=generator) * 3
    shares = (logits / 2.5 - 0.7).sigmoid()
    exact = platt(logits, shares)
    assert exact.temperature == pytest.approx(2.5, abs=0.02)
    assert exact.bias == pytest.approx(-0.7, abs=0.02)
    drawn = (torch.rand(20_000, generator=generator) < shares).float()
    found = platt(logits, drawn)
    assert found.temperature == pytest.approx(2.5, abs=0.2)
    values = found.values(logits)
    order = values.argsort()
    for part in order.chunk(15):  # what it says is what comes
        assert float(values[part].mean()) == pytest.approx(float(drawn[part].mean()), abs=0.05)
    assert platt(logits * 1e4, drawn).temperature == pytest.approx(2.5e4, rel=0.1)
    turned = platt(logits, 1 - drawn)  # never turned round: all values are the share
    assert turned.values(logits).std() < 0.02
    assert float(turned.values(logits).mean()) == pytest.approx(float(1 - drawn.mean()), abs=0.01)
    for same in (0.0, 1.0):
        one_sided = platt(logits[:50], torch.full((50,), same))
        assert math.isfinite(one_sided.temperature)
        assert math.isfinite(one_sided.bias)
    assert platt(torch.zeros(0), torch.zeros(0)) == Calibration()
    with pytest.raises(ValueError, match="not finite"):
        platt(torch.tensor([math.nan]), torch.tensor([1.0]))


def test_values_that_are_all_the_same_teach_nothing(toy_policy: LocalPolicy) -> None:
    for texts in ([], [JudgedText((1, 2), (0, 1), (1.0, 1.0))]):
        with pytest.raises(UserError, match="right and wrong steps are needed"):
            fit_process_verifier(toy_policy.model, toy_policy.tokenizer, texts, ProcessFit())
