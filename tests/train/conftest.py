"""What tests of training share: a model so small that hundreds of steps take a second."""

from collections.abc import Callable

import pytest
import torch

from system2.engine.model import LanguageModel, ModelConfig, initialise

MakeModel = Callable[[int], LanguageModel]

VOCAB = 24


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """Return a maker of two-layer models over 24 tokens, by seed."""
    torch.set_num_threads(1)

    def make(seed: int) -> LanguageModel:
        model = LanguageModel(ModelConfig(VOCAB, 32, 2, 4, 2, 8, 64))
        initialise(model, seed)
        return model

    return make
