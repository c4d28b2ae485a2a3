"""Final answers: laws of reading and grading, then the cases that other graders get wrong."""

from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from system2.tasks.answers import checker_versions, extract_answer, grade_answer, normal_form

unhurried = settings(deadline=None)
wholes = st.integers(-(10**12), 10**12)
fractions = st.fractions(-10_000, 10_000, max_denominator=999)
symbols = st.text(st.sampled_from("0123456789.,;:=<>+-*/^_{}[]()|$%&\\ \nabcxyπ√−×\0\ud800"))
commands = st.sampled_from(
    [r"\frac", r"\boxed{", r"\text{", r"\sqrt", r"\pm", r"\cup", r"\in", r"\le", r"\approx", " or ",
     r"\begin{pmatrix}", r"\end{pmatrix}", "####", "answer is ", "$$", r"\[", r"\right)", "12", "}"]
)  # fmt: skip
hostile = st.lists(st.one_of(symbols, commands), max_size=30).map("".join)


def written_wholes(number: int) -> list[str]:
    sign, size = ("-" if number < 0 else ""), abs(number)
    return [
        f"{number}",
        f"{number:,}",
        f"{number:,}".replace(",", "{,}"),
        f"{number:,}".replace(",", r",\!"),
        f"{number}.00",
        f"${number}$",
        f"{sign}${size:,}",
        f"\\${number}",
        f"\u2212{size}" if sign else f"{size}",
        rf"{number}\text{{ cm}}^2",
        f"{number} apples per day",
        rf"\frac{{{number * 3}}}{{3}}",
        f"x = {number}",
        f"({number})",
    ]


def written_fractions(number: Fraction) -> list[str]:
    sign, size = ("-" if number < 0 else ""), abs(number)
    top, bottom = size.numerator, size.denominator
    ways = [
        f"{sign}{top}/{bottom}",
        rf"{sign}\frac{{{top}}}{{{bottom}}}",
        rf"\dfrac{{{sign}{top}}}{{{bottom}}}",
        rf"$\left({sign}\tfrac{{{top * 2}}}{{{bottom * 2}}}\right)$",
    ]
    if top > bottom > 1:
        whole, rest = divmod(top, bottom)
        ways += [rf"{sign}{whole}\frac{{{rest}}}{{{bottom}}}", f"{sign}{whole} {rest}/{bottom}"]
    return ways


@given(wholes)
@unhurried
def test_every_way_to_write_a_whole_number_is_equal(number: int) -> None:
    for way in written_wholes(number):
        assert grade_answer(way, str(number)) is True, way
        assert normal_form(way) == str(number), way


@given(fractions)
@unhurried
def test_every_way_to_write_a_fraction_is_equal(number: Fraction) -> None:
    for way in written_fractions(number):
        assert grade_answer(way, str(number)) is True, way
        assert normal_form(way) == str(number), way


@given(fractions, fractions)
@unhurried
def test_numbers_are_right_only_if_they_are_equal(number: Fraction, other: Fraction) -> None:
    for way in written_fractions(number):
        assert grade_answer(way, str(other)) is (number == other), way


@given(fractions, st.integers(0, 12))
@unhurried
def test_a_decimal_stands_for_what_it_rounds_if_it_shows_four_digits(
    number: Fraction, places: int
) -> None:
    digits = f"{abs(round(number * 10**places)):0{places + 1}}"
    decimal = f"{'-' if number < 0 else ''}{digits[: len(digits) - places]}"
    decimal += f".{digits[len(digits) - places :]}" if places else ""
    num_digits = len(decimal.replace(".", "").lstrip("-0"))
    is_finite = 10**12 % number.denominator == 0
    is_exact = Fraction(decimal) == number
    expected = is_exact or (not is_finite and places > 0 and num_digits >= 4)
    assert grade_answer(decimal, f"{number.numerator}/{number.denominator}") is expected


@given(st.text("abc efgilmost.\n"), fractions, st.sampled_from(["So the answer is {}.", "#### {}"]))
@unhurried
def test_the_marked_answer_is_found_whatever_precedes_it(
    prose: str, number: Fraction, mark: str
) -> None:
    text = f"{prose}7\n{mark.format(number)}"
    assert extract_answer(text) == str(number)
    assert extract_answer(rf"{text} \boxed{{{number}}}") == str(number)


@given(hostile)
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_and_its_normal_form_is_stable_enough_to_vote(text: str) -> None:
    extract_answer(text)
    assert isinstance(normal_form(text), str)


@given(
    st.lists(fractions, min_size=1, max_size=4),
    st.sampled_from(["{}", "({})", "[{})", "\\{{{}\\}}"]),
)
@example([Fraction(1), Fraction(101, 2)], "({})")
@unhurried
def test_the_normal_form_of_a_normal_form_is_itself(numbers: list[Fraction], frame: str) -> None:
    form = normal_form(frame.format(", ".join(map(str, numbers))))
    assert normal_form(form) == form


@given(st.lists(fractions, min_size=2, max_size=5, unique=True))
@unhurried
def test_lists_and_sets_have_no_order_and_tuples_have(numbers: list[Fraction]) -> None:
    there = ", ".join(map(str, numbers))
    back = ", ".join(map(str, reversed(numbers)))
    assert grade_answer(back, there) is True
    assert grade_answer(rf"\{{{back}\}}", rf"\{{{there}\}}") is True
    assert grade_answer(f"({back})", f"({there})") is False
    assert grade_answer(there, f"({there})") is True


