"""Monte-Carlo labels: the shares of a policy that can be computed, whatever the batch."""

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, cast

import pytest

from system2.core import Completion, Problem, SampleRequest, Task, UserError, derive_seed
from system2.engine.local import LocalPolicy
from system2.engine.tokenizer import Tokenizer
from system2.synthesise.step_values import (
    UNKNOWN,
    LabelConfig,
    LabelledSolution,
    StepLabel,
    label_row,
    label_steps,
    labelled_solution,
)
from system2.tasks import find_task

PROBLEM = Problem("p", "Tom has 3 apples.", "3", "toy", {"solution": "1\n2\nSo the answer is 3."})
ONE = 0.25
"""How often a line is 1; else it is 2. Two lines are summed."""
RIGHT = {"": 2 * ONE * (1 - ONE), "1\n": 1 - ONE, "2\n": ONE, "1\n2\n": 1.0, "2\n1\n": 1.0}
"""How likely the sum of two lines is 3; 0 after two other lines."""


def grade(problem: Problem, text: str) -> bool | None:
    """Unjudged where the answer is 4: two and two."""
    answer = text.removesuffix(".").rpartition(" ")[2]
    return None if answer == "4" else answer == problem.answer


def no_problems(*_: Any) -> Iterator[Problem]:
    raise AssertionError("problems are given")


TASK = Task("toy", no_problems, grade, lambda _, text: text)


@dataclass
class Summing:
    """Writes two lines, each 1 or 2, and their sum; counts what it is asked for."""

    tokenizer: Tokenizer
    num_prefixes: int = 0
    num_forgotten: int = 0

    def forget(self) -> None:
        self.num_forgotten += 1

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[list[Completion]]]:
        self.num_prefixes += sum(len(r.prefixes) for r in requests)
        return [
            [[self._draw(r, p, i) for i in range(r.n)] for p in range(len(r.prefixes))]
            for r in requests
        ]

    def _draw(self, request: SampleRequest, p: int, i: int) -> Completion:
        start = len(self.tokenizer.prompt(PROBLEM.prompt))
        text = self.tokenizer.decode(request.prefixes[p][start:])
        lines = [int(line) for line in text.splitlines()]
        rng, added = random.Random(derive_seed(request.seed, p, i)), ""
        while len(lines) < 2:
            lines.append(1 if rng.random() < ONE else 2)
            added += f"{lines[-1]}\n"
        tokens = self.tokenizer.encode(f"{added}So the answer is {sum(lines)}.")
        tokens = (*tokens, min(self.tokenizer.eos))[: request.params.max_tokens]
        is_end = tokens[-1] in self.tokenizer.eos
        return Completion(tokens, (0.0,) * len(tokens), "eos" if is_end else "length")


def labelled(
    tokenizer: Tokenizer, config: LabelConfig, problems: Sequence[Problem] = (PROBLEM,)
) -> tuple[list[LabelledSolution], Summing]:
    policy = Summing(tokenizer)
    return list(label_steps(cast(Any, policy), TASK, problems, config)), policy


def test_labels_are_the_policys_shares(small_tokenizer: Tokenizer) -> None:
    config = LabelConfig(attempts=12, rollouts=600)
    solutions, policy = labelled(small_tokenizer, config)
    assert len(solutions) == 12
    prefixes: set[str] = {""}
    for solution in solutions:
        first, second, last = solution.steps
        assert (first[1:], second[1:]) == ("\n", "\n")
        assert last == f"So the answer is {int(first) + int(second)}."
        assert solution.is_finished
        for number, label in enumerate((solution.before, *solution.labels[:-1])):
            prefix = "".join(solution.steps[:number])
            prefixes.add(prefix)
            if prefix in ("2\n", ""):  # two and two cannot be judged, and is not counted
                unjudged = (1 - ONE) ** (2 - number)
                exact = RIGHT[prefix] / (1 - unjudged)
                assert label.num_rollouts == pytest.approx(600 * (1 - unjudged), abs=80)
            else:
                exact = RIGHT.get(prefix, 0.0)
            if prefix == "2\n2\n":
                assert label == StepLabel(None, 0, 0)
                continue
            assert label.value is not None
            assert label.value == pytest.approx(exact, abs=5 * math.sqrt(0.25 / 200))
            assert label.num_right == round(label.value * (label.num_rollouts or 0))
        wanted = grade(PROBLEM, "".join(solution.steps))
        assert solution.grade is wanted
        alone = StepLabel(None, 0, 0) if wanted is None else StepLabel(float(wanted), wanted, 1)
        assert solution.labels[-1] == alone
    assert {"1\n", "2\n", "2\n1\n"} <= prefixes
    assert policy.num_prefixes == 1 + len(prefixes)  # the attempts', and each distinct one once
    assert policy.num_forgotten == 1


def test_the_reference_is_labelled_last_and_may_be_alone(small_tokenizer: Tokenizer) -> None:
    config = LabelConfig(attempts=2, has_reference=True, rollouts=8)
    solutions, _ = labelled(small_tokenizer, config)
    assert [s.source for s in solutions] == ["sampled", "sampled", "reference"]
    alone, _ = labelled(small_tokenizer, replace(config, attempts=0))
    assert alone == solutions[-1:]
    assert alone[0].steps == ("1\n", "2\n", "So the answer is 3.")
    assert alone[0].labels[1:] == (StepLabel(1.0, 8, 8), StepLabel(1.0, 1, 1))
    with pytest.raises(UserError, match="problem q has no reference"):
        labelled(small_tokenizer, config, [replace(PROBLEM, id="q", metadata={})])


