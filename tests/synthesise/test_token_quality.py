"""Token quality exploration: what is measured is what the definition says, whatever the batch."""

import json
import math
from dataclasses import replace
from itertools import accumulate
from typing import Any

import pytest
import torch

from system2.core import (
    Problem,
    SampleRequest,
    SamplingParams,
    Tokens,
    UserError,
    derive_seed,
)
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel, ModelConfig, initialise
from system2.engine.sampling import uniforms
from system2.synthesise.pairs import PairRow, parse_row
from system2.synthesise.token_quality import STRATEGIES, ExploreConfig, Strategy, explore
from system2.tasks import find_task

TASK = find_task("word_problems")
CONFIG = ExploreConfig(
    alpha=0.05, max_positions=3, max_proposals=2, rollouts=4, max_tokens=20, max_quality=1.0
)


@pytest.fixture(scope="module")
def amateur(toy_policy: LocalPolicy) -> LanguageModel:
    """Another model of the same tokens, sure of nothing."""
    model = LanguageModel(ModelConfig(toy_policy.model.config.vocab_size, 16, 1, 2, 1, 8, 32))
    initialise(model, 3)
    return model.eval()


def distribution(model: LanguageModel, prefix: Tokens) -> list[float]:
    with torch.inference_mode():
        return model(torch.tensor([prefix]))[0, -1].double().softmax(0).tolist()


def plausible_tokens(model: LanguageModel, prefix: Tokens, alpha: float) -> set[int]:
    found = distribution(model, prefix)
    return {v for v, p in enumerate(found) if p >= alpha * max(found)}


def drawn_naively(policy: LocalPolicy, prefix: Tokens, seed: int, i: int, limit: int) -> Tokens:
    """Draw one continuation by inverting the distribution, without cache or batch."""
    tokens, stream = list(prefix), uniforms(seed, 0, i, limit)
    for uniform in stream:
        totals = list(accumulate(distribution(policy.model, tuple(tokens))))
        token = next((v for v, total in enumerate(totals) if total > uniform), len(totals) - 1)
        tokens.append(token)
        if token in policy.tokenizer.eos:
            break
    return tuple(tokens[len(prefix) :])


def quality_naively(policy: LocalPolicy, problem: Problem, prefix: Tokens) -> float:
    """Return the share of continuations of a prefix that end right, one by one."""
    start = len(policy.tokenizer.prompt(problem.prompt))
    seed = derive_seed("rollout", CONFIG.seed, problem.id, len(prefix) - 1, prefix[-1])
    right = 0
    for i in range(CONFIG.rollouts):
        ending = drawn_naively(policy, prefix, seed, i, CONFIG.max_tokens)
        reply = policy.tokenizer.decode((*prefix[start:], *ending))
        is_over = ending[-1] in policy.tokenizer.eos
        right += is_over and TASK.grade(problem, reply) is True
    return right / CONFIG.rollouts


def parsed(rows: list[dict[str, Any]], policy: LocalPolicy) -> list[PairRow]:
    """Read rows as a file would give them back; every one has to fit its own tokens."""
    return [
        parse_row(json.loads(json.dumps(row)), policy.tokenizer, f"row {i}")
        for i, row in enumerate(rows)
    ]


def test_rollouts_measure_what_the_definition_says(
    toy_policy: LocalPolicy, sums: list[Problem]
) -> None:
    problems = sums[:2]
    rows = parsed(list(explore(toy_policy, TASK, problems, CONFIG)), toy_policy)
    for problem, row in zip(problems, rows, strict=True):
        start = len(toy_policy.tokenizer.prompt(problem.prompt))
        places: list[tuple[float, int, list[int]]] = []
        for t in range(start, len(row.tokens)):
            found = distribution(toy_policy.model, row.tokens[:t])
            others = plausible_tokens(toy_policy.model, row.tokens[:t], CONFIG.alpha)
            likeliest = sorted(others - {row.tokens[t]}, key=lambda v: -found[v])
            if likeliest:
                places.append((max(found), t, likeliest[: CONFIG.max_proposals]))
        least_certain = sorted(places)[: CONFIG.max_positions]
        expected = {
            (t, v): quality_naively(toy_policy, problem, (*row.tokens[:t], v))
            for _, t, proposals in least_certain
            for v in proposals
        }
        assert {(p.position, p.rejected): p.rejected_quality for p in row.pairs} == expected
        assert expected, "nothing was explored: this test would prove nothing"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_size_of_a_chunk_changes_nothing(
    strategy: Strategy, toy_policy: LocalPolicy, amateur: LanguageModel, sums: list[Problem]
) -> None:
    config = replace(CONFIG, strategy=strategy, rollouts=2)
    whole = list(explore(toy_policy, TASK, sums[:7], config, amateur=amateur))
    parts = list(explore(toy_policy, TASK, sums[:7], config, amateur=amateur, chunk=3))
    alone = [
        row
        for problem in sums[:7]
        for row in explore(toy_policy, TASK, [problem], config, amateur=amateur)
    ]
    assert whole == parts == alone


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_negatives_are_plausible_and_never_the_reference(
    strategy: Strategy, toy_policy: LocalPolicy, amateur: LanguageModel, sums: list[Problem]
) -> None:
    config = replace(CONFIG, strategy=strategy, rollouts=1)
    rows = parsed(list(explore(toy_policy, TASK, sums[:5], config, amateur=amateur)), toy_policy)
    num_pairs = 0
    for row in rows:
        by_place: dict[int, list[int]] = {}
        for pair in row.pairs:
            by_place.setdefault(pair.position, []).append(pair.rejected)
            prefix = row.tokens[: pair.position]
            own = plausible_tokens(toy_policy.model, prefix, config.alpha)
            other = plausible_tokens(amateur, prefix, config.alpha)
            allowed = {"uniform": own | other, "base": other}.get(strategy, own)
            assert pair.rejected in allowed - {pair.chosen}
            assert (pair.rejected_quality is None) == (strategy != "rollout")
            num_pairs += 1
        assert len(by_place) <= config.max_positions
        assert all(len(set(found)) <= config.max_proposals for found in by_place.values())
    assert num_pairs >= 5


