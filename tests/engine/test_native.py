"""The fast path of small models on a CPU: what layers.c computes, against torch."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from system2.core import SampleRequest, SamplingParams
from system2.engine import native, sampling
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel, ModelConfig, rms_norm
from system2.engine.step import Layers
from system2.engine.tokenizer import Tokenizer
from tests.toys import spread_model

pytestmark = pytest.mark.skipif(
    native.library() is None, reason="layers.c was not built here: a C compiler is needed"
)
CONFIG = ModelConfig(400, 32, 2, 4, 2, 8, 64)


def model_of(config: ModelConfig = CONFIG) -> LanguageModel:
    return spread_model(config, 1, 8)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 7, 13, 64, 131])
@pytest.mark.parametrize(("outputs", "inputs"), [(16, 8), (100, 24), (64, 128), (257, 40)])
def test_products_equal_torchs(rows: int, outputs: int, inputs: int) -> None:
    x, weight = random(rows, inputs), random(outputs, inputs, seed=1)
    found = native.linear(x, weight)
    torch.testing.assert_close(found, functional.linear(x, weight), atol=1e-4, rtol=1e-5)


def test_a_rows_product_does_not_depend_on_the_others() -> None:
    """To the last bit: sampling then is the same in any batch."""
    x, weight = random(70, 136), random(300, 136, seed=1)
    together = native.linear(x, weight)
    for row in (0, 5, 33, 69):
        assert torch.equal(native.linear(x[row : row + 1], weight)[0], together[row])
    for rows in (2, 3, 4, 6, 11):
        assert torch.equal(native.linear(x[:rows].clone(), weight), together[:rows])


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_what_is_drawn_does_not_depend_on_the_batch_to_the_last_bit(
    small_tokenizer: Tokenizer, cache_bytes: int
) -> None:
    """Alone, among many, from a text known or unknown, in stretches of any size."""
    config = ModelConfig(small_tokenizer.vocab_size, 32, 2, 4, 2, 8, 64)
    model = model_of(config)
    requests = [
        SampleRequest((tuple(range(5, 6 + i)),), 3, SamplingParams(20, 1.0), seed=i)
        for i in range(12)
    ]
    together = LocalPolicy(model, small_tokenizer, cache_bytes=cache_bytes).sample(requests)
    for size in (7, 2048):
        alone = LocalPolicy(
            model, small_tokenizer, cache_bytes=cache_bytes, max_batch_tokens=size, max_rows=4
        )
        assert [alone.sample([request])[0] for request in requests] == together
        assert [alone.sample([request])[0] for request in requests] == together


def test_norms_equal_torchs() -> None:
    x, weight = random(9, 48), random(48, seed=1)
    torch.testing.assert_close(native.normed(x, weight, 1e-5), rms_norm(x, weight, 1e-5))


def test_weights_that_change_are_packed_again() -> None:
    x, weight = random(3, 16), torch.nn.Parameter(random(32, 16, seed=1))
    before = native.linear(x, weight)
    with torch.no_grad():
        _ = weight.mul_(2)
    torch.testing.assert_close(native.linear(x, weight), 2 * before)


def test_a_policys_layers_are_made_anew_when_its_weights_change(
    small_tokenizer: Tokenizer,
) -> None:
    config = ModelConfig(small_tokenizer.vocab_size, 32, 2, 4, 2, 8, 64)
    policy = LocalPolicy(model_of(config), small_tokenizer)
    request = SampleRequest(((5, 6, 7),), 1, SamplingParams(8, 0.0), seed=0)
    before = policy.sample([request])
    with torch.no_grad():
        for weight in policy.model.parameters():
            _ = weight.copy_(weight.roll(1, 0))
    changed = policy.sample([request])
    assert changed != before
    assert changed == LocalPolicy(policy.model, small_tokenizer).sample([request])


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(400, 32, 2, 4, 2, 4, 64),  # heads of 4
        ModelConfig(400, 36, 2, 4, 2, 8, 64),  # a size that is no multiple of 8
        ModelConfig(400, 32, 2, 1, 1, 8, 64),  # 8 queries: half a panel
    ],
)
def test_what_does_not_fit_runs_in_torch(config: ModelConfig) -> None:
    assert Layers(model_of(config)).native is None


def test_another_type_or_too_large_a_model_runs_in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Layers(model_of()).native is not None
    assert Layers(model_of().to(torch.bfloat16)).native is None
    monkeypatch.setattr(native, "MOST_BYTES", 1000)
    assert Layers(model_of()).native is None


def test_without_a_library_torch_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    native.library.cache_clear()
    monkeypatch.setenv(native.SWITCH, "0")
    assert native.library() is None
    assert Layers(model_of()).native is None
    native.library.cache_clear()


@pytest.mark.parametrize("change", ["/* newer */", ""])
def test_a_library_of_another_source_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    folder = Path(native.__file__).parent
    for built in folder.glob("_layers*"):
        _ = shutil.copy(built, tmp_path)
    _ = (tmp_path / "layers.c").write_text((folder / "layers.c").read_text() + change)
    monkeypatch.setattr(native, "__file__", str(tmp_path / "native.py"))
    native.library.cache_clear()
    assert (native.library() is None) == bool(change)
    native.library.cache_clear()


logit_rows = st.lists(
    st.lists(st.floats(-30, 30, width=32), min_size=70, max_size=70), min_size=1, max_size=3
)


@settings(max_examples=40)
@given(logit_rows, st.sampled_from([0.0, 0.05, 0.5, 1.0]), st.sampled_from([0.3, 0.8, 1.0]))
def test_the_plausible_set_is_torchs(rows: list[list[float]], alpha: float, gate: float) -> None:
    logits = torch.tensor(rows)
    mask = sampling.plausible(logits, alpha)
    found = sampling.cut(logits.clone(), alpha, gate)
    best = logits.double().softmax(-1).amax(-1)
    for row, (is_open, sure) in enumerate(zip(found.is_open, best.tolist(), strict=True)):
        if abs(sure - gate) > 1e-5:
            assert bool(is_open) == (int(mask[row].sum()) > 1 and (sure < gate or gate == 1))
    assert torch.equal(found.kept, logits.masked_fill(~mask, -torch.inf))
    assert found.counts.tolist() == mask.sum(1).tolist()
    assert found.rows[: len(rows)].tolist() == list(range(len(rows)))
    pairs = list(zip(found.rows.tolist(), found.ids.tolist(), found.ranks.tolist(), strict=True))
    assert sorted(pairs) == [
        (row, token, rank)
        for row, allowed in enumerate(mask)
        for rank, token in enumerate(allowed.nonzero()[:, 0].tolist())
    ]


@pytest.mark.usefixtures("engine_path")
@pytest.mark.parametrize("place", [0, 7, 65])
def test_no_number_is_never_plausible(place: int) -> None:
    logits = random(2, 66)
    logits[1, place] = math.nan
    found = sampling.cut(logits, 0.1)
    assert found.counts.tolist()[1] == 0
    assert found.rows.tolist()[:2] == [0, 1]
    assert (found.kept[1] == -torch.inf).all()
    _, logprobs = sampling.choose(found.kept, torch.ones(2), torch.full((2, 1), 0.5))
    assert logprobs[0].isfinite().all()
    assert logprobs[1].isnan().all()


@settings(max_examples=40)
@given(logit_rows, st.floats(0, 0.999), st.sampled_from([0.0, 0.3, 1.0, 1.7]))
def test_draws_are_torchs(rows: list[list[float]], uniform: float, temperature: float) -> None:
    """But for a uniform number on the edge of two tokens, by rounding."""
    logits = torch.tensor(rows)
    warm = torch.full((len(rows),), temperature)
    draws = torch.full((len(rows), 1), uniform, dtype=torch.float64)
    tokens, logprobs = sampling.choose(logits, warm, draws)
    exact = logits.double() / (temperature or 1.0)
    expected = exact.log_softmax(-1).gather(1, tokens)
    torch.testing.assert_close(logprobs.double(), expected, atol=1e-5, rtol=1e-5)
    if temperature == 0:
        assert tokens[:, 0].tolist() == logits.numpy().argmax(-1).tolist()
        return
    cumulative = exact.softmax(-1).cumsum(-1)
    after = cumulative.gather(1, tokens)
    before = after - exact.softmax(-1).gather(1, tokens)
    assert (before - 1e-5 <= draws).all()
    assert (draws <= after + 1e-5).all()


def test_scores_are_added_to_the_plausible_tokens_of_open_rows() -> None:
    logits, own, head = random(4, 50), random(4, 16, seed=1), random(50, 16, seed=2)
    found = sampling.cut(logits.clone(), 0.2)
    is_open = np.array([True, False, True, True])
    expected = found.kept.clone()
    for row, token in zip(found.rows.tolist(), found.ids.tolist(), strict=True):
        if is_open[row]:
            score = own[row] @ head[token] - logits[row, token]
            expected[row, token] += 0.7 * score
    assert native.judge(found.kept, found.rows, found.ids, is_open, own, head, 0.7)
    torch.testing.assert_close(found.kept, expected, atol=1e-5, rtol=1e-5)
