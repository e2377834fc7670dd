"""What a compressed picture says of its own size, so that a decoder never trusts more than the file's header told."""

import struct
from typing import NamedTuple

from pneumoscan.imaging.dicom.elements import Reader
from pneumoscan.imaging.dicom.file import JPEG_2000
from pneumoscan.imaging.dicom.layout import Layout

_JP2_BOX = b"\x00\x00\x00\x0cjP  "
_CODESTREAM_2000 = b"\xff\x4f\xff\x51"
# ITU-T T.81, B.1.1.3 and T.87, C.1.1: start of frame, but for the three markers among them that are something else.
_FRAMES = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA
# The end of an image in both JPEG families and the end of a codestream in JPEG 2000.
_END = b"\xff\xd9"


class Claim(NamedTuple):
    """What the codestream's own header says.

    Attributes:
        width: In pixels.
        height: In pixels.
        components: Colours.
        bits: Of a sample.
        process: The marker of a JPEG's frame, such as 0xC0 (baseline) or 0xC3 (lossless); 0 for JPEG 2000.
    """

    width: int
    height: int
    components: int
    bits: int
    process: int


def claim_of(frame: bytes, syntax: str, reader: Reader) -> Claim:
    """Return what a compressed frame claims to be.

    Raises:
        FilmDamagedError: There is no header in it, or one of tiles without end.
    """
    try:
        claim = _claim_2000(frame) if syntax in JPEG_2000 else _claim_jpeg(frame)
    except (struct.error, IndexError):
        claim = None
    if claim is None:
        raise reader.damaged("its compressed picture has no header")
    return claim


def check_claim(claim: Claim, frame: bytes, layout: Layout, reader: Reader) -> None:
    """Refuse a compressed picture of another size than the file's header has, and one that was cut.

    Raises:
        FilmDamagedError: Width, height, colours or depth differ.
        FilmTruncatedError: The frame does not end with its end marker. Of cut JPEG-LS the codec ponders for seconds; cut
            JPEG 2000 becomes a picture that is not the film.
    """
    # A byte may make the length even, and more of them fill the last fragment.
    if not frame.rstrip(b"\0\xff").endswith(_END):
        raise reader.truncated()
    told = (layout.columns, layout.rows, layout.samples)
    if (claim.width, claim.height, claim.components) != told or not 1 <= claim.bits <= layout.bits_allocated:
        raise reader.damaged("its compressed picture has another size or depth than its header says")


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
            return Claim(width, height, components, bits, marker)
        at += 2 + max(int.from_bytes(frame[at + 2 : at + 4]), 2)


def _claim_2000(frame: bytes) -> Claim | None:
    """Read the SIZ segment (ITU-T T.800, A.5.1), wherever a JP2 wrapper may have put it."""
    at = frame.find(_CODESTREAM_2000, 0, 4096) if frame.startswith(_JP2_BOX) else 0
    if at < 0 or not frame.startswith(_CODESTREAM_2000, at):
        return None
    right, bottom, left, top, tile_width, tile_height = struct.unpack_from(">6I", frame, at + 8)
    (components,) = struct.unpack_from(">H", frame, at + 40)
    parts = [struct.unpack_from(">BBB", frame, at + 42 + 3 * i) for i in range(min(components, 4))]
    width, height = right - left, bottom - top
    # One depth, no subsampling, and tiles that are fewer than the pixels of a thumbnail.
    plain = len(set(parts)) == 1 and parts[0][1:] == (1, 1)
    if not plain or min(tile_width, tile_height) < 1:
        return None
    if (width // tile_width + 1) * (height // tile_height + 1) > 16_384:
        return None
    return Claim(width, height, components, (parts[0][0] & 0x7F) + 1, 0)
