"""The size that a compressed image declares, compared with the header of the file before decoding."""

import re
import struct
from typing import NamedTuple

from pneumoscan.errors import FilmTruncatedError
from pneumoscan.imaging.dicom.elements import Reader
from pneumoscan.imaging.dicom.file import JPEG_2000, Layout

_JP2_BOX = b"\x00\x00\x00\x0cjP  "
_CODESTREAM_2000 = b"\xff\x4f\xff\x51"
# ITU-T T.81, B.1.1.3 and T.87, C.1.1: start of frame, except the three markers among them with other meanings.
_FRAMES = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}
_FRAME_LS = 0xF7
_LOSSLESS = frozenset((0xC3, 0xC7, 0xCB, 0xCF))
_SCAN = 0xDA
# ITU-T T.800, A.2: coding style default, start of a tile-part.
_CODING, _TILE = 0x52, 0x90
# The end of an image in both JPEG families and the end of a codestream in JPEG 2000.
_END = b"\xff\xd9"
# Coded data contain no such bytes, except restart markers (T.81, B.1.1.2; T.87, 9.1).
_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")


class Claim(NamedTuple):
    """The header of a codestream.

    Attributes:
        width: Width in pixels.
        height: Height in pixels.
        components: Number of colours.
        bits: Bits per sample.
        process: Frame marker of a JPEG, such as 0xC0 (baseline) or 0xC3 (lossless); 0 for JPEG 2000.
        signed: Whether the samples of a JPEG 2000 are signed.
        lossy: Whether decoding gives other values than were coded.
    """

    width: int
    height: int
    components: int
    bits: int
    process: int
    signed: bool = False
    lossy: bool = False


def claim_of(frame: bytes, syntax: str, reader: Reader) -> Claim:
    """Return the header of a compressed frame.

    Raises:
        FilmDamagedError: The frame has no header, or one with too many tiles.
    """
    try:
        claim = _claim_2000(frame) if syntax in JPEG_2000 else _claim_jpeg(frame)
    except (struct.error, IndexError):
        claim = None
    if claim is None:
        raise reader.damaged("its compressed image has no header")
    return claim


def check_claim(claim: Claim, frame: bytes, syntax: str, layout: Layout, reader: Reader) -> None:
    """Raise an error if a compressed image contradicts the header of the file, or was cut off.

    Raises:
        FilmDamagedError: Width, height, colours or depth differ.
        FilmTruncatedError: The frame has no end marker. The codec needs seconds for JPEG-LS that was cut off, and JPEG 2000
            that was cut off gives an image that differs from the film.
    """
    # One byte may make the length even, and more bytes may fill the last fragment. Anything else behind the end marker is
    # rare, and only then is the marker searched from the start.
    if not frame.rstrip(b"\0\xff").endswith(_END) and not _has_end(frame, syntax):
        raise FilmTruncatedError(
            f"{reader.source} contains a compressed image that ends before it is complete.",
            "Export the film again from its source.",
        )
    told = (layout.columns, layout.rows, layout.samples)
    if (claim.width, claim.height, claim.components) != told or not 1 <= claim.bits <= layout.bits_allocated:
        raise reader.damaged("its compressed image has another size or depth than its header")


def _has_end(frame: bytes, syntax: str) -> bool:
    """Return whether a frame contains the end of its image, which other bytes may follow."""
    try:
        return _ends_2000(frame) if syntax in JPEG_2000 else _ends_jpeg(frame)
    except (struct.error, IndexError):
        return False


def _ends_jpeg(frame: bytes) -> bool:
    at = 2
    while not frame.startswith(_END, at):
        if frame[at] != 0xFF:
            return False
        if frame[at + 1] == 0xFF:
            at += 1
            continue
        scan = frame[at + 1] == _SCAN
        at += 2 + max(int.from_bytes(frame[at + 2 : at + 4]), 2)
        if scan:
            marker = _MARKER.search(frame, at)
            at = len(frame) if marker is None else marker.start()
    return True


def _ends_2000(frame: bytes) -> bool:
    at = max(frame.find(_CODESTREAM_2000, 0, 4096), 0) + 2
    while not frame.startswith(_END, at):
        if frame[at] != 0xFF:
            return False
        length = 2 + max(int.from_bytes(frame[at + 2 : at + 4]), 2)
        if frame[at + 1] == _TILE:
            # The length of a tile-part counts from its marker; 0 means until the end, and no packet contains the marker of the end.
            (part,) = struct.unpack_from(">I", frame, at + 6)
            if part == 0:
                return frame.find(_END, at + length) >= 0
            length = max(part, length)
        at += length
    return True


def _claim_jpeg(frame: bytes) -> Claim | None:
    at = 2 if frame.startswith(b"\xff\xd8\xff") else len(frame)
    while True:
        while frame[at] == 0xFF and frame[at + 1] == 0xFF:
            at += 1
        marker = frame[at + 1]
        if frame[at] != 0xFF or marker == _SCAN:
            return None
        if marker in _FRAMES:
            bits, height, width, components = struct.unpack_from(">BHHB", frame, at + 4)
            lossy = _near(frame, at) if marker == _FRAME_LS else marker not in _LOSSLESS
            return Claim(width, height, components, bits, marker, lossy=lossy)
        at += 2 + max(int.from_bytes(frame[at + 2 : at + 4]), 2)


def _near(frame: bytes, at: int) -> bool:
    """Return whether the first scan of a JPEG-LS allows an error (T.87, C.2.3), from the position of the frame header."""
    while frame[at + 1] != _SCAN:
        at += 2 + max(int.from_bytes(frame[at + 2 : at + 4]), 2)
    return frame[at + 5 + 2 * frame[at + 4]] > 0


def _claim_2000(frame: bytes) -> Claim | None:
    """Read the SIZ segment (ITU-T T.800, A.5.1), also inside a JP2 container."""
    at = frame.find(_CODESTREAM_2000, 0, 4096) if frame.startswith(_JP2_BOX) else 0
    if at < 0 or not frame.startswith(_CODESTREAM_2000, at):
        return None
    right, bottom, left, top, tile_width, tile_height = struct.unpack_from(">6I", frame, at + 8)
    (components,) = struct.unpack_from(">H", frame, at + 40)
    parts = [struct.unpack_from(">BBB", frame, at + 42 + 3 * i) for i in range(min(components, 4))]
    width, height = right - left, bottom - top
    # One depth, no subsampling, and fewer tiles than a thumbnail has pixels.
    plain = len(set(parts)) == 1 and parts[0][1:] == (1, 1)
    if not plain or min(tile_width, tile_height) < 1:
        return None
    if (width // tile_width + 1) * (height // tile_height + 1) > 16_384:
        return None
    coding = at + 2
    while frame[coding + 1] not in {_CODING, _TILE}:
        coding += 2 + max(int.from_bytes(frame[coding + 2 : coding + 4]), 2)
    # The last byte of the coding style is the wavelet: 0 is irreversible (A.6.1).
    lossy = frame[coding + 1] == _CODING and frame[coding + 13] == 0
    depth, signed = (parts[0][0] & 0x7F) + 1, bool(parts[0][0] & 0x80)
    return Claim(width, height, components, depth, 0, signed, lossy)
