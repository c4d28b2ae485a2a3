"""Train a process verifier: labelled solutions to a value at the end of every step.

Place in the flow: `synthesise/step_values.py` or the files of others -> `LabelledSolution`s ->
`JudgedText`s -> `fit` -> a verifier that guides a search over steps.

Source: Math-Shepherd (arXiv 2312.08935) and Meta-CoT (arXiv 2501.04682, section 5.2): the
cross-entropy against the share of rollouts that end right (soft, theirs in Meta-CoT) or against
whether any does (hard, Math-Shepherd's). We differ: each distinct prefix counts once, however many
attempts begin with it; the bare prompt is a target too; and on one problem in twelve, kept out
of training, a temperature and a bias are fitted, so that values are probabilities.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from system2.core import Tokens, UserError, derive_seed
from system2.engine.model import LanguageModel
from system2.engine.steps import StepEnds
from system2.engine.tokenizer import Tokenizer
from system2.synthesise.conversations import conversation
from system2.synthesise.step_values import LabelledSolution
from system2.train.batches import planned_batches
from system2.train.loop import StepReport, fit, passes_over
from system2.train.losses import value_loss
from system2.verify.folders import policy_print
from system2.verify.process import Aggregation, Calibration, ProcessLayout, ProcessVerifier

Labels: TypeAlias = Literal["soft", "hard"]
HELD_OUT = 12
"""One problem in so many is kept out of training, to calibrate on."""


@dataclass(frozen=True, slots=True)
class JudgedText:
    """A prompt and steps of a solution; at token `places[j]` the value should be `targets[j]`."""

    tokens: Tokens
    places: tuple[int, ...]
    targets: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ProcessBatch:
    """Right-padded texts; `places[j]` is (row, column), `targets[j]` in [0, 1] its value."""

    tokens: Int[Tensor, "batch time"]
    places: Int[Tensor, "place 2"]
    targets: Float[Tensor, "place"]

    @property
    def num_targets(self) -> int:
        """How many places there are."""
        return self.targets.shape[0]

    def to(self, device: torch.device) -> "ProcessBatch":
        """Return the batch with its tensors on a device."""
        return ProcessBatch(self.tokens.to(device), self.places.to(device), self.targets.to(device))


@dataclass(frozen=True, slots=True)
class ProcessFit:
    """How to train a process verifier.

    `shared` trains copies of the policy's top `num_adapted` layers, `separate` of all. A step is
    `micro_batches` of at most `max_tokens` padded tokens each; `mixed_precision` is "no" or
    "bf16". `aggregation` is how it will score a prefix.
    """

    layout: ProcessLayout = "shared"
    num_adapted: int = 1
    aggregation: Aggregation = "last"
    step_stop: str = "\n"
    epochs: float = 2.0
    learning_rate: float = 1e-3
    max_tokens: int = 2048
    micro_batches: int = 1
    weight_decay: float = 0.0
    mixed_precision: str = "no"
    seed: int = 42


def is_held_out(solution: LabelledSolution) -> bool:
    """Say whether a solution's problem is kept to calibrate on; by its prompt, for good.

    Problems of other formats have one name a solution, so the name would not do.
    """
    return derive_seed("calibration", solution.problem.prompt) % HELD_OUT == 0


def divide(
    solutions: Iterable[LabelledSolution],
) -> tuple[list[LabelledSolution], list[LabelledSolution]]:
    """Return solutions to train on and those kept out; where too few are left, none is kept."""
    some = list(solutions)
    kept = [solution for solution in some if is_held_out(solution)]
    if len(kept) == len(some):
        return some, []
    return [solution for solution in some if not is_held_out(solution)], kept


def judged_texts(
    solutions: Iterable[LabelledSolution],
    tokenizer: Tokenizer,
    *,
    step_stop: str = "\n",
    labels: Labels = "soft",
    max_positions: int | None = None,
) -> Iterator[JudgedText]:
    """Yield solutions with a value to learn as tokens.

    Of solutions that begin alike, the first has what is known of the beginning. With `hard`
    a target is 1 where any rollout came right. What lies beyond `max_positions` is cut off.
    """
    step_ends, seen, prompts = StepEnds(tokenizer, step_stop), set[bytes](), dict[str, Tokens]()
    end_token = _end_token(tokenizer)
    for solution in solutions:
        prompt = solution.problem.prompt
        if prompt not in prompts:
            prompts[prompt] = tokenizer.prompt(prompt)
        start = len(prompts[prompt])
        reply, ends = solution_tokens(step_ends, solution.steps)
        if solution.is_finished and ends and end_token is not None:
            reply, ends = (*reply, end_token), [*ends[:-1], len(reply) + 1]
        text = (*prompts[prompt], *reply)[:max_positions]
        known: list[tuple[int, float]] = []
        after = [solution.before, *solution.labels]
        for number, (end, label) in enumerate(zip([0, *ends], after, strict=True)):
            place = start + end - 1
            if label.value is None or place >= len(text):
                continue
            name = _name(prompt, solution, number)
            if name not in seen:
                seen.add(name)
                known.append((place, float(label.value > 0) if labels == "hard" else label.value))
        if known:
            places, targets = zip(*known, strict=True)
            yield JudgedText(text[: places[-1] + 1], places, targets)


def _name(prompt: str, solution: LabelledSolution, number: int) -> bytes:
    """Return a hash of a prefix of so many steps; the end of an attempt is part of it."""
    is_end = solution.is_finished and number == len(solution.steps)
    parts = (prompt, "".join(solution.steps[:number]), str(is_end))
    text = "\x1f".join(parts).encode(errors="surrogatepass")
    return hashlib.blake2b(text, digest_size=12).digest()


def _end_token(tokenizer: Tokenizer) -> int | None:
    """Return the token that the chat template ends a reply with, None where it has none."""
    talk = conversation(tokenizer, "?", "!")
    last = talk.tokens[talk.end - 1]
    return last if last in tokenizer.eos else None


def solution_tokens(step_ends: StepEnds, steps: Sequence[str]) -> tuple[Tokens, list[int]]:
    """Return a solution's tokens and how many of them lie up to the end of each of its steps.

    The text is cut into tokens as a whole where the steps are those of `step_ends`, as those of
    a policy's attempts are; else (a step of several lines) step by step.
    """
    encode, stop = step_ends.tokenizer.encode_plain, step_ends.stop
    whole = encode("".join(steps))
    ends = step_ends.ends(whole)
    if steps and not (ends and ends[-1] == len(whole)):
        ends.append(len(whole))
    if len(ends) == len(steps) and all(stop in step for step in steps[:-1]):
        return whole, ends
    pieces = [encode(step) for step in steps]
    lengths = accumulate(len(piece) for piece in pieces)
    return tuple(token for piece in pieces for token in piece), list(lengths)


def process_batch(texts: Sequence[JudgedText]) -> ProcessBatch:
    """Pad texts on the right into one batch."""
    tokens = torch.zeros(len(texts), max(len(t.tokens) for t in texts), dtype=torch.long)
    for row, text in enumerate(texts):
        tokens[row, : len(text.tokens)] = torch.tensor(text.tokens)
    places = [(row, place) for row, text in enumerate(texts) for place in text.places]
    targets = [target for text in texts for target in text.targets]
    return ProcessBatch(tokens, torch.tensor(places), torch.tensor(targets))


def verifier_loss(verifier: ProcessVerifier, batch: ProcessBatch) -> Float[Tensor, ""]:
    """Return the cross-entropy of a batch's values, summed over its places (nats)."""
    logits = verifier(batch.tokens)[batch.places[:, 0], batch.places[:, 1]]
    return value_loss(logits, batch.targets)


