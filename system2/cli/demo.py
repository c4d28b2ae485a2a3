"""`system2 demo`: the whole loop on the embedded model, from exploration to a report."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Any

from system2.cli.options import Count, Json
from system2.cli.terminal import counter, finish, progress, say
from system2.core import Problem

TASK = "word_problems"
MAX_TOKENS = 120
LIVE_LAYOUT = "vocab"
LIVE_ROLLOUTS, LIVE_HELD, LIVE_CHEAP = 100, 40, 1_000
"""Training problems explored here and now: with rollouts (the first are held out), and without."""


def demo(
    *,
    out: Path = Path("runs/demo"),
    n: Count = 500,
    samples: Count = 20,
    processes: Count = 2,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Run LLM2 on the embedded model, from exploration to a report, in about five minutes.

    Explores token quality on training problems and trains the cheapest verifier live; then
    compares the verifiers shipped with the model, one of each layout, with their baselines
    on problems that none of them has seen. Writes report.html and results.json. Started
    again after a kill, it goes on where it was.

    Parameters
    ----------
    out
        The folder to write.
    n
        How many held-out problems.
    samples
        Attempts a problem at temperature 1.
    processes
        Processes that decode at the same time.
    seed
        Every draw.
    """
    import torch

    from system2.evaluate.compare import attempt_all
    from system2.evaluate.report import render_report
    from system2.store import make_manifest, whole_file
    from system2.tasks import find_task

    started = time.monotonic()
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    problems = list(islice(find_task(TASK).problems("test", seed), n))
    methods = shipped_methods()
    live = _live_verifier(out, seed)
    config = {"n": n, "samples": samples, "methods": [asdict(m) for m in methods]}
    with counter("decoding") as count:
        rows = attempt_all(
            out / "attempts.jsonl",
            methods,
            problems,
            samples=samples,
            max_tokens=MAX_TOKENS,
            seed=seed,
            processes=processes,
            on_job=count,
        )
    results = _results(rows, methods, problems, seed)
    manifest = make_manifest("demo", {"task": TASK, "policy": "tiny", **config}, seed=seed)
    results |= {"manifest": asdict(manifest), "live": live, "notes": _notes(live)}
    from json import dumps

    for name, text in (
        ("results.json", dumps(results, indent=1, allow_nan=False)),
        ("report.html", render_report(results, title="LLM2 on the embedded model")),
    ):
        with whole_file(out / name) as file:
            _ = file.write(text.encode())
    took = time.monotonic() - started
    _print_table(results["rows"])
    summary = {"report": str(out / "report.html"), "results": str(out / "results.json")}
    finish(f"report: {out / 'report.html'} ({took:.0f} s)", summary, as_json=json)


def shipped_methods() -> list[Any]:
    """Return the methods of the comparison: the shipped verifiers and their baselines."""
    from system2.engine.tokenizer import read_json
    from system2.evaluate.compare import Method
    from system2.verify.folders import find_verifier

    def settings(name: str) -> Mapping[str, Any]:
        return read_json(find_verifier(name) / "verifier.json")["settings"]

    alpha = float(settings("tiny/separate")["alpha"])
    return [
        Method("plain", verifier="tiny/outcome"),
        Method("plausible_only", alpha=alpha),
        Method("contrastive", amateur="tiny-amateur", alpha=alpha),
        Method("sft_control", policy="tiny-sft"),
        *(
            Method(f"llm2_{layout}", verifier=f"tiny/{layout}")
            for layout in ("separate", "shared", "vocab")
        ),
    ]


