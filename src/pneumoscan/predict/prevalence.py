"""Predictive values and probabilities at another prevalence than that of the training films.

Sensitivity and specificity stay the same as long as films with and without pneumonia look the same. Predictive values and
probabilities depend on the prevalence.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import UsageError


@dataclass(frozen=True)
class PredictiveValues:
    """Predictive values of an operating point at a prevalence.

    Attributes:
        prevalence: Share of PNEUMONIA among the films, in (0, 1).
        sensitivity: In [0, 1].
        specificity: In [0, 1].
        ppv: Share of pneumonia among the films labelled PNEUMONIA; None if there are none.
        npv: Share of normal films among those labelled NORMAL; None if there are none.
        called: Share of all films that are labelled PNEUMONIA.
        found: Share of all films that are labelled PNEUMONIA correctly.
        missed: Share of all films that have pneumonia and are labelled NORMAL.
    """

    prevalence: float
    sensitivity: float
    specificity: float
    ppv: float | None
    npv: float | None
    called: float
    found: float
    missed: float


def predictive_values(sensitivity: float, specificity: float, prevalence: float) -> PredictiveValues:
    """Return the predictive values by Bayes' theorem (D. Altman, J. Bland, BMJ 309 (1994) 102).

    Args:
        sensitivity: In [0, 1].
        specificity: In [0, 1].
        prevalence: In (0, 1).

    Raises:
        UsageError: One of them is outside its range.
    """
    for name, rate in (("sensitivity", sensitivity), ("specificity", specificity)):
        if not 0 <= rate <= 1:
            raise UsageError(f"{name} is {rate!r}.", "It must be from 0 to 1.")
    ill = check_prevalence(prevalence)
    found, missed = sensitivity * ill, (1 - sensitivity) * ill
    passed, alarms = specificity * (1 - ill), (1 - specificity) * (1 - ill)
    return PredictiveValues(
        prevalence=ill,
        sensitivity=sensitivity,
        specificity=specificity,
        ppv=found / (found + alarms) if found + alarms else None,
        npv=passed / (passed + missed) if passed + missed else None,
        called=found + alarms,
        found=found,
        missed=missed,
    )


def corrected_probability(probability: npt.ArrayLike, from_: float, to: float) -> npt.NDArray[np.float64]:
    """Correct a probability for another prevalence.

    The logit is shifted by logit(to) − logit(from_) (M. Saerens, P. Latinne, C. Decaestecker, Neural Computation 14 (2002)
    21–41, section 2). This is valid if the probability is calibrated at `from_`, and films with pneumonia look the same at
    both places, and films without it too.

    Args:
        probability: Probability of PNEUMONIA, any shape, in [0, 1]; 0 and 1 do not change.
        from_: Prevalence in training, in (0, 1); see `learnt_prevalence`.
        to: Prevalence of the films, in (0, 1).

    Returns:
        float64 of the same shape, in [0, 1]; a scalar for a scalar.

    Raises:
        UsageError: A value is outside its range.
    """
    values = np.asarray(probability, np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise UsageError("a probability is not from 0 to 1.", "Logits need the sigmoid first.")
    weight_1 = check_prevalence(to) / check_prevalence(from_)
    weight_0 = (1 - to) / (1 - from_)
    ill: npt.NDArray[np.float64] = values * weight_1 / (values * weight_1 + (1 - values) * weight_0)
    return ill


def learnt_prevalence(training: Mapping[str, Any]) -> float | None:
    """Return the prevalence in the loss of a training: 0.5 with balanced class weights, else that of its films.

    Args:
        training: `BundleSpec.training`.

    Returns:
        A value in (0, 1); None if unknown.
    """
    settings = training.get("config")
    loss = settings.get("loss") if isinstance(settings, Mapping) else None
    if isinstance(loss, Mapping) and loss.get("class_weights") == "balanced":
        return 0.5
    positive, films = training.get("n_positive"), training.get("n_films")
    if isinstance(positive, int) and isinstance(films, int) and 0 < positive < films:
        return positive / films
    return None


def check_prevalence(prevalence: float) -> float:
    """Return a prevalence as float.

    Raises:
        UsageError: The value is not a number in (0, 1).
    """
    if not (math.isfinite(prevalence) and 0 < prevalence < 1):
        raise UsageError(
            f"prevalence is {prevalence!r}.",
            "It must be above 0 and below 1, such as 0.1 for 10 films in 100.",
        )
    return float(prevalence)


def predictive_summary(name: str, point: Mapping[str, Any], prevalence: float) -> tuple[str, ...]:
    """Return a few lines about the predictive values of an operating point at a prevalence.

    Args:
        name: Name of the operating point.
        point: One of `BundleSpec.thresholds`; `recall_ci95` and `specificity_ci95` are used if present.
        prevalence: In (0, 1).

    Raises:
        UsageError: `prevalence` is outside its range.
    """
    check_prevalence(prevalence)
    recall, specificity = point.get("recall"), point.get("specificity")
    if recall is None or specificity is None:
        return (
            f"prevalence {prevalence:g}: the model does not contain the sensitivity and specificity of {name}.",
        )
    values = predictive_values(recall, specificity, prevalence)
    recalls, specificities = point.get("recall_ci95") or (), point.get("specificity_ci95") or ()
    # Both predictive values increase with both rates, so the ends of the intervals give their ends.
    ends = [predictive_values(*rates, prevalence) for rates in zip(recalls, specificities, strict=False)]
    sure = "; in brackets 95% intervals, of PPV and NPV over both" if ends else ""
    return (
        f"{name}: sensitivity {_rate(recall, recalls)}, specificity {_rate(specificity, specificities)} "
        f"({point['source']})",
        f"prevalence {prevalence:g}: PPV {_rate(values.ppv, [end.ppv for end in ends])}, "
        f"NPV {_rate(values.npv, [end.npv for end in ends])}{sure}",
        _natural(values),
        "Films that differ from those it was chosen on give other rates. Probabilities and labels do not change.",
    )


def _natural(values: PredictiveValues) -> str:
    """Return the result in numbers of films, so many that about ten have pneumonia, at least 100."""
    films = 100
    while films * values.prevalence < 5 and films < 1_000_000:
        films *= 10
    ill, called, found, missed = (
        f"{share * films:,.1f}" for share in (values.prevalence, values.called, values.found, values.missed)
    )
    return (
        f"Of {films:,} films at this prevalence, {ill} with pneumonia: {called} are labelled PNEUMONIA, {found} of them "
        f"correctly; {missed} are missed."
    )


def _rate(value: float | None, interval: Sequence[float | None]) -> str:
    if value is None:
        return "not defined"
    ends = [end for end in interval if end is not None]
    return f"{value:.3f}" + (f" ({ends[0]:.3f} to {ends[1]:.3f})" if len(ends) == 2 else "")
