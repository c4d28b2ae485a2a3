"""Packing: all negatives of a text in one row, each scored as if it stood there alone."""

import random
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from system2.core import UserError
from system2.engine.model import LanguageModel, ModelConfig, initialise
from system2.synthesise.pairs import Pair, PairRow
from system2.train.pairs import pack, pair_accuracy, pair_batches, verifier_loss
from system2.verify.token import LAYOUTS, Layout, TokenVerifier

VOCAB = 24


@st.composite
def rows(draw: st.DrawFn) -> PairRow:
    """A random text with pairs at random places, several at one place among them."""
    tokens = tuple(draw(st.lists(st.integers(0, VOCAB - 1), min_size=2, max_size=10)))
    places = st.tuples(st.integers(1, len(tokens) - 1), st.integers(0, VOCAB - 1))
    drawn = draw(st.lists(places, max_size=6, unique=True))
    pairs = [Pair(at, tokens[at], token) for at, token in drawn if token != tokens[at]]
    return PairRow(tokens, tuple(sorted(pairs, key=lambda p: (p.position, p.rejected))))


@pytest.fixture(scope="module", params=LAYOUTS)
def verifier(request: pytest.FixtureRequest) -> TokenVerifier:
    """A verifier of each layout, far from its start."""
    return spread(request.param)


def spread(layout: Layout, config: ModelConfig | None = None) -> TokenVerifier:
    policy = LanguageModel(config or ModelConfig(VOCAB, 16, 3, 4, 2, 4, 32)).eval()
    initialise(policy, 0)
    verifier = TokenVerifier(policy, layout, num_adapted=2).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in [*policy.parameters(), *verifier.parameters()]:
            _ = parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return verifier


def score_alone(verifier: TokenVerifier, prefix: tuple[int, ...], token: int) -> float:
    """Return s(prefix, token) by definition: no packing, no mask."""
    policy = verifier.policy
    row = torch.tensor([(*prefix, token)])
    tapped = policy.run_layers(policy.model.embed_tokens(row), 0, verifier.top.tap)
    states = verifier.top.states(row, tapped, None)[0]
    if verifier.layout != "vocab":
        return verifier.top.head(states[-1]).item()
    own = (states[-2] * verifier.top.head.weight[token]).sum()
    return (own - policy(row)[0, -2, token]).item()


def assert_scores_as_alone(verifier: TokenVerifier, drawn: list[PairRow]) -> None:
    batch = pack(drawn)
    with torch.inference_mode():
        chosen, rejected = verifier(batch.tokens, batch.window, batch.chosen, batch.rejected)
        pairs = [(row, pair) for row in drawn for pair in row.pairs]
        for j, (row, pair) in enumerate(pairs):
            prefix = row.tokens[: pair.position]
            for score, token in ((chosen[j], pair.chosen), (rejected[j], pair.rejected)):
                expected = score_alone(verifier, prefix, token)
                assert score.item() == pytest.approx(expected, abs=2e-5)


@given(drawn=st.lists(rows(), min_size=1, max_size=3))
@settings(max_examples=25)
def test_a_packed_score_is_that_of_its_prefix_and_token_alone(
    verifier: TokenVerifier, drawn: list[PairRow]
) -> None:
    assert_scores_as_alone(verifier, drawn)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_packing_holds_under_a_sliding_window(layout: Layout) -> None:
    verifier = spread(layout, ModelConfig(VOCAB, 16, 3, 4, 2, 4, 32, sliding_window=3))
    rng = random.Random(2)
    tokens = tuple(rng.randrange(1, VOCAB) for _ in range(12))
    pairs = tuple(
        Pair(at, tokens[at], (tokens[at] + d) % VOCAB) for at in (2, 7, 11) for d in (1, 2)
    )
    assert_scores_as_alone(verifier, [PairRow(tokens, pairs)])


@given(drawn=st.lists(rows(), min_size=1, max_size=4))
@settings(max_examples=30)
def test_what_is_packed_stands_where_it_should(drawn: list[PairRow]) -> None:
    batch = pack(drawn)
    pairs = [(r, pair) for r, row in enumerate(drawn) for pair in row.pairs]
    assert batch.num_targets == len(pairs) == batch.chosen.shape[0] == batch.rejected.shape[0]
    assert batch.weights.tolist() == [1.0] * len(pairs)
    for j, (r, pair) in enumerate(pairs):
        assert batch.chosen[j].tolist() == [r, pair.position, pair.position - 1]
        row, column, before = batch.rejected[j].tolist()
        assert (row, before) == (r, pair.position - 1)
        assert column >= len(drawn[r].tokens)
        assert batch.tokens[r, column] == pair.rejected
        assert batch.tokens[r, pair.position] == pair.chosen
        assert batch.window.positions[r, column] == pair.position
        seen = batch.window.mask[r, column].nonzero()[:, 0].tolist()
        assert seen == [*range(pair.position), column]
    for r, row in enumerate(drawn):
        for t in range(len(row.tokens)):
            assert batch.window.positions[r, t] == t
            assert batch.window.mask[r, t].nonzero()[:, 0].tolist() == [*range(t + 1)]
    assert batch.window.mask.any(dim=-1).all(), "a query that sees nothing would be NaN"


def test_weights_are_the_gaps_and_an_unmeasured_reference_counts_as_right() -> None:
    tokens = (1, 2, 3, 4)
    pairs = (Pair(1, 2, 9, 0.75, 0.25), Pair(2, 3, 8, None, 0.25), Pair(3, 4, 7, 0.25, 0.5))
    row = PairRow(tokens, pairs)
    assert pack([row], "gap").weights.tolist() == [0.5, 0.75, 0.0]
    assert pack([row], "equal").weights.tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(UserError, match="qualities"):
        pack([PairRow(tokens, (Pair(1, 2, 9),))], "gap")


def test_weights_scale_the_loss(verifier: TokenVerifier) -> None:
    heavy = PairRow((1, 2, 3), (Pair(1, 2, 9, 1.0, 0.0),))
    light = PairRow((1, 2, 3), (Pair(1, 2, 9, 0.5, 0.25),))
    whole, quarter = (verifier_loss(verifier, pack([row], "gap")) for row in (heavy, light))
    assert quarter.item() == pytest.approx(whole.item() / 4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_fresh_verifier_has_no_opinion(
    layout: Layout, make_model: Callable[[int], LanguageModel]
) -> None:
    fresh = TokenVerifier(make_model(0), layout, 1)
    row = PairRow((1, 2, 3, 4), (Pair(1, 2, 9), Pair(3, 4, 5)))
    accuracy, loss = pair_accuracy(fresh, [row, PairRow((1, 2), ())])
    assert accuracy == pytest.approx(0.5)
    assert loss == pytest.approx(0.6931, abs=1e-4)


def test_rows_without_pairs_are_left_out_and_none_at_all_is_refused() -> None:
    bare, useful = PairRow((1, 2, 3), ()), PairRow((1, 2, 3), (Pair(1, 2, 9),))
    batches, per_epoch = pair_batches([bare, useful, bare], max_tokens=100, seed=0)
    assert per_epoch == 1
    assert batches(0)[0].tokens.shape == (1, 4)
    with pytest.raises(UserError, match="no pair to train on"):
        pair_batches([bare], max_tokens=100, seed=0)
    with pytest.raises(UserError, match="no pair to measure"):
        pair_accuracy(spread("shared"), [bare])
