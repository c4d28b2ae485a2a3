"""Solving: search, selection and grade meet in a row; what is in a chunk changes nothing."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from system2.core import Problem, ScoreRequest, UserError, derive_seed
from system2.engine.local import LocalPolicy
from system2.evaluate.solve import SolveConfig, equip, solve
from system2.search import SEARCHES
from system2.tasks import find_task
from system2.verify.combined import CombinedVerifier
from system2.verify.folders import save_verifier
from system2.verify.outcome import OutcomeVerifier
from system2.verify.token import PlausibleGuide, TokenVerifier, VerifierGuide

TASK = find_task("word_problems")
GREEDY = SolveConfig(max_tokens=24)
SAMPLE = SolveConfig("sample", samples=5, max_tokens=24)


def rows_of(policy: LocalPolicy, problems: list[Problem], config: SolveConfig, **how: Any):
    return list(solve(policy, TASK, problems, config, **how))


def attempts(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [node for node in row["nodes"] if node["terminal"]]


def without_rounding(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows less what depends, in its last digits, on what else is in a batch."""
    rows = json.loads(json.dumps(rows))
    for row in rows:
        del row["positions_computed"]
        for node in row["nodes"]:
            del node["logprobs"]
    return rows


class WordVerifier:
    """Opinions that depend on the tokens alone, to the last digit."""

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        return [[derive_seed(prefix) % 97 / 96 for prefix in r.prefixes] for r in requests]


