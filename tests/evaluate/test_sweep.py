"""Sweeps: which cells there are, budgets that bind, figures by hand, the drawing of them."""

import json
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from system2.core import Problem, SamplingParams, Steps, UserError
from system2.engine.local import LocalPolicy
from system2.evaluate.proposer import Proposer
from system2.evaluate.solve import SolveConfig, solve
from system2.evaluate.sweep import Cell, Sweep, cells_of
from system2.evaluate.sweep_plots import figure, method_names, page
from system2.evaluate.sweep_results import Point, estimate, matched, pooled_values, results_of
from system2.search import SEARCHES
from system2.search.fill import REPEATED, fill
from system2.tasks import find_task
from system2.tree import Tree
from system2.verify.exact import OracleVerifier

TASK = find_task("word_problems")


def sweep_of(**changes: Any) -> Sweep:
    problem = Problem("one", "?", "1", "word_problems")
    plain = Sweep(
        proposer=Proposer(),
        problems={"word_problems": [problem]},
        verifiers=[],
        searches=["majority"],
        budgets=[64],
        seeds=[0],
        config=SolveConfig(max_tokens=24),
        dials={},
    )
    return replace(plain, **changes)


def names(cells: list[Cell]) -> list[tuple[str, tuple[str, ...], int | None, int]]:
    return [(c.config.search, c.proposer.verifiers, c.config.budget, c.config.seed) for c in cells]


def test_every_list_is_crossed_with_the_others() -> None:
    cells = cells_of(
        sweep_of(
            searches=["majority", "beam"],
            budgets=[32, 64],
            seeds=[0, 1],
            verifiers=[("oracle",)],
        )
    )
    assert names(cells) == [
        (search, team, budget, seed)
        for search, team in (("majority", ()), ("beam", ("oracle",)))
        for budget in (32, 64)
        for seed in (0, 1)
    ]


def test_a_search_without_a_judge_is_not_repeated_for_each() -> None:
    teams = [("tiny/vocab", "oracle"), ("tiny/vocab", "tiny/outcome"), ("oracle",), ("tiny/vocab",)]
    cells = cells_of(sweep_of(searches=["majority", "best_of_n"], verifiers=teams))
    by_search = {
        search: {cell.proposer.verifiers for cell in cells if cell.config.search == search}
        for search in ("majority", "best_of_n")
    }
    assert by_search == {"majority": {("tiny/vocab",), ()}, "best_of_n": {*teams[:3]}}
    assert len(cells) == 5


def test_budgets_bind_unless_a_dial_is_given() -> None:
    searches = ["majority", "mcts", "revision", "beam"]
    swept = sweep_of(searches=searches, verifiers=[("oracle",)], budgets=[500])
    found = {cell.config.search: cell.config for cell in cells_of(swept)}
    assert found["majority"].fill
    assert found["mcts"].iterations == found["revision"].samples == 500
    by_hand = replace(swept, dials={"samples": 3, "iterations": 7, "width": 2})
    found = {cell.config.search: cell.config for cell in cells_of(by_hand)}
    assert (found["majority"].fill, found["majority"].samples) == (False, 3)
    assert (found["mcts"].iterations, found["revision"].samples) == (7, 3)
    assert (found["beam"].width, found["mcts"].width) == (2, 4)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"searches": ["bogo"]}, "no search 'bogo'"),
        ({"searches": ["beam"]}, "beam needs a verifier"),
        ({"searches": ["beam"], "verifiers": [("tiny/vocab",)]}, "is tiny/vocab"),
        ({"verifiers": [("oracle",)]}, "oracle judges what is found"),
        ({"dials": {"width": 3}}, "no search of majority has a use for --width"),
        ({"verifiers": [("nowhere",)]}, "no verifier 'nowhere'"),
    ],
)
def test_what_would_do_nothing_is_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        _ = cells_of(sweep_of(**changes))


# ---- budgets


@pytest.mark.parametrize("search", REPEATED)
@pytest.mark.parametrize("budget", [1, 7, 24, 25, 90, 300])
def test_attempts_are_drawn_until_the_budget_is_spent(
    search: str, budget: int, toy_policy: LocalPolicy, sums: list[Problem]
) -> None:
    config = SolveConfig(search, max_tokens=24, budget=budget, fill=True)
    oracle = OracleVerifier(TASK, toy_policy.tokenizer)
    for row in solve(toy_policy, TASK, sums[:4], config, verifier=oracle):
        assert row["sampled_tokens"] == budget
        attempts = [node for node in row["nodes"][1:] if node["tokens"]]
        whole = [n for n in attempts if n["terminal"] or len(n["tokens"]) == 24]
        assert len(whole) >= len(attempts) - 1, "only the last is cut short"
        if search in ("best_of_n", "weighted_majority"):
            assert all(n["value"] is not None for n in row["nodes"] if n["terminal"])


