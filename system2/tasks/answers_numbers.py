"""Read numbers as people write them, exactly.

The fast path of `answers`: signs, currency, thousands separators, decimals, fractions, mixed
numbers, powers of ten, percentages, "million", units and number words. Exponents beyond
`MAX_EXPONENT` are refused, so no text can make a number too large to hold.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_EXPONENT = 400
MAX_DIGITS = 3_000


@dataclass(frozen=True, slots=True)
class Number:
    """A number as written.

    `step` is the place value of its last decimal (0.33: 1/100), None where it is exact as
    written; `digits` counts the significant digits; `cut` says that the decimals go on
    ("0.333..."). `value` is 12 for "12%" (`percent` is set). `unit` is a key of `UNITS`, "" if
    none or unknown.
    """

    value: Fraction
    step: Fraction | None = None
    digits: int = 0
    cut: bool = False
    percent: bool = False
    unit: str = ""


UNITS: dict[str, tuple[str, Fraction]] = {
    name: (dimension, Fraction(scale))
    for dimension, scale, names in (
        ("length", "1/1000", "mm millimeter millimeters millimetre millimetres"),
        ("length", "1/100", "cm centimeter centimeters centimetre centimetres"),
        ("length", "1", "m meter meters metre metres"),
        ("length", "1000", "km kilometer kilometers kilometre kilometres"),
        ("imperial length", "1", "in inch inches"),
        ("imperial length", "12", "ft foot feet"),
        ("imperial length", "36", "yd yard yards"),
        ("imperial length", "63360", "mi mile miles"),
        ("mass", "1/1000", "mg milligram milligrams"),
        ("mass", "1", "g gram grams"),
        ("mass", "1000", "kg kilogram kilograms"),
        ("weight", "1", "oz ounce ounces"),
        ("weight", "16", "lb lbs pound pounds"),
        ("volume", "1/1000", "ml milliliter milliliters"),
        ("volume", "1", "l liter liters litre litres"),
        ("time", "1", "s sec secs second seconds"),
        ("time", "60", "min mins minute minutes"),
        ("time", "3600", "h hr hrs hour hours"),
        ("time", "86400", "day days"),
        ("time", "604800", "week weeks"),
        ("money", "1/100", "cent cents"),
        ("money", "1", "$ usd dollar dollars buck bucks"),
        ("angle", "1", "degree degrees deg"),
        ("morning", "1", "am"),
        ("afternoon", "1", "pm"),
    )
    for name in names.split()
}
_MULTIPLIERS = {
    "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12,
    "dozen": 12,
}  # fmt: skip
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SPELLED = {
    **{word: number for number, word in enumerate(_ONES)},
    **{word: 20 + 10 * index for index, word in enumerate(_TENS)},
    **{
        f"{ten}-{_ONES[one]}": 20 + 10 * index + one
        for index, ten in enumerate(_TENS)
        for one in range(1, 10)
    },
}
_NO_UNIT = frozenset(
    "and or to than more less plus minus times over by mod pi sqrt sin cos tan sec csc cot log ln "
    "exp frac divided multiplied squared cubed choose infinity infty if factorial not versus vs "
    "fraction e i".split()
)

_THOUSANDS = r"[1-9]\d{0,2}(?:,\d{3})+(?![\d,])"
_DIGITS = rf"{_THOUSANDS}|[1-9]\d{{0,2}}(?: \d{{3}})+(?! ?\d)|\d+"
_DECIMAL = rf"(?:(?:{_DIGITS})(?:\.\d*)?|\.\d+)"
_POWER = r"(?:\\times|\\cdot|\*|x|X)\s?10\s?(?:\^|\*\*)\s?[{(]?\s?(?P<power>[-+]?\d{1,9})\s?[)}]?"
_PLAIN = re.compile(
    rf"(?:####)?\s*([-+\u2212]?)\s?(\\?\$?)\s?({_THOUSANDS}|\d+)(\.\d*)?\s*\.?\s*", re.ASCII
)
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?)\s?(?P<money>(?:[$€£¥₹]|(?:US|AU|CA)\$|Rs\.?)?)\s?(?P<inner>-?)(?P<decimal>{_DECIMAL})(?P<more>\.\.\.)?"
    rf"(?:[eE](?P<exponent>[-+]?\d{{1,9}})(?![\d.])|\s?{_POWER})?(?P<rest>(?![\d.,]).*)"
)
_PART = rf"[-+]?\s?(?:{_THOUSANDS}|\d+)(?:\.\d+)?|[-+]?\.\d+"
_FRACTION = re.compile(
    rf"(?P<sign>[-+]?)\s?(?P<money>(?:[$€£¥₹]|Rs\.?)?)\s?(?P<open>\()?(?:(?P<whole>\d+)(?:\s|\s?(?=\\frac)))?"
    rf"(?:\\frac\s?\{{\s?(?P<top>{_PART})\s?\}}\s?\{{\s?(?P<bottom>{_PART})\s?\}}"
    rf"|(?:(?P<a>{_PART})|\(\s?(?P<c>{_PART})\s?\))\s?/\s?(?:(?P<b>{_PART})|\(\s?(?P<d>{_PART})\s?\)))"
    rf"\)?(?P<rest>(?![\d.]).*)"
)
_REPEATING = re.compile(
    r"(?P<sign>[-+]?)(?P<whole>\d*)\.(?P<once>\d*)\\(?:overline|bar|dot)\s?\{(?P<again>\d+)\}(?P<rest>.*)"
)
_PERCENT = re.compile(r"\\?%|(?:percentage|percent|pct|per cent)\b")
_UNIT = re.compile(r"[a-zA-Z$€£¥/][a-zA-Z$€£¥'./() -]{0,60}(?:\^\s?\{?[-\d]{1,2}\}?)?")


def read_plain(text: str) -> Number | None:
    """Return the number of a text that is a plain number and nothing else: the fastest path.

    >>> read_plain("$1,234.50").value
    Fraction(2469, 2)
    """
    match = _PLAIN.fullmatch(text) if len(text) <= MAX_DIGITS else None
    if match is None:
        return None
    sign, money, whole, decimals = match.groups()
    places = decimals[1:] if decimals else ""
    number = int(whole.replace(",", "") + places)
    if sign in ("-", "\u2212"):
        number = -number
    unit = "$" if money else ""
    if not places:
        return Number(Fraction(number), unit=unit)
    step = Fraction(1, 10 ** len(places))
    return Number(number * step, step, len(str(abs(number))), unit=unit)


def read_number(text: str) -> Number | None:
    r"""Return the number that a tidied text is, None where it is not one number.

    >>> read_number("1 1/2 cups").value, read_number("2x")
    (Fraction(3, 2), None)
    """
    if not text or len(text) > MAX_DIGITS:
        return None
    if "/" in text or "\\frac" in text:
        match = _FRACTION.fullmatch(text)
        if match:
            return _from_fraction(match)
    match = _REPEATING.fullmatch(text) if "\\" in text else None
    if match:
        return _from_repeating(match)
    match = _NUMBER.fullmatch(text)
    return _from_decimal(match) if match else _from_words(text)


def _from_decimal(match: re.Match[str]) -> Number | None:
    suffix = _read_suffix(match["rest"], match["money"])
    exponent = int(match["exponent"] or match["power"] or 0)
    if suffix is None or abs(exponent) > MAX_EXPONENT:
        return None
    scale, percent, unit = suffix
    whole, _, places = match["decimal"].replace(",", "").replace(" ", "").partition(".")
    number = int(whole + places or "0")
    if (match["sign"] == "-") != (match["inner"] == "-"):
        number = -number
    step = scale * Fraction(10) ** (exponent - len(places))
    digits = len(str(abs(number)))
    exact = not places or scale > 1
    cut = match["more"] is not None
    return Number(number * step, None if exact and not cut else step, digits, cut, percent, unit)


def _from_fraction(match: re.Match[str]) -> Number | None:
    suffix = _read_suffix(match["rest"], match["money"])
    top = _to_fraction(match["top"] or match["a"] or match["c"])
    bottom = _to_fraction(match["bottom"] or match["b"] or match["d"])
    if suffix is None or bottom == 0 or match[0].count("(") != match[0].count(")"):
        return None
    if match["open"] and "," in f"{match['a']}{match['b']}":
        return None  # a pair: the comma of (2,100/3) separates no thousands
    scale, percent, unit = suffix
    value = top / bottom
    if match["whole"]:
        if value < 0:
            return None
        value += int(match["whole"])
    value = -value * scale if match["sign"] == "-" else value * scale
    return Number(value, percent=percent, unit=unit)


def _from_repeating(match: re.Match[str]) -> Number | None:
    suffix = _read_suffix(match["rest"], "")
    if suffix is None:
        return None
    scale, percent, unit = suffix
    once, again = match["once"], match["again"]
    value = Fraction(int((match["whole"] + once) or "0"), 10 ** len(once))
    value += Fraction(int(again), (10 ** len(again) - 1) * 10 ** len(once))
    value = -value * scale if match["sign"] == "-" else value * scale
    return Number(value, percent=percent, unit=unit)


def _from_words(text: str) -> Number | None:
    if not text[:1].isalpha() and text[:1] != '"':
        return None
    words = text.replace('"', " ").lower().split()
    if not words or words[0] not in _SPELLED:
        return None
    if len(words) > 1 and words[0] in _TENS and words[1] in _ONES[1:10]:
        words[:2] = [f"{words[0]}-{words[1]}"]
    suffix = _read_suffix(" " + " ".join(words[1:]), "")
    if suffix is None:
        return None
    scale, percent, unit = suffix
    return Number(_SPELLED[words[0]] * scale, percent=percent, unit=unit)


def _to_fraction(text: str) -> Fraction:
    return Fraction(text.replace(",", "").replace(" ", ""))


def _read_suffix(rest: str, money: str) -> tuple[Fraction, bool, str] | None:
    """Return scale, percent and unit of what follows a number; None where it is no suffix."""
    scale = Fraction(1)
    spaced = rest[:1] in (" ", '"')
    text = " ".join(rest.replace('"', " ").split()).removesuffix(".")
    unit = "$" if money == "$" else ""
    if not text:
        return scale, False, unit
    percent = _PERCENT.match(text)
    if percent:
        text, spaced = text[percent.end() :].strip(), True
        if not text:
            return scale, True, unit
    if not _UNIT.fullmatch(text):
        return None
    words = text.replace("-", " ").lower().split()
    while words and words[0] in _MULTIPLIERS:
        scale *= _MULTIPLIERS[words.pop(0)]
        if scale > 10**15:
            return None
    if not words:
        return scale, bool(percent), unit
    if any(word in _NO_UNIT for word in words):
        return None
    name = words[0].replace(".", "")
    known = name in UNITS
    if not known and not (spaced and len(name) > 2) and not (spaced and scale > 1):
        return None
    if known and not spaced and len(name) == 1 and name != "$":
        return None
    is_compound = len(words) > 1 and (words[1] == "per" or words[1][0] in "/^")
    return scale, bool(percent), name if known and not is_compound else unit
