"""Several verifiers judge together, and a search is told one value.

Place in the flow: between a search's `ScoreRequest` and the verifiers named by several
`--verifier`; token verifiers are not among them, since they work inside the policy's decoding.
Rules, over the values of one prefix:

- `product`: as if the judges were independent witnesses that all have to agree (default).
- `min`: the most doubtful judge decides.
- `mean`: each judge has an equal vote.
- `last`: the verifier named last judges finished attempts and nothing else, those before it
  judge what is unfinished (by their mean). `--verifier PROCESS --verifier oracle --judge last`
  lets a process verifier guide the search and the truth choose at the end.

No source: the Meta-CoT paper (arXiv 2501.04682, section 5.2) uses one verifier at a time.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Literal, TypeAlias, get_args

from system2.core import ScoreRequest, UserError, Verifier
from system2.engine.tokenizer import Tokenizer
from system2.verify.exact import completions_of, is_finished

JudgeRule: TypeAlias = Literal["product", "min", "mean", "last"]
JUDGE_RULES: tuple[JudgeRule, ...] = get_args(JudgeRule)

_JOINT: Mapping[str, Callable[[Sequence[float]], float]] = {
    "product": math.prod,
    "min": min,
    "mean": lambda values: math.fsum(values) / len(values),
}


def combine(
    judges: Mapping[str, Verifier], rule: JudgeRule, tokenizer: Tokenizer
) -> Verifier | None:
    """Return the one verifier that judges, by name, make: None of none, one as it is."""
    if len(judges) < 2:
        return next(iter(judges.values()), None)
    return CombinedVerifier(tuple(judges.values()), rule, tokenizer, tuple(judges))


@dataclass(frozen=True, slots=True)
class CombinedVerifier:
    """Verifiers that judge by one rule (see the module).

    `names[j]` is what errors call judge j. Raises: `UserError` on fewer than two verifiers or
    an unknown rule.
    """

    verifiers: tuple[Verifier, ...]
    rule: JudgeRule
    tokenizer: Tokenizer
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.verifiers) < 2:
            raise UserError(f"{len(self.verifiers)} verifiers cannot judge together; name two")
        if self.rule not in JUDGE_RULES:
            raise UserError(
                f"no rule {self.rule!r} for --judge; there are {', '.join(JUDGE_RULES)}"
            )
        if len(self.names) != len(self.verifiers):
            raise ValueError(f"{len(self.verifiers)} verifiers but {len(self.names)} names")

    @property
    def name(self) -> str:
        """The judges' names and the rule."""
        return f"{self.rule} of {', '.join(self.names)}"

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Return values `[r][p]` in [0, 1].

        Raises: `UserError` that names the verifier whose values are too few or out of range.
        """
        if self.rule == "last":
            return self._by_stage(requests)
        join = _JOINT[self.rule]
        each = [self._asked(judge, requests) for judge in range(len(self.verifiers))]
        return [
            [join(values) for values in zip(*of_request, strict=True)]
            for of_request in zip(*each, strict=True)
        ]

    def _by_stage(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Ask the last about finished attempts, the others about the rest; nobody in vain."""
        ended = [
            [is_finished(added, self.tokenizer) for added in completions_of(one, self.tokenizer)]
            for one in requests
        ]
        *early, last = range(len(self.verifiers))
        final = iter(_flat(self._asked(last, _part(requests, ended, of=True))))
        begun = _part(requests, ended, of=False)
        each = [_flat(self._asked(judge, begun)) for judge in early]
        on_the_way = (_JOINT["mean"](values) for values in zip(*each, strict=True))
        return [
            [next(final) if has_ended else next(on_the_way) for has_ended in of_request]
            for of_request in ended
        ]

    def _asked(self, judge: int, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Return what one judge says of the requests that ask anything, checked.

        A minimum or product can hide what is wrong with one of its values.
        """
        asked = [request for request in requests if request.prefixes]
        if not asked:
            return [[] for _ in requests]
        answered = self.verifiers[judge].score(asked)
        name = self.names[judge]
        if len(answered) != len(asked):
            raise UserError(
                f"verifier {name} answered {len(answered)} of {len(asked)} requests; "
                "it has to answer each"
            )
        for request, values in zip(asked, answered, strict=True):
            problem = request.problem.id
            if len(values) != len(request.prefixes):
                raise UserError(
                    f"verifier {name} gave {len(values)} values for {len(request.prefixes)} "
                    f"prefixes of problem {problem}; it has to value each"
                )
            for value in values:
                if not _is_value(value):
                    raise UserError(
                        f"verifier {name} gave {value!r} for a prefix of problem {problem}; "
                        "a value lies in [0, 1]"
                    )
        rest = iter(answered)
        return [list(next(rest)) if request.prefixes else [] for request in requests]


def _is_value(value: object) -> bool:
    # Real holds numpy's numbers of any width, and bool, which is no value
    return type(value) is not bool and isinstance(value, Real) and 0 <= float(value) <= 1


def _part(
    requests: Sequence[ScoreRequest], ended: Sequence[Sequence[bool]], *, of: bool
) -> list[ScoreRequest]:
    """Return the requests about those prefixes alone that have ended, or (`of` False) have not."""
    return [
        replace(
            request,
            prefixes=tuple(p for p, e in zip(request.prefixes, flags, strict=True) if e == of),
        )
        for request, flags in zip(requests, ended, strict=True)
    ]


def _flat(values: Sequence[Sequence[float]]) -> list[float]:
    return [value for of_request in values for value in of_request]
