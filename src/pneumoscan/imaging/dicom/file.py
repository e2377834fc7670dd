"""Read the header of a DICOM file (PS3.10, section 7): transfer syntax, inflating, the data set, and the layout of the pixels (PS3.3, C.7.6.3)."""

import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from pneumoscan.errors import FilmError, FilmFormatError, FilmTooLargeError, FilmTruncatedError
from pneumoscan.imaging.dicom.elements import WANTED, DataSet, Encoding, Reader, Tag, fragments_end

_META_AT = 132
_EXPLICIT = Encoding(implicit=False, little=True)

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
RLE = "1.2.840.10008.1.2.5"
NATIVE = frozenset((IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED, EXPLICIT_BIG))
# JPEG (PS3.5, 8.2.1), JPEG-LS (8.2.3), JPEG 2000 (8.2.4), High-Throughput JPEG 2000 (8.2.14).
JPEG = frozenset(f"1.2.840.10008.1.2.4.{last}" for last in (50, 51, 57, 70))
JPEG_LS = frozenset(f"1.2.840.10008.1.2.4.{last}" for last in (80, 81))
JPEG_2000 = frozenset(f"1.2.840.10008.1.2.4.{last}" for last in (90, 91, 201, 202, 203))
_READ = NATIVE | {RLE} | JPEG | JPEG_LS | JPEG_2000


@dataclass(frozen=True)
class DicomFile:
    """A DICOM file, read up to its pixel data.

    Attributes:
        syntax: UID of the transfer syntax, which is a supported one.
        meta: The file meta information.
        header: The data set. Its last element is the pixel data, if there are any.
    """

    syntax: str
    meta: DataSet
    header: DataSet

    @property
    def reader(self) -> Reader:
        """The bytes to which the elements of the header refer: those of the file, or the inflated ones."""
        return self.header.reader


def open_file(data: bytes, source: str, *, max_inflated: int, wanted: Collection[int] = WANTED) -> DicomFile:
    """Open a file that begins with 128 bytes and `DICM`.

    Args:
        data: All bytes of the file.
        source: Name of the file in errors.
        max_inflated: Maximum number of bytes of an inflated data set.
        wanted: The elements to find in the data set.

    Raises:
        FilmFormatError: The transfer syntax is not supported.
        FilmTruncatedError, FilmDamagedError, FilmTooLargeError: The file is incomplete, damaged or too large.
    """
    reader = Reader(data, source)
    at = _META_AT
    while data[at : at + 2] == b"\x02\x00":
        at = reader.past(reader.head(at, _EXPLICIT)[1])
    meta = DataSet.read(reader, _META_AT, at, _EXPLICIT)
    syntax = meta.text(Tag.TRANSFER_SYNTAX)
    if syntax == DEFLATED:
        reader, at = Reader(_inflated(reader, at, max_inflated), source), 0
    if at >= len(reader.data):
        raise reader.truncated()
    encoding = _encoding(reader.data, at, syntax)
    syntax = syntax or (IMPLICIT_LITTLE if encoding.implicit else EXPLICIT_LITTLE)
    try:
        header = DataSet.read(reader, at, len(reader.data), encoding, wanted)
    except FilmTruncatedError:
        if _ends_with_pixels(reader, encoding):
            raise reader.damaged("a length or delimiter in its header is wrong") from None
        raise
    if syntax not in _READ:
        raise FilmFormatError(
            f"{source} is a DICOM file with a transfer syntax that is not supported.",
            "Export it uncompressed, or as JPEG 2000, JPEG-LS or RLE.",
        )
    return DicomFile(syntax, meta, header)


def sop_class(file: DicomFile) -> str:
    """Return the UID of what the file says it is; empty if it does not."""
    return file.header.text(Tag.SOP_CLASS) or file.meta.text(Tag.MEDIA_SOP_CLASS)


def _encoding(data: bytes, at: int, syntax: str) -> Encoding:
    """Return the encoding of the data set: that of the syntax, unless the first element shows another."""
    if syntax == EXPLICIT_BIG:
        return Encoding(implicit=False, little=False)
    vr = data[at + 4 : at + 6]
    return Encoding(implicit=not (len(vr) == 2 and vr.isalpha() and vr.isupper()), little=True)


