"""What all tests share: real data where it lies, one thread for torch, no network."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from system2.engine.tokenizer import Tokenizer

# Set before anything imports torch: small batches run slower on more threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real public data: $SYSTEM2_DATA, else `../shared/data` beside the checkout."""
    folder = Path(os.environ.get("SYSTEM2_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data is needed: {folder} is absent (set SYSTEM2_DATA)")
    return folder


@pytest.fixture(scope="session")
def small_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> "Tokenizer":
    """A real tokenizer of a few hundred tokens, with a chat template."""
    from system2.engine.tokenizer import load_tokenizer
    from system2.train.words import word_vocabulary, write_word_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    texts = ["Tom has 3 apples. So the answer is 3.\n(4 + 5) * 2 / 3 - 1 = 5, 6"]
    write_word_tokenizer(folder, word_vocabulary(texts, max_number=20, max_bare_number=9))
    return load_tokenizer(folder)
