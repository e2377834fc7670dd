"""Abstention: films that differ from those the model knows, and probabilities close to the threshold.

Both limits are stored in the bundle. They were chosen on films held out of the training. A bundle without them labels every
film PNEUMONIA or NORMAL. A film that merely differs is UNSURE. Only what is certainly no upright chest film is NOT_A_CHEST_FILM.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.imaging.lungs import Lungs
from pneumoscan.inference.spec import BundleSpec

UNSURE = "UNSURE"
NOT_A_CHEST_FILM = "NOT_A_CHEST_FILM"
FAR = "far_from_training_films"
NEAR = "near_threshold"
CERTAIN = 6.0
"""The least distance of what is certainly no upright chest film.

A score of 6 means odds of 400 to 1 against an upright chest film. Of 1,124 frontal films of children and adults from
many hospitals, one reached it, and it is upside down. Of 1,500 such films, turned by a right angle, upside down or inverted, 99% were.
"""

# The least shares of a film with one flat grey level, from which it is UNSURE and NOT_A_CHEST_FILM.
_FLAT, _SCREEN = 0.125, 0.18
_CELLS, _FLAT_RANGE = 128, 2
# The log-odds of a float64 other than 0 and 1 are within ±37; those of 0 and 1 are set to ±40.
_FARTHEST = 40.0


@dataclass(frozen=True)
class Abstention:
    """Whether the model abstains from a class for a film, and why.

    Attributes:
        label: `NOT_A_CHEST_FILM` or `UNSURE` if the model abstains; otherwise empty.
        warnings: `no_lungs`, `one_lung`, `lungs_cut`, `unusual_lungs`, `far_from_training_films`, `near_threshold`.
    """

    label: str
    warnings: tuple[str, ...]


def abstention_of(
    spec: BundleSpec,
    probability: float,
    distance: float | None,
    threshold: float,
    lungs: Lungs | None = None,
) -> Abstention:
    """Return whether the model abstains from a class for one film.

    Args:
        spec: Description of the bundle, with or without `guard` and `unsure_band`.
        probability: Probability of PNEUMONIA in [0, 1].
        distance: Distance from the training films, at least 0; None if the model has none.
        threshold: The threshold in use, in [0, 1].
        lungs: The lungs of the film; None if the model does not look for them.
    """
    guard = spec.guard if distance is not None else None
    far = guard is not None and distance is not None and distance >= guard["unusual"]
    foreign = guard is not None and distance is not None and distance >= certain_distance(guard)
    band = unsure_band(spec, threshold)
    near = band is not None and band[0] <= probability <= band[1]
    no_chest, about_lungs = spec.lungs.judge(lungs) if spec.lungs and lungs else (False, ())
    warnings = about_lungs + tuple(name for name, holds in ((FAR, far), (NEAR, near)) if holds)
    if foreign or no_chest:
        return Abstention(NOT_A_CHEST_FILM, warnings)
    return Abstention(UNSURE if warnings else "", warnings)


def certain_distance(guard: Mapping[str, Any]) -> float:
    """Return the distance from which a picture is NOT_A_CHEST_FILM, for the entry `guard` of a bundle."""
    return max(float(guard["not_a_chest_film"]), CERTAIN)


def distance_with_layout(distance: float, guard: Mapping[str, Any], pixels: npt.NDArray[np.uint8]) -> float:
    """Return the distance of a film, raised if the film consists in part of flat areas like those of a screen.

    The detector sees a thumbnail, in which a screenshot with a chest film may look like one.

    Args:
        distance: Distance from the training films, at least 0.
        guard: The entry of the bundle.
        pixels: uint8 (height, width).
    """
    flat = flat_share(pixels)
    if flat < _FLAT:
        return distance
    return max(distance, certain_distance(guard) if flat >= _SCREEN else float(guard["unusual"]))


def flat_share(pixels: npt.NDArray[np.uint8]) -> float:
    """Return the largest share of a film that has one grey level, in [0, 1]; black, white and a flat margin do not count.

    Args:
        pixels: uint8 (height, width).
    """
    step = max(1, max(pixels.shape) // (4 * _CELLS))
    sparse = pixels[::step, ::step]
    rows, columns = sparse.shape[0] // 4, sparse.shape[1] // 4
    cells = sparse[: 4 * rows, : 4 * columns].reshape(rows, 4, columns, 4)
    low = cells.min((1, 3))
    flat = cells.max((1, 3)) - low <= _FLAT_RANGE
    across, along = np.flatnonzero(~flat.all(1)), np.flatnonzero(~flat.all(0))
    if not across.size or not along.size:
        return 0.0
    inner = np.s_[across[0] : across[-1] + 1, along[0] : along[-1] + 1]
    levels = np.bincount(low[inner][flat[inner]], minlength=256) / flat[inner].size
    # Neighbouring levels count together, because of the noise of lossy compression.
    return float(np.convolve(levels, np.ones(3), "valid")[6:246].max())


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
