"""Where the steps of a completion end, in tokens: just where a search's draws end.

Place in the flow: a search draws step by step and the engine ends each at the task's
`step_stop`; labels cut whole attempts into the same steps, and a process verifier reads its
values at their ends. A token may hold more than the stop (".\\n" is one token of many
vocabularies): all of it belongs to the step that it ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from system2.core import Tokens, UserError
from system2.engine.tokenizer import Tokenizer

_MAX_KNOWN = 200_000
"""Stretches of tokens that are remembered; then it starts anew."""


@dataclass(slots=True)
class StepEnds:
    """Finds the ends of steps; what a stretch of tokens reads is decoded once.

    Raises: `UserError` where `stop` is empty.
    """

    tokenizer: Tokenizer
    stop: str
    _known: dict[Tokens, bool] = field(default_factory=dict[Tokens, bool], init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.stop:
            raise UserError("step_stop is empty; a step must end with some text")

    def ends(self, completion: Sequence[int]) -> list[int]:
        """Return how many tokens of a completion lie up to the end of each whole step, in order.

        A step ends with the first token at which its text holds the stop, or that ends the
        attempt; tokens after the last of these ends are no whole step.
        """
        longest = len(self.stop.encode())  # tokens have a byte at least
        found: list[int] = []
        start = 0
        for place, token in enumerate(completion, start=1):
            window = tuple(completion[max(start, place - longest - 1) : place])
            if token in self.tokenizer.eos or self._holds_stop(window):
                found.append(place)
                start = place
        return found

    def cut(self, completion: Sequence[int]) -> list[Tokens]:
        """Return the steps of a completion, the last of which may be no whole one."""
        steps: list[Tokens] = []
        start = 0
        for end in self.ends(completion):
            steps.append(tuple(completion[start:end]))
            start = end
        rest = tuple(completion[start:])
        return [*steps, rest] if rest else steps

    def _holds_stop(self, window: Tokens) -> bool:
        known = self._known.get(window)
        if known is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            known = self._known[window] = self.stop in self.tokenizer.decode(window)
        return known
