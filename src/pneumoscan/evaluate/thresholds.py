"""The seventeen thresholds of the table, the operating points of a model, and the rates at all thresholds.

A film is labelled PNEUMONIA if its probability is at least the threshold.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import UsageError, require
from pneumoscan.evaluate.arrays import (
    Floats,
    Labels,
    Outcome,
    check_finite,
    check_outcome,
    check_patients,
    check_same_length,
)
from pneumoscan.evaluate.intervals import Interval, curve_intervals, rate_intervals

THRESHOLDS: tuple[float, ...] = tuple(percent / 100 for percent in range(10, 91, 5))
MISSED_ONE_IN = 50
# Probabilities closer to 0 or 1 than this are clipped before the log-odds.
_LEAST = 1e-3
# So weak that it matters only if the classes are separable.
_C = 10.0
# In standard deviations of the log-odds.
_FARTHEST = 3.0


@dataclass(frozen=True)
class ThresholdRow:
    """The figures at one threshold: a film is labelled PNEUMONIA from this probability on. Precision and recall are 0 where they are undefined."""

    threshold: float
    precision: float
    recall: float
    f1: float
    accuracy: float


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix: films by predicted label, PNEUMONIA (positive) or NORMAL, and whether it is true."""

    tn: int
    fp: int
    fn: int
    tp: int