@pytest.fixture
def outcome(toy_policy: LocalPolicy) -> OutcomeVerifier:
    """An outcome verifier of firm and arbitrary opinions."""
    verifier = OutcomeVerifier(toy_policy.model, 1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        _ = verifier.top.head.weight.normal_(0, 1, generator=generator)
    return verifier.eval()


def test_a_row_holds_the_text_its_answer_and_its_grade(
    toy_policy: LocalPolicy, sums: list[Problem]
) -> None:
    rows = rows_of(toy_policy, sums[:20], GREEDY)
    assert [row["problem"]["id"] for row in rows] == [problem.id for problem in sums[:20]]
    for problem, row in zip(sums, rows, strict=False):
        root, *nodes = row["nodes"]
        assert (root["parent"], root["tokens"]) == (None, [])
        assert len(nodes) == 1
        text = toy_policy.tokenizer.decode(nodes[0]["tokens"])
        assert nodes[0]["text"] == text
        assert row["answer"] == TASK.answer_of(problem, text) == nodes[0]["answer"]
        assert row["grade"] == TASK.grade(problem, text) == nodes[0]["grade"]
        assert row["sampled_tokens"] == len(nodes[0]["tokens"])
        assert row["positions_computed"] >= row["sampled_tokens"]
    assert {row["grade"] for row in rows} == {True, False}


@pytest.mark.parametrize("config", [GREEDY, SAMPLE, replace(SAMPLE, budget=60)])
def test_a_problem_is_solved_alike_in_any_chunk(
    config: SolveConfig, toy_policy: LocalPolicy, sums: list[Problem]
) -> None:
    whole = without_rounding(rows_of(toy_policy, sums[:6], config))
    assert whole == without_rounding(rows_of(toy_policy, sums[:6], config, chunk=4))
    alone = [row for problem in sums[:6] for row in rows_of(toy_policy, [problem], config)]
    assert whole == without_rounding(alone)


@pytest.mark.parametrize("search", SEARCHES)
def test_every_search_solves_a_problem_alike_in_any_chunk(
    search: str, toy_policy: LocalPolicy, sums: list[Problem]
) -> None:
    """So a run that is taken up again, chunk by chunk, ends as if undisturbed."""
    dials = {"width": 2, "branch": 2, "max_depth": 3, "iterations": 4, "max_tokens": 12}
    many = {} if search == "greedy" else {"samples": 4}
    config = replace(SolveConfig(search, budget=70, seed=3), **dials, **many)
    verifier = WordVerifier()
    whole = without_rounding(rows_of(toy_policy, sums[:5], config, verifier=verifier))
    parts = rows_of(toy_policy, sums[:2], config, verifier=verifier)
    parts += rows_of(toy_policy, sums[2:5], config, verifier=verifier, chunk=1)
    assert whole == without_rounding(parts)
    assert all(0 < row["sampled_tokens"] <= 70 for row in whole)


def test_votes_differ_from_samples_by_what_is_chosen_alone(
    toy_policy: LocalPolicy, sums: list[Problem]
) -> None:
    def nodes(search: str, **how: Any) -> list[Any]:
        rows = rows_of(toy_policy, sums[:6], replace(SAMPLE, search=search), **how)
        return [row["nodes"] for row in rows]

    assert nodes("majority") == nodes("sample")
    scored = {"verifier": WordVerifier()}
    assert nodes("weighted_majority", **scored) == nodes("best_of_n", **scored)
    assert SolveConfig("majority").selection == SolveConfig("sample").selection == "majority"
    assert SolveConfig("weighted_majority").selection == "weighted_majority"
    assert SolveConfig("particle", select="majority").selection == "majority"


def test_a_settled_vote_costs_less_and_a_revision_sees_what_was_written(
    toy_policy: LocalPolicy, sums: list[Problem]
) -> None:
    twenty = replace(SAMPLE, search="majority", samples=20, temperature=0.3)
    whole = rows_of(toy_policy, sums[:8], twenty)
    settled = rows_of(toy_policy, sums[:8], replace(twenty, search="adaptive_consistency"))
    counts = [len(row["nodes"]) - 1 for row in settled]
    assert min(counts) >= 4
    assert sum(counts) < sum(len(row["nodes"]) - 1 for row in whole)
    prompts: list[str] = []

    class Watched:
        """The policy, with an eye on what it is asked."""

        def __getattr__(self, name: str) -> Any:
            return getattr(toy_policy, name)

        def sample(self, requests: Any) -> Any:
            prompts.extend(
                toy_policy.tokenizer.decode(prefix) for r in requests for prefix in r.prefixes
            )
            return toy_policy.sample(requests)

    revised = replace(SAMPLE, search="revision", samples=3, window=1)
    policy: Any = Watched()
    (row,) = rows_of(policy, sums[:1], revised, verifier=WordVerifier())
    assert len(prompts) == 3
    assert [node["parent"] for node in row["nodes"][1:]] == [0] * 3
    for prompt, node in zip(prompts[1:], row["nodes"][1:], strict=False):
        assert node["text"].strip() in prompt


def test_another_seed_draws_otherwise(toy_policy: LocalPolicy, sums: list[Problem]) -> None:
    one, other = (rows_of(toy_policy, sums[:3], replace(SAMPLE, seed=seed)) for seed in (0, 1))
    assert without_rounding(one) != without_rounding(other)


def test_positions_are_shared_out_whole(toy_policy: LocalPolicy, sums: list[Problem]) -> None:
    policy = replace(toy_policy, positions_computed=0)
    rows = rows_of(policy, sums[:9], SAMPLE, chunk=4)
    assert sum(row["positions_computed"] for row in rows) == policy.positions_computed


def test_samples_are_chosen_by_majority_and_one_cut_short_has_no_vote(
    toy_policy: LocalPolicy, sums: list[Problem]
) -> None:
    cut = 0
    for row in rows_of(toy_policy, sums[:20], replace(SAMPLE, samples=7, max_tokens=13)):
        cut += len(row["nodes"]) - 1 - len(attempts(row))
        votes = [node["answer"] for node in attempts(row) if node["answer"] is not None]
        if votes:
            assert votes.count(row["answer"]) == max(map(votes.count, votes))
        else:
            assert (row["answer"], row["grade"]) == (None, False)
    assert cut, "nothing was cut short: this test would prove less"


def test_best_of_n_takes_what_the_outcome_verifier_values_most(
    toy_policy: LocalPolicy, sums: list[Problem], outcome: OutcomeVerifier
) -> None:
    best = replace(SAMPLE, search="best_of_n")
    rows = rows_of(toy_policy, sums[:8], best, verifier=outcome)
    drawn = rows_of(toy_policy, sums[:8], SAMPLE)
    for row, same in zip(rows, drawn, strict=True):
        assert [n["tokens"] for n in row["nodes"]] == [n["tokens"] for n in same["nodes"]]
        prompt = toy_policy.tokenizer.prompt(row["problem"]["prompt"])
        values = outcome.values([(*prompt, *node["tokens"]) for node in attempts(row)])
        assert [node["value"] for node in attempts(row)] == pytest.approx(values, abs=1e-5)
        answers = [node for node in attempts(row) if node["answer"] is not None]
        if answers:
            chosen = max(answers, key=lambda node: node["value"])
            assert (row["answer"], row["grade"]) == (chosen["answer"], chosen["grade"])
    with pytest.raises(UserError, match="needs a verifier"):
        rows_of(toy_policy, sums[:1], best)


@pytest.mark.parametrize("search", SEARCHES)
def test_no_search_costs_more_than_its_budget(
    search: str, toy_policy: LocalPolicy, sums: list[Problem], outcome: OutcomeVerifier
) -> None:
    config = SolveConfig(search, samples=1 if search == "greedy" else 4, max_tokens=24, budget=50)
    rows = rows_of(toy_policy, sums[:5], config, verifier=outcome)
    assert all(0 < row["sampled_tokens"] <= 50 for row in rows)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (SolveConfig("bogo"), "no search 'bogo'"),
        (SolveConfig(select="loudest"), "no selection 'loudest'"),
        (SolveConfig("sample", temperature=-1.0), "temperature"),
        (SolveConfig("sample", top_p=0.0), "top_p"),
        (SolveConfig("adaptive_consistency", samples=0), "samples is 0"),
        (SolveConfig("dfs", prune=2.0), "prune is 2.0"),
    ],
)
def test_a_wrong_word_is_named(
    config: SolveConfig, named: str, toy_policy: LocalPolicy, sums: list[Problem]
) -> None:
    with pytest.raises(UserError, match=named):
        rows_of(toy_policy, sums[:1], config)


