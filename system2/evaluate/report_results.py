"""Read the demo's results and say in words what they show, and what they do not.

`results.json` -> `read_results` -> `report`. Every figure is checked as it is read, so that a
report never draws a number that makes no sense. The words are computed from the intervals: a
difference whose 95% interval holds zero is "no measurable difference", whatever its sign.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, cast

from system2.core import UserError
from system2.evaluate.report_plots import signed

Verdict: TypeAlias = Literal["up", "down", "level"]

METHODS: Final = {
    "plain": ("Plain", "the policy alone: every token may be drawn"),
    "plausible_only": (
        "Plausible set only",
        "the policy restricted to the plausible set of LLM2 (same alpha, beta = 0): what "
        "truncation is worth without any verifier",
    ),
    "contrastive": (
        "Contrastive",
        "the policy's logits less those of a weaker model, on the plausible set",
    ),
    "outcome_best_of_n": (
        "Outcome best-of-N",
        "whole solutions, the one that an outcome verifier values most is taken",
    ),
    "sft_control": (
        "SFT control",
        "the policy after more fine-tuning on its training set, for the compute that the "
        "verifier took",
    ),
    "llm2_separate": (
        "LLM2 separate",
        "a token verifier with weights of its own judges each plausible token",
    ),
    "llm2_shared": (
        "LLM2 shared",
        "a token verifier on the policy's own trunk judges each plausible token",
    ),
    "llm2_vocab": (
        "LLM2 vocab",
        "a head on the policy's hidden state judges all tokens at once",
    ),
}
"""Label and meaning of each method, in the order in which a report lists them."""

_DECODINGS: Final = {
    "greedy": ("Greedy", "greedily"),
    "sample": ("Sampled, T = 1", "when sampled at T = 1"),
}
_BASES: Final = {
    "plain": "plain decoding",
    "plausible_only": "the plausible set alone",
    "sft_control": "the SFT control",
}


@dataclass(frozen=True, slots=True)
class Share:
    """An accuracy with its 95% interval, in per cent: 0 <= low <= value <= high <= 100."""

    value: float
    low: float
    high: float

    @property
    def bounds(self) -> str:
        """Return the interval as tables print it."""
        return f"{self.low:.1f}, {self.high:.1f}"


@dataclass(frozen=True, slots=True)
class Row:
    """One method under one decoding; `accuracy` is None where nothing could be judged.

    `sampled_tokens` is the total over the `n` problems, `cost_ratio` a verified step's cost
    over a plain one's; None: not measured.
    """

    method: str
    decoding: str
    n: int
    accuracy: Share | None
    sampled_tokens: float | None
    cost_ratio: float | None

    @property
    def tokens_per_problem(self) -> float | None:
        """Return the mean number of sampled tokens a problem."""
        return None if self.sampled_tokens is None else self.sampled_tokens / self.n


@dataclass(frozen=True, slots=True)
class Pair:
    """Accuracy of `a` minus that of `b` on the same problems, in points, with its interval."""

    a: str
    b: str
    decoding: str
    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> Verdict:
        """Return whether a is measurably above b, below it, or neither."""
        return "up" if self.low > 0 else "down" if self.high < 0 else "level"

    @property
    def interval(self) -> str:
        """Return the 95% interval in percentage points."""
        return f"{signed(self.low)} to {signed(self.high)}"


@dataclass(frozen=True, slots=True)
class Results:
    """What a report shows, checked; `chosen` is the LLM2 layout that its headline speaks of.

    `is_chosen_here` says that it was chosen by its accuracy on these very problems.
    """

    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    examples: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    manifest: Mapping[str, Any]
    chosen: str | None
    is_chosen_here: bool

    @property
    def methods(self) -> list[str]:
        """Return the methods, the known ones first and in their order."""
        present = dict.fromkeys(row.method for row in self.rows)
        return [m for m in METHODS if m in present] + [m for m in present if m not in METHODS]

    @property
    def decodings(self) -> list[str]:
        """Return the decodings in order of first appearance."""
        return list(dict.fromkeys(row.decoding for row in self.rows))

    def row(self, method: str, decoding: str) -> Row | None:
        """Return a method's row under a decoding, None where there is none."""
        wanted = (method, decoding)
        return next((row for row in self.rows if (row.method, row.decoding) == wanted), None)

    def accuracy(self, method: str, decoding: str) -> Share | None:
        """Return a method's accuracy under a decoding, None where it is not known."""
        row = self.row(method, decoding)
        return row.accuracy if row else None

    def pair(self, a: str, b: str, decoding: str) -> Pair | None:
        """Return the difference a minus b, also where it was measured as b minus a."""
        for pair in self.pairs:
            if (pair.a, pair.b, pair.decoding) == (a, b, decoding):
                return pair
            if (pair.b, pair.a, pair.decoding) == (a, b, decoding):
                return Pair(a, b, decoding, -pair.difference, -pair.high, -pair.low)
        return None

    def costs(self, method: str) -> dict[str, float]:
        """Return a method's cost ratio under each decoding that has one."""
        rows = [row for row in self.rows if row.method == method]
        return {row.decoding: row.cost_ratio for row in rows if row.cost_ratio is not None}