def test_cheap_strategies_draw_by_their_own_weights(
    toy_policy: LocalPolicy, amateur: LanguageModel, sums: list[Problem]
) -> None:
    """An expert's draws are likelier under the policy than uniform ones, contrast's still more."""

    def likelihood(strategy: Strategy) -> float:
        config = replace(CONFIG, strategy=strategy, alpha=0.001, max_proposals=1, gamma=2.0)
        rows = parsed(list(explore(toy_policy, TASK, sums, config, amateur=amateur)), toy_policy)
        found = [
            distribution(toy_policy.model, row.tokens[: pair.position])[pair.rejected]
            for row in rows[:40]
            for pair in row.pairs
        ]
        return sum(found) / len(found)

    uniform, expert, contrast = map(likelihood, ("uniform", "expert", "contrast"))
    assert 2 * uniform < expert < contrast


def test_a_reference_is_measured_too_where_asked(
    toy_policy: LocalPolicy, sums: list[Problem]
) -> None:
    config = replace(CONFIG, measures_reference=True, max_quality=0.5, min_gap=0.5)
    unmeasured = replace(config, measures_reference=False)
    rows = parsed(list(explore(toy_policy, TASK, sums[:16], config)), toy_policy)
    others = parsed(list(explore(toy_policy, TASK, sums[:16], unmeasured)), toy_policy)
    kept = {(i, p.position, p.rejected) for i, row in enumerate(rows) for p in row.pairs}
    for i, other in enumerate(others):
        measured = {(p.position, p.rejected): p for p in rows[i].pairs}
        for pair in other.pairs:
            assert pair.chosen_quality is None
            assert pair.rejected_quality is not None
            assert pair.rejected_quality <= 0.5
            if (i, pair.position, pair.rejected) in kept:
                twin = measured[pair.position, pair.rejected]
                assert twin.rejected_quality == pair.rejected_quality
                assert twin.chosen_quality is not None
                assert twin.chosen_quality - pair.rejected_quality >= 0.5
    assert 0 < len(kept) < sum(len(row.pairs) for row in others)


def test_an_end_token_is_as_good_as_the_text_before_it(toy_policy: LocalPolicy) -> None:
    """The reference goes on after its answer; the policy would stop there, and be right."""
    sentence = "3 + 4 = 7. So the answer is 7."
    problem = Problem(
        "long",
        "Tom has 3 + 4 apples.",
        "7",
        "word_problems",
        {"solution": f"{sentence} {sentence}"},
    )
    config = replace(CONFIG, max_positions=50, rollouts=1)
    (row,) = parsed(list(explore(toy_policy, TASK, [problem], config)), toy_policy)
    tokenizer = toy_policy.tokenizer
    stop = len(tokenizer.prompt(problem.prompt)) + len(tokenizer.encode(sentence))
    ends = {p.position: p.rejected_quality for p in row.pairs if p.rejected in tokenizer.eos}
    assert ends[stop] == 1.0


# Sampled texts

SAMPLED = replace(CONFIG, text="sampled", rollouts=8, max_positions=6)


@pytest.fixture(scope="module")
def sampled_rows(toy_policy: LocalPolicy, sums: list[Problem]) -> list[dict[str, Any]]:
    """The rows of 24 sampled attempts."""
    return list(explore(toy_policy, TASK, sums[:24], SAMPLED))


def reply_of(row: dict[str, Any]) -> str:
    return row["messages"][1]["content"]


