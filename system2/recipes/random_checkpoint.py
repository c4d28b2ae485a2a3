"""Make a checkpoint of random weights in a Llama 3's shape, with the real Llama 3 tokenizer.

To run what is meant for a large model, every step real, where there is no network or no room.
Run: python system2/recipes/random_checkpoint.py llama-3-small --out FOLDER
"""

import argparse
from pathlib import Path

from system2.engine.tiktoken_file import write_llama3_tokenizer
from system2.engine.weights import DTYPES, save_model
from system2.train.random_weights import SHAPES, random_model


def llama3_tokenizer_model() -> Path:
    """Return Llama 3's tokenizer file, from the package llama-models (extra `test`)."""
    import llama_models

    return Path(str(llama_models.__file__)).parent / "llama3" / "tokenizer.model"


def main() -> None:
    """Read the arguments and write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", choices=[name for name in SHAPES if name.startswith("llama")])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write_llama3_tokenizer(llama3_tokenizer_model(), arguments.out)
    config, dtype = SHAPES[arguments.shape], DTYPES[arguments.dtype]
    save_model(arguments.out, random_model(config, dtype, arguments.seed), arguments.out)


if __name__ == "__main__":
    main()
