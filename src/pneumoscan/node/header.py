"""What the node takes from an object's header.

The bytes come from strangers, so the bounded reader of `imaging.dicom` reads them, never pydicom. `read_header` gives what a
row of the queue needs: which object of which study it is, and what made it. `read_source` gives what a result has to carry:
whose it is, and what its pixels are. Values of patients are bytes and stay bytes: a name in Japanese, in a character set that
the header does not declare, or in none at all is never decoded, so it is neither changed nor shown in an error or a log.
"""

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import IntEnum

import numpy as np

from pneumoscan.errors import (
    FilmError,
    FilmFormatError,
    FilmIdentityError,
    FilmNoPictureError,
    FilmTooLargeError,
)
from pneumoscan.imaging.container import is_dicom
from pneumoscan.imaging.dicom.admission import OWN_DEVICE
from pneumoscan.imaging.dicom.elements import Tag, fragments
from pneumoscan.imaging.dicom.file import NATIVE, DicomFile, layout_of, open_file, sop_class
from pneumoscan.imaging.dicom.frames import decode
from pneumoscan.imaging.film import MAX_INFLATED, MAX_PIXELS

MODEL_NAME = OWN_DEVICE
REPORT_SERIES = "pneumoscan: report"
PICTURE_SERIES = "pneumoscan: picture"
STATE_SERIES = "pneumoscan: outlines"
# What most software takes for granted where nothing is declared.
UNDECLARED = "ISO_IR 100"
_MAGIC_AT, _MAGIC = 128, b"DICM"
_MOST_BYTES = 4096
# Rows that are hashed at once.
_BAND = 256
# Components that begin with a zero are not legal, but in use.
_UID_OF_FILM = re.compile(r"[0-2](\.\d+)+")
_OFFSET = re.compile(rb"([+-])(\d\d)(\d\d)")
# The defined terms (PS3.3, C.12.1.1.2), and whatever else names a character set: `iso-ir 144`, `ISO 8859-5`, `UTF-8`. Readers
# make something of such names, so a name stays the same only beside the same declaration.
_CHARACTER_SET = re.compile(
    rb"(ISO|IR|UTF|UCS|UNICODE|GB|BIG5|LATIN|US-?ASCII|ASCII|ANSI|CP|MS|WIN|KOI|JIS|SHIFT|SJIS|EUC|HZ|TIS|KS)[ -~]{0,16}|\d{1,5}|",
    re.IGNORECASE,
)


class Identity(IntEnum):
    """The elements of the Patient and General Study modules that a result carries (PS3.3, C.7.1.1 and C.7.2.1)."""

    STUDY_DATE = 0x0008_0020
    STUDY_TIME = 0x0008_0030
    ACCESSION_NUMBER = 0x0008_0050
    REFERRING_PHYSICIAN = 0x0008_0090
    PATIENT_NAME = 0x0010_0010
    PATIENT_ID = 0x0010_0020
    ISSUER_OF_PATIENT_ID = 0x0010_0021
    BIRTH_DATE = 0x0010_0030
    SEX = 0x0010_0040
    STUDY_UID = 0x0020_000D
    STUDY_ID = 0x0020_0010


CHARACTER_SET = 0x0008_0005
TIMEZONE_OFFSET = 0x0008_0201
_SOP_INSTANCE_UID = 0x0008_0018
_SERIES_UID = 0x0020_000E
_BURNED_IN = 0x0028_0301
_REPRESENTATIONS = {
    Identity.STUDY_DATE: b"DA",
    Identity.STUDY_TIME: b"TM",
    Identity.ACCESSION_NUMBER: b"SH",
    Identity.REFERRING_PHYSICIAN: b"PN",
    Identity.PATIENT_NAME: b"PN",
    Identity.PATIENT_ID: b"LO",
    Identity.ISSUER_OF_PATIENT_ID: b"LO",
    Identity.BIRTH_DATE: b"DA",
    Identity.SEX: b"CS",
    Identity.STUDY_UID: b"UI",
    Identity.STUDY_ID: b"SH",
    CHARACTER_SET: b"CS",
    TIMEZONE_OFFSET: b"SH",
}
# Type 3: it is left out where the film has none, all others stand there empty.
_OPTIONAL = {Identity.ISSUER_OF_PATIENT_ID, CHARACTER_SET, TIMEZONE_OFFSET}
_WANTED_FOR_RESULTS = frozenset((*_REPRESENTATIONS, *Tag, _SOP_INSTANCE_UID, _SERIES_UID, _BURNED_IN))


