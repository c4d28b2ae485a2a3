"""A step over static buffers against one that is laid out anew: the same logits, whatever happens.

The capture itself needs a GPU (`-m gpu`); what is captured is called here as it is, and recorded
and played back. The tests of `engine_path` run it too.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from system2.core import SampleRequest, SamplingParams, Tokens
from system2.engine import graphs, native
from system2.engine.graphs import ROW_BUCKETS, StaticStep
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel, ModelConfig
from system2.engine.session import Session
from system2.engine.step import Layers
from system2.engine.tokenizer import Tokenizer
from system2.verify.token import LAYOUTS, ContrastiveGuide, PlausibleGuide, TokenVerifier
from system2.verify.token import VerifierGuide as Verifier
from tests.toys import spread_model

VOCAB = 400
CONFIG = ModelConfig(VOCAB, 32, 3, 4, 2, 8, 64)
CONFIGS = {
    "plain": CONFIG,
    "window": replace(CONFIG, sliding_window=7),
    "no-positions": replace(CONFIG, rope_layers=(True, False, True), has_qk_norm=True),
}
TOLERANCE = 1e-5


def model_of(config: ModelConfig, dtype: torch.dtype = torch.float32) -> LanguageModel:
    """A random model in which far tokens and order matter."""
    return spread_model(config, 4, 8).to(dtype)


class Pair:
    """The same rows in a session of static steps and in one without them."""

    def __init__(self, model: LanguageModel, seed: int = 0) -> None:
        self.sessions = [Session(Layers(model, has_graphs=has)) for has in (True, False)]
        self.rng = random.Random(seed)

    @property
    def static(self) -> StaticStep:
        assert self.sessions[0].static is not None
        return self.sessions[0].static

    @property
    def num_rows(self) -> int:
        return self.sessions[0].num_rows

    def text(self, length: int) -> Tokens:
        return tuple(self.rng.randrange(VOCAB) for _ in range(length))

    def admit(self, lengths: list[int], copies: list[int]) -> None:
        self.append()
        prompts = [self.text(length) for length in lengths]
        for session in self.sessions:
            session.admit(prompts, copies)
        self.check()

    def take(self, rows: list[int]) -> None:
        self.append()
        for session in self.sessions:
            session.take(torch.tensor(rows))
        self.check()

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            self.append()
            self.check()

    def append(self) -> None:
        """Run a token of every row, whose logits nobody asks for."""
        chosen = torch.tensor(self.text(self.num_rows), dtype=torch.long)
        for session in self.sessions:
            if self.num_rows:
                session.append(chosen)

    def check(self) -> None:
        mine, expected = (session.logits() for session in self.sessions)
        torch.testing.assert_close(mine, expected, atol=TOLERANCE, rtol=0)


class Tape(TorchDispatchMode):
    """What a CUDA graph is, on a CPU: every kernel of a step, played back on the same memory."""

    def __init__(self, step: Callable[[], None]) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []
        with self:
            step()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket not in WAITING, f"{func}: the host waits for the device"
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    def play(self) -> None:
        """Run the kernels again, each into what it made the first time."""
        for func, args, kwargs, out in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    _ = old.copy_(new)


WAITING = (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.equal)


@pytest.fixture(params=["called", "played"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket's step called each time, or recorded once and played back from then on."""
    if request.param == "played":
        made = StaticStep._made
        monkeypatch.setattr(StaticStep, "_made", lambda *at: Tape(made(*at)).play)
        monkeypatch.setattr(native, "library", lambda: None)  # it writes past torch


@pytest.fixture(params=CONFIGS)
def pair(request: pytest.FixtureRequest, way: None, monkeypatch: pytest.MonkeyPatch) -> Pair:
    monkeypatch.setattr(graphs, "COLUMNS", 16)
    return Pair(model_of(CONFIGS[request.param]))


