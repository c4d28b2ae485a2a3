"""A search behind the chat endpoint: `run` steps it in a thread, the decoder's thread decodes.

Place in the flow: `app` gives a conversation and the extension field `system2`; what comes back
is the attempt that the search's selection chose, as `system2 solve` would choose it.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from system2.core import (
    Completion,
    FinishReason,
    Problem,
    SampleRequest,
    ScoreRequest,
    Tokens,
    UserError,
    Verifier,
)
from system2.evaluate.reading import Reading, longest_prompt
from system2.evaluate.solve import SolveConfig, dials_of
from system2.run import run
from system2.search import SCORED_SEARCHES, SEARCHES
from system2.select import SELECTIONS
from system2.serve.errors import invalid
from system2.serve.loop import DecoderLoop
from system2.serve.requests import Ask, SearchFields, Served, rendered
from system2.tasks.answers import extract_answer, normal_form
from system2.tree import ROOT, Tree

_T = TypeVar("_T")

STEP_STOP = "\n"
"""What ends a step of a search over steps."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to: the chosen attempt's text, and what it all cost.

    `answer` is the final answer in that text, None where no attempt states one (the text is
    then the first attempt's); `value` is a verifier's, None where none was asked.
    """

    text: str
    answer: str | None
    value: float | None
    finish_reason: FinishReason
    num_attempts: int
    sampled_tokens: int


def check_search(ask: Ask, served: Served, verifier: Verifier | None) -> None:
    """Refuse a search that cannot be run. Raises: `ApiError` that names the field."""
    fields = ask.search
    assert fields is not None, "no search is asked for"
    if fields.search not in SEARCHES:
        known = ", ".join(SEARCHES)
        raise invalid(f"no search {fields.search[:100]!r}; there are {known}", param="system2")
    if fields.select is not None and fields.select not in SELECTIONS:
        known = ", ".join(SELECTIONS)
        raise invalid(f"no selection {fields.select[:100]!r}; there are {known}", param="system2")
    _check_dials(fields, served)
    if fields.search in SCORED_SEARCHES and verifier is None:
        raise invalid(
            f"search {fields.search} needs a verifier of whole attempts, and none is served",
            param="system2",
        )


def _check_dials(fields: SearchFields, served: Served) -> None:
    """Refuse dials that the search does not have, and those that ask for too much."""
    most, known = served.limits.max_choices, dials_of(fields.search)
    for dial in fields.dials:
        if dial not in known and (dial, fields.samples) != ("samples", 1):
            raise invalid(
                f"search {fields.search} has no use for {dial}; leave it out", param="system2"
            )
    config, rows = replace(SolveConfig(fields.search), **fields.dials), 1
    for dial in ("samples", "width", "branch", "rollouts"):
        rows *= (getattr(config, dial) or 1) if dial in known else 1
    if rows > most:
        raise invalid(
            f"search {fields.search} would draw {rows} completions at a time; at most {most}",
            param="system2",
        )
    largest = _largest_budget(served)
    if fields.budget is not None and fields.budget > largest:
        raise invalid(f"budget is {fields.budget}; at most {largest} tokens", param="system2")


def _largest_budget(served: Served) -> int:
    return served.limits.max_tokens * served.limits.max_choices


class Searching:
    """One search under way: `run` blocks its thread, `cancel` ends it from another.

    `tell` is called with the number of tokens sampled so far, whenever some were.
    """

    def __init__(
        self,
        ask: Ask,
        served: Served,
        loop: DecoderLoop,
        verifier: Verifier | None,
        tell: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._ask, self._served, self._loop, self._judge = ask, served, loop, verifier
        self._tell, self._num_sampled = tell, 0
        self._lock = threading.Lock()
        self._is_cancelled = False
        self._waits_for: Future[object] | None = None

    def run(self) -> Found:
        """Search, and return the chosen attempt.

        Raises: `UserError` where the model fails, `CancelledError` after `cancel`.
        """
        ask, fields = self._ask, self._ask.search
        assert fields is not None, "no search is asked for"
        request, params = ask.request, ask.request.params
        question = ask.conversation[-1]["content"]
        problem = Problem("request", question, "", "chat")
        tree = Tree(problem, request.seed, request.prefixes[0])
        config = SolveConfig(
            fields.search,
            temperature=params.temperature,
            top_p=params.top_p,
            max_tokens=params.max_tokens,
        )
        reading = _reading(ask, self._served)
        steps = replace(config, **fields.dials).steps(tree, STEP_STOP, reading)
        budget = _largest_budget(self._served) if fields.budget is None else fields.budget
        judge = self if self._judge is not None else None
        run([(tree, steps)], self, judge, budget=budget)
        return self._chosen(tree, fields.select or config.selection)

    @property
    def name(self) -> str:
        """What is served: the model, with its verifier if it has one."""
        judge = f" with {type(self._judge).__name__}" if self._judge is not None else ""
        return self._served.name + judge

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[list[Completion]]]:
        """Return completions `[r][p][i]`: the search's policy."""
        drawn = [self._result(future) for future in [self._loop.submit(r) for r in requests]]
        self._num_sampled += sum(len(one.tokens) for r in drawn for p in r for one in p)
        self._tell(self._num_sampled)
        return drawn

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Return values `[r][p]` in [0, 1]: the search's verifier."""
        judge = self._judge
        if judge is None:
            raise UserError("no verifier is served")
        return self._result(self._loop.call(partial(judge.score, requests)))

    def cancel(self) -> None:
        """End the search where it stands."""
        with self._lock:
            self._is_cancelled = True
            if self._waits_for is not None:
                _ = self._waits_for.cancel()

    def _result(self, future: "Future[_T]") -> _T:
        with self._lock:
            self._waits_for = future  # pyright: ignore[reportAttributeAccessIssue]  (only cancelled)
            if self._is_cancelled:
                _ = future.cancel()
        return future.result()

    def _chosen(self, tree: Tree, selection: str) -> Found:
        leaves = [leaf for leaf in tree.leaves() if leaf != ROOT]
        if not leaves:
            raise UserError("the budget leaves no token for an attempt; raise it")
        decode = self._served.tokenizer.decode
        texts = {leaf: decode(tree.completion(leaf)) for leaf in leaves}
        answers = {leaf: _answer_of(texts[leaf]) for leaf in leaves if tree.nodes[leaf].terminal}
        chosen = SELECTIONS[selection](tree, answers.get)
        leaf = leaves[0] if chosen is None else chosen
        return Found(
            text=texts[leaf],
            answer=answers.get(leaf),
            value=tree.nodes[leaf].value,
            finish_reason="stop" if tree.nodes[leaf].terminal else "length",
            num_attempts=len(leaves),
            sampled_tokens=tree.sampled_tokens,
        )


def _reading(ask: Ask, served: Served) -> Reading:
    """Return how attempts are read: the last message is asked again, the others stay."""
    *before, last = ask.conversation

    def again(question: str) -> Tokens:
        return rendered([*before, {**last, "content": question}], served)

    room = longest_prompt(served.max_positions, ask.request.params.max_tokens)
    limit = min(room, served.limits.max_prompt_tokens or room)
    return Reading(served.tokenizer, last["content"], again, _answer_of, STEP_STOP, limit)


def _answer_of(text: str) -> str | None:
    answer = extract_answer(text)
    return None if answer is None else normal_form(answer)