@dataclass(frozen=True)
class Source:
    """A film as a result refers to it.

    Attributes:
        study_instance_uid: Of its study, to which the results belong as well.
        identity: By tag, the value representation and the value of each element that a result carries, byte for byte as
            they stand in the film; padded to an even length.
        offset: From UTC, of every time in the film's header, where the header tells it.
        burned_in: Whether the header says that the pixels name the patient: `YES`, `NO`, or empty where it does not say.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    identity: Mapping[int, tuple[bytes, bytes]]
    offset: timezone | None
    burned_in: str
    pixels_sha256: str

    def local(self, moment: datetime) -> datetime:
        """Return a moment as the film's header would write it; in its own time zone where the header tells none."""
        return moment.astimezone(self.offset) if self.offset is not None else moment


def read_source(data: bytes, *, undeclared: str = UNDECLARED, pixels_sha256: str = "") -> Source:
    """Read the header of a DICOM film.

    Args:
        data: All bytes of the file.
        undeclared: The character set of films that declare none and whose names are neither ASCII nor UTF-8.
        pixels_sha256: What `pixels_sha256_of` returns, if it is known; otherwise the film is decoded.

    Raises:
        FilmFormatError: It is no DICOM file, or in a transfer syntax that is not read.
        FilmIdentityError: It has no SOP class or no instance, series or study UID.
        FilmNoPictureError: It has no pixel data.
        FilmError: It is not whole or not sane.
    """
    if data[_MAGIC_AT : _MAGIC_AT + 4] != _MAGIC:
        raise FilmFormatError("the film is not a DICOM file.", "Results are made of DICOM films alone.")
    file = open_file(data, "the film", max_inflated=MAX_INFLATED, wanted=_WANTED_FOR_RESULTS)
    offset = file.header.raw(TIMEZONE_OFFSET).strip(b" \0")
    burned_in = file.header.raw(_BURNED_IN).strip(b" \0").decode("latin-1")
    return Source(
        sop_class_uid=_checked("SOP class", sop_class(file)),
        sop_instance_uid=_required_uid(file, _SOP_INSTANCE_UID, "SOP instance"),
        series_instance_uid=_required_uid(file, _SERIES_UID, "series"),
        study_instance_uid=_required_uid(file, Identity.STUDY_UID, "study"),
        identity=_identity(file, undeclared.encode("ascii")),
        offset=_zone(offset),
        burned_in=burned_in if burned_in in {"YES", "NO"} else "",
        pixels_sha256=pixels_sha256 or decoded_sha256(file),
    )


def pixels_sha256_of(data: bytes) -> str:
    """Return the SHA-256 of a DICOM film's decoded pixels, 64 hexadecimal digits; raises as `read_source` and `imaging.read`.

    It is the same for the same stored values, whatever the transfer syntax and the bits around them.
    """
    return read_source(data).pixels_sha256


def _identity(file: DicomFile, undeclared: bytes) -> dict[int, tuple[bytes, bytes]]:
    found: dict[int, tuple[bytes, bytes]] = {}
    for tag, representation in _REPRESENTATIONS.items():
        value = file.header.raw(tag)
        if len(value) > _MOST_BYTES:
            raise FilmTooLargeError(
                "the film's header has a name or number of more than 4,096 bytes.", "Correct the header."
            )
        if value or tag not in _OPTIONAL:
            found[tag] = representation, _even(value, b"\0" if representation == b"UI" else b" ")
    if _zone(file.header.raw(TIMEZONE_OFFSET).strip(b" \0")) is None:
        found.pop(TIMEZONE_OFFSET, None)
    if not _names_character_sets(file.header.raw(CHARACTER_SET)):
        found.pop(CHARACTER_SET, None)
        declared = _character_set_of(b"".join(value for _, value in found.values()), undeclared)
        if declared:
            found[CHARACTER_SET] = b"CS", _even(declared, b" ")
    return found


def _names_character_sets(declared: bytes) -> bool:
    """Tell whether a declaration names character sets, however they are spelt and padded."""
    values = [value.strip(b" \0\t\r\n") for value in declared.split(b"\\")]
    return any(values) and all(map(_CHARACTER_SET.fullmatch, values))


def _character_set_of(values: bytes, undeclared: bytes) -> bytes:
    """Return what to declare where a film declares nothing: a result must not be as illegal as its film."""
    if values.isascii():
        return b""
    try:
        values.decode()
    except UnicodeDecodeError:
        return undeclared
    return b"ISO_IR 192"


def _even(value: bytes, padding: bytes) -> bytes:
    return value + padding * (len(value) % 2)


def _required_uid(file: DicomFile, tag: int, what: str) -> str:
    return _checked(what, file.header.raw(tag).decode("latin-1"))


def _checked(what: str, value: str) -> str:
    uid = value.strip(" \0")
    if len(uid) > 64 or not _UID_OF_FILM.fullmatch(uid):
        raise FilmIdentityError(f"the film's header has no legal {what} UID.", "Have the header corrected.")
    return uid


