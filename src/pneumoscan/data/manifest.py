"""The table of films with their labels, patients, sites and splits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from pneumoscan.errors import FilmDamagedError
from pneumoscan.imaging import Film, read
from pneumoscan.imaging.film import MIN_SIDE, read_bytes
from pneumoscan.imaging.preprocessing import shows_only_lungs

SYNTHETIC_NOTICE = "SYNTHETIC.txt"
SPLITS = ("train", "val", "test")
Split = Literal["train", "val", "test"]
View = Literal["PA", "AP"]
Sex = Literal["F", "M"]
Reading = Literal["NORMAL", "ABNORMAL", "OPACITY"]
COLUMNS = ("site", "view", "age", "sex", "reading", "cause")
"""What is known of a film and its patient and has a meaning of its own; further columns of a table are text."""
Box = tuple[float, float, float, float]
"""Left, top, width and height in pixels of the film."""
Layout = Literal["folder", "csv", "npz", "sites", "nih-chestxray14", "rsna-pneumonia", "chexpert"]


@dataclass(frozen=True)
class FilmRecord:
    """One row of the table.

    Attributes:
        path: Path relative to the root of the manifest, with `/`; `FILE.npz#train/12` for a film in an archive of arrays.
        label: 1 is PNEUMONIA, 0 is NORMAL.
        split: `train`, `val` or `test`.
        patient_id: The patient; never empty.
        cause: `bacteria` or `virus` if the file name contains it, else None.
        site: Hospital or published set of the film; empty if unknown.
        view: `PA` or `AP`; None if unknown.
        age: Age of the patient in years; None if unknown.
        sex: `F` or `M`; None if unknown.
        reading: What a radiologist read in the film, in the classes of the RSNA challenge: `OPACITY` is a lung opacity
            suspicious of pneumonia, `ABNORMAL` is not normal but without such an opacity. None if nobody read it.
        mask: Picture of the lungs: white inside, of the size of the film or squashed alike; relative to the root. Empty if
            there is none.
        aerated: The same of the aerated lung alone, without heart and dense consolidation; empty if there is none.
        boxes: Boxes that a radiologist drew around opacities.
        others: Name and text of every other column of the table that has a value for the film.
    """

    path: str
    label: int
    split: Split
    patient_id: str
    cause: str | None = None
    site: str = ""
    view: View | None = None
    age: float | None = None
    sex: Sex | None = None
    reading: Reading | None = None
    mask: str = ""
    aerated: str = ""
    boxes: tuple[Box, ...] = ()
    others: tuple[tuple[str, str], ...] = ()

    def column(self, name: str) -> str:
        """Return the text of a column in lower case: one of `COLUMNS` or of `others`; empty if the film has none."""
        if name in COLUMNS:
            value = getattr(self, name)
            return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
        return dict(self.others).get(name, "")


@dataclass(frozen=True)
class Manifest:
    """A table of films and its origin.

    Attributes:
        root: Folder of the relative paths; with several sites the common folder.
        layout: `folder`, `csv`, `npz`, the name of a published set (see `data.layouts.known_sets`), or `sites` for several
            sites (see `data.layouts.combine`).
        films: The rows in a fixed order (split, class, path).
        notes: Sentences about what was ignored while reading (hidden files, other extensions).
        arrays: For `npz`: the uint8 films (n, H, W) or (n, H, W, 3) by split; otherwise empty.
        parts: For `sites`: the original table of each site, whose paths begin with `SITE/` here; otherwise empty.
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
        """Array of str (n,); empty strings for unknown sites."""
        return np.array([film.site for film in self.films], dtype=np.str_)

    @property
    def site_names(self) -> tuple[str, ...]:
        """The distinct sites in alphabetical order, including the empty name if the site of some films is unknown."""
        return tuple(sorted({film.site for film in self.films}))

    @property
    def synthetic(self) -> bool:
        """Whether the folder, or one of several, contains `SYNTHETIC.txt`, which marks synthetic films."""
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
        """Return the argument of `imaging.read` for a row: the path of its file, or its array."""
        if self.parts:
            site, path = record.path.split("/", 1)
            return self.parts[site].source(replace(record, path=path))
        if self.layout == "npz":
            split, index = record.path.rsplit("#", 1)[1].split("/")
            film: npt.NDArray[np.uint8] = self.arrays[split][int(index)]
            return film
        return self.root / record.path

    def beside(self, record: FilmRecord, name: str) -> Path:
        """Return the path of a picture that belongs to a film: `name` is its `mask` or `aerated`."""
        if self.parts:
            site, _ = record.path.split("/", 1)
            return self.parts[site].beside(record, name)
        return self.root / name

    def bytes_of(self, record: FilmRecord) -> bytes:
        """Return the content that is hashed for a row: the bytes of its file, or shape and pixels of its array.

        Raises:
            FilmError: The file cannot be read.
        """
        source = self.source(record)
        if isinstance(source, np.ndarray):
            return f"{source.shape}\n".encode() + source.tobytes()
        return read_bytes(source)

    def read(self, record: FilmRecord) -> Film:
        """Read the film of a row, with the mask of its lungs if it shows nothing else. Films of an `npz` may be smaller than `MIN_SIDE`.

        Raises:
            FilmError: The film, or its mask, cannot be used.
        """
        source = self.source(record)
        min_side = 1 if isinstance(source, np.ndarray) else MIN_SIDE
        return self.with_lungs(read(source, min_side=min_side, name=record.path), record)

    def with_lungs(self, film: Film, record: FilmRecord) -> Film:
        """Return a film that was read, with the mask of its row if it shows nothing but the lungs.

        A model that reads lungs cuts such a film by the mask, in training and wherever films of a table are judged. Whole films are
        read as in use.

        Raises:
            FilmError: The mask cannot be read.
        """
        if not record.mask:
            return film
        mask = self.mask_of(record, record.mask, (film.width, film.height))
        return replace(film, lungs=mask) if shows_only_lungs(film.pixels, mask) else film

    def mask_of(self, record: FilmRecord, name: str, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """Return a mask of a row, resized to width and height: uint8 (height, width), 255 inside; 0 everywhere without a name.

        Raises:
            FilmError: The mask cannot be read.
        """
        if not name:
            return np.zeros(size[::-1], np.uint8)
        try:
            with Image.open(self.beside(record, name), formats=("PNG", "JPEG")) as picture:
                return np.asarray(picture.convert("L").resize(size, Image.Resampling.BILINEAR))
        except (OSError, ValueError, SyntaxError) as problem:
            raise FilmDamagedError(
                f"the mask {name} cannot be read: {type(problem).__name__}.",
                "Write it as a PNG again, or leave it out.",
            ) from None
