"""What a GPU's decode step costs beside its floor: the bytes that it has to read.

    python benchmarks/gpu.py [--shape llama-3.2-1b] [--batch 256] [--tokens 128] [--json]

Random weights of a real shape, made on the device, in bfloat16. `batch1` and `batchN` draw at
temperature 1 from prompts of 32 tokens; `_by_kernel` is the same without graphs. A step's
time is that of `--tokens` new tokens less that of one, so prompts are left out. The floor is the
weights and the keys and values that a step reads, over the bandwidth of a large copy on the
device. `cost_LAYOUT` is a step under an untrained verifier of that layout (a quarter of the
layers adapted, alpha = 0.1) over a plain one, its floor the same ratio of bytes. The
median over rounds is printed. `--device cpu --shape 1m` tries the script where no GPU is.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from decode import prompts
from torch import Tensor

from system2.core import SampleRequest, SamplingParams
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel, ModelConfig
from system2.engine.tokenizer import Tokenizer, load_tokenizer
from system2.train.random_weights import SHAPES, random_model
from system2.train.words import word_vocabulary, write_word_tokenizer
from system2.verify.token import LAYOUTS, TokenVerifier, VerifierGuide

PROMPT = 32
ALPHA, BETA = 0.1, 0.25
COPY_BYTES = {"cuda": 4 << 30, "cpu": 64 << 20}


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of a step of `batch` rows, its floor, and tokens a second."""

    batch: int
    step_ms: float
    floor_ms: float
    tokens_per_s: float


