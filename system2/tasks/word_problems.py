"""Generated grade-school word problems in English, 2 to 6 steps, in the manner of GSM8K.

A story is composed from a situation's table: an opening, events and a question whose steps
number exactly those asked for. Numbers are drawn while the story is computed, so every number
is right by construction, and a story is kept only where the answer rests on each step and each
fact of it. The training set is fixed and finite, as GSM8K's is.
"""

import hashlib
import random
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import TypeAlias, TypeVar

from system2.core import Problem, Split, Task, UserError, derive_seed
from system2.tasks.answers import extract_answer, grade_answer, normal_form
from system2.tasks.situations import Event, Op, Situation
from system2.tasks.situations_farm import FARM
from system2.tasks.situations_home import HOME
from system2.tasks.situations_school import SCHOOL
from system2.tasks.situations_trade import TRADE
from system2.tasks.situations_travel import TRAVEL
from system2.tasks.situations_work import WORK
from system2.tasks.splits import draw_split

NAME = "word_problems"
TRAIN_SIZE = 7_473
"""Problems of the fixed training set; as many as GSM8K has."""
MIN_WORDS, MAX_WORDS = 25, 90
"""Words of the shortest and the longest prompt."""
MAX_SITUATIONS, MAX_STORIES = 1_000, 20
"""Situations tried for one problem, and stories tried in each, before giving up."""

SITUATIONS: Mapping[str, Situation] = {**TRADE, **FARM, **SCHOOL, **TRAVEL, **HOME, **WORK}
"""Every situation by its name."""
_NAMES = tuple(SITUATIONS)

BOYS = ("Adam", "Ben", "Carl", "Dan", "Eric", "Frank", "Jack", "Leo", "Max", "Paul", "Sam", "Tom")
GIRLS = ("Amy", "Anna", "Ella", "Emma", "Eva", "Kate", "Lily", "Lucy", "Mia", "Nora", "Rosa", "Zoe")
_PRONOUNS = ("he", "his", "him", "He", "His")
_HIS = dict(zip(_PRONOUNS, _PRONOUNS, strict=True))
_HER = dict(zip(_PRONOUNS, ("she", "her", "her", "She", "Her"), strict=True))
_ANYONE = {key: f"<{key}>" for key in ("A", "B", "C", *_PRONOUNS)}

Equation: TypeAlias = tuple[int, str, int, int]
"""left, sign, right, result."""
_Number: TypeAlias = tuple[int, int]
"""A value, and the facts of the story that it rests on, as bits."""
_T = TypeVar("_T")
_CONSTANTS: Mapping[str, _Number] = {"": (0, 0), **{str(n): (n, 0) for n in range(2, 13)}}


@dataclass(frozen=True, slots=True)
class Difficulty:
    """The dials of generated problems; harder is more steps and larger numbers.

    A problem has `min_steps`..`max_steps` steps, s of them with weight `step_weights[s - 2]`.
    No number in it, given or computed, exceeds `max_number`; quantities go to `max_quantity`
    (sizes of groups to a third of it), counts, rates and divisors to `max_factor`, prices to
    `max_price`. A sentence with a number that does not matter stands in `distractor_rate` of
    the problems.
    Raises: `UserError` on dials outside their range.
    """

    min_steps: int = 2
    max_steps: int = 6
    step_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0)
    max_number: int = 100
    max_quantity: int = 30
    max_factor: int = 6
    max_price: int = 8
    distractor_rate: float = 0.3

    def __post_init__(self) -> None:
        if not 2 <= self.min_steps <= self.max_steps <= 6:
            raise UserError(f"steps {self.min_steps}..{self.max_steps} must lie within 2..6")
        if len(self.step_weights) != 5 or min(self.step_weights) < 0:
            raise UserError("step_weights needs 5 numbers >= 0, for 2 to 6 steps")
        if not sum(self.step_weights[self.min_steps - 2 : self.max_steps - 1]):
            raise UserError(f"step_weights are all 0 within {self.min_steps}..{self.max_steps}")
        if not 20 <= self.max_quantity <= self.max_number <= 999:
            raise UserError(
                f"max_quantity {self.max_quantity} and max_number {self.max_number} must keep "
                "20 <= max_quantity <= max_number <= 999"
            )
        if min(self.max_factor, self.max_price) < 4:
            raise UserError("max_factor and max_price must be at least 4")
        if not 0 <= self.distractor_rate <= 1:
            raise UserError(f"distractor_rate is {self.distractor_rate}; it must lie in [0, 1]")


