"""The lungs of a film: from the answer of the lungs network to mask, box and quality.

The network sees the film squashed to a square of `SIDE` pixels and gives two logits for each pixel: the lung *field* as
people outline it, with the lung behind the heart, and the *aerated* lung, without dense consolidation. The field gives
position and size, the aerated lung gives the grey scale. Everything here is numpy and Pillow, about 1 ms a film.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pneumoscan.imaging.outlines import Mask, filled, outline_of, parts_of

SIDE = 128
"""Side in pixels of the network's input and of every mask."""
MARGIN = 0.05
"""The box is wider than the field by this share of the field's width and height, on each side."""
WHOLE_FILM = (0.0, 0.0, 1.0, 1.0)
SHAPE_FACTS = (
    "aspect", "fill", "apart", "level", "heights", "widths", "least_height", "taper", "aerated", "middle",
    "upright", "aerated_below",
)  # fmt: skip
"""The names of `Quality.shape`, in order."""
# Smaller parts are specks. 64 pixels are 0.4% of the film, a tenth of a small lung.
_LEAST_PART = 64

Box = tuple[float, float, float, float]
"""Left, top, right, bottom as shares of the film's width and height, in [0, 1]."""


@dataclass(frozen=True)
class Quality:
    """Facts that tell the lungs of a chest film from other outlines. No lungs: all 0.

    Attributes:
        share: Area of the field as share of the film, in [0, 1].
        parts: Number of parts of the field, specks left out.
        balance: Area of the smaller lung divided by that of the larger one, in [0, 1]; 0 with one part.
        cut: Share of the field's border that lies on the edge of the film, in [0, 1].
        confidence: Mean of |2p - 1| over the film, weighted by the probability p of the field; in [0, 1].
        upright: By how much the lungs are further apart in the lower third of their height than in the upper third, as share of
            the field's width; above 0 in an upright chest, 0 with one part.
        shape: Facts about the outline that depend neither on its position nor on its size, `SHAPE_FACTS`.
    """

    share: float = 0.0
    parts: int = 0
    balance: float = 0.0
    cut: float = 0.0
    confidence: float = 0.0
    upright: float = 0.0
    shape: tuple[float, ...] = (0.0,) * len(SHAPE_FACTS)


@dataclass(frozen=True)
class Lungs:
    """The lungs of one film.

    Attributes:
        parts: uint8 (SIDE, SIDE): 1 in the patient's right lung (on the left of the film), 2 in the left lung, else 0.
        aerated: uint8 (SIDE, SIDE): probability of aerated lung × 255.
        box: The box of the field with its margin; the whole film if there is no field.
        quality: Facts about the outline.
    """

    parts: npt.NDArray[np.uint8]
    aerated: npt.NDArray[np.uint8]
    box: Box
    quality: Quality

    @cached_property
    def mask(self) -> Mask:
        """The lung field: bool (SIDE, SIDE)."""
        return self.parts > 0

    def outlines(self) -> tuple[npt.NDArray[np.float64], ...]:
        """Return the outline of each lung: float64 (n, 2), x and y as shares of the film, closed."""
        return tuple(outline_of(self.parts == part) for part in (1, 2) if (self.parts == part).any())

    def sides(self) -> tuple[Literal["right", "left"], ...]:
        """Return the side of the patient of each of `outlines`."""
        sides: tuple[tuple[int, Literal["right", "left"]], ...] = ((1, "right"), (2, "left"))
        return tuple(side for part, side in sides if (self.parts == part).any())

    def to_json(self) -> dict[str, Any]:
        """Return box, outlines (lists of x and y), their sides, and quality as JSON types; places are shares, 4 decimals."""
        quality = {key: value for key, value in asdict(self.quality).items() if key != "shape"}
        outlines = [outline.round(4).tolist() for outline in self.outlines()]
        box = [round(side, 4) for side in self.box]
        return {"box": box, "outlines": outlines, "sides": list(self.sides()), "quality": quality}


def find_lungs(logits: npt.NDArray[np.floating], margin: float = MARGIN) -> Lungs:
    """Find the lungs in the answer of the network for one film.

    The field is where its logit is above 0, with holes filled. The two largest parts are kept; parts that touch at a
    corner are one.

    Args:
        logits: float (2, SIDE, SIDE): field, aerated.
        margin: See `MARGIN`.
    """
    # Beyond ±30 the probability is 0 or 1 in float32. In place, because most of the time is memory.
    values = np.clip(logits, -30, 30, dtype=np.float32)
    np.negative(values, out=values)
    np.exp(values, out=values)
    values += 1
    field, aerated = np.reciprocal(values, out=values)
    whole = np.asarray(logits[0]) > 0
    numbers, lengths, count, holes = parts_of(whole, diagonal=True)
    if holes:
        whole = filled(whole)
        numbers, lengths, count, _ = parts_of(whole, diagonal=True)
    areas = np.bincount(numbers, weights=lengths, minlength=count)
    large = np.flatnonzero(areas >= _LEAST_PART)
    kept = large[np.argsort(-areas[large], kind="stable")[:2]]
    confidence = float((field * np.abs(2 * field - 1)).sum() / max(float(field.sum()), 1.0))
    air = (aerated * 255 + 0.5).astype(np.uint8)
    if not len(kept):
        nothing = np.zeros(whole.shape, np.uint8)
        return Lungs(nothing, air, WHOLE_FILM, Quality(confidence=confidence))
    order = np.zeros(count, np.uint8)
    order[kept] = np.arange(1, len(kept) + 1)
    parts = np.zeros(whole.shape, np.uint8)
    parts[whole] = np.repeat(order[numbers], lengths)
    centres = [_centre(parts == number + 1) for number in range(len(kept))]
    if centres[0] > (centres[1] if len(centres) == 2 else logits.shape[-1] / 2):
        parts = np.asarray([0, 2, 1], np.uint8)[parts]
    whole = parts > 0
    rows, columns = np.flatnonzero(whole.any(1)), np.flatnonzero(whole.any(0))
    extent = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    sizes = areas[kept]
    shape = _shape(parts, whole, air, extent)
    quality = Quality(
        share=float(sizes.sum()) / whole.size,
        parts=len(large),
        balance=float(sizes[1] / sizes[0]) if len(sizes) == 2 else 0.0,
        cut=_cut(whole),
        confidence=confidence,
        upright=shape[SHAPE_FACTS.index("upright")],
        shape=shape,
    )
    return Lungs(parts, air, _widened(extent, whole.shape[0], margin), quality)


