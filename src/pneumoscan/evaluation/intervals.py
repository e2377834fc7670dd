"""How sure a figure is: Wilson intervals, a patient-clustered bootstrap, and DeLong's comparison of two models."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import erfc, sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import UsageError
from pneumoscan.evaluation.arrays import (
    Floats,
    Labels,
    check_finite,
    check_labels,
    check_outcome,
    check_patients,
    check_same_length,
)

Interval = tuple[float, float]
_CHUNK = 2_000_000


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Return the Wilson score interval of a proportion (E. B. Wilson, JASA 22 (1927) 209–212).

    Args:
        successes: From 0 to n.
        n: Number of films, at least 1.
        confidence: In (0, 1).

    Raises:
        UsageError: The counts or the confidence are not of this kind.
    """
    if not (0 <= successes <= n and n > 0 and 0 < confidence < 1):
        raise UsageError(
            f"{successes} of {n} at confidence {confidence} has no interval.", "Check the counts."
        )
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and n the bound is 0 or 1 exactly; rounding would leave it 1e-17 beside.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


@dataclass(frozen=True)
class Bootstrap:
    """95% percentile intervals of a bootstrap that draws patients, not films.

    Attributes:
        n_resamples: Resamples asked for.
        n_used: Those that held both classes.
        seed: Of the random draws.
        n_patients: Clusters that were drawn from.
        intervals: By figure (`roc_auc`, `average_precision`, `accuracy`, `sensitivity`, `specificity`); None where
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
    """Draw patients with replacement, all films of a patient together, and look at the spread of the figures.

    B. Efron, R. Tibshirani, An Introduction to the Bootstrap (1993), ch. 13 (percentiles); clusters after C. Field,
    A. Welsh, J. R. Statist. Soc. B 69 (2007) 369–390. Films of one patient look alike: drawn one by one they would
    make the intervals too narrow.

    Args:
        y_true: (n,) of 0 and 1.
        y_prob: (n,) in [0, 1].
        threshold: A film is called PNEUMONIA from here up.
        patient_ids: (n,); without them every film is its own patient.
        n_resamples: How many resamples.
        seed: Of the draws.

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
            name: _percentiles(row) if enough else None for name, row in zip(BOOTSTRAPPED, used, strict=True)
        },
    )


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

    Where not one film of a class is called wrongly (or rightly) every resample says the same; there it is the Wilson
    interval of as many trials as the class has patients.

    Args:
        y_true: (n,) of 0 and 1.
        y_prob: (n,) in [0, 1].
        threshold: A film is called PNEUMONIA from here up.
        patient_ids: (n,); several views of one film carry its patient.
        n_resamples: How many resamples.
        seed: Of the draws.

    Returns:
        Both intervals, in [0, 1]; None where fewer than half of the resamples held the class.

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
    """Return what `rate_intervals` gives at each of (k,) thresholds; all have the same resamples.

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
        [counts @ by_patient for counts in _patient_draws(by_patient.shape[0], n_resamples, seed)]
    )
    count = len(called)

    def interval(index: int, of: int) -> Interval | None:
        return _rate_interval(drawn[:, index], drawn[:, of], by_patient[:, index], by_patient[:, of])

    return [(interval(index, -2), interval(count + index, -1)) for index in range(count)]


def _rate_interval(right: Floats, films: Floats, right_of: Floats, films_of: Floats) -> Interval | None:
    """Return the interval of a share, from its counts by resample (b,) and by patient (p,)."""
    shares = _divide(right, films)
    used = shares[np.isfinite(shares)]
    if used.size < max(1, shares.size // 2):
        return None
    patients = int((films_of > 0).sum())
    if right_of.sum() in {0, films_of.sum()}:
        return wilson(patients if right_of.sum() else 0, patients)
    return _percentiles(used)


def weighted_roc_auc(y_true: Labels, y_prob: Floats, weights: Floats) -> Floats:
    """Return the area under the ROC curve for many weightings of the same films at once.

    It is the share of pairs (PNEUMONIA, NORMAL) in the right order, ties counting half (Mann–Whitney).

    Args:
        y_true: int64 (n,).
        y_prob: float64 (n,).
        weights: float64 (b, n), at least 0.

    Returns:
        float64 (b,); NaN where a class has no weight.
    """
    positive, negative = _weights_by_score(y_true, y_prob, weights)
    below = np.cumsum(negative, axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    ordered = np.einsum("bn,bn->b", positive, below)
    return _divide(ordered, pairs)


def weighted_average_precision(y_true: Labels, y_prob: Floats, weights: Floats) -> Floats:
    """Return the average precision for many weightings at once: Σ (recall_k − recall_{k−1}) · precision_k.

    Args:
        y_true: int64 (n,).
        y_prob: float64 (n,).
        weights: float64 (b, n), at least 0.

    Returns:
        float64 (b,); NaN where no PNEUMONIA film has weight.
    """
    positive, negative = _weights_by_score(y_true, y_prob, weights)
    positive, negative = positive[:, ::-1], negative[:, ::-1]
    found = np.cumsum(positive, axis=1)
    called = found + np.cumsum(negative, axis=1)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return _divide(np.einsum("bn,bn->b", positive, precision), found[:, -1])


def _weights_by_score(y_true: Labels, y_prob: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Sum the weights of each class at each distinct score, ascending: two float64 arrays (b, distinct)."""
    order = np.argsort(y_prob, kind="stable")
    scores, truth, ordered = y_prob[order], y_true[order], weights[:, order]
    starts = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])
    positive = np.add.reduceat(ordered * truth, starts, axis=1)
    negative = np.add.reduceat(ordered * (1 - truth), starts, axis=1)
    return positive, negative


