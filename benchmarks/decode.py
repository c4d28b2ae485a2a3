"""Decode plainly, ours beside transformers, and what a verified step costs; same run, in turns.

    python benchmarks/decode.py [--tokens 48] [--rounds 9] [--json]

Both decode the same weights (`tiny`, or random ones of its shape where it is absent) on one
thread, to the same number of tokens; a plain ratio above 1 means that ours takes less processor
time. `cost_...` is the time of a guided step over that of a plain one, 16 rows at a time.
Verifiers are the ones shipped with `tiny`, or untrained ones, which cost the same.
"""

import argparse
import json
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from system2.core import SampleRequest, SamplingParams, Tokens
from system2.engine.embedded import EMBEDDED, EMBEDDED_VERIFIERS
from system2.engine.local import LocalPolicy, load_policy
from system2.engine.model import LanguageModel, ModelConfig
from system2.engine.sampling import plausible
from system2.engine.weights import save_model
from system2.evaluate.cost import step_costs
from system2.tasks import find_task
from system2.train.words import word_vocabulary, write_word_tokenizer
from system2.verify.folders import load_verifier
from system2.verify.token import LAYOUTS, PlausibleGuide, TokenVerifier, VerifierGuide

ROWS, DRAWS = 16, 20
ALPHA, BETA = 0.1, 0.25
SHAPE = ModelConfig(1755, 128, 4, 4, 2, 32, 320, max_positions=512)
LOGIT_SPREAD = 16.0
"""Standard deviation of the random policy's logits: it is about as certain as a trained one."""


def random_policy(folder: Path) -> None:
    """Write a checkpoint of `tiny`'s shape with random weights, whose prompts may be any tokens."""
    model = LanguageModel(SHAPE)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                scale = LOGIT_SPREAD if "embed" in name else 3.0
                weight.normal_(0, scale / math.sqrt(weight.shape[1]), generator=generator)
    write_word_tokenizer(folder, word_vocabulary([], max_number=99, max_bare_number=9))
    save_model(folder, model, folder)


def prompts_of(policy: LocalPolicy) -> list[Tokens]:
    """Return prompts of word problems; of random tokens where the policy knows no words."""
    if "tiny" in str(policy.tokenizer.folder):
        problems = islice(find_task("word_problems").problems("test", 0), ROWS)
        return [policy.tokenizer.prompt(problem.prompt) for problem in problems]
    rng = random.Random(0)
    lengths = [rng.randint(60, 90) for _ in range(ROWS)]
    return [tuple(rng.randrange(SHAPE.vocab_size) for _ in range(n)) for n in lengths]


def seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    """Return the processor time of a run, and its result."""
    started = time.process_time()
    result = run()
    return time.process_time() - started, result


