"""The evaluation of a model in `records.json` of its bundle, and the checks of this file.

The figures are of the films that the run held out of its training. `training.records` computes them, and docs/bundle.md
describes them. They belong to one network, one temperature and one table of thresholds. Records that contradict the
description of the bundle are an error.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pneumoscan.bundle.checks import is_interval, is_rate
from pneumoscan.bundle.spec import BundleSpec
from pneumoscan.errors import BundleError

_AGAIN = "Export the model again, or copy the bundle again from its source."
SAME_THRESHOLD = 1e-6
# Rates that were counted on another machine may differ by a film exactly at the threshold.
_FILMS_APART = 1.5


@dataclass(frozen=True)
class _Maybe:
    """A value that may be None instead."""

    shape: object


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53


_CURVE_POINT = {
    "threshold": is_rate,
    "recall": is_rate,
    "specificity": is_rate,
    "recall_ci95": _Maybe(is_interval),
    "specificity_ci95": _Maybe(is_interval),
    "unsure_films": is_rate,
    "unsure_pneumonia": is_rate,
    "unsure_normal": is_rate,
}
_HELD_OUT = {
    "source": _is_text,
    "n": _is_count,
    "n_positive": _is_count,
    "n_patients": _Maybe(_is_count),
    "threshold": is_rate,
    "accuracy": is_rate,
    "accuracy_ci95": is_interval,
    "roc_auc": is_rate,
    "roc_auc_ci95": _Maybe(is_interval),
    "average_precision": is_rate,
    "sensitivity": is_rate,
    "sensitivity_ci95": is_interval,
    "specificity": is_rate,
    "specificity_ci95": is_interval,
    "precision": is_rate,
    "precision_ci95": _Maybe(is_interval),
    "npv": is_rate,
    "f1": is_rate,
    "brier_score": is_rate,
    "expected_calibration_error": is_rate,
    "confusion": dict.fromkeys(("tn", "fp", "fn", "tp"), _is_count),
}
_BIN = {
    "low": is_rate,
    "high": is_rate,
    "n": _is_count,
    "mean_probability": is_rate,
    "share_positive": is_rate,
    "ci95": is_interval,
}
_STRESSED = ("roc_auc", "accuracy", "sensitivity", "specificity")
_STRESS_ROW = {
    "perturbation": _is_text,
    "n": _is_count,
    "roc_auc_ci95": _Maybe(is_interval),
    **dict.fromkeys(_STRESSED, _Maybe(is_rate)),
}
_STRESS = {
    "threshold": is_rate,
    "plain": _STRESS_ROW,
    "table": [_STRESS_ROW],
    "mean": dict.fromkeys(_STRESSED, _Maybe(is_rate)),
    "worst": dict.fromkeys(_STRESSED, _Maybe({"perturbation": _is_text, "value": is_rate})),
}
SITE_FIGURES = (
    "n", "n_positive", "roc_auc", "roc_auc_ci95", "sensitivity", "sensitivity_ci95", "specificity", "specificity_ci95",
)  # fmt: skip
"""The figures of each site at the threshold of the model."""
_SITE_ROW = {
    "site": _is_text,
    "against": lambda value: value in {"all", "normal"},
    "view": lambda value: value in {"", "PA", "AP"},
    **{name: _HELD_OUT[name] for name in SITE_FIGURES},
}
_LATER = {"sites": [_SITE_ROW]}
_RECORDS = {
    "operating_curve": {
        "source": _is_text,
        "n": _is_count,
        "n_positive": _is_count,
        "points": [_CURVE_POINT],
    },
    "held_out": _HELD_OUT,
    "precision_recall": {"recall": [is_rate], "precision": [is_rate], "threshold": [is_rate]},
    "reliability": {"bins": [_BIN]},
    "stress": _Maybe(_STRESS),
    "cautions": [_is_text],
}


def records_text(values: Mapping[str, Any], spec: BundleSpec) -> str:
    """Return the text of `records.json`, one line per part.

    Raises:
        BundleError: See `check_records`.
    """
    check_records(values, spec)
    parts = (f'"{name}": {json.dumps(part, allow_nan=False)}' for name, part in values.items())
    return "{\n" + ",\n".join(parts) + "\n}\n"


def check_records(values: object, spec: BundleSpec) -> None:
    """Check records, and that they belong to the described model.

    Args:
        values: The records, as docs/bundle.md describes them.
        spec: The description of the same bundle.

    Raises:
        BundleError: A key is missing or unknown, a number is not finite or outside its range, thresholds do not increase, or
            the figures contradict the operating points.
    """
    # Records of earlier releases have no figures of sites.
    present = {
        name: shape for name, shape in _LATER.items() if isinstance(values, Mapping) and name in values
    }
    _check_shape(values, _RECORDS | present, "records.json")
    assert isinstance(values, Mapping)
    _check_curve(values["operating_curve"])
    _check_figures(values["held_out"], values["precision_recall"], values["reliability"])
    _check_agreement(values, spec)


def check_stress(value: object) -> None:
    """Raise BundleError unless a value is a result of `evaluation.stress.StressTable.to_json`."""
    _check_shape(value, _STRESS, "stress")


def _check_shape(value: object, shape: object, where: str) -> None:
    if isinstance(shape, _Maybe):
        if value is not None:
            _check_shape(value, shape.shape, where)
    elif isinstance(shape, dict):
        if not isinstance(value, Mapping) or set(value) != set(shape):
            raise BundleError(f"{where} is not a table of {', '.join(shape)}.", _AGAIN)
        for key, inner in shape.items():
            _check_shape(value[key], inner, f"{where}: {key}")
    elif isinstance(shape, list):
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise BundleError(f"{where} is not a list.", _AGAIN)
        for index, item in enumerate(value):
            _check_shape(item, shape[0], f"{where}[{index}]")
    elif callable(shape) and not shape(value):
        raise BundleError(f"{where} is {value!r:.60}.", _AGAIN)


def _check_curve(curve: Mapping[str, Any]) -> None:
    points = curve["points"]
    if not points or not 0 < curve["n_positive"] < curve["n"]:
        raise BundleError("records.json: operating_curve is not of films of both classes.", _AGAIN)
    orders: tuple[tuple[str, Callable[[float, float], bool]], ...] = (
        ("threshold", lambda one, next_: one < next_),
        ("recall", lambda one, next_: one >= next_),
        ("specificity", lambda one, next_: one <= next_),
    )
    for key, in_order in orders:
        if not all(in_order(one[key], next_[key]) for one, next_ in pairwise(points)):
            raise BundleError(f"records.json: operating_curve: {key} is not in order.", _AGAIN)


def _check_figures(
    held_out: Mapping[str, Any], curve: Mapping[str, Any], reliability: Mapping[str, Any]
) -> None:
    bins, cuts = reliability["bins"], curve["threshold"]
    counts = held_out["confusion"]
    holds = {
        "held_out.confusion": sum(counts.values()) == held_out["n"] > 0
        and counts["tp"] + counts["fn"] == held_out["n_positive"],
        "precision_recall": len(cuts) == len(curve["recall"]) == len(curve["precision"]) > 0
        and all(one < next_ for one, next_ in pairwise(cuts)),
        "reliability": sum(part["n"] for part in bins) == held_out["n"]
        and all(part["low"] < part["high"] and part["n"] > 0 for part in bins)
        and all(one["high"] <= next_["low"] for one, next_ in pairwise(bins)),
    }
    for name, held in holds.items():
        if not held:
            raise BundleError(f"records.json: {name} contradicts itself or the number of films.", _AGAIN)


def _check_agreement(values: Mapping[str, Any], spec: BundleSpec) -> None:
    """Compare the records with the operating points of the description."""
    curve, cut = values["operating_curve"], spec.threshold()
    by_threshold = {point["threshold"]: point for point in curve["points"]}
    sizes = {"recall": curve["n_positive"], "specificity": curve["n"] - curve["n_positive"]}
    for name, point in spec.thresholds.items():
        found = by_threshold.get(point["threshold"])
        apart = found is None or any(
            abs(found[key] - point[key]) > _FILMS_APART / size
            for key, size in sizes.items()
            if point.get(key) is not None
        )
        if apart:
            raise BundleError(
                f"records.json is of another model: it contradicts {name} of model.json.", _AGAIN
            )
    stress = values["stress"]
    cut_offs = [values["held_out"]["threshold"]] + ([] if stress is None else [stress["threshold"]])
    if any(abs(threshold - cut) > SAME_THRESHOLD for threshold in cut_offs):
        raise BundleError(f"records.json has figures at {cut_offs}, the model's threshold is {cut}.", _AGAIN)
