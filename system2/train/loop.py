"""The only training loop: `fit(model, batches, loss, config)` yields a report a step.

SFT, LLM2's pairwise loss, outcome verifiers: each is a loss from `train.losses` and a function
from a step's number to its batches. Because a batch is a pure function of its step, and every
step seeds its own randomness, a run that was killed goes on exactly where its last checkpoint
stood. Runs on `accelerate`: one CPU or GPU, or several by `accelerate launch`.
"""

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

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


Loss = Callable[[nn.Module, Any], Tensor]
"""A loss: the SUM over a micro-batch's targets (nats); `fit` divides by their number."""


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How to train.

    The rate rises linearly over `warmup` (share of steps), falls as a cosine to
    `final_rate` (share of `learning_rate`) and stays there for the last `hold` (share of
    steps). `ema` is the decay of the averaged weights that the model holds at the end
    (None: no averaging). `save_every_s` seconds between checkpoints.
    """

    steps: int
    learning_rate: float
    warmup: float = 0.05
    final_rate: float = 0.05
    hold: float = 0.0
    weight_decay: float = 0.1
    beta2: float = 0.98
    clip: float = 1.0
    ema: float | None = None
    mixed_precision: str = "no"
    save_every_s: float = 60.0
    seed: int = 0


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


def fit(
    model: nn.Module,
    batches: Callable[[int], Sequence[Batch]],
    loss: Loss,
    config: FitConfig,
    *,
    folder: Path | None = None,
) -> Iterator[StepReport]:
    """Train the parameters that require gradients; yield a report after every step.

    `batches(step)` are the micro-batches of a step; `loss(model, batch)` is a sum over
    targets, so that the gradient is that of the mean over the step's real targets whatever
    the padding. With `folder`, checkpoints are written there and a run with the same
    configuration goes on from the last one. At the end the model holds the averaged weights.

    Raises: `UserError` when the loss or a gradient is not finite; the model's weights and
    the last checkpoint are then those of the last good step.
    """
    from accelerate import Accelerator

    accelerator = Accelerator(mixed_precision=config.mixed_precision)
    names, parameters = zip(
        *((n, p) for n, p in model.named_parameters() if p.requires_grad), strict=True
    )
    optimizer = torch.optim.AdamW(
        _decay_groups(parameters, config.weight_decay),
        lr=config.learning_rate,
        betas=(0.9, config.beta2),
    )
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    state = _State(names, parameters, optimizer, config)
    if folder is not None:
        state.resume(folder)
    started = saved = time.monotonic()
    while state.step < config.steps:
        step = state.step
        torch.manual_seed(derive_seed("fit", config.seed, step))
        mean, norm, count = _step(
            wrapped, batches(step), loss, optimizer, accelerator, config, step, folder
        )
        state.finish_step()
        yield StepReport(
            step, mean, rate_at(step, config), norm, count, time.monotonic() - started
        )
        due = time.monotonic() - saved > config.save_every_s or state.step == config.steps
        if folder is not None and due and accelerator.is_main_process:
            state.save(folder)
            saved = time.monotonic()
    state.use_average()


def _decay_groups(parameters: Sequence[nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """Decay matrices, not norms and biases."""
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _step(
    model: nn.Module,
    micro: Sequence[Batch],
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    accelerator: Any,
    config: FitConfig,
    step: int,
    folder: Path | None,
) -> tuple[float, float, int]:
    """Do one optimiser step; return mean loss, gradient norm and the number of targets."""
    for group in optimizer.param_groups:
        group["lr"] = rate_at(step, config)
    mine = micro[accelerator.process_index :: accelerator.num_processes]
    count = sum(batch.num_targets for batch in micro)
    total = torch.zeros((), device=accelerator.device)
    for i, batch in enumerate(mine):
        with accelerator.autocast(), _no_sync(accelerator, model, is_last=i == len(mine) - 1):
            value = loss(model, batch.to(accelerator.device)) / max(count, 1)
            # DDP averages gradients over processes; the count is already over all of them
            accelerator.backward(value * accelerator.num_processes)
        total += value.detach().float()
    norm = float(accelerator.clip_grad_norm_(model.parameters(), config.clip))
    mean = float(accelerator.reduce(total, "sum"))
    if not (math.isfinite(mean) and math.isfinite(norm)):
        optimizer.zero_grad(set_to_none=True)
        kept = f"; the last good checkpoint is in {folder}" if folder is not None else ""
        raise UserError(
            f"training stopped at step {step}: loss {mean}, gradient norm {norm}{kept}; "
            "lower the learning rate or look at the data"
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return mean, norm, count


def _no_sync(accelerator: Any, model: nn.Module, *, is_last: bool) -> Any:
    """Let devices exchange gradients at the last micro-batch only."""
    from contextlib import nullcontext

    return nullcontext() if is_last else accelerator.no_sync(model)


class _State:
    """Everything that a resumed run needs: weights, optimiser moments, average, step."""

    def __init__(
        self,
        names: Sequence[str],
        parameters: Sequence[nn.Parameter],
        optimizer: torch.optim.Optimizer,
        config: FitConfig,
    ) -> None:
        self.names, self.parameters = names, list(parameters)
        self.optimizer, self.config = optimizer, config
        self.step = 0
        has_average = config.ema is not None
        self.average = [p.detach().clone() for p in parameters] if has_average else []

    def finish_step(self) -> None:
        """Count the step and move the average towards the weights."""
        self.step += 1
        if self.average and self.config.ema is not None:
            # early on the average follows closely, as if it had seen only what there was
            decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
            current = [p.detach() for p in self.parameters]
            torch._foreach_lerp_(self.average, current, 1 - decay)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    def use_average(self) -> None:
        """Put the averaged weights into the model."""
        with torch.no_grad():
            for parameter, average in zip(self.parameters, self.average, strict=False):
                _ = parameter.copy_(average)

    def save(self, folder: Path) -> None:
        """Write `folder/training` whole: safetensors and a JSON of where we are."""
        tensors: dict[str, Tensor] = {}
        for i, (name, parameter) in enumerate(zip(self.names, self.parameters, strict=True)):
            tensors[f"weight/{name}"] = parameter.detach()
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"{key}/{name}"] = torch.as_tensor(value)
            if self.average:
                tensors[f"average/{name}"] = self.average[i]
        meta = {"step": self.step, "config": asdict(self.config)}
        write_folder(
            folder / "training",
            {"state.json": json.dumps(meta).encode(), "model.safetensors": tensors},
        )

    def resume(self, folder: Path) -> None:
        """Go on from `folder/training` where it is of this configuration."""
        source = folder / "training"
        if not source.is_dir():
            return
        meta = read_json(source / "state.json")
        if meta.get("config") != asdict(self.config):
            raise UserError(
                f"{source} belongs to a run with other settings; remove it, or choose another --out"
            )
        tensors = dict(read_tensors(source))
        with torch.no_grad():
            for i, (name, parameter) in enumerate(zip(self.names, self.parameters, strict=True)):
                _ = parameter.copy_(_tensor(tensors, f"weight/{name}", source))
                if self.average:
                    _ = self.average[i].copy_(_tensor(tensors, f"average/{name}", source))
                self.optimizer.state[parameter] = {
                    "step": _tensor(tensors, f"step/{name}", source),
                    "exp_avg": _tensor(tensors, f"exp_avg/{name}", source).to(parameter.device),
                    "exp_avg_sq": _tensor(tensors, f"exp_avg_sq/{name}", source).to(
                        parameter.device
                    ),
                }
        self.step = int(meta["step"])


def _tensor(tensors: Mapping[str, Tensor], name: str, source: Path) -> Tensor:
    if name not in tensors:
        raise UserError(f"{source}: {name} is missing; remove the folder to start again")
    return tensors[name]


def forget_training(folder: Path) -> None:
    """Remove a run's checkpoints, once what it made is saved."""
    shutil.rmtree(folder, ignore_errors=True)
