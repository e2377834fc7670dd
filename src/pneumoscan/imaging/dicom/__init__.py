"""DICOM radiographs: from the bytes of a file to grey pixels.

The modules in their order: `elements` finds the few header values that are needed and skips all others; `file` opens the
file up to its pixel data and describes its pixels; `admission` decides whether it is a chest film; `frames` decodes it, a
compressed one after `codestream` has checked it; `display` computes the grey levels that a workstation displays. No header value
appears in an error or a log.

The header is not read with pydicom, for three reasons. pydicom reports problems through `warnings`, whose filters belong to
the process and not to a thread. It has no limits for inflating and nesting. And it parses the name of the patient.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pneumoscan.imaging.dicom.admission import admit
from pneumoscan.imaging.dicom.display import paint
from pneumoscan.imaging.dicom.file import DicomFile, Layout, layout_of
from pneumoscan.imaging.dicom.file import open_file as _open
from pneumoscan.imaging.dicom.frames import decode


@dataclass(frozen=True)
class DicomFilm:
    """A chest film whose header has been checked, not decoded yet.

    Attributes:
        file: The opened file.
        layout: Layout of its pixels, with the size that the header declares.
    """

    file: DicomFile
    layout: Layout

    def pixels(self) -> npt.NDArray[np.uint8]:
        """Decode the film to uint8 (rows, columns), 0 black. Raises the errors of `frames.decode` and `display.paint`."""
        return paint(decode(self.file, self.layout), self.file.header, self.layout)


def open_film(data: bytes, source: str, *, max_inflated: int) -> DicomFilm:
    """Read the header of a DICOM file and check that it is a chest film.

    Args:
        data: All bytes of the file.
        source: Name of the file in errors.
        max_inflated: Maximum number of bytes of an inflated data set.

    Raises:
        FilmError: The film cannot be used. The subclass gives the reason.
    """
    file = _open(data, source, max_inflated=max_inflated)
    admit(file)
    return DicomFilm(file, layout_of(file.header))


__all__ = ["DicomFilm", "open_film"]
