"""The GSM8K reader: its splits, and the form in which it gives reference solutions."""

import json
import re
import time
from collections import Counter
from pathlib import Path

import pytest

from system2.core import Problem, Split, UserError
from system2.tasks import gsm8k
from system2.tasks.gsm8k import reference_solution
from system2.tasks.splits import split_of


@pytest.fixture
def at_data(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SYSTEM2_DATA", str(shared_data))
    return shared_data


def all_of(split: Split, seed: int = 0) -> list[Problem]:
    return list(gsm8k.problems(split, seed))


@pytest.mark.parametrize(
    ("published", "rewritten"),
    [
        ("5+3 = <<5+3=8>>8\n#### 8", "5 + 3 = 8 So the answer is 8."),
        (
            "So 2*3=<<2*3=6>>6.\nThen 6/2=3.\n#### 3",
            "So 2 * 3 = 6. Then 6 / 2 = 3. So the answer is 3.",
        ),
        ("50*.6 - 2 = $28\n#### 28", "50 * .6 - 2 = $28 So the answer is 28."),
        ("$4*(2+1)= $12\n#### 12", "$4 * (2 + 1) = $12 So the answer is 12."),
        ("50%*8=4\n#### 4", "50% * 8 = 4 So the answer is 4."),
        ("2x4=8 and 3x = 9\n#### 8", "2 x 4 = 8 and 3x = 9 So the answer is 8."),
        ("A two-thirds share.\n#### 1,080", "A two-thirds share. So the answer is 1080."),
        ("10-20=-10\n#### -10", "10 - 20 = -10 So the answer is -10."),
        ("It is >=3 or <=4.\n#### 3", "It is >=3 or <=4. So the answer is 3."),
    ],
)
def test_reference_solutions(published: str, rewritten: str) -> None:
    assert reference_solution(published) == rewritten


def test_an_answer_without_its_mark_is_refused() -> None:
    with pytest.raises(UserError, match="####"):
        reference_solution("5 + 3 = 8")


def test_the_published_row_of_llm2_is_reproduced(at_data: Path) -> None:
    row = json.loads((at_data / "llm2" / "readme_example.jsonl").read_text().splitlines()[0])
    question, solution = (message["content"] for message in row["messages"])
    first = json.loads((at_data / "gsm8k" / "train.jsonl").read_text().split("\n")[0])
    assert first["question"] == question
    assert reference_solution(first["answer"]) == solution


@pytest.mark.parametrize(("split", "size"), [("train", 6784), ("validation", 689), ("test", 1319)])
def test_splits_have_their_sizes_and_golds(at_data: Path, split: Split, size: int) -> None:
    problems = all_of(split)
    assert len(problems) == size
    for problem in problems:
        assert re.fullmatch(r"-?\d+(\.\d+)?", problem.answer)
        solution = problem.metadata["solution"]
        assert solution.endswith(f" So the answer is {problem.answer}.")
        assert "<<" not in solution
        assert "\n" not in solution


def test_rewriting_changes_nothing_but_space(at_data: Path) -> None:
    for problem in all_of("test"):
        body = problem.metadata["published_solution"].rpartition("####")[0]
        bare = re.sub(r"<<[^<>]*>>|\s", "", body)
        assert (
            re.sub(r"\s", "", problem.metadata["solution"].rpartition(" So the answer")[0]) == bare
        )


def test_nothing_of_the_training_file_is_lost(at_data: Path) -> None:
    published = (at_data / "gsm8k" / "train.jsonl").read_text().splitlines()
    questions = Counter(json.loads(line)["question"] for line in published)
    assert (
        Counter(p.prompt for split in ("train", "validation") for p in all_of(split)) == questions
    )


def test_the_seed_only_shuffles(at_data: Path) -> None:
    plain, one, again = all_of("test"), all_of("test", 1), all_of("test", 1)
    assert one == again
    assert one != plain
    assert sorted(one, key=lambda problem: problem.id) == sorted(
        plain, key=lambda problem: problem.id
    )


def test_a_folder_of_ones_own_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTEM2_DATA", str(tmp_path))
    folder = tmp_path / "gsm8k"
    folder.mkdir()
    rows = [{"question": f"{i}?", "answer": f"{i}\n#### {i}"} for i in range(40)]
    rows.append({"question": "7 ?", "answer": "7 once more\n#### 7"})
    text = "\n\n".join(map(json.dumps, rows))
    (folder / "train.jsonl").write_text(text)
    (folder / "test.jsonl").write_text(json.dumps(rows[3]))
    train, validation, test = (all_of(split) for split in ("train", "validation", "test"))
    assert [problem.prompt for problem in test] == ["3?"]
    assert "3?" not in {problem.prompt for problem in train + validation}
    assert len(train) + len(validation) == 39
    held = {f"{i}?" for i in range(40) if i not in (3, 7) and split_of(f"{i}?") == "validation"}
    assert held == {problem.prompt for problem in validation} - {"7 ?"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"question": "a", "answer": "#### 1"}\n{"question": ', "line 2"),
        ('{"question": "a", "answer": "#### 1"}\n[1]', "row 2 is no JSON object"),
        ('{"question": "a"}', "lacks 'answer'"),
        ("\xff\xfe", "cannot be read"),
    ],
)
def test_broken_files_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, message: str
) -> None:
    monkeypatch.setenv("SYSTEM2_DATA", str(tmp_path))
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.jsonl").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=message):
        all_of("test")


def test_without_files_and_network_one_line_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYSTEM2_DATA", str(tmp_path))
    begin = time.perf_counter()
    with pytest.raises(UserError, match=r"gsm8k/test\.jsonl.*openai/gsm8k.*SYSTEM2_DATA") as caught:
        all_of("test")
    assert "\n" not in str(caught.value)
    assert time.perf_counter() - begin < 20