def no_tokenizer() -> Tokenizer:
    """Return a tokenizer that ends nothing."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_word_tokenizer(folder, word_vocabulary([], max_number=99, max_bare_number=9))
        return replace(load_tokenizer(folder), eos=frozenset())


def wait(device: str) -> None:
    """Wait until the device has done what it was asked for."""
    if device == "cuda":
        torch.cuda.synchronize()


def bandwidth(device: str, rounds: int) -> float:
    """Return the bytes a second that a large copy reads and writes."""
    source = torch.zeros(COPY_BYTES[device], dtype=torch.uint8, device=device)
    target, times = torch.empty_like(source), list[float]()
    for _ in range(rounds + 1):
        wait(device)
        started = time.perf_counter()
        _ = target.copy_(source)
        wait(device)
        times.append(time.perf_counter() - started)
    return 2 * source.nbytes / statistics.median(times[1:])


def num_bytes(tensors: Sequence[Tensor]) -> int:
    """Return the bytes of tensors."""
    return sum(tensor.nbytes for tensor in tensors)


def read_bytes(model: LanguageModel, batch: int, length: float) -> float:
    """Return what a step reads: the weights, and keys and values of `length` places a row."""
    config = model.config
    weights = num_bytes(list(model.model.layers.parameters())) + model.lm_head.weight.nbytes
    place = 2 * config.num_layers * config.num_kv_heads * config.head_dim
    return weights + batch * length * place * model.lm_head.weight.element_size()


def step_s(policy: LocalPolicy, batch: int, tokens: int, rounds: int) -> float:
    """Return the seconds of a step of so many rows."""
    config, device = policy.model.config, policy.model.lm_head.weight.device.type
    policy = replace(policy, max_rows=batch)
    texts = tuple(prompts(batch, PROMPT, config.vocab_size))
    times: dict[int, list[float]] = {1: [], tokens: []}
    for number in range(rounds + 1):  # the first round warms up: graphs are captured
        for count, taken in times.items():
            request = SampleRequest(texts, 1, SamplingParams(count), seed=number)
            wait(device)
            started = time.perf_counter()
            _ = policy.sample([request])
            wait(device)
            taken.append(time.perf_counter() - started)
    first, all_of_them = (statistics.median(taken[1:]) for taken in times.values())
    return (all_of_them - first) / (tokens - 1)


def plain_costs(policy: LocalPolicy, arguments: argparse.Namespace) -> dict[str, Cost]:
    """Return by name what plain steps cost, as graphs and kernel by kernel."""
    speed = bandwidth(arguments.device, arguments.rounds)
    costs: dict[str, Cost] = {}
    for batch in dict.fromkeys((1, arguments.batch)):
        read = read_bytes(policy.model, batch, PROMPT + arguments.tokens / 2)
        for suffix, has_graphs in (("", True), ("_by_kernel", False)):
            how = replace(policy, has_graphs=has_graphs)
            taken = step_s(how, batch, arguments.tokens, arguments.rounds)
            costs[f"batch{batch}{suffix}"] = Cost(
                batch, 1e3 * taken, 1e3 * read / speed, batch / taken
            )
    return costs


def verified_costs(
    policy: LocalPolicy, plain: dict[str, Cost], arguments: argparse.Namespace
) -> dict[str, tuple[float, float]]:
    """Return by name a verified step's time over a plain one's, and that ratio of bytes."""
    model, found = policy.model, dict[str, tuple[float, float]]()
    for layout in LAYOUTS:
        verifier = TokenVerifier(model, layout, max(1, model.config.num_layers // 4)).eval()
        own = num_bytes(list(verifier.top.layers.parameters()))
        guided = replace(policy, guide=VerifierGuide(verifier, ALPHA, BETA))
        for batch in dict.fromkeys((1, arguments.batch)):
            taken = step_s(guided, batch, arguments.tokens, arguments.rounds)
            ratio = 1e3 * taken / plain[f"batch{batch}"].step_ms
            read = read_bytes(model, batch, PROMPT + arguments.tokens / 2)
            found[f"cost_{layout}_batch{batch}"] = ratio, 1 + own / read
    return found


def report(costs: dict[str, Cost], ratios: dict[str, tuple[float, float]]) -> None:
    """Print a table."""
    for name, cost in costs.items():
        print(
            f"{name:<24}{cost.tokens_per_s:>10.0f} tokens/s{cost.step_ms:>10.3f} ms a step"
            f"   floor {cost.floor_ms:.3f} ms"
        )
    for name, (ratio, floor) in ratios.items():
        print(f"{name:<24}{ratio:>10.2f}   floor {floor:.2f}")


def arguments_of(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line. Raises: `SystemExit` (2) where the device is not here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="llama-3.2-1b")
    parser.add_argument("--device", choices=COPY_BYTES, default="cuda")
    parser.add_argument("--batch", type=int, default=256, help="rows of the large batch")
    parser.add_argument("--tokens", type=int, default=128, help="of each completion, 2 or more")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    arguments = parser.parse_args(words)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("gpu: no CUDA device here; try --device cpu --shape 1m", file=sys.stderr)
        raise SystemExit(2)
    return arguments


def main(words: Sequence[str] | None = None) -> None:
    """Run the benchmark and print a table and one JSON line."""
    arguments = arguments_of(words)
    torch.set_num_threads(1)
    config: ModelConfig = SHAPES[arguments.shape]
    model = random_model(config, torch.bfloat16, 0, arguments.device).eval()
    policy = LocalPolicy(model, no_tokenizer(), cache_bytes=0, has_graphs=True)
    costs = plain_costs(policy, arguments)
    ratios = verified_costs(policy, costs, arguments)
    if not arguments.json:
        report(costs, ratios)
    is_gpu = arguments.device == "cuda"
    line = {
        "benchmark": "gpu",
        "shape": arguments.shape,
        "device": torch.cuda.get_device_name() if is_gpu else "cpu",
        "torch": torch.__version__,
        "steps": {name: asdict(cost) for name, cost in costs.items()},
        "over_floor": {name: round(c.step_ms / c.floor_ms, 2) for name, c in costs.items()},
        "ratios": {name: round(ratio, 3) for name, (ratio, _) in ratios.items()},
        "floors": {name: round(floor, 3) for name, (_, floor) in ratios.items()},
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if is_gpu else None,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
