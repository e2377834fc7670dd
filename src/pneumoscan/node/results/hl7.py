"""A finding as an HL7 v2.5.1 message ORU^R01, for hospitals whose systems take that rather than DICOM or FHIR: off by default.

Codes, numbers and UIDs are those of the structured report. The same arguments give the same bytes.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime

from pneumoscan.classifier import NOT_A_CHEST_FILM
from pneumoscan.node.header import Identity, Source
from pneumoscan.node.results.fhir import PRESENCES, decoded
from pneumoscan.node.results.finding import (
    NOTICE,
    VERDICTS,
    Finding,
    Writer,
    percent_of,
    plain,
    result_uids,
)
from pneumoscan.node.settings import Hl7Settings

VERSION = "2.5.1"
_ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}
# Table 0203, patient internal identifier; table 0200, a name that is not told; table 0074, radiology; table 0085, preliminary.
_INTERNAL, _NO_NAME, _RADIOLOGY, _PRELIMINARY = "PI", "^^^^^^U", "RAD", "P"
_PER_CENT = "%^percent^UCUM"


def message_id(report_uid: str) -> str:
    """Return the message control ID (MSH-10) of the message about a report: 20 hexadecimal digits."""
    return hashlib.sha256(f"pneumoscan ORU {report_uid}".encode()).hexdigest()[:20]


def oru_message(
    film: Source, finding: Finding, writer: Writer, settings: Hl7Settings, *, made_at: datetime
) -> str:
    """Return a finding as ORU^R01, segments that end with a carriage return, in ASCII.

    The patient is named by the ID in the film's header, the study by its accession number and UID; no name and no date of
    birth is written.

    Args:
        film: Of `read_source`.
        finding: What was found about it.
        writer: What found it.
        settings: Name sender and receiver.
        made_at: With a time zone.
    """
    uids = result_uids(film.sop_instance_uid, film.pixels_sha256, writer)
    made = film.local(made_at).strftime("%Y%m%d%H%M%S%z")
    patient = _escaped(decoded(film, Identity.PATIENT_ID))
    issuer = _escaped(decoded(film, Identity.ISSUER_OF_PATIENT_ID))
    accession = _escaped(decoded(film, Identity.ACCESSION_NUMBER))
    day = decoded(film, Identity.STUDY_DATE)
    names = (
        settings.sending_application,
        settings.sending_facility,
        settings.receiving_application,
        settings.receiving_facility,
    )
    header = (
        "MSH",
        "^~\\&",
        *map(_escaped, names),
        made,
        "",
        "ORU^R01^ORU_R01",
        message_id(uids.report),
        "P",
        VERSION,
    )
    segments = [
        header,
        # The segment may be absent, but not without an ID.
        *([("PID", "1", "", f"{patient}^^^{issuer}^{_INTERNAL}", "", _NO_NAME)] if patient else []),
        ("OBR", "1", "", accession, "399208008^Plain chest X-ray^SCT", "", "", day if day.isdigit() else "",
         *[""] * 14, made, "", _RADIOLOGY, _PRELIMINARY),
    ]  # fmt: skip
    observations = [
        *_answers(finding),
        *(("CE", "WARNING^Warning^99PNEUMOSCAN", _escaped(name), "") for name in finding.warnings),
        ("ST", "MODEL^Model^99PNEUMOSCAN", f"{_text(writer.model_name)} {writer.onnx_sha256[:12]}", ""),
        ("ST", "VERSION^Version of pneumoscan^99PNEUMOSCAN", _text(writer.pneumoscan_version), ""),
        ("ST", "110180^Study Instance UID^DCM", film.study_instance_uid, ""),
        ("ST", "FILM^SOP Instance UID of the film^99PNEUMOSCAN", film.sop_instance_uid, ""),
        ("ST", "REPORT^SOP Instance UID of the report^99PNEUMOSCAN", uids.report, ""),
        ("ST", "PICTURE^SOP Instance UID of the picture^99PNEUMOSCAN", uids.picture, ""),
        ("TX", "VERDICT^Verdict^99PNEUMOSCAN", _text(f"{VERDICTS[finding.label]}. {NOTICE}."), ""),
    ]
    for number, (kind, code, value, unit) in enumerate(observations, 1):
        segments.append(
            ("OBX", str(number), kind, code, "1", value, unit, "", "", "", "", _PRELIMINARY, "", "", made)
        )
    return "".join(_segment(fields) for fields in segments)


def _answers(finding: Finding) -> Iterable[tuple[str, str, str, str]]:
    """Yield type, code, value and unit of what was found."""
    presence = PRESENCES.get(finding.label)
    if finding.label == NOT_A_CHEST_FILM or presence is None or finding.probability is None:
        yield "CE", "111050^Quality Assessment^DCM", "111235^Unusable^DCM", ""
        return
    yield "CE", "233604007^Pneumonia^SCT", "{}^{}^SCT".format(*presence), ""
    yield "NM", "111012^Certainty of Finding^DCM", repr(percent_of(finding.probability)), _PER_CENT
    point = f"Threshold ({_text(finding.operating_point) or 'given by hand'})"
    yield "NM", f"THRESHOLD^{point}^99PNEUMOSCAN", repr(percent_of(finding.threshold)), _PER_CENT


def _segment(fields: Sequence[str]) -> str:
    return "|".join(fields).rstrip("|") + "\r"


def _text(text: str) -> str:
    return _escaped(plain(text))


def _escaped(text: str) -> str:
    """Return a text without the characters that separate fields and components (chapter 2, 2.7)."""
    return "".join(_ESCAPES.get(character, character) for character in text if character.isprintable())
