"""Generated grade-school word problems in English, 2 to 6 steps, in the manner of GSM8K.

A story is composed from a situation's table: an opening, events and a question whose steps
number exactly those asked for. Numbers are drawn while the story is computed, so every number
is right by construction, and a story is kept only where the answer rests on each step and each
fact of it. The training set is fixed and finite, as GSM8K's is.
"""

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import TypeAlias, TypeVar

from system2.core import Problem, Split, Task, UserError, derive_seed
from system2.tasks.answers import extract_answer, grade_answer, normal_form
from system2.tasks.situations import REGISTERS, Event, Op, Situation
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

BOYS = ("Adam", "Ben", "Carl", "Dan", "Eric", "Frank", "Jack", "Leo", "Max", "Paul", "Sam", "Tom")
GIRLS = ("Amy", "Anna", "Ella", "Emma", "Eva", "Kate", "Lily", "Lucy", "Mia", "Nora", "Rosa", "Zoe")
_PRONOUNS = ("he", "his", "him", "He", "His")
_HIS = dict(zip(_PRONOUNS, _PRONOUNS, strict=True))
_HER = dict(zip(_PRONOUNS, ("she", "her", "her", "She", "Her"), strict=True))
_ANYONE = {key: f"<{key}>" for key in ("A", "B", "C", *_PRONOUNS)}

Equation: TypeAlias = tuple[int, str, int, int]
"""left, sign, right, result."""
_T = TypeVar("_T")


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
    max_number: int = 300
    max_quantity: int = 60
    max_factor: int = 9
    max_price: int = 12
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


@dataclass(frozen=True, slots=True)
class _Fact:
    """A number of a story: given (no equation) or computed, and the facts it rests on."""

    equation: Equation | None
    says: str
    rests_on: tuple[int, ...]


