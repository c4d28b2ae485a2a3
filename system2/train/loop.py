"""The only training loop: `fit(model, batches, loss, config)` yields a report a step.

SFT, LLM2's pairwise loss, outcome verifiers: each is a loss from `train.losses` and a function
from a step's number to its batches. Because a batch is a pure function of its step, and every
step seeds its own randomness, a run that was killed goes on exactly where its last checkpoint
stood. Runs on `accelerate`: one CPU or GPU, or several by `accelerate launch`.
"""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from system2.core import UserError, derive_seed
from system2.engine.weights import read_json, read_tensors, write_folder


class Batch(Protocol):
    """A micro-batch; `num_targets` is what its loss is a sum over (tokens, pairs, rows)."""

    @property
    def num_targets(self) -> int:
        """How many targets the loss sums over."""
        ...

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with its tensors on a device."""
        ...


Loss = Callable[[Any, Any], Tensor]
"""A loss of a model and a batch: the SUM over its targets (nats); `fit` divides by their number."""


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How to train.

    The rate rises linearly over `warmup` (share of steps), falls as a cosine to
    `final_rate` (share of `learning_rate`) and stays there for the last `hold` (share of
    steps). With `stop`, training ends after so many steps, on the rate's way down.
    Gradients are clipped to the norm `clip`. `ema` is the decay of the averaged weights
    that the model holds at the end (None: no averaging), and every `show_every` steps while
    that step's report is out, to be validated. `mixed_precision` is "no" or "bf16" (products
    in bfloat16, weights in their own type). `save_every_s` seconds between checkpoints.
    Raises: `UserError` on a value out of its range.
    """

    steps: int
    learning_rate: float
    warmup: float = 0.05
    final_rate: float = 0.05
    hold: float = 0.0
    stop: int | None = None
    weight_decay: float = 0.1
    beta2: float = 0.98
    clip: float = 1.0
    ema: float | None = None
    show_every: int | None = None
    mixed_precision: str = "no"
    save_every_s: float = 60.0
    seed: int = 0

    def __post_init__(self) -> None:
        ranges = (
            ("steps", self.steps >= 1, "at least 1"),
            ("learning_rate", 0 < self.learning_rate <= 1, "above 0 and at most 1"),
            ("warmup", 0 <= self.warmup <= 1, "in [0, 1]"),
            ("final_rate", 0 <= self.final_rate <= 1, "in [0, 1]"),
            ("hold", 0 <= self.hold <= 1, "in [0, 1]"),
            ("stop", self.stop is None or 0 < self.stop <= self.steps, f"in 1..{self.steps}"),
            ("weight_decay", 0 <= self.weight_decay <= 1, "in [0, 1]"),
            ("beta2", 0 < self.beta2 < 1, "between 0 and 1"),
            ("clip", self.clip > 0, "above 0"),
            ("ema", self.ema is None or 0 < self.ema < 1, "between 0 and 1"),
            ("show_every", self.show_every is None or self.show_every >= 1, "at least 1"),
            ("mixed_precision", self.mixed_precision in ("no", "bf16"), "no or bf16"),
        )
        for name, is_sound, wanted in ranges:
            if not is_sound:
                raise UserError(f"{name} is {getattr(self, name)}; it must be {wanted}")


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one optimiser step did; `loss` is the mean over its targets (nats)."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    num_targets: int
    elapsed_s: float


def rate_at(step: int, config: FitConfig) -> float:
    """Return the learning rate of a step (0-based)."""
    warm = max(1, round(config.warmup * config.steps))
    fall = max(1, config.steps - warm - round(config.hold * config.steps))
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    progress = min(1.0, (step - warm) / fall)
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return config.learning_rate * (config.final_rate + (1 - config.final_rate) * cosine)


def num_steps(epochs: float, per_epoch: int) -> int:
    """Return the steps of some passes over the data, at least 1. Raises: `UserError`."""
    if not 0 < epochs < math.inf:
        raise UserError(f"epochs is {epochs}; it must be above 0")
    return max(1, round(epochs * per_epoch))


class Passes(Protocol):
    """What the training of every verifier says: passes over its data, and how to step."""

    @property
    def epochs(self) -> float:
        """Passes over the data."""
        ...

    @property
    def learning_rate(self) -> float:
        """The peak of the rate."""
        ...

    @property
    def weight_decay(self) -> float:
        """As in `FitConfig`."""
        ...

    @property
    def mixed_precision(self) -> str:
        """As in `FitConfig`."""
        ...

    @property
    def seed(self) -> int:
        """Of the order of the data, and of every step."""
        ...


