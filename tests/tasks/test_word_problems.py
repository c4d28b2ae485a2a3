"""Word problems: right by a second reckoning, told in plain English, in splits that never meet."""

import hashlib
import random
import re
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from itertools import islice
from string import Formatter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from system2.core import SPLITS, Problem, Split, UserError, derive_seed
from system2.tasks.situations import KINDS, REGISTERS, SLOTS, Event, Situation, read_situations
from system2.tasks.word_problems import (
    BOYS,
    DEFAULT,
    GIRLS,
    SITUATIONS,
    TRAIN_SIZE,
    Difficulty,
    generate,
    problems,
)

EQUATION = re.compile(r"(?<!\S)(\d+) ([-+*/]) (\d+) = (\d+)(?!\d)")
TRAINING_SET = "a9845df6b5249230"
"""Hash of all texts of the training set; a change needs the embedded model to be trained anew."""
IMPLIED = {
    2: "half|halves|twice|double|pair|two equal|both sides|brings a friend|around|rectangle",
    3: "third|three",
    4: "quarter",
    7: "week",
    12: "dozen",
}
"""Numbers that a prompt may say in words."""

difficulties = st.builds(
    Difficulty,
    min_steps=st.integers(2, 4),
    max_steps=st.integers(4, 6),
    max_number=st.integers(200, 999),
    max_quantity=st.integers(20, 200),
    max_factor=st.integers(4, 30),
    max_price=st.integers(4, 40),
    distractor_rate=st.sampled_from([0.0, 0.5, 1.0]),
)


@pytest.fixture(scope="module")
def training_set() -> list[Problem]:
    return list(problems("train", 0))


def drawn(n: int, difficulty: Difficulty = DEFAULT) -> Iterator[Problem]:
    for index in range(n):
        yield generate(random.Random(derive_seed("test_word_problems", index)), difficulty)


# --- a second reckoning, from the texts alone ------------------------------------------------


def reckoned(left: Fraction | int, sign: str, right: Fraction | int) -> Fraction:
    a, b = Fraction(left), Fraction(right)
    return a / b if sign == "/" else {"+": a + b, "-": a - b, "*": a * b}[sign]


def check_solution(problem: Problem) -> None:
    """Recompute every equation of the solution, and follow each number back to its source."""
    *steps, last = problem.metadata["solution"].split("\n")
    known = {int(number) for number in re.findall(r"\d+", problem.prompt)}
    known |= {n for n, words in IMPLIED.items() if re.search(words, problem.prompt, re.I)}
    result = None
    for step in steps:
        [found] = EQUATION.findall(step)
        left, sign, right, result = int(found[0]), found[1], int(found[2]), int(found[3])
        assert {left, right} <= known, step
        assert reckoned(left, sign, right) == result, step
        known.add(result)
    assert last == f"So the answer is {result}."
    assert problem.answer == str(result)
    assert problem.metadata["steps"] == problem.metadata["difficulty"] == len(steps)


def check_program(problem: Problem) -> None:
    """Run the program: every number it uses is a fact, and every result but the last is used."""
    program = problem.metadata["program"]
    for left, sign, right, result in program:
        assert reckoned(left, sign, right) == result
    used = [number for left, _, right, _ in program for number in (left, right)]
    for index, (*_, result) in enumerate(program[:-1]):
        assert result in used[2 * index + 2 :], f"step {index} of {problem.id} is idle"
    assert program[-1][3] == int(problem.answer)


def check_text(problem: Problem, difficulty: Difficulty) -> None:
    """Check how numbers and words are written."""
    solution = problem.metadata["solution"]
    assert 25 <= len(problem.prompt.split()) <= 90
    for text in (problem.prompt, *solution.split("\n")):
        numbers = [int(n) for n in re.findall(r"(?<= )\d+(?=[ .,])", text)]
        assert len(numbers) == len(re.findall(r"\d+", text)), "a number stands between spaces"
        assert all(2 <= number <= difficulty.max_number for number in numbers)
        assert not re.search(r"[{}<>#$|_]|  |\b[Aa] [aeio]|\b(\w+) \1\b|[.?,]\w| [.?,]", text), text
    assert problem.prompt.endswith("?")
    for sentence in re.split(r"(?<=[.?]) ", problem.prompt):
        assert sentence[0].isupper() or sentence[0].isdigit()


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), difficulty=difficulties)
def test_problems_are_right_by_a_second_reckoning(seed: int, difficulty: Difficulty):
    problem = generate(random.Random(seed), difficulty)
    check_solution(problem)
    check_program(problem)
    check_text(problem, difficulty)
    assert difficulty.min_steps <= problem.metadata["steps"] <= difficulty.max_steps


