"""What a guided decoding step costs, relative to a plain one: measured in pairs in one run.

Timings on a shared machine drift; the ratio of two runs that alternate does not. Each round
decodes the same prompts plainly and guided, to the same number of tokens, and gives one ratio;
the median over rounds is reported with its quartiles.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from system2.core import SampleRequest, SamplingParams, Tokens
from system2.engine.local import LocalPolicy


@dataclass(frozen=True, slots=True)
class StepCost:
    """Time of a guided step over that of a plain one: median and quartiles over rounds."""

    ratio: float
    low: float
    high: float


def step_costs(
    policies: dict[str, LocalPolicy],
    prompts: Sequence[Tokens],
    *,
    tokens: int = 48,
    temperature: float = 1.0,
    rounds: int = 7,
) -> dict[str, StepCost]:
    """Return each policy's cost relative to the first, decoding all prompts as one batch.

    Rows never end early (the end token is only a token here), so every policy decodes the
    same number of tokens at every step.
    """
    request = SampleRequest(tuple(prompts), 1, SamplingParams(tokens, temperature), seed=0)
    endless = {
        name: replace(
            p,
            tokenizer=replace(p.tokenizer, eos=frozenset()),
            max_rows=len(prompts),
            cache_bytes=0,  # every round runs its prompts anew
        )
        for name, p in policies.items()
    }
    times: dict[str, list[float]] = {name: [] for name in endless}
    for _ in range(rounds + 1):
        for name, policy in endless.items():
            started = time.process_time()
            _ = policy.sample([request])
            times[name].append(time.process_time() - started)
    plain = times[next(iter(times))]
    costs: dict[str, StepCost] = {}
    for name, taken in times.items():
        ratios = [mine / its for mine, its in zip(taken, plain, strict=True)][1:]  # one warms up
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        costs[name] = StepCost(middle, low, high)
    return costs
