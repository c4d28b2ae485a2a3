"""Hugging Face checkpoint folders: read, checked, and written whole or not at all.

A checkpoint is `config.json`, safetensors (one file or shards with an index) and a tokenizer.
Pickled weights are refused: reading them runs whatever code they hold. Families: Llama 3.x and
all that share its code (SmolLM, SmolLM2), Qwen2/2.5, Qwen3, Mistral, SmolLM3.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from system2.core import UserError
from system2.engine.model import LanguageModel, ModelConfig
from system2.engine.tokenizer import TOKENIZER_FILES, read_json

FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "smollm3")
"""The `model_type`s that `LanguageModel` computes exactly."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

EMBEDDED = {"tiny": Path(__file__).parent.parent / "tiny"}
"""Checkpoints shipped inside the package, by name."""


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
    if not folder.is_dir():
        known = ", ".join(EMBEDDED)
        raise UserError(
            f"no policy {name!r}: not a folder; use {known}, a checkpoint folder or hub:NAME"
        )
    return folder


def _fetch(name: str) -> Path:
    """Download a checkpoint from the hub, or find it in the local cache."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UserError(f"hub:{name} needs the package huggingface_hub") from error
    patterns = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # many kinds: no network, no such name, gated, bad name
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise UserError(
            f"hub:{name} cannot be loaded ({type(error).__name__}: {reason[:160]}); check the "
            "name and the network, or give a local checkpoint folder"
        ) from error


def read_config(folder: Path) -> ModelConfig:
    """Read `config.json` as the shape of our model.

    Both spellings of rotary settings are read (`rope_theta` with `rope_scaling`, and
    transformers 5's `rope_parameters`). Raises: `UserError` on a family or a setting that
    `LanguageModel` does not compute.
    """
    path = folder / "config.json"
    raw = read_json(path)
    family = raw.get("model_type")
    if family not in FAMILIES:
        raise UserError(f"{path}: model_type {family!r} is not supported ({', '.join(FAMILIES)})")
    try:
        return _config_of(raw, str(family))
    except KeyError as error:
        raise UserError(f"{path}: the setting {error} is missing") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: {error}") from error


def _config_of(raw: Mapping[str, Any], family: str) -> ModelConfig:
    """Translate a Hugging Face configuration."""
    if raw.get("hidden_act", "silu") != "silu":
        raise ValueError(f"hidden_act {raw['hidden_act']!r} is not supported (silu)")
    heads, size, layers = (
        _positive(raw, key) for key in ("num_attention_heads", "hidden_size", "num_hidden_layers")
    )
    kv_heads = raw.get("num_key_value_heads") or (8 if family == "mistral" else heads)
    if heads % kv_heads:
        raise ValueError(f"num_attention_heads {heads} is no multiple of {kv_heads} key heads")
    rope: dict[str, Any] = dict(raw.get("rope_parameters") or raw.get("rope_scaling") or {})
    kind = rope.pop("rope_type", rope.pop("type", "default"))
    theta = rope.pop("rope_theta", raw.get("rope_theta", 10_000.0))
    attention_bias = bool(raw.get("attention_bias", False))
    return ModelConfig(
        vocab_size=_positive(raw, "vocab_size"),
        hidden_size=size,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=raw.get("head_dim") or (128 if family == "qwen3" else size // heads),
        intermediate_size=_positive(raw, "intermediate_size"),
        norm_eps=float(raw.get("rms_norm_eps", 1e-6)),
        rope_theta=float(theta),
        rope={"rope_type": kind, **rope},
        rope_layers=_rope_layers(raw, layers) if family == "smollm3" else None,
        max_positions=int(raw.get("max_position_embeddings", 2048)),
        qkv_bias=family == "qwen2" or attention_bias,
        out_bias=attention_bias and family in ("llama", "qwen3", "smollm3"),
        mlp_bias=bool(raw.get("mlp_bias", False)) and family in ("llama", "smollm3"),
        has_qk_norm=family == "qwen3",
        sliding_window=_window(raw, family),
        has_tied_head=bool(raw.get("tie_word_embeddings", family == "smollm3")),
    )


def _positive(raw: Mapping[str, Any], key: str) -> int:
    value = raw[key]
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{key} is {value!r}; it must be a positive whole number")
    return value


def _rope_layers(raw: Mapping[str, Any], layers: int) -> tuple[bool, ...]:
    """Return which layers of a SmolLM3 turn their queries (the setting holds 1 for yes)."""
    listed = raw.get("no_rope_layers")
    if listed is not None:
        return tuple(bool(flag) for flag in listed)
    every = int(raw.get("no_rope_layer_interval", 4))
    return tuple((i + 1) % every != 0 for i in range(layers))


def _window(raw: Mapping[str, Any], family: str) -> int | None:
    """Return the sliding window where every layer has one; refuse a mixture."""
    window = raw.get("sliding_window")
    if family == "llama" or window is None:
        return None
    if family == "mistral":
        return int(window)
    if not raw.get("use_sliding_window", False):
        return None
    kinds = set(raw.get("layer_types") or ())
    if kinds == {"sliding_attention"}:
        return int(window)
    if kinds == {"full_attention"}:
        return None
    raise ValueError("a mixture of sliding and full attention layers is not supported")


def load_model(
    folder: Path, *, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> LanguageModel:
    """Load a checkpoint folder as a model in evaluation mode.

    Raises: `UserError` naming the file or tensor that is missing, truncated, of another
    shape, or pickled.
    """
    config = read_config(folder)
    with torch.device("meta"):
        model = LanguageModel(config)
    model = model.to_empty(device="cpu")
    _restore_buffers(model)
    load_tensors(model, folder, read_tensors(folder))
    return model.to(device=device, dtype=dtype).eval()


def _restore_buffers(model: LanguageModel) -> None:
    """Fill what `to_empty` left undefined and is not stored: the rotary frequencies."""
    from system2.engine.model import rope_frequencies

    inverse, model.rope_scale = rope_frequencies(model.config)
    model.register_buffer("inverse_frequencies", inverse, persistent=False)
    if model.config.has_tied_head:
        model.lm_head.weight = model.model.embed_tokens.weight


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder, shards in the index's order.

    Raises: `UserError` where there are none, one is missing, or only pickles are there.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = read_json(index).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise UserError(f"{index}: has no weight_map")
        names = sorted(set(map(str, shards.values())))
        for name in names:
            if Path(name).name != name:
                raise UserError(f"{index}: shard {name!r} lies outside the folder")
        files = [folder / name for name in names]
    else:
        files = [folder / "model.safetensors"]
    missing = [path for path in files if not path.is_file()]
    if not missing:
        return files
    pickles = sorted(p.name for s in ("*.bin", "*.pt", "*.pth", "*.ckpt") for p in folder.glob(s))
    if pickles:
        raise UserError(
            f"{folder}: {pickles[0]} is a pickle, which can run code when read; "
            "convert the checkpoint to safetensors"
        )
    raise UserError(f"{missing[0]} is missing; the checkpoint has no weights")


def read_tensors(folder: Path) -> Iterable[tuple[str, Tensor]]:
    """Yield names and tensors of a checkpoint's safetensors files, one at a time."""
    for path in weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  (not a dict: it has no __iter__)
                    yield name, file.get_tensor(name)
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{path}: not a whole safetensors file ({error}); fetch or save it again"
            ) from error


