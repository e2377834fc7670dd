"""The checks of what a bundle's `model.json` says, part by part, and the names of the outputs of a network.

Every network has `probability` and `logit`. The mean of `activation_map` (h, w) is the logit. `distance` measures how different
the film is from the training films. `features` is the vector before the last layer.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pneumoscan.errors import BundleError

REQUIRED_OUTPUTS = ("probability", "logit")
MAP_OUTPUT = "activation_map"
DISTANCE_OUTPUT = "distance"
FEATURES_OUTPUT = "features"
LUNGS_OUTPUT = "lungs"
"""The one output of the lungs network."""
OPTIONAL_OUTPUTS = (MAP_OUTPUT, DISTANCE_OUTPUT, FEATURES_OUTPUT)

_POINT_RATES = ("recall", "specificity", "precision", "f1")
_POINT_INTERVALS = ("recall_ci95", "specificity_ci95")
_REGION_COUNTS = ("n", "shown", "regions", "boxes")
_REGION_RATES = (
    "hottest_in_a_box",
    "random_in_a_box",
    "evidence_in_boxes",
    "regions_in_a_box",
    "boxes_with_a_region",
    "overlap",
)
_AGAIN = "Export the model again, or copy the bundle again from its source."


def check_thresholds(thresholds: object, default: str) -> None:
    """Raise BundleError unless `thresholds` are operating points by name, and `default` is one of them."""
    points = mapping_of(thresholds, "thresholds")
    if default not in points:
        raise BundleError(
            f"model.json: default_operating_point {default!r} is not among the thresholds.",
            _AGAIN,
        )
    for name, value in points.items():
        point = mapping_of(value, f"thresholds.{name}")
        if not is_rate(point.get("threshold")) or not isinstance(point.get("source"), str):
            raise BundleError(
                f"model.json: thresholds.{name} needs a threshold from 0 to 1 and the source it was chosen on.",
                _AGAIN,
            )
        for key in _POINT_RATES:
            if point.get(key) is not None and not is_rate(point[key]):
                raise BundleError(
                    f"model.json: thresholds.{name}.{key} is {point[key]!r}, not 0 to 1.", _AGAIN
                )
        for key in _POINT_INTERVALS:
            if point.get(key) is not None and not is_interval(point[key]):
                raise BundleError(
                    f"model.json: thresholds.{name}.{key} is {point[key]!r}, not two rates that rise.", _AGAIN
                )
        _check_band(name, point)


def _check_band(name: str, point: Mapping[str, Any]) -> None:
    """Raise BundleError if the `unsure_band` of an operating point does not contain its threshold."""
    if point.get("unsure_band") is None:
        return
    band: Mapping[str, Any] = point["unsure_band"] if isinstance(point["unsure_band"], Mapping) else {}
    low, high, half = (band.get(key, math.nan) for key in ("low", "high", "half_width"))
    numbers = all(map(is_number, (low, high, half)))
    if not numbers or not 0 <= low <= point["threshold"] <= high <= 1 or half < 0:
        raise BundleError(
            f"model.json: thresholds.{name}.unsure_band needs low ≤ threshold ≤ high in [0, 1] and half_width.",
            _AGAIN,
        )


def check_guard(guard: object, outputs: tuple[str, ...]) -> None:
    """Raise BundleError unless `guard` is None, or has two rising thresholds and the model has a distance."""
    if guard is None:
        return
    values: Mapping[str, Any] = guard if isinstance(guard, Mapping) else {}
    cuts: list[Any] = [values.get(name) for name in ("unusual", "not_a_chest_film")]
    if (
        not all(map(is_number, cuts))
        or not 0 < cuts[0] <= cuts[1]
        or not isinstance(values.get("source"), str)
    ):
        raise BundleError(
            "model.json: guard needs unusual and not_a_chest_film, above 0 and rising, and their source.",
            _AGAIN,
        )
    if DISTANCE_OUTPUT not in outputs:
        raise BundleError("model.json has a guard, but the model has no output distance.", _AGAIN)


def check_left_out(left_out: object) -> None:
    """Raise BundleError unless `left_out` is None, or a list of what was measured at hospitals that a training left out."""
    if left_out is None:
        return
    rows = row_of(left_out)
    for row in rows:
        counts = (
            [row.get(key) for key in ("n_positive", "n_negative")] if isinstance(row, Mapping) else [None]
        )
        told = all(
            isinstance(count, int) and not isinstance(count, bool) and count > 0 for count in counts
        ) and (
            isinstance(row.get("films"), str)
            and isinstance(row.get("trained_on"), list | tuple)
            and all(isinstance(site, str) for site in row["trained_on"])
            and all(is_rate(row.get(key)) for key in ("roc_auc", "sensitivity", "specificity"))
            and is_interval(row.get("roc_auc_ci95"))
        )
        if not told:
            raise BundleError(
                f"model.json: left_out: {row!r:.200} needs trained_on, films, n_positive, n_negative, roc_auc, roc_auc_ci95, "
                "sensitivity and specificity.",
                _AGAIN,
            )


def check_regions(regions: object) -> None:
    """Raise BundleError unless `regions` is None, or has a level above 0 and what was measured at it."""
    if regions is None:
        return
    values = mapping_of(regions, "regions")
    check_keys(values, {"level", "source", "measured"}, "model.json: regions")
    level, told = values["level"], row_of(values["measured"])
    if not (is_number(level) and level > 0) or not isinstance(values["source"], str):
        raise BundleError(
            "model.json: regions needs a level above 0 and the source it was chosen on.", _AGAIN
        )
    for one in told:
        facts = mapping_of(one, "regions.measured")
        check_keys(facts, {"films", *_REGION_COUNTS, *_REGION_RATES}, "model.json: regions.measured")
        counts = [facts[key] for key in _REGION_COUNTS]
        if (
            not isinstance(facts["films"], str)
            or not all(isinstance(count, int) and count >= 0 for count in counts)
            or not all(map(is_rate, (facts[key] for key in _REGION_RATES)))
        ):
            raise BundleError("model.json: regions.measured is not films, counts and rates.", _AGAIN)


def check_keys(values: Mapping[str, Any], names: set[str], where: str) -> None:
    """Raise BundleError unless a table has exactly these names."""
    missing, unknown = names - set(values), set(values) - names
    if missing or unknown:
        parts = [
            f"{word} {', '.join(sorted(keys))}"
            for word, keys in (("no", missing), ("unknown", unknown))
            if keys
        ]
        raise BundleError(f"{where} has {' and '.join(parts)}.", _AGAIN)


def mapping_of(value: object, where: str) -> Mapping[str, Any]:
    """Return a table of named values as it is; raises BundleError for anything else."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise BundleError(f"{where} is not a table of named values.", _AGAIN)
    return value


def row_of(value: object) -> tuple[Any, ...]:
    """Return a list as a tuple; raises BundleError for anything else."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise BundleError(f"model.json: {value!r} is not a list.", _AGAIN)
    return tuple(value)


def is_number(value: object) -> bool:
    """Return whether a value is a finite number within the range of a float, and not a bool."""
    # `math.isfinite` raises an error for an integer beyond the range of floats.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_rate(value: object) -> bool:
    """Return whether a value is a number in [0, 1], and not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def is_interval(value: object) -> bool:
    """Return whether a value is a list of two rates in ascending order."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        return False
    return all(map(is_rate, value)) and bool(value[0] <= value[1])
