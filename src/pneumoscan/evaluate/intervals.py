"""Confidence intervals: Wilson's, and a bootstrap over patients, with the figures of many weightings of the same films at once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import UsageError
from pneumoscan.evaluate.arrays import Floats, Labels, check_finite, check_outcome, check_patients

Interval = tuple[float, float]
_CHUNK = 2_000_000


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Return the Wilson score interval of a proportion (E. B. Wilson, JASA 22 (1927) 209–212).

    Args:
        successes: From 0 to n.
        n: Number of films, at least 1.
        confidence: In (0, 1).

    Raises:
        UsageError: The counts or the confidence are outside their range.
    """
    if not (0 <= successes <= n and n > 0 and 0 < confidence < 1):
        raise UsageError(
            f"{successes} of {n} at confidence {confidence} has no interval.", "Check the counts."
        )
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and n the bound is exactly 0 or 1; rounding would miss it by 1e-17.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


@dataclass(frozen=True)
class Bootstrap:
    """95% percentile intervals of a bootstrap that resamples patients, not films.

    Attributes:
        n_resamples: Number of resamples.
        n_used: Resamples with both classes.
        seed: Seed of the resampling.
        n_patients: Number of patients.
        intervals: By figure (`roc_auc`, `average_precision`, `accuracy`, `sensitivity`, `specificity`); None if
            fewer than half of the resamples could be used.
    """

    n_resamples: int
    n_used: int
    seed: int
    n_patients: int
    intervals: dict[str, Interval | None]


BOOTSTRAPPED = ("roc_auc", "average_precision", "accuracy", "sensitivity", "specificity")


