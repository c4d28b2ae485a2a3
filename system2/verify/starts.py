"""Where a completion starts in a prefix: what comes before it is the prompt, and no attempt.

Place in the flow: a search hands a verifier whole prefixes; a verifier that adds up what the
attempt's own tokens say, or cuts it into steps, has to know which tokens those are.
"""

from system2.core import ScoreRequest, Tokens, UserError
from system2.engine.tokenizer import Tokenizer


def completion_starts(tokenizer: Tokenizer, request: ScoreRequest) -> list[int]:
    """Return how many tokens of each prefix of a request are the prompt.

    Those of the problem's prompt where the prefix begins with them. Else (a conversation of
    several turns) all up to the last place where the chat template opens a reply.
    Raises: `UserError` where there is no such place.
    """
    asked = tokenizer.prompt(request.problem.prompt)
    return [
        len(asked) if prefix[: len(asked)] == asked else _reply_start(tokenizer, request, prefix)
        for prefix in request.prefixes
    ]


def _reply_start(tokenizer: Tokenizer, request: ScoreRequest, prefix: Tokens) -> int:
    opening = _reply_opening(tokenizer)
    for end in range(len(prefix), len(opening) - 1, -1):
        if opening and prefix[end - len(opening) : end] == opening:
            return end
    raise UserError(
        f"a prefix of problem {request.problem.id} does not begin with its prompt, and the chat "
        "template opens no reply in it; use a verifier that needs neither (outcome, process)"
    )


def _reply_opening(tokenizer: Tokenizer) -> Tokens:
    """Return the tokens with which a template asks for a reply, whatever was asked."""
    one, other = (tokenizer.prompt(text) for text in ("a", "b"))
    length = 0
    while length < min(len(one), len(other)) and one[-1 - length] == other[-1 - length]:
        length += 1
    return one[len(one) - length :]
