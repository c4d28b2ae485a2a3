"""`system2 explore` and `system2 train ...`: make training data, and learn from it."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from system2.cli.options import (
    Adapted,
    Count,
    DataOrder,
    Epochs,
    Json,
    MicroBatches,
    MicroTokens,
    NonNegative,
    NumProblems,
    PartOf,
    Rate,
    Share,
)
from system2.cli.solve import problems_of, taken_up, traces_of
from system2.cli.terminal import finish, progress
from system2.cli.training import (
    finish_training,
    json_bytes,
    last_loss,
    prepared,
    split_of,
    warn_of_split,
    work_folder,
)
from system2.cli.workers import Workers, check_workers, decoded_by
from system2.core import Problem, Task

if TYPE_CHECKING:
    from system2.engine.local import LocalPolicy
    from system2.synthesise.token_quality import ExploreConfig

train = App(name="train", help="Train policies and verifiers.")


def explore(
    *,
    out: Path,
    task: str | None = None,
    problems: Path | None = None,
    policy: str = "tiny",
    strategy: Literal["rollout", "uniform", "base", "expert", "contrast"] = "rollout",
    amateur: str | None = None,
    text: Literal["reference", "sampled"] = "reference",
    split: PartOf = "train",
    n: NumProblems = None,
    positions: Count = 8,
    proposals: Count = 2,
    rollouts: Count = 8,
    max_quality: Share = 0.5,
    min_gap: Share = 0.25,
    measure_reference: Annotated[bool, Parameter(negative=())] = False,
    alpha: Share = 0.05,
    temperature: NonNegative = 1.0,
    max_tokens: Count = 256,
    batch: Count = 128,
    workers: Workers = 1,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Explore the quality of alternative tokens, and write LLM2's training pairs.

    At uncertain positions of a solution other tokens are tried; a bad one becomes the
    negative of a pair. Started again after a kill, it goes on where it was.

    Parameters
    ----------
    out
        The JSONL file to write, in LLM2's format; its manifest is written beside it.
    task
        The task whose problems are explored.
    problems
        A JSONL file of problems whose metadata hold a "solution", instead of --task.
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
    positions
        Positions explored in one solution, the least certain first.
    proposals
        Tokens tried at a position.
    rollouts
        Continuations of each token (rollout only).
    max_quality
        Along a reference, a token whose share of right continuations is at most this is a
        negative.
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
        Which problems are drawn, and every draw.
    """
    from system2.engine.local import load_policy
    from system2.synthesise.token_quality import ExploreConfig

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
    found, drawn = problems_of(task, problems, split, n, seed)
    warn_of_split(split if problems is None else None)
    check_workers(workers, policy)
    loaded = load_policy(policy, max_rows=batch)
    weaker = amateur or ("tiny-amateur" if policy == "tiny" else None)
    second = _amateur(weaker, loaded, strategy)
    asked = {
        "task": found.name, "split": split if problems is None else None, "n": len(drawn),
        "policy": policy, "amateur": weaker if second is not None else None,
    }  # fmt: skip
    data = [problems] if problems is not None else []
    pairs = _write_pairs(out, asked, data, found, drawn, loaded, second, config, workers)
    result = {"n": len(drawn), "pairs": pairs, "out": str(out)}
    finish(f"{pairs} pairs from {len(drawn)} problems: {out}", result, as_json=json)


def _amateur(name: str | None, policy: "LocalPolicy", strategy: str) -> "LocalPolicy | None":
    """Return the weaker policy where the strategy needs one. Raises: `UserError`."""
    from system2.core import UserError
    from system2.engine.local import load_policy
    from system2.synthesise.token_quality import NEEDS_AMATEUR
    from system2.verify.folders import tokenizer_print

    if strategy not in NEEDS_AMATEUR:
        return None
    if name is None:
        raise UserError(f"strategy {strategy} needs a weaker model; name it by --amateur")
    weaker = load_policy(name)
    if tokenizer_print(weaker.tokenizer) != tokenizer_print(policy.tokenizer):
        raise UserError(f"{name}: the amateur has another tokenizer than the policy")
    return weaker


def _write_pairs(
    out: Path,
    asked: Mapping[str, Any],
    data: list[Path],
    task: Task,
    problems: list[Problem],
    policy: "LocalPolicy",
    amateur: "LocalPolicy | None",
    config: "ExploreConfig",
    workers: int,
) -> int:
    """Explore what the file lacks yet, write it with its manifest, return how many pairs."""
    from system2.store import Journal, make_manifest, write_manifest
    from system2.synthesise.token_quality import CHUNK, explore

    described = {**asked, **asdict(config)}
    manifest = make_manifest("explore", described, seed=config.seed, data=data)
    traces = traces_of(problems, [policy, *([amateur] if amateur is not None else [])])
    second = amateur.model if amateur is not None else None
    with (
        decoded_by(policy, workers) as sampler,
        Journal(out, {**described, **traces, "data": manifest.data_hash}) as journal,
    ):
        rows = taken_up(
            journal,
            problems,
            CHUNK,
            lambda rest: explore(sampler, task, rest, config, amateur=second, chunk=CHUNK),
        )
        for row in progress(rows, "exploring", total=len(problems), done=len(journal)):
            journal.append(row)
        num_pairs = sum(len(row["samples"]) for row in journal)
        write_manifest(out, manifest)
        journal.finish()
    return num_pairs