@dataclass(frozen=True)
class OperatingPoint:
    """An operating point, with its figures on the n films on which it was chosen.

    Attributes:
        name: `best_f1`, `balanced` or `sensitivity_98`.
        source: The rule and the films by which it was chosen.
        precision: 0 if no film is labelled PNEUMONIA.
        recall_ci95: 95% interval over patients at this threshold, without the uncertainty of its choice. None if the patients are unknown.
        specificity_ci95: The same for `specificity`.
    """

    name: str
    threshold: float
    source: str
    recall: float
    specificity: float
    precision: float
    f1: float
    n: int
    n_positive: int
    recall_ci95: Interval | None = None
    specificity_ci95: Interval | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON types; intervals are lists of two."""
        pairs = {name: getattr(self, name) for name in ("recall_ci95", "specificity_ci95")}
        return asdict(self) | {name: None if pair is None else list(pair) for name, pair in pairs.items()}


def confusion(y_true: npt.ArrayLike, y_prob: npt.ArrayLike, threshold: float) -> Confusion:
    """Return the confusion matrix at `threshold`.

    Raises:
        UsageError: See `check_outcome`; or `threshold` is not in [0, 1].
    """
    outcome = check_outcome(y_true, y_prob)
    return count_calls(outcome, check_threshold(threshold))


def check_threshold(threshold: float) -> float:
    """Return a threshold as float.

    Raises:
        UsageError: It is not a number in [0, 1].
    """
    if not (isfinite(threshold) and 0 <= threshold <= 1):
        raise UsageError(f"threshold is {threshold!r}.", "It must be a number in [0, 1].")
    return float(threshold)


def threshold_table(y_true: npt.ArrayLike, y_prob: npt.ArrayLike) -> tuple[ThresholdRow, ...]:
    """Return precision, recall, F1 and accuracy at each of the 17 `THRESHOLDS`.

    Args:
        y_true: (n,) of 0 and 1.
        y_prob: (n,) in [0, 1].

    Raises:
        UsageError, NothingUsableError: See `check_outcome`.
        MissingDependencyError: scikit-learn is not installed.
    """
    require("sklearn")
    outcome = check_outcome(y_true, y_prob)
    return tuple(threshold_row(outcome, threshold) for threshold in THRESHOLDS)


def threshold_row(outcome: Outcome, threshold: float, weights: Floats | None = None) -> ThresholdRow:
    """Return the row of one threshold for checked films (n,), weighted or not, computed by scikit-learn."""
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    called = (outcome.y_prob >= threshold).astype(np.int64)
    precision, recall, f1, _ = precision_recall_fscore_support(
        outcome.y_true, called, average="binary", pos_label=1, zero_division=0, sample_weight=weights
    )
    accuracy = accuracy_score(outcome.y_true, called, sample_weight=weights)
    return ThresholdRow(threshold, float(precision), float(recall), float(f1), float(accuracy))


def best_f1(rows: Sequence[ThresholdRow]) -> ThresholdRow:
    """Return the row with the highest F1; of equal ones the lowest threshold, which misses the fewest.

    Raises:
        UsageError: There is no row.
    """
    if not rows:
        raise UsageError("there is no row to choose from.", "Make the rows with threshold_table.")
    return max(rows, key=lambda row: (row.f1, -row.threshold))


def count_calls(outcome: Outcome, threshold: float) -> Confusion:
    """Return the confusion matrix of checked films."""
    called = outcome.y_prob >= threshold
    tp, fp = int((called & (outcome.y_true == 1)).sum()), int((called & (outcome.y_true == 0)).sum())
    return Confusion(tn=outcome.n - outcome.n_positive - fp, fp=fp, fn=outcome.n_positive - tp, tp=tp)


def choose_thresholds(
    y_true: npt.ArrayLike,
    y_prob: npt.ArrayLike,
    *,
    on: str = "held-out training films",
    patient_ids: Sequence[str] | npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
) -> dict[str, OperatingPoint]:
    """Choose three operating points on films that the network was not trained on and that are not the test films.

    `best_f1` is the best of the 17 thresholds, the middle one of equals. `balanced` is where both classes, weighted alike, are equally
    likely by a logistic regression on the log-odds (J. Platt, Advances in Large Margin Classifiers (1999) 61–74). Unlike the highest
    observed sum of sensitivity and specificity, it does not depend on a few films. `sensitivity_98` is the highest threshold that misses
    at most one PNEUMONIA film in 50.

    Args:
        y_true: (n,) of 0 and 1, both present.
        y_prob: (n,) in [0, 1].
        on: Description of the films, for the sources.
        patient_ids: (n,) for intervals of sensitivity and specificity, see `rate_intervals`; without them there are
            none. All views of a film have its patient.
        weights: (n,), the weight of each film in every rule, above 0, such as of films of several hospitals; None weighs all
            alike. The figures of the points count films.

    Raises:
        UsageError: There is only one class; see also `check_outcome`, `check_patients`.
    """
    outcome = check_outcome(y_true, y_prob)
    patients = None if patient_ids is None else check_patients(patient_ids, outcome.n)
    if not outcome.has_both_classes:
        raise UsageError("thresholds need films of both classes to be chosen on.", "Hold out more patients.")
    where = f"{outcome.n} {on}, {outcome.n_positive} of them PNEUMONIA"
    weighed = np.ones(outcome.n) if weights is None else check_finite(weights, "weights")
    check_same_length(outcome.y_true, weighed, "y_true", "weights")
    best = _middle_best_f1([threshold_row(outcome, threshold, weighed) for threshold in THRESHOLDS])
    chosen = {
        "best_f1": (best, "highest F1 of the 17 thresholds 0.10 to 0.90"),
        "balanced": (_balanced(outcome, weighed), "both classes, weighted alike, equally likely"),
        "sensitivity_98": (
            _sensitive(outcome, weighed),
            "highest threshold that misses at most 1 PNEUMONIA film in 50",
        ),
    }
    return {
        name: _operating_point(outcome, name, threshold, f"{rule}, on {where}", patients)
        for name, (threshold, rule) in chosen.items()
    }


def _operating_point(
    outcome: Outcome, name: str, threshold: float, source: str, patients: Labels | None
) -> OperatingPoint:
    counts = confusion(outcome.y_true, outcome.y_prob, threshold)
    called = counts.tp + counts.fp
    recall_ci95, specificity_ci95 = (
        (None, None)
        if patients is None
        else rate_intervals(outcome.y_true, outcome.y_prob, threshold=threshold, patient_ids=patients)
    )
    return OperatingPoint(
        name=name,
        threshold=threshold,
        source=source,
        recall=counts.tp / outcome.n_positive,
        specificity=counts.tn / (outcome.n - outcome.n_positive),
        precision=counts.tp / called if called else 0.0,
        f1=2 * counts.tp / (2 * counts.tp + counts.fp + counts.fn),
        n=outcome.n,
        n_positive=outcome.n_positive,
        recall_ci95=recall_ci95,
        specificity_ci95=specificity_ci95,
    )


def _middle_best_f1(rows: Sequence[ThresholdRow]) -> float:
    """Return the middle one of the thresholds with the highest F1."""
    equals = [row.threshold for row in rows if row.f1 == best_f1(rows).f1]
    return equals[len(equals) // 2]


def _sensitive(outcome: Outcome, weights: Floats) -> float:
    """Return the lowest probability of a PNEUMONIA film that must be found."""
    ill = outcome.y_true == 1
    order = np.argsort(outcome.y_prob[ill], kind="stable")
    # The share of the films up to each one; rounding must not miss one film more.
    missed = np.cumsum(weights[ill][order])
    first = np.searchsorted(missed, missed[-1] / MISSED_ONE_IN * (1 + 1e-12), side="right")
    return float(outcome.y_prob[ill][order][first])


def _balanced(outcome: Outcome, weights: Floats) -> float:
    inside = np.clip(outcome.y_prob, _LEAST, 1 - _LEAST)
    odds = np.log(inside) - np.log1p(-inside)
    if not odds.std():
        return float(outcome.y_prob[0])
    return float(1 / (1 + np.exp(-balanced_cut(odds, outcome.y_true, weights))))


def balanced_cut(scores: Floats, y_true: Labels, weights: Floats | None = None) -> float:
    """Return the score at which a logistic regression, both classes weighted alike, is undecided: the rule of `balanced`.

    Args:
        scores: float64 (n,), logits or log-odds.
        y_true: int64 (n,), both classes present.
        weights: float64 (n,), the weight of each film within its class; None weighs all alike.
    """
    from sklearn.linear_model import LogisticRegression

    centre, spread = float(scores.mean()), float(scores.std())
    if not spread:
        return centre
    inputs = (scores[:, None] - centre) / spread
    if weights is None or (weights == weights[0]).all():
        line = LogisticRegression(C=_C, class_weight="balanced").fit(inputs, y_true)
    else:
        sums = np.bincount(y_true, weights=weights)
        line = LogisticRegression(C=_C).fit(inputs, y_true, (len(weights) / 2 / sums)[y_true] * weights)
    slope = max(float(line.coef_[0, 0]), _LEAST)  # with a negative slope there is no threshold
    undecided = float(np.clip(-line.intercept_[0] / slope, -_FARTHEST, _FARTHEST))
    return centre + spread * undecided


ONE_IN = (10, 20, 25, 30, 40, 50, 60, 75, 100, 150, 200, 300, 500, 1000)
"""Shares of missed films, and of false alarms, that each have a point."""

_COUNTS, _GRID = 55, 40
_DIGITS = 6
_FARTHEST_ODDS = 12.0


@dataclass(frozen=True)
class CurvePoint:
    """Sensitivity and specificity at one threshold, with 95% intervals by patient (see `rate_intervals`); None if the patients are unknown."""

    threshold: float
    recall: float
    specificity: float
    recall_ci95: Interval | None
    specificity_ci95: Interval | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


def operating_curve(
    y_true: npt.ArrayLike,
    y_prob: npt.ArrayLike,
    *,
    patient_ids: Sequence[str] | npt.ArrayLike | None,
    named: Sequence[float] = (),
) -> tuple[CurvePoint, ...]:
    """Return about 200 points by rising threshold, from 0 (all films are labelled PNEUMONIA) to 1.

    Args:
        y_true: (n,) of 0 and 1, both present.
        y_prob: (n,) in [0, 1].
        patient_ids: (n,) for the intervals; all versions of a film have its patient.
        named: Thresholds that always get a point.

    Raises:
        UsageError: Only one class is present; see also `check_outcome`, `check_patients`.
    """
    outcome = check_outcome(y_true, y_prob)
    if not outcome.has_both_classes:
        raise UsageError("an operating curve needs films of both classes.", "Hold out more patients.")
    cuts = curve_thresholds(outcome, named)
    intervals: list[tuple[Interval | None, Interval | None]] = [(None, None)] * len(cuts)
    if patient_ids is not None:
        patients = check_patients(patient_ids, outcome.n)
        intervals = curve_intervals(outcome.y_true, outcome.y_prob, thresholds=cuts, patient_ids=patients)
    return tuple(_point(outcome, cut, *pair) for cut, pair in zip(cuts, intervals, strict=True))


def curve_thresholds(outcome: Outcome, named: Sequence[float] = ()) -> tuple[float, ...]:
    """Choose rising thresholds: dense where few films are missed or few alarms are false, and evenly spaced in log-odds between.

    Thresholds that are not `named` have six digits. They are rounded before counting, and away from the film by which they
    are chosen, so that no film is lost by rounding.
    """
    found = outcome.y_prob[outcome.y_true == 1]
    passed = outcome.y_prob[outcome.y_true == 0]
    highest = np.sort(found)[_counts(found.size)]
    above = np.nextafter(np.sort(passed)[::-1][_counts(passed.size)], np.inf)
    even = [*_even(outcome.y_prob), *THRESHOLDS]
    cuts = {0.0, 1.0, *map(float, named)}
    cuts |= {_rounded(value, ROUND_FLOOR) for value in (*highest, *even)}
    cuts |= {min(1.0, _rounded(value, ROUND_CEILING)) for value in above}
    return tuple(sorted(cuts))


def _counts(films: int) -> npt.NDArray[np.int64]:
    """Return the numbers of misclassified films at the points: dense for small numbers."""
    few = np.geomspace(1, max(1.0, films / 2), _COUNTS)
    many = np.linspace(films / 2, films - 1, _COUNTS // 5)
    counts = np.concatenate([[0], few, many, [films // share for share in ONE_IN]]).astype(np.int64)
    return np.unique(counts[counts < films])


def _even(y_prob: Floats) -> Floats:
    """Return probabilities from the lowest to the highest film, evenly spaced in log-odds."""
    with np.errstate(divide="ignore"):
        odds = (np.log(y_prob) - np.log1p(-y_prob)).clip(-_FARTHEST_ODDS, _FARTHEST_ODDS)
    grid: Floats = 1 / (1 + np.exp(-np.linspace(odds.min(), odds.max(), _GRID)))
    return grid


def _rounded(value: float, way: str) -> float:
    return float(Context(prec=_DIGITS, rounding=way).create_decimal(float(value)))


def _point(
    outcome: Outcome, threshold: float, recall_ci95: Interval | None, specificity_ci95: Interval | None
) -> CurvePoint:
    counts = count_calls(outcome, threshold)
    return CurvePoint(
        threshold,
        counts.tp / outcome.n_positive,
        counts.tn / (outcome.n - outcome.n_positive),
        recall_ci95,
        specificity_ci95,
    )
