"""The preprocessing of training and prediction: resize the grey film to N×N with antialiasing, then normalise.

A model may read the lungs instead of the whole film: a crop of `lung_crop`, standardised by `standardise_lungs`.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from pneumoscan.errors import ConfigError
from pneumoscan.imaging.film import Film
from pneumoscan.imaging.lungs import MARGIN, Box, Lungs
from pneumoscan.imaging.outlines import Mask

VERSION = 1
_LEAST_INSIDE = 0.01
_LEAST_STD = 4 / 255
_MOST_STANDARD = 6.0
# A film that shows nothing but the lungs has one grey value outside, up to the noise of JPEG.
_NOISE, _ALIKE = 6, 0.95


@dataclass(frozen=True)
class Preprocessing:
    """Settings of the preprocessing, stored in the model bundle.

    Attributes:
        size: Side N of the square in pixels, 16 to 1024. The aspect ratio is not preserved.
        normalisation: `fixed` subtracts `mean` and divides by `std`; `per_film` uses the film's own mean and
            standard deviation (the latter at least 1/255).
        mean: Mean that `fixed` subtracts from values in [0, 1].
        std: Standard deviation by which `fixed` divides; above 0.
        version: Version of this code. A bundle with another version is an error.
        input: `film`: the whole film, one channel. `lungs`: the box of the lungs and the aerated lung in it, two channels
            (`lung_crop`), with the normalisation `per_film` by the aerated lung (`standardise_lungs`).
        surroundings: Whether the first channel of lungs shows what surrounds the aerated lung in the box. If not, it is 0: so
            reads a network all of whose training films show nothing but aerated lung.
    """

    size: int = 200
    normalisation: Literal["fixed", "per_film"] = "fixed"
    mean: float = 0.0
    std: float = 1.0
    version: int = VERSION
    input: Literal["film", "lungs"] = "film"
    surroundings: bool = True

    def __post_init__(self) -> None:
        if not (isinstance(self.size, int) and 16 <= self.size <= 1024):
            raise ConfigError(
                f"preprocessing size is {self.size!r}.", "It must be a whole number from 16 to 1024."
            )
        if self.normalisation not in {"fixed", "per_film"}:
            raise ConfigError(f"normalisation is {self.normalisation!r}.", "Use 'fixed' or 'per_film'.")
        numbers = all(
            isinstance(value, int | float) and math.isfinite(value) for value in (self.mean, self.std)
        )
        if not (numbers and self.std > 0):
            raise ConfigError(
                f"mean {self.mean!r} and std {self.std!r} are not valid.", "std must be above 0."
            )
        if self.input not in {"film", "lungs"}:
            raise ConfigError(f"preprocessing input is {self.input!r}.", "Use 'film' or 'lungs'.")
        if self.input == "lungs" and self.normalisation != "per_film":
            raise ConfigError(
                f"normalisation of the lungs is {self.normalisation!r}.", "It must be 'per_film'."
            )
        if not isinstance(self.surroundings, bool) or not (self.surroundings or self.input == "lungs"):
            raise ConfigError(
                f"preprocessing surroundings is {self.surroundings!r} for the input {self.input!r}.",
                "Use true, or false for the input 'lungs'.",
            )
        if self.version != VERSION:
            raise ConfigError(
                f"preprocessing version {self.version!r} is unknown (this is {VERSION}).",
                "Use the pneumoscan release that made the model.",
            )

    @property
    def channels(self) -> int:
        """Channels of the network's input."""
        return 2 if self.input == "lungs" else 1

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON types."""
        return asdict(self)


def squash(film: Film, size: int) -> npt.NDArray[np.uint8]:
    """Resize a film to uint8 (size, size) with an antialiasing triangle filter.

    This step does not change from epoch to epoch. The film cache of `data` stores its result.
    """
    image = Image.fromarray(film.pixels)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=1.5))


def normalise(images: npt.NDArray[np.uint8], settings: Preprocessing) -> npt.NDArray[np.float32]:
    """Normalise resized films.

    Args:
        images: uint8 array (..., size, size), of lungs (..., 2, size, size).
        settings: The normalisation.

    Returns:
        float32 array of the same shape.
    """
    if settings.input == "lungs":
        lungs = standardise_lungs(images)
        if not settings.surroundings:
            lungs[..., 0, :, :] = 0
        return lungs
    return standardise(images.astype(np.float32) / np.float32(255), settings)


def standardise(values: npt.NDArray[np.float32], settings: Preprocessing) -> npt.NDArray[np.float32]:
    """Normalise float32 values in [0, 1], such as augmented films (..., size, size)."""
    if settings.normalisation == "fixed":
        return (values - np.float32(settings.mean)) / np.float32(settings.std)
    centred = values - values.mean(axis=(-2, -1), keepdims=True, dtype=np.float32)
    std = np.sqrt(np.square(centred).mean(axis=(-2, -1), keepdims=True, dtype=np.float32))
    standard: npt.NDArray[np.float32] = centred / np.maximum(std, np.float32(1 / 255))
    return standard


def preprocess(film: Film, settings: Preprocessing) -> npt.NDArray[np.float32]:
    """Return the input of a network that reads the whole film, for one film: float32 (size, size)."""
    return normalise(squash(film, settings.size), settings)


def lung_crop(film: Film, lungs: Lungs, size: int) -> npt.NDArray[np.uint8]:
    """Return the film and the aerated lung inside the box, each squashed to a square.

    Args:
        film: The film, at its own size.
        lungs: Its lungs.
        size: Side of the square in pixels.

    Returns:
        uint8 (2, size, size): grey levels of the film; probability of aerated lung × 255.
    """
    return np.stack([box_crop(pixels, lungs.box, size) for pixels in (film.pixels, lungs.aerated)])


def shows_only_lungs(pixels: npt.NDArray[np.uint8], lungs: npt.NDArray[np.uint8]) -> bool:
    """Return whether a film has one grey value outside of the mask of its lungs; both uint8 (height, width)."""
    outside = pixels[lungs <= 127].astype(np.int64)
    if not 0 < len(outside) < pixels.size:
        return False
    return float((np.abs(outside - int(np.median(outside))) <= _NOISE).mean()) >= _ALIKE


def cut_film(film: Film, size: int) -> tuple[npt.NDArray[np.uint8], int, Box]:
    """Cut a film that shows nothing but its lungs, by their mask `film.lungs`.

    Returns:
        uint8 (2, size, size) as of `lung_crop`, black where nothing is shown; the width in pixels of the frame that was added so
        that the box with its margin fits; the box, as shares of the framed film.
    """
    assert film.lungs is not None
    inside = film.lungs > 127
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    left, top, right, bottom = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    across, down = MARGIN * (right - left), MARGIN * (bottom - top)
    frame = int(max(across, down)) + 1
    pixels = np.pad(film.pixels, frame, constant_values=int(np.median(film.pixels[~inside])))
    framed = np.pad(np.where(inside, np.uint8(255), np.uint8(0)), frame)
    height, width = pixels.shape
    box = (
        float((left - across + frame) / width), float((top - down + frame) / height),
        float((right + across + frame) / width), float((bottom + down + frame) / height),
    )  # fmt: skip
    crop = np.stack([box_crop(pixels, box, size), box_crop(framed, box, size)])
    crop[0] *= crop[1] > 0
    return crop, frame, box


def box_crop(pixels: npt.NDArray[np.uint8], box: Box, size: int) -> npt.NDArray[np.uint8]:
    """Return a box of a picture, squashed to a square: uint8 (size, size) of uint8 (height, width)."""
    height, width = pixels.shape
    left, top, right, bottom = box
    area = left * width, top * height, right * width, bottom * height
    # The filter of `squash`, so that the same lungs look the same in a film and in its crop.
    squashed = Image.fromarray(pixels).resize(
        (size, size), Image.Resampling.BILINEAR, box=area, reducing_gap=1.5
    )
    return np.asarray(squashed)


def standardise_lungs(crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the classifier's input for crops of `lung_crop`: both channels standardised by the aerated lung.

    Mean and standard deviation (at least 4/255) are those of the grey levels in the aerated lung. If it covers less than
    1% of the crop, those of the whole crop are used, and the second channel is 0.

    Args:
        crop: uint8 (..., 2, S, S).

    Returns:
        float32 (..., 2, S, S): the whole crop, and the aerated lung with 0 elsewhere; both within ±6 deviations.
    """
    return standardise_lung_values(
        crop[..., 0, :, :].astype(np.float32) / np.float32(255), crop[..., 1, :, :] > 127
    )


