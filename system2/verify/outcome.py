"""Outcome verifier: the probability that a solution is right (Cobbe et al., arXiv 2110.14168).

A scalar head on the policy's trunk, trained on sampled solutions and their grades; as there,
every token of a solution is trained to tell the outcome, and the value is read at the last.
Scores whole solutions for best-of-N, and prefixes as well as it can.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from system2.core import ScoreRequest, Tokens
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel
from system2.verify.trunk import TopLayers, adapted_layers


class OutcomeVerifier(nn.Module):
    """A learned `Verifier` of outcomes on a frozen policy's trunk."""

    def __init__(self, policy: LanguageModel, num_adapted: int) -> None:
        super().__init__()
        self.top = TopLayers(policy, num_adapted, num_outputs=1)

    @property
    def policy(self) -> LanguageModel:
        """The policy whose hidden states it reads."""
        return self.top.policy

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
        """Return the logit, at every token, that the solution ends right."""
        states = self.top.states(tokens, self.top.tapped(tokens, None), None)
        return self.top.head(states)[..., 0].float()

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Return values `[r][p]` in [0, 1]."""
        prefixes = [prefix for request in requests for prefix in request.prefixes]
        values = iter(self.values(prefixes))
        return [[next(values) for _ in request.prefixes] for request in requests]

    @torch.inference_mode()
    def values(self, prefixes: Sequence[Tokens], *, batch: int = 64) -> list[float]:
        """Return the value of each token sequence, computed in batches of similar length."""
        order = sorted(range(len(prefixes)), key=lambda i: len(prefixes[i]))
        values = [0.0] * len(prefixes)
        device = self.top.head.weight.device
        for start in range(0, len(order), batch):
            some = order[start : start + batch]
            width = len(prefixes[some[-1]])
            tokens = torch.zeros(len(some), width, dtype=torch.long)
            for row, i in enumerate(some):
                tokens[row, : len(prefixes[i])] = torch.tensor(prefixes[i])
            logits = self(tokens.to(device))
            last = torch.tensor([len(prefixes[i]) - 1 for i in some], device=device)
            ends = logits[torch.arange(len(some), device=device), last].sigmoid().tolist()
            for i, value in zip(some, ends, strict=True):
                values[i] = value
        return values


def made(policy: LocalPolicy, described: Mapping[str, Any]) -> OutcomeVerifier:
    """Return a verifier of the described shape, its weights to be loaded. Raises: `UserError`."""
    return OutcomeVerifier(policy.model, adapted_layers(described))


def described(verifier: OutcomeVerifier) -> dict[str, Any]:
    """Return what `made` needs to make its like."""
    return {"layout": None, "num_adapted": verifier.top.num_adapted}
