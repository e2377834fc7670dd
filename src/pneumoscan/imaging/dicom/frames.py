"""Decode the frame of a film into stored values, for every supported transfer syntax."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import pairwise
from typing import NamedTuple

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
from pneumoscan.imaging.dicom.codecs import Samples, decode_frame
from pneumoscan.imaging.dicom.codestream import check_claim, claim_of
from pneumoscan.imaging.dicom.elements import Reader, Tag, fragments, fragments_end
from pneumoscan.imaging.dicom.file import EXPLICIT_BIG, JPEG, NATIVE, RLE, DicomFile
from pneumoscan.imaging.dicom.layout import Layout

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