def bootstrap_by_patient(
    y_true: npt.ArrayLike,
    y_prob: npt.ArrayLike,
    *,
    threshold: float,
    patient_ids: Sequence[str] | npt.ArrayLike | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Bootstrap:
    """Resample patients with replacement, with all their films, and return percentile intervals of the figures.

    B. Efron, R. Tibshirani, An Introduction to the Bootstrap (1993), ch. 13 (percentiles); clusters after C. Field,
    A. Welsh, J. R. Statist. Soc. B 69 (2007) 369–390. Films of a patient are similar, so resampling single films would give
    intervals that are too narrow.

    Args:
        y_true: (n,) of 0 and 1.
        y_prob: (n,) in [0, 1].
        threshold: A film is labelled PNEUMONIA from this probability on.
        patient_ids: (n,); without them every film is its own patient.
        n_resamples: Number of resamples.
        seed: Seed of the resampling.

    Raises:
        UsageError: See `check_outcome`, `check_patients`.
    """
    outcome = check_outcome(y_true, y_prob)
    patients = check_patients(patient_ids, outcome.n)
    called = (outcome.y_prob >= threshold).astype(np.float64)
    parts = [
        _resampled_figures(outcome.y_true, outcome.y_prob, called, weights)
        for weights in _patient_weights(patients, n_resamples, seed)
    ]
    figures = np.concatenate(parts, axis=1) if parts else np.empty((len(BOOTSTRAPPED), 0))
    used = figures[:, np.isfinite(figures).all(axis=0)]
    enough = used.shape[1] >= max(1, n_resamples // 2)
    return Bootstrap(
        n_resamples=n_resamples,
        n_used=used.shape[1],
        seed=seed,
        n_patients=int(patients.max()) + 1,
        intervals={
            name: interval_of(row) if enough else None for name, row in zip(BOOTSTRAPPED, used, strict=True)
        },
    )


def area_draws(
    y_true: Labels, y_prob: Floats, patients: Labels, *, n_resamples: int = 1000, seed: int = 0
) -> tuple[float, Floats]:
    """Return the area under ROC of the films, and of each resample of their patients.

    Args:
        y_true: int64 (n,) of 0 and 1.
        y_prob: float64 (n,) in [0, 1].
        patients: int64 (n,), numbers from 0.
        n_resamples: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        The area in [0, 1], and float64 (n_resamples,); NaN if a resample lacks a class.
    """
    area = float(weighted_roc_auc(y_true, y_prob, np.ones((1, len(y_true))))[0])
    parts = [
        weighted_roc_auc(y_true, y_prob, weights) for weights in _patient_weights(patients, n_resamples, seed)
    ]
    return area, np.concatenate(parts) if parts else np.empty(0)


def group_area_draws(
    y_true: Labels,
    y_prob: Floats,
    patients: Labels,
    groups: Sequence[npt.NDArray[np.int64]],
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Floats:
    """Return the area under ROC of several groups of films in the same resamples of all patients.

    The areas of one resample belong together, so their differences are those of groups that may share patients.

    Args:
        y_true: int64 (n,) of 0 and 1.
        y_prob: float64 (n,) in [0, 1].
        patients: int64 (n,), numbers from 0.
        groups: The rows of each group.
        n_resamples: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        float64 (groups, n_resamples); NaN where a resample of a group lacks a class.
    """
    parts = [
        np.stack([weighted_roc_auc(y_true[own], y_prob[own], weights[:, own]) for own in groups])
        for weights in _patient_weights(patients, n_resamples, seed)
    ]
    return np.concatenate(parts, axis=1) if parts else np.empty((len(groups), 0))


def rate_intervals(
    y_true: npt.ArrayLike,
    y_prob: npt.ArrayLike,
    *,
    threshold: float,
    patient_ids: Sequence[str] | npt.ArrayLike,
    n_resamples: int = 1000,
    seed: int = 0,
) -> tuple[Interval | None, Interval | None]:
    """Return 95% intervals of sensitivity and specificity at a threshold, by the bootstrap of `bootstrap_by_patient`.

    If all films of a class are classified correctly (or wrongly), all resamples agree. Then the interval is Wilson's, with
    the number of patients of the class as the number of trials.

    Args:
        y_true: (n,) of 0 and 1.
        y_prob: (n,) in [0, 1].
        threshold: A film is labelled PNEUMONIA from this probability on.
        patient_ids: (n,); all versions of a film have its patient.
        n_resamples: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        Both intervals in [0, 1]; None if fewer than half of the resamples contain the class.

    Raises:
        UsageError: See `check_outcome`, `check_patients`.
    """
    pairs = curve_intervals(
        y_true, y_prob, thresholds=[threshold], patient_ids=patient_ids, n_resamples=n_resamples, seed=seed
    )
    return pairs[0]


def curve_intervals(
    y_true: npt.ArrayLike,
    y_prob: npt.ArrayLike,
    *,
    thresholds: Sequence[float] | npt.ArrayLike,
    patient_ids: Sequence[str] | npt.ArrayLike,
    n_resamples: int = 1000,
    seed: int = 0,
) -> list[tuple[Interval | None, Interval | None]]:
    """Return the result of `rate_intervals` at each of (k,) thresholds, all with the same resamples.

    Raises:
        UsageError: See `check_outcome`, `check_patients`, `check_finite`.
    """
    outcome = check_outcome(y_true, y_prob)
    patients = check_patients(patient_ids, outcome.n)
    called = outcome.y_prob >= check_finite(thresholds, "thresholds")[:, None]
    ill = outcome.y_true == 1
    rows = np.concatenate([called & ill, ~called & ~ill, [ill, ~ill]])
    by_patient: Floats = np.stack([np.bincount(patients, weights=row) for row in rows], axis=1)
    drawn = np.concatenate(
        [counts @ by_patient for counts in patient_draws(by_patient.shape[0], n_resamples, seed)]
    )
    count = len(called)

    def interval(index: int, of: int) -> Interval | None:
        return _rate_interval(drawn[:, index], drawn[:, of], by_patient[:, index], by_patient[:, of])

    return [(interval(index, -2), interval(count + index, -1)) for index in range(count)]


def _rate_interval(right: Floats, films: Floats, right_of: Floats, films_of: Floats) -> Interval | None:
    """Return the interval of a rate from its counts by resample (b,) and by patient (p,)."""
    shares = divide(right, films)
    found = interval_of(shares)
    if found is not None and right_of.sum() in {0, films_of.sum()}:
        patients = int((films_of > 0).sum())
        return wilson(patients if right_of.sum() else 0, patients)
    return found


def _resampled_figures(y_true: Labels, y_prob: Floats, called: Floats, weights: Floats) -> Floats:
    """Return the figures named in `BOOTSTRAPPED`, one row each: float64 (5, b)."""
    positive, negative = weights @ y_true, weights @ (1 - y_true)
    found, passed = weights @ (called * y_true), weights @ ((1 - called) * (1 - y_true))
    return np.stack(
        [
            weighted_roc_auc(y_true, y_prob, weights),
            weighted_average_precision(y_true, y_prob, weights),
            (found + passed) / (positive + negative),
            divide(found, positive),
            divide(passed, negative),
        ]
    )


def patient_weights(patients: Sequence[str] | Labels, *, n_resamples: int = 1000, seed: int = 0) -> Floats:
    """Return the number of times that each of n films is in each resample of their patients (n,): float64 (n_resamples, n)."""
    numbers = check_patients(patients, len(patients))
    return np.concatenate([np.empty((0, numbers.size)), *_patient_weights(numbers, n_resamples, seed)])


def _patient_weights(patients: Labels, n_resamples: int, seed: int) -> Iterator[Floats]:
    """Yield the number of times that each film is in each resample: float64 (b, n), in chunks."""
    chunk = max(1, _CHUNK // patients.size)
    for counts in patient_draws(int(patients.max()) + 1, n_resamples, seed, chunk):
        yield counts[:, patients].astype(np.float64)


def patient_draws(
    n_patients: int, n_resamples: int, seed: int, chunk: int = 0
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the number of times that each patient is in each resample: int64 (b, p), in chunks."""
    rng = np.random.default_rng(seed)
    chunk = chunk or max(1, _CHUNK // n_patients)
    for start in range(0, n_resamples, chunk):
        b = min(chunk, n_resamples - start)
        drawn = rng.integers(0, n_patients, size=(b, n_patients)) + np.arange(b)[:, None] * n_patients
        yield np.bincount(drawn.ravel(), minlength=b * n_patients).reshape(b, n_patients)


def interval_of(draws: Floats) -> Interval | None:
    """Return the 95% interval of resamples (b,), from quantile to quantile; None if fewer than half of them are finite."""
    used = draws[np.isfinite(draws)]
    if used.size < max(1, draws.size // 2):
        return None
    low, high = np.quantile(used, [0.025, 0.975])
    return float(low), float(high)


def weighted_roc_auc(y_true: Labels, y_prob: Floats, weights: Floats) -> Floats:
    """Return the area under the ROC curve for several weightings of the same films.

    The area is the share of pairs (PNEUMONIA, NORMAL) in the right order; ties count half (Mann–Whitney).

    Args:
        y_true: int64 (n,).
        y_prob: float64 (n,).
        weights: float64 (b, n), at least 0.

    Returns:
        float64 (b,); NaN if a class has no weight.
    """
    positive, negative = _weights_by_score(y_true, y_prob, weights)
    below = np.cumsum(negative, axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    ordered = np.einsum("bn,bn->b", positive, below)
    return divide(ordered, pairs)


def weighted_average_precision(y_true: Labels, y_prob: Floats, weights: Floats) -> Floats:
    """Return the average precision for several weightings: Σ (recall_k − recall_{k−1}) · precision_k.

    Args:
        y_true: int64 (n,).
        y_prob: float64 (n,).
        weights: float64 (b, n), at least 0.

    Returns:
        float64 (b,); NaN if no PNEUMONIA film has weight.
    """
    positive, negative = _weights_by_score(y_true, y_prob, weights)
    positive, negative = positive[:, ::-1], negative[:, ::-1]
    found = np.cumsum(positive, axis=1)
    called = found + np.cumsum(negative, axis=1)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return divide(np.einsum("bn,bn->b", positive, precision), found[:, -1])


def _weights_by_score(y_true: Labels, y_prob: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Sum the weights of each class at each distinct score, ascending: two float64 arrays (b, distinct)."""
    order = np.argsort(y_prob, kind="stable")
    scores, truth, ordered = y_prob[order], y_true[order], weights[:, order]
    starts = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])
    positive = np.add.reduceat(ordered * truth, starts, axis=1)
    negative = np.add.reduceat(ordered * (1 - truth), starts, axis=1)
    return positive, negative


def divide(numerator: Floats, denominator: Floats) -> Floats:
    """Return the quotients of two float64 arrays of one shape; NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def score_interval(area: float, n_positive: int, n_negative: int) -> Interval:
    """Return the 95% score interval of an area under the ROC curve, which has a width at 0 and 1 as well.

    J. Hanley, B. McNeil, Radiology 143 (1982) 29–36, for the variance, solved for the area like Wilson's interval of a
    proportion; R. Newcombe, Statist. Med. 25 (2006) 559–573, method 5.

    Args:
        area: The area, in [0, 1].
        n_positive: Independent PNEUMONIA films, at least 1.
        n_negative: Independent NORMAL films, at least 1.
    """
    n = (n_positive + n_negative) / 2

    def is_inside(theta: float) -> bool:
        tied = 2 * n - 1 - (3 * n - 3) / ((2 - theta) * (1 + theta))
        variance = theta * (1 - theta) * tied / (n_positive * n_negative)
        return abs(area - theta) <= NormalDist().inv_cdf(0.975) * sqrt(variance)

    return _outermost(is_inside, area, 0.0), _outermost(is_inside, area, 1.0)


def _outermost(is_inside: Callable[[float], bool], start: float, end: float) -> float:
    """Find by bisection the last value from `start` towards `end` that is inside."""
    inner, outer = start, end
    for _ in range(50):
        middle = (inner + outer) / 2
        if is_inside(middle):
            inner = middle
        else:
            outer = middle
    return outer if abs(outer - end) < 1e-12 else inner