RIGHT = [
    # what a trial of other graders got wrong
    ("So the answer is -10.", "#### -10"),
    ("18.00", "18"),
    ("0.3333", r"\frac{1}{3}"),
    ("(1,2)", "1,2"),
    ("The correct answer is (C).", "C"),
    # numbers
    ("1.5 million", "1500000"),
    (r"3 \times 10^{5}", "300000"),
    ("3.0e-2", "0.03"),
    (r"0.\overline{3}", "1/3"),
    ("0.333...", "1/3"),
    ("2/(-3)", "-2/3"),
    ("twenty-one", "21"),
    ("1 000", "1000"),
    ("1000,99", "1000.99"),
    (r"50\%", "1/2"),
    ("50", "50%"),
    ("33.33%", "1/3"),
    ("50 cents", "0.50 dollars"),
    ("2 hours", "120 minutes"),
    (r"90^\circ", "90 degrees"),
    # groups
    (r"x \in [-2,7]", r"-2 \le x \le 7"),
    ("x > 5", r"(5,\infty)"),
    (r"(-\infty, 2) \cup (3, \infty)", r"(3,\infty)\cup(-\infty,2)"),
    ("a=1, b=2", "b=2, a=1"),
    (r"6 \text{ and } 8", "8, 6"),
    (r"\pm 2", "-2, 2"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{bmatrix}1\\2\end{bmatrix}"),
    (r"(p,q) = (3, \tfrac12)", "(3, 0.5)"),
    # words and choices
    (r"\text{Evelyn}", "evelyn"),
    ("The answer is yes.", r"\text{Yes}"),
    ("6:30 p.m.", "6:30 PM"),
    ("It is not A, so it must be B", "B"),
    ("C", "(C) 12 cm"),
    # texts
    ("He earns $18 every day.", "18"),
    ("The answer is 18 because 9 * 2 = 18 and not 17.", "18"),
    (r"\boxed{255}. Final answer: the final answer is $10,455$. I hope so.", "10455"),
    (r"$\boxed{1}$ and $\boxed{-2}$", "-2, 1"),
    (r"so \boxed{20} percent", r"20\%"),
    ("<answer>27</answer>", "27.0"),
    ("204_5", "204_{5}"),
]
WRONG = [
    ("10", "-10"),
    ("17.99", "18"),
    ("1818", "18"),
    ("", "18"),
    ("I do not know.", "18"),
    ("The answer is 18 or 20.", "18"),
    ("The answer is not 18.", "18"),
    ("either 17 or 18", "18"),
    ("0.33", "1/3"),
    ("0.38", "3/8"),
    ("5 cm", "5 m"),
    ("(2,1)", "(1,2)"),
    ("[0,1]", "(0,1)"),
    ("x > 5", "x < 5"),
    ("a=1, b=2", "a=2, b=1"),
    ("1, 2, 3", "1, 2"),
    ("32, 349", "32349"),
    ("-2.1", "-2,1"),
    ("12:00", "1:00"),
    ("6:30 am", "6:30 pm"),
    ("204_5", "204"),
    ("Evelyn or Briana", "Evelyn"),
    ("not Evelyn", r"\text{Evelyn}"),
    ("Therefore the answer is B.", "C"),
    ("1e400000000", "18"),
    ("1 8", "18"),
    ("2021", r"\pm 2021"),
    (r"(x+1)^{200}(y+2)^{199}", r"(x+1)^{200}(y+2)^{199}+1"),
]


@pytest.mark.parametrize(("prediction", "gold"), RIGHT)
def test_right_answers_are_right_without_algebra(
    prediction: str, gold: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("system2.tasks.answers.ask_algebra", lambda *_, **__: None)
    assert grade_answer(prediction, gold) is True
    assert grade_answer(gold, gold) is True


@pytest.mark.parametrize(("prediction", "gold"), WRONG)
def test_wrong_answers_are_wrong(prediction: str, gold: str) -> None:
    assert grade_answer(prediction, gold) is False


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so $\boxed{\frac{1}{\sqrt{2}}}$ it is", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{3} is wrong; it is \boxed{4}", "4"),
        ("They sell 9 eggs.\n#### -3", "-3"),
        ("The answer is $x^2+1$.", "$x^2+1$"),
        ("2 + 2 = 4, so she has 4 apples and 7 pears.", "7"),
        ("nothing here", None),
        ("", None),
    ],
)
def test_extraction_returns_the_answer_as_written(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


def test_a_gold_without_an_answer_cannot_be_judged() -> None:
    assert grade_answer("18", "") is None
    assert grade_answer("18", "  \n") is None


def test_rounding_digits_can_be_chosen() -> None:
    assert grade_answer("0.33", "1/3", rounding_digits=2) is True
    assert grade_answer("0.34", "1/3", rounding_digits=2) is False


def test_the_versions_that_verdicts_depend_on_are_known() -> None:
    versions = checker_versions()
    assert versions["math-verify"] == "0.9.0"
    assert versions["antlr4-python3-runtime"].startswith("4.13.")
