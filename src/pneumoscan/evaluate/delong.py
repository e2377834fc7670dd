"""DeLong's test for the difference between two areas under the ROC curve on the same films, clustered by patient."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import erfc, sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import UsageError
from pneumoscan.evaluate.arrays import (
    Floats,
    Labels,
    check_finite,
    check_labels,
    check_patients,
    check_same_length,
)
from pneumoscan.evaluate.intervals import Interval


@dataclass(frozen=True)
class DeLong:
    """Comparison of two models on the same films by the area under the ROC curve.

    Attributes:
        roc_auc_a: Area of the first model.
        roc_auc_b: Area of the second model.
        difference: First minus second.
        standard_error: Standard error of the difference.
        ci95: Normal 95% interval of the difference.
        z: Difference divided by its standard error; 0 if both models rank the films equally.
        p_value: Two-sided p-value.
        clustered: Whether the films of a patient were treated as a cluster.
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
    N. Obuchowski, Biometrics 53 (1997) 567–578, which treats the films of a patient as a cluster.

    Args:
        y_true: (n,) of 0 and 1, with at least two patients of each class.
        y_score_a: (n,) probabilities or logits of the first model.
        y_score_b: (n,) of the second model.
        patient_ids: (n,); without them, films count as independent.

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
    """Return, for each value, the share of `others` below it; ties count half. float64 like `values`."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, side="left") + np.searchsorted(ordered, values, side="right")
    return below.astype(np.float64) / (2 * others.size)


def _patient_sums(deviations: Floats, owners: Labels, patients: Labels) -> tuple[Floats, int]:
    """Return the sums of deviations (m, k) by patient, float64 (m, patients), and the number of patients with any."""
    n_patients = int(patients.max()) + 1
    rows = [np.bincount(owners, weights=row, minlength=n_patients) for row in deviations]
    sums: Floats = np.array(rows, dtype=np.float64)
    return sums, int(np.unique(owners).size)


def _spread(first: Floats, second: Floats, count: int) -> Floats:
    return np.asarray(first @ second.T * (count / (count - 1)), dtype=np.float64)
