"""Make a checkpoint of random weights in a Llama 3's shape, with the real Llama 3 tokenizer.

To run what is meant for a large model, every step real, where there is no network or no room.
Random weights of the usual size give flat distributions, in which every token is plausible;
these are larger, so that a handful are, as in a trained model.
Run: python recipes/random_checkpoint.py llama-3-small --out FOLDER
"""

import argparse
import math
from pathlib import Path

import torch

from system2.engine.model import LanguageModel, ModelConfig
from system2.engine.tiktoken_file import write_llama3_tokenizer
from system2.engine.weights import DTYPES, save_model

VOCAB = 128_256
LLAMA3 = {
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
FACTOR_8 = LLAMA3 | {"rope": LLAMA3["rope"] | {"factor": 8.0}}
# hidden size, layers, heads, key heads, head size, inner size
SHAPES = {
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
    config: ModelConfig, dtype: torch.dtype, seed: int, device: str = "cpu"
) -> LanguageModel:
    """Return a model of a shape; its only memory is that of its weights."""
    with torch.device("meta"):
        model = LanguageModel(config).to(dtype)
    model = model.to_empty(device=device)
    if config.has_tied_head:
        model.lm_head.weight = model.model.embed_tokens.weight
    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            is_vocabulary = name in ("model.embed_tokens.weight", "lm_head.weight")
            scale = LOGIT_SPREAD if is_vocabulary else GAIN
            if weight.ndim == 1:
                weight.fill_(1.0)
            else:
                weight.normal_(0.0, scale / math.sqrt(weight.shape[1]), generator=generator)
    return model


def llama3_tokenizer_model() -> Path:
    """Return Llama 3's tokenizer file, from the package llama-models (extra `test`)."""
    import llama_models

    return Path(str(llama_models.__file__)).parent / "llama3" / "tokenizer.model"


def main() -> None:
    """Read the arguments and write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write_llama3_tokenizer(llama3_tokenizer_model(), arguments.out)
    config, dtype = SHAPES[arguments.shape], DTYPES[arguments.dtype]
    save_model(arguments.out, random_model(config, dtype, arguments.seed), arguments.out)


if __name__ == "__main__":
    main()
