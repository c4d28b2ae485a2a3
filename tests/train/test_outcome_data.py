"""From the rows of a trees file to the solutions that an outcome verifier learns from."""

import json
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
import torch

from system2.core import Problem, UserError
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel
from system2.engine.tokenizer import Tokenizer
from system2.evaluate.solve import SolveConfig, solve
from system2.store import tree_row
from system2.tasks import find_task
from system2.train.outcome import (
    OutcomeFit,
    Solution,
    fit_outcome_verifier,
    outcome_batch,
    solutions_of,
)
from system2.tree import ROOT, Tree

PROBLEM = Problem("p", "Tom has 3 + 4 apples.", "7", "word_problems")


def branched(tokenizer: Tokenizer) -> dict[str, Any]:
    """A tree whose attempts share a first step: right, wrong, unjudged, cut short."""
    tree = Tree(PROBLEM, 0, tokenizer.prompt(PROBLEM.prompt))

    def add(parent: int, text: str, *, terminal: bool) -> int:
        tokens = tokenizer.encode(text)
        return tree.add(parent, tokens, (0.0,) * len(tokens), terminal=terminal)

    step = add(ROOT, "3 + 4", terminal=False)
    right, wrong, unjudged = (add(step, f" = {n}", terminal=True) for n in (7, 8, 9))
    _ = add(step, " is", terminal=False)
    attempts = {right: ("7", True), wrong: ("8", False), unjudged: (None, None)}
    row = tree_row(
        tree, text=tokenizer.decode, answer="7", grade=True, positions_computed=0, attempts=attempts
    )
    return json.loads(json.dumps(row))


def test_graded_attempts_become_solutions_along_their_paths(small_tokenizer: Tokenizer) -> None:
    encode, prompt = small_tokenizer.encode, small_tokenizer.prompt(PROBLEM.prompt)
    assert list(solutions_of([branched(small_tokenizer)], small_tokenizer)) == [
        Solution((*prompt, *encode("3 + 4"), *encode(" = 7")), len(prompt), True),
        Solution((*prompt, *encode("3 + 4"), *encode(" = 8")), len(prompt), False),
    ]


def test_draws_made_on_the_spot_do_as_well(toy_policy: LocalPolicy, sums: list[Problem]) -> None:
    task = find_task("word_problems")
    config = SolveConfig("sample", samples=3, max_tokens=24)
    rows = list(solve(toy_policy, task, sums[:6], config))
    found = list(solutions_of(rows, toy_policy.tokenizer))
    ended = [(row, node) for row in rows for node in row["nodes"] if node["terminal"]]
    assert [s.is_right for s in found] == [node["grade"] for _, node in ended]
    for solution, (row, node) in zip(found, ended, strict=True):
        assert solution.tokens[solution.start :] == tuple(node["tokens"])
        assert solution.tokens[: solution.start] == toy_policy.tokenizer.prompt(
            row["problem"]["prompt"]
        )


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda row: row["nodes"][1].update(tokens=[5, 6]), "another tokenizer"),
        (lambda row: row["nodes"][2].pop("tokens"), "not a tree's row"),
        (lambda row: row["nodes"][2].update(parent=9), "not a tree's row"),
        (lambda row: row["nodes"][2].update(tokens=["a"]), "not a tree's row"),
        (lambda row: row["nodes"][2].update(tokens=[10**12]), "not a tree's row"),
        (lambda row: row.update(nodes=None), "not a tree's row"),
        (lambda row: row.pop("problem"), "not a tree's row"),
        (lambda row: row["problem"].pop("prompt"), "needs the text"),
        (lambda row: row.update(problem=3), "not a tree's row"),
    ],
)
def test_a_row_that_is_no_tree_is_named(
    spoil: Callable[[dict[str, Any]], Any], named: str, small_tokenizer: Tokenizer
) -> None:
    row = branched(small_tokenizer)
    _ = spoil(row)
    with pytest.raises(UserError, match=f"trees.jsonl, tree 2: .*{named}") as caught:
        list(solutions_of([branched(small_tokenizer), row], small_tokenizer, "trees.jsonl"))
    assert "\n" not in str(caught.value)


def test_every_token_of_a_solution_is_a_target_and_nothing_else() -> None:
    batch = outcome_batch([Solution((1, 2, 3, 4, 5), 2, True), Solution((6, 7, 8), 1, False)])
    assert batch.text.tokens.tolist() == [[1, 2, 3, 4, 5], [6, 7, 8, 0, 0]]
    assert batch.text.is_target.int().tolist() == [[0, 0, 1, 1, 1], [0, 1, 1, 0, 0]]
    assert batch.is_right.tolist() == [True, False]
    assert batch.num_targets == 5
    assert torch.equal(batch.to(torch.device("cpu")).is_right, batch.is_right)


def test_the_policy_is_not_moved_and_the_steps_are_counted(
    make_model: Callable[[int], LanguageModel],
) -> None:
    policy = make_model(0)
    before = [p.detach().clone() for p in policy.parameters()]
    solutions = [Solution((1, 2, 3 + i % 2), 1, i % 2 == 0) for i in range(8)]
    config = OutcomeFit(1, epochs=1, learning_rate=1e-2, max_tokens=6, micro_batches=2)
    _, steps, reports = fit_outcome_verifier(policy, solutions, config)
    assert steps == 2
    assert [report.num_targets for report in islice(reports, 5)] == [8, 8]
    for parameter, old in zip(policy.parameters(), before, strict=True):
        assert torch.equal(parameter, old)
