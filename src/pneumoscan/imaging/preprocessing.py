"""The preprocessing of training and prediction: resize the grey film to N×N with antialiasing, then normalise.

A model may read the lungs instead of the whole film: `pneumoscan.imaging.lungs`.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from pneumoscan.errors import ConfigError
from pneumoscan.imaging.film import Film
from pneumoscan.imaging.lungs import standardise_lungs

VERSION = 1


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
            (`lungs.lung_crop`), with the normalisation `per_film` by the aerated lung (`lungs.standardise_lungs`).
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
