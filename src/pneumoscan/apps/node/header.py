"""What the node looks at of an object's header: not whose it is, but which object of which study it is, and what made it.

The bytes come from strangers, so they are read by the bounded reader of `imaging.dicom`, never by pydicom.
"""

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

from pneumoscan.apps.node.results.source import decoded_sha256, stored_sha256
from pneumoscan.errors import FilmError, FilmFormatError
from pneumoscan.imaging.container import is_dicom
from pneumoscan.imaging.dicom.elements import Tag
from pneumoscan.imaging.dicom.file import NATIVE, DicomFile, open_file
from pneumoscan.imaging.film import MAX_INFLATED

_LEGAL_UID = re.compile(r"[0-9.]{1,64}")
_LONGEST = 64


class Facts(IntEnum):
    """The elements that a row of the queue is made of (PS3.6)."""

    SOP_INSTANCE_UID = 0x0008_0018
    STUDY_DATE = 0x0008_0020
    ACCESSION_NUMBER = 0x0008_0050
    MANUFACTURER = 0x0008_0070
    SERIES_DESCRIPTION = 0x0008_103E
    MODEL_NAME = 0x0008_1090
    STUDY_INSTANCE_UID = 0x0020_000D
    SERIES_INSTANCE_UID = 0x0020_000E


_WANTED = frozenset((*Facts, *Tag))


@dataclass(frozen=True)
class Header:
    """What an object says of itself; an element that is absent is an empty text.

    Attributes:
        sop_instance_uid: Of the object.
        study_instance_uid: Of its study.
        series_instance_uid: Of its series.
        modality: Such as `DX`.
        study_date: `YYYYMMDD`.
        accession_number: Of the study.
        manufacturer: Of the device.
        model_name: Of the device.
        series_description: Of its series.
    """

    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    modality: str = ""
    study_date: str = ""
    accession_number: str = ""
    manufacturer: str = ""
    model_name: str = ""
    series_description: str = ""

    @property
    def device(self) -> str:
        """Manufacturer and model, for statistics by device."""
        return f"{self.manufacturer} {self.model_name}".strip()

    @property
    def identity(self) -> dict[str, str]:
        """What tells our own results from films, by the keywords of the dictionary (PS3.6)."""
        return {
            "ManufacturerModelName": self.model_name,
            "SeriesDescription": self.series_description,
        }


def read_header(data: bytes) -> tuple[Header, str, str]:
    """Look at an object's file.

    Args:
        data: All its bytes.

    Returns:
        The header; the SHA-256 of what is stored, which is the same if the same bytes come again; and that of the decoded
        pixels (`pixels_sha256_of`), empty where they are compressed, for these are decoded in a process of their own.

    Raises:
        FilmError: The file is no DICOM file, not whole, or not sane.
    """
    if not is_dicom(data):
        raise FilmFormatError("the object is not a DICOM file.", "Send it as DICOM.")
    file = open_file(data, "the object", max_inflated=MAX_INFLATED, wanted=_WANTED)
    found = Header(
        sop_instance_uid=_uid(file, Facts.SOP_INSTANCE_UID),
        study_instance_uid=_uid(file, Facts.STUDY_INSTANCE_UID),
        series_instance_uid=_uid(file, Facts.SERIES_INSTANCE_UID),
        modality=file.header.text(Tag.MODALITY),
        study_date=_text(file, Facts.STUDY_DATE),
        accession_number=_text(file, Facts.ACCESSION_NUMBER),
        manufacturer=_text(file, Facts.MANUFACTURER),
        model_name=_text(file, Facts.MODEL_NAME),
        series_description=_text(file, Facts.SERIES_DESCRIPTION),
    )
    return found, *_hashes(file)


def is_uid(text: str) -> bool:
    """Tell whether a text may stand as a UID: digits and dots, 64 at most."""
    return _LEGAL_UID.fullmatch(text) is not None


def _uid(file: DicomFile, tag: int) -> str:
    text = file.header.raw(tag).decode("latin-1").strip(" \0")
    return text if is_uid(text) else ""


def _text(file: DicomFile, tag: int) -> str:
    text = file.header.raw(tag).split(b"\\")[0].decode("latin-1")
    return "".join(c for c in text if c.isprintable()).strip()[:_LONGEST]


def _hashes(file: DicomFile) -> tuple[str, str]:
    if Tag.PIXELS not in file.header.elements:
        return hashlib.sha256(file.reader.data).hexdigest(), ""
    if file.syntax in NATIVE:
        with suppress(FilmError):
            return (found := decoded_sha256(file)), found
    return stored_sha256(file), ""
