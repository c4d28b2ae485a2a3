"""Train a value verifier on searches: TD(lambda) targets, expectile regression, rounds.

Place in the flow: a trees file -> step trees -> `td_returns` -> `fit` -> a `ProcessVerifier`,
which a search asks and whose trees the next round may learn from. Each prefix is regressed on
what its children turned out to be worth. A first pass learns plain Monte Carlo, for the values
of a fresh verifier say nothing; each round after it blends the values of the verifier as the
round found it (frozen: a target does not run away from what chases it) with what came of them.
Source: TD(lambda), Sutton and Barto 2018, chapter 12; expectile regression as an implicit maximum
over actions, IQL (arXiv 2110.06169, section 4.2); asked for over reasoning steps by Meta-CoT (arXiv
2501.04682, section 8.3.2). We differ: states are prefixes, so there is no Q beside V: a step
leads where it leads, and its worth is that of the prefix it makes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from jaxtyping import Float
from torch import Tensor

from system2.core import UserError
from system2.synthesise.searched import StepTree
from system2.synthesise.td_targets import td_returns
from system2.train.batches import planned_batches
from system2.train.loop import StepReport, fit, passes_over
from system2.train.losses import expectile_loss
from system2.train.placed import PlacedBatch, PlacedText, placed_batch
from system2.verify.folders import policy_print
from system2.verify.process import ProcessVerifier, described

Backup: TypeAlias = Literal["mean", "max"]
"""What a prefix is worth to the one before it: the mean of its children, or the best of them."""
_EXPECTILE_OF: dict[Backup, float] = {"mean": 0.5, "max": 1.0}


@dataclass(frozen=True, slots=True)
class ValueFit:
    """How to train a value verifier.

    `lam` in [0, 1] is TD's lambda: 1 learns what attempts came to (Monte Carlo, no rounds),
    0 the next prefix's value alone. `expectile` in (0, 1) is the loss's: above 0.5 a prefix is
    worth more like its best child. `rounds` are made with bootstrapped targets, after the
    Monte-Carlo pass; each pass is `epochs` over the data. A step is `micro_batches` of at
    most `max_tokens` padded tokens; `mixed_precision` is "no" or "bf16".
    Raises: `UserError` on a value out of its range.
    """

    lam: float = 0.9
    expectile: float = 0.5
    backup: Backup = "mean"
    rounds: int = 1
    epochs: float = 2.0
    learning_rate: float = 1e-5
    max_tokens: int = 4096
    micro_batches: int = 4
    weight_decay: float = 0.0
    mixed_precision: str = "no"
    seed: int = 42

    def __post_init__(self) -> None:
        ranges = (
            ("lambda", self.lam, 0 <= self.lam <= 1, "in [0, 1]"),
            ("expectile", self.expectile, 0 < self.expectile < 1, "between 0 and 1"),
            ("backup", self.backup, self.backup in _EXPECTILE_OF, "mean or max"),
            ("rounds", self.rounds, self.rounds >= 0, "at least 0"),
        )
        for name, value, is_sound, wanted in ranges:
            if not is_sound:
                raise UserError(f"{name} is {value}; it must be {wanted}")


def value_texts(
    tree: StepTree, values: Sequence[float | None], *, lam: float, backup: Backup = "mean"
) -> list[PlacedText]:
    """Return the prefixes of a tree with what they should be worth.

    `values[i]` in [0, 1] is what a verifier gives node i (None: nothing). Where children are
    averaged, a prefix has a target a child, so that an expectile may be taken of them by the
    loss; an attempt's end has its grade. Nothing is said of a prefix that nothing tells of.
    """
    tau = _EXPECTILE_OF[backup]
    returns = td_returns(tree.parents, tree.rewards, values, lam=lam, tau=tau, weights=tree.counts)
    wanted: list[list[tuple[float, float]]] = [[] for _ in tree.parents]
    for node, parent in enumerate(tree.parents):
        worth, reward = returns[node], tree.rewards[node]
        if parent is not None and worth is not None and tree.rewards[parent] is None:
            wanted[parent].append((worth, tree.counts[node]))
        if reward is not None:
            wanted[node] = [(reward, 1.0)]
    if backup == "max":
        wanted = [[(max(of)[0], 1.0)] if of else [] for of in wanted]
    texts: list[PlacedText] = []
    told: set[int] = set()
    for leaf in tree.leaves():
        # a prefix that several attempts share is learned along the first of them
        path = [node for node in tree.path(leaf) if node not in told and wanted[node]]
        told.update(path)
        if path:
            texts.append(_placed(tree, path, wanted))
    return texts


def _placed(
    tree: StepTree, path: Sequence[int], wanted: Sequence[Sequence[tuple[float, float]]]
) -> PlacedText:
    """Return the targets of nodes along one path, the last of which is the longest."""
    places: list[int] = []
    targets: list[float] = []
    weights: list[float] = []
    for node in path:
        total = sum(weight for _, weight in wanted[node])
        for target, weight in wanted[node]:
            places.append(_place(tree, node))
            targets.append(target)
            weights.append(weight / total)
    return PlacedText(tree.tokens(path[-1]), tuple(places), tuple(targets), tuple(weights))


def _place(tree: StepTree, node: int) -> int:
    """Return the index of a prefix's last token."""
    return len(tree.prompt) + len(tree.completions[node]) - 1


