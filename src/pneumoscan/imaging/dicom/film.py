"""A DICOM file as a film: opened, admitted, measured; painted when its size was found sane."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pneumoscan.imaging.dicom.admission import admit
from pneumoscan.imaging.dicom.file import NATIVE, RLE, DicomFile
from pneumoscan.imaging.dicom.file import open_file as _open
from pneumoscan.imaging.dicom.frames import decode
from pneumoscan.imaging.dicom.grey import paint
from pneumoscan.imaging.dicom.layout import Layout, layout_of


@dataclass(frozen=True)
class DicomFilm:
    """A chest film by its header, not decoded yet.

    Attributes:
        file: The opened file.
        layout: Of its pixels; the size is what the header claims.
    """

    file: DicomFile
    layout: Layout

    def pixels(self) -> npt.NDArray[np.uint8]:
        """Decode and paint it: uint8 (rows, columns), 0 black; raises as `frames.decode` and `grey.paint`."""
        compressed = self.file.syntax not in NATIVE | {RLE}
        return paint(decode(self.file, self.layout), self.file.header, self.layout, compressed=compressed)


def open_film(data: bytes, source: str, *, max_inflated: int) -> DicomFilm:
    """Read the header of a DICOM file and see whether it is a chest film.

    Args:
        data: All bytes, beginning with 128 of any value and `DICM`.
        source: What to call the file in errors.
        max_inflated: How many bytes a deflated data set may become.

    Raises:
        FilmError: One of its children says why the film is refused.
    """
    file = _open(data, source, max_inflated=max_inflated)
    admit(file)
    return DicomFilm(file, layout_of(file.header))
