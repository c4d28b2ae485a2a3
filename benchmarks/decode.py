"""Sampling, ours beside `transformers` generate: same weights, same tokens, in turns in one run.

    python benchmarks/decode.py [--rounds 7] [--shape 1m|5m] [--json]

Both draw at temperature 1 on one thread, to the same number of tokens; a ratio above 1 means that
ours takes less processor time for them. `sample_batchN`: N prompts of 32 tokens, 64 new each.
`sample_ragged`: 192 prompts, lengths drawn from an exponential distribution with mean 32, 64 rows
at a time (generate computes a batch to its longest row). `prefix_64x128`: 64 completions of 16
tokens of one prompt of 128. The policy is `tiny`, or random weights of a shape.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from system2.core import SampleRequest, SamplingParams, Tokens
from system2.engine.embedded import EMBEDDED
from system2.engine.local import LocalPolicy, load_policy
from system2.engine.native import library
from system2.train.random_weights import SHAPES, random_policy

PROMPT, NEW = 32, 64
RAGGED, MEAN, LONGEST, ROWS = 192, 32, 192, 64
Run = Callable[[], Any]


def endless(name: str) -> LocalPolicy:
    """Load a policy for which the end token is only a token; it remembers nothing."""
    policy = load_policy(name)
    return replace(policy, tokenizer=replace(policy.tokenizer, eos=frozenset()), cache_bytes=0)


def prompts(count: int, length: int, vocab: int) -> list[Tokens]:
    """Return prompts of random tokens."""
    rng = random.Random(f"{count} {length}")
    return [tuple(rng.randrange(3, vocab) for _ in range(length)) for _ in range(count)]


def generator(theirs: Any, texts: Sequence[Tokens], tokens: int, draws: int = 1) -> Run:
    """Return a call of generate."""
    from transformers import GenerationConfig

    how = GenerationConfig(
        max_new_tokens=tokens, pad_token_id=0, do_sample=True, top_k=0, num_return_sequences=draws
    )
    ids = torch.tensor(texts)

    def run() -> Any:
        theirs.generation_config = how  # the checkpoint's own would end rows early
        return theirs.generate(ids, attention_mask=torch.ones_like(ids), generation_config=how)

    return run


def sampler(
    policy: LocalPolicy, texts: Sequence[Tokens], tokens: Sequence[int], draws: int = 1
) -> Run:
    """Return a call of ours; `tokens` for each text."""
    requests = [
        SampleRequest((text,), draws, SamplingParams(count), seed=i)
        for i, (text, count) in enumerate(zip(texts, tokens, strict=True))
    ]
    return lambda: policy.sample(requests)


def cases(policy: LocalPolicy, theirs: Any) -> dict[str, tuple[Run, Run, int]]:
    """Return by name our run, theirs, and the number of tokens that both draw."""
    vocab = policy.model.config.vocab_size
    found: dict[str, tuple[Run, Run, int]] = {}
    for batch in (1, 16, 64):
        texts = prompts(batch, PROMPT, vocab)
        ours = sampler(policy, texts, [NEW] * batch)
        found[f"sample_batch{batch}"] = (ours, generator(theirs, texts, NEW), batch * NEW)
    texts, rng = prompts(RAGGED, PROMPT, vocab), random.Random(1)
    lengths = [min(LONGEST, 1 + int(rng.expovariate(1 / MEAN))) for _ in texts]
    starts = range(0, RAGGED, ROWS)
    parts = [generator(theirs, texts[i : i + ROWS], max(lengths[i : i + ROWS])) for i in starts]
    found["sample_ragged"] = (
        sampler(policy, texts, lengths),
        lambda: [run() for run in parts],
        sum(lengths),
    )
    texts = prompts(1, 128, vocab)
    ours = sampler(policy, texts, [16], draws=64)
    found["prefix_64x128"] = (ours, generator(theirs, texts, 16, draws=64), 64 * 16)
    return found


def seconds(run: Run) -> float:
    """Return the processor time of a run."""
    started = time.process_time()
    run()
    return time.process_time() - started


def measured(ours: Run, theirs: Run, rounds: int) -> tuple[float, list[float], list[float]]:
    """Return the median ratio of their time to ours, and the times of both."""
    runs, times = (ours, theirs), ([], [])
    for number in range(rounds + 1):  # the first round warms both up
        for which in (0, 1) if number % 2 else (1, 0):
            taken = seconds(runs[which])
            if number:
                times[which].append(taken)
    ratio = statistics.median(b / a for a, b in zip(*times, strict=True))
    return ratio, *times


def products_s(policy: LocalPolicy, rows: int, rounds: int) -> float:
    """Return the time of a step's products alone: what no engine can do without."""
    model, config = policy.model, policy.model.config
    weights = [w for w in model.parameters() if w.ndim > 1]
    if not config.has_tied_head:
        weights = [w for w in weights if w is not model.model.embed_tokens.weight]
    inputs = [torch.randn(rows, w.shape[1]) for w in weights]

    def multiply() -> None:
        for x, w in zip(inputs, weights, strict=True):
            _ = functional.linear(x, w)

    with torch.inference_mode():
        return statistics.median(seconds(multiply) for _ in range(20 * rounds))


def main() -> None:
    """Run the benchmark and print a table and one JSON line."""
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--shape", choices=SHAPES, help="random weights of this shape")
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    disable_progress_bar()
    with tempfile.TemporaryDirectory() as temporary:
        is_shipped = not arguments.shape and (EMBEDDED["tiny"] / "config.json").is_file()
        if not is_shipped:
            random_policy(Path(temporary), arguments.shape or "1m")
        policy = endless("tiny" if is_shipped else temporary)
        folder = policy.tokenizer.folder
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        rows: dict[str, dict[str, float]] = {}
        for name, (ours, other, tokens) in cases(policy, theirs).items():
            ratio, mine, its = measured(ours, other, arguments.rounds)
            rates = {
                "ours": tokens / statistics.median(mine),
                "theirs": tokens / statistics.median(its),
            }
            rows[name] = {"ratio": ratio, **rates}
            if not arguments.json:
                both = f"{rates['ours']:>10.0f}{rates['theirs']:>10.0f}"
                print(f"{name:<16}{both} tokens/s{ratio:>8.2f}")
        floors = {n: 1e3 * products_s(policy, n, arguments.rounds) for n in (1, 16, 64)}
    if not arguments.json:
        for n, floor in floors.items():
            step = 1e3 * n / rows[f"sample_batch{n}"]["ours"]
            print(f"a step of {n} rows takes {step:.2f} ms, its products alone {floor:.2f} ms")
    line = {
        "benchmark": "decode",
        "ratios": {name: round(row["ratio"], 2) for name, row in rows.items()},
        "tokens_per_s": rows,
        "products_ms_per_step": floors,
        "policy": "tiny" if is_shipped else f"random weights, {arguments.shape or '1m'}",
        "native": library() is not None,
        "transformers": version("transformers"),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
