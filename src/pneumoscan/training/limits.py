"""Where trust ends, chosen on held-out films: the guard's cut-offs, the band around a threshold, and how well probabilities hold."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.evaluation.calibration import reliability
from pneumoscan.inference.abstention import log_odds
from pneumoscan.inference.spec import probability_of

Floats = npt.NDArray[np.float64]
FALSE_ALARMS = 0.01
LIKELIER_THAN_NOT = math.log(2)
"""The distance at which the guard's small network finds a film as likely wrong as right."""

MOST_UNSURE = 0.05
HELD_ERRORS = 0.5
_BLOCK = 32


def cut_offs(distance: Floats) -> dict[str, float]:
    """Return from where on a film is `unusual` and `not_a_chest_film`, for distances (n,) of held-out films."""
    # A hair above the film that sets it: the cut-off itself counts as far.
    unusual = float(np.nextafter(np.quantile(distance, 1 - FALSE_ALARMS, method="higher"), np.inf))
    return {"unusual": unusual, "not_a_chest_film": max(unusual, LIKELIER_THAN_NOT)}


def guard_facts(
    distance: Floats, patients: npt.NDArray[Any] | None, turned: dict[str, Floats]
) -> dict[str, Any]:
    """Return what `model.json` says of the guard.

    Args:
        distance: (n,) of the held-out films as they are.
        patients: (n,) whose films they are; None if not known: films of a patient stand side by side, and are then
            parted in blocks.
        turned: Distances of the same films turned, by the name of the change.
    """
    cuts = cut_offs(distance)
    halves = _halves(len(distance), patients)
    return {
        **cuts,
        "source": (
            f"at most {FALSE_ALARMS:.0%} of {len(distance)} held-out training films as they are lie beyond unusual; "
            "not_a_chest_film is no lower and at least log 2, where the guard finds a picture as likely wrong as right"
        ),
        "n": len(distance),
        "false_alarms": _false_alarms(distance, halves),
        "caught": {name: _rates(values, cuts) for name, values in turned.items()},
    }


def unsure_band(
    logits: Floats, y_true: npt.NDArray[np.int64], temperature: float, threshold: float, on: str
) -> dict[str, Any]:
    """Return the band around a threshold within which a film is UNSURE.

    It is the narrowest one, even on both sides on the scale of log-odds, that holds half of the errors, or the widest one
    that holds at most 5% of the films if that is narrower.

    Args:
        logits: (n,) of held-out films, before the temperature.
        y_true: (n,) of 0 and 1.
        temperature: Of the model.
        threshold: Of the operating point, in [0, 1].
        on: What the films are, for the source.
    """
    probability = probability_of(logits, temperature)
    gap = np.abs(logits / temperature - log_odds(threshold))
    wrong = (probability >= threshold) != (y_true == 1)
    half_width = min(_holding(gap[wrong], HELD_ERRORS), _widest(gap, MOST_UNSURE))
    middle = log_odds(threshold)
    low, high = (float(probability_of(middle + side * half_width, 1.0)) for side in (-1, 1))
    inside = gap <= half_width
    return {
        "low": min(low, threshold),
        "high": max(high, threshold),
        "half_width": half_width,
        "films": float(inside.mean()),
        "errors": float(inside[wrong].mean()) if wrong.any() else 0.0,
        "source": f"narrowest band that holds half of the errors, but at most {MOST_UNSURE:.0%} of the films, on {len(gap)} {on}",
    }


def calibration_facts(logits: Floats, y_true: npt.NDArray[np.int64], temperature: float) -> dict[str, Any]:
    """Return how far probabilities can be believed before and after the temperature, on held-out films as they are.

    Args:
        logits: (n,), before the temperature.
        y_true: (n,) of 0 and 1.
        temperature: The chosen one.
    """
    return {
        "source": "held-out training films as they are",
        "n": len(y_true),
        "before": _calibration(logits, y_true, 1.0),
        "after": _calibration(logits, y_true, temperature),
    }


def _calibration(logits: Floats, y_true: npt.NDArray[np.int64], temperature: float) -> dict[str, float]:
    probability = probability_of(logits, temperature)
    against = np.where(y_true == 1, -logits, logits) / temperature
    return {
        "temperature": temperature,
        "log_loss": float(np.logaddexp(0, against).mean()),
        "expected_calibration_error": reliability(y_true, probability).expected_calibration_error,
        "brier_score": float(((probability - y_true) ** 2).mean()),
    }


def _halves(count: int, patients: npt.NDArray[Any] | None) -> npt.NDArray[np.bool_]:
    """Part films in two so that a patient's stay together: bool (n,)."""
    groups = np.arange(count) // _BLOCK if patients is None else np.unique(patients, return_inverse=True)[1]
    odd: npt.NDArray[np.bool_] = groups % 2 == 1
    return odd


def _false_alarms(distance: Floats, halves: npt.NDArray[np.bool_]) -> dict[str, float] | None:
    """Return the shares of held-out films beyond cut-offs that other patients' films set; None if there are too few."""
    if min(halves.sum(), (~halves).sum()) < 2 * _BLOCK:
        return None
    beyond = {"unusual": 0, "not_a_chest_film": 0}
    for part in (halves, ~halves):
        cuts = cut_offs(distance[~part])
        for name, cut in cuts.items():
            beyond[name] += int((distance[part] >= cut).sum())
    return {name: count / len(distance) for name, count in beyond.items()}


def _rates(distance: Floats, cuts: dict[str, float]) -> dict[str, float]:
    return {name: float((distance >= cut).mean()) for name, cut in cuts.items()}


def _holding(gaps: Floats, share: float) -> float:
    """Return the smallest width that holds a share of the films with these gaps; 0 if there are none."""
    return float(np.quantile(gaps, share, method="higher")) if gaps.size else 0.0


def _widest(gaps: Floats, share: float) -> float:
    """Return the largest gap such that at most a share of all films lies within it; 0 if one film is more than that."""
    most = int(share * gaps.size)
    order = np.sort(gaps)
    # The next film must stay outside, also where several share one gap.
    inside = order[:most][order[:most] < order[most]] if most < order.size else order
    return float(inside[-1]) if inside.size else 0.0
