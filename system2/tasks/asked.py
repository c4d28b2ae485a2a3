"""Read what a problem's metadata asks: problems come from files, too, which may hold anything."""

from typing import Any, cast

from system2.core import Problem, UserError


def whole_number(problem: Problem, name: str, low: int, high: int) -> int:
    """Return a whole number in `low`..`high`. Raises: `UserError` naming problem and field."""
    value: object = problem.metadata.get(name)
    if not _is_whole(value, low, high):
        raise _refused(problem, name, f"a whole number in {low}..{high}")
    return cast(int, value)


def whole_numbers(
    problem: Problem, name: str, low: int, high: int, *, size: int | None = None
) -> list[int]:
    """Return a list of whole numbers in `low`..`high`, `size` of them (None: any number).

    Raises: `UserError` naming problem and field.
    """
    value: object = problem.metadata.get(name)
    found = cast("list[Any]", value) if isinstance(value, list) else None
    if found is None or not all(_is_whole(each, low, high) for each in found):
        raise _refused(problem, name, f"a list of whole numbers in {low}..{high}")
    if size is not None and len(found) != size:
        raise _refused(problem, name, f"a list of {size} numbers")
    return found


def text(problem: Problem, name: str) -> str:
    """Return a text. Raises: `UserError` naming problem and field."""
    value: object = problem.metadata.get(name)
    if not isinstance(value, str):
        raise _refused(problem, name, "a text")
    return value


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _refused(problem: Problem, name: str, needed: str) -> UserError:
    return UserError(
        f'problem {problem.id[:60]!r} of task {problem.task}: its metadata needs "{name}", '
        f"{needed}; it has {str(problem.metadata.get(name))[:60]}"
    )
