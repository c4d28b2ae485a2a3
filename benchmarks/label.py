"""Monte-Carlo labels, ours beside `transformers` generate: the same rollouts, in turns in one run.

    python benchmarks/label.py [--task countdown4] [--n 12] [--rounds 5] [--rollouts 16] [--json]

The policy is `tiny`, on one thread. Both finish the same prefixes (each beginning of whole steps
of the reference solutions to `--n` problems, and the problems alone) as many times, at temperature
1, by at most as many tokens, and grade what comes; a rollout ends with its end token. Ours is
`label_steps` as `system2 label` runs it. Theirs has the prefixes in order of length, padded on the
left, with a key-value cache and `num_return_sequences`, in batches of so many rows as ran fastest
in a first round. `label_speed` is their processor time over ours, the median of the rounds.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import islice
from typing import Any, cast

import torch

from system2.core import Completion, Problem, SampleRequest, Task
from system2.engine.embedded import EMBEDDED
from system2.engine.local import LocalPolicy, load_policy
from system2.engine.native import library
from system2.engine.tokenizer import Tokenizer
from system2.synthesise.step_values import LabelConfig, label_steps
from system2.tasks import find_task

ROWS = (64, 128, 256)
"""Rows that a batch of theirs may have."""


@dataclass(slots=True)
class Noted:
    """A policy that notes what it was asked for, and how much it drew."""

    policy: LocalPolicy
    asked: list[SampleRequest] = field(default_factory=list[SampleRequest])
    num_tokens: int = 0

    @property
    def tokenizer(self) -> Tokenizer:
        """The policy's tokenizer."""
        return self.policy.tokenizer

    def forget(self) -> None:
        """Drop what is known of earlier texts."""
        self.policy.forget()

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[list[Completion]]]:
        """Return completions `[r][p][i]`."""
        self.asked += requests
        drawn = self.policy.sample(requests)
        self.num_tokens += sum(len(one.tokens) for r in drawn for p in r for one in p)
        return drawn


