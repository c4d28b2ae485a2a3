"""The language that word problems are told in: kinds of events, and situations made of them.

A kind says what an event does to the numbers of a story; a situation lends it words. The
tables stand in `situations_*.py`; `word_problems` composes and computes them.

Names in a kind's program:
- registers, which last through a story: `x`, `y`, `z` (what the first, second and third person
  or sort has), `m` (money or another second measure), `o` (what `x` was after the opening);
- slots, which are drawn anew for each event and stand in its text as `{n}`: `s` a stock to
  start with, `n` a quantity, `k` a count or a rate, `p` a price, `c` a capacity above what it
  holds (a digit tells two of a sort apart: `n2`);
- everything else (`t`, `u`, a question's `a`) lasts for one event.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

REGISTERS = "xyzmo"
SLOTS = "snkpc"


@dataclass(frozen=True, slots=True)
class Op:
    """One computation `target = left sign right`; `sign` is "" where `left` only gets a name."""

    target: str
    left: str
    sign: str = ""
    right: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """What an event does: its computations in order, and the registers that end with it."""

    ops: tuple[Op, ...]
    drops: str
    needs: frozenset[str]
    gives: frozenset[str]
    num_steps: int


def kind(program: str, drops: str = "") -> Kind:
    """Read a program such as "t = k * n; x = x - t" ("" computes nothing)."""
    ops: list[Op] = []
    needs: set[str] = set()
    known: set[str] = set()
    for line in filter(None, program.split("; ")):
        target, _, *rest = line.split()
        op = Op(target, *rest)
        needs |= ({op.left, op.right} & set(REGISTERS)) - known
        known.add(target)
        ops.append(op)
    gives = known & set(REGISTERS)
    num_steps = sum(bool(op.sign) for op in ops)
    return Kind(tuple(ops), drops, frozenset(needs), frozenset(gives), num_steps)


@dataclass(frozen=True, slots=True)
class Event:
    """A kind in a situation's words.

    `text` is what the prompt says, `says` what the solution says of each computation that
    the situation's own `says` does not speak of, in order; "#" marks the equation.
    """

    kind: str
    text: str
    says: tuple[str, ...] = ()


def event(kind: str, text: str, *says: str) -> Event:
    """Write an event down shortly."""
    return Event(kind, text, says)


@dataclass(frozen=True, slots=True)
class Situation:
    """A story frame.

    A story is an opening, events (each at most once) and a question. `says` speaks of a
    register whenever it changes. `words` are choices made once a story: the noun "box|boxes"
    under "it" is offered to texts as `{it}` and `{its}`. Texts may also use `{A}`, `{B}`, `{C}`
    (people, who appear in this order) and `{he} {his} {him} {He} {His}` for A. `distractors`
    state a number `{d}` that does not matter.
    """

    openings: tuple[Event, ...]
    events: tuple[Event, ...]
    questions: tuple[Event, ...]
    says: Mapping[str, str]
    words: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    distractors: tuple[str, ...] = ()


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        # openings
        "given": kind("x = s"),
        "given_groups": kind("x = k * n"),
        "given_sum": kind("x = s + n"),
        "given_less": kind("x = s - n"),
        "given_two": kind("x = s; y = s2"),
        "given_sorts": kind("t = k * n; x = t + n2"),
        "given_two_groups": kind("t = k * n; u = k2 * n2; x = t + u"),
        "given_dozens": kind("x = k * 12"),
        "given_undo": kind("x = s + n"),
        "given_undo_half": kind("t = s + n; x = t * 2"),
        # one quantity changes
        "gain": kind("x = x + n"),
        "lose": kind("x = x - n"),
        "gain_groups": kind("t = k * n; x = x + t"),
        "lose_groups": kind("t = k * n; x = x - t"),
        "gain_week": kind("t = n * 7; x = x + t"),
        "gain_dozens": kind("t = k * 12; x = x + t"),
        "halve": kind("x = x / 2"),
        "double": kind("x = x * 2"),
        "multiply": kind("x = x * k"),
        "keep_share": kind("x = x / k"),
        "lose_third": kind("t = x / 3; x = x - t"),
        "lose_quarter": kind("t = x / 4; x = x - t"),
        "gain_half": kind("t = x / 2; x = x + t"),
        "swap": kind("t = x - n; x = t + n2"),
        "lose_two": kind("t = n + n2; x = x - t"),
        # a second and a third quantity
        "more": kind("y = x + n"),
        "fewer": kind("y = x - n"),
        "times": kind("y = x * k"),
        "half_as": kind("y = x / 2"),
        "times_of": kind("y = x / k"),
        "less_than_twice": kind("t = x * 2; y = t - n"),
        "more_than_half": kind("t = x / 2; y = t + n"),
        "second": kind("y = n"),
        "second_groups": kind("y = k * n"),
        "gain_second": kind("y = y + n"),
        "lose_second": kind("y = y - n"),
        "hand_over": kind("x = x - n; y = y + n"),
        "pool": kind("x = x + y", drops="y"),
        "third_both": kind("z = x + y"),
        "third_more": kind("z = y + n"),
        "third_times": kind("z = y * k"),
        "third_between": kind("t = x + y; z = t / 2"),
        # a measure of another sort
        "sell": kind("m = x * p", drops="x"),
        "pack": kind("m = x / k", drops="x"),
        "gain_measure": kind("m = m + n"),
        "lose_measure": kind("m = m - n"),
        "sell_measure": kind("m = m * p"),
        "lose_measure_groups": kind("t = k * n; m = m - t"),
        "halve_measure": kind("m = m / 2"),
        # questions
        "ask_x": kind("a = x"),
        "ask_y": kind("a = y"),
        "ask_z": kind("a = z"),
        "ask_m": kind("a = m"),
        "ask_room": kind("t = c - x"),
        "ask_worth": kind("t = x * p"),
        "ask_share": kind("t = x / k"),
        "ask_gain": kind("t = x - o"),
        "ask_loss": kind("t = o - x"),
        "ask_both": kind("t = x + y"),
        "ask_all": kind("t = x + y; u = t + z"),
        "ask_ahead": kind("t = x - y"),
        "ask_behind": kind("t = y - x"),
        "ask_change": kind("t = c - m"),
        "ask_share_both": kind("t = x + y; u = t / k"),
        "ask_worth_both": kind("t = x + y; u = t * p"),
        "ask_missing": kind("t = c - x; u = t / k"),
        "ask_left_over": kind("t = k * n; u = x - t"),
        "ask_share_measure": kind("t = m / k"),
    }
)
"""Every kind of event; the same kind means the same computation in every situation."""
