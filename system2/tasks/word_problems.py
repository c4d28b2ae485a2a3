"""Generated grade-school word problems in English, 2 to 6 steps, in the manner of GSM8K.

A story is composed from a situation's table: an opening, events and a question whose
computations number exactly the steps asked for. Numbers are drawn while the story is computed,
so every number is right by construction, and a story is kept only where each computation and
each fact is needed for the answer. The training set is fixed and finite, as GSM8K's is.
"""

import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice

from system2.core import Problem, Split, Task, UserError, derive_seed
from system2.tasks.answers import extract_answer, grade_answer, normal_form
from system2.tasks.situations import KINDS, REGISTERS, SLOTS, Event, Op, Situation
from system2.tasks.situations_trade import TRADE
from system2.tasks.splits import draw_split

NAME = "word_problems"
TRAIN_SIZE = 7_473
"""Problems of the fixed training set; as many as GSM8K has."""
MAX_WORDS = 90
"""Words of the longest prompt."""
MAX_TRIES = 10_000

SITUATIONS: Mapping[str, Situation] = {**TRADE}
"""Every situation by its name."""

BOYS = ("Adam", "Ben", "Carl", "Dan", "Eric", "Frank", "Jack", "Leo", "Max", "Paul", "Sam", "Tom")
GIRLS = ("Amy", "Anna", "Ella", "Emma", "Eva", "Kate", "Lily", "Lucy", "Mia", "Nora", "Rosa", "Zoe")
_PRONOUNS = {
    "boy": {"he": "he", "his": "his", "him": "him", "He": "He", "His": "His"},
    "girl": {"he": "she", "his": "her", "him": "her", "He": "She", "His": "Her"},
}
_ANYONE = {key: f"<{key}>" for key in ("A", "B", "C", *_PRONOUNS["boy"])}


