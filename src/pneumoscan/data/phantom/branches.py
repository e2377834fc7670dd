"""Trees that grow from the root of a lung outwards: vessels, bronchi and the streaks along them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from pneumoscan.data.phantom.canvas import Canvas, Plane

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
