"""Sensitivity and specificity by threshold, dense where the predictions change, for the choice of a threshold."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import UsageError
from pneumoscan.evaluation.arrays import Floats, Outcome, check_outcome, check_patients
from pneumoscan.evaluation.intervals import Interval, curve_intervals
from pneumoscan.evaluation.thresholds import THRESHOLDS, count_calls

ONE_IN = (10, 20, 25, 30, 40, 50, 60, 75, 100, 150, 200, 300, 500, 1000)
"""Shares of missed films, and of false alarms, that each have a point."""

_COUNTS, _GRID = 55, 40
_DIGITS = 6
_FARTHEST = 12.0


@dataclass(frozen=True)
class CurvePoint:
    """The figures at one threshold; rates are in [0, 1].

    Attributes:
        threshold: A film is labelled PNEUMONIA from this probability on.
        recall: Sensitivity.
        specificity: Recall of NORMAL.
        recall_ci95: 95% interval of `recall` by patient, see `rate_intervals`; None if the patients are unknown.
        specificity_ci95: The same for `specificity`.
    """

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
        odds = (np.log(y_prob) - np.log1p(-y_prob)).clip(-_FARTHEST, _FARTHEST)
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