def passes_over(config: Passes, per_epoch: int, *, final_rate: float = 0.0) -> FitConfig:
    """Return how to step through passes: 10% warm-up, then a cosine to `final_rate`.

    Raises: `UserError` on a value out of its range.
    """
    return FitConfig(
        steps=num_steps(config.epochs, per_epoch),
        learning_rate=config.learning_rate,
        warmup=0.1,
        final_rate=final_rate,
        weight_decay=config.weight_decay,
        mixed_precision=config.mixed_precision,
        seed=config.seed,
    )


def fit(
    model: nn.Module,
    batches: Callable[[int], Sequence[Batch]],
    loss: Loss,
    config: FitConfig,
    *,
    folder: Path | None = None,
    about: object = None,
) -> Iterator[StepReport]:
    """Train the parameters that require gradients, where they lie; yield a report a step.

    `batches(step)` are the micro-batches of a step; `loss(model, batch)` is a sum over
    targets, so that the gradient is that of the mean over the step's real targets whatever
    the padding. With `folder`, checkpoints are written there and a run with the same
    configuration and the same `about` (what else it depends on: its data, say; by its
    `repr`) goes on from the last one. At the end the model holds the averaged weights.

    Raises: `UserError` when the loss or a gradient is not finite: the model's weights, and
    the checkpoint, are then those of the last good step; `UserError` where the folder
    belongs to another run.
    """
    from accelerate import Accelerator

    accelerator: Any = Accelerator(device_placement=False)
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        _decay_groups([p for _, p in trained], config.weight_decay),
        lr=config.learning_rate,
        betas=(0.9, config.beta2),
    )
    state = _State(trained, optimizer, config, about)
    if folder is not None:
        state.resume(folder)
    prepared: Any = accelerator.prepare(_Objective(model, loss, config), optimizer)
    objective: nn.Module = prepared[0]
    optimizer: torch.optim.Optimizer = prepared[1]

    def keep() -> None:
        if folder is not None and state.step and accelerator.is_main_process:
            state.save(folder)

    started = saved = time.monotonic()
    end = config.stop or config.steps
    while state.step < end:
        step, rate = state.step, rate_at(state.step, config)
        _ = torch.manual_seed(derive_seed("fit", config.seed, step))
        mean, num_targets = _backward(objective, batches(step), trained[0][1].device, accelerator)
        clipped: Any = accelerator.clip_grad_norm_(objective.parameters(), config.clip)
        norm = float(clipped)
        if not (math.isfinite(mean) and math.isfinite(norm)):
            optimizer.zero_grad(set_to_none=True)
            keep()
            is_kept = folder is not None and step > 0
            kept = f"; the last good checkpoint is in {folder}" if is_kept else ""
            raise UserError(
                f"training stopped at step {step}: loss {mean}, gradient norm {norm}{kept}; "
                "lower the learning rate or look at the data"
            )
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        state.finish_step()
        with state.shown_average():
            yield StepReport(step, mean, rate, norm, num_targets, time.monotonic() - started)
        if time.monotonic() - saved > config.save_every_s or state.step == end:
            keep()
            saved = time.monotonic()
    state.use_average()


class _Objective(nn.Module):
    """A loss as the forward of a module: what devices wrap, to exchange gradients."""

    def __init__(self, model: nn.Module, loss: Loss, config: FitConfig) -> None:
        super().__init__()
        self.model, self.loss = model, loss
        self.is_mixed = config.mixed_precision == "bf16"

    def forward(self, batch: Batch, device: torch.device) -> Tensor:
        """Return the loss of a batch."""
        with torch.autocast(device.type, torch.bfloat16, enabled=self.is_mixed):
            return self.loss(self.model, batch.to(device)).float()


