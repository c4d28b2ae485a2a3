"""What learned verifiers are made of: a policy's trunk, its top layers adapted, a linear head.

The lower layers run once for policy and verifier; only copies of the top ones, a norm and a
head are trained and stored. With all layers copied, and the embeddings, it is a second model.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from system2.core import UserError
from system2.engine.attention import Window
from system2.engine.model import LanguageModel
from system2.engine.native import normed
from system2.engine.step import Step


class TopLayers(nn.Module):
    """Trainable copies of a frozen policy's top `num_adapted` layers, with a fresh zero head.

    Raises: `UserError` where the policy has not so many layers.
    """

    def __init__(
        self,
        policy: LanguageModel,
        num_adapted: int,
        *,
        num_outputs: int,
        has_embeddings: bool = False,
    ) -> None:
        super().__init__()
        config = policy.config
        if not 0 <= num_adapted <= config.num_layers:
            raise UserError(
                f"cannot adapt {num_adapted} layers: the policy has {config.num_layers}"
            )
        self.tap = config.num_layers - num_adapted
        self._policy = (policy,)  # in a tuple, so that it is no submodule and not trained
        self.embed = copy.deepcopy(policy.model.embed_tokens) if has_embeddings else None
        self.layers = copy.deepcopy(policy.model.layers[self.tap :])
        self.norm = copy.deepcopy(policy.model.norm)
        self.head = nn.Linear(config.hidden_size, num_outputs, bias=False)
        nn.init.zeros_(self.head.weight)
        _ = self.head.to(policy.model.norm.weight)
        for parameter in self.parameters():
            _ = parameter.requires_grad_(True)

    @property
    def policy(self) -> LanguageModel:
        """The policy on whose trunk it stands."""
        return self._policy[0]

    @property
    def num_adapted(self) -> int:
        """How many of the policy's top layers it has copies of."""
        return len(self.layers)

    @torch.no_grad()
    def tapped(
        self, tokens: Int[Tensor, "batch time"], window: Window | None
    ) -> Float[Tensor, "batch time size"]:
        """Return the policy's hidden states below the adapted layers."""
        x = self.policy.model.embed_tokens(tokens)
        return x if self.embed is not None else self.policy.run_layers(x, 0, self.tap, window)

    @torch.no_grad()
    def policy_states(
        self, tapped: Float[Tensor, "batch time size"], window: Window | None
    ) -> Float[Tensor, "batch time size"]:
        """Return the policy's own last normed states, from its tapped ones."""
        policy = self.policy
        x = policy.run_layers(tapped, self.tap, policy.config.num_layers, window)
        return policy.model.norm(x)

    def states(
        self,
        tokens: Int[Tensor, "batch time"],
        tapped: Float[Tensor, "batch time size"],
        window: Window | None,
    ) -> Float[Tensor, "batch time size"]:
        """Return its own normed states, without a cache."""
        x = self.embed(tokens) if self.embed is not None else tapped
        return self.norm(self.policy.run(self.layers, x, window))

    def states_at(
        self, given: Int[Tensor, "token"] | Float[Tensor, "token size"], step: Step
    ) -> Float[Tensor, "token size"]:
        """Return its own normed states of tokens, whose step is that of its layers.

        It is given the tokens where it taps layer 0, else the policy's states below its layers.
        """
        embed = self.embed if self.embed is not None else self.policy.model.embed_tokens
        x = given if self.tap else embed(given)
        return normed(step.run(x), self.norm.weight, self.norm.eps)


def adapted_layers(described: Mapping[str, Any]) -> int:
    """Return the number of adapted layers that a verifier's folder says. Raises: `UserError`."""
    count: object = described.get("num_adapted")
    if not isinstance(count, int) or isinstance(count, bool):
        raise UserError(f"num_adapted is {count!r}, not a whole number")
    return count
