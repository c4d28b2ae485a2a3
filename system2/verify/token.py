"""Token verifiers (LLM2, arXiv 2412.20372): judge each plausible next token while decoding.

s(x_<t, v) is a verifier's score of token v after a prefix; decoding takes
z*[v] = z[v] + beta * s(x_<t, v) on the plausible set V_t = {v : z[v] >= max z + log alpha}.
Three layouts of the verifier, one interface (`TokenVerifier.forward` trains it,
`VerifierGuide` decodes with it):

- `separate`: a full second model, the paper's; a candidate is fed as a token and scored at its
  own position.
- `shared`: the policy's own trunk with the top k layers adapted and a scalar head; candidates
  run through the trunk once, and the chosen one's hidden state already gives the next logits.
- `vocab`: the top k layers adapted and a vocabulary head; the score of every token comes from
  the state before it, so there are no candidate rows. The score is the difference to the
  policy's own logits, zero before training.

We differ from the reference (yc1999/LLM2 at 8be7f5d) where it errs: any batch size, greedy is
greedy, the mean is over real pairs, no vocabulary logits in a scalar verifier, one cache.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from system2.core import UserError
from system2.engine import native
from system2.engine.attention import Window
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel
from system2.engine.sampling import Plausible, cut, plausible
from system2.engine.session import Session
from system2.engine.step import Step
from system2.verify.trunk import TopLayers, adapted_layers

Layout: TypeAlias = Literal["separate", "shared", "vocab"]
LAYOUTS: tuple[Layout, ...] = ("separate", "shared", "vocab")


class TokenVerifier(nn.Module):
    """A token verifier of one layout, over a frozen policy that is not among its parameters.

    `num_adapted` of the policy's top layers are copied and trained (`separate`: all of them,
    and the embeddings). Raises: `UserError` where there are not so many.
    """

    def __init__(self, policy: LanguageModel, layout: Layout, num_adapted: int) -> None:
        super().__init__()
        is_separate = layout == "separate"
        self.layout: Layout = layout
        self.top = TopLayers(
            policy,
            policy.config.num_layers if is_separate else num_adapted,
            num_outputs=policy.config.vocab_size if layout == "vocab" else 1,
            has_embeddings=is_separate,
        )
        if layout == "vocab":
            with torch.no_grad():
                _ = self.top.head.weight.copy_(policy.lm_head.weight)

    @property
    def policy(self) -> LanguageModel:
        """The policy whose tokens (and, but for `separate`, hidden states) it judges."""
        return self.top.policy

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        window: Window,
        chosen: Int[Tensor, "pair place"],
        rejected: Int[Tensor, "pair place"],
    ) -> tuple[Float[Tensor, "pair"], Float[Tensor, "pair"]]:
        """Return the scores of each pair's tokens in a packed batch.

        `chosen[j]` and `rejected[j]` are (row, column of the token, column of the last token
        of its prefix). The policy itself is not trained.
        """
        tapped = self.top.tapped(tokens, window)
        states = self.top.states(tokens, tapped, window)
        if self.layout != "vocab":
            scores = self.top.head(states)[..., 0].float()
            return scores[chosen[:, 0], chosen[:, 1]], scores[rejected[:, 0], rejected[:, 1]]
        final = self.top.policy_states(tapped, window)
        first, second = (
            self._vocab_scores(
                states[place[:, 0], place[:, 2]],
                final[place[:, 0], place[:, 2]],
                tokens[place[:, 0], place[:, 1]],
            )
            for place in (chosen, rejected)
        )
        return first, second

    def _vocab_scores(
        self, own: Tensor, hidden: Tensor, ids: Int[Tensor, "candidate"]
    ) -> Float[Tensor, "candidate"]:
        """Return verifier logit minus policy logit of one token a state."""
        mine = (own.float() * self.top.head.weight[ids].float()).sum(-1)
        unembedding = self.policy.lm_head.weight.detach()  # the policy is not trained
        return mine - (hidden.float() * unembedding[ids].float()).sum(-1)

    def candidate_scores(
        self, own: Float[Tensor, "candidate size"], logits: Tensor, ids: Int[Tensor, "candidate"]
    ) -> Float[Tensor, "candidate"]:
        """Return scores while decoding: from candidates' own states, or (`vocab`) from the
        state before each and the policy's logit of it."""
        if self.layout != "vocab":
            return self.top.head(own)[:, 0].float()
        return (own.float() * self.top.head.weight[ids].float()).sum(-1) - logits


