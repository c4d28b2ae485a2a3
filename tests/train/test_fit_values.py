"""Value verifiers learn from searches what attempts come to, and what the best of them do."""

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from system2.core import UserError
from system2.engine.local import LocalPolicy
from system2.engine.model import ModelConfig
from system2.engine.tokenizer import Tokenizer
from system2.synthesise.searched import StepTree
from system2.train.losses import expectile_loss
from system2.train.placed import placed_batch
from system2.train.values import ValueFit, fit_value_verifier, node_values, value_texts
from system2.verify.process import ProcessVerifier
from tests.toys import spread_model


def golden() -> StepTree:
    """One step, then three ends: two right, one of them drawn twice, one wrong."""
    return StepTree(
        prompt=(9, 8),
        parents=[None, 0, 1, 1, 1, 0],
        completions=[(), (1,), (1, 2), (1, 3), (1, 4, 5), (6,)],
        rewards=[None, None, 1.0, 0.0, 1.0, None],
        counts=[1.0, 4.0, 2.0, 1.0, 1.0, 1.0],
    )


def test_a_golden_trees_targets_stand_at_the_ends_of_steps() -> None:
    texts = value_texts(golden(), [None] * 6, lam=1.0)
    assert [text.tokens for text in texts] == [(9, 8, 1, 2), (9, 8, 1, 3), (9, 8, 1, 4, 5)]
    first, second, third = texts
    # the prompt is worth the mean of its one known child, the step one target a child
    assert first.places == (1, 2, 2, 2, 3)
    assert first.targets == (0.75, 1.0, 0.0, 1.0, 1.0)
    assert first.weights == (1.0, 0.5, 0.25, 0.25, 1.0)
    assert (second.places, second.targets) == ((3,), (0.0,))
    assert (third.places, third.targets) == ((4,), (1.0,))


def test_values_of_a_frozen_verifier_are_blended_in() -> None:
    values = [0.5, 0.4, None, None, None, 0.2]
    (first, *_) = value_texts(golden(), values, lam=0.5)
    # 1 is worth (0.4 + 0.75) / 2 to the prompt, and 5, where nothing ended, its own value
    assert first.targets[:2] == pytest.approx((0.575, 0.2))
    assert first.weights[:2] == pytest.approx((0.8, 0.2))
    (best, *_) = value_texts(golden(), values, lam=0.5, backup="max")
    assert best.places == (1, 2, 3)
    assert best.targets == pytest.approx(((0.4 + 1.0) / 2, 1.0, 1.0))


def test_where_nothing_ended_there_is_nothing_to_learn() -> None:
    assert value_texts(replace_rewards(golden()), [None] * 6, lam=1.0) == []


def replace_rewards(tree: StepTree) -> StepTree:
    return replace(tree, rewards=[None] * len(tree.rewards))


def test_places_of_a_batch_count_once_each() -> None:
    batch = placed_batch(value_texts(golden(), [None] * 6, lam=1.0))
    assert batch.num_targets == 5
    assert float(batch.weights.sum()) == pytest.approx(5)
    assert batch.rows.tolist() == [0, 0, 0, 0, 0, 1, 2]
    assert batch.columns.tolist() == [1, 2, 2, 2, 3, 3, 4]


@pytest.mark.parametrize("tau", [0.1, 0.5, 0.9])
def test_the_least_expectile_loss_is_at_the_expectile(tau: float) -> None:
    from system2.synthesise.td_targets import expectile

    targets = torch.tensor([0.0, 0.2, 0.9, 1.0])
    best = expectile(targets.tolist(), [1.0] * 4, tau)
    places = torch.linspace(0, 1, 1001)
    losses = [float(expectile_loss(p.expand(4), targets, tau)) for p in places]
    assert float(places[losses.index(min(losses))]) == pytest.approx(best, abs=1e-3)
    if tau == 0.5:
        predicted = torch.tensor([0.1, 0.2, 0.3, 0.4])
        expected = float(((predicted - targets) ** 2).sum())
        assert float(expectile_loss(predicted, targets, tau)) == pytest.approx(expected)


def toy_trees(num: int) -> list[StepTree]:
    """Prompts of two kinds; after step 40 three of four ends are right, after 41 one of four."""
    trees: list[StepTree] = []
    for i in range(num):
        prompt = 60 + i % 2
        tree = StepTree(prompt=(5, prompt))
        for step, num_right in ((40, 3), (41, 1)):
            at = len(tree.parents)
            tree.parents.append(0)
            tree.completions.append((step,))
            tree.rewards.append(None)
            tree.counts.append(4.0)
            for draw in range(4):
                end = (70 if draw < num_right else 80) + (i + draw) % 5
                tree.parents.append(at)
                tree.completions.append((step, end))
                tree.rewards.append(float(draw < num_right))
                tree.counts.append(1.0)
        trees.append(tree)
    return trees


