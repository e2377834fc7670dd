"""The elements of a DICOM data set (PS3.5, section 7): the listed ones are read, all others are skipped."""

import math
import re
import struct
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, NamedTuple, Self

from pneumoscan.errors import FilmDamagedError, FilmTooLargeError, FilmTruncatedError, FilmValueError

# A radiograph has about 150; elements nested in sequences of undefined length count too.
MAX_ELEMENTS = 50_000

_UNDEFINED = 0xFFFF_FFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD
_LONG_VRS = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
# How compressed images begin: JPEG and JPEG-LS, JPEG 2000, JPEG 2000 in a JP2 container.
_CODESTREAMS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")
_VRS = _LONG_VRS | frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
# PS3.5, 6.2: decimal and integer strings; Python's float() also accepts "nan" and "1_0".
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class Tag(IntEnum):
    """The elements that are read. No other part of a header is."""

    MEDIA_SOP_CLASS = 0x0002_0002
    TRANSFER_SYNTAX = 0x0002_0010
    SOP_CLASS = 0x0008_0016
    MODALITY = 0x0008_0060
    CODE_VALUE = 0x0008_0100
    CODE_MEANING = 0x0008_0104
    DEVICE_MODEL = 0x0008_1090
    ANATOMIC_REGION = 0x0008_2218
    BODY_PART = 0x0018_0015
    VIEW_POSITION = 0x0018_5101
    SAMPLES = 0x0028_0002
    PHOTOMETRIC = 0x0028_0004
    PLANAR = 0x0028_0006
    FRAMES = 0x0028_0008
    ROWS = 0x0028_0010
    COLUMNS = 0x0028_0011
    BITS_ALLOCATED = 0x0028_0100
    BITS_STORED = 0x0028_0101
    HIGH_BIT = 0x0028_0102
    SIGNED = 0x0028_0103
    PADDING = 0x0028_0120
    PADDING_LIMIT = 0x0028_0121
    WINDOW_CENTER = 0x0028_1050
    WINDOW_WIDTH = 0x0028_1051
    RESCALE_INTERCEPT = 0x0028_1052
    RESCALE_SLOPE = 0x0028_1053
    WINDOW_FUNCTION = 0x0028_1056
    LOSSY = 0x0028_2110
    MODALITY_LUT = 0x0028_3000
    LUT_DESCRIPTOR = 0x0028_3002
    LUT_DATA = 0x0028_3006
    VOI_LUT = 0x0028_3010
    VIEW_CODE = 0x0054_0220
    LUT_SHAPE = 0x2050_0020
    PIXELS = 0x7FE0_0010


WANTED = frozenset(Tag)


class Encoding(NamedTuple):
    """Encoding of a data set: with or without value representations, and the byte order."""

    implicit: bool
    little: bool

    @property
    def order(self) -> str:
        """The byte order in the notation of `struct` and NumPy."""
        return "<" if self.little else ">"


class Element(NamedTuple):
    """Position of the value of an element.

    Attributes:
        vr: Value representation, two letters; empty if the encoding has none.
        start: Start of the value in the data.
        end: End of the value; equal to `start` if the length is undefined.
        undefined: Whether the length is undefined.
        encoding: Encoding of nested elements.
    """

    vr: bytes
    start: int
    end: int
    undefined: bool
    encoding: Encoding


