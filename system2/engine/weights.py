"""Hugging Face checkpoint folders: read, checked, and written whole or not at all.

A checkpoint is `config.json`, safetensors (one file or shards with an index) and a tokenizer.
Pickled weights are refused: reading them runs whatever code they hold. Families: Llama 3.x and
all that share its code (SmolLM, SmolLM2), Qwen2/2.5, Qwen3, Mistral, SmolLM3.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from system2.core import UserError
from system2.engine.model import LanguageModel, ModelConfig, rope_frequencies
from system2.engine.tokenizer import TOKENIZER_FILES, read_json

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "llama": {"max_position_embeddings": 2048},
    "qwen2": {"max_position_embeddings": 32_768, "num_key_value_heads": 32},
    "qwen3": {"max_position_embeddings": 32_768, "num_key_value_heads": 32, "head_dim": 128},
    "mistral": {
        "max_position_embeddings": 131_072,
        "num_key_value_heads": 8,
        "sliding_window": 4096,
    },
    "smollm3": {
        "max_position_embeddings": 32_768,
        "num_key_value_heads": 4,
        "rope_theta": 2e6,
        "tie_word_embeddings": True,
    },
}
"""What a `config.json` of each `model_type` means where it is silent, as `transformers` reads it."""

FAMILIES = tuple(_DEFAULTS)
"""The `model_type`s that `LanguageModel` computes exactly."""

_MAX_LAYERS, _MAX_SIZE = 4096, 2**24
"""Larger numbers in a `config.json` are faults, or would only eat memory before one is found."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_STORED_FLOATS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""The types of tensor that are read, by safetensors' names."""

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
    return _parse_config(read_json(path), path)


def _parse_config(raw: Mapping[str, Any], path: Path) -> ModelConfig:
    """Translate a Hugging Face configuration; `path` names it in errors."""
    family = raw.get("model_type")
    if family not in FAMILIES:
        raise UserError(f"{path}: model_type {family!r} is not supported ({', '.join(FAMILIES)})")
    try:
        config = _config_of({**_DEFAULTS[family], **raw}, family)
        if not bool(rope_frequencies(config)[0].isfinite().all()):
            raise ValueError("the rotary settings give no finite frequencies")
    except KeyError as error:
        raise UserError(f"{path}: the setting {error} is missing") from error
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UserError(f"{path}: {error}") from error
    return config


def _config_of(raw: Mapping[str, Any], family: str) -> ModelConfig:
    """Return the shape that a configuration, completed by its family's defaults, describes."""
    if raw.get("hidden_act", "silu") not in ("silu", "swish"):
        raise ValueError(f"hidden_act {raw['hidden_act']!r} is not supported (silu)")
    if raw.get("quantization_config"):
        raise ValueError("quantised checkpoints are not supported; use the unquantised one")
    size, heads = _whole(raw, "hidden_size"), _whole(raw, "num_attention_heads")
    layers = _whole(raw, "num_hidden_layers", most=_MAX_LAYERS)
    kv_heads = heads if raw.get("num_key_value_heads") is None else _whole(raw, "num_key_value_heads")
    head_dim = size // heads if raw.get("head_dim") is None else _whole(raw, "head_dim")
    if heads % kv_heads:
        raise ValueError(f"num_attention_heads {heads} is no multiple of {kv_heads} key heads")
    if not head_dim or head_dim % 2:
        raise ValueError(f"head_dim is {head_dim}; rotary positions need pairs")
    max_positions = _whole(raw, "max_position_embeddings", most=2**40)
    theta, rope = _rope(raw, max_positions)
    has_bias = bool(raw.get("attention_bias")) and family in ("llama", "qwen3", "smollm3")
    return ModelConfig(
        vocab_size=_whole(raw, "vocab_size"),
        hidden_size=size,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=_whole(raw, "intermediate_size"),
        norm_eps=float(raw.get("rms_norm_eps", 1e-6)),
        rope_theta=theta,
        rope=rope,
        rope_layers=_rope_layers(raw, layers) if family == "smollm3" else None,
        max_positions=max_positions,
        qkv_bias=has_bias or family == "qwen2",
        out_bias=has_bias,
        mlp_bias=bool(raw.get("mlp_bias")) and family in ("llama", "smollm3"),
        has_qk_norm=family == "qwen3",
        sliding_window=_window(raw, family, layers),
        has_tied_head=bool(raw.get("tie_word_embeddings", False)),
    )


def _whole(raw: Mapping[str, Any], key: str, *, most: int = _MAX_SIZE) -> int:
    """Return a setting that must be a whole number from 1 to `most`."""
    value = raw[key]
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"{key} is {value!r}; it must be a whole number from 1 to {most}")
    return value


