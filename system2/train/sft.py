"""Supervised fine-tuning: problems with reference solutions become examples to imitate.

Place in the flow: tasks (or a file of problems, or kept trees) -> `sft_examples` -> `fit` with
`next_token_loss` -> a checkpoint folder, which is a policy again.
"""

from collections.abc import Callable, Iterable, Sequence

from system2.core import Problem, UserError
from system2.engine.tokenizer import Tokenizer
from system2.synthesise.conversations import conversation
from system2.train.batches import Example, TextBatch, planned_batches, text_batch


def sft_example(tokenizer: Tokenizer, prompt: str, solution: str) -> Example:
    """Return the conversation's tokens, the reply (with its end token) to be learned."""
    talk = conversation(tokenizer, prompt, solution)
    return Example(talk.tokens[: talk.end], talk.start)


def sft_examples(tokenizer: Tokenizer, problems: Iterable[Problem]) -> list[Example]:
    """Return one example a problem, from its reference solution (`metadata["solution"]`).

    Raises: `UserError` naming a problem that has none.
    """
    examples: list[Example] = []
    for problem in problems:
        solution = problem.metadata.get("solution")
        if not isinstance(solution, str):
            raise UserError(f"problem {problem.id} has no reference solution to train on")
        examples.append(sft_example(tokenizer, problem.prompt, solution))
    return examples


def example_batches(
    examples: Sequence[Example], pad: int, *, max_tokens: int, seed: int, per_step: int = 1
) -> tuple[Callable[[int], list[TextBatch]], int]:
    """Return the batches of each step, and how many steps make an epoch."""
    return planned_batches(
        examples,
        lambda example: len(example.tokens),
        lambda some: text_batch(some, pad),
        max_tokens=max_tokens,
        seed=seed,
        per_step=per_step,
    )
