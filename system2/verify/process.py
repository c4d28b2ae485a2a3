"""Process verifier: the value of a solution at the end of each of its steps (a PRM).

A scalar head on the policy's trunk (or a separate model), trained at the ends of steps on the
share of rollouts that come right from there (`synthesise/step_values.py`, `train/process.py`).
Judges whole prefixes for a search: the values at their step ends become one by `last`, `min` or
`product`. A prefix's own end counts as the end of a step, whether the attempt is finished there
or not, and is all that counts where nothing follows the prompt; the prompt has no steps.

Source: Math-Shepherd (arXiv 2312.08935) and Meta-CoT (arXiv 2501.04682, section 5.2), which
score a solution by the minimum, or the last, of its steps. We differ: the policy stays frozen and
copies of its top layers are trained; there is no token of its own to read a step's value at; and
the logits are calibrated by a temperature and a bias on held-out problems.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from system2.core import ScoreRequest, Tokens, UserError
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel
from system2.engine.steps import StepEnds
from system2.engine.tokenizer import Tokenizer
from system2.verify.trunk import TopLayers, adapted_layers

ProcessLayout: TypeAlias = Literal["shared", "separate"]
PROCESS_LAYOUTS: tuple[ProcessLayout, ...] = ("shared", "separate")

Aggregation: TypeAlias = Literal["last", "min", "product"]
AGGREGATIONS: dict[str, Callable[[Sequence[float]], float]] = {
    "last": lambda values: values[-1],
    "min": min,
    "product": math.prod,
}
"""How the values in [0, 1] at the ends of a prefix's steps (at least one) become its value."""