DEFAULT = Difficulty()


@dataclass(slots=True)
class _Story:
    """A story while it is composed.

    `limits` bounds each sort of slot. `known` are the numbers by their names in programs;
    `answer` is what the last event asks for. Each number that is given by itself or computed
    is a fact and has a bit. `steps` are equations with what the solution says of them,
    `sentences` are texts of the prompt with the numbers in their slots.
    """

    rng: random.Random
    limits: Mapping[str, tuple[int, int]]
    max_number: int
    known: dict[str, _Number]
    answer: _Number = (0, 0)
    num_facts: int = 0
    steps: list[tuple[Equation, str]] = field(default_factory=list[tuple[Equation, str]])
    sentences: list[tuple[str, dict[str, int]]] = field(
        default_factory=list[tuple[str, dict[str, int]]]
    )


@dataclass(frozen=True, slots=True)
class _Draw:
    """A problem before its people are named.

    `content` is the prompt with placeholders such as `<A>` and `<he>`: what makes two problems
    the same, whoever the people are.
    """

    situation: str
    content: str
    steps: list[tuple[Equation, str]]
    words: Mapping[str, str]
    people: Mapping[str, str]
    has_distractor: bool


def generate(rng: random.Random, difficulty: Difficulty = DEFAULT) -> Problem:
    """Draw one problem with its reference solution.

    Raises: `UserError` where the dials leave (almost) no story to tell.
    """
    return _written(_draw(rng, difficulty))


def _draw(rng: random.Random, difficulty: Difficulty) -> _Draw:
    counts = range(difficulty.min_steps, difficulty.max_steps + 1)
    weights = difficulty.step_weights[difficulty.min_steps - 2 : difficulty.max_steps - 1]
    num_steps = rng.choices(counts, weights)[0]
    for _ in range(MAX_SITUATIONS):
        name = _pick(rng, _NAMES)
        for _ in range(MAX_STORIES):
            story = _Story(rng, _limits(difficulty), difficulty.max_number, dict(_CONSTANTS))
            if _tell(story, SITUATIONS[name], num_steps):
                drawn = _dressed(name, story, difficulty)
                if MIN_WORDS <= drawn.content.count(" ") + 1 <= MAX_WORDS:
                    return drawn
    raise UserError(f"no word problem found in {MAX_SITUATIONS} situations: widen {difficulty}")


