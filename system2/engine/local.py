"""The policy that runs here: a checkpoint, decoded in batches.

Place in the flow: `run` asks for completions, `Decoder` makes them. What was run is kept in a
prefix tree, so that a request that goes on from an earlier text pays for what is new.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from system2.core import Completion, SampleRequest, UserError
from system2.engine.decoder import Decoder
from system2.engine.memory import keep_freed_memory
from system2.engine.model import LanguageModel
from system2.engine.prefixes import PrefixTree
from system2.engine.session import Guide, Session
from system2.engine.step import Layers
from system2.engine.tokenizer import Tokenizer, load_tokenizer
from system2.engine.weights import DTYPES, find_checkpoint, load_model

CACHE_BYTES = 256 << 20
"""Keys and values of earlier texts that a policy keeps, unless told otherwise."""


@dataclass(slots=True)
class LocalPolicy:
    """A checkpoint as a `Policy`; `guide` adjusts its next-token logits (LLM2).

    `max_rows` and `max_batch_tokens` are the `Decoder`'s; `cache_bytes` of earlier texts are
    kept (0: none). `has_graphs` is the `Layers`'. `positions_requested` and
    `positions_computed` are the sums of the decoders' since it was made.
    """

    model: LanguageModel
    tokenizer: Tokenizer
    guide: Guide | None = None
    max_rows: int = 64
    max_batch_tokens: int = 2048
    cache_bytes: int = CACHE_BYTES
    has_graphs: bool | None = None
    positions_requested: int = 0
    positions_computed: int = 0
    _tree: PrefixTree | None = field(default=None, init=False, repr=False)
    _layers: Layers | None = field(default=None, init=False, repr=False)
    _made_of: object = field(default=None, init=False, repr=False)
    _idle: Session | None = field(default=None, init=False, repr=False)

    @torch.inference_mode()
    def sample(
        self,
        requests: Sequence[SampleRequest],
        firsts: Sequence[tuple[int, int]] | None = None,
    ) -> list[list[list[Completion]]]:
        """Return completions `[r][p][i]`; `firsts[r]` numbers the first draw (`Decoder.submit`).

        Raises: `UserError` where a prefix leaves no room in the model's positions.
        """
        decoder, numbered = self.decoder(), firsts or [(0, 0)] * len(requests)
        jobs = [
            decoder.submit(request, first=first)
            for request, first in zip(requests, numbered, strict=True)
        ]
        while not decoder.is_idle:
            decoder.step()
        self.positions_requested += decoder.positions_requested
        self.positions_computed += decoder.positions_computed
        if decoder.layers is self._layers and decoder.session.static is not None:
            self._idle = decoder.session  # its graphs are captured, its memory is there
        return [job.completions() for job in jobs]

    def forget(self) -> None:
        """Drop what is known of earlier texts, so that costs do not depend on what ran before."""
        self._tree = None

    def decoder(self) -> Decoder:
        """Return what takes requests at any time and is stepped by hand (a server's loop)."""
        layers, tree = self._known()
        limits = {"max_rows": self.max_rows, "max_batch_tokens": self.max_batch_tokens}
        session, self._idle = self._idle, None
        return Decoder(layers, self.tokenizer, tree, session=session, **limits)

    def weights(self) -> list[Tensor]:
        """Return the weights that its draws depend on, the guide's too, each once."""
        both = [*self.model.parameters(), *(self.guide.parameters() if self.guide else ())]
        return list({id(weight): weight for weight in both}.values())

    def _known(self) -> tuple[Layers, PrefixTree | None]:
        """Return the layers, and what is known of earlier texts: both go when weights change."""
        version = [(id(w), w.data_ptr(), version_of(w)) for w in self.weights()]
        layers = self._layers
        if layers is None or layers.reader is not self.guide or self._made_of != version:
            layers = self._layers = Layers(self.model, self.guide, has_graphs=self.has_graphs)
            self._made_of, self._tree, self._idle = version, None, None
        if self._tree is None and self.cache_bytes:
            self._tree = PrefixTree(self.cache_bytes)
        return layers, self._tree


def version_of(weight: Tensor) -> int:
    """Return how often a tensor has been written to; 0 where torch does not count it."""
    return 0 if weight.is_inference() else weight._version


def load_policy(
    name: str, *, dtype: str | None = None, device: str | None = None, max_rows: int = 64
) -> LocalPolicy:
    """Load the policy called `tiny`, a checkpoint folder or `hub:NAME`.

    `device` None: a GPU where there is one, else the CPU; `dtype` None: bfloat16 on a GPU,
    float32 on a CPU (bfloat16 is 2.5 to 4 times slower there without AMX).
    """
    folder = find_checkpoint(name)
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if where.type == "cpu":
        _ = keep_freed_memory()
    kind = DTYPES[dtype] if dtype else DTYPES["float32" if where.type == "cpu" else "bfloat16"]
    model = load_model(folder, dtype=kind, device=where)
    tokenizer = load_tokenizer(folder)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise UserError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens, the model only "
            f"{model.config.vocab_size}: they do not belong together"
        )
    return LocalPolicy(model, tokenizer, max_rows=max_rows)
