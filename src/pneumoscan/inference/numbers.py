"""What a number read from JSON may be: Python takes NaN, infinity and whole numbers of any length from it."""

import sys
from collections.abc import Sequence


def is_number(value: object) -> bool:
    """Whether it is a finite number that a float can hold, and no bool."""
    # `math.isfinite` fails on a whole number beyond the floats.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_rate(value: object) -> bool:
    """Whether it is a number in [0, 1], and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def is_interval(value: object) -> bool:
    """Whether it is a row of two rates that do not fall."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        return False
    return all(map(is_rate, value)) and bool(value[0] <= value[1])