def beside_transformers(
    policy: LocalPolicy, prompts: list[Tokens], tokens: int, draws: int, rounds: int
) -> dict[str, float]:
    """Return tokens a second of both, and the ratio of their times: the median over rounds.

    One draw is greedy, and both must choose the same tokens; more are drawn at temperature 1.
    """
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    theirs = AutoModelForCausalLM.from_pretrained(policy.tokenizer.folder, dtype=torch.float32)
    width = max(map(len, prompts))
    padded = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts])
    real = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    drawn = {"do_sample": True, "top_k": 0, "num_return_sequences": draws} if draws > 1 else {}
    how = GenerationConfig(max_new_tokens=tokens, pad_token_id=0, **drawn)
    theirs.generation_config = how  # the checkpoint's own would end rows early
    params = SamplingParams(tokens, 1.0 if draws > 1 else 0.0)
    request = SampleRequest(tuple(prompts), draws, params, seed=0)
    runs: dict[str, Callable[[], Any]] = {
        "ours": lambda: policy.sample([request])[0],
        "theirs": lambda: theirs.generate(padded, attention_mask=real, generation_config=how),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    found: dict[str, Any] = {}
    for number in range(rounds + 1):  # the first round warms both up
        for name in sorted(runs, reverse=number % 2 == 0):
            took, found[name] = seconds(runs[name])
            times[name].append(took)
    if draws == 1:
        chosen = [list(row[0].tokens) for row in found["ours"]]
        others = found["theirs"][:, width:].tolist()
        same = sum(mine == other for mine, other in zip(chosen, others, strict=True))
        if same < 0.9 * len(prompts):
            raise SystemExit(f"only {same} of {len(prompts)} rows are alike: no fair comparison")
    ratios = [b / a for a, b in zip(times["ours"][1:], times["theirs"][1:], strict=True)]
    made = len(prompts) * draws * tokens
    rates = {name: made / statistics.median(taken[1:]) for name, taken in times.items()}
    return {"ratio": statistics.median(ratios), **rates}


def floor(policy: LocalPolicy, context: int, rounds: int) -> dict[str, float]:
    """Return what a plain step of 16 rows cannot do without, and the time of its products alone."""
    config = policy.model.config
    weights = {id(w): w for w in policy.model.parameters() if w.ndim > 1}
    products = [*weights.values()]
    if not config.has_tied_head:
        products.remove(policy.model.model.embed_tokens.weight)
    inputs = [torch.randn(ROWS, weight.shape[1]) for weight in products]
    keys = 2 * config.num_layers * config.num_kv_heads * config.head_dim * context

    def multiply() -> None:
        for x, weight in zip(inputs, products, strict=True):
            _ = functional.linear(x, weight)

    with torch.inference_mode():
        taken = [seconds(multiply)[0] for _ in range(20 * rounds)]
    attention = 4 * config.num_layers * config.num_heads * config.head_dim * context
    return {
        "flops_per_token": 2 * sum(weight.numel() for weight in products) + attention,
        "weight_bytes_per_step": 4 * sum(weight.numel() for weight in products),
        "key_value_bytes_per_token": 4 * keys,
        "products_ms_per_step": 1e3 * statistics.median(taken),
    }


def guided(policy: LocalPolicy) -> dict[str, LocalPolicy]:
    """Return the policy under each guide, plain first."""
    policies = {"plain": policy, "plausible_only": replace(policy, guide=PlausibleGuide(ALPHA))}
    for layout in LAYOUTS:
        if EMBEDDED_VERIFIERS[f"tiny/{layout}"].is_dir():
            verifier, _ = load_verifier(f"tiny/{layout}", policy)
        else:
            verifier = TokenVerifier(policy.model, layout, num_adapted=1).eval()
        assert isinstance(verifier, TokenVerifier)
        policies[layout] = replace(policy, guide=VerifierGuide(verifier, ALPHA, BETA))
    return policies


@torch.inference_mode()
def num_candidates(policy: LocalPolicy, prompts: list[Tokens], tokens: int) -> float:
    """Return the mean size of the plausible set along completions drawn at temperature 1."""
    drawn = policy.sample([SampleRequest(tuple(prompts), 1, SamplingParams(tokens), seed=0)])[0]
    sizes: list[float] = []
    for prompt, (completion,) in zip(prompts, drawn, strict=True):
        logits = policy.model(torch.tensor([prompt + completion.tokens]))[0, len(prompt) - 1 : -1]
        sizes += plausible(logits, ALPHA).sum(dim=-1).tolist()
    return statistics.mean(sizes)


def print_tables(line: dict[str, Any]) -> None:
    """Print the result for people."""
    print(f"{'tokens/s':<22}{'ours':>9}{'transformers':>14}{'ratio':>8}")
    for name, row in line["tokens_per_s"].items():
        print(f"{name:<22}{row['ours']:>9.0f}{row['theirs']:>14.0f}{row['ratio']:>8.2f}")
    print(f"\na step relative to plain, {ROWS} rows ({line['candidates']:.2f} candidates a row)")
    for name, (low, high) in line["quartiles"].items():
        if name in line["ratios"]:
            print(f"{name:<22}{line['ratios'][name]:>9.2f}   quartiles {low:.2f} to {high:.2f}")
    print(
        f"\na plain step of {ROWS} rows takes {line['plain_step_ms']:.2f} ms; what it cannot avoid:"
    )
    for name, amount in line["floor"].items():
        print(f"  {name:<28}{amount:>14,.2f}")


def main() -> None:
    """Run the benchmark and print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=48, help="of each completion")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    arguments = parser.parse_args()
    tokens, rounds = arguments.tokens, arguments.rounds
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        is_shipped = (EMBEDDED["tiny"] / "config.json").is_file()
        if not is_shipped:
            random_policy(Path(temporary))
        loaded = load_policy("tiny" if is_shipped else temporary, max_rows=ROWS)
        # rows never end early: the end token is only a token here
        policy = replace(loaded, tokenizer=replace(loaded.tokenizer, eos=frozenset()))
        prompts = prompts_of(policy)
        many = replace(policy, max_rows=4 * DRAWS)
        speeds = {
            "plain_greedy": beside_transformers(policy, prompts, tokens, 1, rounds),
            "plain_20_draws": beside_transformers(many, prompts[:4], tokens, DRAWS, rounds),
        }
        costs = step_costs(guided(policy), prompts, tokens=tokens, rounds=rounds)
        least = floor(policy, round(statistics.mean(map(len, prompts)) + tokens / 2), rounds)
        size = num_candidates(policy, prompts, tokens)
    ratios = {name: round(row["ratio"], 2) for name, row in speeds.items()}
    ratios |= {f"cost_{name}": round(c.ratio, 3) for name, c in costs.items() if name != "plain"}
    line = {
        "benchmark": "decode",
        "ratios": ratios,
        "tokens_per_s": speeds,
        "quartiles": {f"cost_{name}": [cost.low, cost.high] for name, cost in costs.items()},
        "candidates": size,
        "plain_step_ms": 1e3 * ROWS / speeds["plain_greedy"]["ours"],
        "floor": least,
        "policy": "tiny" if is_shipped else "random weights",
        "transformers": version("transformers"),
    }
    if not arguments.json:
        print_tables(line)
    print(json.dumps(line))


if __name__ == "__main__":
    main()