def made(policy: LocalPolicy, described: Mapping[str, Any]) -> TokenVerifier:
    """Return a verifier of the described shape, its weights to be loaded. Raises: `UserError`."""
    layout, count = described.get("layout"), adapted_layers(described)
    if layout not in LAYOUTS:
        raise UserError(f"kind 'token' with layout {layout!r} is not known")
    return TokenVerifier(policy.model, layout, count)


def described(verifier: TokenVerifier) -> dict[str, Any]:
    """Return what `made` needs to make its like."""
    return {"layout": verifier.layout, "num_adapted": verifier.top.num_adapted}


@dataclass(slots=True)
class _Tried:
    """The candidates of a step: those of open rows were verified.

    `hidden` are the policy's states of the candidates and `given` what the verifier reads, where
    the policy ran them.
    """

    found: Plausible
    hidden: Float[Tensor, "candidate size"] | None = None
    given: Shaped[Tensor, "candidate *rest"] | None = None

    def of(self, rows: Int[Tensor, "next"], chosen: Int[Tensor, "next"]) -> Int[Tensor, "next"]:
        """Return which candidate token `chosen[i]` of row `rows[i]` is."""
        is_it = (self.found.rows == rows[:, None]) & (self.found.ids == chosen[:, None])
        if not bool(is_it.any(dim=1).all()):
            raise ValueError("a chosen token lies outside its plausible set")
        return is_it.int().argmax(dim=1)


@dataclass(slots=True)
class VerifierGuide:
    """Decode with a token verifier: z + beta * s on the plausible set of alpha.

    Where one token alone is plausible nothing is verified, and what the verifier's layers have
    not read is read when there is a choice again: the same tokens, for less. A `gate` below
    1 leaves the choice to the policy, too, where its most probable token reaches that
    probability.
    """

    verifier: TokenVerifier
    alpha: float = 0.1
    beta: float = 0.25
    gate: float = 1.0
    is_lazy: ClassVar[bool] = True
    _last: _Tried | None = None

    @property
    def tap(self) -> int:
        """The policy layer whose input it reads."""
        return self.verifier.top.tap

    def layers(self) -> Iterable[nn.Module]:
        """Return the verifier's layers."""
        return self.verifier.top.layers

    def parameters(self) -> Iterable[Tensor]:
        """Return the verifier's weights."""
        return self.verifier.parameters()

    def read(self, given: Tensor, step: Step) -> Float[Tensor, "token size"]:
        """Return the verifier's own states at tokens."""
        return self.verifier.top.states_at(given, step)

    def adjust(
        self, session: Session, logits: Float[Tensor, "batch vocab"]
    ) -> Float[Tensor, "batch vocab"]:
        """Return z + beta * s on each row's plausible set, -inf elsewhere."""
        found, self._last = cut(logits, self.alpha, self.gate), None
        if found.is_open.any():
            self._last = _Tried(found)
            self._judge(session, self._last)
        return found.kept

    def _judge(self, session: Session, tried: _Tried) -> None:
        """Add beta * s to what is kept of the logits of open rows."""
        found, is_vocab = tried.found, self.verifier.layout == "vocab"
        own = torch.empty(0)
        if is_vocab:
            own, head = session.read(found.is_open), self.verifier.top.head.weight
            at = (found.kept, found.rows, found.ids, found.is_open, own, head, self.beta)
            if native.judge(*at):
                return
        some = np.flatnonzero(found.is_open[found.rows.cpu().numpy()])
        which = torch.from_numpy(some).to(found.kept.device)
        rows, ids = found.rows[which], found.ids[which]
        own = own[rows] if is_vocab else self._run(session, tried, which)
        scores = self.verifier.candidate_scores(own, found.kept[rows, ids], ids)
        found.kept[rows, ids] += self.beta * scores

    def _run(
        self, session: Session, tried: _Tried, some: Int[Tensor, "open"]
    ) -> Float[Tensor, "open size"]:
        """Run the candidates of open rows through the verifier; `shared`: all, in the policy."""
        found, size = tried.found, int(tried.found.counts.max())
        given = found.ids[some]
        if self.verifier.layout == "shared":
            step = session.candidate_step(found.rows, found.ranks, size, num_first=session.num_rows)
            tried.hidden, tried.given, _ = session.run(found.ids, step)
            session.positions_computed += found.ids.shape[0]
            given = tried.given[some]
        step = session.candidate_step(found.rows[some], found.ranks[some], size)
        return session.read_candidates(found.is_open, given, step)

    def advance(
        self, session: Session, rows: Int[Tensor, "next"], chosen: Int[Tensor, "next"]
    ) -> None:
        """Keep the chosen candidates' keys; run the chosen tokens where they were not run."""
        tried, self._last = self._last, None
        if tried is None or self.verifier.layout == "vocab":
            session.extend(rows, chosen)
            return
        session.take(rows)
        which, is_read = tried.of(rows, chosen), tried.found.is_open[rows.cpu().numpy()]
        ranks = tried.found.ranks[which]
        if tried.hidden is None or tried.given is None:
            verified = torch.from_numpy(is_read).to(ranks.device)
            session.accept(torch.where(verified, ranks, 0), is_policy=False)
            session.append(chosen, is_read)
        else:
            session.accept(ranks, is_policy=True)
            session.go_on(tried.hidden[which], tried.given[which], is_read)


