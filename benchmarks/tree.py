"""Tree search, ours beside the peers': same weights, widths and tokens, in turns in one run.

    python benchmarks/tree.py [--rounds 5] [--shape 1m|5m] [--json]

Beam search, MCTS and best-first search over steps of 16 tokens that go on from a prompt of 200, on
one thread, with random weights and a verifier that is a hash of the tokens, the same for all: the
engines are measured, nothing is solved. Each peer searches as its users have it search: its policy
calls `transformers` generate on the same weights, with the rows that the peer asks for at a time.
`plain` is our own search over that generate, which runs every prefix anew: it needs no peer.

`tree_NAME` is the processor time of the fastest of them over ours (above 1: ours is faster).
`computed` are the positions that went through the model. `distinct` are those that had to: the
distinct beginnings of all texts in the tree, prompt included, less the last token of a step that
nothing goes on from. `held` counts those tokens too: every position of the tree.
`computed_over_distinct_NAME` divides the first two.

The peers want an environment of their own, and this order:

    pip install torch==2.13.0 numpy
    pip install llm-reasoners==1.0.2 torch==2.13.0
    pip install -e '.[bench]' torch==2.13.0
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
import zlib
from array import array
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from system2.core import Completion, Problem, SampleRequest, SamplingParams, ScoreRequest, Tokens
from system2.engine.local import LocalPolicy, load_policy
from system2.run import run
from system2.search import SEARCHES
from system2.train.random_weights import SHAPES, random_policy
from system2.tree import Tree

PROMPT, STEP, BRANCH, WIDTH, BEAM_DEPTH = 200, 16, 4, 4, 4
EXPANSIONS, MAX_DEPTH = 16, 8
"""Of MCTS and best-first search: so many nodes are expanded, none at the depth limit or below."""
BUDGETS = {
    "beam": (1 + WIDTH * (BEAM_DEPTH - 1)) * BRANCH * STEP,
    "mcts": EXPANSIONS * BRANCH * STEP,
    "best_first": EXPANSIONS * BRANCH * STEP,
}
STEP_PARAMS = SamplingParams(max_tokens=STEP)
PEERS = {"its-hub": "its_hub", "llm-reasoners": "reasoners", "treequest": "treequest"}


def value(tokens: Sequence[int]) -> float:
    """Return the verifier's value of a prefix: arbitrary, firm, in [0, 1), and almost free."""
    return zlib.crc32(array("i", tokens).tobytes()) / 2**32


