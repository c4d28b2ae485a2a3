"""LLM2's data format: the published row, the round trip, and what is refused."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from system2.core import UserError
from system2.engine.tiktoken_file import write_llama3_tokenizer
from system2.engine.tokenizer import Tokenizer, load_tokenizer
from system2.synthesise.pairs import Pair, PairRow, parse_row, read_pairs, write_row

Row = dict[str, Any]
ANSWER_START = 48


@pytest.fixture(scope="module")
def llama3(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Llama 3's real tokenizer, from the file that the package llama-models carries."""
    package = find_spec("llama_models")
    assert package is not None, "the test extra installs llama-models"
    assert package.origin is not None
    folder = tmp_path_factory.mktemp("llama3") / "tokenizer"
    write_llama3_tokenizer(Path(package.origin).parent / "llama3" / "tokenizer.model", folder)
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def published(shared_data: Path) -> Path:
    return shared_data / "llm2" / "readme_example.jsonl"


@pytest.fixture
def published_row(published: Path) -> Row:
    return json.loads(published.read_text())


def write_file(path: Path, rows: list[Row]) -> Path:
    _ = path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_published_row_matches_at_every_position(
    published: Path, published_row: Row, llama3: Tokenizer
) -> None:
    (row,) = read_pairs(published, llama3)
    assert len(row.tokens) == 90
    assert len(llama3.prompt(published_row["messages"][0]["content"])) == ANSWER_START
    samples = published_row["samples"]
    assert len(samples) == 28
    assert [row.tokens[position] for position, _, _ in samples] == [s[1] for s in samples]
    assert {(p.position, p.chosen, p.rejected) for p in row.pairs} == set(map(tuple, samples))
    assert len(row.pairs) == len(set(map(tuple, samples))) < len(samples)
    assert min(pair.position for pair in row.pairs) > ANSWER_START


def test_the_published_row_is_written_as_it_was(
    published: Path, published_row: Row, llama3: Tokenizer
) -> None:
    """Less the duplicates: byte for byte, so that other readers take it."""
    (row,) = read_pairs(published, llama3)
    merged = sorted(
        {tuple(sample) for sample in published_row["samples"]}, key=lambda s: (s[0], s[2])
    )
    expected = {**published_row, "samples": [list(sample) for sample in merged]}
    assert json.dumps(write_row(published_row["messages"], row.pairs)) == json.dumps(expected)


@pytest.mark.parametrize("sample", range(28))
@pytest.mark.parametrize("corrupted", ["position", "reference"])
def test_a_corrupted_sample_is_refused_by_name(
    sample: int, corrupted: str, published_row: Row, llama3: Tokenizer, tmp_path: Path
) -> None:
    place = ("position", "reference").index(corrupted)
    samples = published_row["samples"]
    while True:  # a shifted position may hold the same token
        samples[sample][place] += 1
        if llama3.render(published_row["messages"])[samples[sample][0]] != samples[sample][1]:
            break
    good = {"messages": published_row["messages"], "samples": []}
    path = write_file(tmp_path / "pairs.jsonl", [good, published_row])
    with pytest.raises(UserError, match=rf"row 2: position {samples[sample][0]} holds") as caught:
        _ = list(read_pairs(path, llama3))
    assert str(path) in str(caught.value)
    assert f"the row says {samples[sample][1]}" in str(caught.value)


def test_another_tokenizers_row_is_refused(published: Path, small_tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"row 1: position \d+ (holds token|lies outside)"):
        _ = list(read_pairs(published, small_tokenizer))


MESSAGES = [
    {"role": "user", "content": "Tom has 3 apples. How many?"},
    {"role": "assistant", "content": "3 + 5 = 8. So the answer is 8."},
]


def sample_of(position: int, tokenizer: Tokenizer) -> list[int]:
    tokens = tokenizer.render(MESSAGES)
    return [position, tokens[position], (tokens[position] + 1) % tokenizer.vocab_size]


