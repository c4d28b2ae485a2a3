"""`system2 train ...` of further verifiers: of values, of likelihoods, of what was tried."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from cyclopts import Parameter
from cyclopts.validators import Number

from system2.cli.learn import train
from system2.cli.options import (
    Adapted,
    Count,
    DataOrder,
    Epochs,
    Json,
    MicroBatches,
    MicroTokens,
    NonNegative,
    Rate,
    Second,
    Share,
)
from system2.cli.terminal import warn
from system2.cli.training import (
    finish_training,
    last_loss,
    prepared,
    split_in,
    warn_of_split,
    work_folder,
)
from system2.core import UserError

if TYPE_CHECKING:
    from system2.engine.local import LocalPolicy
    from system2.engine.tokenizer import Tokenizer
    from system2.synthesise.searched import Searched
    from system2.train.outcome import Solution
    from system2.verify.process import ProcessVerifier

CountOrZero: TypeAlias = Annotated[int, Parameter(validator=Number(gte=0))]


@train.command(name="value-verifier")
def value_verifier(
    trees: Path,
    /,
    *others: Path,
    out: Path,
    policy: str = "tiny",
    lam: Annotated[Share, Parameter(name="--lambda")] = 0.9,
    expectile: Annotated[float, Parameter(validator=Number(gt=0, lt=1))] = 0.5,
    backup: Literal["mean", "max"] = "mean",
    rounds: CountOrZero = 1,
    layout: Second = "shared",
    adapted: Adapted = 1,
    epochs: Epochs = 2.0,
    learning_rate: Rate = 3e-4,
    micro_batches: MicroBatches = 1,
    max_tokens: MicroTokens = 4096,
    seed: DataOrder = 42,
    json: Json = False,
) -> None:
    """Train a verifier of steps on searches, by TD(lambda); it is then used as a process verifier.

    It learns what prefixes came to in the trees of any search on training problems, first by
    Monte Carlo, then from its own values, too. Started again after a kill, it goes on.

    Parameters
    ----------
    trees
        The trees file of system2 solve.
    others
        More such files, to learn from together.
    out
        The verifier's folder.
    policy
        The policy whose steps it will judge: tiny, a checkpoint folder, or hub:NAME.
    lam
        1 learns how attempts ended, 0 the value of the next step alone.
    expectile
        0.5 learns the mean over next steps, above it more nearly the best of them.
    backup
        What a prefix is worth to the one before: the mean of its next steps, or the best.
    rounds
        Rounds with its own values as targets, after one without; each makes --epochs passes.
    """
    from system2.engine.steps import StepEnds
    from system2.store import make_manifest
    from system2.synthesise.searched import step_tree
    from system2.train.placed import calibrated
    from system2.train.values import ValueFit, fit_value_verifier, value_texts
    from system2.verify.folders import save_verifier

    loaded, precision = prepared(policy, out)
    config = ValueFit(
        lam=lam, expectile=expectile, backup=backup, rounds=rounds, epochs=epochs,
        learning_rate=learning_rate, max_tokens=max_tokens, micro_batches=micro_batches,
        mixed_precision=precision, seed=seed,
    )  # fmt: skip
    found = searches_of([trees, *others], loaded.tokenizer)
    verifier = _process_verifier(loaded, found, layout, adapted)
    ends = StepEnds(loaded.tokenizer, verifier.step_ends.stop)
    some, kept = _divided(found)
    learned = [step_tree(search, ends) for search in some]
    described = {"policy": policy, "layout": layout, "num_adapted": adapted, **asdict(config)}
    manifest = make_manifest("train value-verifier", described, seed=seed, data=[trees, *others])
    reports = fit_value_verifier(verifier, learned, config, folder=work_folder(out))
    loss, steps = _trained(reports)
    if expectile == 0.5 and backup == "mean":  # anything else is no probability
        held_out = [
            text
            for tree in (step_tree(search, ends) for search in kept)
            for text in value_texts(tree, [None] * len(tree.parents), lam=1.0)
        ]
        verifier.calibration = calibrated(verifier.eval(), _some(held_out))
    save_verifier(out, verifier, loaded.tokenizer, manifest=asdict(manifest))
    counts = {"trees": len(learned), "held_out": len(kept), "steps": steps}
    finish_training(counts, loss, out, as_json=json)


@train.command(name="implicit-verifier")
def implicit_verifier(
    trees: Path,
    /,
    *others: Path,
    out: Path,
    policy: str = "tiny",
    beta: Annotated[NonNegative, Parameter(validator=Number(gt=0))] = 0.05,
    adapted: Adapted = 1,
    epochs: Epochs = 2.0,
    learning_rate: Rate = 3e-4,
    micro_batches: MicroBatches = 1,
    max_tokens: MicroTokens = 4096,
    seed: DataOrder = 42,
    json: Json = False,
) -> None:
    """Train a verifier of steps on grades of whole attempts alone (an implicit PRM).

    It learns beta * log pi / pi_ref, the policy being the reference, and is calibrated on one
    problem in twelve that it does not learn from. Started again after a kill, it goes on.

    Parameters
    ----------
    trees
        The trees file of system2 solve.
    others
        More such files, to learn from together.
    out
        The verifier's folder.
    policy
        The policy whose attempts it will judge: tiny, a checkpoint folder, or hub:NAME.
    beta
        The weight of the log-ratio of likelihoods.
    """
    from system2.store import make_manifest
    from system2.train.implicit import ImplicitFit, calibrated, fit_implicit_verifier
    from system2.verify.folders import save_verifier
    from system2.verify.implicit import ImplicitVerifier

    loaded, precision = prepared(policy, out)
    config = ImplicitFit(
        epochs=epochs, learning_rate=learning_rate, max_tokens=max_tokens,
        micro_batches=micro_batches, mixed_precision=precision, seed=seed,
    )  # fmt: skip
    found = searches_of([trees, *others], loaded.tokenizer)
    learned, kept = map(_solutions, _divided(found))
    verifier = ImplicitVerifier(loaded.model, loaded.tokenizer, adapted, beta=beta)
    described = {"policy": policy, "beta": beta, "num_adapted": adapted, **asdict(config)}
    manifest = make_manifest("train implicit-verifier", described, seed=seed, data=[trees, *others])
    steps, reports = fit_implicit_verifier(verifier, learned, config, folder=work_folder(out))
    loss = last_loss(reports, "training", steps)
    verifier.calibration = calibrated(verifier.eval(), _some(kept))
    save_verifier(out, verifier, loaded.tokenizer, manifest=asdict(manifest))
    right = sum(solution.is_right for solution in learned)
    counts = {"attempts": len(learned), "right": right, "held_out": len(kept), "steps": steps}
    finish_training(counts, loss, out, as_json=json)


@train.command(name="meta-critic")
def meta_critic(
    trees: Path,
    /,
    *others: Path,
    out: Path,
    policy: str = "tiny",
    tried: Literal["wrong", "all", "none"] = "wrong",
    orders: Count = 4,
    layout: Second = "shared",
    adapted: Adapted = 1,
    epochs: Epochs = 2.0,
    learning_rate: Rate = 3e-4,
    micro_batches: MicroBatches = 1,
    max_tokens: MicroTokens = 4096,
    seed: DataOrder = 42,
    json: Json = False,
) -> None:
    """Train a verifier of steps that is shown what was tried before; the --verifier of meta.

    It learns from several attempts a problem: system2 solve --search sample --samples 16 on
    training problems. Started again after a kill, it goes on where it was.

    Parameters
    ----------
    trees
        The trees file of system2 solve.
    others
        More such files, to learn from together.
    out
        The verifier's folder.
    policy
        The policy whose attempts it will judge: tiny, a checkpoint folder, or hub:NAME.
    tried
        wrong: attempts up to the first right one, as a search would; all: every earlier one;
        none: a plain critic, to compare with.
    orders
        Orders in which each tree's attempts are taken: as found, then shuffled.
    """
    from system2.store import make_manifest
    from system2.train.meta_critic import CriticFit, all_texts, fit_meta_critic
    from system2.train.placed import calibrated
    from system2.verify.folders import save_verifier
    from system2.verify.meta_critic import MetaCritic

    loaded, precision = prepared(policy, out)
    config = CriticFit(
        tried=tried, orders=orders, epochs=epochs, learning_rate=learning_rate,
        max_tokens=max_tokens, micro_batches=micro_batches, mixed_precision=precision, seed=seed,
    )  # fmt: skip
    found = searches_of([trees, *others], loaded.tokenizer)
    critic = MetaCritic(_process_verifier(loaded, found, layout, adapted))
    learned, kept = _divided(found)
    described = {"policy": policy, "layout": layout, "num_adapted": adapted, **asdict(config)}
    manifest = make_manifest("train meta-critic", described, seed=seed, data=[trees, *others])
    steps, reports = fit_meta_critic(critic, learned, config, folder=work_folder(out))
    loss = last_loss(reports, "training", steps)
    held_out = all_texts(critic.eval(), kept, replace(config, orders=1))
    critic.judge.calibration = calibrated(critic.judge, _some(held_out))
    save_verifier(out, critic, loaded.tokenizer, manifest=asdict(manifest))
    attempts = sum(len(search.attempts()) for search in learned)
    counts = {"attempts": attempts, "held_out": len(kept), "steps": steps}
    finish_training(counts, loss, out, as_json=json)


def searches_of(files: Sequence[Path], tokenizer: "Tokenizer") -> "list[Searched]":
    """Return the searches of trees files. Raises: `UserError` where there is none."""
    from system2.store import read_trees
    from system2.synthesise.searched import searched

    found: list[Searched] = []
    for file in files:
        manifest, rows = read_trees(file)
        warn_of_split(split_in(manifest))
        found += searched(rows, tokenizer, str(file))
    if not found:
        raise UserError(f"{files[0]} holds no tree: make some by system2 solve")
    return found


def _divided(searches: "list[Searched]") -> "tuple[list[Searched], list[Searched]]":
    """Return searches to learn from and those kept out; where none would be left, none is kept."""
    from system2.train.placed import is_kept_out

    kept = [search for search in searches if is_kept_out(search.problem)]
    if len(kept) == len(searches):
        return searches, []
    return [search for search in searches if not is_kept_out(search.problem)], kept


def _process_verifier(
    loaded: "LocalPolicy",
    searches: "Sequence[Searched]",
    layout: Literal["shared", "separate"],
    adapted: int,
) -> "ProcessVerifier":
    """Return a fresh verifier of the steps of the searches' task."""
    from system2.synthesise.searched import step_stop_of
    from system2.verify.process import ProcessVerifier

    return ProcessVerifier(
        loaded.model,
        loaded.tokenizer,
        layout=layout,
        num_adapted=adapted,
        step_stop=step_stop_of(searches[0].problem),
    )


def _solutions(searches: "Sequence[Searched]") -> "list[Solution]":
    """Return the graded attempts of searches."""
    from system2.train.outcome import Solution

    return [
        Solution(search.prompt + node.completion, len(search.prompt), bool(node.is_right))
        for search in searches
        for node in search.attempts()
    ]


def _some(held_out: Any) -> Any:
    """Return what is kept to calibrate on; warn where there is nothing."""
    if not held_out:
        warn("no problem is left to calibrate on: its values are as they were learned")
    return held_out


def _trained(reports: Iterator[Any]) -> tuple[float | None, int]:
    """Train to the end, however many steps that takes; return the last loss and the steps."""
    from system2.cli.terminal import progress

    loss, steps = None, 0
    for report in progress(reports, "training", total=None):
        loss, steps = float(report.loss), steps + 1
    return loss, steps
