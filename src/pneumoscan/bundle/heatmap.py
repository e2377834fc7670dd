"""Heatmaps: the class activation map of the network, drawn over the film.

The map is part of the network and not an approximation. Each position is a logit, and their mean is the logit of the film
(global average pooling of class activations: B. Zhou et al., CVPR 2016, section 2). Colours mean the same on every film.
They are not stretched to the maximum of the film, so a film without evidence stays grey.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops

from pneumoscan.bundle.checks import MAP_OUTPUT
from pneumoscan.bundle.load import Bundle
from pneumoscan.errors import UsageError
from pneumoscan.imaging import Film
from pneumoscan.imaging.lungs import WHOLE_FILM, Box, Lungs

FULL_SCALE = 12.0
LEAST_SIDE, MOST_SIDE = 512, 1600
# Lightness rises monotonically, so the order is visible with colour blindness.
ANCHORS = ((0.0, (60, 15, 110)), (0.35, (165, 40, 105)), (0.7, (243, 120, 40)), (1.0, (255, 236, 120)))
_OPAQUE = 0.68
_SHADE = [round(255 * (0.45 + 0.55 * value / 255)) for value in range(256)]

Map = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Evidence:
    """An activation map on the scale of the drawn colours.

    Attributes:
        values: float32 (h, w): logits after the temperature, over `box`; above 0 is evidence for PNEUMONIA.
        full_scale: The value of the last colour, which higher values get too.
        box: Where on the film the values lie: the box of the lungs for a model that reads them.
    """

    values: npt.NDArray[np.float32]
    full_scale: float = FULL_SCALE
    box: Box = WHOLE_FILM


def check_has_map(bundle: Bundle) -> None:
    """Raise UsageError if the model has no activation map."""
    if MAP_OUTPUT not in bundle.spec.outputs:
        raise UsageError(
            f"model {bundle.spec.name} has no output {MAP_OUTPUT}, so it cannot draw heatmaps.",
            "Leave out the heatmaps, or use a model whose model.json lists this output.",
        )


def map_of_film(bundle: Bundle, film: Film) -> npt.NDArray[np.float32]:
    """Return the activation map of one film: float32 (h, w), before the temperature, over the film or the box of its lungs.

    Raises:
        UsageError: The model has none.
        BundleError: The network does not run.
    """
    check_has_map(bundle)
    one = bundle.run(bundle.input_of(film)[0]).activation_map
    assert one is not None
    found: npt.NDArray[np.float32] = one[0]
    return found


def evidence_of_film(bundle: Bundle, film: Film) -> Evidence:
    """Return the evidence of one film, with its place on the film; raises the errors of `map_of_film`."""
    check_has_map(bundle)
    batch, lungs = bundle.input_of(film)
    maps = bundle.run(batch).activation_map
    assert maps is not None
    return evidence_of(bundle, maps[0], lungs)


def evidence_of(bundle: Bundle, activation_map: Map, lungs: Lungs | None = None) -> Evidence:
    """Scale a map of this model for the colours.

    Args:
        bundle: Its `temperature` divides the map. The end of the scale is its `training.map_full_scale`, or else
            `FULL_SCALE`.
        activation_map: (h, w), before the temperature.
        lungs: The lungs of the film, if the bundle found them.
    """
    scale = bundle.spec.training.get("map_full_scale")
    full = float(scale) if isinstance(scale, int | float) and 0 < scale < np.inf else FULL_SCALE
    values = (np.asarray(activation_map) / bundle.spec.temperature).astype(np.float32)
    inside = lungs is not None and bundle.spec.preprocessing.input == "lungs"
    return Evidence(values, full, lungs.box if inside and lungs else WHOLE_FILM)


def overlay(film: Film, evidence: Evidence, size: tuple[int, int] | None = None) -> Image.Image:
    """Return the film with the evidence for PNEUMONIA in colour.

    The map covers the square to which the film, or the box of its lungs, was resized. It is resized back with bicubic
    interpolation; outside of the box there is no evidence. Evidence against PNEUMONIA is not drawn.

    Args:
        film: The film.
        evidence: See `evidence_of`.
        size: Width and height of the image in pixels; by default `shown_size(film)`.

    Returns:
        RGB, of that size.
    """
    shown = size or shown_size(film)
    return coloured(grey_of(film, shown), levels(evidence, shown))


def transparency(film: Film, evidence: Evidence) -> Image.Image:
    """Return the colours of `overlay` without the film, for a viewer that shows the film below.

    Colour and opacity are those of `coloured`, without the shading by the film, because the viewer may use another window
    or invert the film. The image is transparent where there is no evidence for PNEUMONIA.

    Args:
        film: The film, which determines the shape.
        evidence: See `evidence_of`.

    Returns:
        RGBA in the shape of the film, with a longer side of 512 pixels.
    """
    factor = LEAST_SIDE / max(film.width, film.height)
    size = max(1, round(film.width * factor)), max(1, round(film.height * factor))
    level = levels(evidence, size)
    colours, opacity = _tables()
    paint = level.copy()
    paint.putpalette(colours)
    picture = paint.convert("RGB")
    picture.putalpha(level.point(opacity))
    return picture


def shown_size(film: Film) -> tuple[int, int]:
    """Return width and height for drawing a film: its own, with the longer side limited to 512 to 1600."""
    longer = max(film.width, film.height)
    factor = min(max(longer, LEAST_SIDE), MOST_SIDE) / longer
    return max(1, round(film.width * factor)), max(1, round(film.height * factor))


def grey_of(film: Film, size: tuple[int, int]) -> Image.Image:
    """Return the film as an 8-bit grey image of a size (width, height)."""
    image = Image.fromarray(film.pixels)
    if image.size == size:
        return image
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def levels(evidence: Evidence, size: tuple[int, int]) -> Image.Image:
    """Return the evidence as 8-bit grey of a size: 0 for none or negative, 255 for the full scale and above."""
    level = to_film(evidence.values, evidence.box, size) * (255 / evidence.full_scale)
    return Image.fromarray(level.clip(0, 255).astype(np.uint8))


def to_film(values: npt.NDArray[np.float32], box: Box, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Map an activation map of the box to the film: the inverse of `lung_crop`.

    Args:
        values: float32 (h, w), over the box.
        box: Where the map lies; `WHOLE_FILM` for a model that reads whole films.
        size: Width and height of the result in pixels, which covers the whole film.

    Returns:
        float32 (height, width), bicubic within the range of `values`; 0 outside of the box.
    """
    width, height = size
    left, right = round(box[0] * width), round(box[2] * width)
    top, bottom = round(box[1] * height), round(box[3] * height)
    inner = max(1, right - left), max(1, bottom - top)
    wide = np.asarray(Image.fromarray(values).resize(inner, Image.Resampling.BICUBIC))
    # The bicubic filter overshoots; no position may exceed the range of the map.
    wide = wide.clip(float(values.min()), float(values.max()))
    if box == WHOLE_FILM:
        return wide
    film = np.zeros((height, width), np.float32)
    film[top : top + inner[1], left : left + inner[0]] = wide[: height - top, : width - left]
    return film


def coloured(grey: Image.Image, level: Image.Image) -> Image.Image:
    """Draw the colours of `levels` over a grey image of the same size; return RGB."""
    colours, opacity = _tables()
    paint = level.copy()
    paint.putpalette(colours)
    # Shaded by the film, so that ribs and vessels stay visible under the strongest colour.
    shade = grey.point(_SHADE).convert("RGB")
    return Image.composite(
        ImageChops.multiply(paint.convert("RGB"), shade), grey.convert("RGB"), level.point(opacity)
    )


@lru_cache(maxsize=1)
def _tables() -> tuple[list[int], list[int]]:
    """Return the colour (256 × 3 numbers) and the opacity (256) of every level, all from 0 to 255."""
    at = np.linspace(0, 1, 256)
    places = [place for place, _ in ANCHORS]
    channels = [np.interp(at, places, [colour[i] for _, colour in ANCHORS]) for i in range(3)]
    colours = np.stack(channels, axis=1).round().astype(int).ravel().tolist()
    return colours, (at**0.8 * _OPAQUE * 255).round().astype(int).tolist()