def test_the_training_set_is_right_by_a_second_reckoning(training_set: list[Problem]):
    for problem in training_set:
        check_solution(problem)
        check_program(problem)
        check_text(problem, DEFAULT)


# --- a story read back: its question asks for what was computed --------------------------------


@cache
def patterns(name: str) -> list[tuple[Event | None, re.Pattern[str]]]:
    """Return the events of a situation, None for distractors, and what matches their texts."""
    situation = SITUATIONS[name]
    choices = {"he": "he|she", "his": "his|her", "him": "him|her", "He": "He|She", "His": "His|Her"}
    for key, words in situation.words.items():
        choices[key] = "|".join(word.split("|")[0] for word in words)
        choices[f"{key}s"] = "|".join(
            word.split("|")[1] if "|" in word else f"{word}s" for word in words
        )

    def pattern(text: str) -> re.Pattern[str]:
        parts: list[str] = []
        for literal, field, *_ in Formatter().parse(text):
            parts.append(re.escape(literal))
            if field in choices:
                parts.append(f"(?:{choices[field]})")
            elif field:
                group = f"(?P<{field}>{'|'.join(BOYS + GIRLS) if field in 'ABC' else '[0-9]+'})"
                parts.append(f"(?P={field})" if group in parts else group)
        return re.compile("".join(parts) + "(?: |$)")

    told = situation.openings + situation.events + situation.questions
    return [(event, pattern(event.text)) for event in told] + [
        (None, pattern(text)) for text in situation.distractors
    ]


def cast(people: dict[str, str], match: re.Match[str]) -> dict[str, str] | None:
    """Return who is A, B and C after a sentence; None where it is about somebody else."""
    roles = {role: name for role, name in match.groupdict().items() if role in "ABC"}
    together = people | roles
    is_one_each = len(set(together.values())) == len(together)
    return together if is_one_each and together.items() >= people.items() else None


def retold(problem: Problem) -> Fraction:
    """Read a prompt with the tables and return what its question asks for."""
    known: dict[str, Fraction] = {}
    people: dict[str, str] = {}
    at, answer = 0, Fraction(0)
    while at < len(problem.prompt):
        [(event, match, people)] = [
            (event, match, together)
            for event, pattern in patterns(problem.metadata["situation"])
            if (match := pattern.match(problem.prompt, at))
            and (together := cast(people, match)) is not None
        ]
        at = match.end()
        if event is not None:
            known |= {n: Fraction(v) for n, v in match.groupdict().items() if n not in "ABC"}
            answer = run(event, known)
            known = {name: known[name] for name in known if name in REGISTERS}
            known.setdefault("o", known.get("x", answer))
    return answer


def run(event: Event, known: dict[str, Fraction]) -> Fraction:
    """Run an event's kind over the numbers, in place; return the last result."""
    result = Fraction(0)
    for op in event.kind.ops:
        left, right = (
            Fraction(name) if name.isdigit() else known.get(name, Fraction(0))
            for name in (op.left, op.right)
        )
        if op.sign == "<=":
            assert left <= right
        else:
            result = known[op.target] = reckoned(left, op.sign, right) if op.sign else left
    return result


def test_the_question_asks_for_what_was_computed(training_set: list[Problem]):
    for problem in training_set[:3000]:
        assert retold(problem) == int(problem.answer), problem


# --- the tables --------------------------------------------------------------------------------


def texts(situation: Situation) -> list[str]:
    events = situation.openings + situation.events + situation.questions
    return [event.text for event in events] + list(situation.distractors)


