"""All figures of a split, at the threshold of the model and at the seventeen thresholds of the table.

scikit-learn computes them. This module selects them, handles degenerate cases and names the results. A film is labelled
PNEUMONIA if its probability is at least the threshold.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy.typing as npt

from pneumoscan.errors import require
from pneumoscan.evaluate.arrays import Outcome, check_outcome, check_patients
from pneumoscan.evaluate.calibration import BINS, reliability
from pneumoscan.evaluate.films import Answers
from pneumoscan.evaluate.intervals import Bootstrap, Interval, bootstrap_by_patient, wilson
from pneumoscan.evaluate.sites import GroupTable, SiteTable
from pneumoscan.evaluate.stress import StressTable
from pneumoscan.evaluate.thresholds import (
    THRESHOLDS,
    Confusion,
    OperatingPoint,
    ThresholdRow,
    best_f1,
    check_threshold,
    choose_thresholds,
    confusion,
    count_calls,
    threshold_row,
    threshold_table,
)

__all__ = [
    "SCHEMA_VERSION",
    "THRESHOLDS",
    "Confusion",
    "Metrics",
    "OperatingPoint",
    "ThresholdRow",
    "best_f1",
    "check_threshold",
    "choose_thresholds",
    "confusion",
    "evaluate_predictions",
    "threshold_table",
]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Metrics:
    """The figures of one model on one split. Proportions are in [0, 1]; None means that the films do not determine it.

    Intervals of shares are Wilson's, that of the area is by bootstrap over patients.

    Attributes:
        split: `train`, `val`, `test` or `held-out`.
        threshold: A film was labelled PNEUMONIA from this probability on; chosen elsewhere.
        precision: Positive predictive value; 0 if no film was labelled PNEUMONIA, likewise `npv`: see `zero_division`.
        brier_score: Mean squared error of the probability (lower is better).
        expected_calibration_error: 15 bins of equal width; `_equal_mass`: with equal numbers of films.
        best_f1: The row of the table with the highest F1, chosen on these films.
        warnings: Sentences about figures that the films do not determine.
        n_refused: Films that could not be read and are in none of the figures.
        cautions: Sentences to read before the figures, including the warnings.
        stress: The stress test; None without one, as for the answers of the model, and the sites if there is only one.
        groups: The figures of groups of films, for each column that was asked for.
    """

    schema_version: int
    split: str
    n: int
    n_positive: int
    n_patients: int
    prevalence: float
    threshold: float
    threshold_source: str
    accuracy: float
    accuracy_ci95: Interval
    roc_auc: float | None
    roc_auc_ci95: Interval | None
    average_precision: float | None
    sensitivity: float | None
    sensitivity_ci95: Interval | None
    specificity: float | None
    specificity_ci95: Interval | None
    precision: float
    precision_ci95: Interval | None
    npv: float
    f1: float
    balanced_accuracy: float | None
    brier_score: float
    expected_calibration_error: float
    expected_calibration_error_equal_mass: float
    best_f1: ThresholdRow
    confusion: Confusion
    bootstrap: Bootstrap
    zero_division: float
    warnings: tuple[str, ...]
    n_refused: int = 0
    cautions: tuple[str, ...] = ()
    stress: StressTable | None = None
    answers: Answers | None = None
    sites: SiteTable | None = None
    groups: tuple[GroupTable, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON types without NaN: `best_f1` without accuracy; `answers`, `sites`, `groups`, `stress` if present."""
        values = asdict(self)
        for part in ("stress", "answers", "sites", "groups"):
            del values[part]
        values["best_f1"] = {
            key: values["best_f1"][key] for key in ("threshold", "f1", "precision", "recall")
        }
        values["interval_methods"] = {
            "accuracy_ci95": "Wilson, films taken as independent",
            "sensitivity_ci95, specificity_ci95, precision_ci95": "Wilson, films taken as independent",
            "roc_auc_ci95": "bootstrap percentiles, patients drawn with all their films",
            "expected_calibration_error": f"{BINS} bins of equal width, probability of PNEUMONIA",
        }
        values |= {} if self.answers is None else {"answers": self.answers.to_json()}
        values |= {} if self.sites is None else self.sites.to_json()
        values |= {"groups": {each.by: each.to_json() for each in self.groups}} if self.groups else {}
        return values if self.stress is None else values | {"stress": self.stress.to_json()}


