"""One decoder-only transformer, small enough to read, for every checkpoint family we load.

Grouped-query attention, rotary positions (plain, linear, Llama-3 and YaRN scaling), SwiGLU,
RMSNorm, optional query/key norms, biases, sliding windows and layers without positions; a tied
or untied head. Parameter names are Hugging Face's, so a checkpoint loads by name. The same
module trains and decodes. Sources: the `transformers` modelling files of Llama, Qwen2, Qwen3,
Mistral and SmolLM3 define the arithmetic (tested against them for equal logits). Where keys are
kept and who sees whom is the caller's: a layer hands queries, keys and values to an `Attend`,
which is what caches, candidate rows and shared prefixes need.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from system2.engine.attention import Attend, Window, attend, narrowed


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The shape of a model; `weights.read_config` makes one from a `config.json`.

    `rope` holds `rope_type` and that type's numbers; `rope_layers[i]` is False for a layer
    without positions; `sliding_window` is the number of last positions (itself counted) that
    a query sees, None for all.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    rope: Mapping[str, Any] = field(default_factory=lambda: {"rope_type": "default"})
    rope_layers: tuple[bool, ...] | None = None
    max_positions: int = 2048
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    has_qk_norm: bool = False
    sliding_window: int | None = None
    has_tied_head: bool = True


def rope_frequencies(config: ModelConfig) -> tuple[Float[Tensor, "half"], float]:
    """Return the rotary inverse frequencies (radians a position) and the cos/sin scale.

    Llama-3 scaling follows arXiv 2407.21783's reference, YaRN follows arXiv 2309.00071;
    both agree with `transformers.modeling_rope_utils`.
    """
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    inverse = 1.0 / (config.rope_theta**exponents)
    rope = config.rope
    match rope.get("rope_type", "default"):
        case "default":
            return inverse, 1.0
        case "linear":
            return inverse / float(rope["factor"]), 1.0
        case "llama3":
            return _llama3_frequencies(inverse, rope), 1.0
        case "yarn":
            return _yarn_frequencies(inverse, config)
        case other:
            raise ValueError(f"rope_type {other!r} is not known; use default, linear, llama3, yarn")


def _llama3_frequencies(inverse: Tensor, rope: Mapping[str, Any]) -> Tensor:
    """Slow the low frequencies by `factor`, keep the high ones, blend in between."""
    factor, low, high = (
        float(rope[key]) for key in ("factor", "low_freq_factor", "high_freq_factor")
    )
    original = float(rope["original_max_position_embeddings"])
    wavelength = 2 * math.pi / inverse
    blend = ((original / wavelength - low) / (high - low)).clamp(0, 1)
    return inverse / factor * (1 - blend) + inverse * blend


def _yarn_frequencies(inverse: Tensor, config: ModelConfig) -> tuple[Tensor, float]:
    """Interpolate the dimensions that turn seldom, keep those that turn often (NTK by parts)."""
    rope, dim = config.rope, config.head_dim
    original = float(rope.get("original_max_position_embeddings") or config.max_positions)
    factor = float(rope.get("factor") or config.max_positions / original)
    mscale, mscale_all = rope.get("mscale"), rope.get("mscale_all_dim")

    def magnitude(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    scale = rope.get("attention_factor")
    if scale is None:
        scale = magnitude(mscale) / magnitude(mscale_all) if mscale and mscale_all else magnitude(1)

    def dimension(turns: float) -> float:
        return dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(config.rope_theta))

    low, high = dimension(rope.get("beta_fast") or 32), dimension(rope.get("beta_slow") or 1)
    if rope.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    width = high - low if high != low else 0.001
    ramp = ((torch.arange(dim // 2, dtype=torch.float32) - low) / width).clamp(0, 1)
    return inverse / factor * ramp + inverse * (1 - ramp), float(scale)


def rotate(
    x: Float[Tensor, "*tokens head dim"],
    cos: Float[Tensor, "*tokens 1 dim"],
    sin: Float[Tensor, "*tokens 1 dim"],
) -> Float[Tensor, "*tokens head dim"]:
    """Turn each pair (x[j], x[j + dim/2]) by its position's angle.

    `sin` is negative in its first half (`LanguageModel.turns`).
    """
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def rms_norm(x: Float[Tensor, "*tokens size"], weight: Tensor, eps: float) -> Tensor:
    """Divide by the root mean square (in fp32), multiply by a learned weight; x's own dtype."""
    if x.ndim == 2 and x.dtype == torch.float32 and x.device.type == "cpu":
        # the mean by a product: half the kernels of torch's own on a CPU
        offset, mean = _rms_constants(x.shape[1], eps)
        return x * torch.addmm(offset, x * x, mean).rsqrt_() * weight
    if x.dtype == torch.float32:
        return functional.rms_norm(x, (x.shape[-1],), weight, eps)
    normed = functional.rms_norm(x.float(), (x.shape[-1],), None, eps)
    return weight * normed.to(x.dtype)


