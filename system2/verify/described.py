"""What a verifier's folder says of it, read with suspicion: numbers, texts, a calibration.

Place in the flow: `load_verifier` reads `verifier.json`, a kind's `made` asks for its fields here.
"""

import math
from collections.abc import Mapping
from typing import Any, cast

from system2.core import UserError
from system2.verify.process import Calibration


def number_in(described: Mapping[str, Any], name: str) -> float:
    """Return a finite number that the folder says. Raises: `UserError` that names it."""
    number: object = described.get(name)
    try:
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if is_number and math.isfinite(found := float(cast(float, number))):
            return found
    except OverflowError:
        pass
    raise UserError(f"{name} is {str(number)[:40]!r}, not a finite number")


def count_in(described: Mapping[str, Any], name: str, *, least: int, most: int) -> int:
    """Return a whole number from `least` to `most`. Raises: `UserError` that names it."""
    number: object = described.get(name)
    if isinstance(number, int) and not isinstance(number, bool) and least <= number <= most:
        return number
    raise UserError(f"{name} is {str(number)[:40]!r}; it must be a whole number {least} to {most}")


def calibration_in(described: Mapping[str, Any]) -> Calibration:
    """Return the calibration that the folder says. Raises: `UserError` that names the field."""
    calibration: object = described.get("calibration")
    if not isinstance(calibration, dict):
        raise UserError(f"calibration is {str(calibration)[:40]!r}, not an object")
    numbers = cast(dict[str, Any], calibration)
    return Calibration(number_in(numbers, "temperature"), number_in(numbers, "bias"))
