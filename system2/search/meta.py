"""Meta-search: an outer search over whole attempts, steered by a critic that sees what was tried.

Source: Meta-CoT (arXiv 2501.04682) section 7 and figure 30: a meta-critic v(Z, S, q) judges a
prefix S in the light of the attempts Z made so far, and the search goes on from the prefix that is
the most promising next. With a verifier that ignores `tried` it is the plain-critic control of
that figure: values do not change, and the same prefix is gone on from until it yields a better.
The paper gives no algorithm; what is decided here: all prefixes are judged anew for each attempt;
a finished attempt is judged in the light of those before it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from system2.core import SampleRequest, SamplingParams, Steps, Tokens, derive_seed
from system2.search.moves import check_dials, evaluate, is_solved, value_of
from system2.tree import ROOT, Tree


def meta(
    tree: Tree,
    *,
    samples: int,
    params: SamplingParams,
    cut: Callable[[Tokens], Sequence[Tokens]],
    accept: float | None = None,
) -> Steps[None]:
    """Draw `samples` attempts, each from the best of the root and all steps of earlier ones.

    `params` are those of a whole attempt, whose `max_tokens` bounds what is added to the prompt
    in all; `cut` cuts an attempt's tokens into steps, none empty, that join to it. Equal
    prefixes are one; ties go to what was found first. A finished attempt of a value >= `accept`
    ends the search.
    Raises: `UserError` on a dial out of its range.
    """
    check_dials("meta", accept, samples=samples)
    return _meta(tree, samples, params, cut, accept)


def _meta(
    tree: Tree,
    samples: int,
    params: SamplingParams,
    cut: Callable[[Tokens], Sequence[Tokens]],
    accept: float | None,
) -> Steps[None]:
    frontier: dict[Tokens, int] = {(): ROOT}
    tried: list[Tokens] = []
    for _ in range(samples):
        since = len(tree.nodes)
        yield from evaluate(tree, list(frontier.values()), tried=tuple(tried))
        best = max(frontier.values(), key=lambda node: value_of(tree, node))
        steps = yield from _attempt(tree, best, params, cut)
        yield from evaluate(
            tree, [step for step in steps if tree.nodes[step].terminal], tried=tuple(tried)
        )
        if is_solved(tree, since, accept):
            return
        tried.append(tree.completion(steps[-1]))
        for step in steps[:-1]:  # an attempt's last step is where it ended or was cut short
            _ = frontier.setdefault(tree.completion(step), step)


def _attempt(
    tree: Tree,
    start: int,
    params: SamplingParams,
    cut: Callable[[Tokens], Sequence[Tokens]],
) -> Steps[list[int]]:
    """Draw the rest of an attempt that begins with a node; return its steps as new nodes."""
    room = params.max_tokens - len(tree.completion(start))
    ((completion,),) = yield SampleRequest(
        prefixes=(tree.prefix(start),),
        n=1,
        params=replace(params, max_tokens=room),
        seed=derive_seed("expand", tree.seed, len(tree.nodes)),
    )
    steps = [tuple(step) for step in cut(completion.tokens)] or [()]
    if sum(steps, ()) != completion.tokens or (len(steps) > 1 and not all(steps)):
        raise ValueError("cut has to return steps, none empty, that join to the attempt")
    is_end = completion.finish_reason in ("eos", "stop")
    nodes: list[int] = []
    done = 0
    for number, step in enumerate(steps, start=1):
        parent = nodes[-1] if nodes else start
        logprobs = completion.logprobs[done : done + len(step)]
        done += len(step)
        nodes.append(tree.add(parent, step, logprobs, terminal=is_end and number == len(steps)))
    return nodes
