"""What report and picture share as DICOM objects: coded concepts, what made them and when, and the template they are filled into.

highdicom needs 40 to 60 ms to build a report, and checks the same structure each time. So it builds one with placeholders for all
reports with the same label, warnings and model, and a film's values are filled in, which takes 0.05 ms. Sequences have an
undefined length (PS3.5, 7.5.2), so that the length of a value that is filled in changes nothing around it.
"""

import hashlib
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from highdicom import ContributingEquipment
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element, write_file_meta_info
from pydicom.sr.coding import Code
from pydicom.valuerep import DA, DS, DT, TM

from pneumoscan.classifier import CONTRAST, FAR, NEAR, NOT_A_CHEST_FILM, SHAPE, SMALL, SYNTHETIC, UNSURE
from pneumoscan.node.header import MODEL_NAME, Source
from pneumoscan.node.results.finding import ResultUids, Writer, percent_of, plain

SCHEME = "99PNEUMOSCAN"

TITLE = Code("126000", "DCM", "Imaging Measurement Report")
# CID 100 has no plain chest film that validators accept; this is the head of its hierarchy.
PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
DEVICE = Code("121007", "DCM", "Device")
PNEUMONIA = Code("233604007", "SCT", "Pneumonia")
LUNG = Code("39607008", "SCT", "Lung structure")
RIGHT, LEFT = Code("24028007", "SCT", "Right"), Code("7771000", "SCT", "Left")
CERTAINTY = Code("111012", "DCM", "Certainty of Finding")
PERCENT = Code("%", "UCUM", "Percent")
PRESENCE = Code("121052", "DCM", "Presence of property")
PRESENCES = {
    "PNEUMONIA": Code("52101004", "SCT", "Present"),
    "NORMAL": Code("272519000", "SCT", "Absent"),
    UNSURE: Code("373068000", "SCT", "Undetermined"),
}
QUALITY = Code("111050", "DCM", "Quality Assessment")
UNUSABLE = Code("111235", "DCM", "Unusable")
FAMILY = Code("123110", "DCM", "Artificial Intelligence")
PROCESSING = Code("109102", "DCM", "Processing Equipment")
SOURCE_IMAGE = Code("121322", "DCM", "Source Image for Image Processing Operation")

EVIDENCE = Code("EVIDENCE", SCHEME, "Evidence for pneumonia")
SHARE = Code("SHARE", SCHEME, "Share of the evidence on the film")
FIELDS = {
    "right": Code("RIGHTFIELD", SCHEME, "Share of the right lung field with evidence"),
    "left": Code("LEFTFIELD", SCHEME, "Share of the left lung field with evidence"),
}
WARNING = Code("WARNING", SCHEME, "Warning about the answer")
_WARNINGS = {
    FAR: Code("FAR", SCHEME, "The film is unlike the films of the training"),
    NEAR: Code("NEAR", SCHEME, "The probability is near the threshold"),
    SMALL: Code("SMALL", SCHEME, "The film has fewer pixels than the model takes"),
    SHAPE: Code("SHAPE", SCHEME, "The film is unusually long or wide"),
    CONTRAST: Code("CONTRAST", SCHEME, "The film has little contrast"),
    SYNTHETIC: Code("SYNTHETIC", SCHEME, "The model was trained on synthetic films"),
}
MEANINGS = {name: code.meaning for name, code in _WARNINGS.items()}


def presence_of(label: str) -> Code | None:
    """Return whether pneumonia is present; None where the film cannot be judged."""
    return None if label == NOT_A_CHEST_FILM else PRESENCES[label]


def warning_code(name: str) -> Code:
    """Return the code of a warning; one that is new to this module gets its own name as meaning."""
    return _WARNINGS.get(name) or Code(_short(name), SCHEME, plain(name)[:64] or "Unnamed warning")


def scheme_item() -> CodingSchemeIdentificationItem:
    """Return what declares the private scheme (PS3.3, C.12.1, Coding Scheme Identification Sequence)."""
    return CodingSchemeIdentificationItem(
        SCHEME,
        name="pneumoscan: warnings and evidence",
        responsible_organization="The pneumoscan developers",
    )


def concept(code: Code) -> CodedConcept:
    """Return a code as an item of a sequence."""
    return CodedConcept(code.value, code.scheme_designator, code.meaning)


def _short(name: str) -> str:
    """Return a code value, at most 16 characters: the name itself, or a hash where it is longer or not plain."""
    value = plain(name).upper()
    if 0 < len(value) <= 16 and plain(name) == name:
        return value
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16].upper()


_PREAMBLE = b"\0" * 128 + b"DICM"
# The element with the group's length (PS3.10, 7.1): tag, value representation, a length of 4, the value.
_GROUP_LENGTH = struct.Struct("<HH2sHI")
_UNDEFINED_LENGTH = struct.pack("<HI", 0, 0xFFFFFFFF)

Pieces = tuple[bytes | str, ...]
"""Bytes that stay, and names of values."""


@dataclass(frozen=True)
class Template:
    """A DICOM file with places for values.

    Attributes:
        meta: The file meta information after its group length.
        elements: By tag, each element of the first level.
    """

    meta: Pieces
    elements: Mapping[int, Pieces]

    def fill(self, values: Mapping[str, bytes], elements: Mapping[int, tuple[bytes, bytes]]) -> bytes:
        """Return the bytes of a DICOM file.

        Args:
            values: For each place by its name, of even length.
            elements: By tag, value representation and value of elements that take the place of the template's, or are added. OB is
                for pixels in fragments.
        """
        meta = _filled(self.meta, values)
        body = [
            _element(tag, *elements[tag]) if tag in elements else _filled(self.elements[tag], values)
            for tag in sorted(self.elements.keys() | elements.keys())
        ]
        return b"".join((_PREAMBLE, _GROUP_LENGTH.pack(2, 0, b"UL", 4, len(meta)), meta, *body))


