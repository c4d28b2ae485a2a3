"""Settings are chosen by what validation problems say."""

from itertools import islice
from pathlib import Path

import pytest

from system2.core import UserError
from system2.engine.local import load_policy
from system2.evaluate.choose import choose_gate, choose_settings, within_one_error
from system2.tasks import find_task
from system2.verify.folders import load_verifier, save_verifier, write_settings
from system2.verify.token import TokenVerifier


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A verifier whose scores are all zero."""
    folder, policy = tmp_path_factory.mktemp("verifier") / "vocab", load_policy("tiny")
    verifier = TokenVerifier(policy.model, "vocab", 1)
    save_verifier(folder, verifier, policy.tokenizer, manifest={"made": "here"})
    return folder


def test_the_setting_that_serves_validation_best_is_chosen(tmp_path: Path, untrained: Path) -> None:
    problems = list(islice(find_task("word_problems").problems("validation", 0), 40))
    found = choose_settings(
        tmp_path / "attempts.jsonl",
        str(untrained),
        problems,
        alphas=(0.001, 1.0),
        betas=(2.0, 0.5),
        max_tokens=100,
    )
    scores: dict[str, float] = {}
    for row in found.rows:
        scores[row["method"]] = scores.get(row["method"], 0.0) + row["accuracy"]
    assert scores.keys() == {"0.001 0.5", "0.001 2.0", "1.0 0.5", "1.0 2.0"}
    # scores of zero: beta changes nothing, and alpha = 1 draws the likeliest token only
    assert scores["1.0 0.5"] == scores["1.0 2.0"] > scores["0.001 0.5"] == scores["0.001 2.0"]
    assert (found.alpha, found.beta) == (1.0, 0.5)


def test_nothing_to_choose_from_is_an_error(tmp_path: Path, untrained: Path) -> None:
    with pytest.raises(UserError, match="at least one alpha"):
        choose_settings(tmp_path / "attempts.jsonl", str(untrained), [], betas=())


def test_the_choice_is_written_beside_the_weights(untrained: Path) -> None:
    before = (untrained / "model.safetensors").read_bytes()
    write_settings(untrained, {"alpha": 0.2, "beta": 0.75}, {"validation": "rows"})
    assert (untrained / "model.safetensors").read_bytes() == before
    _, settings = load_verifier(str(untrained), load_policy("tiny"))
    assert settings == {"alpha": 0.2, "beta": 0.75}
    text = (untrained / "verifier.json").read_text()
    assert '"made": "here"' in text
    assert '"validation": "rows"' in text


def test_the_lowest_gate_that_costs_nothing_is_chosen(tmp_path: Path, untrained: Path) -> None:
    problems = list(islice(find_task("word_problems").problems("validation", 0), 20))
    path, gates = tmp_path / "attempts.jsonl", (0.3, 0.6)
    found = choose_gate(path, str(untrained), problems, gates=gates, samples=2, max_tokens=60)
    assert found.gate == 0.3  # scores of zero: asking or not is the same
    assert {row["method"] for row in found.rows} == {"0.3", "0.6", "1.0"}


def test_one_standard_error_is_that_of_the_mean() -> None:
    every = [1.0, 0.0] * 50  # mean 0.5, standard error 0.0503
    assert within_one_error([1.0] * 45 + [0.0] * 55, every)
    assert not within_one_error([1.0] * 44 + [None] * 56, every)
    assert within_one_error([1.0] * 100, every)
