"""`system2 show`: our trees and published logs as indented text, whatever their texts hold."""

import json
from pathlib import Path
from typing import Any

import pytest

from system2.cli.app import main
from system2.core import UserError
from system2.evaluate.outline import outline, printable

LOG = "tot_game24/game24__gpt-4_0.7_propose1_value3_greedy5_start900_end1000.json"


def node(parent: int | None, text: str, **more: Any) -> dict[str, Any]:
    return {"parent": parent, "text": text, "terminal": False, "value": None} | more


def tree(*nodes: dict[str, Any], id: str = "sum-1", **more: Any) -> dict[str, Any]:
    problem = {"id": id, "task": "countdown", "prompt": "Make 8 of 5 and 3.", "answer": "5 + 3"}
    return {
        "problem": problem,
        "nodes": [node(None, ""), *nodes],
        "answer": "3 + 5",
        "grade": True,
        "sampled_tokens": 9,
    } | more


TREE = tree(
    node(0, "5 + 3 = 8\n", value=0.75),
    node(0, "5 - 3 = 2\n", value=0.125, kept=False),
    node(1, "So the answer is 5 + 3.", terminal=True, value=1.0, answer="3 + 5", grade=True),
    node(1, "So it is 8.", terminal=True, answer=None, grade=False),
)


def write(path: Path, *rows: dict[str, Any]) -> Path:
    lines = [{"manifest": {}}, *rows]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def shown(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main(["show", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_a_tree_is_shown_with_values_grades_and_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(capsys, write(tmp_path / "trees.jsonl", TREE)) == (
        "sum-1\n"
        "Make 8 of 5 and 3.\n"
        "├── 5 + 3 = 8  [0.75]\n"
        "│   ├── So the answer is 5 + 3.  [1]  right  answer\n"
        "│   └── So it is 8.  wrong\n"
        "└── 5 - 3 = 2  [0.125]  dropped\n"
        "tree 0: 5 nodes, 2 finished attempts, answer 3 + 5 (right)\n"
    )


def test_a_problem_is_named_by_its_number_or_its_id(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [tree(node(0, f"step {name}"), id=name) for name in ("a", "b", "7")]
    file = write(tmp_path / "trees.jsonl", *rows)
    assert "step a" in shown(capsys, file)
    assert "step b" in shown(capsys, file, "--problem", "1")
    assert "step b" in shown(capsys, file, "--problem", "b")
    assert "step 7" in shown(capsys, file, "--problem", "7")
    for absent in ("3", "c", "-1", "9" * 5000):
        assert main(["show", str(file), f"--problem={absent}"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "the file holds 3, numbered from 0" in line


def test_the_published_log_is_shown_as_a_tree(
    shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = shown(capsys, shared_data / LOG)
    assert "├── 4 + 5 = 9 (left: 6 9 10)  [0.05]\n" in said
    assert "│   ├── 6 + 9 = 15 (left: 10 15)  [0.0333]\n" in said
    assert "Answer: (4 * 5) + (10 - 6) = 24  [1]  right  answer\n" in said
    assert said.endswith(" nodes, 2 finished attempts, answer 10 + 4 * 5 - 6 (right)\n")
    log = json.loads((shared_data / LOG).read_text())
    result = json.loads(shown(capsys, shared_data / LOG, "--problem", 99, "--json"))
    assert result["nodes"] == 1 + sum(len(step["new_ys"]) for step in log[99]["steps"])


def test_no_text_acts_on_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]0;title\x07\x1b[2J[bold red]x[/] :smile: \u202eback\r\x9b31m\u200b\ud800 [link=http://a]b"
    row = tree(node(0, evil, terminal=True, answer=evil, grade=True), id=evil, answer=evil)
    row["problem"]["prompt"] = evil
    said = shown(capsys, write(tmp_path / "trees.jsonl", row))
    assert set(said) <= {"\n", *filter(str.isprintable, said)}
    assert "[bold red]x[/] :smile:" in said
    assert "\\x1b]0;title\\x07" in said
    assert "[link=http://a]b" in said
    assert "\u202e" not in said


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("a\tb\r\nc\n", "a b\nc\n"),
        ("\r", "\\r"),
        ("\x00\x7f\x85", "\\x00\\x7f\\x85"),
        ("\u2028\u2066\ufeff", "\\u2028\\u2066\\ufeff"),
        ("é 数 √ 𝒳", "é 数 √ 𝒳"),
        ("\ud800", "\\ud800"),
    ],
)
def test_printable(text: str, visible: str) -> None:
    assert printable(text) == visible


def test_deep_and_large_trees_are_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chain = [node(at, f"step {at}") for at in range(5000)]
    file = write(tmp_path / "deep.jsonl", tree(*chain), tree(*(node(0, "x") for _ in range(5000))))
    said = shown(capsys, file)
    assert "step 31\n" in said
    assert "step 32" not in said
    assert "(4968 more nodes: see --depth and --nodes)" in said
    assert "step 299\n" in shown(capsys, file, "--depth", 300)
    said = shown(capsys, file, "--problem", 1, "--nodes", 10)
    assert said.count("── x") == 10
    assert "(4990 more nodes" in said


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"problem": None}, "no tree"),
        ({"problem": {}}, 'needs the text "id"'),
        ({"nodes": []}, "no tree"),
        ({"nodes": [3]}, "node 0: no object"),
        ({"nodes": [node(0, "")]}, "parent is 0"),
        ({"nodes": [node(None, ""), node(None, "")]}, "only the first"),
        ({"nodes": [node(None, ""), node(1, "")]}, "node 1: parent is 1"),
        ({"nodes": [node(None, ""), node(True, "")]}, "parent is True"),
        ({"nodes": [node(None, 3)]}, '"text" is 3'),
        ({"nodes": [node(None, "", value="high")]}, "value is 'high'"),
        ({"nodes": [node(None, "", value=10**400)]}, "value is 1000"),
        ({"nodes": [node(None, "", grade=1)]}, "grade is 1"),
        ({"grade": "yes"}, "grade is 'yes'"),
    ],
)
def test_a_broken_tree_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=rf"^tree 4.*{named}"):
        _ = outline(TREE | changes, "tree 4")


@pytest.mark.parametrize("content", ["", "{}\n", "[]", "nothing", '[{"ys": 3}]'])
def test_a_file_of_no_trees_is_refused_in_one_line(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "trees.jsonl"
    file.write_text(content)
    assert main(["show", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("system2: error: ")
