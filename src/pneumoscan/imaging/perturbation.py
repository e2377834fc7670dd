"""The ten fixed perturbations of the stress test: a film as another machine, collimation or program would show it.

Each is a pure function on the original pixels, before any preprocessing, so it means the same for films of every size and
for every model. None adds or removes disease. All are deterministic.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from pneumoscan.imaging.film import Film

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Perturbation:
    """One change of the appearance of a film.

    Attributes:
        name: Name in tables, in snake case.
        description: A few words.
        change: Takes uint8 pixels (h, w) and returns new uint8 pixels, of another size if it crops or pads.
    """

    name: str
    description: str
    change: Callable[[Pixels], Pixels]

    def apply(self, film: Film) -> Film:
        """Return the film with changed pixels and the same source."""
        return film.changed(self.change)


def crop(pixels: Pixels, *, keep: float) -> Pixels:
    """Return the centre of a film: the share `keep` in (0, 1] of each side, at least one pixel."""
    rows, columns = (_middle(length, keep) for length in pixels.shape)
    return pixels[rows, columns].copy()


def pad(pixels: Pixels, *, by: float) -> Pixels:
    """Return the film in a black frame whose width at each edge is the share `by` of that side."""
    rows, columns = (round(length * by) for length in pixels.shape)
    return np.pad(pixels, ((rows, rows), (columns, columns)))


def bend(pixels: Pixels, *, gamma: float) -> Pixels:
    """Return the film with grey values v^gamma, v in [0, 1]: below 1 brighter, above 1 darker."""
    levels = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return levels[pixels]


def mask_border(pixels: Pixels, *, share: float) -> Pixels:
    """Return the film with a black border whose width at each edge is the share `share` of that side."""
    rows, columns = (_middle(length, 1 - 2 * share) for length in pixels.shape)
    masked = np.zeros_like(pixels)
    masked[rows, columns] = pixels[rows, columns]
    return masked


def blur(pixels: Pixels, *, share: float) -> Pixels:
    """Return the film blurred by a Gaussian with σ = `share` of the shorter side.

    Pillow's Gaussian is three box filters (P. Gwosdek et al., Theoretical Foundations of Gaussian Convolution by
    Extended Box Filtering, SSVM 2011): its time does not depend on σ.
    """
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(share * min(pixels.shape))))


def flip(pixels: Pixels) -> Pixels:
    """Return the film mirrored left to right, the heart on the other side."""
    return pixels[:, ::-1].copy()


def narrow(pixels: Pixels, *, to: float) -> Pixels:
    """Return the film compressed to the share `to` of its width, with black at both sides, at the same size."""
    height, width = pixels.shape
    columns = _middle(width, to)
    squeezed = Image.fromarray(pixels).resize(
        (columns.stop - columns.start, height), Image.Resampling.BILINEAR
    )
    narrowed = np.zeros_like(pixels)
    narrowed[:, columns] = np.asarray(squeezed)
    return narrowed


def _middle(length: int, share: float) -> slice:
    """Return the central `share` of a side; of an odd remainder the larger half comes after it."""
    kept = max(1, round(length * share))
    start = (length - kept) // 2
    return slice(start, start + kept)


PERTURBATIONS: tuple[Perturbation, ...] = (
    Perturbation("crop_85", "the middle 85% of each side", partial(crop, keep=0.85)),
    Perturbation("crop_70", "the middle 70% of each side", partial(crop, keep=0.7)),
    Perturbation("pad_10", "black added, 10% of the side at each edge", partial(pad, by=0.1)),
    Perturbation("pad_20", "black added, 20% of the side at each edge", partial(pad, by=0.2)),
    Perturbation("gamma_0_6", "brighter, gamma 0.6", partial(bend, gamma=0.6)),
    Perturbation("gamma_1_7", "darker, gamma 1.7", partial(bend, gamma=1.7)),
    Perturbation(
        "border_masked", "the outer 10% of the side black at each edge", partial(mask_border, share=0.1)
    ),
    Perturbation("blurred", "Gaussian blur, σ 1% of the shorter side", partial(blur, share=0.01)),
    Perturbation("flipped", "mirrored left to right", flip),
    Perturbation("narrowed", "squeezed to 80% of the width, black at both sides", partial(narrow, to=0.8)),
)
