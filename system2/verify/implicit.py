"""Implicit process rewards: a verifier of steps that was trained on outcomes alone.

r(y) = beta * sum over the attempt's tokens of log pi(y_t | y_<t) / pi_ref(y_t | y_<t), where pi
is trained so that sigmoid(r) foretells the grade. A prefix's value is sigmoid of what has been
added up by its end, and a step's reward the difference that its tokens make: no step was ever
labelled. Source: implicit PRM (Yuan et al., arXiv 2412.01981, sections 3 and 4: equation 5 and
the cross-entropy objective). We differ: pi is no second model but the policy's trunk with
copies of its top layers and of its head, and the reference is the policy itself; a
temperature and a bias, fitted on held-out attempts, calibrate the value.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import accumulate, pairwise
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from system2.core import ScoreRequest, Tokens, UserError
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel
from system2.engine.tokenizer import Tokenizer
from system2.verify.described import calibration_in, number_in
from system2.verify.process import Calibration
from system2.verify.starts import completion_starts
from system2.verify.trunk import TopLayers, adapted_layers

BETA = 0.05
"""The weight of the log-ratio, unless told otherwise: the paper's."""

_CELLS = 1 << 24
"""Logits (of any vocabulary) that are held at a time while attempts are judged."""


class ImplicitVerifier(nn.Module):
    """A learned `Verifier` whose value is a ratio of likelihoods; its policy is the reference.

    `beta` > 0; `calibration` makes values of rewards (None: their sigmoid).
    Raises: `UserError` on a beta out of its range, or too many layers.
    """

    def __init__(
        self,
        policy: LanguageModel,
        tokenizer: Tokenizer,
        num_adapted: int,
        *,
        beta: float = BETA,
        calibration: Calibration | None = None,
    ) -> None:
        super().__init__()
        if not 0 < beta < math.inf:
            raise UserError(f"beta is {beta}; it must be finite and above 0")
        vocab_size = policy.lm_head.weight.shape[0]
        self.top = TopLayers(policy, num_adapted, num_outputs=vocab_size)
        with torch.no_grad():
            _ = self.top.head.weight.copy_(policy.lm_head.weight)
        self.tokenizer = tokenizer
        self.beta = beta
        self.calibration = calibration or Calibration()

    @property
    def policy(self) -> LanguageModel:
        """The policy whose hidden states it reads, and to which it is compared."""
        return self.top.policy

    def forward(
        self, tokens: Int[Tensor, "batch time"], is_judged: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time"]:
        """Return beta * log pi / pi_ref (nats) of each judged token, zero of all others.

        A row's sum is its reward. A row's first token has nothing before it and is not judged.
        """
        tapped = self.top.tapped(tokens, None)
        wanted = is_judged[:, 1:]
        own = self.top.states(tokens, tapped, None)[:, :-1][wanted]
        reference = self.top.policy_states(tapped, None)[:, :-1][wanted]
        ids = tokens[:, 1:][wanted]
        size = len(ids) if torch.is_grad_enabled() else max(1, _CELLS // len(self.top.head.weight))
        ratios = [
            _logprobs(self.top.head, own[at : at + size], ids[at : at + size])
            - self._reference_logprobs(reference[at : at + size], ids[at : at + size])
            for at in range(0, len(ids), max(1, size))
        ]
        rewards = torch.zeros(tokens.shape, device=tokens.device)
        if not ratios:
            return rewards
        places = torch.nn.functional.pad(wanted, (1, 0))
        return rewards.masked_scatter(places, self.beta * torch.cat(ratios))

    @torch.no_grad()
    def _reference_logprobs(
        self, states: Float[Tensor, "token size"], ids: Int[Tensor, "token"]
    ) -> Float[Tensor, "token"]:
        return _logprobs(self.policy.lm_head, states, ids)

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Return values `[r][p]` in [0, 1].

        Raises: `UserError` where a prefix does not hold its problem's prompt.
        """
        prefixes = [prefix for request in requests for prefix in request.prefixes]
        starts = [at for r in requests for at in completion_starts(self.tokenizer, r)]
        values = iter(self.values(prefixes, starts))
        return [[next(values) for _ in request.prefixes] for request in requests]

    def values(self, prefixes: Sequence[Tokens], starts: Sequence[int]) -> list[float]:
        """Return the value of each prefix, whose first `starts[i]` tokens are the prompt."""
        sums = [math.fsum(rewards) for rewards in self.rewards(prefixes, starts)]
        rewards = torch.tensor(sums, dtype=torch.float64)
        return [float(value) for value in self.calibration.values(rewards)]

    @torch.inference_mode()
    def rewards(
        self, prefixes: Sequence[Tokens], starts: Sequence[int], *, batch: int = 64
    ) -> list[list[float]]:
        """Return the reward (nats) of each token that follows the prompt, prefix by prefix."""
        order = sorted(range(len(prefixes)), key=lambda i: len(prefixes[i]))
        found: list[list[float]] = [[] for _ in prefixes]
        device = self.top.head.weight.device
        for first in range(0, len(order), batch):
            some = order[first : first + batch]
            width = len(prefixes[some[-1]])
            tokens = torch.zeros(len(some), width, dtype=torch.long)
            is_judged = torch.zeros(len(some), width, dtype=torch.bool)
            for row, i in enumerate(some):
                tokens[row, : len(prefixes[i])] = torch.tensor(prefixes[i])
                is_judged[row, max(1, starts[i]) : len(prefixes[i])] = True
            rewards = self(tokens.to(device), is_judged.to(device)).tolist()
            for row, i in zip(rewards, some, strict=True):
                found[i] = row[starts[i] : len(prefixes[i])]
        return found


def step_rewards(token_rewards: Sequence[float], ends: Sequence[int]) -> list[float]:
    """Return the reward (nats) of each step: what its tokens add to the sum.

    `ends[j]` is the number of tokens up to the end of step j; they rise.

    >>> step_rewards([0.5, 0.25, -1.0, 0.5], [2, 3])
    [0.75, -1.0]
    """
    sums = [0.0, *accumulate(token_rewards)]
    return [sums[b] - sums[a] for a, b in pairwise([0, *ends])]


def _logprobs(
    head: nn.Linear, states: Float[Tensor, "token size"], ids: Int[Tensor, "token"]
) -> Float[Tensor, "token"]:
    """Return the log-probability (nats) of one token after each state."""
    logits = head(states).float()
    return logits.gather(1, ids[:, None])[:, 0] - logits.logsumexp(dim=1)


def made(policy: LocalPolicy, described: Mapping[str, Any]) -> ImplicitVerifier:
    """Return a verifier of the described shape, its weights to be loaded. Raises: `UserError`."""
    return ImplicitVerifier(
        policy.model,
        policy.tokenizer,
        adapted_layers(described),
        beta=number_in(described, "beta"),
        calibration=calibration_in(described),
    )


def described(verifier: ImplicitVerifier) -> dict[str, Any]:
    """Return what `made` needs to make its like."""
    return {
        "layout": None,
        "num_adapted": verifier.top.num_adapted,
        "beta": verifier.beta,
        "calibration": asdict(verifier.calibration),
    }
