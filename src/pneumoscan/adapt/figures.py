"""Figures of the model as it is and refitted, and their differences on the same films, with conservative intervals."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from pneumoscan.adapt.fit import log_losses
from pneumoscan.evaluation.arrays import Floats, Labels
from pneumoscan.evaluation.calibration import BINS
from pneumoscan.evaluation.intervals import Interval, wilson
from pneumoscan.evaluation.weighted import weighted_roc_auc

Bools = npt.NDArray[np.bool_]
RESAMPLES = 1000
ERROR = "expected_calibration_error"
_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Figure:
    """A number and its 95% interval.

    Attributes:
        value: The figure on the films.
        ci95: Lower and upper bound.
    """

    value: float
    ci95: Interval

    @property
    def low(self) -> float:
        """The lower bound."""
        return self.ci95[0]

    @property
    def high(self) -> float:
        """The upper bound."""
        return self.ci95[1]


Figures = Mapping[str, Figure]


@dataclass(frozen=True)
class Predictions:
    """The predictions of the model with one set of parameters.

    Attributes:
        calls: float64 (n,) in [0, 1]: whether the film is labelled PNEUMONIA; with repeats, the share of them.
        y_prob: float64 (repeats, n), in [0, 1].
        answered: float64 (n,) in [0, 1]: whether the film is labelled NORMAL or PNEUMONIA at all; with repeats, the share of them.
            None if it always is.
    """

    calls: Floats
    y_prob: Floats
    answered: Floats | None = None


def counted_answers(y_true: Labels, called: Bools, is_answered: Bools, y_prob: Floats) -> Predictions:
    """Return predictions in which a film that is not answered counts as wrong: its disease is not found, its health not stated.

    Args:
        y_true: int64 (n,).
        called: bool (repeats, n), whether the film is labelled PNEUMONIA if it is answered.
        is_answered: bool (repeats, n).
        y_prob: float64 (repeats, n).
    """
    calls = np.where(is_answered, called, 1 - y_true).mean(axis=0)
    return Predictions(calls, y_prob, is_answered.mean(axis=0))


def figures_of(y_true: Labels, patients: Labels, answers: Predictions, weights: Floats) -> Figures:
    """Return the share of films answered, accuracy, sensitivity, specificity, balanced accuracy, Brier score, log loss and calibration error.

    Proportions get the wider of two intervals on each side: the bootstrap over patients, and Wilson's with patients in place of
    films. The bootstrap is too narrow if hardly any film is misclassified.

    Args:
        y_true: int64 (n,), both classes present.
        patients: int64 (n,), from 0.
        answers: The predictions.
        weights: See `resample`.
    """
    drawn = _figures(y_true, answers, weights)
    own = {name: float(row[0]) for name, row in _figures(y_true, answers, np.ones((1, y_true.size))).items()}
    widened = _wilson_of_patients(y_true, patients, own)
    drawn[ERROR] = np.maximum(_unbiased(drawn[ERROR], own[ERROR]), 0)
    return {name: _figure(value, drawn[name], widened.get(name)) for name, value in own.items()}


def differences(y_true: Labels, first: Predictions, second: Predictions, weights: Floats) -> Figures:
    """Return the differences `first` minus `second` of each figure, on the same films and resamples."""
    ones = np.ones((1, y_true.size))
    own = _less(_figures(y_true, first, ones), _figures(y_true, second, ones))
    drawn = _less(_figures(y_true, first, weights), _figures(y_true, second, weights))
    drawn[ERROR] = _unbiased(drawn[ERROR], float(own[ERROR][0]))
    return {name: _figure(float(own[name][0]), drawn[name], None) for name in own}


def area(y_true: Labels, patients: Labels, logits: Floats, weights: Floats) -> Figure:
    """Return the area under the ROC curve with the wider bounds of bootstrap and `score_interval`."""
    value = float(weighted_roc_auc(y_true, logits, np.ones((1, y_true.size)))[0])
    counts = [int(np.unique(patients[y_true == label]).size) for label in (1, 0)]
    return _figure(
        value, weighted_roc_auc(y_true, logits, weights), score_interval(value, counts[0], counts[1])
    )


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
        return abs(area - theta) <= _Z * sqrt(variance)

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


def resample(y_true: Labels, patients: Labels, *, n_resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Resample patients with all their films: the number of times that each film is in each resample (b, n).

    Resamples without one of the classes are left out.
    """
    n_patients = int(patients.max()) + 1
    drawn = np.random.default_rng(seed).integers(0, n_patients, size=(n_resamples, n_patients))
    counts = np.stack([np.bincount(row, minlength=n_patients) for row in drawn])
    weights = counts[:, patients].astype(np.float64)
    whole = (weights @ y_true > 0) & (weights @ (1 - y_true) > 0)
    return np.asarray(weights[whole], np.float64)