def fields(text: str) -> list[str]:
    return [name for _, name, *_ in Formatter().parse(text) if name]


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_situation_fits_its_kinds(name: str):
    situation = SITUATIONS[name]
    words = {"he", "his", "him", "He", "His", *"ABC", *situation.words}
    words |= {f"{key}s" for key in situation.words}
    events = situation.openings + situation.events + situation.questions
    for event in events:
        targets = {op.target for op in event.kind.ops}
        named = {side for op in event.kind.ops for side in (op.left, op.right)}
        slots = {n for n in named - targets - REGISTERS if n and not n.isdigit()}
        found = [field for field in fields(event.text) if field not in words]
        assert sorted(found) == sorted(slots), event
        assert {slot[0] for slot in slots} <= SLOTS
        assert len(event.says) == event.kind.num_steps
        for said in event.says:
            assert said.count("#") == 1, said
            assert not said.startswith("#"), "a number needs a space before it"
            assert set(fields(said)) <= words, said
    for text in situation.distractors:
        assert [field for field in fields(text) if field not in words] == ["d"]
    assert len(set(texts(situation))) == len(texts(situation))
    assert all(event.text.endswith(".") for event in situation.openings + situation.events)
    assert all(event.text.endswith("?") for event in situation.questions)
    assert min(len(situation.openings), len(situation.events), len(situation.questions)) >= 2
    assert len(situation.distractors) >= 2


def test_there_are_many_situations_and_kinds(training_set: list[Problem]):
    counts = Counter(problem.metadata["situation"] for problem in training_set)
    assert len(SITUATIONS) >= 60
    assert counts.keys() == SITUATIONS.keys()
    assert min(counts.values()) >= 50, "every situation is told often"
    told = {kind for s in SITUATIONS.values() for e in s.events + s.questions for kind in [e.kind]}
    assert len(told) >= 60
    shapes = {
        tuple(sign for _, sign, *_ in problem.metadata["program"]) for problem in training_set
    }
    assert len(shapes) >= 500, "structures of reasoning, by the signs alone"


def test_the_vocabulary_is_small(training_set: list[Problem]):
    everything = " ".join(p.prompt + " " + p.metadata["solution"] for p in training_set)
    assert len(set(re.findall(r"[A-Za-z]+|[^\w\s]", everything))) < 1000


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("+ explode: {n} things burst.", "unknown kind of event"),
        ("+ gain_groups: {k} bags of {g} come.", "1 steps of the solution need words"),
        ("an entry without a mark", "not an entry"),
    ],
)
def test_a_broken_table_names_the_entry(entry: str, message: str):
    with pytest.raises(ValueError, match=message):
        read_situations(f"# shop\nx = There are # things.\n{entry}\n")


def test_a_table_is_read_as_documented():
    table = """
# shop
thing = box, fish|fish
x = There are # {things}.
> given: {A} has {s} {things}
    at home.
+ gain_groups: {k} bags of {g} come. | The bags hold #.
? ask_x: How many?
~ {d} birds sing.

# empty
! settled
"""
    shop, empty = read_situations(table).values()
    assert shop.words == {"thing": ("box", "fish|fish")}
    assert shop.openings[0].text == "{A} has {s} {things} at home."
    assert shop.events[0].kind == KINDS["gain_groups"]
    assert shop.events[0].says == ("The bags hold #.", "There are # {things}.")
    assert shop.questions[0].says == ()
    assert shop.distractors == ("{d} birds sing.",)
    assert (shop.is_settled, empty.is_settled) == (False, True)


# --- splits ------------------------------------------------------------------------------------


def anonymous(prompt: str) -> str:
    """Return a prompt with names and what goes with them replaced, in order of appearance."""
    places: dict[str, str] = {}

    def place(found: re.Match[str]) -> str:
        return places.setdefault(found[0], f"person {len(places)}")

    prompt = re.sub("|".join(rf"\b{name}\b" for name in BOYS + GIRLS), place, prompt)
    for ones, other in (("he|she", "they"), ("his|her|him", "them")):
        prompt = re.sub(rf"\b(?:{ones})\b", other, prompt, flags=re.IGNORECASE)
    return prompt


