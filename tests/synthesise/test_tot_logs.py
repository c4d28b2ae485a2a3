"""Logs of Tree of Thoughts become trees: every thought, its parent, its value, its grade."""

import json
from pathlib import Path
from typing import Any

import pytest

from system2.core import UserError
from system2.evaluate.trees import summarise
from system2.synthesise.tot_logs import read_tot_log

SEARCHED = "tot_game24/game24__gpt-4_0.7_propose1_value3_greedy5_start900_end1000.json"
SAMPLED = "tot_game24/game24__gpt-4_0.7_naive_cot_sample_100_start900_end1000.json"

FIRST, OTHER = "13 - 9 = 4 (left: 4 6 12)\n", "6 + 9 = 15 (left: 12 13 15)\n"
SECOND = FIRST + "12 - 6 = 6 (left: 4 6)\n"
LAST = SECOND + "Answer: (13 - 9) * (12 - 6) = 24\n"
LOG: list[dict[str, Any]] = [
    {
        "idx": 7,
        "steps": [
            {
                "x": "6 9 12 13",
                "ys": [""],
                "new_ys": [FIRST, OTHER],
                "values": [60.0, 0.003],
                "select_new_ys": [FIRST],
            },
            {"ys": [FIRST], "new_ys": [SECOND], "values": [3.0], "select_new_ys": [SECOND]},
            {"ys": [SECOND], "new_ys": [LAST], "values": [60], "select_new_ys": [LAST]},
        ],
        "ys": [LAST],
        "infos": [{"r": 1}],
        "usage_so_far": {"completion_tokens": 90},
    }
]


def write(path: Path, log: object) -> Path:
    path.write_text(json.dumps(log))
    return path


def whole(nodes: list[dict[str, Any]], index: int | None) -> str:
    if index is None:
        return ""
    return whole(nodes, nodes[index]["parent"]) + nodes[index]["text"]


def test_a_small_log(tmp_path: Path) -> None:
    (row,) = read_tot_log(write(tmp_path / "log.json", LOG))
    nodes = row["nodes"]
    assert [node["parent"] for node in nodes] == [None, 0, 0, 1, 3]
    assert [node["depth"] for node in nodes] == [0, 1, 1, 2, 3]
    assert [node["value"] for node in nodes] == [None, 1.0, 0.003 / 60, 0.05, 1.0]
    assert [node.get("kept") for node in nodes] == [None, True, False, True, True]
    assert [node["terminal"] for node in nodes] == [False] * 4 + [True]
    assert nodes[4]["text"] == "Answer: (13 - 9) * (12 - 6) = 24\n"
    assert row["answer"] == nodes[4]["answer"] == "(12 - 6) * (13 - 9)"
    assert row["grade"] is nodes[4]["grade"] is True
    assert row["sampled_tokens"] == 90
    assert row["problem"]["metadata"]["numbers"] == [6, 9, 12, 13]


def test_the_published_search_is_read_whole(shared_data: Path) -> None:
    log = json.loads((shared_data / SEARCHED).read_text())
    rows = list(read_tot_log(shared_data / SEARCHED))
    assert len(rows) == len(log) == 100
    for row, puzzle in zip(rows, log, strict=True):
        nodes = row["nodes"]
        proposed = [text for step in puzzle["steps"] for text in step["new_ys"]]
        assert [whole(nodes, index) for index in range(1, len(nodes))] == proposed
        by_text = {whole(nodes, index): node for index, node in enumerate(nodes)}
        for text, info in zip(puzzle["ys"], puzzle["infos"], strict=True):
            assert by_text[text].get("grade", False) == bool(info["r"])
            assert by_text[text]["kept"]
        assert row["problem"]["metadata"]["numbers"] == list(
            map(int, puzzle["steps"][0]["x"].split())
        )
    # 74% is said of the search that has any right answer among its five: this log has 69
    assert sum(any(info["r"] for info in puzzle["infos"]) for puzzle in log) == 69
    assert sum(row["grade"] is True for row in rows) == 62
    assert (
        sum(row["sampled_tokens"] for row in rows) == (log[-1]["usage_so_far"]["completion_tokens"])
    )
    assert summarise(rows)["accuracy"] == 0.62


def test_the_published_samples_are_a_tree_of_leaves(shared_data: Path) -> None:
    rows = list(read_tot_log(shared_data / SAMPLED))
    attempts = [node for row in rows for node in row["nodes"][1:]]
    assert len(attempts) == 10_000
    assert all(node["parent"] == 0 and node["terminal"] for node in attempts)
    assert sum(node["grade"] for node in attempts) == 403
    assert summarise(rows[:3])["attempts"] == 100


def changed(**changes: Any) -> list[dict[str, Any]]:
    return [LOG[0] | changes]


def step(**changes: Any) -> list[dict[str, Any]]:
    return changed(steps=[LOG[0]["steps"][0] | changes])


@pytest.mark.parametrize(
    ("log", "named"),
    [
        ({}, "not a JSON list"),
        ([3], "puzzle 1.*no row"),
        ([{}], "no row"),
        (changed(ys=3), '"ys"'),
        (changed(ys=[3]), '"ys"'),
        (changed(steps=3), '"steps"'),
        (changed(steps=[3]), "a step is no object"),
        (changed(usage_so_far={"completion_tokens": "many"}), "completion_tokens"),
        (changed(usage_so_far={"completion_tokens": -1}), "completion_tokens"),
        (step(values=[1.0]), "2 new_ys but 1 values"),
        (step(values=[1.0, None]), "no sum of 3 votes"),
        (step(values=[1.0, 61]), "no sum of 3 votes"),
        (step(values=[1.0, 10**400]), "no sum of 3 votes"),
        (step(values=[float("nan"), 1]), "no sum of 3 votes"),
        (step(new_ys=[1, 2]), '"new_ys"'),
        (step(ys=["from nowhere"]), "goes on from nothing"),
        (step(x="1 1 1 1"), "has no solution"),
        (step(x="1 2 3"), "has no solution"),
        (step(x="a b c d"), "no list of whole numbers"),
        (step(x="1 " * 9), "has no solution"),
        ([{"ys": ["a"], "infos": []}], "1 ys but 0 infos"),
    ],
)
def test_what_is_no_log_is_refused_by_name(log: object, named: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=named):
        _ = list(read_tot_log(write(tmp_path / "log.json", log)))


@pytest.mark.parametrize("text", ["", "[", "[" * 10**5, "[1e5", "\xff", "[" + "9" * 5000 + "]"])
def test_what_is_no_json_is_refused_by_name(text: str, tmp_path: Path) -> None:
    file = tmp_path / "log.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"log\.json"):
        _ = list(read_tot_log(file))


def test_more_votes_may_be_said(tmp_path: Path) -> None:
    file = write(tmp_path / "log.json", step(values=[100.0, 0.0]))
    (row,) = read_tot_log(file, votes=5)
    assert [node["value"] for node in row["nodes"]] == [None, 1.0, 0.0]
    with pytest.raises(UserError, match="votes is 0"):
        _ = list(read_tot_log(file, votes=0))
