"""What a search over tokens has to know of text: answers, steps, and prompts that show attempts.

Place in the flow: a search may ask for functions `answer_of`, `context` and `cut`; they are made
here, out of a task and a tokenizer, for `solve` and the server alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from system2.core import Tokens
from system2.engine.tokenizer import Tokenizer

REVISE = (
    "{question}\n\nHere are earlier attempts at this problem. They may be wrong.\n\n{attempts}\n\n"
    "Find what is wrong in them, and solve the problem again."
)
"""What `revision` asks; the papers that it comes from do not print their prompts."""
ATTEMPT = "Attempt {number}:\n{text}"


@dataclass(frozen=True, slots=True)
class Reading:
    """How the attempts at one problem are read.

    `ask` returns the prompt that asks a question, `read` the answer (normal form, None: none)
    in an attempt's text; `step_stop` ends a step. Prompts that show attempts have at most
    `max_prompt` tokens (None: any number).
    """

    tokenizer: Tokenizer
    question: str
    ask: Callable[[str], Tokens]
    read: Callable[[str], str | None]
    step_stop: str
    max_prompt: int | None = None

    def answer_of(self, attempt: Tokens) -> str | None:
        """Return the answer of an attempt in normal form, None where it states none."""
        return self.read(self.tokenizer.decode(attempt))

    def context(self, attempts: Sequence[Tokens]) -> Tokens:
        """Return the prompt that shows attempts, oldest first, and asks for a better one.

        Where it would be too long, the oldest are left out.
        """
        texts = [self.tokenizer.decode(attempt).strip() for attempt in attempts]
        while texts:
            shown = [ATTEMPT.format(number=i, text=text) for i, text in enumerate(texts, start=1)]
            prompt = self.ask(REVISE.format(question=self.question, attempts="\n\n".join(shown)))
            if self.max_prompt is None or len(prompt) <= self.max_prompt:
                return prompt
            texts = texts[1:]
        return self.ask(self.question)

    def cut(self, attempt: Tokens) -> list[Tokens]:
        """Cut an attempt into its steps, where a policy that is stopped by each would end them."""
        longest = len(self.step_stop.encode())  # a token has at least a byte of text
        steps: list[Tokens] = []
        start = 0
        for end in range(1, len(attempt) + 1):
            tail = attempt[max(start, end - longest - 1) : end]
            if end == len(attempt) or self.step_stop in self.tokenizer.decode(tail):
                steps.append(attempt[start:end])
                start = end
        return steps


def longest_prompt(max_positions: int, max_tokens: int) -> int:
    """Return how long a prompt may be that leaves room for an attempt, or at least half the model.

    >>> longest_prompt(512, 100), longest_prompt(512, 4096)
    (412, 256)
    """
    return max_positions - min(max_tokens, max_positions // 2)
