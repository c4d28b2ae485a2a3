r"""Bring the many ways of writing one answer to one way of writing it, before it is read.

Used by `answers_values`: LaTeX, Unicode signs and plain ASCII mathematics become one small LaTeX.
Every pattern is linear in the length of the text (no nested repetition), because the text may be
hostile. Words that stood in \text{...} keep a pair of double quotes, so that a unit or an "and"
can still be told from a variable.
"""

import re

_SIGNS = str.maketrans(
    {
        **dict.fromkeys("−–‐‑﹣－", "-"),
        **dict.fromkeys("\u00a0\u2007\u2008\u2009\u200a\u202f\u3000\t\r\n\0", " "),
        **dict.fromkeys("\u200b\u200c\u200d\ufeff\u2060\"“”„`", ""),
        **dict.fromkeys("’‘", "'"),
        **dict(zip("０１２３４５６７８９，％＄（）", "0123456789,%$()", strict=True)),
        "×": r"\times ", "⋅": r"\cdot ", "·": r"\cdot ", "∗": "*", "÷": "/", "⁄": "/", "∕": "/",
        "π": r"\pi ", "√": r"\sqrt ", "∞": r"\infty ", "θ": r"\theta ", "±": r"\pm ",
        "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "→": r"\to ",
        "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "°": r"^\circ ",
        "²": "^{2}", "³": "^{3}", "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}",
        "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "…": "...",
    }
)  # fmt: skip

_WORD_COMMANDS = (
    "text|textbf|textit|textrm|textnormal|texttt|textsf|mbox|hbox|mathrm|mathbf|mathit|mathsf|"
    "mathtt|operatorname|emph|boldsymbol|bm|rm|bf"
)
_DOUBLED = re.compile(r"\\\\(?=[a-zA-Z{}\[\]()])")
_REWRITES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\[\"']", ""),
        (r"(?<!\\)\\(?:left|right|middle|[bB]igg?[lrm]?)(?![a-zA-Z])\s?\.?", ""),
        (r"(?<=\d)(?:,|\s?\{\s?,\s?\})(?:\s?\\!)\s?(?=\d{3})", ","),
        (r"(?<!\\)\\!", ""),
        (r"(?<=\d)\s?\{\s?,\s?\}\s?(?=\d{3})|\{\s?,\s?\}", ","),
        (r"(?<=\d)\\[,;:](?=\d{3}(?!\d))", ","),
        (r"(?<!\\)\\(?:displaystyle|textstyle|scriptstyle|qquad|quad|hspace|,|;|:|>| )", " "),
        (r"~", " "),
        (r"(?<!\\)\$\$?|(?<!\\)\\[()]|(?<!\\)\\\[|(?<!\\)\\\]", " "),
        (r"\\\$", "$"),
        (r"(?<=\d)\s?[xX]\s?(?=\$?\d)", r"\\times "),
        (r"\\([%#&_])", r"\1"),
        (rf"\\(?:{_WORD_COMMANDS})\s?\{{([^{{}}]*)\}}", r'"\1"'),
        (r"\\([dtc])frac(?![a-zA-Z])", r"\\frac"),
        (r"\\frac\s?(\d)\s?(\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s?(\\[a-z]+)\s?(\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s?(\w)\s?(?=\{)", r"\\frac{\1}"),
        (r"\\frac\s?\{([^{}]*)\}\s?(\w)", r"\\frac{\1}{\2}"),
        (r"\\frac\s?\{([^{}]*)\}\s(?=\{)", r"\\frac{\1}"),
        (r"\\sqrt\s?(\d+|[a-zA-Z](?![a-zA-Z]))", r"\\sqrt{\1}"),
        (r"\^\s?\{?\s?\\circ\s?\}?|\\degrees?(?![a-zA-Z])", ' "degrees" '),
        (r"\\le(?:q|qslant)?(?![a-zA-Z])|<=|=<", r"\\le "),
        (r"\\ge(?:q|qslant)?(?![a-zA-Z])|>=", r"\\ge "),
        (r"\\neq?(?![a-zA-Z])|!=", r"\\ne "),
        (r"\\lt(?![a-zA-Z])", "<"),
        (r"\\gt(?![a-zA-Z])", ">"),
        (r"\\(?:to|implies|Rightarrow|Longrightarrow|rightarrow)(?![a-zA-Z])", r"\\to "),
        (r"\\(?:infin|infty)(?![a-zA-Z])|(?<![\\a-zA-Z])(?:infinity|inf|oo)(?![a-zA-Z])",
         r"\\infty "),
        (r"\\(?:lbrace|\{)", r"\\{"),
        (r"\\(?:rbrace|\})", r"\\}"),
        (r"\\varnothing(?![a-zA-Z])", r"\\emptyset"),
        (r"^\s*(?:either|both|between)\s", ""),
        (r"\\[lcd]?dots(?:[bcmo])?(?![a-zA-Z])", "..."),
        (r"\*\*(?=\S[^*]{0,200}\*\*)|(?<=\S)\*\*$|\*\*(?=[.,]?$)", ""),
        (r"(?:<\||</?s>).*$", ""),
        (r"\s+", " "),
    )
)  # fmt: skip