@train.command(name="token-verifier")
def token_verifier(
    pairs: Path,
    /,
    *others: Path,
    out: Path,
    policy: str = "tiny",
    layout: Literal["separate", "shared", "vocab"] = "shared",
    adapted: Adapted = 1,
    epochs: Epochs = 2.0,
    learning_rate: Rate = 2e-5,
    micro_batches: MicroBatches = 4,
    max_tokens: MicroTokens = 4096,
    weighting: Literal["equal", "gap"] = "equal",
    alpha: Share = 0.1,
    beta: NonNegative = 0.25,
    seed: DataOrder = 42,
    json: Json = False,
) -> None:
    """Train an LLM2 token verifier on pairs; the folder is then a --verifier.

    The defaults are the paper's. Started again after a kill, it goes on where it was.

    Parameters
    ----------
    pairs
        The JSONL file of system2 explore.
    others
        More such files, to learn from together: cheap pairs beside measured ones, say.
    out
        The verifier's folder.
    policy
        The policy it will judge: tiny, a checkpoint folder, or hub:NAME.
    layout
        separate (a full second model), shared (a head on the policy's trunk), vocab (a
        vocabulary head: the cheapest).
    weighting
        gap weighs a pair by how far apart its tokens' qualities are.
    alpha
        Written into the folder as the setting to decode with.
    beta
        Likewise.
    """
    from system2.store import make_manifest
    from system2.synthesise.pairs import read_pairs
    from system2.train.token_verifier import VerifierFit, fit_token_verifier
    from system2.verify.folders import save_verifier

    loaded, precision = prepared(policy, out)
    config = VerifierFit(
        layout=layout,
        num_adapted=adapted,
        epochs=epochs,
        learning_rate=learning_rate,
        max_tokens=max_tokens,
        micro_batches=micro_batches,
        weighting=weighting,
        mixed_precision=precision,
        seed=seed,
    )
    files = [pairs, *others]
    for path in files:
        warn_of_split(split_of(path))
    rows = [row for path in files for row in read_pairs(path, loaded.tokenizer)]
    described = {"policy": policy, **asdict(config)}
    manifest = make_manifest("train token-verifier", described, seed=seed, data=files)
    verifier, steps, reports = fit_token_verifier(
        loaded.model, rows, config, folder=work_folder(out)
    )
    loss = last_loss(reports, f"training {layout}", steps)
    settings, made = {"alpha": alpha, "beta": beta}, asdict(manifest)
    save_verifier(out, verifier, loaded.tokenizer, settings=settings, manifest=made)
    num_pairs = sum(len(row.pairs) for row in rows)
    finish_training({"pairs": num_pairs, "steps": steps}, loss, out, as_json=json)


@train.command(name="sft")
def sft(
    *,
    out: Path,
    task: str | None = None,
    problems: Path | None = None,
    policy: str = "tiny",
    split: PartOf = "train",
    n: Count | None = None,
    epochs: Epochs = 1.0,
    learning_rate: float = 1e-5,
    micro_batches: MicroBatches = 1,
    max_tokens: MicroTokens = 2048,
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
    n
        How many problems at most (default: 10,000 of a task, all of a file).
    learning_rate
        Its peak; 10% warm-up, then a cosine to a twentieth.
    seed
        Which problems are drawn, and their order.
    """
    from system2.engine.weights import save_model
    from system2.store import make_manifest
    from system2.train.loop import FitConfig, fit, num_steps
    from system2.train.losses import next_token_loss
    from system2.train.sft import example_batches, sft_examples
    from system2.verify.folders import policy_print

    _, drawn = problems_of(task, problems, split, n, seed, default=10_000)
    warn_of_split(split if problems is None else None)
    loaded, precision = prepared(policy, out)
    examples = sft_examples(loaded.tokenizer, drawn)
    batches, per_epoch = example_batches(
        examples, loaded.tokenizer.pad, max_tokens=max_tokens, seed=seed, per_step=micro_batches
    )
    config = FitConfig(
        steps=num_steps(epochs, per_epoch),
        learning_rate=learning_rate,
        warmup=0.1,
        weight_decay=0.0,
        mixed_precision=precision,
        seed=seed,
    )
    described = {"policy": policy, "task": task, "split": split, "n": n, **asdict(config)}
    data = [problems] if problems is not None else []
    manifest = make_manifest("train sft", described, seed=seed, data=data)
    model, about = loaded.model, (policy_print(loaded.model), max_tokens, micro_batches, examples)
    reports = fit(
        model.train(), batches, next_token_loss, config, folder=work_folder(out), about=about
    )
    loss = last_loss(reports, "training", config.steps)
    extra = {"manifest.json": json_bytes(asdict(manifest))}
    save_model(out, model, loaded.tokenizer.folder, extra=extra)
    finish_training({"problems": len(drawn), "steps": config.steps}, loss, out, as_json=json)
