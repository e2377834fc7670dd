"""Logits of a lungs network as a test draws them: ellipses for the lungs, by fractions of the film."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pneumoscan.imaging.lungs import SIDE

Ellipse = tuple[float, float, float, float]
"""Centre x, centre y, half-width, half-height."""
TWO: tuple[Ellipse, ...] = ((0.3, 0.5, 0.13, 0.3), (0.7, 0.5, 0.11, 0.28))


def mask_of(ellipses: Sequence[Ellipse] = TWO) -> npt.NDArray[np.bool_]:
    """Return the pixels inside any ellipse: bool (SIDE, SIDE)."""
    y, x = (np.mgrid[:SIDE, :SIDE] + 0.5) / SIDE
    inside = [((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 < 1 for cx, cy, a, b in ellipses]
    return np.logical_or.reduce(inside) if inside else np.zeros((SIDE, SIDE), np.bool_)


def logits_of(
    field: npt.NDArray[np.bool_], aerated: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.float32]:
    """Return float32 (2, SIDE, SIDE): +5 inside, -5 outside; the aerated lung is the field if it isn't given."""
    both = np.stack((field, field if aerated is None else aerated))
    return np.where(both, np.float32(5), np.float32(-5))
