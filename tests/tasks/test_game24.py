"""The Game of 24: published hands, published labels, and hands of our own."""

import csv
import json
from pathlib import Path

import pytest

from system2.core import SPLITS, UserError
from system2.tasks import game24
from system2.tasks.game24 import Difficulty, check, hand_problem

SAMPLES = "tot_game24/game24__gpt-4_0.7_naive_cot_sample_100_start900_end1000.json"


def test_all_published_labels_are_reproduced(shared_data: Path) -> None:
    hands = game24.read_hands(shared_data / "game24" / "24.csv")
    labels = 0
    for row in json.loads((shared_data / SAMPLES).read_text()):
        problem = hand_problem(hands[row["idx"]])
        assert problem is not None
        for text, info in zip(row["ys"], row["infos"], strict=True):
            assert check(problem.metadata["numbers"], text) == bool(info["r"]), text
            assert game24.grade(problem, text) == bool(info["r"]), text
            labels += 1
    assert labels == 10_000


def test_the_published_list_is_split_as_it_is_known(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYSTEM2_DATA", str(shared_data))
    with (shared_data / "game24" / "24.csv").open() as file:
        hands = [list(map(int, row["Puzzles"].split())) for row in csv.DictReader(file)]
    by_split = {split: list(game24.file_problems(split, 0)) for split in SPLITS}
    assert [problem.metadata["numbers"] for problem in by_split["test"]] == hands[900:1000]
    assert by_split["test"][0].metadata["rank"] == "901"
    assert sum(map(len, by_split.values())) == len(hands) == 1362
    assert 100 < len(by_split["validation"]) < 160
    shuffled = list(game24.file_problems("test", 1))
    assert shuffled != by_split["test"]
    assert {problem.id for problem in shuffled} == {problem.id for problem in by_split["test"]}


def test_every_solvable_hand_is_in_one_split() -> None:
    by_split = [list(game24.problems(split, 0)) for split in SPLITS]
    hands = {tuple(sorted(p.metadata["numbers"])) for found in by_split for p in found}
    assert len(hands) == sum(map(len, by_split)) == 1362
    assert {p.id for p in by_split[2]} == {p.id for p in game24.problems("test", 5)}


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Answer: (13 - 9) * (12 - 6) = 24", True),
        ("Answer: (13 - 9) * (12 - 6) = 48", True),  # the published rule reads the expression only
        ("(13 - 9) × (12 - 6)", True),
        ("answer: (13 - 9) * (12 - 6) + 6 - 6", False),
        ("Answer: (13 - 9) * 6", False),
        ("Answer: 24", False),
        ("Answer: 6 * 4 = 24", False),
        ("Answer: 12 / (9 - 9) = 24", False),
        ("", False),
        ("Answer:", False),
        ("(" * 10**6, False),
        ("Answer: " + "9" * 10**6, False),
    ],
)
def test_texts(text: str, right: bool) -> None:
    assert check([6, 9, 12, 13], text) == right


def test_a_false_step_is_refused_by_grade_only() -> None:
    problem = hand_problem([6, 9, 12, 13])
    assert problem is not None
    text = "13 - 9 = 5\nAnswer: (13 - 9) * (12 - 6) = 24"
    assert check([6, 9, 12, 13], text)
    assert not game24.grade(problem, text)


def test_fractions_on_the_way() -> None:
    problem = hand_problem([8, 3, 8, 3])
    assert problem is not None
    assert problem.metadata["solution"] == (
        "8 / 3 = 8/3\n3 - (8/3) = 1/3\n8 / (1/3) = 24\nSo the answer is 8 / (3 - 8 / 3)."
    )
    lines = problem.metadata["solution"].splitlines()
    assert [game24.optimal(problem, "\n".join(lines[:n])) for n in range(5)] == [1.0] * 5
    assert hand_problem([1, 1, 1, 1]) is None


def test_other_targets_and_dials_out_of_range() -> None:
    dials = Difficulty(max_number=5, target=10)
    found = [p for split in SPLITS for p in game24.problems(split, 0, dials)]
    assert found
    assert all(game24.grade(p, p.metadata["solution"]) for p in found)
    assert max(max(p.metadata["numbers"]) for p in found) == 5
    for wrong in ({"max_number": 0}, {"max_number": 51}, {"target": 0}):
        with pytest.raises(UserError):
            Difficulty(**wrong)


@pytest.mark.parametrize(
    "row", ["1,1 1 4,9", "1,a b c d,9", "1,,9", "1,1 1 4 -6,9", "1", "1,1 1 4 6 7,2", "1,² 1 1 1,2"]
)
def test_a_row_without_a_hand_is_named(row: str, tmp_path: Path) -> None:
    file = tmp_path / "24.csv"
    file.write_text(f"Rank,Puzzles,AMT (s)\n{row}\n")
    with pytest.raises(UserError, match="Game of 24"):
        game24.read_hands(file)


def test_without_the_file_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYSTEM2_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"game24/24\.csv is not on disk: set SYSTEM2_DATA"):
        _ = list(game24.file_problems("test", 0))
