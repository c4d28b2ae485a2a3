"""`system2 explore` and `system2 train ...`: make training data, and learn from it."""

from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from system2.cli.terminal import Json, finish, progress, warn
from system2.core import Split

Count = Annotated[int, Parameter(validator=Number(gte=1))]

train = App(name="train", help="Train policies and verifiers.")


def explore(
    *,
    task: str,
    out: Path,
    policy: str = "tiny",
    strategy: Literal["rollout", "uniform", "base", "expert", "contrast"] = "rollout",
    amateur: str | None = None,
    text: Literal["reference", "sampled"] = "reference",
    split: Split = "train",
    n: Count = 100,
    positions: Count = 8,
    proposals: Count = 2,
    rollouts: Count = 8,
    max_quality: float = 0.5,
    min_gap: float = 0.25,
    measure_reference: Annotated[bool, Parameter(negative=())] = False,
    alpha: float = 0.05,
    temperature: float = 1.0,
    max_tokens: Count = 256,
    batch: Count = 128,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Explore the quality of alternative tokens, and write LLM2's training pairs.

    At uncertain positions of a solution other tokens are tried; a bad one becomes the
    negative of a pair. Started again after a kill, it goes on where it was.

    Parameters
    ----------
    task
        The task whose problems are explored.
    out
        The JSONL file to write, in LLM2's format.
    policy
        tiny, a checkpoint folder, or hub:NAME.
    strategy
        rollout measures quality by finishing the solution several times (the paper's); the
        others draw negatives without rollouts from plausible tokens: expert the policy's,
        base an amateur's, uniform those of either, contrast where the two differ.
    amateur
        The weaker model of uniform, base and contrast (default for tiny: tiny-amateur).
    text
        Explore along the reference solution, or along the policy's own sampled attempts.
    split
        The part of the task's problems.
    n
        How many problems.
    positions
        Positions explored in one solution, the least certain first.
    proposals
        Tokens tried at a position.
    rollouts
        Continuations of each token (rollout only).
    max_quality
        A token whose share of right continuations is at most this is a negative.
    min_gap
        How much better the positive must be, where both were measured.
    measure_reference
        Roll out the reference token too.
    alpha
        Tokens with p >= alpha * max p are tried.
    temperature
        Of the rollouts.
    max_tokens
        The longest continuation.
    batch
        Rows decoded at a time.
    seed
        Every draw.
    json
        Print the result as one JSON object.
    """
    from system2.engine.local import load_policy
    from system2.store import Journal, make_manifest, write_manifest
    from system2.synthesise.token_quality import NEEDS_AMATEUR, ExploreConfig
    from system2.synthesise.token_quality import explore as explored
    from system2.tasks import find_task

    config = ExploreConfig(
        strategy=strategy,
        text=text,
        alpha=alpha,
        max_positions=positions,
        max_proposals=proposals,
        rollouts=rollouts,
        temperature=temperature,
        max_tokens=max_tokens,
        max_quality=max_quality,
        min_gap=min_gap,
        measures_reference=measure_reference,
        seed=seed,
    )
    found = find_task(task)
    loaded = load_policy(policy, max_rows=batch)
    weaker = amateur or ("tiny-amateur" if policy == "tiny" else None)
    is_needed = weaker is not None and strategy in NEEDS_AMATEUR
    second = load_policy(weaker).model if weaker is not None and is_needed else None
    drawn = list(islice(found.problems(split, seed), n))
    asked = {"task": task, "split": split, "n": n, "policy": policy, "amateur": weaker}
    described: dict[str, Any] = {**asked, **asdict(config)}
    manifest = make_manifest("explore", described, seed=seed)
    with Journal(out, {**described, "problems": [problem.id for problem in drawn]}) as journal:
        done = len(journal)
        rows = explored(loaded, found, drawn[done:], config, amateur=second)
        for row in progress(rows, "exploring", total=len(drawn), done=done):
            journal.append(row)
        pairs = sum(len(row["samples"]) for row in journal)
        write_manifest(out, manifest)
        journal.finish()
    if len(drawn) < n:
        warn(f"the {split} split of {task} holds {len(drawn)} problems, fewer than {n}")
    result = {"n": len(drawn), "pairs": pairs, "out": str(out)}
    finish(f"{pairs} pairs from {len(drawn)} problems: {out}", result, as_json=json)


@train.command(name="token-verifier")
def token_verifier(
    pairs: Path,
    /,
    *,
    out: Path,
    policy: str = "tiny",
    layout: Literal["separate", "shared", "vocab"] = "shared",
    adapted: Annotated[int, Parameter(validator=Number(gte=0))] = 1,
    epochs: float = 2.0,
    learning_rate: float = 2e-5,
    micro_batches: Count = 4,
    max_tokens: Count = 4096,
    weighting: Literal["equal", "gap"] = "equal",
    alpha: float = 0.1,
    beta: float = 0.25,
    seed: int = 42,
    json: Json = False,
) -> None:
    """Train an LLM2 token verifier on pairs; the folder is then a --verifier.

    The defaults are the paper's. Started again after a kill, it goes on where it was.

    Parameters
    ----------
    pairs
        The JSONL file of system2 explore.
    out
        The verifier's folder.
    policy
        The policy it will judge: tiny, a checkpoint folder, or hub:NAME.
    layout
        separate (a full second model), shared (a head on the policy's trunk), vocab (a
        vocabulary head: the cheapest).
    adapted
        How many of the policy's top layers get trained copies (shared, vocab).
    epochs
        Passes over the pairs.
    learning_rate
        Its peak; 10% warm-up, then a cosine to zero.
    micro_batches
        Micro-batches an optimiser step.
    max_tokens
        Padded tokens a micro-batch: lower it if memory runs out.
    weighting
        gap weighs a pair by how far apart its tokens' qualities are.
    alpha
        Written into the folder as the setting to decode with.
    beta
        Likewise.
    seed
        The order of the data.
    json
        Print the result as one JSON object.
    """
    from system2.engine.local import load_policy
    from system2.store import make_manifest
    from system2.synthesise.pairs import read_pairs
    from system2.train.loop import forget_training
    from system2.train.token_verifier import VerifierFit, fit_token_verifier
    from system2.verify.folders import save_verifier

    config = VerifierFit(
        layout=layout,
        num_adapted=adapted,
        epochs=epochs,
        learning_rate=learning_rate,
        max_tokens=max_tokens,
        micro_batches=micro_batches,
        weighting=weighting,
        seed=seed,
    )
    loaded = load_policy(policy)
    rows = list(read_pairs(pairs, loaded.tokenizer))
    described = {"policy": policy, **asdict(config)}
    manifest = make_manifest("train token-verifier", described, seed=seed, data=[pairs])
    work = Path(f"{out}.partial")
    verifier, steps, reports = fit_token_verifier(loaded.model, rows, config, folder=work)
    loss = _last_loss(progress(reports, f"training {layout}", total=steps))
    settings = {"alpha": alpha, "beta": beta}
    tokenizer = loaded.tokenizer
    save_verifier(out, verifier, tokenizer, settings=settings, manifest=asdict(manifest))
    forget_training(work)
    num_pairs = sum(len(row.pairs) for row in rows)
    result = {"pairs": num_pairs, "steps": steps, "loss": loss, "out": str(out)}
    finish(f"trained on {num_pairs} pairs, last loss {loss:.4f}: {out}", result, as_json=json)


@train.command(name="sft")
def sft(
    *,
    out: Path,
    task: str | None = None,
    problems: Path | None = None,
    policy: str = "tiny",
    split: Split = "train",
    n: Count = 10_000,
    epochs: float = 1.0,
    learning_rate: float = 1e-5,
    micro_batches: Count = 1,
    max_tokens: Count = 2048,
    seed: int = 42,
    json: Json = False,
) -> None:
    """Fine-tune a policy on reference solutions; the folder is then a --policy.

    Started again after a kill, it goes on where it was.

    Parameters
    ----------
    out
        The checkpoint folder.
    task
        The task whose reference solutions are learned.
    problems
        A JSONL file of problems whose metadata hold a "solution", instead of --task.
    policy
        Where to start: tiny, a checkpoint folder, or hub:NAME.
    split
        The part of the task's problems.
    n
        How many problems at most.
    epochs
        Passes over them.
    learning_rate
        Its peak; 10% warm-up, then a cosine to a twentieth.
    micro_batches
        Micro-batches an optimiser step.
    max_tokens
        Padded tokens a micro-batch: lower it if memory runs out.
    seed
        The order of the data.
    json
        Print the result as one JSON object.
    """
    from system2.cli.solve import problems_of
    from system2.engine.local import load_policy
    from system2.engine.weights import save_model
    from system2.store import make_manifest
    from system2.train.loop import FitConfig, fit, forget_training
    from system2.train.losses import next_token_loss
    from system2.train.sft import example_batches, sft_examples

    _, drawn = problems_of(task, problems, split, n, seed)
    loaded = load_policy(policy)
    examples = sft_examples(loaded.tokenizer, drawn)
    batches, per_epoch = example_batches(
        examples, loaded.tokenizer.pad, max_tokens=max_tokens, seed=seed, per_step=micro_batches
    )
    config = FitConfig(
        steps=max(1, round(epochs * per_epoch)),
        learning_rate=learning_rate,
        warmup=0.1,
        weight_decay=0.0,
        seed=seed,
    )
    described = {"policy": policy, "task": task, "split": split, "n": n, **asdict(config)}
    data = [problems] if problems is not None else []
    manifest = make_manifest("train sft", described, seed=seed, data=data)
    work = Path(f"{out}.partial")
    model = loaded.model.train()
    reports = fit(model, batches, next_token_loss, config, folder=work)
    loss = _last_loss(progress(reports, "training", total=config.steps))
    extra = {"manifest.json": _json_bytes(asdict(manifest))}
    save_model(out, model, loaded.tokenizer.folder, extra=extra)
    forget_training(work)
    result = {"problems": len(drawn), "steps": config.steps, "loss": loss, "out": str(out)}
    finish(f"trained on {len(drawn)} problems, last loss {loss:.4f}: {out}", result, as_json=json)


def _last_loss(reports: Any) -> float:
    loss = 0.0
    for report in reports:
        loss = report.loss
    return loss


def _json_bytes(value: object) -> bytes:
    import json

    return json.dumps(value, indent=2).encode()