def method_label(method: str) -> str:
    """Return a method's name as people read it; an unknown one keeps its own."""
    return METHODS[method][0] if method in METHODS else method


def decoding_label(decoding: str) -> str:
    """Return a decoding's name as people read it; an unknown one keeps its own."""
    return _DECODINGS[decoding][0] if decoding in _DECODINGS else decoding.capitalize()


def read_results(results: Mapping[str, Any]) -> Results:
    """Return the content of `results.json`, checked.

    Keys: "rows", "paired", "manifest" and, optionally, "examples", "notes" (sentences) and
    "chosen" (the method that a validation split chose for the headline).
    Raises: `UserError` naming the row and the key that is missing or makes no sense.
    """
    rows = tuple(_row(row, f"row {i}") for i, row in enumerate(_list(results, "rows"), start=1))
    if not rows:
        raise UserError("results hold no rows; there is nothing to report")
    seen: set[tuple[str, str]] = set()
    for row in rows:
        if (row.method, row.decoding) in seen:
            raise UserError(f"results hold {row.method} under {row.decoding} twice")
        seen.add((row.method, row.decoding))
    pairs = _list(results, "paired")
    chosen = results.get("chosen")
    if chosen is not None and chosen not in {row.method for row in rows}:
        raise UserError(f"the chosen method {chosen!r} has no row in the results")
    layouts = _layouts_by_accuracy(rows)
    return Results(
        rows=rows,
        pairs=tuple(_pair(pair, f"pair {i}") for i, pair in enumerate(pairs, start=1)),
        examples=tuple(_list(results, "examples")),
        notes=tuple(str(note) for note in cast("Sequence[Any]", results.get("notes") or ())),
        manifest=cast("Mapping[str, Any]", results.get("manifest") or {}),
        chosen=chosen or (layouts[0] if layouts else None),
        is_chosen_here=chosen is None and len(layouts) > 1,
    )


def headline(results: Results) -> list[str]:
    """Return the sentences that say what was found, honest about intervals that hold zero."""
    if results.chosen is None:
        return ["No LLM2 method is among these results; the figures below speak for themselves."]
    label = method_label(results.chosen)
    sentences = [
        sentence
        for base in _BASES
        if base != results.chosen and (sentence := _comparison(results, results.chosen, base))
    ]
    if not sentences:
        sentences = [f"No paired comparison of {label} with a baseline was measured."]
    costs = sorted(results.costs(results.chosen).values())
    if costs:
        low, high = f"{costs[0]:.2f}", f"{costs[-1]:.2f}"
        cost = low if low == high else f"{low} to {high}"
        sentences.append(f"A step of {label} costs {cost} times a plain one.")
    if results.is_chosen_here:
        sentences.append(
            f"{label} is the layout of the highest mean accuracy on these same problems, "
            "a choice that flatters it a little."
        )
    return sentences


def _comparison(results: Results, method: str, base: str) -> str | None:
    """Return one sentence on a method against a baseline over all decodings."""
    found = [(d, pair) for d in results.decodings if (pair := results.pair(method, base, d))]
    if not found:
        return None
    subject, other = method_label(method), _BASES[base]
    clauses: list[str] = []
    for verdict, words in (
        ("up", f"is right more often than {other}"),
        ("level", f"shows no measurable difference from {other}"),
        ("down", f"is right less often than {other}"),
    ):
        cases = [f"{_adverb(d)} ({_size(pair)})" for d, pair in found if pair.verdict == verdict]
        if cases:
            words = words.replace(other, "it") if clauses else f"{subject} {words}"
            clauses.append(f"{words} {_join(cases)}")
    return "; it ".join(clauses) + "."