def test_a_problem_cannot_cross_splits_under_another_name(training_set: list[Problem]):
    contents = {split: set[str]() for split in SPLITS}
    contents["train"] = {anonymous(problem.prompt) for problem in training_set}
    for split in ("validation", "test"):
        for seed in range(3):
            stream = islice(problems(split, seed), 500)
            contents[split] |= {anonymous(problem.prompt) for problem in stream}
    assert len(contents["train"]) == TRAIN_SIZE
    assert not contents["train"] & contents["validation"]
    assert not contents["train"] & contents["test"]
    assert not contents["validation"] & contents["test"]


def test_the_training_set_is_fixed_and_the_seed_shuffles_it(training_set: list[Problem]):
    shuffled = list(problems("train", 5))
    assert len(training_set) == TRAIN_SIZE == len({problem.id for problem in training_set})
    assert shuffled != training_set
    assert sorted(shuffled, key=lambda p: p.id) == sorted(training_set, key=lambda p: p.id)
    assert shuffled == list(problems("train", 5)) != list(problems("train", 6))


def test_the_training_set_is_the_one_that_models_were_trained_on(training_set: list[Problem]):
    everything = "\n".join(p.prompt + "\n" + p.metadata["solution"] for p in training_set)
    assert hashlib.blake2b(everything.encode(), digest_size=8).hexdigest() == TRAINING_SET


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_stream_depends_on_its_seed(split: Split):
    first, second = (list(islice(problems(split, seed), 60)) for seed in (0, 1))
    assert first == list(islice(problems(split, 0), 60))
    assert not {p.id for p in first} & {p.id for p in second}


# --- dials -------------------------------------------------------------------------------------


def mean(numbers: list[int]) -> float:
    return sum(numbers) / len(numbers)


def largest(problem: Problem) -> int:
    return max(map(int, re.findall(r"\d+", problem.metadata["solution"])))


def test_step_weights_say_how_often():
    difficulty = Difficulty(step_weights=(3.0, 0.0, 1.0, 0.0, 0.0))
    counts = Counter(problem.metadata["steps"] for problem in drawn(800, difficulty))
    assert counts.keys() == {2, 4}
    assert counts[2] / counts[4] == pytest.approx(3, rel=0.3)


def test_the_dials_make_problems_harder():
    easy = list(drawn(300, Difficulty(max_steps=3, max_number=100, max_quantity=20)))
    hard = list(drawn(300, Difficulty(min_steps=5, max_number=900, max_quantity=200)))
    assert max(p.metadata["steps"] for p in easy) < min(p.metadata["steps"] for p in hard)
    assert max(map(largest, easy)) <= 100
    assert mean([*map(largest, hard)]) > 3 * mean([*map(largest, easy)])


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_the_distractor_rate_is_kept(rate: float):
    found = [p.metadata["distractor"] for p in drawn(600, Difficulty(distractor_rate=rate))]
    assert mean(found) == pytest.approx(rate, abs=0.07 if rate == 0.3 else 0)


def test_a_distractor_does_not_matter():
    for problem in drawn(400, Difficulty(distractor_rate=1.0)):
        assert retold(problem) == int(problem.answer), problem


@pytest.mark.parametrize(
    "dials",
    [
        {"min_steps": 1},
        {"max_steps": 7},
        {"min_steps": 5, "max_steps": 4},
        {"step_weights": (1.0,)},
        {"step_weights": (1.0, 1.0, 1.0, 1.0, -1.0)},
        {"min_steps": 3, "step_weights": (1.0, 0.0, 0.0, 0.0, 0.0)},
        {"max_number": 1000},
        {"max_quantity": 19},
        {"max_quantity": 400},
        {"max_factor": 3},
        {"max_price": 1},
        {"distractor_rate": 1.5},
    ],
)
def test_dials_out_of_range_are_refused(dials: dict[str, object]):
    with pytest.raises(UserError):
        Difficulty(**dials)  # type: ignore[arg-type]