def shape_distance(
    quality: Quality, mean: npt.NDArray[np.float64], inverse: npt.NDArray[np.float64]
) -> float:
    """Return how far an outline is from those of chest films: the Mahalanobis distance of its shape, divided by √k.

    Args:
        quality: Its `shape` has k facts.
        mean: float64 (k,), of the shapes of chest films; see `fit_shapes`.
        inverse: float64 (k, k): inverse of their covariance.
    """
    away = np.asarray(quality.shape) - mean
    return float(np.sqrt(max(0.0, float(away @ inverse @ away)) / len(away)))


def fit_shapes(
    shapes: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return mean (k,) and inverse covariance (k, k) of shapes (n, k) for `shape_distance`."""
    covariance = np.cov(shapes, rowvar=False)
    # A fact that never varies would make every other value infinitely unusual.
    floor = np.diag(np.maximum(np.diag(covariance) * 0.05, 1e-6))
    return shapes.mean(0), np.linalg.inv(covariance + floor)


def _counts(mask: Mask, axis: int) -> npt.NDArray[np.int64]:
    """Return how many pixels of each column (axis 0) or row (axis 1) are set: at most `SIDE`, so bytes are enough and fast."""
    counts: npt.NDArray[np.int64] = np.add.reduce(mask.view(np.uint8), axis, dtype=np.uint8).astype(np.int64)
    return counts


def _centre(mask: Mask) -> float:
    """Return the mean column of a mask, in pixels from the left edge."""
    columns = _counts(mask, 0)
    return float(columns @ np.arange(0.5, len(columns)) / columns.sum())


def _cut(mask: Mask) -> float:
    """Return the share of the border of a mask that lies on the edge of the film, counted in sides of pixels."""
    on_edge = sum(map(np.count_nonzero, (mask[0], mask[-1], mask[:, 0], mask[:, -1])))
    within = np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1])
    return on_edge / (on_edge + within)


def _share(part: Mask, of: Mask) -> float:
    return np.count_nonzero(part) / np.count_nonzero(of)


def _shape(
    parts: npt.NDArray[np.uint8], whole: Mask, air: npt.NDArray[np.uint8], extent: tuple[int, int, int, int]
) -> tuple[float, ...]:
    """Return `SHAPE_FACTS`; lengths are relative to the extent of the field, so that position and size do not count."""
    left, top, right, bottom = extent
    width, height = right - left, bottom - top
    whole = whole[top:bottom, left:right]
    area = np.count_nonzero(whole)
    sides = []
    for side in (1, 2):
        mask = parts[top:bottom, left:right] == side
        across, down = _counts(mask, 0), _counts(mask, 1)
        total = int(down.sum())
        if not total:
            continue
        x = float(across @ np.arange(width)) / total / width
        y = float(down @ np.arange(height)) / total / height
        rows = np.flatnonzero(down)
        third = max(1, (rows[-1] + 1 - rows[0]) // 3)
        below, above = mask[rows[-1] + 1 - third : rows[-1] + 1], mask[rows[0] : rows[0] + third]
        slant = (_centre(below) - _centre(above)) / width
        sides.append((x, y, np.count_nonzero(across) / width, len(rows) / height, slant))
    (x0, y0, w0, h0, slant0), (x1, y1, w1, h1, slant1) = sides[0], sides[-1]
    quarter = max(1, height // 4)
    upper, lower = np.count_nonzero(whole[:quarter]), np.count_nonzero(whole[-quarter:])
    half = max(1, height // 2)
    aerated = (air[top:bottom, left:right] > 127) & whole
    gap = whole[:, round(width * 0.42) : max(round(width * 0.58), round(width * 0.42) + 1)]
    return (
        float(np.log(width / height)),
        float(area / (width * height)),
        x1 - x0,
        abs(y1 - y0),
        float(abs(h1 - h0)),
        float(abs(w1 - w0)),
        float(min(h0, h1)),
        float(np.log((upper + 1) / (lower + 1))),
        np.count_nonzero(aerated) / area,
        np.count_nonzero(gap) / gap.size,
        slant1 - slant0,
        _share(aerated[-half:], whole[-half:]) - _share(aerated[:half], whole[:half]),
    )


def _widened(extent: tuple[int, int, int, int], side: int, margin: float) -> Box:
    """Return an extent in pixels as a box, wider by the margin and clipped to the film."""
    left, top, right, bottom = (float(value) for value in extent)
    across, down = margin * (right - left), margin * (bottom - top)
    return (
        max(0.0, left - across) / side,
        max(0.0, top - down) / side,
        min(float(side), right + across) / side,
        min(float(side), bottom + down) / side,
    )