def _ends_with_pixels(reader: Reader, encoding: Encoding) -> bool:
    """Return whether whole pixel data end the file, so that it was not cut off."""
    at = reader.data.rfind(struct.pack(encoding.order + "HH", Tag.PIXELS >> 16, Tag.PIXELS & 0xFFFF))
    rest = Reader(reader.data, reader.source)
    try:
        element = rest.head(at, encoding)[1]
        if element.undefined:
            return fragments_end(rest, element.start) == "closed"
    except (struct.error, FilmError):
        return False
    # Padding may follow, but not the rest of a header: then the pixels are those of an icon.
    after = rest.data[element.end : element.end + 2]
    return at >= 0 and after in {b"", b"\0\0", b"\xfc\xff", b"\xff\xfc"}


def _inflated(reader: Reader, at: int, most: int) -> bytes:
    """Return the inflated data set (PS3.5, A.5), at most `most` bytes."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        with memoryview(reader.data) as view:
            inflated = inflater.decompress(view[at:], most + 1)
    except zlib.error:
        raise reader.damaged("its deflated data set is damaged") from None
    if len(inflated) > most:
        raise FilmTooLargeError(
            f"{reader.source} inflates to more than {most >> 20} MiB.", "A film has a few; check the file."
        )
    if not inflater.eof:
        raise reader.truncated()
    return inflated


GREY: Final = frozenset(("MONOCHROME1", "MONOCHROME2"))
COLOUR: Final = frozenset(("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"))


@dataclass(frozen=True)
class Layout:
    """The pixel module of a film.

    Attributes:
        rows: Height in pixels, 0 is possible.
        columns: Width in pixels, 0 is possible.
        samples: 1 for grey, 3 for colour.
        photometric: One of `GREY` or `COLOUR`; MONOCHROME1 means that the lowest value is white.
        planar: Whether colours are stored in three planes.
        bits_allocated: 8 or 16.
        bits_stored: Number of bits of the pixel, 1 to `bits_allocated`; other bits may contain an overlay.
        shift: Number of unused bits below them.
        signed: Whether the value is a two's complement.
    """

    rows: int
    columns: int
    samples: int
    photometric: str
    planar: bool
    bits_allocated: int
    bits_stored: int
    shift: int
    signed: bool

    @property
    def bytes_each(self) -> int:
        """Bytes of one sample: 1 or 2."""
        return self.bits_allocated // 8

    @property
    def mode(self) -> str:
        """The mode of the film: photometric interpretation and stored bits, such as `MONOCHROME2/12`."""
        return f"{self.photometric}/{self.bits_stored}"


def layout_of(header: DataSet) -> Layout:
    """Read the layout from a header.

    Raises:
        FilmFormatError: The colour coding or bit depth is not supported.
        FilmDamagedError: The values are missing or contradict each other.
    """
    reader, photometric = header.reader, header.text(Tag.PHOTOMETRIC)
    samples = header.integer(Tag.SAMPLES, 1)
    allocated = header.integer(Tag.BITS_ALLOCATED)
    stored = header.integer(Tag.BITS_STORED, allocated)
    high = header.integer(Tag.HIGH_BIT, stored - 1) if stored else 0
    signed = header.integer(Tag.SIGNED, 0)
    _check_colours(reader, photometric, samples, allocated)
    if not (1 <= stored <= high + 1 <= allocated and signed in {0, 1}):
        raise reader.damaged("the description of its bits is contradictory")
    return Layout(
        rows=header.integer(Tag.ROWS),
        columns=header.integer(Tag.COLUMNS),
        samples=samples,
        photometric=photometric,
        planar=header.integer(Tag.PLANAR, 0) == 1,
        bits_allocated=allocated,
        bits_stored=stored,
        shift=high + 1 - stored,
        signed=signed == 1,
    )


def _check_colours(reader: Reader, photometric: str, samples: int, allocated: int) -> None:
    grey = photometric in GREY and samples == 1 and allocated in {8, 16}
    colour = photometric in COLOUR and samples == 3 and allocated == 8
    if not (grey or colour):
        raise FilmFormatError(
            f"{reader.source} has pixels with a colour coding or bit depth that is not supported.",
            "Export it with 8 or 16 bits of grey, or as 8-bit RGB.",
        )