def standardise_lung_values(grey: npt.NDArray[np.float32], inside: Mask) -> npt.NDArray[np.float32]:
    """Standardise float32 values in [0, 1] by the aerated lung, such as augmented crops; see `standardise_lungs`.

    Args:
        grey: float32 (..., S, S).
        inside: bool (..., S, S): aerated lung.
    """
    weights = inside.astype(np.float32)
    total = weights.sum((-2, -1), keepdims=True, dtype=np.float64)
    size = inside.shape[-1] * inside.shape[-2]
    enough = total / size >= _LEAST_INSIDE
    shown = weights
    if not enough.all():
        shown = weights * enough
        weights, total = np.where(enough, weights, np.float32(1)), np.where(enough, total, size)
    mean = (grey * weights).sum((-2, -1), keepdims=True, dtype=np.float64) / total
    centred = grey - mean.astype(np.float32)
    variance = (np.square(centred) * weights).sum((-2, -1), keepdims=True, dtype=np.float64) / total
    scale = np.maximum(np.sqrt(variance), _LEAST_STD).astype(np.float32)
    standard = np.empty((*grey.shape[:-2], 2, *grey.shape[-2:]), np.float32)
    whole, aerated = standard[..., 0, :, :], standard[..., 1, :, :]
    np.clip(centred / scale, -_MOST_STANDARD, _MOST_STANDARD, out=whole)
    np.multiply(whole, shown, out=aerated)
    return standard
