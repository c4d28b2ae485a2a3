r"""Find the final answer in a text: the first step of `answers`.

In order: the last `\boxed{...}` (several that are joined by commas or "and" are one answer), the
last "final answer is" or "####" after it, the last "the answer is", "answer:" or line "A: ...", the
whole text where it is nothing but an answer, and else the last formula or number in the text.
Cost is linear: boxes and markers are looked for in the whole text, the rest in its last
`TAIL_CHARS` characters.
"""

import re
from collections import deque
from itertools import islice

from system2.tasks.answers_latex import is_balanced, tidy
from system2.tasks.answers_numbers import read_plain
from system2.tasks.answers_values import (
    MAX_CHARS,
    Group,
    Labelled,
    Opaque,
    Value,
    Words,
    has_words,
    read_answer,
)

TAIL_CHARS = 4_000
MAX_BOXES = 16

_VERB = r"(?:is|are|was|equals|would be|will be|must be|should be|comes to)"
_MARKER = re.compile(
    r"(?P<heading>(?<!#)####(?!#))|<answer>|(?:^|(?<=\n))(?-i:A):"
    r"|(?P<final>\bfinal\s{1,3})?\banswers?\b[\s*]{0,9}"
    rf"(?::|=|(?:[a-z][a-z' ]{{0,60}}? )??{_VERB}\b)[\s*]{{0,9}}:?",
    re.IGNORECASE,
)
_BOX = re.compile(r"\\f?boxed\s*\{|\\boxed\s+(?=[^\s{])")
_LINK = re.compile(
    r"(?:[\s$,;&:()\[\]{}]|\\[()\[\],;: ]|\\(?:q?quad|text)(?![a-zA-Z])|[-+*=_]{2}"
    r"|[a-zA-Z](?:_\{?\w\}?)?\s?=|[a-zA-Z]++)*+"
)
_LINK_WORD = re.compile(r"(?<!\\)\b[a-zA-Z]{2,}")
_END_OF_TURN = re.compile(r"<\|(?:im_end|im_start|eot_id|endoftext|end_of_text)\|>|</s>|</answer>")
_FILLER = re.compile(
    r"(?:[:\s*\"“_]|\b(?:that|approximately|about|around|exactly|simply|just|therefore|thus|"
    r"then|indeed|option|choice|equal to|given by|for sure|clearly|definitely|probably|now)\b)+",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"\.(?=\s|$)(?<!p\.m\.)(?<!a\.m\.)|\n|\bI hope\b|\*\*(?=\s|$)")
_REASON = re.compile(r",?\s+(?:because|since|as|so|which|where|for|when)\b|\s\(|,\s+(?=[a-z]{2,})")
_MATH_SPAN = re.compile(
    r"\$\$(.{1,1500}?)\$\$|\\\[(.{1,1500}?)\\\]|\\\(([^\n]{1,600}?)\\\)"
    r"|(?<![\\$\d])\$([^$\n]{1,600}?)(?<!\\)\$(?!\d)",
    re.DOTALL,
)
_LAST_NUMBER = re.compile(
    r"(?<![\w.\\])(?:(?<=[\s(=:$*~≈])[-\u2212+]|^[-\u2212+])?\s?\\?[$€£¥]?-?"
    r"(?:\\[dtc]?frac\{-?\d{1,30}\}\{-?\d{1,30}\}"
    r"|(?:\d{1,3}(?:(?:,|\{,\})\d{3}){1,9}(?!\d)|\d{1,3000}(?:,\d{2}(?![\d,]))?)(?:\.\d{1,3000})?"
    r"|\.\d{1,3000})"
    r"(?:[eE][-+]?\d{1,3}(?!\w))?(?:\s?/\s?\d{1,300}(?:\.\d{1,300})?(?![/\d]))?"
    r"(?:\s?\\?%|\s(?:percent|thousand|million|billion|trillion|dozen)\b)?"
)
_DENIAL = re.compile(r"(?:not|neither)\b", re.IGNORECASE)
_QUOTED = re.compile(
    r"(?:\$|\\\[|\\\()?\s?\\(?:text|textbf|mbox|mathrm)\s?\{[^{}]*\}\s?(?:\$|\\\]|\\\))?\.?"
)
_BOX_PERCENT = re.compile(r"[\s$]{0,4}\\?(?:%|percent|pct)")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_TOKEN = re.compile(r"\S+")
_IDENTIFIER = re.compile(r"\\?[a-zA-Z]+(?:_\{?\w+\}?)?")


def find_answer(text: str) -> str | None:
    """Return the final answer of a text as written, None where there is none."""
    if read_plain(text) is not None:
        return text.strip()
    marked = find_marked(text)
    if marked is not None:
        return marked
    if is_bare_answer(text):
        return text.strip()
    return _find_last(_own_turn(text)[-TAIL_CHARS:])


def find_marked(text: str, in_words: bool = False) -> str | None:
    """Return the answer that a text marks as final, None where it marks none.

    `in_words` says that words are looked for: a number beside them is then not preferred.
    """
    text = _own_turn(text).replace("\\\\boxed", "\\boxed")
    end, boxed = _find_boxed(text)
    later = _find_after_marker(text, end, in_words)
    if later is not None and (not boxed or not is_prose(read_answer(later))):
        return later
    return boxed or None