def fit_process_verifier(
    policy: LanguageModel,
    tokenizer: Tokenizer,
    texts: Sequence[JudgedText],
    config: ProcessFit,
    *,
    folder: Path | None = None,
) -> tuple[ProcessVerifier, int, Iterator[StepReport]]:
    """Return a fresh verifier, the number of steps, and the steps that train it (lazily).

    The policy is in float32, and stays as it is. With `folder`, training takes up from its
    last checkpoint. Raises: `UserError` where all targets are the same, or training diverges.
    """
    targets = {target for text in texts for target in text.targets}
    if len(targets) < 2:
        found = f"is {targets.pop()}" if targets else "is missing"
        raise UserError(
            f"every value to learn {found}; right and wrong steps are needed: label more problems "
            "(system2 label --n), or ones that the policy sometimes solves"
        )
    batches, per_epoch = planned_batches(
        texts,
        lambda text: len(text.tokens),
        process_batch,
        max_tokens=config.max_tokens,
        seed=config.seed,
        per_step=config.micro_batches,
    )
    verifier = ProcessVerifier(
        policy,
        tokenizer,
        layout=config.layout,
        num_adapted=config.num_adapted,
        step_stop=config.step_stop,
        aggregation=config.aggregation,
    )
    how = passes_over(config, per_epoch)
    about = (config, policy_print(policy), texts)
    reports = fit(verifier, batches, verifier_loss, how, folder=folder, about=about)
    return verifier, how.steps, reports


