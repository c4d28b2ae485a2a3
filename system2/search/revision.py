"""Revision: attempts one after another, each drawn in sight of the earlier ones.

Source: Meta-CoT (arXiv 2501.04682) section 3.2, equation 6 (a sliding window over earlier
attempts), after Snell et al. (arXiv 2408.03314) section 6 and RISE (arXiv 2407.18219). The prompts
are not given there. We differ: an attempt is drawn after a context that holds problem and earlier
attempts, but it is written down as an attempt at the problem itself, so that verifiers and
selection treat it as any other; right attempts may be shown too, for nobody knows which are.
"""

from collections.abc import Callable, Sequence

from system2.core import SamplingParams, Steps, Tokens
from system2.search.moves import check_dials, draw, evaluate, is_solved
from system2.tree import ROOT, Tree


def revision(
    tree: Tree,
    *,
    samples: int,
    params: SamplingParams,
    context: Callable[[Sequence[Tokens]], Tokens],
    window: int = 4,
    accept: float | None = None,
) -> Steps[None]:
    """Draw `samples` whole attempts, each conditioned on the last `window` earlier ones.

    `context` returns the prompt that shows these attempts (their tokens, oldest first); the
    first attempt follows the problem's own prompt. Those that end are scored. A finished
    attempt of a value >= `accept` ends the search.
    Raises: `UserError` on a dial out of its range.
    """
    check_dials("revision", accept, samples=samples, window=window)
    return _revision(tree, samples, params, context, window, accept)


def _revision(
    tree: Tree,
    samples: int,
    params: SamplingParams,
    context: Callable[[Sequence[Tokens]], Tokens],
    window: int,
    accept: float | None,
) -> Steps[None]:
    earlier: list[Tokens] = []
    for _ in range(samples):
        prompt = context(earlier[-window:]) if earlier else tree.prompt
        ends = ("eos", "stop")
        ((attempt, completion),) = yield from draw(
            tree, [ROOT], 1, params, ends=ends, prompt=prompt
        )
        if completion.tokens:
            earlier.append(completion.tokens)
        yield from evaluate(tree, [attempt] if tree.nodes[attempt].terminal else [])
        if is_solved(tree, attempt, accept):
            return
