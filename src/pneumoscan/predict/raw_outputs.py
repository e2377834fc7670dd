"""The numbers inside the network for many films, in one `.npz` file: the vector before the last layer, or the map of evidence."""

import threading
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pneumoscan.bundle.checks import FEATURES_OUTPUT
from pneumoscan.bundle.heatmap import check_has_map
from pneumoscan.bundle.load import Bundle
from pneumoscan.classifier import model_name
from pneumoscan.errors import BundleError, FilmError, UsageError
from pneumoscan.files import check_writable, make_folder, open_atomic
from pneumoscan.imaging import Film, FilmSource, read
from pneumoscan.imaging.lungs import WHOLE_FILM
from pneumoscan.rows import PredictionRow

Arrays = dict[str, npt.NDArray[np.float32]]


class ArrayFile:
    """Collects the arrays of a batch of films and writes them at the end. `add` is thread-safe.

    Attributes:
        folder: Path of the file.
        missed: Films that were removed or damaged between classification and this.
    """

    def __init__(self, path: Path, bundle: Bundle, arrays_of: Callable[[Bundle, Film], Arrays]) -> None:
        """Check that the file can be written.

        Args:
            path: The file, which ends in `.npz`. Only a file of this kind is overwritten.
            bundle: The model.
            arrays_of: `features_of` or `maps_of`.

        Raises:
            UsageError: The file has another name, or contains something else.
            NotWritableError: It cannot be written.
        """
        if path.suffix.lower() != ".npz":
            raise UsageError(f"{path} does not end in .npz.", "Give the name of an .npz file.")
        check_writable(path)
        if path.exists() and not is_of_arrays(path):
            raise UsageError(f"{path} is not a file of features or maps.", "Choose another name.")
        self.folder, self.missed = path, list[str]()
        self._bundle, self._arrays_of = bundle, arrays_of
        self._found: dict[str, tuple[PredictionRow, Arrays]] = {}
        self._lock = threading.Lock()

    def add(self, film: FilmSource, row: PredictionRow) -> None:
        """Add the arrays of a film, unless it was refused.

        Raises:
            BundleError: The network does not run.
        """
        if row.status != "ok" or not isinstance(film, str):
            return
        try:
            arrays = self._arrays_of(self._bundle, read(film))
        except FilmError:
            self.missed.append(film)
            return
        with self._lock:
            self._found[film] = row, arrays

    def write(self, films: Iterable[str]) -> None:
        """Write the file: `paths`, `labels` and `probabilities` (NaN without one), the arrays, each with one row per film, and `model`.

        Args:
            films: The films of the batch, in order; those that were refused have no row.

        Raises:
            DiskFullError, NotWritableError: See `files.open_atomic`. The file is either complete or unchanged.
        """
        kept = [film for film in dict.fromkeys(films) if film in self._found]
        rows = [self._found[film][0] for film in kept]
        parts = [self._found[film][1] for film in kept]
        told = [np.nan if row.probability is None else row.probability for row in rows]
        arrays = {
            "paths": np.array(kept, dtype=np.str_),
            "labels": np.array([row.label for row in rows], dtype=np.str_),
            "probabilities": np.array(told, dtype=np.float64),
            **{name: np.stack([part[name] for part in parts]) for name in (parts[0] if parts else ())},
            "model": np.array(model_name(self._bundle)),
            "temperature": np.array(self._bundle.spec.temperature),
        }
        make_folder(self.folder.parent)
        with open_atomic(self.folder) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]


def is_of_arrays(path: Path) -> bool:
    """Return whether a file was written by `ArrayFile`."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {"paths.npy", "labels.npy", "model.npy"} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def features_of(bundle: Bundle, film: Film) -> Arrays:
    """Return `features` of a film: float32 (k,), the vector before the last layer."""
    found = bundle.run(bundle.input_of(film)[0], features=True).features
    if found is None:
        raise BundleError(f"model {bundle.spec.name} gives no features.", "Export it again.")
    return {"features": found[0]}


def maps_of(bundle: Bundle, film: Film) -> Arrays:
    """Return `maps` of a film, float32 (h, w), logits before the temperature whose mean is the logit, and where they lie.

    `boxes` float32 (4,) has left, top, right and bottom of the map as shares of the film; `sizes` width and height of the film in pixels.
    """
    batch, lungs = bundle.input_of(film)
    found = bundle.run(batch).activation_map
    assert found is not None
    inside = lungs is not None and bundle.spec.preprocessing.input == "lungs"
    box = lungs.box if lungs is not None and inside else WHOLE_FILM
    return {
        "maps": found[0],
        "boxes": np.array(box, dtype=np.float32),
        "sizes": np.array([film.width, film.height], dtype=np.float32),
    }


def array_files(bundle: Bundle, features: Path | None, maps: Path | None) -> list[ArrayFile]:
    """Return the files that were asked for.

    Raises:
        UsageError: The model has no such output; see also `ArrayFile`.
    """
    if features is not None and FEATURES_OUTPUT not in bundle.spec.outputs:
        raise UsageError(
            f"model {bundle.spec.name} has no output {FEATURES_OUTPUT}.",
            "Export it again with this release (`pneumoscan export RUN --data DIR`), or leave out --features.",
        )
    if maps is not None:
        check_has_map(bundle)
    if features is not None and features == maps:
        raise UsageError(f"{maps} is named for features and maps.", "Give two files.")
    asked = [(features, features_of), (maps, maps_of)]
    return [ArrayFile(path, bundle, arrays_of) for path, arrays_of in asked if path is not None]
