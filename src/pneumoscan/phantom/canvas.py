"""The projection plane of a synthetic film, the shapes of its parts, and trees of vessels and bronchi.

Lengths are in *chest units*: 1 is the inner half-width of the rib cage. x runs to the picture's right (the patient's
left), y downwards from the apex of the lungs. Every part is a path length in these units, so parts can be added and
subtracted before the beam passes through them.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

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


# Trees that grow from the root of a lung outwards: vessels, bronchi and the streaks along them


Points = npt.NDArray[np.float64]

_SCALE = 2


@dataclass(frozen=True)
class Branch:
    """One piece of a tree.

    Attributes:
        points: float64 (n, 2), x and y along the branch in chest units.
        width: Diameter in chest units.
        strength: Path through it relative to the stem, 0 to 1.
    """

    points: npt.NDArray[np.float64]
    width: float
    strength: float


def grow_tree(
    rng: np.random.Generator,
    root: tuple[float, float],
    *,
    side: int,
    stems: int,
    width: float,
    order: int = 3,
) -> list[Branch]:
    """Grow a tree from `root` into the lung of one side (-1 the picture's left, +1 its right).

    Args:
        rng: Random generator.
        root: x and y of the hilum in chest units.
        side: -1 or +1.
        stems: Number of branches at the root.
        width: Diameter of a stem in chest units; children are thinner by a third or more.
        order: Number of divisions of a branch.
    """
    angles = np.linspace(-1.25, 1.35, stems) + rng.normal(0, 0.2, stems)
    starts = np.array(root) + rng.normal(0, 0.035, (stems, 2))
    widths, length, strength = width * rng.uniform(0.55, 1.2, stems), 0.3, 1.0
    branches: list[Branch] = []
    for _ in range(order + 1):
        paths, turns = _stretch(rng, starts, angles, side, length)
        branches += [Branch(path, wide, strength) for path, wide in zip(paths, widths.tolist(), strict=True)]
        forks = rng.uniform(0.2, 0.6, (2, angles.size)) * np.array([[-1], [1]])
        angles, starts = (turns + forks).ravel(), np.tile(paths[:, -1], (2, 1))
        widths, length, strength = np.tile(widths * 0.68, 2), length * 0.76, strength * 0.74
    return branches


def _stretch(
    rng: np.random.Generator, starts: Points, angles: npt.NDArray[np.float64], side: int, length: float
) -> tuple[Points, npt.NDArray[np.float64]]:
    """Return wandering paths (n, 6, 2) from `starts` (n, 2) and the angles (n,) that they end with."""
    steps = 5
    turns = angles[:, None] + np.cumsum(rng.normal(0, 0.13, (angles.size, steps)), axis=1)
    lengths = length * rng.uniform(0.6, 1.35, (angles.size, 1)) / steps
    strides = np.stack([side * np.cos(turns), np.sin(turns)], axis=2) * lengths[..., None]
    paths = np.concatenate([starts[:, None], starts[:, None] + np.cumsum(strides, axis=1)], axis=1)
    return paths, turns[:, -1]


def draw_branches(canvas: Canvas, branches: list[Branch]) -> Plane:
    """Draw a tree; float32 (height, width), 0 where there is none, up to 1 in its stems."""
    picture = Image.new("L", (canvas.width * _SCALE, canvas.height * _SCALE))
    pen = ImageDraw.Draw(picture)
    for branch in sorted(branches, key=lambda branch: branch.strength):
        pixels = canvas.to_pixels(branch.points, _SCALE)
        wide = branch.width / canvas.pitch * _SCALE
        # A line cannot be thinner than a pixel; it becomes paler instead.
        grey = round(255 * branch.strength * min(1.0, wide))
        pen.line(
            [tuple(point) for point in pixels.tolist()], fill=grey, width=max(1, round(wide)), joint="curve"
        )
    small = picture.reduce(_SCALE)
    return np.asarray(small, dtype=np.float32) / 255