def test_filling_is_alone_as_in_a_batch_and_the_same_for_votes_and_values(
    toy_policy: LocalPolicy, sums: list[Problem]
) -> None:
    oracle = OracleVerifier(TASK, toy_policy.tokenizer)

    def tokens(search: str, problems: list[Problem], chunk: int = 64) -> list[list[list[int]]]:
        config = SolveConfig(search, max_tokens=24, budget=120, fill=True)
        rows = solve(toy_policy, TASK, problems, config, verifier=oracle, chunk=chunk)
        return [[node["tokens"] for node in row["nodes"]] for row in rows]

    together = tokens("majority", sums[:5])
    assert together == tokens("majority", sums[:5], chunk=1) == tokens("best_of_n", sums[:5])


def test_filling_needs_a_budget_and_stops_for_an_accepted_attempt(
    toy_policy: LocalPolicy, sums: list[Problem]
) -> None:
    tree = Tree(sums[0], 0, (1,))
    with pytest.raises(UserError, match="no budget to fill"):
        _ = SolveConfig("majority", fill=True).steps(tree, "\n")
    oracle = OracleVerifier(TASK, toy_policy.tokenizer)
    config = SolveConfig("best_of_n", max_tokens=24, budget=2000, fill=True, accept=1.0)
    rows = list(solve(toy_policy, TASK, sums[:6], config, verifier=oracle))
    assert any(row["sampled_tokens"] < 1500 for row in rows)
    assert all(row["grade"] for row in rows if row["sampled_tokens"] < 1500)


def test_a_search_that_draws_nothing_is_not_repeated_for_ever() -> None:
    def idle(count: int) -> Steps[None]:
        del count
        return
        yield  # a generator

    problem = Problem("one", "?", "1", "word_problems")
    assert list(fill(Tree(problem, 0, (1,)), idle, budget=10, max_tokens=4)) == []
    assert set(REPEATED) <= set(SEARCHES)
    assert SamplingParams().max_tokens > 0


# ---- figures


def cell(search: str, budget: int, seed: int, *verifiers: str) -> Cell:
    return Cell(
        "word_problems",
        Proposer(verifiers=verifiers),
        SolveConfig(search, budget=budget, seed=seed),
    )


def outcomes(grades: list[bool | None], tokens: int, *, right: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "problem": f"p{i}",
            "grade": grade,
            "attempts": 2,
            "right": right or int(grade is True),
            "sampled_tokens": tokens + i,
            "positions_computed": 2 * tokens,
        }
        for i, grade in enumerate(grades)
    ]


GRID = [
    (cell("majority", 64, 0), outcomes([True, False, False, False], 62)),
    (cell("majority", 64, 1), outcomes([True, True, False, False], 62)),
    (cell("majority", 128, 0), outcomes([True, True, False, None], 126)),
    (cell("majority", 128, 1), outcomes([True, True, True, None], 126)),
    (cell("beam", 64, 0, "oracle"), outcomes([True, True, True, False], 40, right=1)),
    (cell("beam", 64, 1, "oracle"), outcomes([True, True, True, True], 40, right=1)),
    (cell("beam", 128, 0, "oracle"), outcomes([True, True, True, True], 100, right=1)),
    (cell("beam", 128, 1, "oracle"), outcomes([True, True, True, True], 100, right=1)),
]


def grid(**how: Any) -> dict[str, Any]:
    return results_of([c for c, _ in GRID], [rows for _, rows in GRID], **{"baseline": None} | how)


def test_rows_hold_the_contracts_figures() -> None:
    rows = grid()["rows"]
    wanted = {
        *("task", "policy", "verifier", "search", "budget", "seed", "n", "accuracy", "low"),
        *("high", "sampled_tokens", "positions_computed"),
    }
    assert len(rows) == 8
    assert all(wanted <= row.keys() for row in rows)
    first, unjudged = rows[0], rows[2]
    assert (first["search"], first["budget"], first["seed"], first["n"]) == ("majority", 64, 0, 4)
    assert (first["accuracy"], first["verifier"], first["policy"]) == (0.25, None, "tiny")
    assert (first["sampled_tokens"], first["total_sampled_tokens"]) == (63.5, 254)
    assert first["positions_computed"] == 124
    assert 0 < first["low"] < 0.25 < first["high"] < 1
    assert (unjudged["accuracy"], unjudged["unjudged"]) == (pytest.approx(2 / 3), 1)
    assert rows[4]["any_right"] == 1


