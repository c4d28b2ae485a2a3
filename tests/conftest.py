"""What all tests share: real data where it lies, one thread for torch, no network."""

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from system2.core import Problem
    from system2.engine.local import LocalPolicy
    from system2.engine.tokenizer import Tokenizer

# Set before anything imports torch: small batches run slower on more threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# A shared machine may pause for seconds in the middle of any test.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

# A shell that starts the tests in the background has them, and all that they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    _ = signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real public data: $SYSTEM2_DATA, else `../shared/data` beside the checkout."""
    folder = Path(os.environ.get("SYSTEM2_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data is needed: {folder} is absent (set SYSTEM2_DATA)")
    return folder


@pytest.fixture(params=["native", "torch", "static"])
def engine_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ways to run a small model's layers: by `layers.c`, by torch, and as a GPU's graphs do."""
    from system2.engine import graphs, native, step

    if request.param != "native":
        monkeypatch.setattr(native, "library", lambda: None)
        monkeypatch.setattr(step, "pays_graphs", lambda device: request.param == "static")
        monkeypatch.setattr(graphs, "COLUMNS", 24)  # so that rows outgrow a bucket
    elif native.library() is None:
        pytest.skip("layers.c was not built here: a C compiler is needed (pip install -e .)")
    return request.param


@pytest.fixture(scope="session")
def small_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> "Tokenizer":
    """A real tokenizer of a few hundred tokens, with a chat template."""
    from system2.engine.tokenizer import load_tokenizer
    from system2.train.words import word_vocabulary, write_word_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    texts = ["Tom has 3 apples. So the answer is 3.\n(4 + 5) * 2 / 3 - 1 = 5, 6"]
    write_word_tokenizer(folder, word_vocabulary(texts, max_number=20, max_bare_number=9))
    return load_tokenizer(folder)


@pytest.fixture(scope="session")
def sums() -> list["Problem"]:
    """Problems that a very small policy can half learn, in a random order."""
    import random

    from system2.core import Problem

    asked = [(a, b) for a in range(10) for b in range(10)]
    random.Random(0).shuffle(asked)
    return [
        Problem(
            id=f"{a}+{b}",
            prompt=f"Tom has {a} + {b} apples.",
            answer=str(a + b),
            task="word_problems",
            metadata={"solution": f"{a} + {b} = {a + b}. So the answer is {a + b}."},
        )
        for a, b in asked
    ]


@pytest.fixture(scope="session")
def toy_policy(
    sums: list["Problem"], small_tokenizer: "Tokenizer", tmp_path_factory: pytest.TempPathFactory
) -> "LocalPolicy":
    """A policy that has half learned sums: unsure, mostly to the point, often wrong.

    It is loaded from the checkpoint folder `toy_policy.tokenizer.folder`.
    """
    from system2.engine.local import load_policy
    from system2.engine.model import LanguageModel, ModelConfig, initialise
    from system2.engine.weights import save_model
    from system2.train.loop import FitConfig, fit
    from system2.train.losses import next_token_loss
    from system2.train.sft import example_batches, sft_examples

    model = LanguageModel(ModelConfig(small_tokenizer.vocab_size, 32, 2, 4, 2, 8, 64))
    initialise(model, 0)
    examples = sft_examples(small_tokenizer, sums[:80])
    batches, _ = example_batches(examples, small_tokenizer.pad, max_tokens=512, seed=0)
    for _ in fit(model, batches, next_token_loss, FitConfig(150, 1e-2)):
        pass
    folder = tmp_path_factory.mktemp("toy") / "policy"
    save_model(folder, model, small_tokenizer.folder)
    return load_policy(str(folder))