@pytest.fixture(scope="module")
def policy(small_tokenizer: Tokenizer) -> LocalPolicy:
    """A policy of random weights, which tells its tokens apart."""
    shape = ModelConfig(small_tokenizer.vocab_size, 32, 2, 4, 2, 8, 64)
    return LocalPolicy(spread_model(shape, seed=0), small_tokenizer)


def fitted(
    policy: LocalPolicy, config: ValueFit, folder: Path | None = None
) -> tuple[ProcessVerifier, list[float]]:
    verifier = ProcessVerifier(policy.model, policy.tokenizer, num_adapted=2)
    reports = fit_value_verifier(verifier, toy_trees(10), config, folder=folder)
    return verifier.eval(), [report.loss for report in reports]


SMALL = ValueFit(lam=1.0, epochs=60, learning_rate=1e-2, max_tokens=1024, micro_batches=1)


def test_monte_carlo_learns_the_share_that_ends_right(policy: LocalPolicy) -> None:
    verifier, losses = fitted(policy, SMALL)
    assert losses[0] == pytest.approx(0.25, abs=0.02)
    assert losses[-1] < 0.06  # 0.04 is what the draws of one step differ by
    values = node_values(verifier, toy_trees(2)[1])
    root, good, bad = values[0], values[1], values[6]
    assert root == pytest.approx(0.5, abs=0.1)
    assert good is not None
    assert good > 0.6
    assert bad is not None
    assert bad < 0.4
    assert values[2] is None  # it was graded
    assert all(value is None or 0 <= value <= 1 for value in values)


def test_bootstrapped_rounds_and_a_high_expectile_are_nearer_to_the_best(
    policy: LocalPolicy,
) -> None:
    config = replace(SMALL, lam=0.5, expectile=0.95, rounds=1, epochs=40)
    verifier, losses = fitted(policy, config)
    values = node_values(verifier, toy_trees(2)[0])
    plain, once = fitted(policy, replace(SMALL, epochs=40))
    mean = node_values(plain, toy_trees(2)[0])
    assert len(losses) == 2 * len(once)
    # the bad step is worth what its one right end is, nearly: 0.86 is its expectile
    for node in (0, 6):
        value, average = values[node], mean[node]
        assert value is not None
        assert average is not None
        assert value > average + 0.1


def test_a_round_that_was_stopped_goes_on_to_the_same_weights(
    policy: LocalPolicy, tmp_path: Path
) -> None:
    config = replace(SMALL, lam=0.0, rounds=1, epochs=4)
    whole, losses = fitted(policy, config)
    verifier = ProcessVerifier(policy.model, policy.tokenizer, num_adapted=2)
    reports = fit_value_verifier(verifier, toy_trees(10), config, folder=tmp_path)
    half = len(losses) * 3 // 4
    # a first round that is through, and a second that begins anew
    assert [report.loss for report in islice(reports, half)] == losses[:half]
    reports.close()  # pyright: ignore[reportAttributeAccessIssue]
    again, rest = fitted(policy, config, tmp_path)
    assert rest == losses[len(losses) // 2 :]
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_policy_stays_as_it_is(policy: LocalPolicy) -> None:
    before = [p.detach().clone() for p in policy.model.parameters()]
    _ = fitted(policy, replace(SMALL, epochs=1))
    for parameter, old in zip(policy.model.parameters(), before, strict=True):
        assert torch.equal(parameter, old)


@pytest.mark.parametrize(
    ("dials", "named"),
    [
        ({"lam": 1.5}, "lambda is 1.5"),
        ({"lam": math.nan}, "lambda is nan"),
        ({"expectile": 1.0}, "expectile is 1.0"),
        ({"expectile": 0.0}, "expectile is 0.0"),
        ({"backup": "median"}, "backup is median"),
        ({"rounds": -1}, "rounds is -1"),
    ],
)
def test_dials_out_of_range_are_refused(dials: dict[str, float], named: str) -> None:
    with pytest.raises(UserError, match=named):
        ValueFit(**dials)  # pyright: ignore[reportArgumentType]


def test_attempts_of_one_kind_teach_nothing(policy: LocalPolicy) -> None:
    verifier = ProcessVerifier(policy.model, policy.tokenizer)
    with pytest.raises(UserError, match="0 of 0 graded attempts are right; both kinds"):
        list(fit_value_verifier(verifier, [replace_rewards(golden())], SMALL))
