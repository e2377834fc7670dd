"""The model as a classifier with the interface of scikit-learn: `predict_proba`, `predict`, `classes_`."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pneumoscan.errors import FilmError, FilmValueError
from pneumoscan.imaging import Film, FilmSource, read
from pneumoscan.imaging.lungs import Lungs
from pneumoscan.inference.bundle import Bundle, load_bundle
from pneumoscan.inference.pretrained import pretrained_bundle
from pneumoscan.inference.rows import label_of, probability_of_film

Films = FilmSource | Iterable[FilmSource]


class PneumoniaClassifier:
    """Classifies chest films as PNEUMONIA or NORMAL.

    A film is a path (`str` or `Path`), the bytes of a file, a Pillow image, or an array of shape (H, W), (H, W, 1),
    (H, W, 3) or (H, W, 4). Any other iterable contains several films: a list or generator, or an array (N, H, W) or
    (N, H, W, C). One film gives arrays of length 1.

    Example:
        >>> model = PneumoniaClassifier.from_pretrained("bundle")  # doctest: +SKIP
        >>> model.predict_proba(["a.jpeg", "b.jpeg"])  # doctest: +SKIP
        array([[0.91, 0.09],
               [0.04, 0.96]])

    Attributes:
        bundle: The verified model.
        classes_: str (2,): `NORMAL`, `PNEUMONIA`, the columns of `predict_proba`.
        threshold: Threshold of `predict` in [0, 1]: PNEUMONIA from this probability on.
    """

    def __init__(self, bundle: Bundle, *, operating_point: str | None = None) -> None:
        self.bundle = bundle
        self.classes_: npt.NDArray[np.str_] = np.array(bundle.spec.class_names)
        self.threshold = bundle.spec.threshold(operating_point)

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        threads: int = 1,
        operating_point: str | None = None,
    ) -> "PneumoniaClassifier":
        """Load a bundle folder, or a run folder with `bundle/` in it.

        Args:
            path: The folder; by default the model that comes with the package.
            threads: Cores per film.
            operating_point: Name of the threshold of `predict`; by default the default operating point.

        Raises:
            UsageError: `path` does not exist, or the bundle has no such operating point.
            BundleError: The bundle is incomplete, was changed, or fails its self-check.
        """
        folder = pretrained_bundle() if path is None else Path(path)
        return cls(load_bundle(folder, threads=threads), operating_point=operating_point)

    def predict_proba(self, films: Films) -> npt.NDArray[np.float64]:
        """Return float64 (n, 2), the probabilities of NORMAL and PNEUMONIA; each row sums to 1.

        Raises:
            FilmError: A film cannot be read; the message begins with its index.
        """
        positive = np.array([self._probability(i, film) for i, film in enumerate(_each(films))], np.float64)
        return np.stack([1 - positive, positive], axis=1)

    def predict(self, films: Films) -> npt.NDArray[np.str_]:
        """Return the class names (n,) at `threshold`. Raises the errors of `predict_proba`."""
        positive = self.predict_proba(films)[:, 1]
        names = [label_of(self.bundle, probability, self.threshold) for probability in positive.tolist()]
        return np.array(names, dtype=self.classes_.dtype)

    def activation_maps(self, films: Films) -> npt.NDArray[np.float32]:
        """Return the class activation maps: float32 (n, h, w), coarse, logits before the temperature.

        The mean of a map is the logit of the film. `inference.heatmap.overlay` draws the map over the film.

        Raises:
            UsageError: The model has no activation map.
            FilmError: A film cannot be read; the message begins with its index.
        """
        from pneumoscan.inference.heatmap import map_of_film  # here, because it imports Pillow's fonts

        maps = [map_of_film(self.bundle, _read(i, film)) for i, film in enumerate(_each(films))]
        return np.stack(maps) if maps else np.empty((0, 0, 0), np.float32)

    def lungs(self, film: FilmSource) -> Lungs:
        """Find the lungs of one film: `parts`, `mask`, `box`, `quality`, `outlines()`.

        Raises:
            UsageError: The model has no lungs network.
            FilmError: The film cannot be read.
        """
        from pneumoscan.inference.lung_pictures import (
            lungs_of_film,
        )  # here, because it imports Pillow's drawing

        return lungs_of_film(self.bundle, _read(0, film))

    def _probability(self, index: int, film: FilmSource) -> float:
        return probability_of_film(self.bundle, _read(index, film))


def _read(index: int, film: FilmSource) -> Film:
    try:
        return read(film)
    except FilmError as problem:
        raise type(problem)(f"film {index}: {problem.message}", problem.remedy) from problem


def _each(films: Films) -> Iterator[FilmSource]:
    if isinstance(films, np.ndarray):
        return iter([films] if _is_one_film(films) else films)
    if isinstance(films, str | os.PathLike | bytes | bytearray | memoryview | Image.Image):
        return iter([films])
    if not isinstance(films, Iterable):
        raise FilmValueError(
            f"a film cannot be a {type(films).__name__}.",
            "Give a path, bytes, a Pillow image, an array, or a list.",
        )
    return iter(films)


def _is_one_film(array: npt.NDArray[np.generic]) -> bool:
    """Return whether an array is one film. No film is 4 pixels wide, so a last axis of 1, 3 or 4 is colour."""
    return array.ndim < 3 or (array.ndim == 3 and array.shape[2] in {1, 3, 4})
