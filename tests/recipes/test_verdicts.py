"""Every recipe runs to a verdict, on a plan made small enough for a test."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from system2.cli.app import main
from system2.recipes import (
    best_of_n,
    hex_compute,
    mcts_best_first,
    meta_critic,
    pass_at_k,
    search_methods,
    verifier_data,
)
from system2.recipes.verdict import RECIPES, find_recipe

LITTLE: dict[str, tuple[Any, dict[str, Any]]] = {
    "pass_at_k": (pass_at_k, {"train": 80, "problems": 6, "samples": 4, "checkpoints": 2}),
    "best_of_n": (
        best_of_n,
        {"problems": 4, "samples": 4, "policy": "tiny", "verifier": "tiny/outcome"},
    ),
    "verifier_data": (
        verifier_data,
        {"sizes": (4, 8), "measured": 4, "rollouts": 2, "problems": 4, "label_rollouts": 2}
        | {"attempts": 2, "layout": "shared", "budget": 200},
    ),
    "search_methods": (
        search_methods,
        {"problems": 4, "budgets": (100, 200), "verifier": "optimal", "dials": {"branch": 2}},
    ),
    "mcts_best_first": (mcts_best_first, {"problems": 4, "budget": 200, "verifier": "optimal"}),
    "meta_critic": (
        meta_critic,
        {"train": 12, "samples": 4, "problems": 4, "budgets": (100,), "adapted": 1},
    ),
    "hex_compute": (
        hex_compute,
        {"size": 3, "positions": 6, "generations": (1, 2), "evaluations": (1, 3), "games": 3},
    ),
}
"""The module of each recipe, and the part of its small plan that a test makes smaller still."""


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_comes_to_a_verdict(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module, less = LITTLE[name]
    monkeypatch.setitem(module.PLANS, "small", replace(module.PLANS["small"], **less))
    assert find_recipe(name) is module.run
    words = ["recipe", name, "--out", str(tmp_path / "r")]
    assert main([*words, "--json"]) == 0
    result = json.loads((tmp_path / "r" / "results.json").read_text())
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == result
    assert result["claim"] == module.CLAIM
    assert isinstance(result["holds"], bool)
    assert result["figures"]["rows"]
    again = (tmp_path / "r" / "results.json").read_text()
    assert main(words) == 0
    figures = json.loads((tmp_path / "r" / "results.json").read_text())["figures"]
    assert figures == json.loads(again)["figures"]
    said = capsys.readouterr().out
    assert module.CLAIM in said


def test_an_unknown_recipe_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "alchemy", "--out", str(tmp_path)]) == 2
    assert "no recipe 'alchemy'; there are pass_at_k" in capsys.readouterr().err
