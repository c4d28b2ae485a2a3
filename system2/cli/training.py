"""What the commands that train have in common: where they start, what they say, what they leave."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from system2.cli.terminal import finish, progress, warn

if TYPE_CHECKING:
    from system2.engine.local import LocalPolicy


def prepared(policy: str, out: Path) -> "tuple[LocalPolicy, str]":
    """Return the policy to train on, in float32, and the precision to multiply in.

    Raises: `UserError` where `out` cannot be written, before the work is done for nothing.
    """
    from system2.engine.local import load_policy
    from system2.engine.weights import check_replaceable

    check_replaceable(out, ())
    loaded = load_policy(policy, dtype="float32")
    has_cuda = loaded.model.model.norm.weight.device.type == "cuda"
    return loaded, "bf16" if has_cuda else "no"


def work_folder(out: Path) -> Path:
    """Return where checkpoints are kept until `out` is written."""
    return Path(f"{out}.partial")


def last_loss(reports: Iterable[Any], label: str, steps: int) -> float | None:
    """Train to the end; return the last step's loss, None where nothing was left to do."""
    loss = None
    for report in progress(reports, label, total=steps):
        loss = float(report.loss)
    return loss


def finish_training(
    counts: Mapping[str, int], loss: float | None, out: Path, *, as_json: bool
) -> None:
    """Drop the checkpoints and say what was made."""
    from system2.train.loop import forget_training

    forget_training(work_folder(out))
    said = ", ".join(f"{count} {name}" for name, count in counts.items())
    last = f", last loss {loss:.4f}" if loss is not None else ""
    result = {**counts, "loss": loss, "out": str(out)}
    finish(f"trained: {said}{last}: {out}", result, as_json=as_json)


def warn_of_split(split: object) -> None:
    """Warn of training data from held-out problems; None: not known where they are from."""
    if split not in (None, "train"):
        warn(f"these are {split} problems: what is measured on them afterwards means nothing")


def split_of(pairs: Path) -> object:
    """Return the split that a file of pairs was made from, None where nothing says it."""
    from system2.engine.tokenizer import read_json
    from system2.store import manifest_path

    return split_in(read_json(manifest_path(pairs), default={}))


def split_in(manifest: Mapping[str, Any]) -> object:
    """Return the split that a manifest names, None where it names none."""
    config: object = manifest.get("config")
    return cast(dict[str, object], config).get("split") if isinstance(config, dict) else None


def json_bytes(value: object) -> bytes:
    """Return a value as the bytes of a JSON file."""
    import json

    return json.dumps(value, indent=2).encode()
