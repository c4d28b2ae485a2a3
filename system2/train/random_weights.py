"""Models of random weights: what an engine costs does not depend on them.

Random weights of the usual size give flat distributions, in which every token is plausible;
these are larger, so that a handful are, as in a trained model.
"""

import math
from pathlib import Path
from typing import Any

import torch

from system2.engine.model import LanguageModel, ModelConfig
from system2.engine.weights import save_model
from system2.train.words import word_vocabulary, write_word_tokenizer

VOCAB = 128_256
LLAMA3: dict[str, Any] = {
    "rope_theta": 500_000.0,
    "rope": {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "max_positions": 131_072,
}
FACTOR_8: dict[str, Any] = LLAMA3 | {"rope": LLAMA3["rope"] | {"factor": 8.0}}
# hidden size, layers, heads, key heads, head size, inner size
SHAPES: dict[str, ModelConfig] = {
    "1m": ModelConfig(1755, 128, 4, 4, 2, 32, 320, max_positions=1024),  # as `tiny`
    "5m": ModelConfig(4096, 256, 6, 8, 4, 32, 640, max_positions=1024),
    "llama-3-small": ModelConfig(VOCAB, 64, 2, 4, 2, 16, 128, **LLAMA3),
    "llama-3.2-1b": ModelConfig(VOCAB, 2048, 16, 32, 8, 64, 8192, **LLAMA3),
    "llama-3.2-3b": ModelConfig(VOCAB, 3072, 28, 24, 8, 128, 8192, **LLAMA3),
    "llama-3.1-8b": ModelConfig(
        VOCAB, 4096, 32, 32, 8, 128, 14_336, has_tied_head=False, **FACTOR_8
    ),
}
LOGIT_SPREAD = 8.0
"""Standard deviation of the logits: then about four tokens have p >= 0.1 * max p."""
GAIN = 3.0
"""How much larger blocks are than would keep their input's size: they, not the last token's own
embedding, decide what comes next (a tied head would repeat it for ever)."""


def random_model(
    config: ModelConfig,
    dtype: torch.dtype,
    seed: int,
    device: str = "cpu",
    *,
    spread: float = LOGIT_SPREAD,
) -> LanguageModel:
    """Return a model of a shape; its only memory is that of its weights.

    `spread` is the standard deviation of its logits: the larger, the surer it is.
    """
    with torch.device("meta"):
        model = LanguageModel(config).to(dtype)
    model = model.to_empty(device=device)
    if config.has_tied_head:
        model.lm_head.weight = model.model.embed_tokens.weight
    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            is_vocabulary = name in ("model.embed_tokens.weight", "lm_head.weight")
            scale = spread if is_vocabulary else GAIN
            if weight.ndim == 1:
                weight.fill_(1.0)
            else:
                weight.normal_(0.0, scale / math.sqrt(weight.shape[1]), generator=generator)
    return model


def random_policy(folder: Path, shape: str = "1m", *, spread: float = 16.0) -> None:
    """Write a checkpoint of random weights, with a tokenizer of words."""
    model = random_model(SHAPES[shape], torch.float32, 0, spread=spread)
    write_word_tokenizer(folder, word_vocabulary([], max_number=99, max_bare_number=9))
    save_model(folder, model, folder)