def test_seeds_are_pooled_problem_by_problem() -> None:
    pooled = {(row["search"], row["budget"]): row for row in grid()["pooled"]}
    row = pooled["majority", 64]
    assert (row["accuracy"], row["n"], row["seeds"]) == (0.375, 4, 2)
    assert (row["low"], row["high"]) == (0.0, 0.75), "resamples of [1, 1/2, 0, 0]"
    sure = pooled["beam", 128]
    assert (sure["accuracy"], sure["high"]) == (1.0, 1.0)
    assert 0.4 < sure["low"] < 0.6, "four problems are not certainty"
    seeds = [outcomes([True, None, None], 5), outcomes([False, True, None], 5)]
    assert pooled_values(seeds) == [0.5, 1.0, None]
    with pytest.raises(UserError, match="different problems"):
        _ = pooled_values([seeds[0], seeds[1][:2]])
    assert estimate([None]).value is None


def test_differences_are_paired_and_at_equal_tokens_too() -> None:
    results = grid()
    assert results["baseline"] == "majority"
    small, large = results["paired"]
    assert (small["search"], small["budget"], small["verifier"]) == ("beam", 64, "oracle")
    assert small["difference"] == pytest.approx(0.875 - 0.375)
    assert (small["baseline_tokens"], small["sampled_tokens"]) == (63.5, 41.5)
    assert small["at_equal_tokens"] is None, "majority was not run so cheap"
    assert large["difference"] == pytest.approx(1 - (1 + 1 + 0.5) / 3)
    even = large["at_equal_tokens"]["difference"]
    assert 1 - (1 + 1 + 0.5) / 3 < even < 1 - (1 + 0.5 + 0) / 3
    assert {small["verdict"], large["verdict"]} <= {"better", "no clear difference"}
    assert grid(baseline="beam")["paired"] == [], "majority has no judge to stand beside beam's"
    with pytest.raises(UserError, match="--baseline is dfs"):
        _ = grid(baseline="dfs")


def test_a_curve_is_read_off_in_log_tokens() -> None:
    curve = [Point([0.0, 1.0, None], 100.0), Point([1.0, 1.0, 0.0], 400.0)]
    assert matched(curve, 200.0) == [pytest.approx(0.5), 1.0, None]
    assert matched(curve, 100.0) == [0.0, 1.0, None]
    assert matched(curve, 404.0) == [1.0, 1.0, 0.0]
    assert matched(curve, 50.0) is None
    assert matched(curve, 500.0) is None
    assert matched([Point([1.0], 0.0)], 0.0) is None


def test_results_are_json_and_their_drawing_is_well_formed() -> None:
    results = json.loads(json.dumps(grid(), allow_nan=False))
    root = ElementTree.fromstring(figure(results))
    text = "".join(root.itertext())
    assert "majority" in text
    assert "beam \u00b7 oracle" in text
    html = page(results)
    assert figure(results) == figure(results)
    assert "<script" not in html
    assert "http://" not in html.replace("http://www.w3.org", "")


def test_names_cannot_break_out_of_the_page() -> None:
    hostile = '"><script>alert(1)</script>&'
    cells = [replace(c, task=hostile, proposer=Proposer(verifiers=(hostile,))) for c, _ in GRID]
    results = results_of(cells, [rows for _, rows in GRID], baseline=None)
    _ = ElementTree.fromstring(figure(results))
    assert "<script" not in page(results) + figure(results)


def test_verifiers_of_one_last_name_are_told_apart() -> None:
    teams = [("runs/a/prm",), ("runs/b/prm",), ("runs/a/prm", "oracle")]
    cells = [cell("beam", 64, 0, *team) for team in teams]
    rows = [outcomes([True, False], 8)] * 3
    results = results_of([cell("beam", 64, 0, "oracle"), *cells], [rows[0], *rows], baseline=None)
    name = method_names(results)
    assert [name(row) for row in results["pooled"]] == [
        "beam \u00b7 oracle",
        "beam \u00b7 a/prm",
        "beam \u00b7 b/prm",
        "beam \u00b7 a/prm+oracle",
    ]


def test_nothing_judged_is_no_figure_and_no_fault() -> None:
    results = results_of([cell("majority", 8, 0)], [outcomes([None, None], 8)], baseline=None)
    assert results["rows"][0]["accuracy"] is None
    assert "Nothing was compared" in page(results)
    _ = ElementTree.fromstring(figure(results))
