"""The reader for films: it converts a path, bytes, a Pillow image or an array into a grey `Film`, or raises an error."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, JpegImagePlugin, PngImagePlugin

from pneumoscan.errors import (
    FilmDamagedError,
    FilmEmptyError,
    FilmError,
    FilmNotFoundError,
    FilmTooLargeError,
    FilmTooSmallError,
    FilmTruncatedError,
    FilmUniformError,
    FilmUnreadableError,
    FilmValueError,
)
from pneumoscan.imaging.container import is_dicom, orientation_of, unwrap
from pneumoscan.imaging.grey import array_to_uint8, check_high_bytes, to_grey
from pneumoscan.system import read_flags

MIN_SIDE = 32
MAX_PIXELS = 64_000_000
MAX_BYTES = 256 * 1024 * 1024
# A deflated DICOM data set contains pixels of two bytes and a header.
MAX_INFLATED = 2 * MAX_PIXELS + (8 << 20)

_DECODERS = {"JPEG": JpegImagePlugin.JpegImageFile, "PNG": PngImagePlugin.PngImageFile}
# The transposition for each EXIF orientation (CIPA DC-008, 4.6.5, tag 274).
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

FilmSource = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | npt.NDArray[np.generic]


@dataclass(frozen=True)
class Film:
    """A chest film as the reader returns it: grey, upright, at its original size.

    Attributes:
        pixels: uint8 array (height, width); 0 is black. 16-bit PNG films are converted to 8 bits by value // 257, DICOM
            films by their window.
        source: The path it came from, or `<bytes>`, `<image>`, `<array>`.
        format: `JPEG`, `PNG`, `DICOM`, `image` or `array`.
        mode: The Pillow mode before the conversion to grey (`L`, `RGB`, `I;16`, ...), the photometric interpretation and
            bits of a DICOM file (`MONOCHROME2/12`), or the dtype of the array.
        lungs: The mask of the lungs, uint8 (height, width), 255 inside, for a film of a table that shows nothing else; else None.
    """

    pixels: npt.NDArray[np.uint8]
    source: str
    format: str
    mode: str
    lungs: npt.NDArray[np.uint8] | None = None

    @property
    def image(self) -> npt.NDArray[np.float32]:
        """The film as float32 (height, width) in [0, 1]."""
        return self.pixels.astype(np.float32) / np.float32(255)

    @property
    def height(self) -> int:
        """Rows in pixels of the upright film."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns in pixels of the upright film."""
        return int(self.pixels.shape[1])

    def changed(self, change: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]) -> "Film":
        """Return the film with changed pixels and, if it has one, a mask of its lungs that was changed alike."""
        lungs = None if self.lungs is None else change(self.lungs)
        return replace(self, pixels=change(self.pixels), lungs=lungs)


def read(source: FilmSource, *, min_side: int = MIN_SIDE, name: str = "") -> Film:
    """Read one film.

    JPEG, PNG and DICOM are recognised by their content, not by their name. Colour is converted to grey by the ITU-R 601-2
    luma, transparent pixels become black, 16 bits are scaled to 8 (65535 is white), and the EXIF orientation is applied. Of
    a JPEG with several images (MPO, phone previews) the first is read. A DICOM film gets the grey levels that a
    workstation displays (`pneumoscan.imaging.dicom`). The function is thread-safe.

    Args:
        source: A path, the bytes of a file, a Pillow image, or an array: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of
            uint8, uint16 (full scale 65535; refused if no value is above 32767), bool, or float in [0, 1].
        min_side: Minimum height and width in pixels.
        name: Name of the source in errors and in `Film.source`; by default its path or kind.

    Raises:
        FilmError: The film cannot be used. The subclass gives the reason (`pneumoscan.errors`); `CodecMissingError` is one.
    """
    if isinstance(source, Image.Image):
        label = name or "<image>"
        film = _from_image(source, _shown(label), "image", min_side)
    elif isinstance(source, np.ndarray):
        label = name or "<array>"
        film = _from_array(source, _shown(label), min_side)
    elif isinstance(source, bytes | bytearray | memoryview):
        label = name or "<bytes>"
        film = _from_bytes(bytes(source), _shown(label), min_side)
    elif isinstance(source, str | os.PathLike):
        label = name or os.fspath(source)
        film = _from_bytes(read_bytes(Path(source)), _shown(label), min_side)
    else:
        raise FilmValueError(
            f"a film cannot be a {type(source).__name__}.", "Give a path, bytes, a Pillow image or an array."
        )
    return replace(film, source=label)


