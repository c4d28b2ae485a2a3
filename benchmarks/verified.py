"""What a verified step costs, relative to a plain one: measured in turns in one run.

    python benchmarks/verified.py [--rounds 7] [--tokens 48] [--shape 1m|5m] [--json]

`cost_LAYOUT_batchN` is the processor time of drawing the same number of tokens under a verifier of
that layout (alpha = 0.1) over the time of drawing them plainly, N prompts at a time: the median
over rounds; `cost_LAYOUT_gated_batchN` that with the gate chosen for it on validation problems.
The verifiers are those shipped with `tiny`; where they are absent, untrained ones on random
weights of its shape, which cost about the same. `floor` is 1 + adapted layers / layers, what
the adapted layers alone would add.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from system2.core import Tokens
from system2.engine.embedded import EMBEDDED, EMBEDDED_VERIFIERS
from system2.engine.local import LocalPolicy, load_policy
from system2.evaluate.cost import step_costs
from system2.tasks import find_task
from system2.train.random_weights import SHAPES, random_policy
from system2.verify.folders import load_verifier
from system2.verify.token import LAYOUTS, PlausibleGuide, TokenVerifier, VerifierGuide

BATCHES = (1, 16, 64)
ALPHA, BETA, GATE = 0.1, 0.25, 0.8


def guided(
    policy: LocalPolicy, *, is_shipped: bool = True
) -> tuple[dict[str, LocalPolicy], dict[str, float]]:
    """Return the policy under each guide, plain first, and the floor of each layout's cost."""
    policies = {"plain": policy, "plausible_only": replace(policy, guide=PlausibleGuide(ALPHA))}
    floors: dict[str, float] = {}
    for layout in LAYOUTS:
        settings: dict[str, Any] = {}
        if is_shipped and EMBEDDED_VERIFIERS[f"tiny/{layout}"].is_dir():
            verifier, settings = load_verifier(f"tiny/{layout}", policy)
        else:
            verifier = TokenVerifier(policy.model, layout, num_adapted=1).eval()
        assert isinstance(verifier, TokenVerifier)
        guide = VerifierGuide(verifier, ALPHA, BETA)
        policies[layout] = replace(policy, guide=guide)
        gated = replace(guide, gate=settings.get("gate", GATE))
        policies[f"{layout}_gated"] = replace(policy, guide=gated)
        floors[layout] = 1 + verifier.top.num_adapted / policy.model.config.num_layers
    return policies, floors


def prompts_of(policy: LocalPolicy, count: int) -> list[Tokens]:
    """Return the prompts of held-out word problems."""
    problems = islice(find_task("word_problems").problems("test", 0), count)
    return [policy.tokenizer.prompt(problem.prompt) for problem in problems]


def main() -> None:
    """Run the benchmark and print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=48, help="of each completion")
    parser.add_argument("--shape", choices=SHAPES, help="random weights of this shape")
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ratios: dict[str, float] = {}
    quartiles: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        is_shipped = not arguments.shape and (EMBEDDED["tiny"] / "config.json").is_file()
        if not is_shipped:
            random_policy(Path(temporary), arguments.shape or "1m")
        policy = load_policy("tiny" if is_shipped else temporary)
        policies, floors = guided(policy, is_shipped=is_shipped)
        for batch in BATCHES:
            prompts = prompts_of(policy, batch)
            how: dict[str, Any] = {"tokens": arguments.tokens, "rounds": arguments.rounds}
            for name, cost in step_costs(policies, prompts, **how).items():
                if name == "plain":
                    continue
                key = f"cost_{name}_batch{batch}"
                ratios[key] = round(cost.ratio, 3)
                quartiles[key] = [round(cost.low, 3), round(cost.high, 3)]
                if not arguments.json:
                    floor = f"   floor {floors[name]:.2f}" if name in floors else ""
                    print(f"{key:<34}{cost.ratio:>6.2f}   {cost.low:.2f} to {cost.high:.2f}{floor}")
    print(
        json.dumps(
            {
                "benchmark": "verified",
                "ratios": ratios,
                "quartiles": quartiles,
                "floors": floors,
                "policy": "tiny" if is_shipped else f"random weights, {arguments.shape or '1m'}",
            }
        )
    )


if __name__ == "__main__":
    main()
