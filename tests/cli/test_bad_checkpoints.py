"""Broken checkpoints on the command line: code 2, one line that names the fault, no file left."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from system2.cli.app import main
from system2.engine.model import LanguageModel, ModelConfig, initialise
from system2.engine.tokenizer import Tokenizer
from system2.engine.weights import save_model


@pytest.fixture
def checkpoint(tmp_path: Path, small_tokenizer: Tokenizer) -> Path:
    folder = tmp_path / "checkpoint"
    model = LanguageModel(ModelConfig(small_tokenizer.vocab_size, 16, 2, 4, 2, 4, 24))
    initialise(model, 0)
    save_model(folder, model, small_tokenizer.folder)
    return folder


def words(policy: str, out: Path) -> list[str]:
    return ["solve", "--task", "word_problems", "--n", "1", "--max-tokens", "4", "--policy", policy,
            "--out", str(out)]  # fmt: skip


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    _ = path.write_bytes(path.read_bytes()[:-100])


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def another_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    _ = (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 32}))


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (cut, "not a whole safetensors file"),
    "pickled": (pickled, "pytorch_model.bin is a pickle"),
    "another size": (another_size, "the configuration says"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is miss"),
    "no template": (lambda folder: (folder / "chat_template.jinja").unlink(), "no chat template"),
    "bad template": (
        lambda folder: (folder / "chat_template.jinja").write_text("{{ ''.__class__.x }}") and None,
        "the chat template fails",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_checkpoint_is_refused(
    name: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fault, message = FAULTS[name]
    out = tmp_path / "trees.jsonl"
    assert main(words(str(checkpoint), out)) == 0
    out.unlink()
    fault(checkpoint)
    _ = capsys.readouterr()
    assert main(words(str(checkpoint), out)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("system2: error: ")
    assert message in line
    assert str(checkpoint) in line
    assert not out.exists()


def test_names_of_nothing_in_a_process_of_its_own(tmp_path: Path) -> None:
    """The one line is all there is: no traceback, no library's warning."""
    out = tmp_path / "trees.jsonl"
    for policy in (str(tmp_path / "nowhere"), "hub:nobody/no-such-model"):
        done = subprocess.run(
            [sys.executable, "-m", "system2", *words(policy, out)],
            capture_output=True,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")},
        )
        assert done.returncode == 2
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert policy in line
        assert not out.exists()