# Calibration


def calibrated(verifier: ProcessVerifier, texts: Sequence[JudgedText]) -> Calibration:
    """Return the calibration of a verifier that fits held-out texts; none fitted where none."""
    logits = verifier.logits_at([t.tokens for t in texts], [t.places for t in texts])
    targets = torch.tensor([target for text in texts for target in text.targets])
    return platt(torch.cat([torch.empty(0), *logits]), targets)


def platt(
    logits: Float[Tensor, "place"], targets: Float[Tensor, "place"], *, rounds: int = 50
) -> Calibration:
    """Return the calibration of least cross-entropy against targets in [0, 1].

    Platt scaling, sigmoid(a logit + b), by Newton's method; a pull of one observation's strength
    towards a = 1 and b = 0 keeps it finite where all targets are the same, and a above 0: a
    verifier is never turned round. Raises: `ValueError` on logits that are not finite.
    """
    z, y = logits.double(), targets.double()
    if not len(z):
        return Calibration()
    if not bool(z.isfinite().all()):
        raise ValueError("a logit is not finite; there is nothing to calibrate")

    def loss(slope: float, bias: float) -> float:
        pull = 0.5 * ((slope - 1) ** 2 + bias**2)
        return float(value_loss(slope * z + bias, y)) + pull

    slope, bias = 1.0, 0.0
    for _ in range(rounds):
        p = (slope * z + bias).sigmoid()
        off, weight = p - y, p * (1 - p)
        down = float((off * z).sum()) + slope - 1, float(off.sum()) + bias
        (aa, ab, bb) = (float((weight * z**k).sum()) for k in (2, 1, 0))
        aa, bb = aa + 1, bb + 1  # the pull's own curvature
        size = 1 / (aa * bb - ab * ab)
        move = (bb * down[0] - ab * down[1]) * size, (aa * down[1] - ab * down[0]) * size
        part, before = 1.0, loss(slope, bias)
        while part > 1e-9 and loss(slope - part * move[0], bias - part * move[1]) > before:
            part /= 2
        slope, bias = slope - part * move[0], bias - part * move[1]
        if max(map(abs, move)) < 1e-9:
            break
    spread = float(z.std(correction=0))
    if slope <= 0 or 0 < slope * spread < 1e-3:  # its logits say nothing: the share is left
        share = float(y.mean().clamp(1e-3, 1 - 1e-3))
        return Calibration(1e3, float(torch.tensor(share).logit()))
    return Calibration(1 / slope, bias)