@dataclass(frozen=True, slots=True)
class Difficulty:
    """The dials of generated problems; harder is more steps and larger numbers.

    A problem has `min_steps`..`max_steps` steps, s of them with weight `step_weights[s - 2]`.
    No number in it, given or computed, exceeds `max_number`; quantities go to `max_quantity`,
    counts, rates and divisors to `max_factor`, prices to `max_price`. A sentence with a number
    that does not matter stands in `distractor_rate` of the problems.
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
                f"20 <= max_quantity {self.max_quantity} <= max_number {self.max_number} <= 999 "
                "must hold"
            )
        if min(self.max_factor, self.max_price) < 4:
            raise UserError("max_factor and max_price must be at least 4")
        if not 0 <= self.distractor_rate <= 1:
            raise UserError(f"distractor_rate is {self.distractor_rate}; it must lie in [0, 1]")


DEFAULT = Difficulty()


@dataclass(frozen=True, slots=True)
class _Step:
    """One computation done: what is said of it, its numbers and the steps it rests on."""

    says: str
    equation: tuple[int, str, int, int] | None
    rests_on: tuple[int, ...] = ()


@dataclass(slots=True)
class _Story:
    """A story while it is composed; registers map to (value, index of the step it is from)."""

    registers: dict[str, tuple[int, int]] = field(default_factory=dict)
    steps: list[_Step] = field(default_factory=list)
    sentences: list[tuple[str, dict[str, int]]] = field(default_factory=list)
    num_steps: int = 0


@dataclass(frozen=True, slots=True)
class _Draw:
    """A problem before it is written out."""

    situation: str
    words: dict[str, str]
    sentences: tuple[tuple[str, dict[str, int]], ...]
    steps: tuple[_Step, ...]
    has_distractor: bool
    people: dict[str, str]


def generate(rng: random.Random, difficulty: Difficulty = DEFAULT) -> Problem:
    """Draw one problem with its reference solution.

    Raises: `UserError` where the dials leave (almost) no story to tell.
    """
    return _written(_draw(rng, difficulty))


def _draw(rng: random.Random, difficulty: Difficulty) -> _Draw:
    counts = range(difficulty.min_steps, difficulty.max_steps + 1)
    weights = difficulty.step_weights[difficulty.min_steps - 2 : difficulty.max_steps - 1]
    num_steps = rng.choices(counts, weights)[0]
    names = list(SITUATIONS)
    for _ in range(MAX_TRIES):
        name = names[int(rng.random() * len(names))]
        situation = SITUATIONS[name]
        story = _told(situation, num_steps, rng, difficulty)
        if story is None or not _is_needed(story):
            continue
        has_distractor = rng.random() < difficulty.distractor_rate
        if has_distractor:
            text = rng.choice(situation.distractors)
            values = {"d": rng.randint(2, difficulty.max_quantity)}
            story.sentences.insert(rng.randrange(1, len(story.sentences)), (text, values))
        words = _words(situation, rng)
        drawn = _Draw(
            name, words, tuple(story.sentences), tuple(story.steps), has_distractor, _people(rng)
        )
        if _prompt(drawn, _ANYONE).count(" ") < MAX_WORDS:
            return drawn
    raise UserError(f"no word problem found in {MAX_TRIES} draws: widen {difficulty}")


def _told(
    situation: Situation, num_steps: int, rng: random.Random, difficulty: Difficulty
) -> _Story | None:
    """Compose a story of exactly so many steps; None where the draw comes to a dead end."""
    story = _Story()
    opening = rng.choice(situation.openings)
    if KINDS[opening.kind].num_steps >= num_steps:
        return None
    if not _perform(story, opening, situation, rng, difficulty):
        return None
    story.registers["o"] = story.registers["x"]
    left = list(situation.events)
    while True:
        missing = num_steps - story.num_steps
        fitting = [e for e in left if _fits(e, story) and KINDS[e.kind].num_steps <= missing]
        closing = [
            e
            for e in situation.questions
            if _fits(e, story) and KINDS[e.kind].num_steps == missing
        ]
        options = fitting + closing
        if not options:
            return None
        chosen = options[int(rng.random() * len(options))]
        done = _perform(story, chosen, situation, rng, difficulty)
        if chosen in closing:
            return story if done else None
        left.remove(chosen)
        if not done:
            continue


def _fits(event: Event, story: _Story) -> bool:
    """Return whether the story has what the event needs, and not yet what it brings in."""
    kind = KINDS[event.kind]
    known = story.registers.keys()
    return kind.needs <= known and not ((kind.gives - kind.needs) & known)


def _perform(
    story: _Story, event: Event, situation: Situation, rng: random.Random, difficulty: Difficulty
) -> bool:
    """Compute an event with fresh numbers and add it to the story; False leaves it untouched."""
    kind = KINDS[event.kind]
    known = dict(story.registers)
    slots: dict[str, int] = {}
    steps: list[_Step] = []
    says = iter(event.says)
    for op in kind.ops:
        equation = _computed(op, known, slots, rng, difficulty)
        if equation is None:
            return False
        result = equation[3]
        if not op.sign and op.left in known:
            known[op.target] = known[op.left]
            continue
        rests_on = tuple(known[side][1] for side in (op.left, op.right) if side in known)
        known[op.target] = (result, len(story.steps) + len(steps))
        if op.sign:
            said = situation.says[op.target] if op.target in REGISTERS else next(says)
            steps.append(_Step(said, equation, rests_on))
        else:
            steps.append(_Step("", None, rests_on))
    story.steps += steps
    story.sentences.append((event.text, slots))
    story.num_steps += kind.num_steps
    story.registers = {r: v for r, v in known.items() if r in REGISTERS and r not in kind.drops}
    return True


def _computed(
    op: Op,
    known: dict[str, tuple[int, int]],
    slots: dict[str, int],
    rng: random.Random,
    difficulty: Difficulty,
) -> tuple[int, str, int, int] | None:
    """Return the equation, drawing the slots in it; None where the numbers do not allow it."""
    left = _value(op.left, known, slots)
    right = _value(op.right, known, slots) if op.sign else 0
    if left is None:
        fitting = _fitting_left(op, right, difficulty)
        if not fitting:
            return None
        left = slots[op.left] = rng.choice(fitting)
    if right is None:
        fitting = _fitting_right(op, left, difficulty)
        if not fitting:
            return None
        right = slots[op.right] = rng.choice(fitting)
    result = _apply(left, op.sign, right)
    # 1 is left out so that every noun behind a number is a plural
    if result is None or not 2 <= result <= difficulty.max_number:
        return None
    return left, op.sign, right, result


def _value(name: str, known: dict[str, tuple[int, int]], slots: dict[str, int]) -> int | None:
    if name in known:
        return known[name][0]
    return int(name) if name.isdecimal() else slots.get(name)


def _apply(left: int, sign: str, right: int) -> int | None:
    if sign == "/":
        return None if left % right else left // right
    return {"": left, "+": left + right, "-": left - right, "*": left * right}[sign]


def _range(slot: str, difficulty: Difficulty) -> range:
    limits = {
        "s": (10, difficulty.max_quantity),
        "n": (2, difficulty.max_quantity),
        "k": (2, difficulty.max_factor),
        "p": (2, difficulty.max_price),
        "c": (2, difficulty.max_number),
    }
    low, high = limits[slot[0]]
    return range(low, high + 1)


def _fitting_left(op: Op, right: int | None, difficulty: Difficulty) -> range:
    numbers = _range(op.left, difficulty)
    if right is None or not op.sign:
        return numbers
    low, high = numbers.start, numbers.stop - 1
    if op.sign == "-":
        low, high = right + 2, min(high, right + difficulty.max_quantity)
    if op.sign == "+":
        high = min(high, difficulty.max_number - right)
    if op.sign == "*":
        high = min(high, difficulty.max_number // right)
    return range(low, high + 1)


def _fitting_right(op: Op, left: int, difficulty: Difficulty) -> range | list[int]:
    numbers = _range(op.right, difficulty)
    low, high = numbers.start, numbers.stop - 1
    if op.sign == "/":
        return [n for n in range(low, min(high, left // 2) + 1) if left % n == 0]
    if op.sign == "-":
        high = min(high, left - 2)
    if op.sign == "+":
        high = min(high, difficulty.max_number - left)
    if op.sign == "*":
        high = min(high, difficulty.max_number // left)
    return range(low, high + 1)


def _is_needed(story: _Story) -> bool:
    """Return whether the last step rests, directly or not, on every other."""
    reached: set[int] = set()
    waiting = [len(story.steps) - 1]
    while waiting:
        index = waiting.pop()
        if index not in reached:
            reached.add(index)
            waiting += story.steps[index].rests_on
    return len(reached) == len(story.steps)


def _words(situation: Situation, rng: random.Random) -> dict[str, str]:
    words: dict[str, str] = {}
    for key, choices in situation.words.items():
        one, _, many = choices[int(rng.random() * len(choices))].partition("|")
        words[key] = one
        words[key + "s"] = many or one + "s"
    return words


def _people(rng: random.Random) -> dict[str, str]:
    names = rng.sample(BOYS + GIRLS, 3)
    pronouns = _PRONOUNS["boy" if names[0] in BOYS else "girl"]
    return {**dict(zip("ABC", names, strict=True)), **pronouns}


def _prompt(drawn: _Draw, people: dict[str, str]) -> str:
    words = {**drawn.words, **people}
    return " ".join(text.format(**words, **values) for text, values in drawn.sentences)


def _content(drawn: _Draw) -> str:
    """Return what makes two problems the same: the prompt, whoever the people are."""
    return _prompt(drawn, _ANYONE)


def _written(drawn: _Draw) -> Problem:
    words = {**drawn.words, **drawn.people}
    program: list[list[int | str]] = []
    lines: list[str] = []
    for step in drawn.steps:
        if step.equation is None:
            continue
        left, sign, right, result = step.equation
        program.append([left, sign, right, result])
        said = step.says.format(**words)
        lines.append(said.replace("#", f"{left} {sign} {right} = {result}"))
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


@lru_cache(maxsize=2)
def _training_set(difficulty: Difficulty) -> tuple[Problem, ...]:
    """Return the fixed training set in the order drawn."""
    draws = draw_split(NAME, "train", 0, lambda rng: _draw(rng, difficulty), _content)
    return tuple(_written(drawn) for drawn in islice(draws, TRAIN_SIZE))


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
    draws = draw_split(NAME, split, seed, lambda rng: _draw(rng, difficulty), _content)
    return (_written(drawn) for drawn in draws)


def grade(problem: Problem, text: str) -> bool | None:
    """Return whether a text ends in the problem's answer; None: it cannot be judged."""
    return grade_answer(text, problem.answer)


def answer_of(problem: Problem, text: str) -> str | None:
    """Return the final answer of a text in a normal form, None where there is none."""
    answer = extract_answer(text)
    return None if answer is None else normal_form(answer)


TASK = Task(name=NAME, problems=problems, grade=grade, answer_of=answer_of)