@dataclass(slots=True)
class _Story:
    """A story while it is composed.

    `limits` bounds each sort of slot; `registers` maps to (value, index of its fact);
    `sentences` are texts with the numbers in their slots.
    """

    rng: random.Random
    limits: Mapping[str, tuple[int, int]]
    max_number: int
    registers: dict[str, tuple[int, int]] = field(default_factory=dict)
    facts: list[_Fact] = field(default_factory=list)
    sentences: list[tuple[str, dict[str, int]]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Draw:
    """A problem before it is written out."""

    situation: str
    story: _Story
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
    names = tuple(SITUATIONS)
    for _ in range(MAX_SITUATIONS):
        name = _pick(rng, names)
        for _ in range(MAX_STORIES):
            story = _Story(rng, _limits(difficulty), difficulty.max_number)
            if _tell(story, SITUATIONS[name], num_steps) and _is_needed(story):
                drawn = _dressed(name, story, difficulty)
                if MIN_WORDS <= _content(drawn).count(" ") + 1 <= MAX_WORDS:
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
        numbers = {"d": rng.randint(*story.limits["n"])}
        place = rng.randrange(1, len(story.sentences))
        story.sentences.insert(place, (_pick(rng, situation.distractors), numbers))
    words: dict[str, str] = {}
    for key, choices in situation.words.items():
        one, _, many = _pick(rng, choices).partition("|")
        words |= {key: one, key + "s": many or one + "s"}
    # B and C are of the other sex than A, so that "he" or "she" can only mean A
    same, other, pronouns = _pick(rng, ((BOYS, GIRLS, _HIS), (GIRLS, BOYS, _HER)))
    second, third = rng.sample(other, 2)
    people = {"A": _pick(rng, same), "B": second, "C": third, **pronouns}
    return _Draw(name, story, words, people, has_distractor)


# --- composing ----------------------------------------------------------------------------


def _tell(story: _Story, situation: Situation, num_steps: int) -> bool:
    """Compose a story of exactly so many steps; False where the draw comes to a dead end."""
    opening = _pick(story.rng, situation.openings)
    missing = num_steps - opening.kind.num_steps
    if not _perform(story, opening):
        return False
    story.registers["o"] = story.registers["x"]
    untold = list(situation.events)
    while True:
        events = [e for e in untold if e.kind.num_steps <= missing and _fits(story, e)]
        ends = [e for e in situation.questions if e.kind.num_steps == missing and _fits(story, e)]
        if not events and not ends:
            return False
        event = _pick(story.rng, events + ends)
        is_done = _perform(story, event)
        if event in ends:
            return is_done
        untold.remove(event)
        if is_done:
            missing -= event.kind.num_steps


def _fits(story: _Story, event: Event) -> bool:
    """Return whether the story has what the event needs, and not yet what it brings in."""
    known = story.registers.keys()
    return event.kind.needs <= known and event.kind.brings.isdisjoint(known)


def _perform(story: _Story, event: Event) -> bool:
    """Add an event with fresh numbers to the story; False (nothing added) if none fit."""
    known = dict(story.registers)
    slots: dict[str, int] = {}
    facts: list[_Fact] = []
    says = iter(event.says)
    for op in event.kind.ops:
        if not op.sign and op.left in known:
            known[op.target] = known[op.left]
            continue
        equation = _computed(story, op, known, slots)
        if equation is None:
            return False
        known_sides = [side for side in (op.left, op.right) if side in known]
        rests_on = tuple(known[side][1] for side in known_sides)
        facts.append(
            _Fact(equation, next(says), rests_on) if op.sign else _Fact(None, "", rests_on)
        )
        known[op.target] = equation[3], len(story.facts) + len(facts) - 1
    story.facts += facts
    story.sentences.append((event.text, slots))
    kept = REGISTERS - event.kind.ends
    story.registers = {name: fact for name, fact in known.items() if name in kept}
    return True


def _computed(
    story: _Story, op: Op, known: Mapping[str, tuple[int, int]], slots: dict[str, int]
) -> Equation | None:
    """Return the equation of an op, drawing its slots; None where the numbers do not allow it."""
    left, right = (
        known[side][0] if side in known else int(side) if side.isdecimal() else slots.get(side)
        for side in (op.left, op.right or "0")
    )
    if left is None:
        left = slots[op.left] = _drawn_left(story, op, right)
    if right is None:
        right = slots[op.right] = _drawn_right(story, op, left)
    if op.sign == "/" and (right == 0 or left % right):
        return None
    result = _apply(left, op.sign, right)
    # every number is at least 2, so that the noun behind it is always a plural
    return (left, op.sign, right, result) if 2 <= result <= story.max_number else None


def _apply(left: int, sign: str, right: int) -> int:
    if sign == "*":
        return left * right
    if sign == "/":
        return left // right
    return left - right if sign == "-" else left + right


def _drawn_left(story: _Story, op: Op, right: int | None) -> int:
    """Draw the left number of an op within its limits, or 0 where none fits the right one."""
    low, high = story.limits[op.left[0]]
    if op.sign == "-" and right is not None:
        low, high = right + 2, min(high, right + story.limits["n"][1])
    elif op.sign == "+" and right is not None:
        high = min(high, story.max_number - right)
    return story.rng.randint(low, high) if low <= high else 0


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
    else:
        high = min(high, story.max_number // max(left, 1))
    return story.rng.randint(low, high) if low <= high else 0


def _is_needed(story: _Story) -> bool:
    """Return whether the last fact rests, directly or not, on every other."""
    reached: set[int] = set()
    waiting = [len(story.facts) - 1]
    while waiting:
        index = waiting.pop()
        if index not in reached:
            reached.add(index)
            waiting += story.facts[index].rests_on
    return len(reached) == len(story.facts)


def _pick(rng: random.Random, choices: Sequence[_T]) -> _T:
    # several times as fast as rng.choice
    return choices[int(rng.random() * len(choices))]


# --- writing ------------------------------------------------------------------------------


def _prompt(drawn: _Draw, people: Mapping[str, str]) -> str:
    words = {**drawn.words, **people}
    return " ".join(text.format(**words, **slots) for text, slots in drawn.story.sentences)


def _content(drawn: _Draw) -> str:
    """Return what makes two problems the same: the prompt, whoever the people are."""
    return _prompt(drawn, _ANYONE)


def _written(drawn: _Draw) -> Problem:
    words = {**drawn.words, **drawn.people}
    lines: list[str] = []
    program: list[list[int | str]] = []
    for fact in drawn.story.facts:
        if fact.equation is not None:
            left, sign, right, result = fact.equation
            equation = f"{left} {sign} {right} = {result}"
            lines.append(fact.says.format(**words).replace("#", equation))
            program.append([left, sign, right, result])
    answer = str(program[-1][3])
    digest = hashlib.blake2b(_content(drawn).encode(), digest_size=6).hexdigest()
    return Problem(
        id=f"{NAME}-{digest}",
        prompt=_prompt(drawn, drawn.people),
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
    return draw_split(NAME, split, seed, lambda rng: _draw(rng, difficulty), _content)


def grade(problem: Problem, text: str) -> bool | None:
    """Return whether a text ends in the problem's answer; None: it cannot be judged."""
    return grade_answer(text, problem.answer)


def answer_of(problem: Problem, text: str) -> str | None:
    """Return the final answer of a text in a normal form, None where there is none."""
    answer = extract_answer(text)
    return None if answer is None else normal_form(answer)


TASK = Task(name=NAME, problems=problems, grade=grade, answer_of=answer_of)
