"""What several tests play with: random models, verifiers, prompts; commands; whether one lives."""

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from system2.cli.app import main
from system2.core import Tokens
from system2.engine.model import LanguageModel, ModelConfig, initialise
from system2.verify.token import Layout, TokenVerifier


def spread_model(
    config: ModelConfig, seed: int, by: float = 10, embedding_by: float | None = None
) -> LanguageModel:
    """Return a random model whose next-token distributions are neither flat nor certain."""
    model = LanguageModel(config).eval()
    initialise(model, seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                has_own = "embed" in name and embedding_by is not None
                _ = parameter.mul_(embedding_by if has_own else by)
    return model


def spread_verifier(policy: LanguageModel, layout: Layout, noise: float = 0.1) -> TokenVerifier:
    """Return a verifier that is not the policy, and whose scores differ."""
    verifier = TokenVerifier(policy, layout, num_adapted=2).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in verifier.parameters():
            other = torch.randn(parameter.shape, generator=generator)
            _ = parameter.add_(other * (3.0 if parameter.shape[0] == 1 else noise))
    return verifier


def random_prompts(seed: int, n: int, shortest: int, longest: int) -> tuple[Tokens, ...]:
    """Return prompts of the small tokenizer's plain tokens."""
    rng = random.Random(seed)
    return tuple(
        tuple(rng.randrange(1, 370) for _ in range(rng.randrange(shortest, longest + 1)))
        for _ in range(n)
    )


def is_alive(process: int) -> bool:
    """Return whether a process is there, and has more to do than to be waited for."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


def given(words: list[str], more: list[str]) -> list[str]:
    """Return a command's words with options added, or given another value."""
    words = list(words)
    for name, value in zip(more[::2], more[1::2], strict=True):
        at = words.index(name) if name in words else len(words)
        words[at : at + 2] = [name, value]
    return words


def last_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def assert_refused(words: list[str], capsys: pytest.CaptureFixture[str], *named: str) -> None:
    """Assert that a command ends in one line that holds the names."""
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("system2: error: ")
    for name in named:
        assert name in line
