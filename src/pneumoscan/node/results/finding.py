"""What goes into a result and what comes out, and the UIDs of results: plain values, without a DICOM library."""

import hashlib
import json
import re
import unicodedata
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from pneumoscan.classifier import NOT_A_CHEST_FILM, UNSURE
from pneumoscan.errors import UsageError

VERDICTS = {
    "PNEUMONIA": "Pneumonia: present",
    "NORMAL": "Pneumonia: absent",
    UNSURE: "Pneumonia: undetermined",
    NOT_A_CHEST_FILM: "Not judged: not a frontal chest film",
}
# Comprehensive 3D SR and Secondary Capture Image Storage (PS3.4, B.5).
REPORT_CLASS = "1.2.840.10008.5.1.4.1.1.88.34"
PICTURE_CLASS = "1.2.840.10008.5.1.4.1.1.7"
# Grayscale Softcopy Presentation State Storage.
STATE_CLASS = "1.2.840.10008.5.1.4.1.1.11.1"
# With a hyphen: each DICOM character set has it, and so has the font of the picture.
NOTICE = "RESEARCH - not for diagnosis"
_SHA256 = re.compile("[0-9a-f]{64}")
_LONG_STRING = 64


@dataclass(frozen=True)
class Outline:
    """A closed line on a film: a lung, or a region of evidence in it.

    Attributes:
        side: The patient's lung, `right` or `left`.
        points: x and y of each point as shares of the film's width and height, in [0, 1]; the last joins the first.
        share: Share of the evidence inside, in [0, 1]; 0 for a lung.
    """

    side: Literal["right", "left"]
    points: tuple[tuple[float, float], ...]
    share: float = 0.0


@dataclass(frozen=True)
class Finding:
    """What a worker found about one film.

    Attributes:
        label: `PNEUMONIA`, `NORMAL`, `UNSURE` or `NOT_A_CHEST_FILM`.
        probability: Of PNEUMONIA, float64 in [0, 1]; None only for NOT_A_CHEST_FILM, whose results tell none.
        threshold: Cut-off in [0, 1] that gave the label.
        operating_point: Name of the one that the threshold belongs to; empty for a threshold of one's own.
        warnings: Those of the prediction row.
        regions: The regions of evidence, the largest share first; none for NORMAL and NOT_A_CHEST_FILM.
        lungs: The outlines of the lungs; none if the film has no regions.
        fields: Share of each lung field with evidence, by side, in [0, 1]; empty if the film has no regions.
        measured: What was measured about the regions of the model, in a sentence; empty if the film has no regions.

    Raises:
        UsageError: The label is not one of the four, or a number is not in [0, 1].
    """

    label: str
    probability: float | None
    threshold: float
    operating_point: str
    warnings: tuple[str, ...]
    regions: tuple[Outline, ...] = ()
    lungs: tuple[Outline, ...] = ()
    fields: tuple[tuple[Literal["right", "left"], float], ...] = ()
    measured: str = ""

    def __post_init__(self) -> None:
        if self.label not in VERDICTS:
            raise UsageError(
                f"a finding has the label {self.label!r}.", f"It must be one of {', '.join(VERDICTS)}."
            )
        if self.probability is None and self.label != NOT_A_CHEST_FILM:
            raise UsageError(f"a finding of {self.label} has no probability.")
        if not (0 <= (self.probability or 0) <= 1 and 0 <= self.threshold <= 1):
            raise UsageError("a finding has a probability or threshold outside [0, 1].")


@dataclass(frozen=True)
class Writer:
    """What made a result: the model, how it is used, and the software around it.

    Attributes:
        operating_point: Name; empty for a threshold of one's own.
        threshold: Cut-off in [0, 1].
        manufacturer: Who answers for the node: what stands as Manufacturer in each result.

    Raises:
        UsageError: A SHA-256 is none, or a name is empty or longer than a DICOM long string (64 characters).
    """

    model_name: str
    model_json_sha256: str
    onnx_sha256: str
    pneumoscan_version: str
    operating_point: str
    threshold: float
    manufacturer: str

    def __post_init__(self) -> None:
        if not all(map(_SHA256.fullmatch, (self.model_json_sha256, self.onnx_sha256))):
            raise UsageError("a writer's SHA-256 does not have 64 hexadecimal digits.")
        for name in (self.model_name, self.pneumoscan_version, self.manufacturer):
            if not 0 < len(plain(name)) <= _LONG_STRING:
                raise UsageError(f"{name!r} cannot stand in a DICOM header.", "Use 1 to 64 characters.")


@dataclass(frozen=True)
class ResultUids:
    """The UIDs of the results for one film by one writer, each `2.25.` and 128 bits as a decimal number.

    Attributes:
        tracking: Of the finding itself (PS3.16, TID 1501, Tracking Unique Identifier).
        device: Of the writer as an observer (TID 1004, Device Observer UID); the same for all films.
    """

    report: str
    report_series: str
    picture: str
    picture_series: str
    tracking: str
    device: str
    state: str
    state_series: str

    def tracking_of(self, region: int) -> str:
        """Return the UID of a region (PS3.16, TID 1501, Tracking Unique Identifier), by its place in `Finding.regions`."""
        digest = hashlib.sha256(json.dumps(["pneumoscan", "region", self.tracking, region]).encode()).digest()
        return f"2.25.{int.from_bytes(digest[:16], 'big')}"


@dataclass(frozen=True)
class ResultObject:
    """A DICOM object to be stored beside the film.

    Attributes:
        series_instance_uid: Of its series, which holds nothing else.
        content: The bytes of a DICOM file (PS3.10), explicit little endian or JPEG baseline.
    """

    kind: Literal["report", "picture", "state"]
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    content: bytes = field(repr=False)


def percent_of(probability: float) -> float:
    """Return a probability in per cent, without the error of a multiplication in binary: 0.07 becomes 7.0."""
    return float(Decimal(repr(float(probability))).scaleb(2))


def plain(text: str) -> str:
    """Return a text in printable ASCII without backslashes: what every DICOM character set can hold."""
    letters = unicodedata.normalize("NFKD", text.replace("–", "-")).encode("ascii", "ignore").decode()
    return "".join(c if c.isprintable() and c != "\\" else " " for c in letters).strip()


def result_uids(source_sop_instance_uid: str, pixels_sha256: str, writer: Writer) -> ResultUids:
    """Return the UIDs of the results for one film by one writer.

    Each is `2.25.` and the first 128 bits of a SHA-256 as a decimal number (PS3.5, B.2), over the kind, the film's SOP
    Instance UID, its pixels, both files of the model, the operating point, the threshold, and the version of pneumoscan.

    Args:
        source_sop_instance_uid: Of the film.
        pixels_sha256: Of the film's decoded pixels, 64 hexadecimal digits (`pixels_sha256_of`).
        writer: What makes the results.
    """
    origin = [
        writer.model_json_sha256,
        writer.onnx_sha256,
        writer.operating_point,
        repr(float(writer.threshold)),
        writer.pneumoscan_version,
    ]
    film = [source_sop_instance_uid, pixels_sha256]
    return ResultUids(
        report=_uid("report", film, origin),
        report_series=_uid("report series", film, origin),
        picture=_uid("picture", film, origin),
        picture_series=_uid("picture series", film, origin),
        tracking=_uid("finding", film, origin),
        device=_uid("device", [], origin),
        state=_uid("state", film, origin),
        state_series=_uid("state series", film, origin),
    )


def _uid(kind: str, film: list[str], origin: list[str]) -> str:
    digest = hashlib.sha256(json.dumps(["pneumoscan", kind, film, origin]).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"
