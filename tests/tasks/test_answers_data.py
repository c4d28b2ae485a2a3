"""Final answers against published labels, and docs/answers.md against what grading does."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from system2.tasks.answers import extract_answer, grade_answer, grade_answers, normal_form

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "answers.md"
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
EQUIVALENCE = {
    "hendrycks_is_equiv_pairs.jsonl": 16,
    "simple_evals_equality_examples.jsonl": 8,
    "lighteval_extractive_match_pairs.jsonl": 205,
    "mathverify_test_pairs.jsonl": 268,
}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def explained() -> dict[str, list[int]]:
    """The lines of each file that the document says we disagree with."""
    lines: dict[str, list[int]] = defaultdict(list)
    for name, numbers in re.findall(r"`(\w+\.jsonl)` lines? ([\d, ]+)", DOCUMENT.read_text()):
        lines[name] += [int(number) for number in numbers.split(",") if number.strip()]
    return lines


def test_all_published_labels_of_gsm8k_solutions_are_reproduced(shared_data: Path) -> None:
    labels: list[bool] = []
    pairs: list[tuple[str, str]] = []
    for row in rows(shared_data / "gsm8k" / "example_model_solutions.jsonl"):
        for model in MODELS:
            labels.append(row[model]["is_correct"])
            pairs.append((row[model]["solution"], row["ground_truth"]))
    assert len(labels) == 5_276
    assert list(grade_answers(pairs)) == labels


@pytest.mark.parametrize("name", ["test", "train"])
def test_gold_answers_of_gsm8k_are_met_in_every_form(shared_data: Path, name: str) -> None:
    negative = 0
    for row in rows(shared_data / "gsm8k" / f"{name}.jsonl"):
        final = row["answer"].rpartition("####")[2].strip()
        number = int(final.replace(",", ""))
        negative += number < 0
        assert extract_answer(row["answer"]) == final
        assert normal_form(final) == str(number)
        for text in (f"So the answer is {final}.", f"{number}.00", f"\\boxed{{{number:,}}}"):
            assert grade_answer(text, row["answer"]) is True
        for wrong in (-number or 1, number + 1, number * 10 + 1):
            assert grade_answer(f"The answer is {wrong}.", row["answer"]) is False
    assert negative == (2 if name == "test" else negative)


def math_answers(folder: Path) -> Iterator[tuple[str, str]]:
    for row in rows(folder / "math" / "test.jsonl")[::5]:
        answer = extract_answer(row["solution"])
        assert answer is not None
        yield row["solution"], answer


def test_gold_answers_of_math_equal_themselves(shared_data: Path) -> None:
    pairs = [
        pair
        for solution, answer in math_answers(shared_data)
        for pair in ((answer, solution), (f"Hence the answer is ${answer}$.", solution))
    ]
    unequal = [pair for pair, grade in zip(pairs, grade_answers(pairs), strict=True) if not grade]
    assert len(pairs) == 2_000
    assert unequal == []


def test_normal_forms_of_math_answers_are_stable(shared_data: Path) -> None:
    for _, answer in math_answers(shared_data):
        assert normal_form(normal_form(answer)) == normal_form(answer)


@pytest.mark.parametrize("name", EQUIVALENCE)
def test_every_disagreement_with_other_graders_is_explained(shared_data: Path, name: str) -> None:
    pairs = rows(shared_data / "equivalence" / name)
    assert len(pairs) == EQUIVALENCE[name]
    disagreements: list[int] = []
    for number, row in enumerate(pairs, start=1):
        precision = row.get("options", {}).get("precision", 4)
        grade = grade_answer(row["pred"], row["gold"], rounding_digits=min(4, precision))
        if grade is not bool(row["equal"]):
            disagreements.append(number)
    assert disagreements == sorted(explained()[name])
