"""The projection plane of a synthetic film, and the shapes of its parts.

Lengths are in *chest units*: 1 is the inner half-width of the rib cage. x runs to the picture's right (the patient's
left), y downwards from the apex of the lungs. Every part is a path length in these units, so parts can be added and
subtracted before the beam passes through them.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

# Always float32; numpy's types cannot say that a Python number beside an array keeps it so.
Plane = npt.NDArray[np.floating[Any]]

# Textures belong to the patient, so they are anchored to this box (left, top, right, bottom) and not to a film.
TEXTURE_BOX = (-3.0, -2.0, 3.0, 4.0)


@dataclass(frozen=True)
class Canvas:
    """A rectangle of the projection plane and its pixels.

    Attributes:
        left: x of the left border, in chest units.
        top: y of the upper border, in chest units.
        pitch: Side of a pixel, in chest units.
        height: Rows.
        width: Columns.
        bend: Sideways shift of the midline, as (amplitude, wave number, phase): no spine is exactly straight.
    """

    left: float
    top: float
    pitch: float
    height: int
    width: int
    bend: tuple[float, float, float] = (0.0, 1.0, 0.0)

    @cached_property
    def y(self) -> Plane:
        """float32 (height, 1): rows in chest units."""
        return (self.top + self.pitch * (np.arange(self.height, dtype=np.float32) + 0.5))[:, None]

    @cached_property
    def x(self) -> Plane:
        """float32 (height, width): distance from the patient's midline, in chest units."""
        columns = self.left + self.pitch * (np.arange(self.width, dtype=np.float32) + 0.5)
        amplitude, waves, phase = self.bend
        shift: Plane = (columns[None, :] - amplitude * np.sin(waves * self.y + phase)).astype(np.float32)
        return shift

    @cached_property
    def r(self) -> Plane:
        """float32 (height, width): absolute distance from the midline."""
        return np.abs(self.x)

    def to_pixels(self, points: npt.NDArray[np.float64], scale: int = 1) -> npt.NDArray[np.float64]:
        """Convert points (n, 2) of x, y in chest units into columns and rows, times `scale`."""
        pixels: npt.NDArray[np.float64] = (points - np.array([self.left, self.top])) / self.pitch * scale
        return pixels

    def texture(self, rng: np.random.Generator, cell: float) -> Plane:
        """Return smooth noise (height, width) of zero mean, unit deviation and grain `cell` in chest units."""
        left, top, right, bottom = TEXTURE_BOX
        rows, columns = round((bottom - top) / cell), round((right - left) / cell)
        noise = Image.fromarray(rng.standard_normal((rows, columns), dtype=np.float32))
        # The noise covers the texture box; the canvas uses its own part of it.
        x0, y0 = max(0.0, (self.left - left) / cell), max(0.0, (self.top - top) / cell)
        x1 = min(float(columns), x0 + self.width * self.pitch / cell)
        y1 = min(float(rows), y0 + self.height * self.pitch / cell)
        seen = noise.resize((self.width, self.height), Image.Resampling.BICUBIC, box=(x0, y0, x1, y1))
        return np.asarray(seen) * 1.35


def step(value: Plane, width: float) -> Plane:
    """Return 0 below zero and 1 above, with a smooth ramp of `width` centred on zero."""
    ramp = np.clip(value / width + 0.5, 0, 1)
    smooth: Plane = ramp * ramp * (3 - 2 * ramp)
    return smooth


def hump(value: Plane) -> Plane:
    """Return exp(-value²): a soft spot of radius 1."""
    spot: Plane = np.exp(-np.minimum(value * value, 30))
    return spot


def spot(x: Plane, y: Plane) -> Plane:
    """Return exp(-x² - y²): a soft round spot of radius 1."""
    soft: Plane = np.exp(-np.minimum(x * x + y * y, 30))
    return soft


def radius(x: Plane, y: Plane) -> Plane:
    """Return the distance from the origin, faster than `np.hypot`."""
    distance: Plane = np.sqrt(x * x + y * y)
    return distance


def chord(distance: Plane) -> Plane:
    """Return the path through a ball of radius 1 at `distance` from its centre, as a share of its diameter."""
    path: Plane = np.sqrt(np.maximum(1 - distance * distance, 0))
    return path


def tube(distance: Plane, marrow: float = 0.78) -> Plane:
    """Return the path through a hollow bone of radius 1: bright edges, a paler core."""
    path: Plane = chord(distance) - 0.72 * marrow * chord(distance / marrow)
    return path


def capsule(canvas: Canvas, start: tuple[float, float], end: tuple[float, float]) -> Plane:
    """Return each pixel's distance (height, width) from the segment `start`–`end`, in chest units."""
    along = np.array([end[0] - start[0], end[1] - start[1]], dtype=np.float32)
    dx, dy = canvas.x - start[0], canvas.y - start[1]
    share = np.clip((dx * along[0] + dy * along[1]) / (along @ along), 0, 1)
    distance: Plane = radius(dx - share * along[0], dy - share * along[1])
    return distance


def profile(canvas: Canvas, knots: tuple[tuple[float, float], ...], blur: float = 0.14) -> Plane:
    """Return a smooth curve (height, 1) through about the `knots` (y, value), constant beyond the ends."""
    dense = np.arange(-2.5, 4.5, 0.02)
    ys, values = np.array(knots).T
    window = np.hanning(max(3, 2 * round(blur / 0.02) + 1))
    padded = np.pad(np.interp(dense, ys, values), window.size // 2, mode="edge")
    smooth = np.convolve(padded, window / window.sum(), mode="valid")
    return np.interp(canvas.y[:, 0], dense, smooth).astype(np.float32)[:, None]