def test_every_row_of_a_sampled_text_reads_back(
    toy_policy: LocalPolicy, sums: list[Problem], sampled_rows: list[dict[str, Any]]
) -> None:
    rows = parsed(sampled_rows, toy_policy)
    assert [row["messages"][0]["content"] for row in sampled_rows] == [p.prompt for p in sums[:24]]
    pairs = [pair for row in rows for pair in row.pairs]
    assert len(pairs) >= 10
    for pair in pairs:
        assert pair.chosen_quality is not None
        assert pair.rejected_quality is not None
        assert pair.chosen_quality - pair.rejected_quality >= SAMPLED.min_gap


def test_a_text_that_turns_ends_right(
    toy_policy: LocalPolicy, sums: list[Problem], sampled_rows: list[dict[str, Any]]
) -> None:
    """Where the attempt's own token was the worse one, the row's text leaves it for the better."""
    params = SamplingParams(SAMPLED.max_tokens, SAMPLED.temperature)
    turned = 0
    for problem, row in zip(sums, sampled_rows, strict=False):
        prompt = toy_policy.tokenizer.prompt(problem.prompt)
        seed = derive_seed("attempt", SAMPLED.seed, problem.id)
        drawn = toy_policy.sample([SampleRequest((prompt,), 1, params, seed)])[0][0][0]
        if reply_of(row) != toy_policy.tokenizer.decode(drawn.tokens):
            turned += 1
            assert row["samples"]
            assert TASK.grade(problem, reply_of(row)) is True
    assert turned >= 3


def test_a_better_token_is_better_in_fresh_rollouts_too(
    toy_policy: LocalPolicy, sums: list[Problem], sampled_rows: list[dict[str, Any]]
) -> None:
    rows = parsed(sampled_rows, toy_policy)
    requests: list[SampleRequest] = []
    asked: list[tuple[Problem, Tokens]] = []
    for problem, row in zip(sums, rows, strict=False):
        for pair in row.pairs:
            for token in (pair.chosen, pair.rejected):
                prefix = (*row.tokens[: pair.position], token)
                if token not in toy_policy.tokenizer.eos:
                    params = SamplingParams(SAMPLED.max_tokens)
                    requests.append(SampleRequest((prefix,), 8, params, seed=99))
                    asked.append((problem, prefix))
    shares: dict[Tokens, float] = {}
    for (problem, prefix), (drawn,) in zip(asked, toy_policy.sample(requests), strict=True):
        start = len(toy_policy.tokenizer.prompt(problem.prompt))
        replies = [toy_policy.tokenizer.decode((*prefix[start:], *c.tokens)) for c in drawn]
        shares[prefix] = sum(TASK.grade(problem, r) is True for r in replies) / len(replies)
    gaps = [
        shares[(*before, pair.chosen)] - shares[(*before, pair.rejected)]
        for row in rows
        for pair in row.pairs
        if {(*(before := row.tokens[: pair.position]), v) for v in (pair.chosen, pair.rejected)}
        <= shares.keys()
    ]
    assert sum(gaps) / len(gaps) > 0.15


# What is refused


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"strategy": "random"}, "no strategy 'random'"),
        ({"strategy": "expert", "text": "sampled"}, "need strategy rollout"),
        ({"max_positions": 0}, "1 at least"),
        ({"alpha": math.nan}, "alpha"),
        ({"max_quality": 1.5}, "max_quality"),
        ({"min_gap": 0.0}, "the gap above 0"),
        ({"gamma": math.inf}, "gamma is inf"),
    ],
)
def test_a_wrong_setting_is_named(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        replace(CONFIG, **wrong)


def test_a_problem_without_a_solution_is_named(toy_policy: LocalPolicy) -> None:
    bare = Problem("p7", "Tom", "3", "word_problems")
    with pytest.raises(UserError, match="problem p7 has no reference solution"):
        list(explore(toy_policy, TASK, [bare], CONFIG))


@pytest.mark.parametrize("strategy", ["uniform", "base", "contrast"])
def test_a_second_model_is_needed_and_has_to_fit(
    strategy: Strategy, toy_policy: LocalPolicy, sums: list[Problem]
) -> None:
    config = replace(CONFIG, strategy=strategy)
    with pytest.raises(UserError, match="needs a second model"):
        list(explore(toy_policy, TASK, sums[:1], config))
    other = LanguageModel(ModelConfig(7, 16, 1, 2, 1, 8, 32))
    with pytest.raises(UserError, match="knows 7 tokens, the policy 390"):
        list(explore(toy_policy, TASK, sums[:1], config, amateur=other))


def test_a_head_wider_than_the_tokenizer_proposes_no_unknown_token(
    toy_policy: LocalPolicy, sums: list[Problem]
) -> None:
    model = LanguageModel(ModelConfig(toy_policy.tokenizer.vocab_size + 10, 16, 1, 2, 1, 8, 32))
    initialise(model, 0)
    policy = LocalPolicy(model.eval(), toy_policy.tokenizer)
    config = replace(CONFIG, strategy="expert", alpha=0.0, max_proposals=400, max_positions=2)
    rows = parsed(list(explore(policy, TASK, sums[:1], config)), policy)
    assert len(rows[0].pairs) == 2 * (policy.tokenizer.vocab_size - 1)