def node_values(verifier: ProcessVerifier, tree: StepTree) -> list[float | None]:
    """Return a verifier's value of each node of a tree, None where an attempt was graded."""
    leaves = tree.leaves()
    paths = [tree.path(leaf) for leaf in leaves]
    places = [[_place(tree, node) for node in path] for path in paths]
    found: list[float | None] = [None] * len(tree.parents)
    read = verifier.values_at([tree.tokens(leaf) for leaf in leaves], places)
    for path, values in zip(paths, read, strict=True):
        for node, value in zip(path, values, strict=True):
            found[node] = value if tree.rewards[node] is None else None
    return found


def regression_loss(
    verifier: ProcessVerifier, batch: PlacedBatch, expectile: float
) -> Float[Tensor, ""]:
    """Return the expectile loss of a batch, summed over its places."""
    logits = verifier(batch.tokens)[batch.rows, batch.columns]
    return expectile_loss(logits.sigmoid(), batch.targets, expectile, batch.weights)


def fit_value_verifier(
    verifier: ProcessVerifier,
    trees: Sequence[StepTree],
    config: ValueFit,
    *,
    folder: Path | None = None,
) -> Iterator[StepReport]:
    """Train a process verifier on searches, round by round; yield a report a step.

    A step's number starts again with every round. The policy is in float32, and stays as it
    is. With `folder`, training takes up from its last checkpoint.
    Raises: `UserError` where there are not both right and wrong attempts, or training diverges.
    """
    grades = [reward for tree in trees for reward in tree.rewards if reward is not None]
    if len(set(grades)) < 2:
        raise UserError(
            f"{round(sum(grades))} of {len(grades)} graded attempts are right; both kinds are "
            "needed: search more problems (system2 solve --search sample --samples 16)"
        )
    rounds = 0 if config.lam == 1 else config.rounds
    for number in range(rounds + 1):
        lam = config.lam if number else 1.0
        texts = [
            text
            for tree in trees
            for text in value_texts(
                tree,
                node_values(verifier, tree) if number else [None] * len(tree.parents),
                lam=lam,
                backup=config.backup,
            )
        ]
        within = folder / f"round-{number}" if folder is not None else None
        yield from _fit_round(verifier, texts, config, number, within)


def _fit_round(
    verifier: ProcessVerifier,
    texts: Sequence[PlacedText],
    config: ValueFit,
    number: int,
    folder: Path | None,
) -> Iterator[StepReport]:
    """Train on one round's targets, which stay as they are."""
    batches, per_epoch = planned_batches(
        texts,
        lambda text: len(text.tokens),
        placed_batch,
        max_tokens=config.max_tokens,
        seed=config.seed + number,
        per_step=config.micro_batches,
    )
    how = passes_over(config, per_epoch)

    def loss(model: ProcessVerifier, batch: PlacedBatch) -> Float[Tensor, ""]:
        return regression_loss(model, batch, config.expectile)

    made = (described(verifier), policy_print(verifier.policy))
    about = (config, number, made, texts)
    yield from fit(verifier, batches, loss, how, folder=folder, about=about)