def _live_verifier(out: Path, seed: int) -> dict[str, Any]:
    """Explore a few training problems and train the cheapest layout on them, here and now."""
    from system2.engine.local import load_policy
    from system2.synthesise.pairs import parse_row
    from system2.synthesise.token_quality import ExploreConfig, explore
    from system2.tasks import find_task
    from system2.train.pairs import pair_accuracy
    from system2.train.token_verifier import VerifierFit, fit_token_verifier
    from system2.verify.folders import save_verifier

    policy = load_policy("tiny", max_rows=512)
    task = find_task(TASK)
    drawn = list(islice(task.problems("train", seed), LIVE_CHEAP))
    rollouts = ExploreConfig(max_tokens=MAX_TOKENS, max_positions=4, seed=seed)
    cheap = ExploreConfig("expert", alpha=0.01, max_positions=12, max_proposals=3, seed=seed)
    explored = chain(
        explore(policy, task, drawn[:LIVE_ROLLOUTS], rollouts), explore(policy, task, drawn, cheap)
    )
    found = progress(explored, "exploring", total=LIVE_ROLLOUTS + LIVE_CHEAP)
    rows = [parse_row(row, policy.tokenizer, f"explored row {i}") for i, row in enumerate(found)]
    # the first problems' measured pairs are held out, and their cheap ones with them
    held_out, used = rows[:LIVE_HELD], rows[LIVE_HELD:LIVE_ROLLOUTS]
    used += rows[LIVE_ROLLOUTS + LIVE_HELD :]
    fitting = VerifierFit(
        layout=LIVE_LAYOUT, epochs=2, learning_rate=1e-3, max_tokens=512, micro_batches=1
    )
    verifier, steps, reports = fit_token_verifier(policy.model, used, fitting)
    before, _ = pair_accuracy(verifier, held_out)
    for _ in progress(reports, f"training {LIVE_LAYOUT}", total=steps):
        pass
    after, _ = pair_accuracy(verifier, held_out)
    folder = out / f"verifier_{LIVE_LAYOUT}"
    save_verifier(folder, verifier, policy.tokenizer, settings={"alpha": 0.1, "beta": 0.5})
    pairs = sum(len(row.pairs) for row in used)
    return {
        "layout": LIVE_LAYOUT,
        "pairs": pairs,
        "steps": steps,
        "pair_accuracy_before": before,
        "pair_accuracy_after": after,
        "folder": str(folder),
    }


def _results(
    rows: Sequence[Mapping[str, Any]],
    methods: Sequence[Any],
    problems: Sequence[Problem],
    seed: int,
) -> dict[str, Any]:
    """Return the table, the paired differences and the costs."""
    from system2.evaluate.compare import paired_rows, result_rows
    from system2.evaluate.cost import step_costs

    policies = {method.name: method.load()[0] for method in methods}
    first = policies["plain"]
    prompts = [first.tokenizer.prompt(problem.prompt) for problem in problems[:16]]
    costs = step_costs(policies, prompts)
    ratios = {name: cost.ratio for name, cost in costs.items()}
    against = ("plain", "plausible_only", "sft_control")
    return {
        "rows": result_rows(rows, ratios, seed=seed),
        "paired": paired_rows(rows, against, seed=seed),
        "costs": {name: asdict(cost) for name, cost in costs.items()},
    }


def _notes(live: Mapping[str, Any]) -> list[str]:
    """Return the sentences that say which verifier was trained where."""
    return [
        "The verifiers in the table are shipped with the package; the recipe that trained them "
        "is system2/recipes/llm2_tiny.py. alpha and beta were chosen on validation problems.",
        f"Trained live in this run: a {live['layout']} verifier on {live['pairs']} pairs from "
        f"{LIVE_CHEAP} problems, {LIVE_ROLLOUTS - LIVE_HELD} of them with rollouts. It orders "
        f"{live['pair_accuracy_after']:.1%} of the pairs of {LIVE_HELD} others rightly "
        f"({live['pair_accuracy_before']:.1%} before training). It is not in the table.",
        "For outcome_best_of_n the rows named majority@k take the attempt of highest value among "
        "k: the same attempts, so the same sampled tokens.",
    ]


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the accuracies, a line a method."""
    from system2.evaluate.compare import DECODINGS

    found = {(row["method"], row["decoding"]): row for row in rows}
    names = dict.fromkeys(row["method"] for row in rows)
    say(f"{'method':20}" + "".join(f"{d:>18}" for d in DECODINGS) + f"{'cost':>8}")
    for name in names:
        cells = (_cell(found.get((name, decoding))) for decoding in DECODINGS)
        costs = [row["cost_ratio"] for row in rows if row["method"] == name]
        cost = f"{costs[0]:8.2f}" if costs[0] is not None else f"{'-':>8}"
        say(f"{name:20}" + "".join(f"{cell:>18}" for cell in cells) + cost)


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None or row["accuracy"] is None:
        return "-"
    half = 100 * (row["high"] - row["low"]) / 2
    return f"{100 * row['accuracy']:.1f} +- {half:.1f}"