def _resampled_figures(y_true: Labels, y_prob: Floats, called: Floats, weights: Floats) -> Floats:
    """Return the figures named in `BOOTSTRAPPED`, one row each: float64 (5, b)."""
    positive, negative = weights @ y_true, weights @ (1 - y_true)
    found, passed = weights @ (called * y_true), weights @ ((1 - called) * (1 - y_true))
    return np.stack(
        [
            weighted_roc_auc(y_true, y_prob, weights),
            weighted_average_precision(y_true, y_prob, weights),
            (found + passed) / (positive + negative),
            _divide(found, positive),
            _divide(passed, negative),
        ]
    )


def _patient_weights(patients: Labels, n_resamples: int, seed: int) -> Iterator[Floats]:
    """Yield how often each film stands in each resample: float64 (b, n), a chunk at a time."""
    chunk = max(1, _CHUNK // patients.size)
    for counts in _patient_draws(int(patients.max()) + 1, n_resamples, seed, chunk):
        yield counts[:, patients].astype(np.float64)


def _patient_draws(
    n_patients: int, n_resamples: int, seed: int, chunk: int = 0
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield how often each patient stands in each resample: int64 (b, p), a chunk at a time."""
    rng = np.random.default_rng(seed)
    chunk = chunk or max(1, _CHUNK // n_patients)
    for start in range(0, n_resamples, chunk):
        b = min(chunk, n_resamples - start)
        drawn = rng.integers(0, n_patients, size=(b, n_patients)) + np.arange(b)[:, None] * n_patients
        yield np.bincount(drawn.ravel(), minlength=b * n_patients).reshape(b, n_patients)


def _percentiles(values: Floats) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


@dataclass(frozen=True)
class DeLong:
    """Two models on the same films, by the area under the ROC curve.

    Attributes:
        roc_auc_a: Of the first model.
        roc_auc_b: Of the second model.
        difference: First minus second.
        standard_error: Of the difference.
        ci95: Normal 95% interval of the difference.
        z: Difference over its standard error; 0 where both models order the films alike.
        p_value: Two-sided.
        clustered: Whether the films of one patient were taken together.
    """

    roc_auc_a: float
    roc_auc_b: float
    difference: float
    standard_error: float
    ci95: Interval
    z: float
    p_value: float
    clustered: bool


def delong_test(
    y_true: npt.ArrayLike,
    y_score_a: npt.ArrayLike,
    y_score_b: npt.ArrayLike,
    *,
    patient_ids: Sequence[str] | npt.ArrayLike | None = None,
) -> DeLong:
    """Compare two models that scored the same films.

    E. DeLong, D. DeLong, D. Clarke-Pearson, Biometrics 44 (1988) 837–845; with `patient_ids` the variance of
    N. Obuchowski, Biometrics 53 (1997) 567–578, which lets the films of one patient go together.

    Args:
        y_true: (n,) of 0 and 1, both present; two patients of each at least.
        y_score_a: (n,) probabilities or logits of the first model.
        y_score_b: (n,) of the second.
        patient_ids: (n,); without them films count as independent.

    Raises:
        UsageError: Lengths differ, values are not finite, or a class has fewer than two patients.
    """
    truth = check_labels(y_true)
    scores = np.stack([_scores_of(truth, y_score_a, "y_score_a"), _scores_of(truth, y_score_b, "y_score_b")])
    patients = check_patients(patient_ids, truth.size)
    for label in (0, 1):
        if np.unique(patients[truth == label]).size < 2:
            raise UsageError(
                f"class {label} has fewer than two patients.", "There is no variance to compare with."
            )
    auc, covariance = _auc_covariance(truth, scores, patients)
    difference = float(auc[0] - auc[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    error = sqrt(variance) if variance > 1e-15 else 0.0
    z = difference / error if error else 0.0
    half = NormalDist().inv_cdf(0.975) * error
    return DeLong(
        float(auc[0]),
        float(auc[1]),
        difference,
        error,
        (difference - half, difference + half),
        z,
        erfc(abs(z) / sqrt(2)),
        patient_ids is not None,
    )


def _scores_of(truth: Labels, scores: npt.ArrayLike, name: str) -> Floats:
    values = check_finite(scores, name)
    check_same_length(truth, values, "y_true", name)
    return values


def _auc_covariance(truth: Labels, scores: Floats, patients: Labels) -> tuple[Floats, Floats]:
    """Return areas (m,) and their covariance (m, m) for scores (m, n)."""
    positive, negative = scores[:, truth == 1], scores[:, truth == 0]
    n_positive, n_negative = positive.shape[1], negative.shape[1]
    won = np.stack([_share_below(p, q) for p, q in zip(positive, negative, strict=True)])
    lost = 1 - np.stack([_share_below(q, p) for p, q in zip(positive, negative, strict=True)])
    auc = won.mean(axis=1)
    of_positive, counted_positive = _patient_sums(won - auc[:, None], patients[truth == 1], patients)
    of_negative, counted_negative = _patient_sums(lost - auc[:, None], patients[truth == 0], patients)
    within = _spread(of_positive, of_positive, counted_positive) / n_positive**2
    within += _spread(of_negative, of_negative, counted_negative) / n_negative**2
    n_patients = int(patients.max()) + 1
    across = _spread(of_positive, of_negative, n_patients) / (n_positive * n_negative)
    return auc, within + across + across.T


def _share_below(values: Floats, others: Floats) -> Floats:
    """For each value the share of `others` below it, ties counting half: float64 like `values`."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, side="left") + np.searchsorted(ordered, values, side="right")
    return below.astype(np.float64) / (2 * others.size)


def _patient_sums(deviations: Floats, owners: Labels, patients: Labels) -> tuple[Floats, int]:
    """Sum deviations (m, k) by their owners: float64 (m, patients), and how many patients own any."""
    n_patients = int(patients.max()) + 1
    rows = [np.bincount(owners, weights=row, minlength=n_patients) for row in deviations]
    sums: Floats = np.array(rows, dtype=np.float64)
    return sums, int(np.unique(owners).size)


def _spread(first: Floats, second: Floats, count: int) -> Floats:
    return np.asarray(first @ second.T * (count / (count - 1)), dtype=np.float64)