BATCH_TOKENS = 8_192
"""Padded tokens that are scored at a time."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What makes probabilities of logits: sigmoid(logit / temperature + bias).

    Raises: `UserError` unless the temperature is above 0 and both are finite.
    """

    temperature: float = 1.0
    bias: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("temperature", self.temperature), ("bias", self.bias)):
            if not _is_finite(value):
                raise UserError(f"calibration: {name} is {value!r}, not a finite number")
        if self.temperature <= 0:
            raise UserError(f"calibration: temperature is {self.temperature}; it must be above 0")

    def values(self, logits: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return calibrated values in [0, 1]."""
        return (logits / self.temperature + self.bias).sigmoid()


class ProcessVerifier(nn.Module):
    """A learned `Verifier` of steps on a frozen policy's trunk, or beside it.

    `shared` adapts copies of the policy's top `num_adapted` layers, `separate` copies all and
    the embeddings. Raises: `UserError` on an unknown layout or aggregation, or too many layers.
    """

    def __init__(
        self,
        policy: LanguageModel,
        tokenizer: Tokenizer,
        *,
        layout: ProcessLayout = "shared",
        num_adapted: int = 1,
        step_stop: str = "\n",
        aggregation: Aggregation = "last",
        calibration: Calibration | None = None,
    ) -> None:
        super().__init__()
        if layout not in PROCESS_LAYOUTS:
            raise UserError(f"layout {layout!r} is not known; use {' or '.join(PROCESS_LAYOUTS)}")
        if aggregation not in AGGREGATIONS:
            known = ", ".join(AGGREGATIONS)
            raise UserError(f"aggregation {aggregation!r} is not known; use one of {known}")
        is_separate = layout == "separate"
        self.top = TopLayers(
            policy,
            policy.config.num_layers if is_separate else num_adapted,
            num_outputs=1,
            has_embeddings=is_separate,
        )
        self.layout: ProcessLayout = layout
        self.aggregation: Aggregation = aggregation
        self.calibration = calibration or Calibration()
        self.tokenizer = tokenizer
        self.step_ends = StepEnds(tokenizer, step_stop)

    @property
    def policy(self) -> LanguageModel:
        """The policy whose steps it judges."""
        return self.top.policy

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
        """Return the logit, before calibration, that a solution with a step's end here is right."""
        states = self.top.states(tokens, self.top.tapped(tokens, None), None)
        return self.top.head(states)[..., 0].float()

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Return values `[r][p]` in [0, 1].

        Raises: `UserError` where the steps of a prefix have to be told from its prompt (`min`
        and `product`), and it does not begin with the problem's.
        """
        prefixes: list[Tokens] = []
        places: list[list[int]] = []
        for request in requests:
            prompt = None
            if self.aggregation != "last":
                prompt = self.tokenizer.prompt(request.problem.prompt)
            for prefix in request.prefixes:
                prefixes.append(prefix)
                places.append(self._places(prefix, prompt, request.problem.id))
        aggregate = AGGREGATIONS[self.aggregation]
        values = map(aggregate, self.values_at(prefixes, places))
        return [[next(values) for _ in request.prefixes] for request in requests]

    def _places(self, prefix: Tokens, prompt: Tokens | None, problem: str) -> list[int]:
        """Return where a prefix's values are read; only its end where no prompt is given."""
        last = len(prefix) - 1
        if prompt is None:
            return [last]
        start = len(prompt)
        if prefix[:start] != prompt:
            raise UserError(
                f"problem {problem}: a prefix does not begin with its prompt, so aggregation "
                f"{self.aggregation} cannot tell the steps; use aggregation last"
            )
        ends = [start + end - 1 for end in self.step_ends.ends(prefix[start:])]
        return ends if ends and ends[-1] == last else [*ends, last]

    def values_at(
        self, texts: Sequence[Tokens], places: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        """Return calibrated values in [0, 1] at some places (indices of tokens) of each text."""
        return [self.calibration.values(at).tolist() for at in self.logits_at(texts, places)]

    @torch.inference_mode()
    def logits_at(
        self, texts: Sequence[Tokens], places: Sequence[Sequence[int]]
    ) -> list[Float[Tensor, "place"]]:
        """Return logits at some places of each text, on the CPU.

        Texts of similar length are batched; one that another begins with is read off that one.
        """
        rows, row_of = _covered(texts)
        wanted: list[list[int]] = [[] for _ in rows]
        for i, row in enumerate(row_of):
            wanted[row].append(i)
        found: list[Tensor] = [torch.empty(0)] * len(texts)
        device = self.top.head.weight.device
        for some in _batches(rows):
            width = len(rows[some[-1]])
            tokens = torch.zeros(len(some), width, dtype=torch.long)
            for at, row in enumerate(some):
                tokens[at, : len(rows[row])] = torch.tensor(rows[row])
            logits = self(tokens.to(device)).cpu()
            for at, row in enumerate(some):
                for i in wanted[row]:
                    found[i] = logits[at, torch.tensor(places[i], dtype=torch.long)]
        return found


def _covered(texts: Sequence[Tokens]) -> tuple[list[Tokens], list[int]]:
    """Return the texts that no other begins with, and for each text which of them covers it."""
    order = sorted(range(len(texts)), key=lambda i: texts[i], reverse=True)
    rows: list[Tokens] = []
    row_of = [0] * len(texts)
    for i in order:  # what a text begins comes right before it
        if not rows or rows[-1][: len(texts[i])] != texts[i]:
            rows.append(texts[i])
        row_of[i] = len(rows) - 1
    return rows, row_of


def _batches(rows: Sequence[Tokens]) -> Iterator[list[int]]:
    """Yield the indices of rows in batches of similar length, the longest of each at its end."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    starts = [0]
    for at, i in enumerate(order):
        if at > starts[-1] and (at + 1 - starts[-1]) * len(rows[i]) > BATCH_TOKENS:
            starts.append(at)
    for start, end in pairwise([*starts, len(order)]):
        if start < end:
            yield order[start:end]


# In a folder


def made(policy: LocalPolicy, described: Mapping[str, Any]) -> ProcessVerifier:
    """Return a verifier of the described shape, its weights to be loaded. Raises: `UserError`."""
    stop, calibration = described.get("step_stop"), described.get("calibration")
    if not isinstance(stop, str):
        raise UserError(f"step_stop is {stop!r}, not a text")
    for name, known in (("layout", PROCESS_LAYOUTS), ("aggregation", AGGREGATIONS)):
        if not isinstance(described.get(name), str):  # what cannot be a key is no name
            raise UserError(
                f"{name} is {described.get(name)!r}; use one of {', '.join(known)} (kind 'process')"
            )
    if not isinstance(calibration, dict):
        raise UserError(f"calibration is {calibration!r}, not an object")
    numbers = cast(dict[str, Any], calibration)
    return ProcessVerifier(
        policy.model,
        policy.tokenizer,
        layout=described["layout"],
        num_adapted=adapted_layers(described),
        step_stop=stop,
        aggregation=described["aggregation"],
        calibration=Calibration(numbers.get("temperature", 1.0), numbers.get("bias", 0.0)),
    )


def described(verifier: ProcessVerifier) -> dict[str, Any]:
    """Return what `made` needs to make its like."""
    return {
        "layout": verifier.layout,
        "num_adapted": verifier.top.num_adapted,
        "step_stop": verifier.step_ends.stop,
        "aggregation": verifier.aggregation,
        "calibration": {
            "temperature": verifier.calibration.temperature,
            "bias": verifier.calibration.bias,
        },
    }


def _is_finite(value: object) -> bool:
    """Say whether something read from a file is a finite number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        return is_number and math.isfinite(value)  # pyright: ignore[reportArgumentType]
    except OverflowError:
        return False