def _figures(y_true: Labels, answers: Predictions, weights: Floats) -> dict[str, Floats]:
    """Return each figure (b,) for the weightings (b, n)."""
    positive, negative, films = weights @ y_true, weights @ (1 - y_true), weights.sum(axis=1)
    sensitivity = weights @ (answers.calls * y_true) / positive
    answered = np.ones(y_true.size) if answers.answered is None else answers.answered
    specificity = weights @ ((1 - answers.calls) * (1 - y_true)) / negative
    return {
        "answered": weights @ answered / films,
        "accuracy": (sensitivity * positive + specificity * negative) / films,
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "brier_score": weights @ ((answers.y_prob - y_true) ** 2).mean(axis=0) / films,
        "log_loss": weights @ log_losses(y_true, answers.y_prob).mean(axis=0) / films,
        ERROR: np.mean([_calibration_error(y_true, row, weights) for row in answers.y_prob], axis=0),
    }


def _calibration_error(y_true: Labels, y_prob: Floats, weights: Floats) -> Floats:
    """Return the expected calibration error of `evaluation.calibration.reliability` for several weightings."""
    place = np.clip(np.searchsorted(np.arange(BINS + 1) / BINS, y_prob, side="right") - 1, 0, BINS - 1)
    gaps = (place[:, None] == np.arange(BINS)) * (y_prob - y_true)[:, None]
    return np.asarray(np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1), np.float64)


def _unbiased(drawn: Floats, value: float) -> Floats:
    """Shift resampled calibration errors to the actual value, because repeated films make the bins more uneven."""
    return np.asarray(drawn - drawn.mean() + value, np.float64)


def _wilson_of_patients(y_true: Labels, patients: Labels, own: Mapping[str, float]) -> dict[str, Interval]:
    """Return intervals of proportions with patients in place of films; that of a mean of two by their distances."""
    counts = dict.fromkeys(("answered", "accuracy"), np.unique(patients).size)
    counts |= {
        name: np.unique(patients[y_true == label]).size
        for name, label in (("sensitivity", 1), ("specificity", 0))
    }
    found = {name: _wilson_of_share(own[name], int(count)) for name, count in counts.items()}
    # R. Newcombe, Statist. Med. 17 (1998) 873–890, method 10: the squares of distances add up.
    (low1, high1), (low0, high0) = found["sensitivity"], found["specificity"]
    down = sqrt((own["sensitivity"] - low1) ** 2 + (own["specificity"] - low0) ** 2) / 2
    up = sqrt((own["sensitivity"] - high1) ** 2 + (own["specificity"] - high0) ** 2) / 2
    middle = own["balanced_accuracy"]
    return found | {"balanced_accuracy": (max(0.0, middle - down), min(1.0, middle + up))}


def _wilson_of_share(share: float, count: int) -> Interval:
    """Return Wilson's interval of a proportion of `count`, interpolated between integers."""
    low, high = int(share * count), min(count, int(share * count) + 1)
    return min(wilson(low, count)[0], share), max(wilson(high, count)[1], share)


def _figure(value: float, drawn: Floats, widened: Interval | None) -> Figure:
    low, high = (float(bound) for bound in np.quantile(drawn, [0.025, 0.975]))
    low, high = min(low, value), max(high, value)
    if widened is not None:
        low, high = min(low, widened[0]), max(high, widened[1])
    return Figure(value, (low, high))


def _less(first: Mapping[str, Floats], second: Mapping[str, Floats]) -> dict[str, Floats]:
    return {name: first[name] - second[name] for name in first}
