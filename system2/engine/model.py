"""One decoder-only transformer, small enough to read, for every checkpoint family we load.

Grouped-query attention, rotary positions (plain, linear, Llama-3 and YaRN scaling), SwiGLU,
RMSNorm, optional query/key norms, biases, sliding windows and layers without positions; a tied
or untied head. Parameter names are Hugging Face's, so a checkpoint loads by name. The same
module trains and decodes. Sources: the `transformers` modelling files of Llama, Qwen2, Qwen3,
Mistral and SmolLM3 define the arithmetic (tested against them for equal logits); the layout of
the cache and the mask is ours: the caller says where keys are written and who sees whom, which
is what candidate rows and shared prefixes need.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from system2.engine.cache import LayerCache, Window


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
    x: Float[Tensor, "batch time head dim"],
    cos: Float[Tensor, "batch time 1 dim"],
    sin: Float[Tensor, "batch time 1 dim"],
) -> Float[Tensor, "batch time head dim"]:
    """Turn each pair (x[j], x[j + dim/2]) by its position's angle."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def attend(
    query: Float[Tensor, "batch time head dim"],
    key: Float[Tensor, "batch kv key dim"],
    value: Float[Tensor, "batch kv key dim"],
    mask: Bool[Tensor, "batch time key"] | None,
) -> Float[Tensor, "batch time head dim"]:
    """Return softmax attention; `mask` True where a query sees a key, None for causal.

    With a mask the query heads of one key head are folded into the time axis, so that keys
    and values are never copied.
    """
    batch, time, heads, dim = query.shape
    kv_heads = key.shape[1]
    group = heads // kv_heads
    query = query.transpose(1, 2)
    if mask is None:
        if group > 1:
            key, value = (x.repeat_interleave(group, dim=1) for x in (key, value))
        out = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return out.transpose(1, 2)
    folded = query.reshape(batch, kv_heads, group * time, dim)
    seen = mask[:, None] if group == 1 else mask[:, None].repeat(1, 1, group, 1)
    out = functional.scaled_dot_product_attention(folded, key, value, attn_mask=seen)
    return out.reshape(batch, heads, time, dim).transpose(1, 2)


