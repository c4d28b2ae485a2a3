"""What a checkpoint's `config.json` says, as the shape of our model; and back.

Place in the flow: `weights` reads it before any tensor. A file from the hub is not trusted: what
`LanguageModel` does not compute exactly is refused by name, never ignored, and numbers are
bounded before anything is built by them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from system2.core import UserError
from system2.engine.model import ModelConfig, rope_frequencies
from system2.engine.tokenizer import read_json

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
"""What a `config.json` of each `model_type` means where it is silent (as in `transformers`)."""

FAMILIES = tuple(_DEFAULTS)
"""The `model_type`s that `LanguageModel` computes exactly."""

_ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "mistral": "MistralForCausalLM",
    "smollm3": "SmolLM3ForCausalLM",
}

_MAX_LAYERS, _MAX_SIZE, _MAX_VOCAB = 4096, 2**20, 2**24
"""Larger numbers in a `config.json` are faults, or would only eat memory before one is found."""


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
    kv_heads = _whole({"num_key_value_heads": heads, **_given(raw)}, "num_key_value_heads")
    head_dim = _whole({"head_dim": size // heads, **_given(raw)}, "head_dim")
    if heads % kv_heads:
        raise ValueError(f"num_attention_heads {heads} is no multiple of {kv_heads} key heads")
    if head_dim % 2:
        raise ValueError(f"head_dim is {head_dim}; rotary positions need pairs")
    max_positions = _whole(raw, "max_position_embeddings", most=2**40)
    theta, rope = _rope(raw, max_positions)
    has_bias = bool(raw.get("attention_bias")) and family in ("llama", "qwen3", "smollm3")
    return ModelConfig(
        vocab_size=_whole(raw, "vocab_size", most=_MAX_VOCAB),
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


def _given(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that are not null."""
    return {key: value for key, value in raw.items() if value is not None}


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
    flags = cast("list[Any]", listed) if isinstance(listed, list) else []
    if len(flags) < layers:
        raise ValueError(f"no_rope_layers must list each of the {layers} layers")
    return tuple(bool(flag) for flag in flags[:layers])


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


def config_json(config: ModelConfig, dtype: str, origin: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `config.json` of a model whose tensors are stored as `dtype` ("float32", ...).

    It is the origin's (that of the checkpoint the model came from) where that describes this
    very shape, else the one of the family that has the shape. Raises: `ValueError` where none
    has it: such a checkpoint could not be read again.
    """
    if _describes(origin, config):
        kept = {key: value for key, value in origin.items() if key != "torch_dtype"}
        return {**kept, "dtype": dtype}
    family = _family_of(config)
    written = {
        "architectures": [_ARCHITECTURES[family]],
        "model_type": family,
        "hidden_act": "silu",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.intermediate_size,
        "rms_norm_eps": config.norm_eps,
        "rope_parameters": {**config.rope, "rope_theta": config.rope_theta},
        "max_position_embeddings": config.max_positions,
        "tie_word_embeddings": config.has_tied_head,
        "attention_bias": config.out_bias,
        "mlp_bias": config.mlp_bias,
        "sliding_window": config.sliding_window,
        "use_sliding_window": config.sliding_window is not None,
        "max_window_layers": 0,
        "dtype": dtype,
        # null where unknown: silent, they would be the family's own, beyond a small vocabulary
        **{k: origin.get(k) for k in ("bos_token_id", "eos_token_id", "pad_token_id")},
    }
    if config.rope_layers is not None:
        written["no_rope_layers"] = [int(has_rope) for has_rope in config.rope_layers]
    if not _describes(written, config):
        raise ValueError(f"no family of checkpoints has this shape: {config}")
    return written


def _family_of(config: ModelConfig) -> str:
    """Return the family whose checkpoints can have what is special about a shape."""
    if config.has_qk_norm:
        return "qwen3"
    if config.rope_layers is not None:
        return "smollm3"
    if config.qkv_bias and not config.out_bias:
        return "qwen2"
    return "llama" if config.sliding_window is None else "mistral"


def _describes(raw: Mapping[str, Any], config: ModelConfig) -> bool:
    """Return whether a `config.json` reads as this shape."""
    try:
        return _parse_config(raw, Path("config.json")) == config
    except UserError:
        return False