@dataclass(slots=True)
class HashVerifier:
    """The same as a `Verifier`."""

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Return values `[r][p]`."""
        return [[value(prefix) for prefix in request.prefixes] for request in requests]


class SpentError(Exception):
    """The tokens of a run are sampled: its search ends here."""


@dataclass(slots=True)
class Generate:
    """`transformers` generate as a policy, with a budget, that counts what it computes."""

    model: Any
    vocab: int
    budget: int = 0
    calls: int = 0
    computed: int = 0
    drawn: list[tuple[Tokens, Tokens]] = field(default_factory=list[tuple[Tokens, Tokens]])

    def __post_init__(self) -> None:
        def count(_module: Any, inputs: tuple[torch.Tensor, ...], _output: Any) -> None:
            self.computed += inputs[0].numel()

        self.model.get_input_embeddings().register_forward_hook(count)

    def steps(self, prefixes: Sequence[Tokens], n: int) -> list[list[Tokens]]:
        """Return the tokens of steps `[p][i]`; prefixes of one length are one batch."""
        from transformers import GenerationConfig

        if len(self.drawn) * STEP + len(prefixes) * n * STEP > self.budget:
            raise SpentError
        how = GenerationConfig(
            max_new_tokens=STEP, pad_token_id=0, do_sample=True, top_k=0, num_return_sequences=n
        )
        self.model.generation_config = how  # the checkpoint's own would end steps early
        ids = torch.tensor(prefixes)
        mask = torch.ones_like(ids)
        made = self.model.generate(ids, attention_mask=mask, generation_config=how)
        steps = [tuple(row) for row in made[:, ids.shape[1] :].tolist()]
        self.calls += 1
        self.drawn += [(prefixes[i // n], step) for i, step in enumerate(steps)]
        return [steps[i * n : (i + 1) * n] for i in range(len(prefixes))]

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[list[Completion]]]:
        """Return completions `[r][p][i]`, as a `Policy`; log-probabilities are left out."""
        nothing = (0.0,) * STEP
        return [
            [[Completion(s, nothing, "length") for s in row] for row in self.steps(r.prefixes, r.n)]
            for r in requests
        ]


def num_distinct(texts: Iterable[Tokens]) -> int:
    """Return how many distinct beginnings (of at least one token) texts have."""
    count, last = 0, ()
    for text in sorted(set(texts)):
        shared = 0
        while shared < min(len(last), len(text)) and last[shared] == text[shared]:
            shared += 1
        count, last = count + len(text) - shared, text
    return count


Search = Callable[[Generate, Tokens, str], None]


def plain(policy: Generate, prompt: Tokens, name: str) -> None:
    """Run our own search over generate."""
    _ = searched(policy, prompt, name, seed=0)


def searched(policy: Any, prompt: Tokens, name: str, seed: int) -> Tree:
    """Return the tree that our search grows."""
    dials: dict[str, int] = {"branch": BRANCH, "max_depth": MAX_DEPTH}
    if name == "beam":
        dials |= {"width": WIDTH, "max_depth": BEAM_DEPTH}
    elif name == "mcts":
        dials |= {"iterations": 100 * EXPANSIONS}  # visits cost no tokens where nothing is grown
    tree = Tree(Problem("random", "", "", "none"), seed, prompt)
    steps = SEARCHES[name](tree, params=STEP_PARAMS, **dials)
    run([(tree, steps)], policy, HashVerifier(), budget=BUDGETS[name])
    return tree


def its_hub(policy: Generate, prompt: Tokens, name: str) -> None:
    """Run its-hub, where a text is its token ids in figures: a call a level, a row a candidate."""
    from its_hub.core.algorithms.beam_search import BeamSearch
    from its_hub.core.lms.step_generation import StepGeneration

    def tokens_of(text: str) -> Tokens:
        return tuple(map(int, text.split()))

    class Model:
        async def agenerate(self, conversations: Any, **_: Any) -> Any:
            texts = [" ".join(str(turn.content) for turn in turns) for turns in conversations]
            rows = policy.steps([tokens_of(text) for text in texts], 1)
            return [{"content": "".join(f"{token} " for token in step)} for (step,) in rows]

    class Values:
        async def ascore(self, prompt: Any, responses: list[str], **_: Any) -> list[float]:
            return [value((*tokens_of(str(prompt)), *tokens_of(text))) for text in responses]

    assert name == "beam"
    steps = StepGeneration(max_steps=BEAM_DEPTH - 1, tokens_per_step=STEP, temperature=1.0)
    search = BeamSearch(steps, Values(), beam_width=WIDTH)
    text = " ".join(map(str, prompt))
    _ = asyncio.run(search.ainfer(Model(), text, budget=WIDTH * BRANCH, return_response_only=False))


def llm_reasoners(policy: Generate, prompt: Tokens, name: str) -> None:
    """Run llm-reasoners: a call a node; its MCTS goes down to the depth limit on each visit."""
    from reasoners import Reasoner, SearchConfig, WorldModel
    from reasoners.algorithm import MCTS, BeamSearch

    class World(WorldModel):
        def init_state(self) -> Tokens:
            return prompt

        def step(self, state: Tokens, action: Tokens) -> tuple[Tokens, dict[str, Any]]:
            return (*state, *action), {}

        def is_terminal(self, state: Tokens) -> bool:
            return False

    class Config(SearchConfig):
        def get_actions(self, state: Tokens) -> list[Tokens]:
            return policy.steps([state], BRANCH)[0]

        def fast_reward(self, state: Tokens, action: Tokens) -> tuple[float, dict[str, Any]]:
            return value((*state, *action)), {}

        def reward(self, state: Tokens, action: Tokens, **_: Any) -> tuple[float, dict[str, Any]]:
            return value((*state, *action)), {}

    if name == "beam":
        search = BeamSearch(beam_size=WIDTH, max_depth=BEAM_DEPTH)
    else:
        search = MCTS(depth_limit=MAX_DEPTH, n_iters=10**6)
    _ = Reasoner(World(), Config(), search)(None)


def treequest(how: str) -> Search:
    """Return a run of treequest: in batches by `ask_batch`, or a step at a time."""

    def grow(policy: Generate, prompt: Tokens, name: str) -> None:
        from treequest import StandardMCTS
        from treequest.algos.best_first_search import BestFirstSearchAlgo

        def one(state: Tokens | None) -> tuple[Tokens, float]:
            prefix = state or prompt
            text = (*prefix, *policy.steps([prefix], 1)[0][0])
            return text, value(text)

        if name == "mcts":
            search: Any = StandardMCTS(samples_per_action=BRANCH)
        else:
            search = BestFirstSearchAlgo(num_samples=BRANCH)
        tree = search.init_tree()
        while True:
            if how != "ask_batch":
                tree = search.step(tree, {"step": one}, inplace=how == "inplace")
                continue
            tree, trials = search.ask_batch(tree, BRANCH, ["step"])
            prefix = trials[0].parent_state or prompt  # all of one node
            for trial, step in zip(trials, policy.steps([prefix], len(trials))[0], strict=True):
                text = (*prefix, *step)
                tree = search.tell(tree, trial.trial_id, (text, value(text)))

    return grow


def peers_of(name: str) -> dict[str, Search]:
    """Return who is compared with at a search, of those that are installed."""
    found: dict[str, dict[str, Search]] = {
        "beam": {"its-hub": its_hub, "llm-reasoners": llm_reasoners},
        "mcts": {"llm-reasoners": llm_reasoners},
        "best_first": {},
    }
    if name != "beam":
        ways = ("ask_batch", "inplace", "copied")
        found[name] |= {f"treequest {how}": treequest(how) for how in ways}
    installed = {who: s for who, s in found[name].items() if find_spec(PEERS[who.split()[0]])}
    return {"plain": plain, **installed}


@dataclass(slots=True)
class Row:
    """What one searcher cost, a round each."""

    seconds: list[float] = field(default_factory=list[float])
    calls: list[int] = field(default_factory=list[int])
    tokens: list[int] = field(default_factory=list[int])
    computed: list[int] = field(default_factory=list[int])
    distinct: list[int] = field(default_factory=list[int])
    held: list[int] = field(default_factory=list[int])

    def note(
        self, seconds: float, calls: int, computed: int, drawn: Sequence[tuple[Tokens, Tokens]]
    ) -> None:
        """Append a round; `drawn` are its steps, each with the prefix that it goes on from."""
        self.seconds.append(seconds)
        self.calls.append(calls)
        self.tokens.append(sum(len(step) for _, step in drawn))
        self.computed.append(computed)
        self.distinct.append(num_distinct((*prefix, *step[:-1]) for prefix, step in drawn))
        self.held.append(num_distinct((*prefix, *step) for prefix, step in drawn))

    def means(self) -> dict[str, float]:
        """Return the figures: the median of the seconds, the mean of the others."""
        counts = {
            name: round(statistics.mean(getattr(self, name)), 1)
            for name in ("calls", "tokens", "computed", "distinct", "held")
        }
        return {"cpu_s": round(statistics.median(self.seconds), 4), **counts}


@dataclass(slots=True)
class Counted:
    """A policy whose calls are counted."""

    policy: LocalPolicy
    calls: int = 0

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[list[Completion]]]:
        """Return completions `[r][p][i]`."""
        self.calls += 1
        return self.policy.sample(requests)


def our_round(policy: LocalPolicy, prompt: Tokens, name: str, seed: int, row: Row) -> None:
    """Search once with a policy that remembers nothing yet."""
    counted = Counted(replace(policy, positions_computed=0))
    started = time.process_time()
    tree = searched(counted, prompt, name, seed)
    seconds = time.process_time() - started
    drawn = [
        (tree.prefix(node.parent), node.tokens) for node in tree.nodes if node.parent is not None
    ]
    row.note(seconds, counted.calls, counted.policy.positions_computed, drawn)


def their_round(search: Search, policy: Generate, prompt: Tokens, name: str, row: Row) -> None:
    """Search once until the tokens are spent."""
    policy.budget, policy.calls, policy.computed, policy.drawn = BUDGETS[name], 0, 0, []
    started = time.process_time()
    with suppress(SpentError):
        search(policy, prompt, name)
    row.note(time.process_time() - started, policy.calls, policy.computed, policy.drawn)


def compared(policy: LocalPolicy, theirs: Generate, name: str, rounds: int) -> dict[str, Row]:
    """Return by searcher what a search cost; ours and each of the others in turns."""
    rows = {who: Row() for who in ("ours", *peers_of(name))}
    rng = random.Random(name)
    for number in range(rounds + 1):
        prompt = tuple(rng.randrange(3, theirs.vocab) for _ in range(PROMPT))
        if number == 1:  # the first round has warmed all up
            rows = {who: Row() for who in rows}
        _ = torch.manual_seed(number)
        order = list(rows) if number % 2 else list(rows)[::-1]
        for who in order:
            if who == "ours":
                our_round(policy, prompt, name, number, rows[who])
            else:
                their_round(peers_of(name)[who], theirs, prompt, name, rows[who])
    for who, row in rows.items():
        assert set(row.tokens) == {BUDGETS[name]}, f"{who} sampled {row.tokens}"
    return rows


def show(name: str, rows: dict[str, Row]) -> None:
    """Print a search's table."""
    print(
        f"{name}: {BUDGETS[name]} tokens".ljust(30)
        + "  calls  computed  distinct   held   ratio   CPU s"
    )
    for who, row in rows.items():
        m = row.means()
        print(
            f"  {who:<26}{m['calls']:>9.0f}{m['computed']:>10.0f}{m['distinct']:>10.0f}"
            f"{m['held']:>7.0f}{m['computed'] / m['distinct']:>8.3f}{m['cpu_s']:>8.3f}"
        )


