"""Generative verifiers: Yes against No by definition, checks averaged, nothing overfull."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from system2.core import Problem, ScoreRequest, Tokens, UserError
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel, ModelConfig
from system2.engine.tokenizer import Tokenizer, load_tokenizer
from system2.verify.generative import MARK, QUESTION, GenerativeVerifier, Judging, Verdicts
from system2.verify.neighbours import Solved
from tests.toys import spread_model

PROBLEM = Problem("p", "Tom has 3 + 4 apples.", "7", "word_problems")
OTHER = Problem("q", "Tom has 5 + 1 apples.", "6", "word_problems")
SOLVED = (
    Solved("a", "Tom has 1 + 2 apples.", "1 + 2 = 3"),
    Solved("b", "So 6 - 5 is 1.", "1"),
)


@pytest.fixture(scope="module")
def model(small_tokenizer: Tokenizer) -> LanguageModel:
    """A model that says neither Yes nor No for sure."""
    return spread_model(ModelConfig(small_tokenizer.vocab_size, 16, 2, 4, 2, 4, 32), seed=0)


def requests_of(tokenizer: Tokenizer, *texts: str) -> list[ScoreRequest]:
    """Return one request a problem, with the texts as its attempts."""
    return [
        ScoreRequest(p, tuple(tokenizer.prompt(p.prompt) + tokenizer.encode(t) for t in texts))
        for p in (PROBLEM, OTHER)
    ]


def yes_against_no(model: LanguageModel, tokens: Tokens, yes: int, no: int) -> float:
    """Return p(yes) / (p(yes) + p(no)) of the next token, by definition."""
    with torch.inference_mode():
        p = model(torch.tensor([tokens]))[0, -1].double().softmax(-1)
    return float(p[yes] / (p[yes] + p[no]))


def test_a_value_is_the_probability_of_yes_against_no(
    model: LanguageModel, small_tokenizer: Tokenizer
) -> None:
    verifier = GenerativeVerifier(model, small_tokenizer)
    yes, no = (small_tokenizer.encode(word)[0] for word in ("Yes", "No"))
    asked = requests_of(small_tokenizer, "3 + 4 = 7", "", "So")
    for request, values in zip(asked, verifier.score(asked), strict=True):
        for text, value in zip(("3 + 4 = 7", "", "So"), values, strict=True):
            shown = f"Problem:\n{request.problem.prompt}\nSolution:\n{text}\n\n{QUESTION}"
            tokens = small_tokenizer.prompt(shown)
            assert value == pytest.approx(yes_against_no(model, tokens, yes, no), abs=1e-5)
            assert 0 <= value <= 1


@given(texts=st.lists(st.sampled_from(["3 + 4 = 7", "So", "", "is 3.\n"]), max_size=5))
@settings(max_examples=10)
def test_a_value_does_not_depend_on_the_batch(
    texts: list[str], model: LanguageModel, small_tokenizer: Tokenizer
) -> None:
    verifier = GenerativeVerifier(model, small_tokenizer)
    asked = requests_of(small_tokenizer, *texts)
    for request, values in zip(asked, verifier.score(asked), strict=True):
        alone = [verifier.score([replace(request, prefixes=(p,))])[0][0] for p in request.prefixes]
        assert values == pytest.approx(alone, abs=1e-6)


def test_checks_are_written_and_their_verdicts_averaged(
    model: LanguageModel, small_tokenizer: Tokenizer
) -> None:
    judging = Judging(chains=3, chain_tokens=8, seed=4)
    verifier = GenerativeVerifier(model, small_tokenizer, judging)
    asked = requests_of(small_tokenizer, "3 + 4 = 7", "So")
    values = verifier.score(asked)
    assert values == verifier.score(asked)
    alone = verifier.score([replace(asked[1], prefixes=asked[1].prefixes[1:])])
    assert values[1][1] == pytest.approx(alone[0][0], abs=1e-6)
    assert all(0 < value < 1 for row in values for value in row)
    other = GenerativeVerifier(model, small_tokenizer, replace(judging, seed=5))
    assert other.score(asked) != values


def test_a_check_is_cut_at_its_verdict_and_read_after_the_mark(
    model: LanguageModel, small_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = GenerativeVerifier(model, small_tokenizer, Judging(chains=2, chain_tokens=40))
    seen: list[Tokens] = []

    def read(prompts: list[Tokens], verdicts: Verdicts) -> list[float]:
        assert verdicts == verifier.conclusion
        seen.extend(prompts)
        return [0.25, 0.75]

    written = iter([f"3 + 4 is 7.\n{MARK} Yes", "3 + 4"])

    def check(self: LocalPolicy, requests: list[object]) -> list[object]:
        from system2.core import Completion

        texts = [small_tokenizer.encode(next(written)) for _ in range(2)]
        return [[[Completion(t, (0.0,) * len(t), "stop") for t in texts]] for _ in requests]

    monkeypatch.setattr(LocalPolicy, "sample", check)
    monkeypatch.setattr(verifier, "probabilities", read)
    ((value,),) = verifier.score(requests_of(small_tokenizer, "3 + 4 = 7")[:1])
    assert value == 0.5
    question = verifier.question(PROBLEM, "3 + 4 = 7")
    assert [small_tokenizer.decode(s[len(question) :]) for s in seen] == [
        f"3 + 4 is 7.\n{MARK}",
        f"3 + 4\n{MARK}",
    ]


def test_the_most_alike_solved_problem_is_shown_last(
    model: LanguageModel, small_tokenizer: Tokenizer
) -> None:
    verifier = GenerativeVerifier(model, small_tokenizer, Judging(neighbours=2), SOLVED)
    (shown,) = verifier.index.nearest([PROBLEM], 2)
    assert [one.id for one in shown] == ["a", "b"]
    text = small_tokenizer.decode(verifier.question(PROBLEM, "So", shown))
    places = [text.index(part) for part in (SOLVED[1].prompt, SOLVED[0].prompt, PROBLEM.prompt)]
    assert places == sorted(places)
    plain = GenerativeVerifier(model, small_tokenizer)
    asked = requests_of(small_tokenizer, "3 + 4 = 7")
    assert verifier.score(asked) != plain.score(asked)


def test_what_does_not_fit_is_left_out(small_tokenizer: Tokenizer) -> None:
    def verifier_of(room: int) -> GenerativeVerifier:
        shape = ModelConfig(small_tokenizer.vocab_size, 16, 1, 4, 2, 4, 32, max_positions=room)
        return GenerativeVerifier(
            LanguageModel(shape), small_tokenizer, Judging(neighbours=2), SOLVED
        )

    wide = verifier_of(2000)
    attempt = "3 + 4 = 5, " * 20 + "So the answer is 7."
    whole = wide.question(PROBLEM, attempt, SOLVED)
    without = wide.question(PROBLEM, attempt)
    bare = wide.question(PROBLEM, "")
    assert verifier_of(len(whole) + 1).question(PROBLEM, attempt, SOLVED) == whole
    assert verifier_of(len(without) + 1).question(PROBLEM, attempt, SOLVED) == without
    cut = small_tokenizer.decode(verifier_of(len(bare) + 20).question(PROBLEM, attempt, SOLVED))
    assert PROBLEM.prompt in cut
    assert "So the answer is 7." in cut
    assert attempt not in cut
    for room in range(len(bare) + 1, len(whole), 7):
        tokens = verifier_of(room).question(PROBLEM, attempt, SOLVED)
        assert len(tokens) < room
    with pytest.raises(UserError, match="problem p: judging it takes"):
        verifier_of(len(bare) - 1).question(PROBLEM, attempt, SOLVED)


def test_checks_have_room_in_a_short_context(small_tokenizer: Tokenizer) -> None:
    shape = ModelConfig(small_tokenizer.vocab_size, 16, 1, 4, 2, 4, 32, max_positions=200)
    model = spread_model(shape, seed=0)
    verifier = GenerativeVerifier(model, small_tokenizer, Judging(chains=2, chain_tokens=10_000))
    values = verifier.score(requests_of(small_tokenizer, "3 + 4 = 7, " * 15))
    assert all(0 <= value <= 1 for row in values for value in row)


def test_a_reply_after_a_word_begins_with_a_space(
    small_tokenizer: Tokenizer, model: LanguageModel, tmp_path: Path
) -> None:
    template = "{% for m in messages %}{{ m['content'] }}{% endfor %} Answer:"
    worded = load_tokenizer(small_tokenizer.folder, chat_template=template)
    assert GenerativeVerifier(model, worded).reply.lead == worded.encode(" ")
    assert GenerativeVerifier(model, small_tokenizer).reply.lead == ()
    reply = GenerativeVerifier(model, worded).reply
    assert worded.token_text(reply.yes) == "Y"
    assert worded.token_text(reply.no) == "N"


@pytest.mark.parametrize(
    ("dials", "named"),
    [
        ({"chains": -1}, "chains is -1"),
        ({"chain_tokens": 0}, "chain_tokens is 0"),
        ({"neighbours": -2}, "neighbours is -2"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"embedding": "bert"}, "no embedding 'bert'"),
    ],
)
def test_dials_out_of_range_are_refused(
    dials: dict[str, int], named: str, model: LanguageModel, small_tokenizer: Tokenizer
) -> None:
    with pytest.raises(UserError, match=named):
        GenerativeVerifier(model, small_tokenizer, Judging(**dials))  # pyright: ignore[reportArgumentType]
