"""Hugging Face checkpoint folders: read, checked, and written whole or not at all.

A checkpoint is `config.json`, safetensors (one file or shards with an index) and a tokenizer.
Pickled weights are refused: reading them runs whatever code they hold. Families: Llama 3.x and
all that share its code (SmolLM, SmolLM2), Qwen2/2.5, Qwen3, Mistral, SmolLM3.
"""

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]  (PathLike)
from torch import Tensor

from system2.core import UserError
from system2.engine.config import config_json, read_config
from system2.engine.embedded import EMBEDDED
from system2.engine.model import LanguageModel, tensors_of
from system2.engine.tokenizer import TOKENIZER_FILES, read_json

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_STORED_FLOATS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""The types of tensor that are read, by safetensors' names."""

_CHECKPOINT_FILES = (
    *TOKENIZER_FILES,
    "config.json",
    "manifest.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "state.json",
    "verifier.json",
)


def find_checkpoint(name: str) -> Path:
    """Return the folder of a policy's name: `tiny`, a checkpoint folder, or `hub:NAME`.

    `hub:` names are fetched through huggingface_hub into its cache (safetensors, config and
    tokenizer only). Raises: `UserError` where nothing is found.
    """
    if name in EMBEDDED:
        return EMBEDDED[name]
    if name.startswith("hub:"):
        return _fetch(name.removeprefix("hub:"))
    folder = Path(name)
    if not name or not folder.is_dir():
        known = ", ".join(EMBEDDED)
        raise UserError(
            f"no policy {name!r}: not a folder; use {known}, a checkpoint folder or hub:NAME"
        )
    return folder


