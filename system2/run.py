"""The driver: steps many searches at once and puts what they ask into few model calls.

Each tick collects every open search's pending request, makes one policy call and one verifier
call, and sends the answers back. It counts the budget (sampled tokens, the same for every
search), clips a request that would overshoot, and closes a search that has spent it; so every
search is batched over problems, any-time, and means the same thing at the same budget. What the
models answer is checked here, once for all searches: a broken one is named.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, cast

from system2.core import Completion, Policy, SampleRequest, ScoreRequest, Steps, UserError, Verifier
from system2.tree import Tree


@dataclass(slots=True)
class _Open:
    """A search under way and what it asked last."""

    tree: Tree
    steps: Steps[None]
    request: SampleRequest | ScoreRequest


def run(
    searches: Sequence[tuple[Tree, Steps[None]]],
    policy: Policy,
    verifier: Verifier | None = None,
    *,
    budget: int | None = None,
    on_finish: Callable[[Tree], None] | None = None,
) -> None:
    """Step searches to their end; their trees hold what was found.

    `budget` is the number of sampled tokens a tree may cost (None: no limit). A search whose
    budget is spent is closed where it stands. `on_finish` is called once a tree.
    Raises: `UserError` where a search asks for scores and there is no verifier, where the
    verifier gives anything but a number in [0, 1] for each prefix, and where the policy gives
    too few completions or too many, or longer ones than the budget allows. The model is named
    by its `name`, else by its class.
    """
    live = [
        opened
        for tree, steps in searches
        if (opened := _resume(tree, steps, None, budget, on_finish)) is not None
    ]
    while live:
        answers = _answer(live, policy, verifier, budget)
        live = [
            opened
            for search, answer in zip(live, answers, strict=True)
            if (opened := _resume(search.tree, search.steps, answer, budget, on_finish)) is not None
        ]


def _resume(
    tree: Tree,
    steps: Steps[None],
    answer: Any,
    budget: int | None,
    on_finish: Callable[[Tree], None] | None,
) -> _Open | None:
    """Send a search its answer; return what it asks next, None where it ended.

    One without a token left for each completion that it asks for is closed.
    """
    try:
        request = steps.send(answer)
    except StopIteration:
        request = None
    if isinstance(request, SampleRequest) and _share(request, tree, budget) == 0:
        steps.close()
        request = None
    if request is None:
        if on_finish is not None:
            on_finish(tree)
        return None
    return _Open(tree, steps, request)


def _answer(
    live: Sequence[_Open], policy: Policy, verifier: Verifier | None, budget: int | None
) -> list[Any]:
    """Return the answer to each open search's request, in order."""
    samples = [
        (search.tree, _clip(search.request, _share(search.request, search.tree, budget)))
        for search in live
        if isinstance(search.request, SampleRequest)
    ]
    scores = [
        (search.tree, search.request) for search in live if isinstance(search.request, ScoreRequest)
    ]
    drawn = iter(_drawn(samples, policy, budget) if samples else [])
    values = iter(_scored(scores, verifier) if scores else [])
    return [next(drawn if isinstance(s.request, SampleRequest) else values) for s in live]


def _drawn(
    samples: Sequence[tuple[Tree, SampleRequest]], policy: Policy, budget: int | None
) -> list[list[list[Completion]]]:
    """Return the completions `[r][p][i]` that trees' searches ask for; count what they cost."""
    name = f"policy {_name(policy)}"
    where = f"{name}, problem {samples[0][0].problem.id!r} and on"
    answers = _listed(policy.sample([request for _, request in samples]), len(samples), where)
    found: list[list[list[Completion]]] = []
    for (tree, request), answer in zip(samples, answers, strict=True):
        where = f"{name}, problem {tree.problem.id!r}"
        drawn = [
            [_completion(one, request, where, is_bounded=budget is not None) for one in ones]
            for prefix in _listed(answer, len(request.prefixes), where, of="lists of completions")
            for ones in [_listed(prefix, request.n, where, of="completions of a prefix")]
        ]
        tree.sampled_tokens += sum(len(one.tokens) for ones in drawn for one in ones)
        tree.positions_requested += _num_positions(request, drawn)
        found.append(drawn)
    return found


