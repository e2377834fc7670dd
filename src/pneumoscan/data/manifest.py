"""The table of films: which there are, what they show, whose they are, and which split they belong to."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from pneumoscan.imaging import Film, read
from pneumoscan.imaging.film import MIN_SIDE, read_bytes

CLASS_NAMES = ("NORMAL", "PNEUMONIA")
SYNTHETIC_NOTICE = "SYNTHETIC.txt"
SPLITS = ("train", "val", "test")
Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class FilmRecord:
    """One row of the table.

    Attributes:
        path: Relative to the manifest's root, with `/`; for a film inside an archive of arrays `FILE.npz#train/12`.
        label: 1 is PNEUMONIA, 0 is NORMAL.
        split: `train`, `val` or `test`.
        patient_id: Films of one patient share it; never empty.
        cause: `bacteria` or `virus` where the file name tells, else None.
    """

    path: str
    label: int
    split: Split
    patient_id: str
    cause: str | None = None


@dataclass(frozen=True)
class Manifest:
    """A table of films and where it came from.

    Attributes:
        root: Folder that the paths are relative to.
        layout: `folder`, `csv` or `npz`.
        films: The rows, in a fixed order (split, class, path).
        notes: What was passed over while reading (hidden files, other endings), one sentence each.
        arrays: For `npz`: by split the uint8 films (n, H, W) or (n, H, W, 3); empty otherwise.
    """

    root: Path
    layout: Literal["folder", "csv", "npz"]
    films: tuple[FilmRecord, ...]
    notes: tuple[str, ...] = ()
    arrays: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.films)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """int64 array (n,) of 0 and 1."""
        return np.array([film.label for film in self.films], dtype=np.int64)

    @property
    def patient_ids(self) -> npt.NDArray[np.str_]:
        """Array of str (n,)."""
        return np.array([film.patient_id for film in self.films], dtype=np.str_)

    @property
    def synthetic(self) -> bool:
        """Whether the folder says, by a file `SYNTHETIC.txt`, that its films show no patient."""
        return (self.root / SYNTHETIC_NOTICE).is_file()

    def of_split(self, split: Split) -> "Manifest":
        """Return the table with the rows of one split only."""
        return replace(self, films=tuple(film for film in self.films if film.split == split))

    def take(self, indices: Iterable[int]) -> "Manifest":
        """Return the table with the rows at `indices`, in that order."""
        return replace(self, films=tuple(self.films[int(i)] for i in indices))

    def source(self, record: FilmRecord) -> Path | npt.NDArray[np.uint8]:
        """Return what `imaging.read` takes for a row: the path of its file, or its array."""
        if self.layout == "npz":
            split, index = record.path.rsplit("#", 1)[1].split("/")
            film: npt.NDArray[np.uint8] = self.arrays[split][int(index)]
            return film
        return self.root / record.path

    def bytes_of(self, record: FilmRecord) -> bytes:
        """Return what a row's content hash is taken of: the bytes of its file; of an array its shape and its pixels.

        Raises:
            FilmError: The file cannot be read.
        """
        source = self.source(record)
        if isinstance(source, np.ndarray):
            return f"{source.shape}\n".encode() + source.tobytes()
        return read_bytes(source)

    def read(self, record: FilmRecord) -> Film:
        """Read a row's film; films of an `npz` may be smaller than `MIN_SIDE`.

        Raises:
            FilmError: It cannot be used.
        """
        return read(self.source(record), min_side=1 if self.layout == "npz" else MIN_SIDE, name=record.path)
