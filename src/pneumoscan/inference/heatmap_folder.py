"""The folder that heatmaps go to: a picture for every film, named after it, and no other file touched."""

import hashlib
import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from PIL.PngImagePlugin import PngInfo

from pneumoscan.errors import FilmError
from pneumoscan.files import make_folder, open_atomic, write_problems
from pneumoscan.imaging import FilmSource, read
from pneumoscan.inference.bundle import Bundle
from pneumoscan.inference.heatmap import check_has_map, evidence_of, map_of_film
from pneumoscan.inference.heatmap_sheet import draw
from pneumoscan.inference.rows import PredictionRow

# The keyword of a text that stands near the start of each picture; the text tells which film it is of.
_KEYWORD = b"pneumoscan-film"
_HEAD = 1024
_MAX_NAME_BYTES = 120
_UNSAFE = frozenset('<>:"/\\|?*')


class HeatmapFolder:
    """Draws the heatmaps of a batch of films; `add` may be called from several threads at once.

    A film's picture has the name of the film with `.png` for its ending. Where another film of the batch, an earlier
    picture of another film, or any other file has the name already, digits that tell the films apart are added.
    Run again, the same film gets the same picture anew. Case does not tell names apart, for some file systems do not.

    Attributes:
        folder: Where the pictures go.
        missed: Films that were read, and gone or damaged when they were to be drawn.
    """

    def __init__(
        self, folder: Path, bundle: Bundle, films: Iterable[str], *, operating_point: str = ""
    ) -> None:
        """Make the folder and settle the names.

        Args:
            folder: Made if absent.
            bundle: The model; it must have an activation map.
            films: The paths of all films of the batch.
            operating_point: Name of the one that the threshold belongs to; empty for a threshold of one's own.

        Raises:
            UsageError: The model has no activation map.
            NotWritableError: The folder cannot be made or written to.
        """
        check_has_map(bundle)
        self.folder = make_folder(folder)
        self.missed: list[str] = []
        self._bundle, self._operating_point = bundle, operating_point
        self._names = _settled(folder, films)

    def path_of(self, film: str) -> Path:
        """Return where the picture of a film of the batch goes."""
        return self.folder / self._names[_identity(film)]

    def add(self, film: FilmSource, row: PredictionRow) -> None:
        """Draw the picture of a film, unless it was refused.

        Raises:
            DiskFullError, NotWritableError: See `files.open_atomic`; a picture is whole or not there.
            BundleError: The network does not run.
        """
        if row.status != "ok" or not isinstance(film, str):
            return
        try:
            pixels = read(film)
        except FilmError:
            self.missed.append(film)
            return
        evidence = evidence_of(self._bundle, map_of_film(self._bundle, pixels))
        picture = draw(pixels, evidence, row, operating_point=self._operating_point)
        about = PngInfo()
        about.add_text(_KEYWORD.decode(), _identity(film))
        with open_atomic(self.path_of(film)) as file:
            # The level's bytes are a third more than the best's, in a third of the time.
            picture.save(file, "PNG", pnginfo=about, compress_level=1)


def is_heatmap(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is a picture that `HeatmapFolder` drew."""
    return _film_of(Path(path)) is not None


def _settled(folder: Path, films: Iterable[str]) -> dict[str, str]:
    """Return the picture's name by film, from what the film is called and what the folder has already."""
    with write_problems(folder):
        there = {_folded(entry.name): entry.name for entry in os.scandir(folder)}
    names: dict[str, str] = {}
    taken: set[str] = set()
    for film in films:
        identity = _identity(film)
        if identity in names:
            continue
        for digits in (0, 8, 16, 64):
            name = _safe_stem(film) + (f"-{identity[:digits]}" if digits else "") + ".png"
            older = there.get(_folded(name))
            if _folded(name) in taken or (older is not None and _film_of(folder / older) != identity):
                continue
            break
        names[identity] = name
        taken.add(_folded(name))
    return names


def _identity(film: str) -> str:
    """Return 64 digits that tell a film's place from every other, without telling the place."""
    return hashlib.sha256(os.fsencode(os.path.abspath(film))).hexdigest()  # noqa: PTH100 - paths stay strings


def _film_of(picture: Path) -> str | None:
    """Return the identity of the film that a file is the heatmap of; None if it is something else."""
    try:
        if not picture.is_file():
            return None
        with picture.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    before, found, after = head.partition(_KEYWORD + b"\0")
    return after[:64].decode("ascii", "replace") if found and before.startswith(b"\x89PNG\r\n") else None


def _safe_stem(film: str) -> str:
    """Return a film's name without its ending, fit for a file name everywhere."""
    name = os.path.splitext(os.path.basename(film))[0]  # noqa: PTH119, PTH122 - as above
    plain = "".join(c if c.isprintable() and c not in _UNSAFE else "_" for c in name)
    whole = plain.encode("utf-8", "replace")[:_MAX_NAME_BYTES].decode("utf-8", "ignore").strip(" .")
    return whole or "film"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