def _completion(one: object, request: SampleRequest, where: str, *, is_bounded: bool) -> Completion:
    """Return one completion of a policy's. Raises: `UserError` where it breaks its word."""
    if not isinstance(one, Completion):
        raise UserError(f"{where}: {_shown(one)} is no completion")
    count, most = len(one.tokens), request.params.max_tokens
    if len(one.logprobs) != count:
        raise UserError(f"{where}: {count} tokens, but {len(one.logprobs)} logprobs")
    if is_bounded and count > most:  # or the budget would not hold
        raise UserError(f"{where}: a completion of {count} tokens, where {most} were allowed")
    return one


def _scored(
    scores: Sequence[tuple[Tree, ScoreRequest]], verifier: Verifier | None
) -> list[list[float]]:
    """Return the values `[r][p]` that trees' searches ask for; count what they cost."""
    if verifier is None:
        raise UserError("this search needs a verifier of solutions; name one")
    name = f"verifier {_name(verifier)}"
    where = f"{name}, problem {scores[0][0].problem.id!r} and on"
    answers = _listed(verifier.score([request for _, request in scores]), len(scores), where)
    found: list[list[float]] = []
    for (tree, request), answer in zip(scores, answers, strict=True):
        where = f"{name}, problem {tree.problem.id!r}"
        values = _listed(answer, len(request.prefixes), where, of="values of prefixes")
        found.append([_value(value, where) for value in values])
        tree.scored_prefixes += len(request.prefixes)
    return found


def _value(value: object, where: str) -> float:
    """Return a verifier's value as a number. Raises: `UserError` where it is none in [0, 1]."""
    try:
        number = float(value) if isinstance(value, Real) else math.nan
    except OverflowError:  # a whole number that no float can hold
        number = math.inf
    if not 0 <= number <= 1:  # NaN is in no range
        raise UserError(f"{where}: the value {_shown(value)} is no number in [0, 1]")
    return number


def _listed(
    answer: object, wanted: int, where: str, *, of: str = "answers to requests"
) -> list[object]:
    """Return the items of a list or the like (an array). Raises: `UserError` on a wrong number."""
    if isinstance(answer, str | bytes | dict) or not isinstance(answer, Iterable):
        raise UserError(f"{where}: {_shown(cast(object, answer))} in place of {wanted} {of}")
    items = list(cast("Iterable[object]", answer))
    if len(items) != wanted:
        raise UserError(f"{where}: {len(items)} {of}, where {wanted} are asked for")
    return items


def _name(model: object) -> str:
    name = getattr(model, "name", None)
    return name if isinstance(name, str) and name else type(model).__name__


def _shown(value: object) -> str:
    """Return a value as it is shown in one short line."""
    return " ".join(repr(value).split())[:100]


def _num_positions(request: SampleRequest, drawn: Sequence[Sequence[Completion]]) -> int:
    """Return how many positions its completions would take if each were run alone."""
    return sum(
        len(prefix) + len(completion.tokens) - 1
        for prefix, completions in zip(request.prefixes, drawn, strict=True)
        for completion in completions
    )


def _share(request: SampleRequest, tree: Tree, budget: int | None) -> int:
    """Return how many tokens each completion may take: the budget holds if all take so many."""
    wanted = request.params.max_tokens
    if budget is None:
        return wanted
    num_completions = max(1, len(request.prefixes) * request.n)
    return min(wanted, (budget - tree.sampled_tokens) // num_completions)


def _clip(request: SampleRequest, max_tokens: int) -> SampleRequest:
    """Shorten completions to at most `max_tokens`."""
    if max_tokens == request.params.max_tokens:
        return request
    return replace(request, params=replace(request.params, max_tokens=max_tokens))