def test_an_attempt_that_was_cut_short_keeps_its_whole_steps(small_tokenizer: Tokenizer) -> None:
    (solution,), _ = labelled(small_tokenizer, LabelConfig(1, max_tokens=5, rollouts=4))
    assert [step[1:] for step in solution.steps] == ["\n", "\n"]
    assert (solution.is_finished, solution.grade) == (False, None)
    # nothing ends within five tokens: a rollout that was cut short has not ended right
    assert solution.before == StepLabel(0.0, 0, 4)
    assert [label.num_rollouts for label in solution.labels] == [4, 4]
    (first,), _ = labelled(small_tokenizer, LabelConfig(1, max_tokens=1, rollouts=4))
    assert first.steps == first.labels == ()


def test_a_problem_has_its_labels_whatever_the_batch(
    toy_policy: LocalPolicy, sums: list[Problem]
) -> None:
    task = replace(find_task("word_problems"), step_stop=" =")
    config = LabelConfig(attempts=2, has_reference=True, rollouts=4, max_tokens=24, seed=5)

    def labels(problems: Sequence[Problem], chunk: int) -> list[LabelledSolution]:
        return list(label_steps(toy_policy, task, problems, config, chunk=chunk))

    together = labels(sums[:9], 9)
    assert len(together) == 9 * config.per_problem
    assert any(len(solution.steps) > 1 for solution in together)
    assert labels(sums[:9], 2) == together
    assert labels(sums[8:3:-1], 9) == [
        s for i in range(8, 3, -1) for s in together[3 * i : 3 * i + 3]
    ]
    values = {label.value for solution in together for label in solution.labels}
    assert len(values) > 2


def test_seeds_make_other_labels(small_tokenizer: Tokenizer) -> None:
    one, other = (labelled(small_tokenizer, LabelConfig(6, seed=seed))[0] for seed in (0, 1))
    assert one != other
    assert labelled(small_tokenizer, LabelConfig(6))[0] == one


@pytest.mark.parametrize(
    ("dials", "named"),
    [
        ({"attempts": 0}, "attempts is 0"),
        ({"attempts": -1, "has_reference": True}, "attempts is -1"),
        ({"rollouts": 0}, "rollouts is 0"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"temperature": 0.0}, "temperature 0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"top_p": 0.0}, "top_p is 0"),
    ],
)
def test_a_dial_out_of_range_is_named(dials: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        LabelConfig(**dials)


# rows


def test_rows_come_back(small_tokenizer: Tokenizer) -> None:
    config = LabelConfig(6, has_reference=True)
    for solution in labelled(small_tokenizer, config)[0]:
        row = json.loads(json.dumps(label_row(solution)))
        assert labelled_solution(row) == solution
    bare: dict[str, Any] = {
        "problem": {"id": "", "task": "", "prompt": "", "answer": ""},
        "steps": [],
        "values": [],
    }
    assert labelled_solution(bare).before == UNKNOWN


SOUND = {
    "problem": {"id": "p", "task": "t", "prompt": "?", "answer": "1"},
    "steps": ["a\n", "b"],
    "values": [0.5, None],
    "right": [2, None],
    "rollouts": [4, None],
    "before": {"value": 1, "right": 1, "rollouts": 1},
}


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        ({"problem": "p"}, '"problem" is no object'),
        ({"problem": {"id": "p"}}, 'needs the text "task"'),
        ({"steps": "ab"}, "steps: is str"),
        ({"steps": ["a", 3]}, "steps: holds 3"),
        ({"steps": ["a"]}, "values: needs a list"),
        ({"values": [0.5]}, "values: needs a list"),
        ({"values": {"0": 1}}, "values: needs a list"),
        ({"values": [1.5, None]}, "step 1: value is 1.5"),
        ({"values": [-0.1, None]}, "step 1: value is -0.1"),
        ({"values": [True, None]}, "step 1: value is True"),
        ({"values": ["0.5", None]}, "step 1: value is '0.5'"),
        ({"values": [10**400, None]}, "step 1: value is 1000"),
        ({"values": [math.nan, None]}, "step 1: value is nan"),
        ({"right": [5, None]}, "step 1: 5 right of 4"),
        ({"right": [1, None]}, "step 1: value is 0.5, but 1 of 4"),
        ({"right": [None, None]}, "step 1: right and rollouts"),
        ({"right": [2.0, None]}, "step 1: right is 2.0"),
        ({"rollouts": [0, None], "right": [0, None]}, "step 1: value is 0.5, but 0 of 0"),
        ({"before": 1}, '"before" is no object'),
        ({"before": {"value": 2}}, "before: value is 2"),
        ({"finished": 1}, "finished is 1"),
        ({"grade": "yes"}, "grade 'yes'"),
        ({"source": 5}, "source is 5"),
    ],
)
def test_a_wrong_row_is_named(spoil: dict[str, Any], named: str) -> None:
    assert labelled_solution(SOUND).labels == (StepLabel(0.5, 2, 4), UNKNOWN)
    with pytest.raises(UserError) as caught:
        labelled_solution(SOUND | spoil, "f.jsonl, line 3")
    assert str(caught.value).startswith("f.jsonl, line 3")
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_problems_may_come_without_end(small_tokenizer: Tokenizer) -> None:
    def endless() -> Iterator[Problem]:
        number = 0
        while True:
            yield replace(PROBLEM, id=str(number))
            number += 1

    policy = Summing(small_tokenizer)
    found = label_steps(cast(Any, policy), TASK, endless(), LabelConfig(1, rollouts=1), chunk=4)
    assert [s.problem.id for s in islice(found, 9)] == list("012345678")
