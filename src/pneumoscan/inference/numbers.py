"""Checks of numbers from JSON, because Python accepts NaN, infinity and integers of any length."""

import sys
from collections.abc import Sequence


def is_number(value: object) -> bool:
    """Return whether a value is a finite number within the range of a float, and not a bool."""
    # `math.isfinite` raises an error for an integer beyond the range of floats.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_rate(value: object) -> bool:
    """Return whether a value is a number in [0, 1], and not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def is_interval(value: object) -> bool:
    """Return whether a value is a list of two rates in ascending order."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        return False
    return all(map(is_rate, value)) and bool(value[0] <= value[1])