@torch.inference_mode()
def test_rows_join_leave_and_change_places(pair: Pair) -> None:
    pair.admit([9, 2], [1, 2])
    pair.step(12)
    pair.admit([25, 1, 4], [1, 3, 2])  # a longer one: the others are moved to the right
    pair.step(3)
    pair.take([3, 3, 0, 8, 1])
    pair.step(5)
    pair.take([4, 2])
    pair.step(2)
    for session in pair.sessions:
        session.clear()
    pair.admit([3], [1])
    pair.step(40)
    assert pair.static.num_steps > 1


@torch.inference_mode()
def test_rows_outgrow_their_bucket(pair: Pair) -> None:
    pair.admit([5], [1])
    for more in (1, 2, 4, 9, 17):
        pair.step(2)
        pair.admit([6], [more])
    pair.step(70)
    pair.take(list(range(0, pair.num_rows, 7)))
    pair.step(70)


@torch.inference_mode()
def test_what_a_session_left_behind_is_not_seen(pair: Pair) -> None:
    """Columns of earlier texts, larger than any that follow, and where rows began that are gone."""
    pair.admit([30], [2])
    pair.step(20)
    pair.admit([2], [2])
    pair.step()
    for slab in pair.sessions[0].cache.own:
        _ = slab.mul_(1e4)
    for session in pair.sessions:
        session.clear()
    pair.admit([3, 5], [2, 1])
    pair.step(9)
    pair.admit([4], [1])  # a row that was padding until now
    pair.step(60)