def load_tensors(
    module: torch.nn.Module, origin: Path, tensors: Iterable[tuple[str, Tensor]]
) -> None:
    """Copy named tensors into a module's parameters; every one must be met, in its shape."""
    targets = dict(module.named_parameters(remove_duplicate=False))
    wanted = {id(parameter) for parameter in targets.values()}
    for name, tensor in tensors:
        target = targets.get(name)
        if target is None:
            if name.endswith(("rotary_emb.inv_freq", "lm_head.weight")):
                continue  # old checkpoints store what is computed, or tied
            raise UserError(f"{origin}: tensor {name} has no place in this model")
        if target.shape != tensor.shape:
            raise UserError(
                f"{origin}: tensor {name} has shape {tuple(tensor.shape)}, "
                f"the configuration says {tuple(target.shape)}"
            )
        with torch.no_grad():
            _ = target.copy_(tensor)
        wanted.discard(id(target))
    for name, parameter in targets.items():
        if id(parameter) in wanted:
            raise UserError(f"{origin}: tensor {name} is missing; the checkpoint is incomplete")


def write_folder(folder: Path, fill: "Mapping[str, bytes | Path | Mapping[str, Tensor]]") -> None:
    """Write a folder of files whole or not at all; an older one is replaced at the end.

    A value is the file's bytes, a file to copy, or tensors for a safetensors file. A failure
    (a full disk, Ctrl-C) leaves the older folder as it was and nothing beside it.
    """
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, content in fill.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                _ = path.write_bytes(content)
            elif isinstance(content, Path):
                _ = shutil.copyfile(content, path)
            else:
                _save_tensors(path, content)
        temporary.chmod(0o755)
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            os.replace(folder, old / "old")
            os.replace(temporary, folder)
            shutil.rmtree(old)
        else:
            os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file; the library's own I/O errors become OSError."""
    try:
        save_file(
            {name: t.detach().cpu().contiguous() for name, t in tensors.items()},
            path,
            metadata={"format": "pt"},
        )
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from error


def tokenizer_files(folder: Path) -> dict[str, Path]:
    """Return the tokenizer's files that a checkpoint folder holds, by name."""
    return {name: folder / name for name in TOKENIZER_FILES if (folder / name).is_file()}


def state_of(model: torch.nn.Module, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Return a model's parameters by name, a tied one once; `dtype` None keeps theirs."""
    return {name: p.detach().to(dtype or p.dtype) for name, p in model.named_parameters()}


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
    config = config_json(model.config, stored, read_json(tokenizer_folder / "config.json", default={}))
    files: dict[str, bytes | Path | Mapping[str, Tensor]] = {
        "config.json": json.dumps(config, indent=2).encode(),
        **tokenizer_files(tokenizer_folder),
        "model.safetensors": state_of(model, stored),
        **(extra or {}),
    }
    write_folder(folder, files)


def config_json(
    config: ModelConfig, dtype: torch.dtype, origin: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the `config.json` of a model: its origin's where there is one, else a Llama's."""
    name = next(key for key, value in DTYPES.items() if value == dtype)
    if origin.get("model_type") in FAMILIES:
        return {**origin, "dtype": name}
    plain = asdict(config)
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "vocab_size": plain["vocab_size"],
        "hidden_size": plain["hidden_size"],
        "num_hidden_layers": plain["num_layers"],
        "num_attention_heads": plain["num_heads"],
        "num_key_value_heads": plain["num_kv_heads"],
        "head_dim": plain["head_dim"],
        "intermediate_size": plain["intermediate_size"],
        "rms_norm_eps": plain["norm_eps"],
        "rope_theta": plain["rope_theta"],
        "max_position_embeddings": plain["max_positions"],
        "tie_word_embeddings": plain["has_tied_head"],
        "attention_bias": plain["qkv_bias"],
        "mlp_bias": plain["mlp_bias"],
        "dtype": name,
        **{k: origin[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id") if k in origin},
    }