@lru_cache(maxsize=8)
def _rms_constants(size: int, eps: float) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):
        return torch.full((1, 1), eps), torch.full((size, 1), 1 / size)


class RMSNorm(nn.Module):
    """`rms_norm` with its weight."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*tokens size"]) -> Float[Tensor, "*tokens size"]:
        """Return the normed x, in its own dtype."""
        return rms_norm(x, self.weight, self.eps)


class StackedLinear(nn.Linear):
    """Several projections of one input as one product.

    `parts` gives each one's name and number of outputs; a checkpoint holds them apart
    (`weights.tensors_of`).
    """

    def __init__(self, size: int, parts: Mapping[str, int], bias: bool) -> None:
        super().__init__(size, sum(parts.values()), bias=bias)
        self.parts = dict(parts)


class Attention(nn.Module):
    """The weights of grouped-query attention."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        size, dim = config.hidden_size, config.head_dim
        self.heads, self.kv_heads, self.head_dim = config.num_heads, config.num_kv_heads, dim
        kv_size = self.kv_heads * dim
        parts = {"q_proj": self.heads * dim, "k_proj": kv_size, "v_proj": kv_size}
        self.qkv_proj = StackedLinear(size, parts, bias=config.qkv_bias)
        self.o_proj = nn.Linear(self.heads * dim, size, bias=config.out_bias)
        self.has_qk_norm = config.has_qk_norm
        if config.has_qk_norm:
            self.q_norm = RMSNorm(dim, config.norm_eps)
            self.k_norm = RMSNorm(dim, config.norm_eps)
        self.has_rope = config.rope_layers is None or config.rope_layers[layer]


class MLP(nn.Module):
    """The weights of a SwiGLU feed-forward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.gate_up_proj = StackedLinear(size, {"gate_proj": inner, "up_proj": inner}, bias=bias)
        self.down_proj = nn.Linear(inner, size, bias=bias)


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One layer as `run_layer` reads it: a step looks up no module on its way."""

    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    has_rope: bool
    attention_norm: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    query_norm: Tensor | None
    key_norm: Tensor | None
    out: Tensor
    out_bias: Tensor | None
    mlp_norm: Tensor
    gate_up: Tensor
    gate_up_bias: Tensor | None
    down: Tensor
    down_bias: Tensor | None


class Layer(nn.Module):
    """One pre-norm block: attention, then feed-forward, each added to its input."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.mlp = MLP(config)

    def weights(self) -> LayerWeights:
        """Return its parameters, as they are now."""
        attention, mlp, norm = self.self_attn, self.mlp, self.input_layernorm
        has_norm = attention.has_qk_norm
        return LayerWeights(
            heads=attention.heads,
            kv_heads=attention.kv_heads,
            head_dim=attention.head_dim,
            eps=norm.eps,
            has_rope=attention.has_rope,
            attention_norm=norm.weight,
            qkv=attention.qkv_proj.weight,
            qkv_bias=attention.qkv_proj.bias,
            query_norm=attention.q_norm.weight if has_norm else None,
            key_norm=attention.k_norm.weight if has_norm else None,
            out=attention.o_proj.weight,
            out_bias=attention.o_proj.bias,
            mlp_norm=self.post_attention_layernorm.weight,
            gate_up=mlp.gate_up_proj.weight,
            gate_up_bias=mlp.gate_up_proj.bias,
            down=mlp.down_proj.weight,
            down_bias=mlp.down_proj.bias,
        )

    def forward(
        self, x: Float[Tensor, "*tokens size"], turns: tuple[Tensor, Tensor], attend: Attend
    ) -> Float[Tensor, "*tokens size"]:
        """Return the block's output; arguments as in `run_layer`."""
        return run_layer(self.weights(), x, turns, attend)


def run_layer(
    w: LayerWeights,
    x: Float[Tensor, "*tokens size"],
    turns: tuple[Tensor, Tensor],
    attend: Attend,
) -> Float[Tensor, "*tokens size"]:
    """Return a layer's output: `turns` are the tokens' rotary cos and sin.

    Where keys are kept, and who sees them, is `attend`'s.
    """
    tokens, both = x.shape[:-1], w.heads + w.kv_heads
    projected = functional.linear(rms_norm(x, w.attention_norm, w.eps), w.qkv, w.qkv_bias)
    projected = projected.view(*tokens, both + w.kv_heads, w.head_dim)
    turned = projected[..., :both, :]
    if w.query_norm is not None and w.key_norm is not None:
        query = rms_norm(turned[..., : w.heads, :], w.query_norm, w.eps)
        key = rms_norm(turned[..., w.heads :, :], w.key_norm, w.eps)
        turned = torch.cat((query, key), dim=-2)
    if w.has_rope:
        turned = rotate(turned, *turns)
    seen = attend(turned[..., : w.heads, :], turned[..., w.heads :, :], projected[..., both:, :])
    seen = seen.reshape(*tokens, w.heads * w.head_dim)
    x = x + functional.linear(seen, w.out, w.out_bias)
    gate_up = functional.linear(rms_norm(x, w.mlp_norm, w.eps), w.gate_up, w.gate_up_bias)
    gate, up = gate_up.chunk(2, dim=-1)
    return x + functional.linear(functional.silu(gate) * up, w.down, w.down_bias)


