"""Pictures of the lungs that a model finds: the mask, and the outline over the film."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from pneumoscan.errors import UsageError
from pneumoscan.imaging import Film
from pneumoscan.imaging.lungs import Lungs
from pneumoscan.inference.bundle import Bundle
from pneumoscan.inference.heatmap import grey_of, shown_size
from pneumoscan.inference.rows import PredictionRow

RIGHT_COLOUR, LEFT_COLOUR, BOX_COLOUR = (255, 214, 64), (64, 214, 255), (255, 96, 96)
"""Colours of the patient's right lung, the left lung, and the box."""


def check_has_lungs(bundle: Bundle) -> None:
    """Raise UsageError if the model has no lungs network."""
    if bundle.spec.lungs is None:
        raise UsageError(
            f"model {bundle.spec.name} has no lungs network, so it cannot show lungs.",
            "Leave out the lungs, or use a model whose bundle has lungs.onnx.",
        )


def lungs_of_film(bundle: Bundle, film: Film) -> Lungs:
    """Return the lungs of one film.

    Raises:
        UsageError: The model has no lungs network.
        BundleError: The network does not run.
    """
    check_has_lungs(bundle)
    found = bundle.lungs_of(film)
    assert found is not None
    return found


def masks_of(bundle: Bundle) -> Callable[[Film, PredictionRow], Image.Image]:
    """Return the function that draws the lung field of a film, white on black, in the size of the film."""
    check_has_lungs(bundle)
    return lambda film, _: mask_picture(film, lungs_of_film(bundle, film))


def outlines_of(bundle: Bundle) -> Callable[[Film, PredictionRow], Image.Image]:
    """Return the function that draws a film with the outlines of its lungs and the box."""
    check_has_lungs(bundle)
    return lambda film, _: outline_picture(film, lungs_of_film(bundle, film))


def mask_picture(film: Film, lungs: Lungs) -> Image.Image:
    """Return the lung field, 255 on 0, 8-bit grey in the size of the film."""
    small = Image.fromarray(lungs.mask.astype(np.uint8) * np.uint8(255))
    return small.resize((film.width, film.height), Image.Resampling.BILINEAR).point(
        lambda level: 255 * (level > 127)
    )


def outline_picture(film: Film, lungs: Lungs) -> Image.Image:
    """Return the film with the outline of each lung and the box, RGB, its longer side 512 to 1600 pixels."""
    shown = shown_size(film)
    picture = grey_of(film, shown).convert("RGB")
    pen, width = ImageDraw.Draw(picture), max(2, max(shown) // 400)
    for outline, part in zip(lungs.outlines(), np.unique(lungs.parts[lungs.mask]).tolist(), strict=True):
        corners = [(float(x), float(y)) for x, y in outline * shown]
        pen.line([*corners, corners[0]], fill=RIGHT_COLOUR if part == 1 else LEFT_COLOUR, width=width)
    if lungs.quality.parts:
        left, top, right, bottom = (
            share * (side - 1) for share, side in zip(lungs.box, (*shown, *shown), strict=True)
        )
        pen.rectangle((left, top, right, bottom), outline=BOX_COLOUR, width=max(1, width // 2))
    return picture