def _size(pair: Pair) -> str:
    if pair.verdict == "level":
        return f"95% interval {pair.interval} points"
    return f"by {abs(pair.difference):.1f} points"


def _adverb(decoding: str) -> str:
    if decoding.startswith("majority@"):
        return f"by majority of {decoding.removeprefix('majority@')}"
    return _DECODINGS[decoding][1] if decoding in _DECODINGS else f"under {decoding}"


def _join(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _layouts_by_accuracy(rows: Sequence[Row]) -> list[str]:
    """Return the LLM2 methods, the one of the highest mean accuracy first.

    The mean is over the decodings that all of them have, or all where they share none.
    """
    by_method: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.method.startswith("llm2") and row.accuracy is not None:
            by_method.setdefault(row.method, {})[row.decoding] = row.accuracy.value
    decodings = dict.fromkeys(row.decoding for row in rows)
    everywhere = [d for d in decodings if all(d in found for found in by_method.values())]

    def mean(method: str) -> float:
        found = by_method[method]
        kept = [found[decoding] for decoding in everywhere] or [*found.values()]
        return sum(kept) / len(kept)

    return sorted(by_method, key=mean, reverse=True)


def _list(results: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = results.get(key)
    if found is None:
        return []
    if not isinstance(found, list | tuple):
        raise UserError(f"{key!r} in the results is not a list")
    items = cast("Sequence[Any]", found)
    for i, item in enumerate(items, start=1):
        if not isinstance(item, Mapping):
            raise UserError(f"{key!r} in the results: entry {i} is not an object")
    return list(items)


def _row(row: Mapping[str, Any], where: str) -> Row:
    n = _number(row, "n", where)
    if n < 1 or n != int(n):
        raise UserError(f"{where}: n is {n:g}; it must be a whole number of at least 1")
    low, value, high = (optional_number(row, key, where) for key in ("low", "accuracy", "high"))
    accuracy = None
    if value is not None and low is not None and high is not None:
        accuracy = Share(100 * value, 100 * low, 100 * high)
    is_in_order = accuracy is None or 0 <= accuracy.low <= accuracy.value <= accuracy.high <= 100
    if not is_in_order or (accuracy is None and (value, low, high) != (None, None, None)):
        raise UserError(f"{where}: not 0 <= low <= accuracy <= high <= 1, nor all three null")
    for key in ("sampled_tokens", "cost_ratio"):
        if (optional_number(row, key, where) or 0) < 0:
            raise UserError(f"{where}: {key} is negative")
    return Row(
        method=_name(row, "method", where),
        decoding=_name(row, "decoding", where),
        n=int(n),
        accuracy=accuracy,
        sampled_tokens=optional_number(row, "sampled_tokens", where),
        cost_ratio=optional_number(row, "cost_ratio", where),
    )


def _pair(pair: Mapping[str, Any], where: str) -> Pair:
    low, value, high = (_number(pair, key, where) for key in ("low", "difference", "high"))
    if not -1 <= low <= value <= high <= 1:
        raise UserError(f"{where}: not -1 <= low <= difference <= high <= 1")
    a, b, decoding = (_name(pair, key, where) for key in ("a", "b", "decoding"))
    return Pair(a, b, decoding, 100 * value, 100 * low, 100 * high)


def _name(row: Mapping[str, Any], key: str, where: str) -> str:
    if not isinstance(row.get(key), str):
        raise UserError(f"{where}: {key!r} is missing or not a text")
    return row[key]


def _number(row: Mapping[str, Any], key: str, where: str) -> float:
    value = optional_number(row, key, where)
    if value is None:
        raise UserError(f"{where}: {key!r} is missing")
    return value


def optional_number(entry: Mapping[str, Any], key: str, where: str) -> float | None:
    """Return a number of an entry, None where it is missing or null.

    Raises: `UserError` naming the place, the key and the value if that is no finite number.
    """
    value = entry.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{where}: {key} is {value!r}; it must be a finite number")
    return float(value)
