"""A problem and a reply to it as tokens: where the reply starts, and where it ends.

What exploration walks along and what fine-tuning imitates is the same stretch: from the first
token that the policy would be asked for to the end token it would stop at.
"""

from dataclasses import dataclass

from system2.core import Tokens, UserError
from system2.engine.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Conversation:
    """A prompt and its reply; `tokens[start:end]` are the reply, its end token included.

    `messages` is how it is written down; the template may put tokens after `end`.
    """

    messages: list[dict[str, str]]
    tokens: Tokens
    start: int
    end: int


def conversation(tokenizer: Tokenizer, prompt: str, reply: str) -> Conversation:
    """Return a prompt and a reply as a conversation.

    Raises: `UserError` where the chat template does not write the prompt as it does when it
    asks for a reply: what is learned would not match decoding.
    """
    user = {"role": "user", "content": prompt}
    messages = [user, {"role": "assistant", "content": reply}]
    asked = tokenizer.render([user], has_generation_prompt=True)
    tokens = tokenizer.render(messages)
    start = len(asked)
    if tokens[:start] != asked:
        raise UserError(
            f"{tokenizer.folder}: the chat template writes a prompt otherwise once it is answered; "
            "training on it would not match decoding"
        )
    ends = (at + 1 for at in range(start, len(tokens)) if tokens[at] in tokenizer.eos)
    return Conversation(messages, tokens, start, next(ends, len(tokens)))