def _fetch(name: str) -> Path:
    """Download a checkpoint from the hub, or find it in the local cache."""
    try:
        from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType]
    except ImportError as error:
        raise UserError(f"hub:{name} needs the package huggingface_hub") from error
    # not every *.safetensors: some checkpoints hold the same weights twice, in two layouts
    patterns = ["model*.safetensors", "*.json", "*.jinja"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # many kinds: no network, no such name, gated, bad name
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise UserError(
            f"hub:{name} cannot be loaded ({type(error).__name__}: {reason[:160]}); check the "
            "name and the network, or give a local checkpoint folder"
        ) from error


def load_model(
    folder: Path, *, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> LanguageModel:
    """Load a checkpoint folder as a model in evaluation mode.

    Raises: `UserError` naming the file or tensor that is missing, truncated, of another
    shape, or pickled.
    """
    config = read_config(folder)
    with torch.device("meta"):
        model = LanguageModel(config).to(dtype)
    # before any memory is taken: a configuration may ask for more than the files hold
    for _ in _matched(model, folder, _headers(folder)):
        pass
    model = model.to_empty(device=device)
    if config.has_tied_head:
        model.lm_head.weight = model.model.embed_tokens.weight
    load_tensors(model, folder, read_tensors(folder))
    return model.eval()


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder, shards in order of name.

    Raises: `UserError` where there are none, one is missing, or only pickles are there.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        return _shards(index)
    pickles = sorted(p.name for s in ("*.bin", "*.pt", "*.pth", "*.ckpt") for p in folder.glob(s))
    if pickles:
        raise UserError(
            f"{folder}: {pickles[0]} is a pickle, which can run code when read; "
            "convert the checkpoint to safetensors"
        )
    raise UserError(f"{single} is missing; the checkpoint has no weights")


def _shards(index: Path) -> list[Path]:
    """Return the files that an index names, all of them beside it."""
    shards: Any = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise UserError(f"{index}: has no weight_map")
    files: list[Path] = []
    for name in sorted({str(shard) for shard in cast("dict[str, Any]", shards).values()}):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise UserError(f"{index}: shard {name!r} is no safetensors file of the folder")
        files.append(index.parent / name)
        if not files[-1].is_file():
            raise UserError(f"{files[-1]} is missing; the index names it: fetch it again")
    return files


def read_tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield names and tensors of a checkpoint's safetensors files, one at a time."""
    for path in weight_files(folder):
        yield from _opened(path, lambda file, name: file.get_tensor(name))


def _headers(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield names and tensors without content (on `meta`): shapes and types cost no reading."""
    for path in weight_files(folder):
        yield from _opened(path, lambda file, name: _outline(file.get_slice(name)))


def _outline(view: Any) -> Tensor:
    """Return a tensor on `meta` of a stored one's shape; what are no floats becomes bytes."""
    dtype = _STORED_FLOATS.get(view.get_dtype(), torch.uint8)
    return torch.empty(view.get_shape(), dtype=dtype, device="meta")


def _opened(path: Path, take: Callable[[Any, str], Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield the name of each tensor of a file, and what `take(file, name)` makes of it."""
    try:
        opened: Any = safe_open(path, framework="pt")
        with opened as file:
            for name in file.keys():  # noqa: SIM118  (not a dict: it has no __iter__)
                yield str(name), take(file, name)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path}: not a whole safetensors file ({error}); fetch or save it again"
        ) from error


def load_tensors(
    module: torch.nn.Module, origin: Path, tensors: Iterable[tuple[str, Tensor]]
) -> None:
    """Copy named tensors into a module's parameters; every one must be met, in its shape.

    Raises: `UserError` naming a tensor that is missing, out of place, quantised, or stored
    twice with other values (an untied head where the configuration ties it).
    """
    met: set[int] = set()
    for name, target, tensor in _matched(module, origin, tensors):
        value = tensor.to(target.device, target.dtype)
        if id(target) in met and not torch.equal(target, value):
            raise UserError(
                f"{origin}: tensor {name} is stored twice with other values; if it is the head, "
                "set tie_word_embeddings to false in config.json"
            )
        with torch.no_grad():
            _ = target.copy_(value)
        met.add(id(target))


def _matched(
    module: torch.nn.Module, origin: Path, tensors: Iterable[tuple[str, Tensor]]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield each tensor with its place in a module; refuse what has none, and at the end a gap."""
    targets = dict(tensors_of(module))
    wanted = {id(target) for target in targets.values()}
    for name, tensor in tensors:
        target = targets.get(name)
        if target is None:
            if name.endswith("rotary_emb.inv_freq"):
                continue  # old checkpoints store what is computed
            raise UserError(f"{origin}: tensor {name} has no place in this model")
        if tensor.dtype not in _STORED_FLOATS.values():
            raise UserError(
                f"{origin}: tensor {name} does not hold floats; quantised checkpoints are not read"
            )
        if target.shape != tensor.shape:
            raise UserError(
                f"{origin}: tensor {name} has shape {tuple(tensor.shape)}, "
                f"the configuration says {tuple(target.shape)}"
            )
        wanted.discard(id(target))
        yield name, target, tensor
    for name, target in targets.items():
        if id(target) in wanted:
            raise UserError(f"{origin}: tensor {name} is missing; the checkpoint is incomplete")


def write_folder(folder: Path, fill: Mapping[str, bytes | Path | Mapping[str, Tensor]]) -> None:
    """Write a folder of files whole or not at all; an older one is replaced at the end.

    A value is the file's bytes, a file to copy, or tensors for a safetensors file. A failure
    (a full disk, Ctrl-C) leaves the older folder as it was and nothing beside it.
    Raises: `UserError` where the folder holds what no checkpoint holds: it is not replaced.
    """
    folder = folder.resolve()
    check_replaceable(folder, fill)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    new, old = temporary / "new", temporary / "old"
    try:
        for name, content in fill.items():
            try:
                _write_file(new / name, content)
            except OSError as error:  # it may name no file, or one that is about to go
                code = error.errno or errno.EIO
                raise OSError(code, os.strerror(code), str(folder / name)) from error
        if folder.exists():
            os.replace(folder, old)
        os.replace(new, folder)
    finally:
        if old.exists() and not folder.exists():  # stopped between the two moves
            os.replace(old, folder)
        shutil.rmtree(temporary, ignore_errors=True)


def check_replaceable(folder: Path, names: Iterable[str]) -> None:
    """Refuse to replace a folder that holds anything but checkpoint files and `names`.

    Raises: `UserError` naming one such file: it would be lost.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is a file; name a folder to write")
    known = {*_CHECKPOINT_FILES, *(Path(name).parts[0] for name in names)}
    for path in sorted(folder.iterdir()):
        is_shard = path.name.startswith("model-") and path.suffix == ".safetensors"
        if path.name not in known and not is_shard:
            raise UserError(
                f"{folder} holds {path.name}, which is no part of a checkpoint and would be lost; "
                "name another folder"
            )


def _write_file(path: Path, content: bytes | Path | Mapping[str, Tensor]) -> None:
    """Write one file of a folder. Raises: `OSError`, also for safetensors' own I/O errors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        _ = path.write_bytes(content)
    elif isinstance(content, Path):
        _ = shutil.copyfile(content, path)
    else:
        tensors = {name: t.detach().cpu().contiguous() for name, t in content.items()}
        try:
            save_file(tensors, path, metadata={"format": "pt"})
        except SafetensorError as error:
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), str(error)) from error
        path.chmod(0o644)  # the library keeps the file to its owner


def tokenizer_files(folder: Path) -> dict[str, Path]:
    """Return the tokenizer's files that a checkpoint folder holds, by name."""
    return {name: folder / name for name in TOKENIZER_FILES if (folder / name).is_file()}


def state_of(model: torch.nn.Module, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Return a model's tensors by their checkpoint's names, a tied one once.

    `dtype` None keeps theirs.
    """
    tensors = tensors_of(model, with_ties=False)
    return {name: tensor.detach().to(dtype or tensor.dtype) for name, tensor in tensors}


def save_model(
    folder: Path,
    model: LanguageModel,
    tokenizer_folder: Path,
    *,
    dtype: torch.dtype | None = None,
    extra: Mapping[str, bytes] | None = None,
) -> None:
    """Save a checkpoint that `load_model` and `transformers` read; whole or not at all.

    `dtype` None keeps the parameters' own; `extra` are further files (a manifest).
    """
    stored = dtype or model.model.norm.weight.dtype
    origin = read_json(tokenizer_folder / "config.json", default={})
    name = next(key for key, value in DTYPES.items() if value == stored)
    config = config_json(model.config, name, origin)
    files: dict[str, bytes | Path | Mapping[str, Tensor]] = {
        "config.json": json.dumps(config, indent=2).encode(),
        **tokenizer_files(tokenizer_folder),
        "model.safetensors": state_of(model, stored),
        **(extra or {}),
    }
    write_folder(folder, files)