def template_of(dataset: Dataset, placeholders: Mapping[str, bytes]) -> Template:
    """Turn an object into a template.

    Args:
        dataset: With `file_meta`; in ASCII, which is the same in every character set that a film may name.
        placeholders: By the name of each place, the value that stands there: of even length, and found nowhere else.
    """
    meta = DicomBytesIO()
    write_file_meta_info(meta, dataset.file_meta)
    _open_sequences(dataset)
    elements = {}
    for element in dataset:
        part = DicomBytesIO()
        part.is_little_endian, part.is_implicit_VR = True, False
        write_data_element(part, element, ["iso8859"])
        elements[int(element.tag)] = _split(part.getvalue(), placeholders)
    return Template(_split(meta.getvalue()[_GROUP_LENGTH.size :], placeholders), elements)


def _open_sequences(dataset: Dataset) -> None:
    """Give every sequence and item an undefined length."""
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                _open_sequences(item)


def _split(content: bytes, placeholders: Mapping[str, bytes]) -> Pieces:
    """Cut the bytes at each placeholder, with the 16 bits before it that hold its length."""
    names = {_with_length(value): name for name, value in placeholders.items()}
    if not names:
        return (content,)
    pieces = re.split(b"(" + b"|".join(map(re.escape, names)) + b")", content)
    return tuple(names.get(piece, piece) for piece in pieces)


def _filled(pieces: Pieces, values: Mapping[str, bytes]) -> bytes:
    return b"".join(_with_length(values[one]) if isinstance(one, str) else one for one in pieces)


def _with_length(value: bytes) -> bytes:
    return struct.pack("<H", len(value)) + value


def _element(tag: int, representation: bytes, value: bytes) -> bytes:
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, representation)
    # Pixels in fragments have no length of their own (PS3.5, A.4).
    return head + (_UNDEFINED_LENGTH + value if representation == b"OB" else _with_length(value))


def values_of(source: Source, uids: ResultUids, probability: float, made_at: datetime) -> dict[str, bytes]:
    """Return what differs between the results of two films with the same answer, as values of elements."""
    percent = percent_of(probability)
    of_film = {name: getattr(source, name) for name in ("sop_class_uid", "sop_instance_uid", "series_instance_uid",
                                                        "study_instance_uid")}  # fmt: skip
    return {
        **{name: _uid(uid) for name, uid in (of_film | vars(uids)).items()},
        "percent": _text(str(DS(percent, auto_format=True))),
        "percent as float64": struct.pack("<d", percent),
        "date": _text(str(DA(made_at.date()))),
        "time": _text(str(TM(made_at.time()))),
        "moment": _text(str(DT(made_at))),
    }


def _uid(uid: str) -> bytes:
    return uid.encode("ascii") + b"\0" * (len(uid) % 2)


def _text(text: str) -> bytes:
    return text.encode("ascii") + b" " * (len(text) % 2)


def _placeholder_uid(number: int) -> str:
    return f"2.25.{10**38 + number}"


# Stands for any film and its results where a template is made: no value is found in another one.
_ANY_SOURCE = Source(
    # highdicom must know the class: Digital X-Ray Image Storage - For Presentation.
    sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
    sop_instance_uid=_placeholder_uid(0),
    series_instance_uid=_placeholder_uid(1),
    study_instance_uid=_placeholder_uid(2),
    identity={},
    offset=None,
    burned_in="",
    pixels_sha256="",
)
_ANY_UIDS = ResultUids(*map(_placeholder_uid, range(3, 11)))
ANY_PROBABILITY = 0.123456789012345
_ANY_MOMENT = datetime(1901, 2, 3, 4, 5, 6, 789012, UTC)
PLACEHOLDERS: Mapping[str, bytes] = values_of(_ANY_SOURCE, _ANY_UIDS, ANY_PROBABILITY, _ANY_MOMENT)


def template_for(make: Callable[[Source, ResultUids, datetime], Dataset]) -> Template:
    """Return the template of what `make` returns for a film, the UIDs of its results, and the time of their making."""
    return template_of(make(_ANY_SOURCE, _ANY_UIDS, _ANY_MOMENT), PLACEHOLDERS)


def set_origin(dataset: Dataset, writer: Writer, made_at: datetime) -> None:
    """Say what made an object, and when (General Equipment, and Contributing Equipment of SOP Common).

    One moment is written into every date and time that highdicom fills with the present.
    """
    versions = [plain(writer.pneumoscan_version), f"model.onnx {writer.onnx_sha256[:12]}"]
    dataset.SoftwareVersions = versions
    dataset.DeviceSerialNumber = writer.model_json_sha256[:16]
    dataset.ContributingEquipmentSequence = [
        ContributingEquipment(
            manufacturer=plain(writer.manufacturer),
            purpose_of_reference=concept(PROCESSING),
            manufacturer_model_name=MODEL_NAME,
            software_versions=versions,
            contribution_datetime=DT(made_at),
        )
    ]
    date, time = DA(made_at.date()), TM(made_at.time())
    for name in ("InstanceCreation", "Content", "Series"):
        setattr(dataset, f"{name}Date", date)
        setattr(dataset, f"{name}Time", time)
    if "DateOfSecondaryCapture" in dataset:
        dataset.DateOfSecondaryCapture, dataset.TimeOfSecondaryCapture = date, time
