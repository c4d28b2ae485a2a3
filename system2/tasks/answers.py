r"""Read final answers out of texts and grade them against gold answers.

The public door of answer checking. A text goes through `answers_extract` (where is the final
answer?), `answers_values` (what is it?) and `answers_compare` (are the two equal?); only what
these cannot tell goes to a killable process (`answers_pool`) where math-verify does algebra.
Grades are True, False or None; None means that it could not be judged and is never counted as
wrong. The rules, and every known disagreement with other graders, are in docs/answers.md.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from system2.tasks.answers_compare import are_equal_numbers, compare, undecided
from system2.tasks.answers_extract import find_answer, find_marked, is_prose, leading_clause
from system2.tasks.answers_latex import tidy
from system2.tasks.answers_numbers import Number, read_plain
from system2.tasks.answers_pool import ask_algebra, close
from system2.tasks.answers_values import Formula, Group, Labelled, Opaque, Value, Words, read_answer

__all__ = ["checker_versions", "extract_answer", "grade_answer", "grade_answers", "normal_form"]

_CHOICE = re.compile(
    r"\(?(?P<letter>[A-J](?:[.)]|:(?=\s)|$)|[a-j]\))\s*(?P<text>.*)"
    r"|(?P<bare>[A-HJ])\s+(?P<name>[A-Z].*)",
    re.DOTALL,
)
_LETTER = re.compile(r"(?<![\w'’\\])\(?([B-HJ]|A(?!\s[a-z]))\)?(?![\w'’])")
_VERDICT = re.compile(r"(?:yes|no|true|false)(?=[,;:])", re.IGNORECASE)
_SPELLED_BRACKETS = {"{}": ("\\{", "\\}"), ":": ("", ""), "∪": ("", "")}
_SHORT = 200
_WINDOW = 256
_WORKERS = 2
_PACKAGES = ("math-verify", "latex2sympy2_extended", "antlr4-python3-runtime", "sympy")


class _Open(NamedTuple):
    """Two final answers, the prediction's and gold's, that only algebra can compare."""

    prediction: str
    gold: str


def extract_answer(text: str) -> str | None:
    r"""Return the final answer of a text as written, None where there is none.

    The last `\boxed{...}`, else "#### N", "the answer is N", "answer: N" or a line "A: N", else
    the whole text if it is nothing but an answer, else the last formula or number.

    >>> extract_answer("2 + 2 = 4 of them. So the answer is -10.")
    '-10'
    """
    return find_answer(text)


def normal_form(answer: str) -> str:
    r"""Return a form of an answer by which votes are counted: equal answers, equal strings.

    Holds wherever no algebra is needed. Units are left out, "10%" is "10".

    >>> [normal_form(text) for text in ("1,000.0", r"\frac{1}{2}", "0.50", "(C)")]
    ['1000', '1/2', '1/2', 'C']
    """
    return _spell(read_answer(answer))


def grade_answer(
    prediction: str, gold: str, *, timeout_s: float = 3.0, rounding_digits: int = 4
) -> bool | None:
    """Return whether a prediction's final answer equals gold's; None: cannot be judged.

    Both are full texts or bare answers. A prediction without an answer is False. `timeout_s`
    (seconds of processor time) limits the algebra that some answers need; `rounding_digits` is
    how many significant digits a decimal must show to stand for a number that has no finite
    decimal (1/3, √2).
    """
    grade = _grade_fast(prediction, gold, rounding_digits)
    if isinstance(grade, _Open):
        return ask_algebra(
            *grade, timeout_s=timeout_s, rounding_digits=rounding_digits, workers=_WORKERS
        )
    return grade


def grade_answers(
    pairs: Iterable[tuple[str, str]],
    *,
    timeout_s: float = 3.0,
    workers: int = _WORKERS,
    rounding_digits: int = 4,
) -> Iterator[bool | None]:
    """Grade (prediction, gold) pairs lazily and in order, algebra on `workers` processes."""
    ask = partial(
        ask_algebra, timeout_s=timeout_s, rounding_digits=rounding_digits, workers=workers
    )
    waiting: deque[Future[bool | None] | bool | None] = deque()
    threads = ThreadPoolExecutor(max_workers=workers)
    try:
        for prediction, gold in pairs:
            grade = _grade_fast(prediction, gold, rounding_digits)
            waiting.append(threads.submit(ask, *grade) if isinstance(grade, _Open) else grade)
            while waiting and (len(waiting) > _WINDOW or not isinstance(waiting[0], Future)):
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    except KeyboardInterrupt:  # what is being judged is not waited for
        threads.shutdown(wait=False, cancel_futures=True)
        close()
        raise
    finally:
        threads.shutdown(cancel_futures=True)


def checker_versions() -> dict[str, str]:
    """Return the versions of what grading depends on, for manifests; "absent" if not installed."""
    return {name: _version(name) for name in _PACKAGES}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _result(waiting: Future[bool | None] | bool | None) -> bool | None:
    return waiting.result() if isinstance(waiting, Future) else waiting


def _grade_fast(prediction: str, gold: str, rounding_digits: int) -> "_Open | bool | None":
    """Return the grade, or the two final answers where only algebra can tell."""
    plain, plain_gold = read_plain(prediction), read_plain(gold)
    if plain is not None and plain_gold is not None:
        return are_equal_numbers(plain, plain_gold, rounding_digits)
    wanted = _gold_answer(gold)
    if not wanted:
        return None
    if prediction.strip() == gold.strip():
        return True
    truth = read_answer(wanted)
    choice = None if isinstance(truth, Number) else _read_choice(wanted)
    if choice is not None:
        return _grade_choice(prediction, *choice)
    if is_prose(truth):
        return _is_same_phrase(prediction, truth)
    found = find_answer(prediction)
    if found is None:
        return False
    answer = read_answer(found)
    grade = compare(answer, truth, undecided, rounding_digits)
    if grade is None and not isinstance(answer, Opaque) and not isinstance(truth, Opaque):
        return _Open(found, wanted)
    return grade


def _gold_answer(gold: str) -> str:
    """Return what a gold text marks as its answer, or all of it if it is short, or its last."""
    answer = find_marked(gold)
    if answer is None and len(gold) <= _SHORT and "\n" not in gold.strip():
        answer = gold
    return (answer or find_answer(gold) or gold).strip()


def _is_same_phrase(prediction: str, truth: Value) -> bool:
    """Compare an answer in words: with what is marked as the answer, else with a short whole."""
    short = prediction if len(prediction) <= _SHORT else ""
    phrase = (find_marked(prediction, in_words=True) or short).strip()
    verdict = _VERDICT.match(phrase)
    phrases = [phrase, leading_clause(phrase), *([verdict.group()] if verdict else [])]
    return any(compare(read_answer(phrase), truth, undecided) is True for phrase in phrases)


def _read_choice(answer: str) -> tuple[str, str] | None:
    """Return letter and text of an answer such as "(C) 12 cm"; None where it is no choice."""
    if len(answer) > _SHORT:
        return None
    match = _CHOICE.fullmatch(tidy(answer).replace('"', "").strip())
    if match is None:
        return None
    return (match["letter"] or match["bare"])[0].upper(), match["text"] or match["name"] or ""


def _grade_choice(prediction: str, letter: str, text: str) -> bool:
    answer = find_answer(prediction)
    phrase = answer or prediction.strip()[:_SHORT]
    choice = _read_choice(phrase if len(phrase) > 1 else phrase.upper())
    if choice is not None:
        return choice[0] == letter
    if text and normal_form(phrase) == normal_form(text):
        return True
    if answer is not None and isinstance(read_answer(answer), Group):
        return False
    letters = _LETTER.findall(prediction)
    return bool(letters) and letters[-1] == letter


def _spell(value: Value, nested: bool = False) -> str:
    match value:
        case Number():
            return str(value.value)
        case Words(text) | Opaque(text) | Formula(text):
            return text
        case Labelled():
            return _spell(value.value, nested)
        case Group(brackets="matrix"):
            rows = (
                "&".join(map(_spell, row.items)) for row in value.items if isinstance(row, Group)
            )
            return "\\begin{pmatrix}" + "\\\\".join(rows) + "\\end{pmatrix}"
        case Group(brackets=brackets):
            items = [_spell(item, nested=True) for item in value.items]
            if brackets in ("{}", "∪") or not (brackets or nested):
                items = sorted(set(items))
            opening, closing = _SPELLED_BRACKETS.get(brackets, brackets) or (
                "()" if nested else ("", "")
            )
            joint = {":": ":", "∪": " \\cup ", "": "," if nested else ", "}.get(brackets, ",")
            return opening + joint.join(items) + closing