def _decay_groups(parameters: Sequence[nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """Decay matrices, not norms and biases."""
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _backward(
    objective: nn.Module, micro: Sequence[Batch], device: torch.device, accelerator: Any
) -> tuple[float, int]:
    """Leave the gradient of the mean loss over a step's targets; return (mean, targets)."""
    num_targets = sum(batch.num_targets for batch in micro)
    # a process without a batch of its own still takes part in the exchange, with nothing
    mine = micro[accelerator.process_index :: accelerator.num_processes]
    weight = 1 / max(num_targets, 1) if mine else 0.0
    total = torch.zeros((), device=device)
    some = mine or micro[:1]
    for left, batch in zip(reversed(range(len(some))), some, strict=True):
        with accelerator.no_sync(objective) if left else nullcontext():  # exchange at the last
            value = objective(batch, device) * weight
            # devices average their gradients; the targets were counted over all of them
            accelerator.backward(value * accelerator.num_processes)
        total += value.detach()
    return float(accelerator.reduce(total, "sum")), num_targets


class _State:
    """Everything that a resumed run needs: weights, optimiser moments, average, step."""

    def __init__(
        self,
        trained: Sequence[tuple[str, nn.Parameter]],
        optimizer: torch.optim.Optimizer,
        config: FitConfig,
        about: object,
    ) -> None:
        self.trained, self.optimizer, self.ema = trained, optimizer, config.ema
        self.show_every = config.show_every
        self.run: dict[str, Any] = {"config": asdict(config)}
        if about is not None:
            self.run["about"] = hashlib.blake2b(repr(about).encode(), digest_size=16).hexdigest()
        self.step = 0
        has_average = config.ema is not None
        self.average = [p.detach().clone() for _, p in trained] if has_average else []

    def finish_step(self) -> None:
        """Count the step and move the average towards the weights."""
        self.step += 1
        if self.ema is not None:
            # early on the average follows closely, as if it had seen only what there was
            decay = min(self.ema, (1 + self.step) / (10 + self.step))
            move = cast(Callable[..., None], get_ema_multi_avg_fn(decay))
            move(self.average, [p.detach() for _, p in self.trained], self.step)

    @contextmanager
    def shown_average(self) -> Generator[None]:
        """At every so many steps, put the averaged weights into the model, then its own again."""
        if not self.average or not self.show_every or self.step % self.show_every:
            yield
            return
        own = [p.detach().clone() for _, p in self.trained]
        self.use_average()
        try:
            yield
        finally:
            with torch.no_grad():
                for (_, parameter), tensor in zip(self.trained, own, strict=True):
                    _ = parameter.copy_(tensor)

    @torch.no_grad()
    def use_average(self) -> None:
        """Put the averaged weights into the model."""
        for (_, parameter), average in zip(self.trained, self.average, strict=False):
            _ = parameter.copy_(average)

    def save(self, folder: Path) -> None:
        """Write `folder/training` whole: safetensors and a JSON of where we are."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.trained:
            tensors[f"weight/{name}"] = parameter.detach()
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"{key}/{name}"] = value
        for (name, _), average in zip(self.trained, self.average, strict=False):
            tensors[f"average/{name}"] = average
        meta = {"step": self.step, **self.run}
        write_folder(
            folder / "training",
            {"state.json": json.dumps(meta).encode(), "model.safetensors": tensors},
        )

    @torch.no_grad()
    def resume(self, folder: Path) -> None:
        """Go on from `folder/training` where it is of this run."""
        source = folder / "training"
        if not source.is_dir():
            return
        meta = read_json(source / "state.json")
        step = meta.pop("step", None)
        if isinstance(meta.get("config"), dict):  # how often it was kept or shown is no matter
            for name in ("save_every_s", "show_every"):
                meta["config"][name] = self.run["config"][name]
        if meta != self.run or not isinstance(step, int):
            raise UserError(
                f"{source} belongs to a run with other settings or other data; remove it, or "
                "choose another --out"
            )
        tensors = dict(read_tensors(source))

        def stored(key: str, name: str) -> Tensor:
            if (tensor := tensors.get(f"{key}/{name}")) is None:
                raise UserError(f"{source}: {key}/{name} is missing; remove it to start again")
            return tensor

        for name, parameter in self.trained:
            _ = parameter.copy_(stored("weight", name))
            where = parameter.device
            self.optimizer.state[parameter] = {
                "step": stored("step", name),
                "exp_avg": stored("exp_avg", name).to(where),
                "exp_avg_sq": stored("exp_avg_sq", name).to(where),
            }
        for (name, _), average in zip(self.trained, self.average, strict=False):
            _ = average.copy_(stored("average", name))
        self.step = step


def forget_training(folder: Path) -> None:
    """Remove a run's checkpoints, once what it made is saved."""
    shutil.rmtree(folder, ignore_errors=True)
