"""Grade plain numeric answers, ours beside math-verify: same pairs, same process, in turns.

    python benchmarks/grade.py [--pairs 1000] [--json]

Ours is `grade_answer`; math-verify is its documented use, `verify(parse(gold), parse(answer))`.
Each round grades the same fresh pairs with both, in alternating order; time is processor time of
this process, which does all the work of both. Ratios above 1 mean that ours is faster.
"""

import argparse
import json
import logging
import random
import time
from collections.abc import Callable
from importlib.metadata import version

from math_verify import parse, verify

from system2.core import derive_seed
from system2.tasks.answers import grade_answer

ROUNDS = 10
SENTENCES = ("So the answer is {}.", "#### {}", "It is $\\boxed{{{}}}$.", "A: {}")

Pair = tuple[str, str]


def plain_pairs(num_pairs: int, seed: int) -> list[Pair]:
    """Return (answer, gold) pairs as graders of GSM8K meet them; half of them are equal."""
    rng = random.Random(seed)
    pairs: list[Pair] = []
    for index in range(num_pairs):
        number = rng.randint(-9, 9) if index % 3 == 0 else rng.randint(-99_999, 999_999)
        answer = number if index % 2 == 0 else number + rng.choice((-10, -1, 1, 10))
        written = rng.choice((str(answer), f"{answer}.00", f"{answer:,}", f"{answer}.0"))
        pairs.append((written, str(number)))
    return pairs


def in_sentences(pairs: list[Pair]) -> list[Pair]:
    """Return the same pairs with each answer at the end of a text."""
    return [
        (SENTENCES[index % len(SENTENCES)].format(answer), gold)
        for index, (answer, gold) in enumerate(pairs)
    ]


def grade_by_math_verify(answer: str, gold: str) -> bool:
    """Grade one pair as math-verify's README shows."""
    return verify(parse(gold), parse(answer))


def seconds(grade: Callable[[str, str], bool | None], pairs: list[Pair]) -> tuple[float, int]:
    """Return processor seconds and how many pairs were graded True."""
    start = time.process_time()
    num_true = sum(grade(answer, gold) is True for answer, gold in pairs)
    return time.process_time() - start, num_true


def compare(
    name: str, write: Callable[[list[Pair]], list[Pair]], num_pairs: int
) -> dict[str, float]:
    """Return rates (pairs a second) of both graders and their ratio, over alternating rounds."""
    graders = {"ours": grade_answer, "math_verify": grade_by_math_verify}
    spent = dict.fromkeys(graders, 0.0)
    right = dict.fromkeys(graders, 0)
    for number in range(ROUNDS + 1):
        pairs = write(plain_pairs(num_pairs // ROUNDS, derive_seed("grade", name, number)))
        for grader in sorted(graders, reverse=number % 2 == 0):
            took, num_true = seconds(graders[grader], pairs)
            if number > 0:  # the first round warms both up
                spent[grader] += took
                right[grader] += num_true
    total = num_pairs // ROUNDS * ROUNDS
    rates = {f"{grader}_per_s": total / spent[grader] for grader in graders}
    shares = {f"{grader}_true": right[grader] / total for grader in graders}
    return {**rates, **shares, "ratio": spent["math_verify"] / spent["ours"]}


def main() -> None:
    """Run the benchmark and print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1_000, help="pairs of each kind")
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # math-verify warns of answers that it cannot parse
    results = {
        "plain_numbers": compare("plain_numbers", lambda pairs: pairs, arguments.pairs),
        "in_sentences": compare("in_sentences", in_sentences, arguments.pairs),
    }
    if not arguments.json:
        print(f"{'':<15}{'ours/s':>10}{'math-verify/s':>15}{'ratio':>8}{'true':>8}{'theirs':>8}")
        for name, row in results.items():
            print(
                f"{name:<15}{row['ours_per_s']:>10.0f}{row['math_verify_per_s']:>15.0f}"
                f"{row['ratio']:>8.1f}{row['ours_true']:>8.1%}{row['math_verify_true']:>8.1%}"
            )
    line = {
        "benchmark": "grade",
        "ratios": {name: round(row["ratio"], 2) for name, row in results.items()},
        "results": results,
        "pairs": arguments.pairs,
        "math_verify": version("math-verify"),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
