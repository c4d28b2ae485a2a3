"""A GPU's type on the CPU: in bfloat16 the engine decodes what a forward without a cache would.

Up to rounding: where two tokens are nearly equal, either may be chosen.
"""

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from system2.core import SampleRequest, SamplingParams, Tokens
from system2.engine import decoder, step
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel, ModelConfig
from system2.engine.tokenizer import Tokenizer
from system2.verify.token import (
    LAYOUTS,
    ContrastiveGuide,
    Layout,
    PlausibleGuide,
    VerifierGuide,
)
from tests.toys import spread_model, spread_verifier

CONFIG = ModelConfig(400, 32, 3, 4, 2, 8, 64)
TOLERANCE = 0.15
"""Of logits that spread over some 10; bfloat16 has 8 bits."""
ALPHA, BETA = 0.1, 0.5


@pytest.fixture(params=["copies", "trunks", "static"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How rows go on from a prompt: each with a copy, from a trunk, in static steps."""
    monkeypatch.setattr(decoder, "TRUNK_POSITIONS", 1 if request.param == "trunks" else 1 << 30)
    monkeypatch.setattr(step, "pays_graphs", lambda device: request.param == "static")


def model_of(seed: int) -> LanguageModel:
    return spread_model(CONFIG, seed, 6, 15).to(torch.bfloat16)


def prompts() -> tuple[Tokens, ...]:
    rng = random.Random(3)
    shared = tuple(rng.randrange(1, 370) for _ in range(20))
    ends = [tuple(rng.randrange(1, 370) for _ in range(n)) for n in (1, 5, 9)]
    return (*(shared + end for end in ends), ends[1], shared[:12])


def check(policy: LocalPolicy, values: Callable[[list[int]], Tensor]) -> None:
    """Each token a policy chose has nearly the highest value after its prefix; twice over."""
    params = SamplingParams(max_tokens=16, temperature=0)
    for _ in range(2):  # the second time much is in the tree
        drawn = policy.sample([SampleRequest(prompts(), 2, params, 0)])[0]
        for prompt, (completion, _) in zip(prompts(), drawn, strict=True):
            prefix = list(prompt)
            for token in completion.tokens:
                found = values(prefix)
                assert found[token] >= found.max() - TOLERANCE, prefix
                prefix.append(token)


@torch.inference_mode()
def after(model: LanguageModel, prefix: list[int]) -> Tensor:
    return model(torch.tensor([prefix]))[0, -1].float()


def least(logits: Tensor) -> Tensor:
    """From which logit on a token is plausible."""
    return logits.max() + torch.tensor(ALPHA).log()


def at_stake(logits: Tensor, values: Tensor) -> Tensor:
    """Values of what may be plausible; only what is so beyond doubt has to be beaten."""
    floor = least(logits)
    best = values.masked_fill(logits < floor + TOLERANCE, -torch.inf).max()
    return values.masked_fill(logits < floor - TOLERANCE, -torch.inf).clamp(max=best)


def test_greedy(small_tokenizer: Tokenizer) -> None:
    model = model_of(0)
    for guide in (None, PlausibleGuide(ALPHA)):
        check(LocalPolicy(model, small_tokenizer, guide), lambda prefix: after(model, prefix))


def test_a_contrast(small_tokenizer: Tokenizer) -> None:
    model, amateur = model_of(0), model_of(9)

    def values(prefix: list[int]) -> Tensor:
        strong, weak = after(model, prefix), after(amateur, prefix)
        return at_stake(strong, 1.5 * strong - 0.5 * weak)

    guide = ContrastiveGuide(amateur, ALPHA, gamma=0.5)
    check(LocalPolicy(model, small_tokenizer, guide), values)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_verified(layout: Layout, small_tokenizer: Tokenizer) -> None:
    model = model_of(0)
    verifier = spread_verifier(model, layout, 0.05)
    head = verifier.top.head.weight.detach().float()

    @torch.inference_mode()
    def states(texts: list[list[int]]) -> Tensor:
        rows = torch.tensor(texts)
        return verifier.top.states(rows, verifier.top.tapped(rows, None), None)[:, -1].float()

    def values(prefix: list[int]) -> Tensor:
        logits = after(model, prefix)
        some = (logits >= least(logits) - TOLERANCE).nonzero()[:, 0]
        if layout == "vocab":
            scores = head[some] @ states([prefix])[0] - logits[some]
        else:
            scores = states([[*prefix, v] for v in some.tolist()]) @ head[0]
        return at_stake(logits, logits.index_add(0, some, BETA * scores))

    check(LocalPolicy(model, small_tokenizer, VerifierGuide(verifier, ALPHA, BETA)), values)