_NAMES = (
    "arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|sec|csc|cot|log|ln|exp|sqrt|pi|theta|alpha|"
    "beta|gamma|lambda|phi|omega"
)
_TO_LATEX = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r'"', " "),
        (r"\*\*", "^"),
        (r"(?<!\\)\*", r" \\cdot "),
        (rf"(?<![\\a-zA-Z])({_NAMES})(?![a-zA-Z])", r"\\\1 "),
        (r"\\sqrt\s?\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\^\s?\(([^()]*)\)", r"^{\1}"),
        (r"\^\s?([-+]?\d+(?:\.\d+)?)", r"^{\1}"),
        (r"_\s?(\w)", r"_{\1}"),
        (r"(?<=[^\\a-zA-Z ])\s+|\s+(?=[^a-zA-Z ])", ""),
        (r"(?<![\\a-zA-Z])([a-zA-Z]+)\s+", r"\1"),
        (r"\s+", " "),
        (r"\s+$|^\s+", ""),
        (r"^\+", ""),
    )
)

_WRAPPERS = (
    ("{", "}"),
    (r"\boxed{", "}"),
    (r"\fbox{", "}"),
    ("'", "'"),
    ("*", "*"),
    ("_", "_"),
    ('"', '"'),
)


def tidy(text: str) -> str:
    r"""Return an answer in its one way of writing.

    >>> tidy(r"$\dfrac12\text{ cm}$")
    '\\frac{1}{2}" cm"'
    """
    text = text.translate(_SIGNS)
    if "\\begin" not in text:
        text = _DOUBLED.sub(r"\\", text)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return unwrap(text)


def unwrap(text: str) -> str:
    """Strip a text of blanks, closing punctuation and whatever wraps the whole of it."""
    while True:
        text = text.strip().rstrip(",;")
        text = text if text.endswith("...") else text.removesuffix(".").strip()
        text = text.removeprefix(":").removeprefix("=").strip()
        for opening, closing in _WRAPPERS:
            if text.startswith(opening) and text.endswith(closing):
                inner = text[len(opening) : -len(closing)]
                if opening != closing and not is_balanced(inner):
                    continue
                if opening == closing and (not inner or opening in inner):
                    continue
                text = inner
                break
        else:
            return text


def is_balanced(text: str) -> bool:
    """Return whether brackets of every kind open before they close, none left open.

    Kinds may mix, because an interval may open with [ and close with ).
    """
    depth = 0
    for char in text:
        if char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
            if depth < 0:
                return False
    return depth == 0


def to_latex(text: str) -> str:
    """Return a tidied formula as strict LaTeX without idle blanks: the same formula, one text."""
    for pattern, replacement in _TO_LATEX:
        text = pattern.sub(replacement, text)
    return text
