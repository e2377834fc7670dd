"""Folders of pictures (heatmaps, lungs) and of documents: one per film, named after it. No other file is overwritten."""

import os
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from pneumoscan.bundle.heatmap import grey_of, shown_size
from pneumoscan.bundle.load import Bundle
from pneumoscan.classifier import NOT_A_CHEST_FILM, check_has_lungs, lungs_of_film
from pneumoscan.errors import FilmError
from pneumoscan.files import identity_of_path, make_folder, open_atomic, write_atomic, write_problems
from pneumoscan.imaging import Film, FilmSource, read
from pneumoscan.imaging.lungs import Lungs
from pneumoscan.predict.document import identity_of as identity_of_document
from pneumoscan.rows import PredictionRow

# The keyword of the text chunk in each image that identifies its film.
_KEYWORD = b"pneumoscan-film"
PDF = ".pdf"
_HEAD = 1024
_MAX_NAME_BYTES = 120
_UNSAFE = frozenset('<>:"/\\|?*')
RIGHT_COLOUR, LEFT_COLOUR, BOX_COLOUR = (255, 214, 64), (64, 214, 255), (255, 96, 96)
"""Colours of the patient's right lung, the left lung, and the box."""


class PictureFolder:
    """Draws the pictures of a batch of films. `add` is thread-safe.

    An image has the name of the film with the extension `.png`. If another film of the batch, an earlier image of another
    film, or any other file has this name, digits are added. The same film replaces its own image. Names that differ only
    in case count as equal, because some file systems treat them so. A function that returns bytes makes PDF documents, with the
    extension `.pdf`, also of what is no chest film.

    Attributes:
        folder: Folder of the images.
        missed: Films that were removed or damaged between classification and drawing.
    """

    def __init__(
        self,
        folder: Path,
        films: Iterable[str],
        draw: Callable[[Film, PredictionRow], Image.Image | bytes],
        extension: str = ".png",
    ) -> None:
        """Create the folder and determine the names.

        Args:
            folder: The folder, created if absent.
            films: The paths of all films of the batch.
            draw: Draws the picture of a film: `heatmap_sheet.heatmaps_of`, `lung_pictures.outlines_of`, `lung_pictures.masks_of`,
                `document.documents_of`.
            extension: Of the files.

        Raises:
            NotWritableError: The folder cannot be created or written to.
        """
        self.folder = make_folder(folder)
        self.missed: list[str] = []
        self._draw = draw
        self._extension = extension
        self._names = _settled(folder, films, extension)

    def path_of(self, film: str) -> Path:
        """Return the path of the image of a film of the batch."""
        return self.folder / self._names[identity_of_path(film)]

    def add(self, film: FilmSource, row: PredictionRow) -> None:
        """Draw the image of a film, unless the film was refused or is no chest film; make the document of one that was read.

        Raises:
            DiskFullError, NotWritableError: See `files.open_atomic`. An image is either complete or absent.
            BundleError: The network does not run.
        """
        drawn = row.label != NOT_A_CHEST_FILM or self._extension == PDF
        if row.status != "ok" or not drawn or not isinstance(film, str):
            return
        try:
            pixels = read(film)
        except FilmError:
            self.missed.append(film)
            return
        try:
            picture = self._draw(pixels, row)
        except FileNotFoundError:
            self.missed.append(film)
            return
        if isinstance(picture, bytes):
            write_atomic(self.path_of(film), picture)
            return
        about = PngInfo()
        about.add_text(_KEYWORD.decode(), identity_of_path(film))
        with open_atomic(self.path_of(film)) as file:
            # This level gives files a third larger than the best one, in a third of the time.
            picture.save(file, "PNG", pnginfo=about, compress_level=1)


def is_drawn(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is an image of `PictureFolder`."""
    return _film_of(Path(path)) is not None


def _settled(folder: Path, films: Iterable[str], extension: str) -> dict[str, str]:
    """Return the name of the image of each film, considering the files that exist in the folder."""
    with write_problems(folder):
        there = {_folded(entry.name): entry.name for entry in os.scandir(folder)}
    names: dict[str, str] = {}
    taken: set[str] = set()
    for film in films:
        identity = identity_of_path(film)
        if identity in names:
            continue
        for digits in (0, 8, 16, 64):
            name = _safe_stem(film) + (f"-{identity[:digits]}" if digits else "") + extension
            older = there.get(_folded(name))
            if _folded(name) in taken or (older is not None and _film_of(folder / older) != identity):
                continue
            break
        names[identity] = name
        taken.add(_folded(name))
    return names


def _film_of(picture: Path) -> str | None:
    """Return the identity of the film of a picture or document; None if the file is none of `PictureFolder`."""
    try:
        if not picture.is_file():
            return None
        with picture.open("rb") as file:
            head = file.read(_HEAD)
            if head.startswith(b"%PDF-"):
                head += file.read()
    except OSError:
        return None
    if head.startswith(b"%PDF-"):
        return identity_of_document(head)
    before, found, after = head.partition(_KEYWORD + b"\0")
    return after[:64].decode("ascii", "replace") if found and before.startswith(b"\x89PNG\r\n") else None


def _safe_stem(film: str) -> str:
    """Return the name of a film without its extension, valid as a file name on every system."""
    name = os.path.splitext(os.path.basename(film))[0]  # noqa: PTH119, PTH122 - as above
    plain = "".join(c if c.isprintable() and c not in _UNSAFE else "_" for c in name)
    whole = plain.encode("utf-8", "replace")[:_MAX_NAME_BYTES].decode("utf-8", "ignore").strip(" .")
    return whole or "film"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def masks_of(bundle: Bundle) -> Callable[[Film, PredictionRow], Image.Image]:
    """Return the function that draws the lung field of a film, white on black, in the size of the film."""
    check_has_lungs(bundle)
    return lambda film, _: mask_picture(film, lungs_of_film(bundle, film))


def outlines_of(bundle: Bundle) -> Callable[[Film, PredictionRow], Image.Image]:
    """Return the function that draws a film with the outlines of its lungs and the box."""
    check_has_lungs(bundle)
    return lambda film, _: outline_picture(film, lungs_of_film(bundle, film))


def mask_picture(film: Film, lungs: Lungs) -> Image.Image:
    """Return the lung field, 255 on 0, 8-bit grey in the size of the film."""
    small = Image.fromarray(lungs.mask.astype(np.uint8) * np.uint8(255))
    return small.resize((film.width, film.height), Image.Resampling.BILINEAR).point(
        lambda level: 255 * (level > 127)
    )


def outline_picture(film: Film, lungs: Lungs) -> Image.Image:
    """Return the film with the outline of each lung and the box, RGB, its longer side 512 to 1600 pixels."""
    shown = shown_size(film)
    picture = grey_of(film, shown).convert("RGB")
    pen, width = ImageDraw.Draw(picture), max(2, max(shown) // 400)
    for outline, part in zip(lungs.outlines(), np.unique(lungs.parts[lungs.mask]).tolist(), strict=True):
        corners = [(float(x), float(y)) for x, y in outline * shown]
        pen.line([*corners, corners[0]], fill=RIGHT_COLOUR if part == 1 else LEFT_COLOUR, width=width)
    if lungs.quality.parts:
        left, top, right, bottom = (
            share * (side - 1) for share, side in zip(lungs.box, (*shown, *shown), strict=True)
        )
        pen.rectangle((left, top, right, bottom), outline=BOX_COLOUR, width=max(1, width // 2))
    return picture
