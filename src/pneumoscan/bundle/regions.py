"""Regions: where in the lungs the evidence for PNEUMONIA lies, as outlines, and how much of each lung field they cover.

A region is a connected part of one lung in which every place of the map of evidence reaches the level of the model. The level is
chosen on held-out films with boxes of radiologists, and how often regions lie in such boxes is measured (`studies/regions.py`); both
are `regions` in `model.json`. A region is not a segmentation of a disease.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pneumoscan.bundle.heatmap import Evidence, check_has_map, evidence_of, to_film
from pneumoscan.bundle.load import Bundle
from pneumoscan.bundle.spec import BundleSpec
from pneumoscan.errors import UsageError
from pneumoscan.imaging.lungs import SIDE, Box, Lungs
from pneumoscan.imaging.outlines import pieces_of

LEVEL = 1.0
"""The level of a model whose `model.json` has none."""
LEAST_SHARE = 0.05
"""Smaller shares of the evidence are no region."""
SHOWN = frozenset({"PNEUMONIA", "UNSURE"})
"""The labels of films that have regions unless more is asked for."""
NOT_MEASURED = "How often these regions lie where radiologists see an opacity has not been measured."

Side = Literal["right", "left"]


@dataclass(frozen=True)
class Region:
    """One region of evidence. Places are shares of the film's width and height, in [0, 1].

    Attributes:
        side: The patient's lung, `right` (on the left of the film) or `left`.
        share: Share of the positive evidence of the whole map that lies here, in [0, 1].
        area: Share of this lung field that the region covers, in [0, 1].
        outline: float64 (n, 2), x and y, closed.
        box: The box around the outline.
        peak: x and y of the place with the most evidence.
    """

    side: Side
    share: float
    area: float
    outline: npt.NDArray[np.float64] = field(repr=False)
    box: Box
    peak: tuple[float, float]

    def pixels(self, width: int, height: int) -> npt.NDArray[np.float64]:
        """Return the outline in pixels of a film of that size, float64 (n, 2); the corner of its first pixel is (0, 0)."""
        return self.outline * (width, height)


@dataclass(frozen=True)
class Regions:
    """The regions of one film.

    Attributes:
        regions: By share of the evidence, the largest first; empty for a film that has none or was not asked for them.
        right: Share of the right lung field with evidence: what its regions cover, in [0, 1]; None if there is no right lung,
            or if the film was not asked for regions.
        left: The same for the left lung.
    """

    regions: tuple[Region, ...] = ()
    right: float | None = None
    left: float | None = None

    def to_json(self, size: tuple[int, int] | None = None) -> dict[str, Any]:
        """Return JSON types: shares with 4 decimals and, for a film of a size, pixels with 1 decimal.

        Args:
            size: Width and height of the upright film in pixels; None for no pixels.
        """
        shares = {
            f"{side}_lung_with_evidence": None if value is None else round(value, 4)
            for side, value in (("right", self.right), ("left", self.left))
        }
        regions = []
        for one in self.regions:
            told = {
                "side": one.side,
                "share": round(one.share, 4),
                "area": round(one.area, 4),
                "box": [round(value, 4) for value in one.box],
                "outline": one.outline.round(4).tolist(),
            }
            if size is not None:
                ends = zip(one.box, size * 2, strict=True)
                told["box_pixels"] = [round(value * side, 1) for value, side in ends]
                told["outline_pixels"] = one.pixels(*size).round(1).tolist()
            regions.append(told)
        return {"regions": regions, **shares}


def check_has_regions(bundle: Bundle) -> None:
    """Raise UsageError if the model has no map of evidence or does not look for the lungs."""
    check_has_map(bundle)
    if bundle.spec.lungs is None:
        raise UsageError(
            f"model {bundle.spec.name} has no lungs network, so it cannot show regions in them.",
            "Leave out the regions, or use a model whose bundle has lungs.onnx.",
        )


def regions_of(
    bundle: Bundle,
    label: str,
    activation_map: npt.NDArray[np.floating[Any]] | None,
    lungs: Lungs | None,
    *,
    always: bool = False,
) -> Regions | None:
    """Return the regions of a film that was read.

    Args:
        bundle: The model.
        label: Of the film. One that is neither PNEUMONIA nor UNSURE has no regions.
        activation_map: Of the film, before the temperature.
        lungs: Of the film.
        always: Also for NORMAL films. NOT_A_CHEST_FILM never has regions.

    Returns:
        None if the model has no map, or does not look for the lungs.
    """
    if activation_map is None or lungs is None:
        return None
    if not (label in SHOWN or (always and label == "NORMAL")):
        return Regions()
    return regions_in(evidence_of(bundle, activation_map, lungs), lungs, level_of(bundle.spec))


def level_of(spec: BundleSpec) -> float:
    """Return the evidence from which a place belongs to a region, a logit after the temperature."""
    return LEVEL if spec.regions is None else float(spec.regions["level"])


def regions_in(evidence: Evidence, lungs: Lungs, level: float) -> Regions:
    """Return the regions of a map of evidence.

    Args:
        evidence: The map.
        lungs: The lungs of the film.
        level: Evidence from which a place belongs to a region, above 0.
    """
    values = to_film(evidence.values, evidence.box, (SIDE, SIDE))
    positive = np.maximum(values, 0)
    total = float(positive.sum(dtype=np.float64))
    found: list[Region] = []
    covered: dict[Side, float | None] = {}
    sides: tuple[tuple[Side, int], ...] = (("right", 1), ("left", 2))
    for side, part in sides:
        lung = lungs.parts == part
        size = int(lung.sum())
        regions = [
            _region(side, piece & lung, outline, values, total, size)
            for piece, outline in pieces_of((values >= level) & lung)
        ]
        kept = [one for one in regions if one.share >= LEAST_SHARE]
        covered[side] = min(1.0, sum(one.area for one in kept)) if size else None
        found += kept
    found.sort(key=lambda one: -one.share)
    return Regions(tuple(found), covered["right"], covered["left"])


def _region(
    side: Side,
    mask: npt.NDArray[np.bool_],
    outline: npt.NDArray[np.float64],
    values: npt.NDArray[np.float32],
    total: float,
    size: int,
) -> Region:
    row, column = divmod(int(np.where(mask, values, -np.inf).argmax()), mask.shape[1])
    inside = float(np.maximum(values, 0)[mask].sum(dtype=np.float64))
    (left, top), (right, bottom) = outline.min(0).tolist(), outline.max(0).tolist()
    return Region(
        side=side,
        share=inside / total,
        area=int(mask.sum()) / size,
        outline=outline,
        box=(left, top, right, bottom),
        peak=((column + 0.5) / mask.shape[1], (row + 0.5) / mask.shape[0]),
    )


def measured_in_words(spec: BundleSpec) -> tuple[str, ...]:
    """Return what was measured about the regions of a model against boxes of radiologists, a sentence for each set of films."""
    if spec.regions is None or not spec.regions["measured"]:
        return (NOT_MEASURED,)
    return tuple(
        f"On {100 * one['hottest_in_a_box']:.0f}% of {one['n']} {one['films']}, the place with the most evidence lies in a box that a "
        f"radiologist drew (a random place in the lungs: {100 * one['random_in_a_box']:.0f}%); regions and boxes overlap by "
        f"{100 * one['overlap']:.0f}%."
        for one in spec.regions["measured"]
    )