@dataclass(slots=True)
class Theirs:
    """The same rollouts by generate: `prefixes[j]` belongs to `problems[j]`."""

    model: Any
    policy: LocalPolicy
    task: Task
    prefixes: list[tuple[int, ...]]
    problems: list[Problem]
    config: LabelConfig
    num_tokens: int = 0

    def __call__(self, rows: int) -> list[float]:
        """Return the share of right rollouts of each prefix, in batches of `rows`."""
        order = sorted(range(len(self.prefixes)), key=lambda j: len(self.prefixes[j]))
        shares = [0.0] * len(order)
        at_a_time = max(1, rows // self.config.rollouts)
        for start in range(0, len(order), at_a_time):
            some = order[start : start + at_a_time]
            for j, texts in zip(some, self._texts(some), strict=True):
                grades = [self.task.grade(self.problems[j], text) is True for text in texts]
                shares[j] = sum(grades) / len(grades)
        return shares

    def _texts(self, some: Sequence[int]) -> list[list[str]]:
        """Return the whole solutions that rollouts of some prefixes make."""
        from transformers import GenerationConfig

        tokenizer, n = self.policy.tokenizer, self.config.rollouts
        prefixes = [self.prefixes[j] for j in some]
        how = GenerationConfig(
            max_new_tokens=self.config.max_tokens,
            pad_token_id=tokenizer.pad,
            eos_token_id=sorted(tokenizer.eos),
            do_sample=True,
            top_k=0,
            num_return_sequences=n,
        )
        width = max(map(len, prefixes))
        ids = torch.full((len(prefixes), width), tokenizer.pad)
        mask = torch.zeros_like(ids)
        for row, prefix in enumerate(prefixes):
            ids[row, width - len(prefix) :] = torch.tensor(prefix)
            mask[row, width - len(prefix) :] = 1
        self.model.generation_config = how
        made = self.model.generate(ids, attention_mask=mask, generation_config=how)
        starts = [len(tokenizer.prompt(self.problems[j].prompt)) for j in some]
        texts: list[list[str]] = []
        for row, prefix in enumerate(prefixes):
            drawn = made[row * n : (row + 1) * n, width:].tolist()
            texts.append([])
            for tokens in drawn:
                ends = [i for i, token in enumerate(tokens) if token in tokenizer.eos]
                self.num_tokens += ends[0] + 1 if ends else len(tokens)
                whole = (*prefix[starts[row] :], *tokens[: ends[0] if ends else len(tokens)])
                texts[-1].append(tokenizer.decode(whole) if ends else "")
        return texts


def seconds(run: Callable[[], Any]) -> float:
    """Return the processor time of a run."""
    started = time.process_time()
    run()
    return time.process_time() - started


def rolled_problems(policy: LocalPolicy, asked: Sequence[SampleRequest], problems: Any) -> Any:
    """Return the problem of each request: the one whose prompt its prefix begins with."""
    prompts = {policy.tokenizer.prompt(problem.prompt): problem for problem in problems}
    return [
        next(p for prompt, p in prompts.items() if r.prefixes[0][: len(prompt)] == prompt)
        for r in asked
    ]


def main() -> None:
    """Run the benchmark and print a table and one JSON line."""
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="countdown4")
    parser.add_argument("--n", type=int, default=12)
    parser.add_argument("--rollouts", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    arguments = parser.parse_args()

    disable_progress_bar()
    torch.set_num_threads(1)
    policy, task = load_policy("tiny", max_rows=128), find_task(arguments.task)
    noted = Noted(policy)
    problems = list(islice(task.problems("train", 0), arguments.n))
    config = LabelConfig(
        attempts=0,
        has_reference=True,
        rollouts=arguments.rollouts,
        max_tokens=arguments.max_tokens,
    )

    def ours() -> list[Any]:
        return list(label_steps(cast(Any, noted), task, problems, config))

    labelled = ours()
    prefixes = [request.prefixes[0] for request in noted.asked]
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED["tiny"], dtype=torch.float32)
    of = rolled_problems(policy, noted.asked, problems)
    theirs = Theirs(model.eval(), policy, task, prefixes, of, config)
    _ = torch.manual_seed(0)
    tried = {rows: seconds(lambda rows=rows: theirs(rows)) for rows in ROWS}
    rows = min(tried, key=lambda rows: tried[rows])
    noted.num_tokens = theirs.num_tokens = 0
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    shares: list[float] = []
    for number in range(arguments.rounds):
        for who in ("ours", "theirs") if number % 2 else ("theirs", "ours"):
            if who == "ours":
                times[who].append(seconds(ours))
            else:
                times[who].append(seconds(lambda: shares.extend(theirs(rows))))
    own = [label.value for s in labelled for label in (s.before, *s.labels[:-1])]
    ratio = statistics.median(b / a for a, b in zip(times["ours"], times["theirs"], strict=True))
    if not arguments.json:
        print(f"{len(prefixes)} prefixes, {arguments.rollouts} rollouts each, {arguments.task}")
        for who, drawn in (("ours", noted.num_tokens), ("theirs", theirs.num_tokens)):
            taken, tokens = statistics.median(times[who]), drawn / arguments.rounds
            print(f"  {who:<8}{taken:8.3f} s{tokens:10.0f} tokens{tokens / taken:10.0f} a second")
        mean = statistics.mean(value for value in own if value is not None)
        print(f"  mean share right: ours {mean:.3f}, theirs {statistics.mean(shares):.3f}")
    line = {
        "benchmark": "label",
        "label_speed": round(ratio, 2),
        "task": arguments.task,
        "prefixes": len(prefixes),
        "rollouts": arguments.rollouts,
        "rows_of_theirs": rows,
        "seconds": {who: round(statistics.median(s), 3) for who, s in times.items()},
        "native": library() is not None,
        "transformers": version("transformers"),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
