"""Limits chosen on held-out films: thresholds of the out-of-distribution detector, the unsure band, and the calibration of probabilities."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.evaluation.calibration import reliability
from pneumoscan.inference.abstention import CERTAIN, log_odds
from pneumoscan.inference.spec import probability_of

Floats = npt.NDArray[np.float64]
FALSE_ALARMS = 0.01
MOST_UNSURE = 0.05
HELD_ERRORS = 0.5
_BLOCK = 32


def cut_offs(distance: Floats) -> dict[str, float]:
    """Return the thresholds `unusual` and `not_a_chest_film` for distances (n,) of held-out films."""
    # Slightly above the film that determines it, because a film at the threshold counts as unusual.
    unusual = float(np.nextafter(np.quantile(distance, 1 - FALSE_ALARMS, method="higher"), np.inf))
    return {"unusual": unusual, "not_a_chest_film": max(unusual, CERTAIN)}


def ood_facts(
    distance: Floats, patients: npt.NDArray[Any] | None, turned: dict[str, Floats]
) -> dict[str, Any]:
    """Return the entry `guard` of `model.json`.

    Args:
        distance: (n,), of the unchanged held-out films.
        patients: (n,), the patients; None if unknown. Films of a patient are adjacent, so the films are then divided in
            blocks.
        turned: Distances of the altered films, by the name of the change.
    """
    cuts = cut_offs(distance)
    halves = _halves(len(distance), patients)
    return {
        **cuts,
        "source": (
            f"at most {FALSE_ALARMS:.0%} of {len(distance)} held-out training films as they are lie beyond unusual; "
            f"not_a_chest_film is no lower and at least {CERTAIN:g}, which practically no frontal chest film reaches"
        ),
        "n": len(distance),
        "false_alarms": _false_alarms(distance, halves),
        "caught": {name: _rates(values, cuts) for name, values in turned.items()},
    }


def unsure_band(
    logits: Floats, y_true: npt.NDArray[np.int64], temperature: float, threshold: float, on: str
) -> dict[str, Any]:
    """Return the band around a threshold within which a film is UNSURE.

    It is symmetric in log-odds. It is the narrowest band that contains half of the errors, or the widest one that contains
    at most 5% of the films if that is narrower.

    Args:
        logits: (n,) of held-out films, before the temperature.
        y_true: (n,) of 0 and 1.
        temperature: Temperature of the model.
        threshold: Threshold of the operating point, in [0, 1].
        on: Description of the films, for the source.
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
    """Return the calibration figures before and after the temperature, on the unchanged held-out films.

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
    """Divide films into two halves without dividing patients: bool (n,)."""
    groups = np.arange(count) // _BLOCK if patients is None else np.unique(patients, return_inverse=True)[1]
    odd: npt.NDArray[np.bool_] = groups % 2 == 1
    return odd


def _false_alarms(distance: Floats, halves: npt.NDArray[np.bool_]) -> dict[str, float] | None:
    """Return the shares of held-out films beyond thresholds from other patients' films; None if there are too few."""
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
    """Return the smallest width that contains a share of the films with these gaps; 0 if there are none."""
    return float(np.quantile(gaps, share, method="higher")) if gaps.size else 0.0


def _widest(gaps: Floats, share: float) -> float:
    """Return the largest gap that contains at most a share of all films; 0 if one film is more than that."""
    most = int(share * gaps.size)
    order = np.sort(gaps)
    # The next film must stay outside, also if several films have the same gap.
    inside = order[:most][order[:most] < order[most]] if most < order.size else order
    return float(inside[-1]) if inside.size else 0.0
