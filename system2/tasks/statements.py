"""Find where a text states its final answer, whatever the answer is made of.

For tasks whose answers are no mathematics to `system2.tasks.answers`: expressions, grids, words.
"""

import re

_ANSWER_IS = re.compile(r"\banswer\s*(?:is|:)[\s:]*", re.IGNORECASE)
_TAG = "<answer>"
_BOX = "\\boxed{"
_BRACE = re.compile(r"[{}]")


def final_statement(text: str) -> str | None:
    """Return the last statement of an answer in a text, stripped; None where there is none.

    That is what stands in `<answer>..</answer>`, in `\\boxed{..}`, or on the line that follows
    "the answer is" or "answer:", whichever comes last.

    >>> final_statement("So the answer is 4.\\n<answer>5</answer>")
    '5'
    """
    said = [found.span() for found in _ANSWER_IS.finditer(text)]
    tag, box, (start, end) = text.rfind(_TAG), text.rfind(_BOX), said[-1] if said else (-1, -1)
    if max(tag, box, start) < 0:
        return None
    if tag > max(box, start):
        return text[tag + len(_TAG) :].partition("</answer>")[0].strip()
    if box > start:
        return last_boxed(text) or ""
    return text[end:].partition("\n")[0].strip()


def last_boxed(text: str) -> str | None:
    """Return what the last `\\boxed{..}` holds, stripped; None where there is none that ends."""
    start = text.rfind(_BOX) + len(_BOX)
    if start < len(_BOX):
        return None
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return text[start : brace.start()].strip()
    return None
