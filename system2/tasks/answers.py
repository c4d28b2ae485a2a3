"""Read final answers out of texts and grade them against gold answers."""

import re
from collections.abc import Iterable, Iterator
from fractions import Fraction

_NUMBER = re.compile(r"[-+\u2212]?\s?\$?\d[\d,]*(?:\.\d+)?(?:/\d+)?|[-+\u2212]?\.\d+")
_MARKER = re.compile(r"(?:####|\bA:|\banswer\s*(?:is|:))", re.IGNORECASE)


def extract_answer(text: str) -> str | None:
    """Return the final answer in a text, None where there is none."""
    start = text.rfind("\\boxed{")
    if start >= 0:
        depth = 0
        for end in range(start + 6, len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                return text[start + 7 : end].strip()
    markers = list(_MARKER.finditer(text))
    if markers:
        rest = text[markers[-1].end() :].strip().split("\n")[0].strip()
        if rest:
            return rest.rstrip(".").strip()
    numbers = _NUMBER.findall(text)
    return numbers[-1].strip() if numbers else None


def normal_form(answer: str) -> str:
    """Return a form in which equal answers are equal strings wherever that can be told fast."""
    text = answer.strip().strip("$").replace("\u2212", "-").replace("\\$", "").replace("$", "")
    text = re.sub(r"\\[dt]?frac\{(-?\d+)\}\{(\d+)\}", r"\1/\2", text).rstrip(".")
    plain = text.replace(",", "").replace(" ", "")
    if re.fullmatch(r"[-+]?(?:\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})(?:/0*[1-9]\d{0,400})?", plain):
        whole, _, below = plain.partition("/")
        return str(Fraction(whole) / Fraction(below or 1))
    return " ".join(text.lower().split())


def grade_answer(prediction: str, gold: str, *, timeout_s: float = 3.0) -> bool | None:
    """Return whether the prediction's final answer equals gold's; None: cannot be judged."""
    wanted = extract_answer(gold) or gold
    found = extract_answer(prediction) or prediction.strip()
    return bool(found) and normal_form(found) == normal_form(wanted)


def grade_answers(
    pairs: Iterable[tuple[str, str]], *, timeout_s: float = 3.0, workers: int = 2
) -> Iterator[bool | None]:
    """Grade (prediction, gold) pairs lazily, in order."""
    for prediction, gold in pairs:
        yield grade_answer(prediction, gold, timeout_s=timeout_s)


def checker_versions() -> dict[str, str]:
    """Return the versions of what grading depends on."""
    return {}