@dataclass
class Reader:
    """Bytes that contain elements, and the number of elements that may still be read."""

    data: bytes
    source: str
    left: int = field(default=MAX_ELEMENTS)

    def head(self, at: int, encoding: Encoding) -> tuple[int, Element]:
        """Return the tag at a position, and its element.

        Raises:
            FilmTruncatedError: The data end before the value is complete.
            FilmTooLargeError: The data have more elements than a film.
        """
        self.left -= 1
        if self.left < 0:
            raise FilmTooLargeError(
                f"{self.source} has more than {MAX_ELEMENTS} elements.", "It is not a film."
            )
        if at + 8 > len(self.data):
            raise self.truncated()
        group, number = struct.unpack_from(encoding.order + "HH", self.data, at)
        vr, start, length = self._vr_and_length(at, group, encoding)
        tag, undefined = group << 16 | number, length == _UNDEFINED
        if not (vr in _VRS or encoding.implicit or group == 0xFFFE):
            start, length = self._likely(at, tag, start, length, encoding)
            undefined = length == _UNDEFINED
        end = start if undefined else start + length
        if end > len(self.data):
            raise self.truncated()
        # An unknown representation with undefined length contains implicit little endian (PS3.5, 6.2.2).
        inner = Encoding(implicit=True, little=True) if vr == b"UN" else encoding
        return tag, Element(vr, start, end, undefined, inner)

    def _vr_and_length(self, at: int, group: int, encoding: Encoding) -> tuple[bytes, int, int]:
        order, vr = encoding.order, self.data[at + 4 : at + 6]
        # Some writers omit the representation in nested elements; upper-case letters show its presence.
        if encoding.implicit or group == 0xFFFE or not (vr.isalpha() and vr.isupper()):
            return b"", at + 8, struct.unpack_from(order + "I", self.data, at + 4)[0]
        if vr not in _LONG_VRS:
            return vr, at + 8, struct.unpack_from(order + "H", self.data, at + 6)[0]
        if at + 12 > len(self.data):
            raise self.truncated()
        return vr, at + 12, struct.unpack_from(order + "I", self.data, at + 8)[0]

    def _likely(self, at: int, tag: int, start: int, length: int, encoding: Encoding) -> tuple[int, int]:
        """Return start and length of a value whose representation is unknown, by the tag that follows it.

        An unknown representation has a length of two bytes in old files and of four bytes in new ones (PS3.5, 7.1.2).
        """
        candidates = [(start, length)]
        if at + 12 <= len(self.data):
            (short,) = struct.unpack_from(encoding.order + "H", self.data, at + 6)
            candidates.append((at + 8, int(short)))
            if short == 0:
                candidates.append((at + 12, struct.unpack_from(encoding.order + "I", self.data, at + 8)[0]))
        for found in candidates:
            end = sum(found)
            if found[1] == _UNDEFINED or end == len(self.data) or self._number(end, encoding) > tag:
                return found
        return start, length

    def past(self, element: Element) -> int:
        """Return the position of the next element. Nesting uses an explicit stack, so any depth is possible.

        Some writers leave out a delimiter, or write that of a sequence after its last item.
        """
        if not element.undefined:
            return element.end
        at, nested = element.start, [(element.encoding, False)]
        while nested:
            encoding, in_item = nested[-1]
            tag, inner = self.head(at, encoding)
            if (tag == _ITEM) == in_item and tag not in {_ITEM_END, _SEQUENCE_END}:
                # An item in an item, or an element in a sequence: what contains it has ended before.
                nested.pop()
                continue
            at = inner.end
            if tag in {_ITEM_END, _SEQUENCE_END}:
                nested.pop()
                if (
                    tag == _SEQUENCE_END
                    and in_item
                    and self._number(at, encoding) not in {_ITEM, _SEQUENCE_END}
                ):
                    nested.pop()
            elif inner.undefined:
                nested.append((encoding if tag == _ITEM else inner.encoding, tag == _ITEM))
        return at

    def _number(self, at: int, encoding: Encoding) -> int:
        """Return the tag at a position without reading its element; 0 at the end of the data."""
        if at + 4 > len(self.data):
            return 0
        group, number = struct.unpack_from(encoding.order + "HH", self.data, at)
        return int(group << 16 | number)

    def truncated(self) -> FilmTruncatedError:
        """Return the error of a file that ends too early."""
        return FilmTruncatedError(f"{self.source} ends before its image is complete.", "Copy the film again.")

    def damaged(self, what: str) -> FilmDamagedError:
        """Return the error for a file with contradicting parts. `what` must not contain a header value."""
        return FilmDamagedError(f"{self.source} cannot be decoded: {what}.", "Export the film again.")

    def wrong(self, what: str) -> FilmValueError:
        """Return the error for a header with invalid values. `what` must not contain such a value."""
        return FilmValueError(
            f"{self.source} cannot be displayed: {what}.", "Have the header corrected at its source."
        )