@dataclass(slots=True)
class PlausibleGuide:
    """The plausible set alone: what LLM2 does without a verifier (beta = 0)."""

    alpha: float = 0.1
    tap: int = 0
    is_lazy: ClassVar[bool] = False

    def layers(self) -> Iterable[nn.Module]:
        """Return nothing: it has no layers."""
        return ()

    def parameters(self) -> Iterable[Tensor]:
        """Return nothing: it has no weights."""
        return ()

    def read(self, given: Tensor, step: Step) -> None:
        """Read nothing."""

    def adjust(self, session: Session, logits: Tensor) -> Float[Tensor, "batch vocab"]:
        """Return the logits on each row's plausible set, -inf elsewhere."""
        return cut(logits, self.alpha).kept

    def advance(self, session: Session, rows: Tensor, chosen: Tensor) -> None:
        """Append the chosen tokens."""
        session.extend(rows, chosen)


@dataclass(slots=True)
class ContrastiveGuide:
    """Contrastive decoding: (1 + gamma) z - gamma z_amateur on the plausible set.

    O'Brien and Lewis, arXiv 2309.09117 (for reasoning); the amateur is a weaker model with
    the same tokenizer. A baseline to compare LLM2 with.
    """

    amateur: LanguageModel
    alpha: float = 0.1
    gamma: float = 0.5
    tap: int = 0
    is_lazy: ClassVar[bool] = False
    _table: tuple[Tensor, Tensor] | None = None

    def layers(self) -> Iterable[nn.Module]:
        """Return the amateur's layers."""
        return self.amateur.model.layers

    def parameters(self) -> Iterable[Tensor]:
        """Return the amateur's weights."""
        return self.amateur.parameters()

    def read(self, given: Tensor, step: Step) -> Float[Tensor, "token amateur"]:
        """Return the amateur's hidden states."""
        trunk, limit = self.amateur.model, step.table[0].shape[0]
        if self._table is None or limit > self._table[0].shape[0]:
            self._table = self.amateur.turns(torch.arange(limit, device=given.device))
        return trunk.norm(step.run(trunk.embed_tokens(given), self._table))

    def adjust(self, session: Session, logits: Tensor) -> Float[Tensor, "batch vocab"]:
        """Return the contrast on the plausible set, -inf elsewhere."""
        assert session.own is not None
        weaker = self.amateur.logits(session.own).float()
        contrast = (1 + self.gamma) * logits - self.gamma * weaker
        return contrast.masked_fill(~plausible(logits, self.alpha), -torch.inf)

    def advance(self, session: Session, rows: Tensor, chosen: Tensor) -> None:
        """Append the chosen tokens, to the amateur too."""
        session.extend(rows, chosen)
