"""Abstention: films that differ from those the model knows, and probabilities close to the threshold.

Both limits are stored in the bundle. They were chosen on films held out of the training. A bundle without them labels every
film PNEUMONIA or NORMAL.
"""

import math
from dataclasses import dataclass

from pneumoscan.inference.spec import BundleSpec

UNSURE = "UNSURE"
NOT_A_CHEST_FILM = "NOT_A_CHEST_FILM"
FAR = "far_from_training_films"
NEAR = "near_threshold"
# The log-odds of a float64 other than 0 and 1 are within ±37; those of 0 and 1 are set to ±40.
_FARTHEST = 40.0


@dataclass(frozen=True)
class Abstention:
    """Whether the model abstains from a class for a film, and why.

    Attributes:
        label: `NOT_A_CHEST_FILM` or `UNSURE` if the model abstains; otherwise empty.
        warnings: `far_from_training_films`, `near_threshold`, or both.
    """

    label: str
    warnings: tuple[str, ...]


def abstention_of(
    spec: BundleSpec, probability: float, distance: float | None, threshold: float
) -> Abstention:
    """Return whether the model abstains from a class for one film.

    Args:
        spec: Description of the bundle, with or without `guard` and `unsure_band`.
        probability: Probability of PNEUMONIA in [0, 1].
        distance: Distance from the training films, at least 0; None if the model has none.
        threshold: The threshold in use, in [0, 1].
    """
    guard = spec.guard if distance is not None else None
    far = guard is not None and distance is not None and distance >= guard["unusual"]
    foreign = guard is not None and distance is not None and distance >= guard["not_a_chest_film"]
    band = unsure_band(spec, threshold)
    near = band is not None and band[0] <= probability <= band[1]
    warnings = tuple(name for name, holds in ((FAR, far), (NEAR, near)) if holds)
    if foreign:
        return Abstention(NOT_A_CHEST_FILM, warnings)
    return Abstention(UNSURE if warnings else "", warnings)


def unsure_band(spec: BundleSpec, threshold: float) -> tuple[float, float] | None:
    """Return the probabilities between which films are UNSURE; None if the bundle has no band.

    The threshold of an operating point has its own band. Any other threshold gets the band of the default operating point,
    shifted in log-odds. With a threshold of 0 or 1, no film is near it.
    """
    default = spec.thresholds[spec.default_operating_point]
    # Two points may share a threshold; then the band of the default point applies.
    for point in (default, *spec.thresholds.values()):
        if point["threshold"] == threshold and point.get("unsure_band"):
            band = point["unsure_band"]
            return float(band["low"]), float(band["high"])
    if not default.get("unsure_band") or not 0 < threshold < 1:
        return None
    half, middle = float(default["unsure_band"]["half_width"]), log_odds(threshold)
    return _share(middle - half), _share(middle + half)


def log_odds(probability: float) -> float:
    """Return log(p / (1 - p)) of a probability in [0, 1], limited to ±40."""
    if probability in {0.0, 1.0}:
        return _FARTHEST if probability else -_FARTHEST
    return math.log(probability) - math.log1p(-probability)


def _share(value: float) -> float:
    small = math.exp(-abs(value))
    return 1 / (1 + small) if value >= 0 else small / (1 + small)
