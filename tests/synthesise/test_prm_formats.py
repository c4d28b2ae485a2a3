"""Formats of others: real files there and back, and hostile rows refused by file and line."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from system2.core import Problem, UserError
from system2.store import write_jsonl
from system2.synthesise import json_list
from system2.synthesise.prm_formats import FORMATS, read_labels, write_labels
from system2.synthesise.step_values import UNKNOWN, LabelledSolution, StepLabel

PRM800K, SHEPHERD = "prm_formats/samples_prm800k.jsonl", "prm_formats/samples_math-shepherd.jsonl"
FILES = [
    (PRM800K, "prm800k", 37),
    (SHEPHERD, "math-shepherd", 7),
    ("processbench/gsm8k.json", "processbench", 400),
    ("processbench/math.json", "processbench", 1000),
    ("prm_formats/samples_math-aps.jsonl", "math-aps", 142),
    ("prm_formats/samples_math-aps-tree.jsonl", "math-aps", 242),
]


def rows_of(path: Path) -> list[dict[str, Any]]:
    text = path.read_text()
    return json.loads(text) if text.startswith("[") else list(map(json.loads, text.splitlines()))


def values(solution: LabelledSolution) -> list[float | None]:
    return [label.value for label in solution.labels]


@pytest.mark.parametrize(("name", "form", "count"), FILES, ids=[name for name, *_ in FILES])
def test_real_files_come_back(
    name: str, form: str, count: int, shared_data: Path, tmp_path: Path
) -> None:
    solutions = list(read_labels(shared_data / name, form))
    assert len(solutions) == count
    for target in ["labels", *([form] if FORMATS[form].write else [])]:
        assert write_labels(tmp_path / target, solutions, target) == count
        assert list(read_labels(tmp_path / target, target)) == solutions
    if form in ("math-shepherd", "processbench"):  # to the letter
        assert rows_of(tmp_path / form) == rows_of(shared_data / name)


def test_ratings_and_chosen_paths_are_read(shared_data: Path) -> None:
    row = rows_of(shared_data / PRM800K)[0]
    first, *others = read_labels(shared_data / PRM800K, "prm800k")
    steps = row["label"]["steps"]
    assert first.problem.prompt == row["question"]["problem"]
    assert first.problem.answer == "29"
    assert values(first) == [1.0, None, 1.0, 1.0, 1.0, 1.0]  # a person's own has no rating
    assert first.steps[1] == steps[1]["human_completion"]["text"] + "\n"
    assert first.steps[-1] == steps[-1]["completions"][4]["text"]
    assert first.is_finished
    assert [values(other) for other in others[:5]] == [[None, 0.0]] * 5
    assert others[0].steps[1] == steps[1]["completions"][0]["text"]
    assert values(others[5]) == [None] * 5 + [0.5]
    assert not others[0].is_finished


def test_the_first_wrong_step_is_known_and_nothing_after(shared_data: Path) -> None:
    path = shared_data / "processbench/gsm8k.json"
    for row, solution in zip(rows_of(path), read_labels(path, "processbench"), strict=True):
        label, count = row["label"], len(row["steps"])
        if label < 0:
            assert values(solution) == [1.0] * count
        else:
            assert values(solution) == [1.0] * label + [0.0] + [None] * (count - label - 1)
        assert solution.grade is row["final_answer_correct"]


@pytest.fixture
def solution() -> LabelledSolution:
    problem = Problem("p", "How many?", "7", "sums")
    labels = (StepLabel(0.25, 4, 16), StepLabel(0.0, 0, 16), StepLabel(0.75, 12, 16))
    return LabelledSolution(problem, ("a\n", "b\n", "so 7"), labels, UNKNOWN, True, True)


def test_shares_are_written_as_each_format_can_say_them(
    solution: LabelledSolution, tmp_path: Path
) -> None:
    for form in ("math-shepherd", "prm800k", "processbench"):
        assert write_labels(tmp_path / form, [solution], form) == 1
    (row,) = rows_of(tmp_path / "math-shepherd")
    assert row["input"] == "How many? Step 1: a ки\nStep 2: b ки\nStep 3: so 7 ки"
    assert row["label"] == "How many? Step 1: a +\nStep 2: b -\nStep 3: so 7 +"
    (row,) = rows_of(tmp_path / "prm800k")
    ratings = [step["completions"][0]["rating"] for step in row["label"]["steps"]]
    assert ratings == [-1, -1, 0]  # of two that are as near, the lower
    (row,) = rows_of(tmp_path / "processbench")
    assert (row["label"], row["steps"]) == (0, ["a", "b", "so 7"])


def test_what_a_format_cannot_say_is_refused_and_leaves_nothing(
    solution: LabelledSolution, tmp_path: Path
) -> None:
    unknown = LabelledSolution(solution.problem, ("a",), (UNKNOWN,))
    marked = LabelledSolution(solution.problem, ("a ки",), (StepLabel(1.0),))
    for bad, form, named in (
        (unknown, "math-shepherd", "step 1 has no value"),
        (marked, "math-shepherd", "holds the mark"),
        (solution, "math-aps", "can be read, not written"),
        (solution, "prm", "no format 'prm'"),
    ):
        with pytest.raises(UserError, match=named):
            write_labels(tmp_path / "out", [solution, bad], form)
        assert not list(tmp_path.iterdir())


STEP = {"completions": [{"text": "a", "rating": 1}], "chosen_completion": 0}
HOSTILE: list[tuple[str, Any, str]] = [
    ("prm800k", {}, 'needs the object "question"'),
    ("prm800k", {"question": {"problem": "?"}, "label": {"steps": {}}}, 'the list "steps"'),
    *(
        ("prm800k", {"question": {"problem": "?"}, "label": {"steps": [STEP, STEP | bad]}}, named)
        for bad, named in (
            ({"chosen_completion": 1}, "step 2: chosen_completion is 1"),
            ({"chosen_completion": -1}, "chosen_completion is -1"),
            ({"chosen_completion": True}, "chosen_completion is True"),
            ({"completions": [{"text": "a", "rating": 2}]}, "rating is 2"),
            ({"completions": [{"text": "a", "rating": "1"}]}, "rating is '1'"),
            ({"completions": [{"rating": 1}]}, 'needs the text "text"'),
            ({"completions": ["a"]}, "holds str"),
            ({"completions": "a"}, "are no list"),
            ({"human_completion": "a"}, "holds str"),
        )
    ),
    ("math-shepherd", {"input": "q"}, 'needs the text "label"'),
    ("math-shepherd", {"input": "q Step 1: a", "label": "q Step 1: a"}, "with the mark"),
    ("math-shepherd", {"input": "q Step 1: a ки", "label": "q Step 1: a ки"}, "+ or - at the end"),
    ("math-shepherd", {"input": "q Step 1: a ки", "label": "q Step 1: b +"}, "end of step 1"),
    ("math-shepherd", {"input": "q Step 1: a ки", "label": "q Step 1: a ++"}, "goes on after"),
    ("math-shepherd", {"input": "q a ки", "label": "q a +"}, '"Step 1:"'),
    ("processbench", {"id": "i", "problem": "?", "steps": ["a"], "label": 1}, "label is 1"),
    ("processbench", {"id": "i", "problem": "?", "steps": ["a"], "label": -2}, "label is -2"),
    ("processbench", {"id": "i", "problem": "?", "steps": ["a"], "label": False}, "label is False"),
    ("processbench", {"id": 3, "problem": "?", "steps": ["a"], "label": 0}, 'the text "id"'),
    ("processbench", {"id": "i", "problem": "?", "steps": [1], "label": 0}, "steps: holds 1"),
    ("processbench", {"id": "i", "steps": [], "label": -1}, 'needs the text "problem"'),
    ("math-aps", {"question": "?", "reasoning_steps": 3}, 'needs the list "reasoning_steps"'),
    ("math-aps", {"question": "?", "reasoning_steps": [{"solution_prefix": "!"}]}, "the question"),
    (
        "math-aps",
        {"question": "?", "reasoning_steps": [{"solution_prefix": "?a", "mc_value": 2}]},
        "value is 2",
    ),
    ("math-aps", {"question": "?", "reasoning_steps": {"children": ["a"]}}, "holds str"),
    ("labels", {"steps": []}, '"problem" is no object'),
]


@pytest.mark.parametrize(("form", "row", "named"), HOSTILE, ids=[n for *_, n in HOSTILE])
def test_a_hostile_row_is_named(form: str, row: Any, named: str, tmp_path: Path) -> None:
    for is_list in (False, True):
        path = tmp_path / f"{is_list}.json"
        if is_list:
            path.write_text("[\n" + json.dumps(row) + "]")
        else:
            path.write_text("\n" + json.dumps(row))
        with pytest.raises(UserError) as caught:
            list(read_labels(path, form))
        assert str(caught.value).startswith(f"{path}, line 2")
        assert named in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[", "line 1: not JSON"),
        ("[{}", "line 1: 'the end' where ',' is needed"),
        ("[{}\n{}]", "line 2: '{' where ',' is needed"),
        ("[{},\n]", "line 2: not JSON"),
        ("[{}\n,\n3]", "line 3: not an object"),
        ('[{},\n{"a":\n1,,}]', "line 3: not JSON"),
        ('[{"a": NaN}]', "line 1: NaN is no JSON"),
        ('[{}]\n{"a": 1}', "line 2: '{' follows"),
        ("[" * 100_000, "line 1: nested too deep"),
        ('[{"a": ' + "9" * 5000 + "}]", "line 1: not JSON"),
        ('[{"a": "\n"}]', "line 1: not JSON"),
        ("[{},{", "line 1: not JSON"),
    ],
)
def test_a_broken_list_is_named(text: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        list(json_list.located_items(path))
    assert str(caught.value).startswith(str(path))
    assert named in str(caught.value)


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_bytes(b'[{"a": "\xff"}]')
    with pytest.raises(UserError, match=r"list\.json: not UTF-8"):
        list(json_list.located_items(tmp_path / "list.json"))


@given(
    rows=st.lists(
        st.dictionaries(st.text(max_size=4), st.text(max_size=30) | st.integers(), max_size=3),
        max_size=8,
    ),
    indent=st.sampled_from([None, 0, 2]),
    size=st.sampled_from([1, 7, 65_536]),
)
@settings(max_examples=30)
def test_a_list_is_read_as_json_reads_it_in_parts_of_any_size(
    rows: list[dict[str, Any]], indent: int | None, size: int
) -> None:
    text = json.dumps(rows, indent=indent)
    position = 0

    def read(_: int) -> str:
        nonlocal position
        position += size
        return text[position - size : position]

    stream = json_list.Stream(read, "f")
    found, lines = list[Any](), list[int]()
    stream.take("[")
    while not stream.comes("]"):
        lines.append(int(stream.where().rpartition(" ")[2]))
        found.append(stream.value())
        if not stream.comes("]"):
            stream.take(",")
    assert found == rows
    if indent == 2:
        starts = [n for n, line in enumerate(text.splitlines(), 1) if line.startswith("  {")]
        assert lines == starts


def test_a_large_list_is_not_held(tmp_path: Path) -> None:
    """The first rows come though the list never ends as JSON."""
    path = tmp_path / "list.json"
    path.write_text('[{"a": 1},\n{"a": 2},\n' + " " * 300_000 + "oops")
    items = json_list.located_items(path)
    assert next(items) == (f"{path}, line 1", {"a": 1})
    assert next(items) == (f"{path}, line 2", {"a": 2})
    with pytest.raises(UserError, match="line 3"):
        next(items)


def test_lines_come_as_ever(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    write_jsonl(path, [{"a": 1}, {"a": 2}])
    assert [row for _, row in json_list.located_items(path)] == [{"a": 1}, {"a": 2}]
    path.write_text("")
    assert list(json_list.located_items(path)) == []