def _zone(value: bytes) -> timezone | None:
    found = _OFFSET.fullmatch(value)
    if found is None:
        return None
    away = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return timezone(-away if found[1] == b"-" else away) if away < timedelta(hours=15) else None


def decoded_sha256(file: DicomFile) -> str:
    """Return the SHA-256 of an opened film's decoded pixels: their shape, and the stored values as 16 bits, little endian.

    Unless the film is native, decode it only in a process whose memory and time are limited.
    """
    if Tag.PIXELS not in file.header.elements:
        raise FilmNoPictureError("the film has no pixel data.", "Send the image itself.")
    layout = layout_of(file.header)
    if layout.rows * layout.columns * layout.samples > MAX_PIXELS:
        raise FilmTooLargeError(
            "the film has too many pixels.", f"At most {MAX_PIXELS // 1_000_000} megapixels are read."
        )
    decoded = decode(file, layout)
    samples = decoded.samples
    digest = hashlib.sha256(repr(samples.shape).encode())
    mask, sign = (1 << layout.bits_stored) - 1, 1 << (layout.bits_stored - 1)
    for start in range(0, len(samples), _BAND):
        values = (samples[start : start + _BAND].astype(np.uint16) >> decoded.shift) & mask
        if layout.signed:
            values = (values ^ sign) - np.uint16(sign)
        digest.update(values.astype("<u2", copy=False).tobytes())
    return digest.hexdigest()


def stored_sha256(file: DicomFile) -> str:
    """Return the SHA-256 of an opened film's pixel data as they are stored.

    Of compressed pixels the fragments are hashed, without the table of offsets and however they were cut.
    """
    element = file.header.elements[Tag.PIXELS]
    digest = hashlib.sha256()
    pieces = [(element.start, element.end)]
    if file.syntax not in NATIVE and element.undefined:
        pieces = fragments(file.reader, element.start)
    with memoryview(file.reader.data) as view:
        for start, end in pieces:
            digest.update(view[start:end])
    return digest.hexdigest()


_LEGAL_UID = re.compile(r"[0-9.]{1,64}")
_LONGEST = 64


class RowElement(IntEnum):
    """The elements that a row of the queue is made of (PS3.6)."""

    SOP_INSTANCE_UID = 0x0008_0018
    STUDY_DATE = 0x0008_0020
    ACCESSION_NUMBER = 0x0008_0050
    MANUFACTURER = 0x0008_0070
    SERIES_DESCRIPTION = 0x0008_103E
    MODEL_NAME = 0x0008_1090
    STUDY_INSTANCE_UID = 0x0020_000D
    SERIES_INSTANCE_UID = 0x0020_000E


_WANTED_FOR_QUEUE = frozenset((*RowElement, *Tag))


@dataclass(frozen=True)
class Header:
    """What an object says of itself; an element that is absent is an empty text, `study_date` is `YYYYMMDD`."""

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
    def is_own_result(self) -> bool:
        """Whether this is a result that pneumoscan made, of any version and by any node.

        Results are known by the device that they name and by the description of their series, whichever a PACS tells or leaves
        as it was. Ask for both in a query: Manufacturer's Model Name (0008,1090) and Series Description (0008,103E).
        """
        own_series = {REPORT_SERIES, PICTURE_SERIES, STATE_SERIES}
        return (
            self.model_name.strip().casefold() == MODEL_NAME or self.series_description.strip() in own_series
        )


def read_header(data: bytes) -> tuple[Header, str, str]:
    """Read what a row of the queue needs from an object's file.

    Returns:
        The header; the SHA-256 of what is stored, which is the same if the same bytes come again; and that of the decoded
        pixels (`pixels_sha256_of`), empty where they are compressed, for these are decoded in a process of their own.

    Raises:
        FilmError: The file is no DICOM file, not whole, or not sane.
    """
    if not is_dicom(data):
        raise FilmFormatError("the object is not a DICOM file.", "Send it as DICOM.")
    file = open_file(data, "the object", max_inflated=MAX_INFLATED, wanted=_WANTED_FOR_QUEUE)
    found = Header(
        sop_instance_uid=_uid(file, RowElement.SOP_INSTANCE_UID),
        study_instance_uid=_uid(file, RowElement.STUDY_INSTANCE_UID),
        series_instance_uid=_uid(file, RowElement.SERIES_INSTANCE_UID),
        modality=file.header.text(Tag.MODALITY),
        study_date=_text(file, RowElement.STUDY_DATE),
        accession_number=_text(file, RowElement.ACCESSION_NUMBER),
        manufacturer=_text(file, RowElement.MANUFACTURER),
        model_name=_text(file, RowElement.MODEL_NAME),
        series_description=_text(file, RowElement.SERIES_DESCRIPTION),
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
