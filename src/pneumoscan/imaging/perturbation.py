"""The same film as another machine, another cutting or another program would show it: ten fixed changes.

Each is a pure function on a film's own pixels, before any preprocessing, so it means the same for films of every size
and for every model. None of them adds or removes disease. There is no chance in them: the same film gives the same
bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from pneumoscan.imaging.film import Film

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Perturbation:
    """One change of a film's look.

    Attributes:
        name: In snake case; stands in tables.
        description: What is done, a few words.
        change: Takes uint8 pixels (h, w) and returns new uint8 pixels, of another size where it crops or pads.
    """

    name: str
    description: str
    change: Callable[[Pixels], Pixels]

    def apply(self, film: Film) -> Film:
        """Return the film with its pixels changed; where it came from stays as it is."""
        return replace(film, pixels=self.change(film.pixels))


def crop(pixels: Pixels, *, keep: float) -> Pixels:
    """Return the middle of a film: the share `keep` in (0, 1] of each side, at least one pixel."""
    rows, columns = (_middle(length, keep) for length in pixels.shape)
    return pixels[rows, columns].copy()


def pad(pixels: Pixels, *, by: float) -> Pixels:
    """Return the film in a black frame; at each edge it is the share `by` of that side wide."""
    rows, columns = (round(length * by) for length in pixels.shape)
    return np.pad(pixels, ((rows, rows), (columns, columns)))


def bend(pixels: Pixels, *, gamma: float) -> Pixels:
    """Return the film with grey values v^gamma, v in [0, 1]: below 1 brighter, above 1 darker."""
    levels = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return levels[pixels]


def mask_border(pixels: Pixels, *, share: float) -> Pixels:
    """Return the film with its border black; at each edge the share `share` of that side."""
    rows, columns = (_middle(length, 1 - 2 * share) for length in pixels.shape)
    masked = np.zeros_like(pixels)
    masked[rows, columns] = pixels[rows, columns]
    return masked


def blur(pixels: Pixels, *, share: float) -> Pixels:
    """Return the film blurred by a Gaussian with σ = `share` of the shorter side.

    Pillow's Gaussian is three box filters (P. Gwosdek et al., Theoretical Foundations of Gaussian Convolution by
    Extended Box Filtering, SSVM 2011): its time does not grow with σ.
    """
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(share * min(pixels.shape))))


def flip(pixels: Pixels) -> Pixels:
    """Return the film mirrored left to right, the heart on the other side."""
    return pixels[:, ::-1].copy()


def narrow(pixels: Pixels, *, to: float) -> Pixels:
    """Return a film of the same size whose picture has the share `to` of the width, with black at both sides."""
    height, width = pixels.shape
    columns = _middle(width, to)
    squeezed = Image.fromarray(pixels).resize(
        (columns.stop - columns.start, height), Image.Resampling.BILINEAR
    )
    narrowed = np.zeros_like(pixels)
    narrowed[:, columns] = np.asarray(squeezed)
    return narrowed


def _middle(length: int, share: float) -> slice:
    """Return the middle `share` of a side; of an odd rest the larger half comes after it."""
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
