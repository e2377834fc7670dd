"""What a call and a probability are worth where the disease is rarer, or commoner, than among the training films.

Sensitivity and specificity stay what they are as long as ill and healthy films look as they did; predictive values and
probabilities depend on how many of the films are ill.
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
    """What the calls at an operating point are worth at a prevalence.

    Attributes:
        prevalence: Share of PNEUMONIA among the films, in (0, 1).
        sensitivity: In [0, 1].
        specificity: In [0, 1].
        ppv: Share of PNEUMONIA among the films called so; None where none is.
        npv: Share of NORMAL among the films called so; None where none is.
        called: Share of all films that are called PNEUMONIA.
        found: Share of all films that are called so rightly.
        missed: Share of all films that are PNEUMONIA and called NORMAL.
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
        UsageError: One of them is not.
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
    """Return what a probability becomes where another share of the films is ill.

    The logit moves by logit(to) − logit(from_) (M. Saerens, P. Latinne, C. Decaestecker, Neural Computation 14 (2002)
    21–41, section 2). That is right if the probability is calibrated at `from_` and the ill, and the healthy, look alike at
    both places.

    Args:
        probability: Of PNEUMONIA, any shape, in [0, 1]; 0 and 1 stay.
        from_: Prevalence that the probability was learnt at, in (0, 1); see `learnt_prevalence`.
        to: Prevalence where the films come from, in (0, 1).

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
    """Return the prevalence that the loss of a training saw: 0.5 with balanced class weights, else that of its films.

    Args:
        training: `BundleSpec.training`.

    Returns:
        A share in (0, 1); None where the bundle does not tell.
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
        UsageError: It is not a number in (0, 1).
    """
    if not (math.isfinite(prevalence) and 0 < prevalence < 1):
        raise UsageError(
            f"prevalence is {prevalence!r}.", "It must be above 0 and below 1, as 0.1 for 10 films in 100."
        )
    return float(prevalence)


def told(name: str, point: Mapping[str, Any], prevalence: float) -> tuple[str, ...]:
    """Say in a few lines what the calls at an operating point are worth at a prevalence.

    Args:
        name: Of the operating point.
        point: One of `BundleSpec.thresholds`; `recall_ci95` and `specificity_ci95` are told if they are there.
        prevalence: In (0, 1).

    Raises:
        UsageError: `prevalence` is not.
    """
    check_prevalence(prevalence)
    recall, specificity = point.get("recall"), point.get("specificity")
    if recall is None or specificity is None:
        return (f"prevalence {prevalence:g}: the model does not tell sensitivity and specificity at {name}.",)
    values = predictive_values(recall, specificity, prevalence)
    recalls, specificities = point.get("recall_ci95") or (), point.get("specificity_ci95") or ()
    # Both predictive values grow with both rates: the ends of the intervals give the ends.
    ends = [predictive_values(*rates, prevalence) for rates in zip(recalls, specificities, strict=False)]
    sure = "; in brackets 95% intervals, of PPV and NPV over both" if ends else ""
    return (
        f"{name}: sensitivity {_rate(recall, recalls)}, specificity {_rate(specificity, specificities)} "
        f"({point['source']})",
        f"prevalence {prevalence:g}: PPV {_rate(values.ppv, [end.ppv for end in ends])}, "
        f"NPV {_rate(values.npv, [end.npv for end in ends])}{sure}",
        _natural(values),
        "Films unlike those it was chosen on give other rates. Probabilities and labels are not changed.",
    )


def _natural(values: PredictiveValues) -> str:
    """Say it in numbers of films: so many that about ten of them are ill, 100 at least."""
    films = 100
    while films * values.prevalence < 5 and films < 1_000_000:
        films *= 10
    ill, called, found, missed = (
        f"{share * films:,.1f}" for share in (values.prevalence, values.called, values.found, values.missed)
    )
    return (
        f"Of {films:,} films at this prevalence, {ill} with pneumonia: {called} are called PNEUMONIA, {found} of them "
        f"rightly; {missed} are missed."
    )


def _rate(value: float | None, interval: Sequence[float | None]) -> str:
    if value is None:
        return "not defined"
    ends = [end for end in interval if end is not None]
    return f"{value:.3f}" + (f" ({ends[0]:.3f} to {ends[1]:.3f})" if len(ends) == 2 else "")