def _partial_attention(
    query: Float[Tensor, "batch kv query dim"],
    key: Float[Tensor, "batch kv key dim"],
    value: Float[Tensor, "batch kv key dim"],
    mask: Bool[Tensor, "batch #kv #query key"],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return unnormalised attention: weighted values, their total weight, the largest score."""
    scores = torch.matmul(query, key.transpose(2, 3)).float()
    scores = scores.masked_fill(~mask, -1e30)
    top = scores.amax(dim=-1, keepdim=True)
    weights = (scores - top).clamp(min=-80).exp()  # what underflows takes ten times as long
    return torch.matmul(weights.to(value.dtype), value), weights.sum(-1, keepdim=True), top


def attend_with_prompts(
    query: Float[Tensor, "batch time head dim"],
    key: Float[Tensor, "batch kv key dim"],
    value: Float[Tensor, "batch kv key dim"],
    window: Window,
    cache: LayerCache,
) -> Float[Tensor, "batch time head dim"]:
    """Return attention over a shared prompt and a row's own keys (cascade attention).

    The entries of one prompt attend to its keys in one product, so those are read once and
    not once a row; the two parts are joined by their softmax totals (as in FlashAttention's
    split keys; FlashInfer's cascade, arXiv 2501.01005). Equal to `attend` over both.
    """
    prompts = window.prompts
    assert prompts is not None, "the caller asks for prompts where the window has some"
    assert window.mask is not None, "rows of a prompt need a mask"
    batch, time, heads, dim = query.shape
    kv_heads = key.shape[1]
    folded = heads // kv_heads * time
    scaled = (query * dim**-0.5).transpose(1, 2).reshape(batch, kv_heads, folded, dim)
    own_mask = window.mask[:, None].repeat(1, 1, heads // kv_heads, 1)
    own, own_total, own_top = _partial_attention(scaled, key, value, own_mask)
    grid = prompts.gather(scaled).transpose(1, 2).reshape(-1, kv_heads, prompts.size * folded, dim)
    seen = prompts.mask[:, None]
    if seen.shape[2] > 1:
        seen = seen.repeat_interleave(folded, dim=2)
    parts = _partial_attention(grid, cache.prompt_key, cache.prompt_value, seen)
    shared, shared_total, shared_top = (
        prompts.scatter(x.reshape(-1, kv_heads, prompts.size, folded, x.shape[-1]).transpose(1, 2))
        for x in parts
    )
    top = torch.maximum(own_top, shared_top)
    own_weight, shared_weight = (own_top - top).exp(), (shared_top - top).exp()
    total = own_weight * own_total + shared_weight * shared_total
    out = (own_weight * own + shared_weight * shared) / total
    return out.to(query.dtype).reshape(batch, heads, time, dim).transpose(1, 2)


class RMSNorm(nn.Module):
    """Divide by the root mean square (in fp32), multiply by a learned weight."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        """Return the normed x, in its own dtype."""
        if x.dtype == torch.float32:
            return functional.rms_norm(x, (x.shape[-1],), self.weight, self.eps)
        normed = functional.rms_norm(x.float(), (x.shape[-1],), None, self.eps)
        return self.weight * normed.to(x.dtype)


class Attention(nn.Module):
    """Grouped-query attention that reads and writes a cache where the caller says."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        size, dim = config.hidden_size, config.head_dim
        heads, kv_heads = config.num_heads, config.num_kv_heads
        self.q_proj = nn.Linear(size, heads * dim, bias=config.qkv_bias)
        self.k_proj = nn.Linear(size, kv_heads * dim, bias=config.qkv_bias)
        self.v_proj = nn.Linear(size, kv_heads * dim, bias=config.qkv_bias)
        self.o_proj = nn.Linear(heads * dim, size, bias=config.out_bias)
        if config.has_qk_norm:
            self.q_norm = RMSNorm(dim, config.norm_eps)
            self.k_norm = RMSNorm(dim, config.norm_eps)
        self.head_dim = dim
        self.has_qk_norm = config.has_qk_norm
        self.has_rope = config.rope_layers is None or config.rope_layers[layer]

    def forward(
        self,
        x: Float[Tensor, "batch time size"],
        turns: tuple[Tensor, Tensor],
        window: Window | None,
        cache: LayerCache | None,
    ) -> Float[Tensor, "batch time size"]:
        """Attend to what the window lets see (None: causally), through the cache if any."""
        batch, time, _ = x.shape
        query = self.q_proj(x).view(batch, time, -1, self.head_dim)
        key = self.k_proj(x).view(batch, time, -1, self.head_dim)
        value = self.v_proj(x).view(batch, time, -1, self.head_dim)
        if self.has_qk_norm:
            query, key = self.q_norm(query), self.k_norm(key)
        if self.has_rope:
            query, key = rotate(query, *turns), rotate(key, *turns)
        if cache is None or window is None:
            key, value = key.transpose(1, 2), value.transpose(1, 2)
            out = attend(query, key, value, window.mask if window is not None else None)
        else:
            key, value = cache.write(window, key, value)
            if window.prompts is None:
                out = attend(query, key, value, window.mask)
            else:
                out = attend_with_prompts(query, key, value, window, cache)
        return self.o_proj(out.reshape(batch, time, -1))


class MLP(nn.Module):
    """SwiGLU feed-forward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.gate_proj = nn.Linear(size, inner, bias=bias)
        self.up_proj = nn.Linear(size, inner, bias=bias)
        self.down_proj = nn.Linear(inner, size, bias=bias)

    def forward(self, x: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        """Return down(silu(gate(x)) * up(x))."""
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One pre-norm block: attention, then feed-forward, each added to its input."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.mlp = MLP(config)

    def forward(
        self,
        x: Float[Tensor, "batch time size"],
        turns: tuple[Tensor, Tensor],
        window: Window | None,
        cache: LayerCache | None,
    ) -> Float[Tensor, "batch time size"]:
        """Return the block's output; arguments as in `Attention`."""
        x = x + self.self_attn(self.input_layernorm(x), turns, window, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


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

    def turns(self, positions: Int[Tensor, "batch time"]) -> tuple[Tensor, Tensor]:
        """Return cos and sin of the rotary angles, each `[batch time 1 dim]`."""
        if self._rope[0].device != positions.device:  # made on another one, or on `meta`
            inverse, scale = rope_frequencies(self.config)
            self._rope = inverse.to(positions.device), scale
        inverse, scale = self._rope
        angles = positions[..., None].float() * inverse
        angles = torch.cat((angles, angles), dim=-1)[:, :, None]
        dtype = self.model.norm.weight.dtype
        return (angles.cos() * scale).to(dtype), (angles.sin() * scale).to(dtype)

    def hidden(
        self,
        tokens: Int[Tensor, "batch time"],
        window: Window | None = None,
        caches: Sequence[LayerCache] | None = None,
    ) -> Float[Tensor, "batch time size"]:
        """Return the normed last hidden states.

        Without a window rows start at position 0 and are causal (right padding is then
        harmless, since no real position sees it).
        """
        x = self.model.embed_tokens(tokens)
        return self.model.norm(self.run_layers(x, 0, self.config.num_layers, window, caches))

    def run_layers(
        self,
        x: Float[Tensor, "batch time size"],
        start: int,
        end: int,
        window: Window | None = None,
        caches: Sequence[LayerCache] | None = None,
    ) -> Float[Tensor, "batch time size"]:
        """Run layers `start` to `end` (exclusive) over hidden states; no final norm."""
        return self.run(self.model.layers[start:end], x, window, caches)

    def run(
        self,
        layers: Iterable[nn.Module],
        x: Float[Tensor, "batch time size"],
        window: Window | None = None,
        caches: Sequence[LayerCache] | None = None,
    ) -> Float[Tensor, "batch time size"]:
        """Run any layers of this shape (a verifier's adapted ones, say) over hidden states.

        `caches[i]` belongs to the i-th of these layers.
        """
        if window is None:
            positions = torch.arange(x.shape[1], device=x.device)[None]
        else:
            positions = window.positions
        window = _narrowed(window, positions, self.config.sliding_window)
        turns = self.turns(positions)
        for i, layer in enumerate(layers):
            x = layer(x, turns, window, caches[i] if caches is not None else None)
        return x

    def logits(self, hidden: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch vocab"]:
        """Return unnormalised scores of the next token."""
        return self.lm_head(hidden)

    def forward(
        self, tokens: Int[Tensor, "batch time"], window: Window | None = None
    ) -> Float[Tensor, "batch time vocab"]:
        """Return the logits at every position, without a cache."""
        return self.logits(self.hidden(tokens, window))


def _narrowed(window: Window | None, positions: Tensor, width: int | None) -> Window | None:
    """Cut a window to each query's last `width` positions."""
    if width is None or (window is None and positions.shape[1] <= width):
        return window
    first = positions - width + 1
    if window is None or window.mask is None:
        keys = positions[:, None, :]
        mask = (keys <= positions[..., None]) & (keys >= first[..., None])
        return Window(positions, mask) if window is None else replace(window, mask=mask)
    prompts = window.prompts
    if window.slots is None:
        keys = positions[:, None, :]
    else:  # own slots follow the prompt; rival candidates at the end are masked already
        start = 0 if prompts is None else prompts.mask[:, 0].sum(dim=-1)[prompts.prompt, None, None]
        keys = start + torch.arange(window.mask.shape[-1], device=positions.device)
    mask = window.mask & (keys >= first[..., None])
    if prompts is not None:
        places = torch.arange(prompts.mask.shape[-1], device=positions.device)
        near = places >= prompts.gather(first)
        prompts = replace(prompts, mask=prompts.mask & near)
    return replace(window, mask=mask, prompts=prompts)


def padded_window(is_real: Bool[Tensor, "batch time"]) -> Window:
    """Return the window of rows padded on either side.

    Positions count real tokens only; a padding position sees itself alone, so that its
    softmax is defined.
    """
    time = is_real.shape[1]
    positions = (is_real.long().cumsum(dim=1) - 1).clamp(min=0)
    causal = torch.ones(time, time, dtype=torch.bool, device=is_real.device).tril()
    itself = torch.eye(time, dtype=torch.bool, device=is_real.device)
    return Window(positions, (causal[None] & is_real[:, None, :]) | itself[None])


def initialise(model: LanguageModel, seed: int) -> None:
    """Draw fresh weights: normal(0, 0.02), outputs of each block scaled by 1/sqrt(2 layers)."""
    generator = torch.Generator().manual_seed(seed)
    depth_scale = (2 * model.config.num_layers) ** -0.5
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
            continue
        scale = depth_scale if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
        draw = torch.randn(parameter.shape, generator=generator) * (0.02 * scale)
        with torch.no_grad():
            _ = parameter.copy_(draw)