def _rope(raw: Mapping[str, Any], max_positions: int) -> tuple[float, dict[str, Any]]:
    """Return the base of the rotary frequencies, and their scaling with its `rope_type`."""
    rope: dict[str, Any] = dict(raw.get("rope_scaling") or raw.get("rope_parameters") or {})
    theta = rope.pop("rope_theta", None) or raw.get("rope_theta") or 10_000.0
    kind = rope.pop("type", "default")
    kind = rope.pop("rope_type", None) or kind
    if any(isinstance(value, dict) for value in rope.values()):
        raise ValueError("rotary settings that differ between layers are not supported")
    partial = rope.pop("partial_rotary_factor", None) or raw.get("partial_rotary_factor") or 1
    if partial != 1:
        raise ValueError(f"partial_rotary_factor {partial!r} is not supported (1)")
    if kind in ("llama3", "yarn"):
        key = "original_max_position_embeddings"
        rope[key] = raw.get(key) or rope.get(key) or max_positions
    return float(theta), {"rope_type": kind, **rope}


def _rope_layers(raw: Mapping[str, Any], layers: int) -> tuple[bool, ...]:
    """Return which layers of a SmolLM3 turn their queries (the setting holds 1 for yes)."""
    listed = raw.get("no_rope_layers")
    if listed is None:
        every = int(raw.get("no_rope_layer_interval", 4))
        return tuple((i + 1) % every != 0 for i in range(layers))
    if not isinstance(listed, list) or len(listed) < layers:
        raise ValueError(f"no_rope_layers must list each of the {layers} layers")
    return tuple(bool(flag) for flag in listed[:layers])


def _window(raw: Mapping[str, Any], family: str, layers: int) -> int | None:
    """Return the sliding window where every layer has one; refuse a mixture."""
    has_window = family == "mistral" or bool(raw.get("use_sliding_window"))
    if family == "llama" or not has_window or raw.get("sliding_window") is None:
        return None
    kinds: set[str] = set(raw.get("layer_types") or _layer_types(raw, family, layers))
    if kinds == {"full_attention"}:
        return None
    if kinds != {"sliding_attention"}:
        raise ValueError("a mixture of sliding and full attention layers is not supported")
    return _whole(raw, "sliding_window")


def _layer_types(raw: Mapping[str, Any], family: str, layers: int) -> list[str]:
    """Return the kinds of attention that a family's layers have unless they are listed."""
    match family:
        case "mistral":
            is_full = [False] * layers
        case "smollm3":
            is_full = list(_rope_layers(raw, layers))
        case _:
            is_full = [i < int(raw.get("max_window_layers", 28)) for i in range(layers)]
    return ["full_attention" if full else "sliding_attention" for full in is_full]


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
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise UserError(f"{index}: has no weight_map")
    files: list[Path] = []
    for name in sorted({str(shard) for shard in shards.values()}):
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
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  (not a dict: it has no __iter__)
                yield name, take(file, name)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path}: not a whole safetensors file ({error}); fetch or save it again"
        ) from error


def load_tensors(
    module: torch.nn.Module, origin: Path, tensors: Iterable[tuple[str, Tensor]]
) -> None:
    """Copy named tensors into a module's parameters; every one must be met, in its shape.

    Raises: `UserError` naming a tensor that is missing, out of place, no floats, or stored
    twice with other values (an untied head where the configuration ties it).
    """
    met: set[int] = set()
    for name, parameter, tensor in _matched(module, origin, tensors):
        value = tensor.to(parameter.device, parameter.dtype)
        if id(parameter) in met and not torch.equal(parameter, value):
            raise UserError(
                f"{origin}: tensor {name} is stored twice with other values; if it is the head, "
                "set tie_word_embeddings to false in config.json"
            )
        with torch.no_grad():
            _ = parameter.copy_(value)
        met.add(id(parameter))


def _matched(
    module: torch.nn.Module, origin: Path, tensors: Iterable[tuple[str, Tensor]]
) -> Iterator[tuple[str, torch.nn.Parameter, Tensor]]:
    """Yield each tensor with its parameter; refuse what has none, and at the end a gap."""
    targets = dict(module.named_parameters(remove_duplicate=False))
    wanted = {id(parameter) for parameter in targets.values()}
    for name, tensor in tensors:
        target = targets.get(name)
        if target is None:
            if name.endswith("rotary_emb.inv_freq"):
                continue  # old checkpoints store what is computed
            raise UserError(f"{origin}: tensor {name} has no place in this model")
        if tensor.dtype not in _STORED_FLOATS.values():
            raise UserError(f"{origin}: tensor {name} is no floats; quantised ones are not read")
        if target.shape != tensor.shape:
            raise UserError(
                f"{origin}: tensor {name} has shape {tuple(tensor.shape)}, "
                f"the configuration says {tuple(target.shape)}"
            )
        wanted.discard(id(target))
        yield name, target, tensor
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