def leading_clause(sentence: str) -> str:
    """Return what stands before the reason that a sentence gives ("18, because ...")."""
    clause = _REASON.split(sentence, maxsplit=1)[0].strip()
    return clause if is_balanced(clause) else sentence


def is_bare_answer(text: str) -> bool:
    """Return whether a text is an answer and nothing else; prose is none, \\text{...} is one."""
    text = text.strip()
    if not text or len(text) > MAX_CHARS or ("\n" in text and "\\begin" not in text):
        return False
    return not is_prose(read_answer(text)) or _QUOTED.fullmatch(text) is not None


def _own_turn(text: str) -> str:
    """Cut what a policy wrote after it should have stopped."""
    end = _END_OF_TURN.search(text, 1)
    return text[: end.start()] if end else text


def is_prose(value: Value) -> bool:
    """Return whether an answer, or a part of it, is in words or unreadable."""
    match value:
        case Words() | Opaque():
            return True
        case Group():
            return any(map(is_prose, value.items))
        case Labelled():
            return has_words(value.label) or is_prose(value.value)
        case _:
            return False


def _are_linked(gap: str) -> bool:
    """Return whether two boxes with this between them are parts of one answer."""
    if len(gap) > 80 or not _LINK.fullmatch(gap):
        return False
    words = _LINK_WORD.findall(gap)
    return not words or (words[-1] in ("and", "or") and not {"but", "so", "thus"} & {*words})


def _find_boxed(text: str) -> tuple[int, str]:
    """Return where the last group of boxes ends and what stands in it; (0, "") without a box."""
    position = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if position < 0:
        return 0, ""
    starts = list(_BOX.finditer(text, max(0, position - TAIL_CHARS)))
    if not starts:
        return 0, ""
    boxes: list[str] = []
    end, after = 0, len(text)
    for match in islice(reversed(starts), MAX_BOXES):
        content, close = _read_box(text, match)
        if boxes and (close > after or not _are_linked(text[close:after])):
            break
        percent = _BOX_PERCENT.match(text, close)
        boxes.append(content + (" percent" if percent and content.strip() else ""))
        end = end or close
        after = match.start()
    answers = [box for box in reversed(boxes) if box.strip()]
    return end, ", ".join(answers)


def _read_box(text: str, match: re.Match[str]) -> tuple[str, int]:
    """Return the content of a box and where it ends; an unclosed one ends with its line."""
    if not match.group().endswith("{"):
        token = _TOKEN.match(text, match.end())
        return (token.group(), token.end()) if token else ("", match.end())
    depth = 1
    for brace in _BRACE.finditer(text, match.end()):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return text[match.end() : brace.start()], brace.end()
    line = text.find("\n", match.end())
    end = len(text) if line < 0 else line
    return text[match.end() : end].rstrip("$ ."), end


def _find_after_marker(text: str, start: int, in_words: bool) -> str | None:
    """Return what follows the last marker that an answer follows, rather a value than words.

    After a box (`start` > 0) only "final answer" and "####" count.
    """
    words: str | None = None
    for marker in islice(reversed(list(_MARKER.finditer(text, start))), MAX_BOXES):
        if start and not (marker["final"] or marker["heading"]):
            continue
        tail = text[marker.end() : marker.end() + MAX_CHARS + 1]
        answer = _first_answer(tail, marker["heading"] is not None, in_words)
        if answer is None:
            continue
        if not isinstance(read_answer(answer), Words):
            return answer
        words = words or answer
    return words


def _first_answer(tail: str, is_heading: bool, in_words: bool) -> str | None:
    """Return the answer that a text after a marker begins with.

    After "####", which also begins a heading, nothing but an answer counts.
    """
    tail = tail.replace('\\"', '"')
    filler = _FILLER.match(tail)
    tail = tail[filler.end() :] if filler else tail
    span = _MATH_SPAN.match(tail)
    if span and "\n" in span.group():
        return span.group()
    stop = _SENTENCE_END.search(tail)
    sentence = (tail[: stop.start()] if stop else tail).strip(" *\"'“”_`")
    clause = leading_clause(sentence)
    for candidate in (sentence, clause):
        if is_bare_answer(candidate):
            return candidate
    if is_heading or not sentence:
        return None
    if in_words or _DENIAL.match(sentence):
        return sentence
    return _find_last(sentence[-TAIL_CHARS:]) or clause or sentence


def _find_last(text: str) -> str | None:
    """Return the last formula or number of a text."""
    best: tuple[int, str] | None = None
    for match in _MATH_SPAN.finditer(text):
        content = next(group for group in match.groups() if group is not None)
        value = _as_formula(content)
        if value is not None:
            best = (match.end(), match.group())
    number = deque(_LAST_NUMBER.finditer(text), maxlen=1)
    if number and (best is None or number[0].end() > best[0]):
        return number[0].group().strip()
    return best[1] if best else None


def _as_formula(content: str) -> Value | None:
    """Return the value between math signs, None where it is prose or only names a variable."""
    bare = tidy(content)
    if has_words(bare.replace('"', " ")) and '"' not in bare:
        return None
    if _IDENTIFIER.fullmatch(bare.strip('"')):
        return None
    value = read_answer(content)
    return None if isinstance(value, Opaque | Words) else value
