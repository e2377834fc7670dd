"""Decode the frame of a film into stored values, for every supported transfer syntax.

Compressed frames are decoded by imagecodecs, which works without the interpreter lock; JPEG 2000 also by Pillow.
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, JpegImagePlugin

from pneumoscan.errors import (
    CodecMissingError,
    FilmDamagedError,
    FilmError,
    FilmTooLargeError,
    FilmTruncatedError,
)
from pneumoscan.imaging.container import unwrap
from pneumoscan.imaging.dicom.codestream import Claim, check_claim, claim_of
from pneumoscan.imaging.dicom.elements import Reader, Tag, fragments, fragments_end
from pneumoscan.imaging.dicom.file import (
    EXPLICIT_BIG,
    JPEG,
    JPEG_2000,
    JPEG_LS,
    NATIVE,
    RLE,
    DicomFile,
    Layout,
)

Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
# These are RGB after decoding (PS3.5, 8.2.4).
_TRANSFORMED = frozenset(("YBR_ICT", "YBR_RCT"))


def decode_frame(frame: bytes, syntax: str, claim: Claim, layout: Layout, reader: Reader) -> Samples:
    """Decode a JPEG 2000, JPEG-LS, lossless or 12-bit JPEG frame.

    Args:
        frame: The codestream, checked by `check_claim`.
        syntax: UID of the transfer syntax.
        claim: Header of the codestream.
        layout: Layout of the pixels.
        reader: For errors.

    Returns:
        uint8 or uint16 (rows, columns), two's complement if signed; colour as uint8 (rows, columns, 3) in RGB, or its luma.

    Raises:
        CodecMissingError: The codec is not installed.
        FilmDamagedError: The result has another shape.
        Exception: The codec fails, with an exception of its own.
    """
    decoded = _decoder(syntax, reader)(frame, claim)
    if decoded.shape == (layout.samples, layout.rows, layout.columns) and layout.samples > 1:
        decoded = decoded.transpose(1, 2, 0)
    if decoded.shape != (layout.rows, layout.columns, layout.samples)[: 2 + (layout.samples > 1)]:
        raise reader.damaged("its compressed image has another size than its header")
    # Signed values of a few bits need the sign in all allocated bits.
    wide = decoded.astype(f"{decoded.dtype.kind}{layout.bytes_each}", copy=False)
    values: Samples = wide.view(f"u{layout.bytes_each}")
    luma_first = layout.photometric.startswith("YBR") and layout.photometric not in _TRANSFORMED
    return values[:, :, 0] if luma_first else values


def _decoder(syntax: str, reader: Reader) -> Callable[[bytes, Claim], npt.NDArray[Any]]:
    if not _installed():
        if syntax in JPEG_2000:
            return _jpeg_2000_by_pillow
        raise _missing(syntax, reader)
    if syntax in JPEG_2000:
        return _jpeg_2000
    return _jpeg_ls if syntax in JPEG_LS else _jpeg_by_imagecodecs


@cache
def _installed() -> bool:
    return find_spec("imagecodecs") is not None


def _jpeg_2000(frame: bytes, _claim: Claim) -> npt.NDArray[Any]:
    import imagecodecs  # here and below, because other films do not need it

    decoded: npt.NDArray[Any] = imagecodecs.jpeg2k_decode(frame, numthreads=1)
    return decoded


def _jpeg_ls(frame: bytes, _claim: Claim) -> npt.NDArray[Any]:
    import imagecodecs

    decoded: npt.NDArray[Any] = imagecodecs.jpegls_decode(frame)
    return decoded


def _jpeg_by_imagecodecs(frame: bytes, claim: Claim) -> npt.NDArray[Any]:
    """Decode lossless JPEG, or JPEG of 12 bits; colours stay as they are stored."""
    import imagecodecs

    kept = None if claim.components == 1 else "RGB"
    decoded: npt.NDArray[Any] = imagecodecs.jpeg8_decode(frame, colorspace=kept, outcolorspace=kept)
    return decoded


def _jpeg_2000_by_pillow(frame: bytes, claim: Claim) -> npt.NDArray[Any]:
    decoded = np.asarray(Image.open(BytesIO(frame), formats=("JPEG2000",)))
    if claim.components > 1:
        return decoded
    # Pillow shifts values to the highest bits, and signed ones into the positive range.
    values = decoded >> (8 * decoded.itemsize - claim.bits)
    return values.astype(np.int32) - (1 << (claim.bits - 1)) if claim.signed else values


def codecs() -> dict[str, bool]:
    """Return, for each compression that needs a codec, whether the codec is installed."""
    return {"JPEG 2000": True, "JPEG-LS": _installed(), "lossless or 12-bit JPEG": _installed()}


def _missing(syntax: str, reader: Reader) -> CodecMissingError:
    kind = "JPEG-LS" if syntax in JPEG_LS else "lossless or 12-bit JPEG"
    return CodecMissingError(
        f"{reader.source} is compressed as {kind}, for which no codec is installed.",
        'pip install "pneumoscan[dicom]"',
    )


# Some writers pad the pixel data to full blocks.
_MAX_EXCESS = 4096
_DCT_8_BIT = frozenset((0xC0, 0xC1, 0xC2))


class Decoded(NamedTuple):
    """The frame of a film.

    Attributes:
        samples: uint8 or uint16 (rows, columns); colour as uint8 (rows, columns, 3) in RGB, or of one luma (rows, columns).
        bits: Bits of a sample that have a meaning, counted from the lowest.
        shift: Number of unused bits below the stored ones.
        lossy: Whether a lossy compression may have made values that the stored bits cannot represent.
    """

    samples: Samples
    bits: int
    shift: int
    lossy: bool


def decode(file: DicomFile, layout: Layout) -> Decoded:
    """Return the stored values of the frame, with all bits unchanged.

    Args:
        file: A file with pixel data.
        layout: Layout of its pixels, with an accepted size.

    Raises:
        FilmTruncatedError, FilmDamagedError: The pixel data are incomplete or damaged.
        CodecMissingError: This transfer syntax needs a package that is not installed.
    """
    element, reader = file.header.elements[Tag.PIXELS], file.reader
    if element.undefined != (file.syntax not in NATIVE):
        raise reader.damaged("its pixel data do not have the coding of its transfer syntax")
    # Later the film may have been stored in a syntax without loss, with the values of a lossy one.
    lossy = file.header.text(Tag.LOSSY) == "01"
    if file.syntax in NATIVE:
        with _decoding(reader):
            return Decoded(_native(file, layout), layout.bits_allocated, layout.shift, lossy)
    pieces = fragments(reader, element.start)
    with memoryview(reader.data) as view:
        frame = b"".join(view[start:end] for start, end in pieces)
    try:
        with _decoding(reader):
            if file.syntax == RLE:
                planes = _run_lengths(frame, layout, reader)
                return Decoded(planes, layout.bits_allocated, layout.shift, lossy)
            return _decompressed(frame, file.syntax, layout, reader, lossy=lossy)
    except (FilmDamagedError, FilmTruncatedError):
        match fragments_end(reader, element.start):
            case "missing":
                raise reader.truncated() from None
            case "open":
                raise reader.damaged("the fragments of its pixel data are not aligned") from None
        raise


def _decompressed(frame: bytes, syntax: str, layout: Layout, reader: Reader, *, lossy: bool) -> Decoded:
    claim = claim_of(frame, syntax, reader)
    check_claim(claim, frame, syntax, layout, reader)
    if syntax in JPEG and claim.bits == 8 and claim.process in _DCT_8_BIT:
        samples: Samples = _jpeg(frame, layout, reader)
    else:
        samples = decode_frame(frame, syntax, claim, layout, reader)
    # Codecs get the pixel as it is stored, or only its stored bits: the depth of the codestream tells.
    shift = layout.shift if claim.bits >= layout.bits_stored + layout.shift else 0
    return Decoded(
        samples, layout.bits_allocated if claim.signed else claim.bits, shift, lossy or claim.lossy
    )


@contextmanager
def _decoding(reader: Reader) -> Iterator[None]:
    """Convert every exception and warning of the decoders into an error of pneumoscan, without their text."""
    try:
        yield
    except (FilmError, CodecMissingError):
        raise
    except MemoryError:
        raise FilmTooLargeError(
            f"{reader.source} does not fit in memory.", "A film has a few million pixels."
        ) from None
    except Exception:  # noqa: BLE001 - plugins raise RuntimeError, ValueError, struct.error, AttributeError, ...
        raise reader.damaged("its pixel data are damaged") from None


def _native(file: DicomFile, layout: Layout) -> Samples:
    element, reader = file.header.elements[Tag.PIXELS], file.reader
    values = layout.rows * layout.columns * layout.samples
    if layout.photometric == "YBR_FULL_422":
        values = values // 3 * 2
    excess = element.end - element.start - values * layout.bytes_each
    if not 0 <= excess <= _MAX_EXCESS:
        raise reader.damaged("its pixel data are shorter or longer than its rows and columns")
    if layout.bytes_each == 2:
        words = np.frombuffer(reader.data, file.header.encoding.order + "u2", values, element.start)
        return words.astype(np.uint16, copy=False).reshape(layout.rows, layout.columns)
    values += values % 2
    octets = np.frombuffer(reader.data, np.uint8, min(values, element.end - element.start), element.start)
    if file.syntax == EXPLICIT_BIG and element.vr == b"OW":
        # Big-endian words contain two pixels in the wrong order (PS3.5, D).
        octets = octets.view(np.uint16).byteswap().view(np.uint8)
    return _arranged(octets, layout)


def _arranged(octets: npt.NDArray[np.uint8], layout: Layout) -> npt.NDArray[np.uint8]:
    """Return 8-bit samples (rows, columns) or RGB (rows, columns, 3); the luma if there is one."""
    shape = (layout.rows, layout.columns)
    pixels = layout.rows * layout.columns
    if layout.samples == 1:
        return octets[:pixels].reshape(shape)
    if layout.photometric == "YBR_FULL_422":
        # Two luma values come before two chroma values (PS3.3, C.7.6.3.1.2).
        return octets[: pixels * 2].reshape(-1, 4)[:, :2].reshape(shape)
    octets = octets[: pixels * 3]
    colours = octets.reshape(3, *shape).transpose(1, 2, 0) if layout.planar else octets.reshape(*shape, 3)
    return colours[:, :, 0] if layout.photometric == "YBR_FULL" else colours


def _run_lengths(frame: bytes, layout: Layout, reader: Reader) -> Samples:
    """Decode RLE (PS3.5, G): one plane per byte of each sample, the highest byte first.

    The runs equal those of TIFF's PackBits, which Pillow decodes in C. A single row for the whole plane lets runs cross rows.
    """
    count, *offsets = struct.unpack_from("<16I", frame)
    if count != layout.samples * layout.bytes_each:
        raise reader.damaged("its pixel data have another number of planes than its header")
    bounds = [*offsets[:count], len(frame)]
    pixels = layout.rows * layout.columns
    planes = [
        np.asarray(Image.frombytes("L", (pixels, 1), frame[start:end], "packbits", "L")).reshape(-1)
        for start, end in pairwise(bounds)
    ]
    if layout.bytes_each == 2:
        words = planes[0].astype(np.uint16)
        words <<= 8
        words |= planes[1]
        return words.reshape(layout.rows, layout.columns)
    if layout.samples == 1:
        return planes[0].reshape(layout.rows, layout.columns)
    if layout.photometric == "YBR_FULL":
        return planes[0].reshape(layout.rows, layout.columns)
    return np.stack(planes, axis=-1).reshape(layout.rows, layout.columns, 3)


def _jpeg(frame: bytes, layout: Layout, reader: Reader) -> npt.NDArray[np.uint8]:
    """Decode an 8-bit JPEG in the same way as a film in a JPEG file."""
    container = unwrap(frame, reader.source)
    image = JpegImagePlugin.JpegImageFile(BytesIO(container.picture))
    if (
        layout.samples == 3
        and layout.photometric == "RGB"
        and not {"adobe_transform", "jfif"} & image.info.keys()
    ):
        # Without a marker, libjpeg interprets three components as luma and chroma; the header is more reliable.
        image.draft("YCbCr", image.size)
        return np.asarray(Image.frombytes("RGB", image.size, image.tobytes()))
    return np.asarray(image)
