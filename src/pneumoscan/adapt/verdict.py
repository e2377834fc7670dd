"""Figures of the model as it is and refitted with conservative intervals, and the advice whether to use it on films like these."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt

from pneumoscan.audit.shortcuts import Shortcuts, rival_words
from pneumoscan.evaluate.arrays import Floats, Labels
from pneumoscan.evaluate.calibration import BINS, log_losses
from pneumoscan.evaluate.intervals import Interval, patient_weights, score_interval, weighted_roc_auc, wilson

Bools = npt.NDArray[np.bool_]
RESAMPLES = 1000
ERROR = "expected_calibration_error"


@dataclass(frozen=True)
class Figure:
    """A number and its 95% interval."""

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


def resample(y_true: Labels, patients: Labels, *, n_resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Resample patients with all their films: the number of times that each film is in each resample (b, n).

    Resamples without one of the classes are left out.
    """
    weights = patient_weights(patients, n_resamples=n_resamples, seed=seed)
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
    """Return the expected calibration error of `evaluate.calibration.reliability` for several weightings."""
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


LEAST_AREA = 0.80
LEAST_BALANCED_ACCURACY = 0.70
LEAST_SENSITIVITY, LEAST_SPECIFICITY = 0.90, 0.25
SENSITIVE_POINT = "sensitivity_98"

Advice = Literal["do_not_use", "shortcut", "too_few_films", "use_adapted", "use_as_it_is"]


@dataclass(frozen=True)
class Recommendation:
    """The advice.

    Attributes:
        advice: `do_not_use`, `shortcut` (the labels of these films can be guessed without the lungs), `too_few_films` (the model may be usable, but these films do not show it), `use_adapted` or
            `use_as_it_is`.
        words: The same in a sentence.
        reasons: Sentences about the bounds that led to it.
    """

    advice: Advice
    words: str
    reasons: tuple[str, ...]

    @property
    def is_usable(self) -> bool:
        """Whether the films show that the model may be used."""
        return self.advice in {"use_adapted", "use_as_it_is"}


WORDS: dict[Advice, str] = {
    "do_not_use": "Do not use this model on films like these.",
    "shortcut": "Do not use this model because of these films: they do not show that it works, since their labels can be guessed "
    "without the lungs.",
    "too_few_films": "Do not use this model on films like these yet: there are too few to show that it is good enough.",
    "use_adapted": "Use it with the new temperature and threshold, and keep checking it.",
    "use_as_it_is": "Use it as it is, and keep checking it: a new threshold is not shown to be better.",
}


def verdict_on(
    area: Figure,
    as_it_is: Figures,
    adapted: Figures,
    gain: Figures,
    operating_point: str,
    shortcuts: Shortcuts,
) -> Recommendation:
    """Decide, in this order.

    1. The area under the ROC curve is not shown to be 0.80: do not use.
    2. A shortcut comes within 0.05 of the area (see `Shortcuts.rival`): do not use because of these films.
    3. The refitted model is clearly better (balanced accuracy, or log loss with a balanced accuracy that is no lower) and good
    enough: use it adapted.
    4. The model as it is is good enough: use it as it is. Otherwise, if the refitted model is good enough: use it adapted.
    5. Neither: do not use.

    Films that are not answered count as wrong in the figures, so a model that answers few films is not good enough.

    Good enough means a balanced accuracy of 0.70 at the lower bound; for `sensitivity_98`, which trades specificity for
    sensitivity, a sensitivity of 0.90 and a specificity of 0.25 instead. A figure above a limit with a bound below it gives
    `too_few_films` instead of `do_not_use`.

    Args:
        area: Area under the ROC curve, which refitting does not change.
        as_it_is: Figures at the original operating point.
        adapted: Cross-validated figures.
        gain: `adapted` minus `as_it_is`.
        operating_point: Name of the operating point.
        shortcuts: How well the labels of the films can be guessed without the lungs.
    """
    reasons = [_bound("the area under the ROC curve", area, LEAST_AREA)]
    rival = shortcuts.rival(area.value)
    if rival is not None:
        reasons.append(rival_words(rival, area.value))
    if area.low < LEAST_AREA:
        return _verdict("too_few_films" if area.value >= LEAST_AREA else "do_not_use", reasons)
    if rival is not None:
        return _verdict("shortcut", reasons)
    limits = _limits(operating_point)
    good = {
        name: all(given[key].low >= least for key, least in limits)
        for name, given in (("as it is", as_it_is), ("re-fitted", adapted))
    }
    for name, given in (("as it is", as_it_is), ("re-fitted", adapted)):
        reasons += [
            _bound(f"{name}, the {key.replace('_', ' ')}", given[key], least) for key, least in limits
        ]
    answered = [given["answered"] for given in (as_it_is, adapted)]
    if any(figure.value < 1 for figure in answered):
        reasons.append(
            f"{answered[0].value:.1%} of the films are answered as it is, {answered[1].value:.1%} re-fitted; the others count as "
            "wrong."
        )
    reasons += [_gained(key, gain[key]) for key in ("balanced_accuracy", "log_loss")]
    if good["re-fitted"] and (_is_better(gain) or not good["as it is"]):
        return _verdict("use_adapted", reasons)
    if good["as it is"]:
        return _verdict("use_as_it_is", reasons)
    near = any(all(given[key].value >= least for key, least in limits) for given in (as_it_is, adapted))
    return _verdict("too_few_films" if near else "do_not_use", reasons)


def _limits(operating_point: str) -> list[tuple[str, float]]:
    if operating_point == SENSITIVE_POINT:
        return [("sensitivity", LEAST_SENSITIVITY), ("specificity", LEAST_SPECIFICITY)]
    return [("balanced_accuracy", LEAST_BALANCED_ACCURACY)]


def _is_better(gain: Figures) -> bool:
    balanced, loss = gain["balanced_accuracy"], gain["log_loss"]
    return balanced.low > 0 or (loss.high < 0 and balanced.value >= 0)


def _bound(name: str, figure: Figure, least: float) -> str:
    if figure.low >= least:
        shown = f"so it is shown to be at least the required {least:.2f}"
    elif figure.value >= least:
        shown = f"so it is not shown to be at least the required {least:.2f}"
    else:
        shown = f"below the required {least:.2f}"
    return f"{name[0].upper()}{name[1:]} is {figure.value:.3f} (lower bound {figure.low:.3f}), {shown}."


def _gained(key: str, figure: Figure) -> str:
    name = key.replace("_", " ")
    return f"Re-fitting changes the {name} by {figure.value:+.3f} ({figure.low:+.3f} to {figure.high:+.3f})."


def _verdict(advice: Advice, reasons: list[str]) -> Recommendation:
    return Recommendation(advice, WORDS[advice], tuple(reasons))