@torch.inference_mode()
def test_a_bucket_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows alone, in a large bucket, and before many columns."""
    model = model_of(CONFIG)
    found: list[Tensor] = []
    for buckets, columns in ((ROW_BUCKETS, 16), ((64,), 16), ((3, 7), 256)):
        monkeypatch.setattr(graphs, "ROW_BUCKETS", buckets)
        monkeypatch.setattr(graphs, "COLUMNS", columns)
        session = Session(Layers(model, has_graphs=True))
        session.admit([(1, 2, 3), (4,)], [1, 2])
        for token in range(40):
            session.append(torch.tensor([token, token + 1, token + 2]))
        assert session.static is not None
        assert session.static.num_steps
        found.append(session.logits().clone())
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_steps_are_dropped_where_what_they_read_has_moved() -> None:
    pair = Pair(model_of(replace(CONFIG, max_positions=2048)))
    pair.admit([5], [2])
    pair.step(3)
    before = pair.sessions[0].cache.own
    for session in pair.sessions:
        session.cache.reserve(8, 900)
    assert pair.sessions[0].cache.own is not before
    pair.step(2)
    for slab in before:
        _ = slab.fill_(torch.nan)  # nobody looks at it any more
    pair.step(2)
    pair.admit([600], [1])  # the table of rotary turns grows
    pair.step(2)


@torch.inference_mode()
def test_rows_with_a_trunk_and_too_many_rows_run_as_before() -> None:
    model = model_of(CONFIG)
    for admitted in ({"copies": [3], "is_trunk": True}, {"copies": [ROW_BUCKETS[-1] + 1]}):
        session = Session(Layers(model, has_graphs=True))
        session.admit([(1, 2, 3)], **admitted)
        session.append(torch.zeros(session.num_rows, dtype=torch.long))
        assert session.static is not None
        assert not session.static.num_steps
        expected = model(torch.tensor([[1, 2, 3, 0]]))[0, -1]
        torch.testing.assert_close(session.logits()[-1], expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("has_graphs", [True, False])
def test_draws_of_a_prompt_are_worth_a_trunk_later(
    has_graphs: bool, small_tokenizer: Tokenizer
) -> None:
    model = model_of(replace(CONFIG, max_positions=2048))
    decoder = LocalPolicy(model, small_tokenizer, has_graphs=has_graphs).decoder()
    prompt = tuple(i % VOCAB for i in range(500))
    _ = decoder.submit(SampleRequest((prompt,), 8, SamplingParams(max_tokens=5), 0))
    for _ in range(2):
        decoder.step()
    assert decoder.session.trunk_lengths.shape[0] == (0 if has_graphs else 1)


def test_who_has_static_steps(small_tokenizer: Tokenizer) -> None:
    """Not a reader that reads every token; nor anyone on a CPU who does not ask."""
    model = model_of(CONFIG)
    verifier = Verifier(TokenVerifier(model, "vocab", num_adapted=1))
    for guide, has in (
        (None, 1),
        (PlausibleGuide(), 1),
        (verifier, 1),
        (ContrastiveGuide(model), 0),
    ):
        assert (Session(Layers(model, guide, has_graphs=True)).static is not None) == has
        assert Session(Layers(model, guide)).static is None


def sampled(policy: LocalPolicy, request: SampleRequest) -> list[Tokens]:
    return [completion.tokens for row in policy.sample([request])[0] for completion in row]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_verified_decoding_is_the_same(layout: str, small_tokenizer: Tokenizer) -> None:
    model = model_of(CONFIG)
    verifier = TokenVerifier(model, layout, num_adapted=2).eval()  # pyright: ignore
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in verifier.parameters():
            _ = parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    prompts = tuple(tuple(range(5 * i + 1, 7 * i + 4)) for i in range(9))
    request = SampleRequest(prompts, 3, SamplingParams(max_tokens=24), 7)
    plain = LocalPolicy(model, small_tokenizer, Verifier(verifier, 0.2, 0.7), has_graphs=False)
    static = replace(plain, guide=Verifier(verifier, 0.2, 0.7), has_graphs=True)
    expected = sampled(plain, request)
    assert sampled(static, request) == expected
    assert sampled(static, request) == expected, "an idle session is as good as a new one"


def test_a_policy_keeps_its_session_until_its_weights_change(small_tokenizer: Tokenizer) -> None:
    model = model_of(CONFIG)
    policy = LocalPolicy(model, small_tokenizer, has_graphs=True)
    request = SampleRequest(((1, 2, 3),), 2, SamplingParams(max_tokens=9), 0)
    _ = policy.sample([request])
    first = policy.decoder()
    assert first.session.static is not None
    assert first.session.static.num_steps
    assert policy.decoder().session is not first.session, "it is in use"
    _ = policy.sample([request])
    with torch.no_grad():
        _ = model.model.norm.weight.mul_(2)
    changed = policy.decoder().session
    assert changed.static is not None
    assert not changed.static.num_steps


@pytest.mark.gpu
@pytest.mark.parametrize("layout", [None, *LAYOUTS])
def test_captured_steps_draw_the_same(layout: str | None, small_tokenizer: Tokenizer) -> None:
    model = model_of(CONFIG).cuda()
    guide = None
    if layout is not None:
        guide = Verifier(TokenVerifier(model, layout, num_adapted=1).eval())  # pyright: ignore
    prompts = tuple(tuple(range(5 * i + 1, 7 * i + 4)) for i in range(9))
    request = SampleRequest(prompts, 3, SamplingParams(max_tokens=300, temperature=0), 7)
    captured, plain = (
        LocalPolicy(model, small_tokenizer, guide, has_graphs=has) for has in (None, False)
    )
    assert sampled(captured, request) == sampled(plain, request)


@pytest.mark.gpu
@torch.inference_mode()
def test_captured_logits_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "COLUMNS", 16)
    model = model_of(CONFIG).cuda()
    sessions = [Session(Layers(model, has_graphs=has)) for has in (None, False)]
    number = iter(range(10_000))

    def each(change: Callable[[Session], None]) -> None:
        for session in sessions:
            change(session)
        mine, expected = (session.logits() for session in sessions)
        torch.testing.assert_close(mine, expected, atol=1e-3, rtol=0)

    def step() -> None:
        chosen = torch.tensor([next(number) % VOCAB for _ in range(sessions[0].num_rows)]).cuda()
        each(lambda session: session.append(chosen))

    for length, copies in ((3, 1), (9, 3), (30, 20)):
        prompt = tuple(range(length))
        for session in sessions:
            session.admit([prompt], [copies])
        for _ in range(40):
            step()
    each(lambda session: session.take(torch.tensor([20, 3, 3]).cuda()))
    for _ in range(5):
        step()
