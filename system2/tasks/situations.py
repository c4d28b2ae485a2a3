"""The language that word problems are told in: kinds of events, and situations made of them.

A kind says what an event does to the numbers of a story; a situation lends it words. The
tables stand in `situations_*.py`; `word_problems` composes and computes stories from them.

Names in a kind's program:
- registers, which last through a story: `x`, `y`, `z` (what the first, second and third person
  or sort has), `m` (money or another second measure), `o` (what `x` was after the opening);
- slots, which are drawn anew for each event and stand in its text as `{n}`: `s` a stock to
  start with, `n` a quantity, `g` the size of a group, `k` a count or a rate, `p` a price, `c` a
  capacity above what it holds (a digit tells two of a sort apart: `n2`);
- everything else (`t`, `u`, a question's `a`) lasts for one event.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

REGISTERS = frozenset("xyzmo")
SLOTS = frozenset("sngkpc")
"""First letters of slots."""
LASTING = REGISTERS | {"", *map(str, range(2, 13))}
"""Names that last through a story: registers, and constants, which stand for themselves."""


@dataclass(frozen=True, slots=True)
class Op:
    """One computation `target = left sign right`.

    `sign` is "" where `left` only gets a name, and "<=" for a condition (no target) without
    which the event cannot happen.
    """

    target: str
    left: str
    sign: str = ""
    right: str = ""

    @property
    def is_step(self) -> bool:
        """Whether the solution needs a step for it."""
        return self.sign not in ("", "<=")


@dataclass(frozen=True, slots=True)
class Kind:
    """What an event does to the numbers of a story.

    Its computations in order; the registers that it needs, brings in and changes; the names
    that last after it; and how many of the computations are steps of the solution.
    """

    ops: tuple[Op, ...]
    needs: frozenset[str]
    brings: frozenset[str]
    changes: frozenset[str]
    keeps: frozenset[str]
    num_steps: int


@dataclass(frozen=True, slots=True)
class Event:
    """A kind in a situation's words.

    `text` is what the prompt says; `says` has a sentence of the solution for each step, in
    which "#" marks the equation.
    """

    kind: Kind
    text: str
    says: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Situation:
    """A story frame: a story is an opening, events (each at most once) and a question.

    `words` are choices made once a story, `distractors` sentences with a number `{d}` that
    does not matter. In a settled situation a register that another rests on changes no more:
    "twice as many as Tom" must not be told before the last that happens to Tom.
    """

    words: Mapping[str, tuple[str, ...]]
    openings: tuple[Event, ...]
    events: tuple[Event, ...]
    questions: tuple[Event, ...]
    distractors: tuple[str, ...]
    is_settled: bool


def read_kind(program: str) -> Kind:
    """Read a program: computations, and registers that end, parted by semicolons.

    >>> read_kind("m = x * p; end x").ops
    (Op(target='m', left='x', sign='*', right='p'),)
    """
    ops: list[Op] = []
    needs: set[str] = set()
    ends: set[str] = set()
    known: set[str] = set()
    for line in program.split("; "):
        words = line.split()
        if words[0] == "end":
            ends.add(words[1])
            continue
        op = Op("", *words) if words[1] == "<=" else Op(words[0], *words[2:])
        needs |= ({op.left, op.right} & REGISTERS) - known
        known.add(op.target)
        ops.append(op)
    written = known & REGISTERS
    return Kind(
        ops=tuple(ops),
        needs=frozenset(needs),
        brings=frozenset(written - needs),
        changes=frozenset(written & needs),
        keeps=LASTING - ends,
        num_steps=sum(op.is_step for op in ops),
    )


def read_situations(table: str) -> dict[str, Situation]:
    """Read a table of situations by name.

    Situations are parted by an empty line, entries begin on a line of their own and go on
    where the next line is indented:

        # name
        item = box, fish|fish       a choice, offered to texts as {item} and, plural, {items}
        x = {A} has # {items}.      what the solution says when x is computed
        > kind: text | says         an opening,
        + kind: text | says         an event,
        ? kind: text | says         a question, in the words of the situation
        ~ text                      a distracting sentence with the number {d}
        ! settled                   says that the situation is

    `says` speaks of the steps that the situation itself has no words for, or of all of them.
    Texts may also use {A}, {B} and {C} (people) and, for A, {he} {his} {him} {He} {His}.
    Raises: `ValueError` that quotes an entry which cannot be read.
    """
    situations: dict[str, Situation] = {}
    for block in table.strip().split("\n\n"):
        title, *entries = re.sub(r"\n +", " ", block).split("\n")
        situations[title.removeprefix("# ")] = _read_situation(entries)
    return situations


def _read_situation(entries: Collection[str]) -> Situation:
    words: dict[str, tuple[str, ...]] = {}
    common: dict[str, str] = {}
    events: dict[str, list[Event]] = {">": [], "+": [], "?": []}
    distractors: list[str] = []
    is_settled = "! settled" in entries
    for entry in entries:
        mark, _, rest = entry.partition(" ")
        if mark == "~":
            distractors.append(rest)
        elif mark in events:
            events[mark].append(_read_event(rest, common))
        elif rest.startswith("= ") and mark in REGISTERS:
            common[mark] = rest[2:]
        elif rest.startswith("= "):
            words[mark] = tuple(rest[2:].split(", "))
        elif entry != "! settled":
            raise ValueError(f"not an entry of a situation: {entry!r}")
    return Situation(
        words=words,
        openings=tuple(events[">"]),
        events=tuple(events["+"]),
        questions=tuple(events["?"]),
        distractors=tuple(distractors),
        is_settled=is_settled,
    )


def _read_event(entry: str, common: Mapping[str, str]) -> Event:
    name, _, rest = entry.partition(": ")
    text, *own = rest.split(" | ")
    if name not in KINDS:
        raise ValueError(f"unknown kind of event: {entry!r}")
    kind = KINDS[name]
    targets = [op.target for op in kind.ops if op.is_step]
    spoken = [None if len(own) == len(targets) else common.get(target) for target in targets]
    if spoken.count(None) != len(own):
        raise ValueError(f"{spoken.count(None)} steps of the solution need words: {entry!r}")
    words = iter(own)
    return Event(kind, text, tuple(said or next(words) for said in spoken))


_PROGRAMS = {
    # openings: one quantity
    "given": "x = s",
    "given_sum": "x = s + n",
    "given_less": "x = s - n",
    "given_groups": "x = k * g",
    "given_few": "x = k * k2",
    "given_ride": "x = k * n",
    "given_cost": "x = k * p",
    "given_dozens": "x = k * 12",
    "given_week": "x = g * 7",
    "given_fours": "x = g * 4",
    "given_pairs": "x = g * 2",
    "given_pairs_people": "t = k * k2; x = t * 2",
    "given_nested": "t = k * k2; x = t * k3",
    "given_nested_cost": "t = k * k2; x = t * p",
    "given_sorts": "t = k * g; x = t + n2",
    "given_two_groups": "t = k * g; u = k2 * g2; x = t + u",
    "given_two_few": "t = k * k2; u = k3 * k4; x = t + u",
    "given_two_groups_day": "t = k * g; u = k2 * k3; x = t + u",
    "given_two_rides": "t = k * n; u = k2 * n2; x = t + u",
    "given_two_costs": "t = k * p; u = k2 * p2; x = t + u",
    "given_legs": "t = g * 4; u = g2 * 2; x = t + u",
    "given_rates": "t = k + k2; x = t * k3",
    "given_two_rates": "t = k + k2; x = t * p",
    "given_net": "t = g - k; x = t * k2",
    "given_age": "x = g",
    "given_age_sum": "x = g - k",
    "given_age_ago": "x = g + k",
    "given_undo_two": "t = s + n2; x = t + n",
    "given_undo_half": "t = s + n; x = t * 2",
    "given_undo_share": "t = k * g; x = t + n",
    # openings: two quantities
    "given_two": "x = s; y = s2",
    "given_more": "x = s; y = x + n",
    "given_fewer": "x = s; y = x - n",
    "given_times": "x = s; y = x * k",
    "given_rates_apart": "x = k * k3; y = k2 * k3",
    "given_width": "x = g; y = k",
    "given_width_less": "x = g; y = x - k",
    "given_length_times": "y = k; x = y * k2",
    # one quantity changes
    "gain": "x = x + n",
    "gain_k": "x = x + k",
    "lose": "x = x - n",
    "gain_groups": "t = k * g; x = x + t",
    "gain_few": "t = k * k2; x = x + t",
    "gain_cost": "t = k * p; x = x + t",
    "gain_dozens": "t = k * 12; x = x + t",
    "gain_twos": "t = k * 2; x = x + t",
    "gain_threes": "t = k * 3; x = x + t",
    "gain_fours": "t = k * 4; x = x + t",
    "gain_sixes": "t = k * 6; x = x + t",
    "gain_eights": "t = k * 8; x = x + t",
    "gain_nested_two": "t = k * 2; u = t * k2; x = x + u",
    "lose_groups": "t = k * g; x = x - t",
    "lose_few": "t = k * k2; x = x - t",
    "lose_dozens": "t = k * 12; x = x - t",
    "lose_twos": "t = k * 2; x = x - t",
    "lose_week": "t = k * 7; x = x - t",
    "lose_nested": "t = k2 * 2; u = k * t; x = x - u",
    "lose_nested_two": "t = k * 2; u = t * k2; x = x - u",
    "lose_two": "t = n + n2; x = x - t",
    "swap": "t = x - n; x = t + n2",
    "regain": "x = x + n; x <= o",
    "reswap": "t = x - n; x = t + n2; x <= o",
    "halve": "x = x / 2",
    "double": "x = x * 2",
    "multiply": "x = x * k",
    "lose_third": "t = x / 3; x = x - t",
    "lose_quarter": "t = x / 4; x = x - t",
    "gain_half": "t = x / 2; x = x + t",
    # a second and a third quantity
    "second": "y = n",
    "more": "y = x + n",
    "more_k": "y = x + k",
    "fewer": "y = x - n",
    "times": "y = x * k",
    "double_of": "y = x * 2",
    "thrice_of": "y = x * 3",
    "half_as": "y = x / 2",
    "a_third": "y = x / 3",
    "times_of": "y = x / k",
    "less_than_twice": "t = x * 2; y = t - n",
    "more_than_half": "t = x / 2; y = t + n",
    "gain_second": "y = y + n",
    "gain_second_k": "y = y + k",
    "lose_second": "y = y - n",
    "double_second": "y = y * 2",
    "hand_over": "x = x - n; y = y + n",
    "take_over": "y = y - n; x = x + n",
    "third_both": "z = x + y",
    "third_between": "t = x + y; z = t / 2",
    "third_more": "z = y + n",
    "third_more_k": "z = y + k",
    "third_fewer": "z = y - n",
    "third_fewer_k": "z = y - k",
    "third_times": "z = y * k",
    "third_half": "z = y / 2",
    "third_of_y": "z = y / 3",
    "third_less_than_twice": "t = y * 2; z = t - n",
    "lose_third_person": "z = z - n",
    # one measure becomes another
    "sell": "m = x * p; end x",
    "sell_second": "m = y * p; end y",
    "pack": "y = x / k; end x",
    "pack_pairs": "y = x / 2; end x",
    "per_head": "y = x * 2; end x",
    "some_days": "y = x * k; end x",
    "split": "y = x - n; end x",
    "split_third": "y = x / 3; end x",
    "area": "m = x * y; end x; end y",
    "lose_measure": "m = m - n",
    "lose_measure_cost": "t = k * p; m = m - t",
    "lose_measure_few": "t = k * k2; m = m - t",
    "halve_measure": "m = m / 2",
    # questions
    "ask_x": "a = x",
    "ask_y": "a = y",
    "ask_z": "a = z",
    "ask_m": "a = m",
    "ask_room": "t = c - x",
    "ask_missing": "t = c - x; u = t / k",
    "ask_worth": "t = x * p",
    "ask_week": "t = x * 7",
    "ask_twice_room": "t = x * 2",
    "ask_half": "t = x / 2",
    "ask_share": "t = x / k",
    "ask_two_rates": "t = k + k2; u = x / t",
    "ask_tip_share": "t = x + n; u = t / k",
    "ask_left_over": "t = k * g; u = x - t",
    "ask_left_over_few": "t = k * k2; u = x - t",
    "ask_both_rates": "t = n * 2; u = x - t",
    "ask_legs_both": "t = n * 4; u = x + t",
    "ask_gain": "t = x - o",
    "ask_loss": "t = o - x",
    "ask_ahead": "t = x - y",
    "ask_behind": "t = y - x",
    "ask_both": "t = x + y",
    "ask_both_more": "t = x + y; u = t + n",
    "ask_both_room": "t = x + y; u = c - t",
    "ask_share_both": "t = x + y; u = t / k",
    "ask_worth_both": "t = x + y; u = t * p",
    "ask_all": "t = x + y; u = t + z",
    "ask_all_share": "t = x + y; u = t + z; v = u / 3",
    "ask_all_worth": "t = x + y; u = t + z; v = u * p",
    "ask_all_missing": "t = x + y; u = t + z; v = c - u",
    "ask_all_later": "t = x + y; u = t + z; v = k * 3; w = u + v",
    "ask_rest": "t = y + z; u = x - t",
    "ask_rest_share": "t = y + z; u = x - t; v = u / k",
    "ask_rest_twice": "t = y + z; u = x - t; v = u / 2",
    "ask_rest_worth": "t = y + z; u = x - t; v = u * p",
    "ask_around": "t = x + y; u = t * 2",
    "ask_around_gate": "t = x + y; u = t * 2; v = u - n",
    "ask_around_worth": "t = x + y; u = t * 2; v = u * p",
    "ask_y_worth": "t = y * p",
    "ask_y_share": "t = y / k",
    "ask_z_later": "t = z + k",
    "ask_m_worth": "t = m * p",
    "ask_share_measure": "t = m / k",
}

KINDS: Mapping[str, Kind] = {name: read_kind(program) for name, program in _PROGRAMS.items()}
"""Every kind of event; the same kind means the same computation in every situation."""
