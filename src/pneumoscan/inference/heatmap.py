"""Where in a film the evidence lies: the network's activation map over the film, as one picture for people.

What is drawn is the network's own sum, not a guess from outside: each place of the map is a logit, and their mean over the
film is the film's logit (global average pooling of class activations: B. Zhou et al., CVPR 2016, section 2). Colours
mean the same on every film; nothing is stretched to the film's own highest value, so a film without evidence stays grey.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops

from pneumoscan.errors import UsageError
from pneumoscan.imaging import Film
from pneumoscan.inference.bundle import Bundle
from pneumoscan.inference.outputs import MAP_OUTPUT
from pneumoscan.inference.rows import outputs_of_film

FULL_SCALE = 12.0
LEAST_SIDE, MOST_SIDE = 512, 1600
# Lightness rises all the way, so the order is seen without telling red from green.
ANCHORS = ((0.0, (60, 15, 110)), (0.35, (165, 40, 105)), (0.7, (243, 120, 40)), (1.0, (255, 236, 120)))
_OPAQUE = 0.68
_SHADE = [round(255 * (0.45 + 0.55 * value / 255)) for value in range(256)]

Map = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Evidence:
    """An activation map on the scale of the drawn colours.

    Attributes:
        values: float32 (h, w): logits after the temperature, over the whole film; above 0 speaks for PNEUMONIA.
        full_scale: The value that gets the last colour; what is above gets it too.
    """

    values: npt.NDArray[np.float32]
    full_scale: float = FULL_SCALE


def check_has_map(bundle: Bundle) -> None:
    """Raise UsageError unless the model tells where its answer comes from."""
    if MAP_OUTPUT not in bundle.spec.outputs:
        raise UsageError(
            f"model {bundle.spec.name} gives no {MAP_OUTPUT}, so there is nothing to draw.",
            "Leave the heatmaps out, or use a model whose model.json lists that output.",
        )


def map_of_film(bundle: Bundle, film: Film) -> npt.NDArray[np.float32]:
    """Return the activation map of one film: float32 (h, w), before the temperature.

    Raises:
        UsageError: The model has none.
        BundleError: The network does not run.
    """
    check_has_map(bundle)
    one = outputs_of_film(bundle, film).activation_map
    assert one is not None
    found: npt.NDArray[np.float32] = one[0]
    return found


def evidence_of(bundle: Bundle, activation_map: Map) -> Evidence:
    """Bring a map of this model to the scale of the colours.

    Args:
        bundle: Its `temperature` divides the map. `training.map_full_scale`, if the model tells it, is the end of the
            scale, else `FULL_SCALE`.
        activation_map: (h, w), before the temperature.
    """
    told = bundle.spec.training.get("map_full_scale")
    full = float(told) if isinstance(told, int | float) and 0 < told < np.inf else FULL_SCALE
    return Evidence((np.asarray(activation_map) / bundle.spec.temperature).astype(np.float32), full)


def overlay(film: Film, evidence: Evidence, size: tuple[int, int] | None = None) -> Image.Image:
    """Return the film with the evidence for PNEUMONIA in colour.

    The map covers the square that the film was squashed to; it is drawn back to the film's own shape, smoothly
    (bicubic). What speaks against PNEUMONIA is not drawn.

    Args:
        film: As it was read.
        evidence: See `evidence_of`.
        size: Width and height of the picture in pixels; by default `shown_size(film)`.

    Returns:
        RGB, of that size.
    """
    shown = size or shown_size(film)
    return coloured(grey_of(film, shown), levels(evidence, shown))


def transparency(film: Film, evidence: Evidence) -> Image.Image:
    """Return the colours of `overlay` alone, to be laid over the film by whoever shows it.

    Colour and opacity are those of `coloured`, without the shade that the film gives them there: the film underneath may be
    shown in another window, or inverted. Where nothing speaks for PNEUMONIA the picture is clear.

    Args:
        film: As it was read; gives the shape.
        evidence: See `evidence_of`.

    Returns:
        RGBA, in the film's shape with its longer side 512.
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
    """Return width and height at which a film is drawn: its own, its longer side from 512 to 1600."""
    longer = max(film.width, film.height)
    factor = min(max(longer, LEAST_SIDE), MOST_SIDE) / longer
    return max(1, round(film.width * factor)), max(1, round(film.height * factor))


def grey_of(film: Film, size: tuple[int, int]) -> Image.Image:
    """Return the film as an 8-bit grey picture of a size (width, height)."""
    image = Image.fromarray(film.pixels)
    if image.size == size:
        return image
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def levels(evidence: Evidence, size: tuple[int, int]) -> Image.Image:
    """Return the evidence as 8-bit grey of a size: 0 for none or against, 255 for the full scale and above."""
    values = evidence.values
    wide = np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BICUBIC))
    # The bicubic filter overshoots: no place may show more than the map has anywhere.
    level = wide.clip(max(0.0, float(values.min())), max(0.0, float(values.max()))) * (
        255 / evidence.full_scale
    )
    return Image.fromarray(level.clip(0, 255).astype(np.uint8))


def coloured(grey: Image.Image, level: Image.Image) -> Image.Image:
    """Lay the colours of `levels` over a grey picture of the same size; return RGB."""
    colours, opacity = _tables()
    paint = level.copy()
    paint.putpalette(colours)
    # Shaded by the film itself: ribs and vessels stay visible under the strongest colour.
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
