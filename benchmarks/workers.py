"""Sampling by several processes beside one: same weights, same draws, in turns in one run.

    python benchmarks/workers.py [--workers 2] [--rounds 9] [--problems 128] [--samples 4] [--json]

`speedup` is the time on the clock of one process over that of the workers, both with one thread and
64 rows at a time, for attempts at held-out word problems at temperature 1 by `tiny` (random
weights of its shape without it): the median over rounds, then its quartiles. All is forgotten
before each run; starting the workers is not counted (`start_s` tells it, with a first batch).
Other work on the machine lowers it; `on_free_cores` is what there would be without: the processor
time of the one process over that of the busiest worker and of dividing and gathering.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from verified import prompts_of

from system2.core import SampleRequest, SamplingParams
from system2.engine.embedded import EMBEDDED
from system2.engine.local import LocalPolicy, load_policy
from system2.engine.processes import ProcessPolicy
from system2.train.random_weights import random_policy

MAX_TOKENS = 160


def seconds(
    policy: LocalPolicy | ProcessPolicy, requests: list[SampleRequest]
) -> tuple[float, float]:
    """Return how long a policy that remembers nothing takes: on the clock, of this processor."""
    policy.forget()
    started, processor = time.perf_counter(), time.process_time()
    _ = policy.sample(requests)
    return time.perf_counter() - started, time.process_time() - processor


def processor_s(process: int) -> float:
    """Return the processor time that a process has taken, as Linux tells it."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def quartiles(values: list[float]) -> list[float]:
    """Return the first, second and third quartile."""
    return [round(value, 3) for value in statistics.quantiles(values, n=4, method="inclusive")]


def main() -> None:
    """Run the benchmark and print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--problems", type=int, default=128)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        is_shipped = (EMBEDDED["tiny"] / "config.json").is_file()
        if not is_shipped:
            random_policy(Path(temporary))
        policy = load_policy("tiny" if is_shipped else temporary)
        params = SamplingParams(MAX_TOKENS)
        requests = [
            SampleRequest((prompt,), arguments.samples, params, seed)
            for seed, prompt in enumerate(prompts_of(policy, arguments.problems))
        ]
        started = time.perf_counter()
        with ProcessPolicy(policy, arguments.workers) as workers:
            _ = workers.sample(requests[:64])
            start_s = time.perf_counter() - started
            expected, found = policy.sample(requests), workers.sample(requests)
            times: tuple[list[float], list[float]] = ([], [])
            own = [0.0, 0.0]
            before = list(map(processor_s, workers.process_ids))
            for number in range(arguments.rounds):
                for which in (0, 1) if number % 2 else (1, 0):
                    clock, processor = seconds((policy, workers)[which], requests)
                    times[which].append(clock)
                    own[which] += processor
            after = list(map(processor_s, workers.process_ids))
    busiest = max(end - start for start, end in zip(before, after, strict=True))
    on_free_cores = round(own[0] / (busiest + own[1]), 3)
    draws = [
        [c.tokens for rows in drawn for row in rows for c in row] for drawn in (expected, found)
    ]
    ratios = quartiles([one / many for one, many in zip(*times, strict=True)])
    tokens = sum(map(len, draws[0]))
    rates = [round(tokens / statistics.median(each)) for each in times]
    if not arguments.json:
        print(f"{tokens} tokens: one process {rates[0]}, workers {rates[1]} tokens/s")
        print(f"speed-up {ratios[1]:.2f} ({ratios[0]:.2f} to {ratios[2]:.2f})")
        print(f"on free cores {on_free_cores:.2f}")
    line = {
        "benchmark": "workers",
        "workers": arguments.workers,
        "cores": os.cpu_count(),
        "speedup": ratios[1],
        "quartiles": [ratios[0], ratios[2]],
        "on_free_cores": on_free_cores,
        "tokens_per_s": rates,
        "start_s": round(start_s, 2),
        "is_equal": draws[0] == draws[1],
        "policy": "tiny" if is_shipped else "random weights",
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