@lru_cache(maxsize=8)
def _limits(difficulty: Difficulty) -> Mapping[str, tuple[int, int]]:
    """Return the least and the largest number of each sort of slot."""
    return {
        "s": (10, difficulty.max_quantity),
        "n": (2, difficulty.max_quantity),
        "g": (2, difficulty.max_quantity // 3),
        "k": (2, difficulty.max_factor),
        "p": (2, difficulty.max_price),
        "c": (2, difficulty.max_number),
    }


def _dressed(name: str, story: _Story, difficulty: Difficulty) -> _Draw:
    """Add the words, the people and, now and then, a distracting sentence."""
    rng, situation = story.rng, SITUATIONS[name]
    has_distractor = rng.random() < difficulty.distractor_rate
    if has_distractor:
        numbers = {"d": _between(rng, *story.limits["n"])}
        place = _between(rng, 1, len(story.sentences) - 1)
        story.sentences.insert(place, (_pick(rng, situation.distractors), numbers))
    words: dict[str, str] = {}
    for key, choices in situation.words.items():
        one, _, many = _pick(rng, choices).partition("|")
        words |= {key: one, key + "s": many or one + "s"}
    anyone = {**words, **_ANYONE}
    content = " ".join([text.format_map({**anyone, **slots}) for text, slots in story.sentences])
    # B and C are of the other sex than A, so that "he" or "she" can only mean A
    same, other, pronouns = _pick(rng, ((BOYS, GIRLS, _HIS), (GIRLS, BOYS, _HER)))
    second, third = rng.sample(other, 2)
    people = {"A": _pick(rng, same), "B": second, "C": third, **pronouns}
    return _Draw(name, content, story.steps, words, people, has_distractor)


# --- composing ----------------------------------------------------------------------------


def _tell(story: _Story, situation: Situation, num_steps: int) -> bool:
    """Compose a story of exactly so many steps; False where the draw comes to a dead end."""
    opening = _pick(story.rng, situation.openings)
    missing = num_steps - opening.kind.num_steps
    if not _perform(story, opening):
        return False
    story.known["o"] = story.known["x"]
    untold = list(situation.events)
    while True:
        names = story.known.keys()
        options = [
            event
            for event in untold
            if event.kind.num_steps <= missing
            and event.kind.needs <= names
            and event.kind.brings.isdisjoint(names)
            and not (situation.is_settled and _is_rested_on(story, event.kind.changes))
        ]
        num_events = len(options)
        options += [
            question
            for question in situation.questions
            if question.kind.num_steps == missing and question.kind.needs <= names
        ]
        if not options:
            return False
        index = int(story.rng.random() * len(options))
        is_done = _perform(story, options[index])
        if index >= num_events:
            # the answer must rest on every fact, so that nothing told is idle
            return is_done and story.answer[1] == (1 << story.num_facts) - 1
        untold.remove(options[index])
        if is_done:
            missing -= options[index].kind.num_steps


def _is_rested_on(story: _Story, registers: Collection[str]) -> bool:
    """Return whether what one of these registers now holds is part of another one."""
    for name in registers:
        last = story.known[name][1].bit_length() - 1
        others = (other for other in "xyzm" if other != name and other in story.known)
        if any(story.known[other][1] >> last & 1 for other in others):
            return True
    return False


def _perform(story: _Story, event: Event) -> bool:
    """Add an event with fresh numbers to the story; False (nothing added) if none fit."""
    known = dict(story.known)
    slots: dict[str, int] = {}
    equations: list[Equation] = []
    num_facts = story.num_facts
    number = (0, 0)
    for op in event.kind.ops:
        left, right = known.get(op.left), known.get(op.right)
        if op.sign == "<=" and left and right:
            if left[0] > right[0]:
                return False
            continue
        if left is None:
            slots[op.left] = _drawn_left(story, op, right[0] if right else None)
            left = known[op.left] = slots[op.left], 0
        if right is None:
            slots[op.right] = _drawn_right(story, op, left[0])
            right = known[op.right] = slots[op.right], 0
        result = _apply(left[0], op.sign, right[0])
        # every number is at least 2, so that the noun behind it is always a plural
        if not 2 <= result <= story.max_number:
            return False
        rests_on = left[1] | right[1]
        if op.sign or op.left in slots:
            rests_on |= 1 << num_facts
            num_facts += 1
        if op.sign:
            equations.append((left[0], op.sign, right[0], result))
        number = known[op.target] = result, rests_on
    story.known = {name: known[name] for name in known if name in event.kind.keeps}
    story.answer = number
    story.num_facts = num_facts
    story.steps += zip(equations, event.says, strict=True)
    story.sentences.append((event.text, slots))
    return True


def _apply(left: int, sign: str, right: int) -> int:
    """Return the result, or 0 where there is none in whole numbers."""
    if not sign:
        return left
    if not right:
        return 0
    if sign == "/":
        return 0 if left % right else left // right
    return left * right if sign == "*" else left - right if sign == "-" else left + right


def _drawn_left(story: _Story, op: Op, right: int | None) -> int:
    """Draw the left number of an op within its limits, or 0 where none fits the right one."""
    low, high = story.limits[op.left[0]]
    if op.sign == "-" and right is not None:
        low, high = right + 2, min(high, right + story.limits["n"][1])
    return _between(story.rng, low, high)


def _drawn_right(story: _Story, op: Op, left: int) -> int:
    """Draw the right number of an op within its limits, or 0 where none fits the left one."""
    low, high = story.limits[op.right[0]]
    if op.sign == "/":
        divisors = [n for n in range(low, min(high, left // 2) + 1) if left % n == 0]
        return _pick(story.rng, divisors) if divisors else 0
    if op.sign == "-":
        high = min(high, left - 2)
    elif op.sign == "+":
        high = min(high, story.max_number - left)
    elif left:
        high = min(high, story.max_number // left)
    return _between(story.rng, low, high)


def _between(rng: random.Random, low: int, high: int) -> int:
    """Draw a number in low..high, or return 0 where the range is empty."""
    return low + int(rng.random() * (high - low + 1)) if low <= high else 0


def _pick(rng: random.Random, choices: Sequence[_T]) -> _T:
    # several times as fast as rng.choice
    return choices[int(rng.random() * len(choices))]


# --- writing ------------------------------------------------------------------------------


def _written(drawn: _Draw) -> Problem:
    words = {**drawn.words, **drawn.people}
    lines: list[str] = []
    program: list[list[int | str]] = []
    for (left, sign, right, result), says in drawn.steps:
        lines.append(says.format_map(words).replace("#", f"{left} {sign} {right} = {result}"))
        program.append([left, sign, right, result])
    answer = str(program[-1][3])
    digest = hashlib.blake2b(drawn.content.encode(), digest_size=6).hexdigest()
    return Problem(
        id=f"{NAME}-{digest}",
        prompt=re.sub(r"<(\w+)>", lambda found: drawn.people[found[1]], drawn.content),
        answer=answer,
        task=NAME,
        metadata={
            "solution": "\n".join([*lines, f"So the answer is {answer}."]),
            "steps": len(program),
            "difficulty": len(program),
            "situation": drawn.situation,
            "distractor": drawn.has_distractor,
            "program": program,
        },
    )


def problems(split: Split, seed: int, difficulty: Difficulty = DEFAULT) -> Iterator[Problem]:
    """Yield a split's problems, none twice, the same ones for the same arguments.

    "train" has `TRAIN_SIZE` problems whatever the seed, which only shuffles them (0: as drawn);
    the other splits have no end and depend on the seed.
    """
    if split == "train":
        members = list(_training_set(difficulty))
        if seed:
            random.Random(derive_seed(NAME, split, "order", seed)).shuffle(members)
        return iter(members)
    return map(_written, _draws(split, seed, difficulty))


@lru_cache(maxsize=2)
def _training_set(difficulty: Difficulty) -> tuple[Problem, ...]:
    return tuple(map(_written, islice(_draws("train", 0, difficulty), TRAIN_SIZE)))


def _draws(split: Split, seed: int, difficulty: Difficulty) -> Iterator[_Draw]:
    return draw_split(
        NAME, split, seed, lambda rng: _draw(rng, difficulty), lambda drawn: drawn.content
    )


def grade(problem: Problem, text: str) -> bool | None:
    """Return whether a text ends in the problem's answer; None: it cannot be judged."""
    return grade_answer(text, problem.answer)


def answer_of(problem: Problem, text: str) -> str | None:
    """Return the final answer of a text in a normal form, None where there is none."""
    answer = extract_answer(text)
    return None if answer is None else normal_form(answer)


TASK = Task(name=NAME, problems=problems, grade=grade, answer_of=answer_of)