def evaluate_predictions(
    y_true: npt.ArrayLike,
    y_prob: npt.ArrayLike,
    *,
    patient_ids: Sequence[str] | npt.ArrayLike | None,
    threshold: float,
    threshold_source: str,
    split: str,
    seed: int = 0,
    n_bootstrap: int = 1000,
) -> Metrics:
    """Evaluate the probabilities of one split.

    Args:
        y_true: (n,) of 0 and 1.
        y_prob: (n,) probability of PNEUMONIA in [0, 1].
        patient_ids: (n,); with None every film counts as one patient.
        threshold: A film is labelled PNEUMONIA from this probability on; chosen elsewhere.
        threshold_source: Origin of the threshold, one sentence.
        split: `train`, `val`, `test` or `held-out`.
        seed: Seed of the bootstrap.
        n_bootstrap: Number of resamples.

    Raises:
        UsageError, NothingUsableError: See `check_outcome`, `check_patients`, `check_threshold`.
        MissingDependencyError: scikit-learn is not installed.
    """
    require("sklearn")
    outcome = check_outcome(y_true, y_prob)
    cut = check_threshold(threshold)
    counts = count_calls(outcome, cut)
    boot = bootstrap_by_patient(
        outcome.y_true,
        outcome.y_prob,
        threshold=cut,
        patient_ids=patient_ids,
        n_resamples=n_bootstrap,
        seed=seed,
    )
    return Metrics(
        schema_version=SCHEMA_VERSION,
        split=split,
        n=outcome.n,
        n_positive=outcome.n_positive,
        n_patients=int(check_patients(patient_ids, outcome.n).max()) + 1,
        prevalence=outcome.n_positive / outcome.n,
        threshold=cut,
        threshold_source=threshold_source,
        **_called_figures(outcome, counts, cut),
        **_curve_figures(outcome),
        roc_auc_ci95=boot.intervals["roc_auc"],
        best_f1=best_f1(threshold_table(outcome.y_true, outcome.y_prob)),
        confusion=counts,
        bootstrap=boot,
        zero_division=0.0,
        warnings=_warnings(outcome, counts, boot),
    )


def _called_figures(outcome: Outcome, counts: Confusion, threshold: float) -> dict[str, Any]:
    """Return the figures that depend on the threshold, with their Wilson intervals."""
    row = threshold_row(outcome, threshold)
    normal, positive = counts.tn + counts.fp, counts.tp + counts.fn
    sensitivity = row.recall if positive else None
    specificity = counts.tn / normal if normal else None
    return {
        "accuracy": row.accuracy,
        "accuracy_ci95": wilson(counts.tp + counts.tn, outcome.n),
        "sensitivity": sensitivity,
        "sensitivity_ci95": wilson(counts.tp, positive) if positive else None,
        "specificity": specificity,
        "specificity_ci95": wilson(counts.tn, normal) if normal else None,
        "precision": row.precision,
        "precision_ci95": wilson(counts.tp, counts.tp + counts.fp) if counts.tp + counts.fp else None,
        "npv": counts.tn / (counts.tn + counts.fn) if counts.tn + counts.fn else 0.0,
        "f1": row.f1,
        "balanced_accuracy": (
            (sensitivity + specificity) / 2 if sensitivity is not None and specificity is not None else None
        ),
    }


def _curve_figures(outcome: Outcome) -> dict[str, Any]:
    """Return the figures that do not depend on a threshold."""
    from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

    bins = reliability(outcome.y_true, outcome.y_prob)
    mass = reliability(outcome.y_true, outcome.y_prob, equal_mass=True)
    truth, prob = outcome.y_true, outcome.y_prob
    return {
        "roc_auc": float(roc_auc_score(truth, prob)) if outcome.has_both_classes else None,
        "average_precision": float(average_precision_score(truth, prob)) if outcome.n_positive else None,
        "brier_score": float(brier_score_loss(truth, prob, pos_label=1)),
        "expected_calibration_error": bins.expected_calibration_error,
        "expected_calibration_error_equal_mass": mass.expected_calibration_error,
    }


def _warnings(outcome: Outcome, counts: Confusion, boot: Bootstrap) -> tuple[str, ...]:
    found = []
    if not outcome.has_both_classes:
        only = "PNEUMONIA" if outcome.n_positive else "NORMAL"
        found.append(f"Every film is labelled {only}: there is no ROC curve and no area under it.")
    if counts.tp + counts.fp == 0:
        found.append("No film reaches the threshold: precision and F1 are reported as 0.")
    if counts.tn + counts.fn == 0:
        found.append("Every film reaches the threshold: the negative predictive value is reported as 0.")
    if outcome.has_both_classes and boot.n_used < boot.n_resamples:
        found.append(
            f"Only {boot.n_used} of {boot.n_resamples} resamples contained both classes: too few patients for a "
            "reliable interval."
        )
    if boot.intervals["roc_auc"] == (1.0, 1.0):
        found.append("The classes are separated without an error: the bootstrap cannot show the uncertainty.")
    return tuple(found)