def _shown(name: str) -> str:
    """Return a file name for a one-line message: line breaks, control characters and invalid UTF-8 are escaped."""
    return name if name.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a film's file, at most `MAX_BYTES`.

    Raises:
        FilmNotFoundError, FilmUnreadableError: The file does not exist or cannot be opened.
        FilmTooLargeError: The file has more than `MAX_BYTES`.
    """
    shown = _shown(str(path))
    try:
        # Non-blocking, because a FIFO among the films would otherwise block the batch for ever.
        descriptor = os.open(path, read_flags())
    except FileNotFoundError:
        raise FilmNotFoundError(f"{shown} does not exist.", "Check the path.") from None
    except (OSError, ValueError) as problem:
        raise _unreadable(shown, problem) from None
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise FilmUnreadableError(f"{shown} is not a regular file.", "Give files or folders of films.")
        data = _all_of(descriptor, facts.st_size)
    except OSError as problem:
        raise _unreadable(shown, problem) from None
    finally:
        os.close(descriptor)
    if len(data) > MAX_BYTES:
        raise FilmTooLargeError(
            f"{shown} has more than {MAX_BYTES >> 20} MiB.", "A film has a few; check the file."
        )
    return data


def _all_of(descriptor: int, size: int) -> bytes:
    """Read a file of the declared size `size`, at most one byte more than the limit."""
    pieces = [os.read(descriptor, min(size, MAX_BYTES) + 1)]
    while pieces[-1] and sum(map(len, pieces)) <= MAX_BYTES:
        pieces.append(os.read(descriptor, 1 << 16))
    return b"".join(pieces) if pieces[1:-1] else pieces[0]


def _unreadable(shown: str, problem: OSError | ValueError) -> FilmUnreadableError:
    reason = getattr(problem, "strerror", None) or problem
    return FilmUnreadableError(f"{shown} cannot be opened: {reason}.", "Check its permissions.")


def _from_bytes(data: bytes, source: str, min_side: int) -> Film:
    if not data:
        raise FilmEmptyError(f"{source} is empty (0 bytes).", "Copy the film again from its source.")
    if is_dicom(data):
        return _from_dicom(data, source, min_side)
    container = unwrap(data, source)
    # The size in the header is checked before a pixel is decoded.
    _check_size(container.width, container.height, source, min_side)
    with _decoding(source):
        # Not `Image.open`, which compares the size with a limit of the whole process and warns.
        image = _DECODERS[container.format](BytesIO(container.picture))
        # In one call, because the decoder waits for the interpreter lock after each of its calls.
        image.decodermaxblock = len(container.picture)
        if container.depth == 16 and image.mode in {"RGB", "RGBA", "LA"}:
            check_high_bytes(image, source)
        return _from_image(image, source, container.format, min_side, container.orientation)


def _from_dicom(data: bytes, source: str, min_side: int) -> Film:
    from pneumoscan.imaging.dicom import open_film  # not needed for the other formats

    found = open_film(data, source, max_inflated=MAX_INFLATED)
    layout = found.layout
    _check_size(layout.columns, layout.rows, source, min_side, samples=layout.samples)
    return _film(found.pixels(), source, "DICOM", layout.mode)


@contextmanager
def _decoding(source: str) -> Iterator[None]:
    """Convert every exception of Pillow's decoders into an error of pneumoscan."""
    try:
        yield
    except FilmError:
        raise
    except (MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise FilmTooLargeError(
            f"{source} does not fit in memory.", "A film has a few million pixels."
        ) from None
    except Exception as problem:  # noqa: BLE001 - decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        text = str(problem) or type(problem).__name__
        if "truncated" in text.lower() or isinstance(problem, EOFError):
            raise FilmTruncatedError(
                f"{source} ends before its image is complete.", "Copy the film again."
            ) from None
        raise FilmDamagedError(f"{source} cannot be decoded: {text[:200]}.", "Copy the film again.") from None


def _from_image(image: Image.Image, source: str, kind: str, min_side: int, orientation: int = 0) -> Film:
    _check_size(image.width, image.height, source, min_side)
    with _decoding(source):
        mode = image.mode
        # An image of the caller keeps its own memory.
        pixels = None if kind == "image" else _decoded(image)
        if pixels is None:
            pixels = np.asarray(to_grey(image, source))
        turn = _TURNS.get(orientation or orientation_of(_exif(image)))
        if turn is not None:
            pixels = np.asarray(Image.fromarray(pixels).transpose(turn))
    return _film(pixels, source, kind, mode)


def _decoded(image: Image.Image) -> npt.NDArray[np.uint8] | None:
    """Decode an 8-bit grey file straight into an array; None for any other. Pillow's own conversion copies it twice."""
    if image.mode != "L" or image.has_transparency_data or not getattr(image, "tile", None):
        return None
    pixels = np.zeros((image.height, image.width), np.uint8)
    target = Image.frombuffer("L", image.size, pixels, "raw", "L", 0, 1).im
    image.im = target
    image.load()
    pixels.flags.writeable = False
    return pixels if image.im is target else np.asarray(image)


def _exif(image: Image.Image) -> bytes:
    block = image.info.get("exif")
    return block.removeprefix(b"Exif\x00\x00") if isinstance(block, bytes) else b""


def _from_array(array: npt.NDArray[np.generic], source: str, min_side: int) -> Film:
    if array.ndim not in {2, 3} or (array.ndim == 3 and array.shape[2] not in {1, 3, 4}) or array.size == 0:
        raise FilmValueError(
            f"{source} has shape {array.shape}.", "A film is (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)."
        )
    _check_size(array.shape[1], array.shape[0], source, min_side)
    eight_bit = array_to_uint8(array, source)
    if eight_bit.ndim == 3:
        channels = eight_bit.shape[2]
        image = Image.fromarray(eight_bit[:, :, 0] if channels == 1 else np.ascontiguousarray(eight_bit))
        eight_bit = np.asarray(to_grey(image, source))
    return _film(eight_bit, source, "array", str(array.dtype))


def _film(pixels: npt.NDArray[np.uint8], source: str, kind: str, mode: str) -> Film:
    sparse = pixels[::16, ::16]
    # A sparse sample is enough for nearly every film; only suspect films are checked completely.
    if sparse.min() == sparse.max() and pixels.min() == pixels.max():
        raise FilmUniformError(
            f"{source} has one grey value only ({int(pixels.flat[0])}).", "It is not a film; leave it out."
        )
    return Film(pixels=pixels, source=source, format=kind, mode=mode)


def _check_size(width: int, height: int, source: str, min_side: int, samples: int = 1) -> None:
    if min(width, height) < min_side:
        raise FilmTooSmallError(
            f"{source} is {width}×{height} pixels.", f"At least {min_side}×{min_side} are needed."
        )
    if width * height * samples > MAX_PIXELS:
        raise FilmTooLargeError(
            f"{source} declares {width}×{height} pixels.",
            f"At most {MAX_PIXELS // 1_000_000} megapixels are read.",
        )