class Trunk(nn.Module):
    """Embedding, layers and final norm (Hugging Face's `model.*` parameters)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)


class LanguageModel(nn.Module):
    """A decoder-only language model: `hidden` runs the trunk, `logits` the head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Trunk(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.has_tied_head:
            self.lm_head.weight = self.model.embed_tokens.weight
        # no buffer: `.to(bfloat16)` would round the frequencies, and far positions with them
        self._rope = rope_frequencies(config)

    def turns(self, positions: Int[Tensor, "*tokens"]) -> tuple[Tensor, Tensor]:
        """Return cos and sin of the rotary angles, each `[*tokens 1 dim]`, as `rotate` takes them.

        The first half of sin is negative.
        """
        if self._rope[0].device != positions.device:  # made on another one, or on `meta`
            inverse, scale = rope_frequencies(self.config)
            self._rope = inverse.to(positions.device), scale
        inverse, scale = self._rope
        angles = (positions[..., None].float() * inverse)[..., None, :]
        cos, sin = angles.cos() * scale, angles.sin() * scale
        dtype = self.model.norm.weight.dtype
        return torch.cat((cos, cos), -1).to(dtype), torch.cat((-sin, sin), -1).to(dtype)

    def hidden(
        self, tokens: Int[Tensor, "batch time"], window: Window | None = None
    ) -> Float[Tensor, "batch time size"]:
        """Return the normed last hidden states.

        Without a window rows start at position 0 and are causal (right padding is then
        harmless, since no real position sees it).
        """
        x = self.model.embed_tokens(tokens)
        return self.model.norm(self.run_layers(x, 0, self.config.num_layers, window))

    def run_layers(
        self,
        x: Float[Tensor, "batch time size"],
        start: int,
        end: int,
        window: Window | None = None,
    ) -> Float[Tensor, "batch time size"]:
        """Run layers `start` to `end` (exclusive) over hidden states; no final norm."""
        return self.run(self.model.layers[start:end], x, window)

    def run(
        self,
        layers: Iterable[nn.Module],
        x: Float[Tensor, "batch time size"],
        window: Window | None = None,
    ) -> Float[Tensor, "batch time size"]:
        """Run any layers of this shape (a verifier's adapted ones, say) without a cache."""
        positions = window.positions if window is not None else None
        if positions is None:
            positions = torch.arange(x.shape[1], device=x.device)[None]
        mask = window.mask if window is not None else None
        mask = narrowed(mask, positions, self.config.sliding_window)
        turns, among = self.turns(positions), partial(attend, mask=mask)
        for layer in layers:
            x = layer(x, turns, among)
        return x

    def logits(self, hidden: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch vocab"]:
        """Return unnormalised scores of the next token."""
        return self.lm_head(hidden)

    def forward(
        self, tokens: Int[Tensor, "batch time"], window: Window | None = None
    ) -> Float[Tensor, "batch time vocab"]:
        """Return the logits at every position, without a cache."""
        return self.logits(self.hidden(tokens, window))


def tensors_of(module: nn.Module, *, with_ties: bool = True) -> Iterator[tuple[str, Tensor]]:
    """Yield a module's parameters by their names in a checkpoint.

    A tied one has both names, or `with_ties` False its first; the parts of a stacked
    projection are views of it, without gradients.
    """
    modules = cast("Iterable[tuple[str, nn.Module]]", module.named_modules())
    stacked = {name: part.parts for name, part in modules if isinstance(part, StackedLinear)}
    for name, parameter in module.named_parameters(remove_duplicate=not with_ties):
        owner, _, kind = name.rpartition(".")
        if owner not in stacked:
            yield name, parameter
            continue
        prefix, first = owner[: owner.rfind(".") + 1], 0
        for part, size in stacked[owner].items():
            yield f"{prefix}{part}.{kind}", parameter.detach()[first : first + size]
            first += size


def initialise(model: LanguageModel, seed: int) -> None:
    """Draw fresh weights: normal(0, 0.02), outputs of each block scaled by 1/sqrt(2 layers)."""
    generator = torch.Generator().manual_seed(seed)
    depth_scale = (2 * model.config.num_layers) ** -0.5
    for name, tensor in tensors_of(model, with_ties=False):
        if tensor.ndim == 1:
            nn.init.constant_(tensor, 0.0 if name.endswith("bias") else 1.0)
            continue
        scale = depth_scale if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
        draw = torch.randn(tensor.shape, generator=generator) * (0.02 * scale)
        with torch.no_grad():
            _ = tensor.copy_(draw)
