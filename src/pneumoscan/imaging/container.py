"""Structure of JPEG and PNG files, read without decoding a pixel. Only the parts of the image itself are kept.

Comments, colour profiles, previews, EXIF and XMP are removed. A decoder that never sees them cannot crash, warn or run out
of memory because of them. The EXIF orientation, which films need, is read here.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pneumoscan.errors import FilmAnimatedError, FilmDamagedError, FilmFormatError, FilmTruncatedError

JPEG_SIGNATURE = b"\xff\xd8\xff"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# PS3.10, section 7.1: the prefix follows 128 bytes of any value.
DICOM_PREFIX = b"DICM"


@dataclass(frozen=True)
class Container:
    """The structure of the file of a film.

    Attributes:
        format: Format of the file, by its content.
        width: Columns in pixels according to the header; 0 is possible.
        height: Rows in pixels according to the header; 0 is possible.
        orientation: The EXIF orientation, 1 (upright) to 8.
        picture: A complete file of the same format that contains only the image.
        depth: Bits per channel.
    """

    format: Literal["JPEG", "PNG"]
    width: int
    height: int
    orientation: int
    picture: bytes
    depth: int = 8


def is_dicom(data: bytes) -> bool:
    """Return whether bytes are those of a DICOM file, by its prefix."""
    return data[128:132] == DICOM_PREFIX and not data.startswith((JPEG_SIGNATURE, PNG_SIGNATURE))


def unwrap(data: bytes, source: str) -> Container:
    """Read the structure of a JPEG or PNG file.

    Args:
        data: At least one byte.
        source: Name of the file in errors.

    Raises:
        FilmFormatError: The file is neither JPEG nor PNG, or a kind of JPEG that is not supported.
        FilmTruncatedError: The file ends before the image is complete.
        FilmDamagedError: A length or a checksum is wrong.
        FilmAnimatedError: The PNG contains more than one image.
    """
    if data.startswith(JPEG_SIGNATURE):
        return _unwrap_jpeg(data, source)
    if data.startswith(PNG_SIGNATURE):
        return _unwrap_png(data, source)
    if JPEG_SIGNATURE.startswith(data) or PNG_SIGNATURE.startswith(data):
        raise _truncated(source)
    raise FilmFormatError(
        f"{source} is {_other_format(data)}, neither a JPEG or PNG image nor a DICOM file.",
        "Export the film as DICOM, JPEG or PNG.",
    )


# Other formats by their first bytes, only for the message.
_OTHERS = (
    (rb"GIF8", "a GIF"),
    (rb"%PDF", "a PDF"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript file"),
    (rb"BM", "a BMP"),
    (rb"II\*\x00|MM\x00\*", "a TIFF"),
    (rb"RIFF....WEBP", "a WebP"),
    (rb"PK\x03\x04|PK\x05\x06", "a zip archive"),
    (rb"\x1f\x8b", "a gzip archive"),
    (rb"\x00\x00\x01\x00", "an icon"),
    (rb"\x00\x00\x00\x0cjP|\xff\x4f\xff\x51", "a JPEG 2000"),
    (rb"....ftyp", "an HEIF or AVIF image or a video"),
    (rb"[\x02\x08]\x00.\x00([A-Z]{2}|..\x00\x00)", "a DICOM data set without the file preamble"),
    (rb"\s*<(\?xml|svg|!DOCTYPE|html)", "an XML, SVG or HTML text"),
)


def _other_format(data: bytes) -> str:
    for pattern, name in _OTHERS:
        if re.match(pattern, data[:200], re.DOTALL | re.IGNORECASE):
            return name
    return "of an unknown format"


def _truncated(source: str) -> FilmTruncatedError:
    return FilmTruncatedError(f"{source} ends before its image is complete.", "Copy the film again.")


def _damaged(source: str, what: str) -> FilmDamagedError:
    return FilmDamagedError(f"{source} cannot be decoded: {what}.", "Copy the film again.")


# JPEG: ITU-T T.81, annex B.

_END, _SCAN, _APP1 = 0xD9, 0xDA, 0xE1
_BARE = {0x01}
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_READABLE_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
# Encoders write about ten scans. Each covers the whole image: 20,000 of them in 3 MB took a decoder four minutes.
_MAX_SCANS = 100
# Application data and comments; APP0 and APP14 describe the coding of colours.
_LEFT_BEHIND = {0xFE, *range(0xE1, 0xF0)} - {0xEE}


class _Segment(NamedTuple):
    marker: int
    start: int
    end: int


def _unwrap_jpeg(data: bytes, source: str) -> Container:
    kept, frame, orientation = [(0, 2)], None, 0
    for marker, start, end in _segments(data, source):
        if marker in _FRAMES:
            frame = _frame(marker, data[start + 4 : end], source)
        elif marker == _APP1 and data.startswith(b"Exif\x00\x00", start + 4, end) and not orientation:
            orientation = orientation_of(data[start + 10 : end])
        if marker in _LEFT_BEHIND:
            continue
        # Adjacent segments are kept as one piece, because copying the long image data costs time.
        kept[-1:] = [(kept[-1][0], end)] if start == kept[-1][1] else [kept[-1], (start, end)]
    if frame is None:
        raise _damaged(source, "it has no frame header")
    return Container(
        "JPEG", frame[0], frame[1], orientation or 1, b"".join(data[start:end] for start, end in kept)
    )


def _segments(data: bytes, source: str) -> Iterator[_Segment]:
    """Yield the segments up to the end of the first image; the segment of a scan includes its coded data."""
    at, scans = 2, 0
    while True:
        # Decoders skip bytes between segments, and padding with 0xFF.
        found = _MARKER.search(data, at)
        if found is None:
            raise _truncated(source)
        marker, start = found[1][0], found.start()
        if marker == _END:
            break
        end = start + 2 if marker in _BARE else start + 2 + _length(data, start + 2, source)
        if marker == _SCAN:
            scans += 1
            if scans > _MAX_SCANS:
                raise _damaged(source, f"it has more than {_MAX_SCANS} scans")
            coded_end = _MARKER.search(data, end)
            end = coded_end.start() if coded_end else len(data)
        yield _Segment(marker, start, end)
        at = end
    if not scans:
        raise _damaged(source, "it has no scan")
    yield _Segment(_END, start, start + 2)


def _length(data: bytes, at: int, source: str) -> int:
    """Return the length that a segment declares, including its own two bytes."""
    length = int.from_bytes(data[at : at + 2])
    if at + max(length, 2) > len(data):
        if data.rstrip(b"\0\xff\r\n ").endswith(b"\xff\xd9"):
            raise _damaged(source, "a segment is longer than the file")
        raise _truncated(source)
    if length < 2:
        raise _damaged(source, f"a segment has the length {length}")
    return length


def _frame(marker: int, body: bytes, source: str) -> tuple[int, int]:
    """Return width and height of a frame header (T.81, B.2.2)."""
    if len(body) < 6:
        raise _damaged(source, "its frame header is too short")
    bits, height, width = struct.unpack(">BHH", body[:5])
    if bits != 8 or marker not in _READABLE_FRAMES:
        kind = f"{bits}-bit" if bits != 8 else "lossless or hierarchical"
        raise FilmFormatError(f"{source} is a {kind} JPEG.", "Export it as an 8-bit baseline JPEG or as PNG.")
    return width, height


# PNG: W3C Portable Network Graphics (Third Edition), section 5.

_LAST_CHUNK = b"IEND\xaeB`\x82"
_KEPT_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}


def _unwrap_png(data: bytes, source: str) -> Container:
    kept, size, orientation = [PNG_SIGNATURE], None, 1
    for name, start, end in _chunks(data, source):
        if (name == b"IHDR") != (size is None):
            raise _damaged(source, f"its chunk {name.decode('latin-1')!r} is at a wrong position")
        if name == b"IHDR":
            size = _png_size(data[start + 8 : end - 4], source)
        elif name == b"acTL":
            raise FilmAnimatedError(
                f"{source} is an animated PNG.", "Save the intended image as a separate file."
            )
        elif name == b"eXIf":
            orientation = orientation_of(data[start + 8 : end - 4])
        if name in _KEPT_CHUNKS:
            _check_sum(data, start, end, source)
            kept.append(data[start:end])
    if size is None:
        raise _damaged(source, "it has no header")
    picture = b"".join(kept)
    return Container("PNG", *size, orientation, picture, depth=picture[24])


def _chunks(data: bytes, source: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of each chunk up to IEND; length and checksum are included."""
    at, name = len(PNG_SIGNATURE), b""
    while name != b"IEND":
        head = data[at : at + 8]
        length, name = int.from_bytes(head[:4]), head[4:]
        if length >= 2**31 or (len(name) == 4 and not name.isalpha()):
            raise _damaged(source, "its chunks are not aligned")
        if len(head) < 8 or at + 12 + length > len(data):
            if data.rstrip(b"\0\r\n ").endswith(_LAST_CHUNK):
                raise _damaged(source, "a chunk is longer than the file")
            raise _truncated(source)
        if name[:1].isupper() and name not in _KEPT_CHUNKS:
            raise _damaged(source, f"the chunk {name.decode()!r} is unknown")
        yield name, at, at + 12 + length
        at += 12 + length


def _png_size(body: bytes, source: str) -> tuple[int, int]:
    if len(body) != 13:
        raise _damaged(source, f"its header has {len(body)} bytes instead of 13")
    width, height = struct.unpack(">II", body[:8])
    return width, height


def _check_sum(data: bytes, start: int, end: int, source: str) -> None:
    with memoryview(data) as view:
        right = zlib.crc32(view[start + 4 : end - 4]) == int.from_bytes(view[end - 4 : end])
    if not right:
        raise _damaged(source, f"the checksum of its chunk {data[start + 4 : start + 8].decode()!r} is wrong")


# EXIF: CIPA DC-008, section 4.6; the container is TIFF 6.0, section 2.

_ORIENTATION_TAG, _SHORT = 0x0112, 3


def orientation_of(tiff: bytes) -> int:
    """Return the orientation (1 to 8) of an EXIF block without its `Exif` prefix; 1 if it is absent or damaged."""
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, at)
        for entry in range(entries):
            tag, kind, _count, value = struct.unpack_from(f"{order}HHIH", tiff, at + 2 + 12 * entry)
            if tag == _ORIENTATION_TAG:
                return value if kind == _SHORT and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
