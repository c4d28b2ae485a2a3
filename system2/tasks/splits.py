"""Keep train, validation and test apart: a problem's content alone decides its split.

Every generated task draws through `draw_split`, so no seed can ever bring a problem of one
split into another.
"""

import hashlib
import random
from collections.abc import Callable, Iterator
from typing import TypeVar

from system2.core import SPLITS, Split, UserError, derive_seed

MAX_REJECTED = 100_000
"""Candidates refused in a row after which a stream is taken to be exhausted."""

_T = TypeVar("_T")


def split_of(content: str) -> Split:
    """Return the split of a content: by its hash 80% train, 10% validation, 10% test."""
    digest = hashlib.blake2b(content.encode(), digest_size=8).digest()
    bucket = int.from_bytes(digest, "big") % 100
    return "train" if bucket < 80 else "validation" if bucket < 90 else "test"


def draw_split(
    name: str,
    split: Split,
    seed: int,
    make: Callable[[random.Random], _T],
    content: Callable[[_T], str],
    keeps: Callable[[_T], bool] = lambda _: True,
) -> Iterator[_T]:
    """Yield without end what `make` draws and whose content belongs to the split, none twice.

    Candidate i is made from `derive_seed(name, split, seed, i)`. `content` says what makes two
    candidates the same problem. `keeps` refuses candidates; it is asked only of those of the
    split, so that what is costly to find out belongs here and not into `make`.
    Raises: `UserError` on an unknown split, or when `MAX_REJECTED` candidates in a row are
    refused (the task has too few different problems).
    """
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    seen: set[bytes] = set()
    index = num_rejected = 0
    while num_rejected < MAX_REJECTED:
        candidate = make(random.Random(derive_seed(name, split, seed, index)))
        index += 1
        num_rejected += 1
        text = content(candidate)
        if split_of(text) != split or not keeps(candidate):
            continue
        # 16 bytes a problem, not its text: a stream may run to millions
        key = hashlib.blake2b(text.encode(), digest_size=16).digest()
        if key not in seen:
            seen.add(key)
            num_rejected = 0
            yield candidate
    raise UserError(
        f"{name}: {len(seen)} different {split} problems found, then none in {MAX_REJECTED} "
        "candidates; widen the difficulty"
    )
