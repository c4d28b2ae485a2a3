"""The driver: steps many searches at once and puts what they ask into few model calls.

Each tick collects every open search's pending request, makes one policy call and one verifier
call, and sends the answers back. It counts the budget (sampled tokens, the same for every
search), clips a request that would overshoot, and closes a search that has spent it; so every
search is batched over problems, any-time, and means the same thing at the same budget.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

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
    Raises: `UserError` where a search asks for scores and there is no verifier.
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
        (i, _clip(search.request, _share(search.request, search.tree, budget)))
        for i, search in enumerate(live)
        if isinstance(search.request, SampleRequest)
    ]
    scores = [
        (i, search.request)
        for i, search in enumerate(live)
        if isinstance(search.request, ScoreRequest)
    ]
    answers: list[Any] = [None] * len(live)
    if samples:
        requests = [request for _, request in samples]
        for (i, request), drawn in zip(samples, policy.sample(requests), strict=True):
            answers[i] = drawn
            tree = live[i].tree
            tree.sampled_tokens += _num_tokens(drawn)
            tree.positions_requested += _num_positions(request, drawn)
    if scores:
        if verifier is None:
            raise UserError("this search needs a verifier of solutions; name one")
        for (i, request), values in zip(
            scores, verifier.score([r for _, r in scores]), strict=True
        ):
            answers[i] = values
            live[i].tree.scored_prefixes += len(request.prefixes)
    return answers


def _num_tokens(drawn: Sequence[Sequence[Completion]]) -> int:
    return sum(len(c.tokens) for completions in drawn for c in completions)


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