def versions() -> dict[str, str | None]:
    """Return the versions of what is compared with; None: not installed."""
    found: dict[str, str | None] = {}
    for package in ("transformers", *PEERS):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def main() -> None:
    """Run the benchmark and print a table and one JSON line."""
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", choices=SHAPES, default="1m")
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    disable_progress_bar()
    missing = [peer for peer, module in PEERS.items() if not find_spec(module)]
    if missing and not arguments.json:
        print(f"not installed: {', '.join(missing)} (the head of this file says how to install)")
    ratios: dict[str, float] = {}
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        random_policy(Path(folder), arguments.shape, spread=4.0)  # unsure: no two steps are one
        policy = load_policy(folder, device="cpu")
        policy = replace(policy, tokenizer=replace(policy.tokenizer, eos=frozenset()))
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        theirs = Generate(model, policy.model.config.vocab_size)
        for name in BUDGETS:
            rows = compared(policy, theirs, name, arguments.rounds)
            ours, *others = (row.means() for row in rows.values())
            fastest = min(other["cpu_s"] for other in others)
            ratios[f"tree_{name}"] = round(fastest / ours["cpu_s"], 2)
            ratio = sum(rows["ours"].computed) / sum(rows["ours"].distinct)
            ratios[f"computed_over_distinct_{name}"] = round(ratio, 4)
            figures[name] = {who: row.means() for who, row in rows.items()}
            if not arguments.json:
                show(name, rows)
    num_parameters = sum(weight.numel() for weight in policy.model.parameters())
    line = {
        "benchmark": "tree",
        "ratios": ratios,
        "figures": figures,
        "parameters": num_parameters,
        "versions": versions(),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