def test_a_policy_is_equipped_by_the_kind_of_its_verifier(
    toy_policy: LocalPolicy, outcome: OutcomeVerifier, tmp_path: Path
) -> None:
    tokenizer, settings = toy_policy.tokenizer, {"alpha": 0.3, "beta": 0.75}
    token = TokenVerifier(toy_policy.model, "vocab", 1)
    save_verifier(tmp_path / "token", token, tokenizer, settings=settings)
    save_verifier(tmp_path / "outcome", outcome, tokenizer)
    plain, judge = equip(toy_policy, None)
    assert (plain.guide, judge) == (None, None)
    alone, judge = equip(toy_policy, None, alpha=0.2)
    assert (alone.guide, judge) == (PlausibleGuide(0.2), None)
    for given, expected in (({}, (0.3, 0.75)), ({"alpha": 0.1, "beta": 2.0}, (0.1, 2.0))):
        guided, judge = equip(toy_policy, str(tmp_path / "token"), **given)
        assert isinstance(guided.guide, VerifierGuide)
        assert (guided.guide.alpha, guided.guide.beta) == expected
        assert judge is None
    unguided, judge = equip(toy_policy, str(tmp_path / "outcome"))
    assert unguided.guide is None
    assert isinstance(judge, OutcomeVerifier)


def test_several_verifiers_guide_and_judge_together(
    toy_policy: LocalPolicy, outcome: OutcomeVerifier, tmp_path: Path
) -> None:
    tokenizer = toy_policy.tokenizer
    names = [str(tmp_path / name) for name in ("token", "other", "outcome")]
    for name in names[:2]:
        save_verifier(Path(name), TokenVerifier(toy_policy.model, "vocab", 1), tokenizer)
    save_verifier(tmp_path / "outcome", outcome, tokenizer)
    guided, judge = equip(toy_policy, [names[0], names[2], "oracle"], task=TASK, judge="min")
    assert isinstance(guided.guide, VerifierGuide)
    assert isinstance(judge, CombinedVerifier)
    assert (judge.names, judge.rule) == ((names[2], "oracle"), "min")
    for wrong, named in (
        (names[:2], "both judge tokens"),
        (["oracle", "oracle"], "named twice"),
        (["optimal"], "no exact solver"),
    ):
        with pytest.raises(UserError, match=named):
            _ = equip(toy_policy, wrong, task=TASK)
    with pytest.raises(UserError, match="oracle needs a task"):
        _ = equip(toy_policy, "oracle")


def test_an_oracle_chooses_the_right_attempt_wherever_there_is_one(
    toy_policy: LocalPolicy, sums: list[Problem]
) -> None:
    _, oracle = equip(toy_policy, "oracle", task=TASK)
    for row in rows_of(toy_policy, sums[:8], replace(SAMPLE, search="best_of_n"), verifier=oracle):
        assert row["grade"] == any(node["grade"] for node in attempts(row))