CORRUPTIONS: dict[str, tuple[Callable[[Row], None], str]] = {
    "no messages": (lambda row: row.pop("messages"), "'messages' is missing"),
    "empty messages": (lambda row: row.update(messages=[]), "'messages' is missing or empty"),
    "a message without text": (
        lambda row: row.update(messages=[{"role": "user", "content": None}]),
        "needs the texts 'role' and 'content'",
    ),
    "no samples": (lambda row: row.pop("samples"), "'samples' is missing"),
    "a pair, no triple": (lambda row: row["samples"].append([9, 9]), r"sample \[9, 9\] is not"),
    "a text": (lambda row: row["samples"].append(["9", 1, 2]), r"sample \['9', 1, 2\] is not"),
    "a fraction": (lambda row: row["samples"].append([9.0, 1, 2]), r"sample \[9.0, 1, 2\] is not"),
    "a truth": (lambda row: row["samples"].append([True, 1, 2]), r"sample \[True, 1, 2\] is not"),
    "beyond the end": (lambda row: row["samples"].append([999, 1, 2]), "position 999 lies outside"),
    "before the start": (lambda row: row["samples"].append([-1, 1, 2]), "position -1 lies outside"),
    "without a prefix": (lambda row: row["samples"].append([0, 1, 2]), "position 0 lies outside"),
    "no such token": (
        lambda row: row["samples"][0].__setitem__(2, 10**6),
        "position 9: negative 1000000 is no token",
    ),
    "negative token": (
        lambda row: row["samples"][0].__setitem__(2, -1),
        "position 9: negative -1 is no token",
    ),
    "its own negative": (
        lambda row: row["samples"][0].__setitem__(2, row["samples"][0][1]),
        "position 9: token [0-9]+ is its own negative",
    ),
    "qualities of others": (
        lambda row: row.update(qualities=[[1.0, 0.0]]),
        "'qualities' does not match 'samples'",
    ),
    "a quality of text": (
        lambda row: row.update(qualities=[["good", "bad"]] * len(row["samples"])),
        "is not two numbers or nulls",
    ),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_malformed_row_is_refused_by_number(
    name: str, small_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    corrupt, message = CORRUPTIONS[name]
    samples = [sample_of(9, small_tokenizer), sample_of(12, small_tokenizer)]
    row: Row = {"messages": MESSAGES, "samples": samples}
    assert len(parse_row(row, small_tokenizer, "it").pairs) == 2
    whole = json.loads(json.dumps(row))
    corrupt(row)
    path = write_file(tmp_path / "pairs.jsonl", [whole, whole, row])
    with pytest.raises(UserError, match=rf"row 3: .*{message}"):
        _ = list(read_pairs(path, small_tokenizer))


def test_a_broken_line_is_refused_by_number(small_tokenizer: Tokenizer, tmp_path: Path) -> None:
    row = {"messages": MESSAGES, "samples": [sample_of(9, small_tokenizer)]}
    path = write_file(tmp_path / "pairs.jsonl", [row, row])
    whole = path.read_bytes()
    _ = path.write_bytes(whole[:-10])
    with pytest.raises(UserError, match="line 2: not JSON"):
        _ = list(read_pairs(path, small_tokenizer))


QUALITY = st.none() | st.integers(0, 8).map(lambda right: right / 8)
TEXT = st.text(max_size=30) | st.sampled_from(["Tom has 3 apples.\n", "So the answer is 3."])


@st.composite
def rows(draw: st.DrawFn, tokenizer: Tokenizer) -> tuple[list[dict[str, str]], PairRow]:
    """A conversation and pairs along it, none twice, in order."""
    messages = [
        {"role": "user", "content": draw(TEXT)},
        {"role": "assistant", "content": draw(TEXT)},
    ]
    tokens = tokenizer.render(messages)
    places = st.tuples(
        st.integers(1, len(tokens) - 1), st.integers(0, tokenizer.vocab_size - 1), QUALITY, QUALITY
    )
    drawn = draw(st.lists(places, max_size=8, unique_by=lambda place: place[:2]))
    pairs = [Pair(p, tokens[p], v, q, r) for p, v, q, r in drawn if v != tokens[p]]
    if all(pair.rejected_quality is None for pair in pairs):  # then qualities are not written
        pairs = [Pair(pair.position, pair.chosen, pair.rejected) for pair in pairs]
    pairs.sort(key=lambda pair: (pair.position, pair.rejected))
    return messages, PairRow(tokens, tuple(pairs))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_what_is_written_is_read(
    data: st.DataObject, small_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    drawn = data.draw(st.lists(rows(small_tokenizer), max_size=4))
    file_rows = [write_row(messages, row.pairs) for messages, row in drawn]
    path = write_file(tmp_path / "pairs.jsonl", file_rows)
    assert list(read_pairs(path, small_tokenizer)) == [row for _, row in drawn]


@given(data=st.data())
def test_duplicates_and_order_change_nothing(
    data: st.DataObject, small_tokenizer: Tokenizer
) -> None:
    messages, row = data.draw(rows(small_tokenizer))
    samples = [[p.position, p.chosen, p.rejected] for p in row.pairs]
    shuffled = data.draw(st.permutations(samples + samples))
    parsed = parse_row({"messages": messages, "samples": shuffled}, small_tokenizer, "it")
    assert [[p.position, p.chosen, p.rejected] for p in parsed.pairs] == samples
