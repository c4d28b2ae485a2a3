"""Policies of random weights for the benchmarks: what an engine costs does not depend on them."""

import math
from pathlib import Path

import torch

from system2.engine.model import LanguageModel, ModelConfig
from system2.engine.weights import save_model
from system2.train.words import word_vocabulary, write_word_tokenizer

SHAPES = {
    "1m": ModelConfig(1755, 128, 4, 4, 2, 32, 320, max_positions=1024),  # tiny's, 0.8M
    "5m": ModelConfig(4096, 256, 6, 8, 4, 32, 640, max_positions=1024),  # 5.2M
}


def random_policy(folder: Path, shape: str = "1m", *, spread: float = 16.0) -> None:
    """Write a checkpoint of random weights; by default about as certain as a trained one."""
    model, generator = LanguageModel(SHAPES[shape]), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                scale = spread if "embed" in name else 3.0
                weight.normal_(0, scale / math.sqrt(weight.shape[1]), generator=generator)
    write_word_tokenizer(folder, word_vocabulary([], max_number=99, max_bare_number=9))
    save_model(folder, model, folder)