@dataclass(frozen=True)
class DataSet:
    """The requested elements of one level. Values are converted on demand."""

    reader: Reader
    encoding: Encoding
    elements: Mapping[int, Element]

    @classmethod
    def read(
        cls,
        reader: Reader,
        at: int,
        end: int,
        encoding: Encoding,
        wanted: Collection[int] = WANTED,
        *,
        item: bool = False,
    ) -> Self:
        """Read one level until `end`, the delimiter of an `item`, or the pixel data, which are the last element."""
        found: dict[int, Element] = {}
        while at < end:
            tag, element = reader.head(at, encoding)
            if item and tag in {_ITEM_END, _SEQUENCE_END}:
                break
            if tag in wanted:
                found[tag] = element
            if tag == Tag.PIXELS:
                break
            at = reader.past(element)
        return cls(reader, encoding, found)

    def __contains__(self, tag: Tag) -> bool:
        """Return whether the element exists and has a value."""
        element = self.elements.get(tag)
        return element is not None and (element.undefined or element.end > element.start)

    def raw(self, tag: int) -> bytes:
        """Return the bytes of a value; empty if it is absent."""
        element = self.elements.get(tag)
        return self.reader.data[element.start : element.end] if element is not None else b""

    def text(self, tag: Tag) -> str:
        """Return the first value as upper-case text without accents and padding; empty if it is absent."""
        value = self.raw(tag).split(b"\\")[0][:256]
        try:
            text = value.decode()
        except UnicodeDecodeError:
            text = value.decode("latin-1")
        plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
        return plain.strip(" \0\t\r\n").upper()

    def words(self, tag: Tag) -> frozenset[str]:
        """Return the words of `text`, separated by anything but letters."""
        return frozenset(re.findall(r"[A-Z]+", self.text(tag)))

    def number(self, tag: Tag) -> float | None:
        """Return the first value of a decimal or integer string; None if it is absent or empty.

        Raises:
            FilmValueError: The value is not a finite number.
        """
        text = self.text(tag)
        if not text:
            return None
        value = float(text) if _DECIMAL.fullmatch(text) else math.nan
        if not math.isfinite(value):
            raise self.reader.wrong(f"its {name_of(tag)} is not a finite number")
        return value

    def integer(self, tag: Tag, default: int | None = None, *, signed: bool = False) -> int:
        """Return the first 16-bit value.

        Raises:
            FilmDamagedError: The value is absent and has no default, or is too short.
        """
        value = self.raw(tag)
        if not value and default is not None:
            return default
        if len(value) < 2:
            raise self.reader.damaged(f"its {name_of(tag)} is missing")
        (found,) = struct.unpack_from(self.encoding.order + ("h" if signed else "H"), value)
        return int(found)

    def item(self, tag: Tag) -> "DataSet | None":
        """Return the first item of a sequence; None if there is none."""
        element = self.elements.get(tag)
        if element is None:
            return None
        reader = self.reader
        end = len(reader.data) if element.undefined else element.end
        if element.start >= end:
            return None
        inner, item = reader.head(element.start, element.encoding)
        if inner != _ITEM:
            return None
        last = end if item.undefined else item.end
        return DataSet.read(reader, item.start, last, element.encoding, item=True)


def fragments(reader: Reader, at: int) -> list[tuple[int, int]]:
    """Return start and end of each fragment of encapsulated pixel data, without the offset table (PS3.5, A.4).

    The last one is the last that is whole: some writers omit the delimiter after it, or write zeros or another delimiter.
    Whether the image in them is complete, its own end tells.

    Raises:
        FilmTruncatedError: The data end within a fragment.
        FilmDamagedError: A fragment has no length.
    """
    return _fragments(reader, at)[0]


def fragments_end(reader: Reader, at: int) -> Literal["closed", "open", "missing"]:
    """Return how encapsulated pixel data end: with their delimiter, with something else, or with the file."""
    end = _fragments(reader, at)[1]
    if end + 8 > len(reader.data):
        return "missing"
    return "closed" if _item_head(reader.data, end)[0] == _SEQUENCE_END else "open"


def _fragments(reader: Reader, at: int) -> tuple[list[tuple[int, int]], int]:
    """Return the fragments and the position behind them."""
    found: list[tuple[int, int]] = []
    while at + 8 <= len(reader.data):
        tag, length = _item_head(reader.data, at)
        if tag != _ITEM and (tag, length) != (_ITEM_END, 0):
            break
        element = reader.head(at, Encoding(implicit=True, little=True))[1]
        if element.undefined:
            raise reader.damaged("a fragment of its pixel data has no length")
        if tag == _ITEM:
            found.append((element.start, element.end))
        at = element.end
    # The first item is the offset table, but some writers omit it.
    first = found[:1] if len(found) == 1 else []
    if found and reader.data.startswith(_CODESTREAMS, found[0][0]):
        first = found[:1]
    return first + found[1:], at


def _item_head(data: bytes, at: int) -> tuple[int, int]:
    group, number, length = struct.unpack_from("<HHI", data, at)
    return group << 16 | number, length


def name_of(tag: Tag) -> str:
    """Return the name of an element for a message, such as `RESCALE SLOPE`."""
    return tag.name.replace("_", " ")
