"""The table of films: which there are, what they show, whose they are, and which split they belong to."""

from collections.abc import Iterable, Mapping
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
View = Literal["PA", "AP"]
Layout = Literal["folder", "csv", "npz", "sites", "nih-chestxray14", "rsna-pneumonia", "chexpert"]


@dataclass(frozen=True)
class FilmRecord:
    """One row of the table.

    Attributes:
        path: Relative to the manifest's root, with `/`; for a film inside an archive of arrays `FILE.npz#train/12`.
        label: 1 is PNEUMONIA, 0 is NORMAL.
        split: `train`, `val` or `test`.
        patient_id: Films of one patient share it; never empty.
        cause: `bacteria` or `virus` where the file name tells, else None.
        site: Where the film comes from, a hospital or a published set; empty if that is not told.
        view: `PA` or `AP` where told, else None.
        age: Of the patient in years where told, else None.
    """

    path: str
    label: int
    split: Split
    patient_id: str
    cause: str | None = None
    site: str = ""
    view: View | None = None
    age: float | None = None


@dataclass(frozen=True)
class Manifest:
    """A table of films and where it came from.

    Attributes:
        root: Folder that the paths are relative to; of several places the folder that holds them all.
        layout: `folder`, `csv`, `npz`, the name of a published set (see `data.layouts.known`), or `sites` for several
            places (see `data.sites.combine`).
        films: The rows, in a fixed order (split, class, path).
        notes: What was passed over while reading (hidden files, other endings), one sentence each.
        arrays: For `npz`: by split the uint8 films (n, H, W) or (n, H, W, 3); empty otherwise.
        parts: For `sites`: by site the table that its films, whose paths begin with `SITE/`, came from; empty otherwise.
    """

    root: Path
    layout: Layout
    films: tuple[FilmRecord, ...]
    notes: tuple[str, ...] = ()
    arrays: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict, repr=False, compare=False)
    parts: Mapping[str, "Manifest"] = field(default_factory=dict, repr=False, compare=False)

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
    def sites(self) -> npt.NDArray[np.str_]:
        """Array of str (n,); empty where the site is not told."""
        return np.array([film.site for film in self.films], dtype=np.str_)

    @property
    def site_names(self) -> tuple[str, ...]:
        """The distinct sites in alphabetical order; the empty name is one of them if some films tell no site."""
        return tuple(sorted({film.site for film in self.films}))

    @property
    def synthetic(self) -> bool:
        """Whether the folder, or one of several, says by a file `SYNTHETIC.txt` that its films show no patient."""
        if self.parts:
            return any(part.synthetic for part in self.parts.values())
        return (self.root / SYNTHETIC_NOTICE).is_file()

    def of_split(self, split: Split) -> "Manifest":
        """Return the table with the rows of one split only."""
        return replace(self, films=tuple(film for film in self.films if film.split == split))

    def take(self, indices: Iterable[int]) -> "Manifest":
        """Return the table with the rows at `indices`, in that order."""
        return replace(self, films=tuple(self.films[int(i)] for i in indices))

    def of_site(self, site: str) -> "Manifest":
        """Return the table with the rows of one site only."""
        return replace(self, films=tuple(film for film in self.films if film.site == site))

    def in_order(self) -> "Manifest":
        """Return the table with its rows by split, class and path."""
        order = sorted(self.films, key=lambda film: (SPLITS.index(film.split), film.label, film.path))
        return replace(self, films=tuple(order))

    def source(self, record: FilmRecord) -> Path | npt.NDArray[np.uint8]:
        """Return what `imaging.read` takes for a row: the path of its file, or its array."""
        if self.parts:
            site, path = record.path.split("/", 1)
            return self.parts[site].source(replace(record, path=path))
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
        source = self.source(record)
        min_side = 1 if isinstance(source, np.ndarray) else MIN_SIDE
        return read(source, min_side=min_side, name=record.path)
