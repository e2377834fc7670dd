"""The layout of the pixels in the pixel data (PS3.3, C.7.6.3), checked before decoding."""

from dataclasses import dataclass
from typing import Final

from pneumoscan.errors import FilmFormatError
from pneumoscan.imaging.dicom.elements import DataSet, Reader, Tag

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
