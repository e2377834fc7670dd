"""Two-sample tests for what is watched, by NumPy alone: scores (Kolmogorov–Smirnov), shares (Fisher), many looks (Holm)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Distance(NamedTuple):
    """How far two distributions are apart.

    Attributes:
        distance: The largest difference of the two distribution functions, in [0, 1].
        p: Probability of as much by chance, if both samples come from one distribution.
    """

    distance: float
    p: float


def kolmogorov_smirnov(one: npt.ArrayLike, other: npt.ArrayLike) -> Distance:
    """Compare two samples of a continuous quantity, two-sided.

    The asymptotic distribution with the correction for small samples of M. A. Stephens, J. R. Statist. Soc. B 32 (1970)
    115–122. Ties make the probability too large, never too small.

    Args:
        one: (n,) of finite numbers, n at least 1.
        other: (m,) of finite numbers, m at least 1.
    """
    a, b = np.sort(np.asarray(one, np.float64)), np.sort(np.asarray(other, np.float64))
    places = np.concatenate([a, b])
    apart = np.searchsorted(a, places, "right") / a.size - np.searchsorted(b, places, "right") / b.size
    distance = float(np.abs(apart).max())
    root = math.sqrt(a.size * b.size / (a.size + b.size))
    return Distance(distance, _kolmogorov_tail((root + 0.12 + 0.11 / root) * distance))


def _kolmogorov_tail(value: float) -> float:
    if value < 0.2:
        return 1.0
    k = np.arange(1, 101)
    terms = np.where(k % 2 == 1, 1.0, -1.0) * np.exp(-2 * k**2 * value**2)
    return float(np.clip(2 * terms.sum(), 0, 1))


def fisher(count: int, of: int, other_count: int, other_of: int) -> float:
    """Compare two shares by Fisher's exact test, two-sided: the probability of tables no likelier than this one.

    Args:
        count: Hits in the first sample.
        of: Its size.
        other_count: Hits in the second sample.
        other_of: Its size.
    """
    hits, total = count + other_count, of + other_of
    fewest, most = max(0, hits - other_of), min(hits, of)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])

    def log_choose(n: int, k: npt.NDArray[np.int64]) -> Floats:
        chosen: Floats = log_factorial[n] - log_factorial[k] - log_factorial[n - k]
        return chosen

    k = np.arange(fewest, most + 1)
    log_p = log_choose(of, k) + log_choose(other_of, hits - k) - log_choose(total, np.array([hits]))
    # Tables as likely as this one count; rounding must not leave them out.
    as_rare = log_p <= log_p[count - fewest] + 1e-7
    return float(min(1.0, np.exp(log_p[as_rare]).sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for being several, in their order (S. Holm, Scand. J. Statist. 6 (1979) 65–70)."""
    order = np.argsort(p_values, kind="stable")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted
