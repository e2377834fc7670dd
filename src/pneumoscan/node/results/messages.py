"""A finding as HL7 FHIR R4 JSON, or as an HL7 v2.5.1 message ORU^R01, for hospitals whose systems take that rather than DICOM: off by default.

A FHIR Bundle holds a DiagnosticReport, the Observation that it rests on, and the Device that made both. Codes, numbers and UIDs are those of the
structured report. The same arguments give the same bytes.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from pneumoscan.classifier import NOT_A_CHEST_FILM, UNSURE
from pneumoscan.files import write_atomic
from pneumoscan.node.header import UNDECLARED, Identity, Source, read_source
from pneumoscan.node.results.finding import (
    NOTICE,
    VERDICTS,
    Finding,
    ResultUids,
    Writer,
    percent_of,
    plain,
    result_uids,
)
from pneumoscan.node.settings import Hl7Settings

_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "V2": "http://terminology.hl7.org/CodeSystem/v2-0074",
    "CATEGORY": "http://terminology.hl7.org/CodeSystem/observation-category",
    "ABSENT": "http://terminology.hl7.org/CodeSystem/data-absent-reason",
}
PRESENCES = {
    "PNEUMONIA": ("52101004", "Present"),
    "NORMAL": ("272519000", "Absent"),
    UNSURE: ("373068000", "Undetermined"),
}
Resource = dict[str, Any]


def fhir_bundle(
    source: bytes,
    finding: Finding,
    writer: Writer,
    *,
    made_at: datetime,
    undeclared: str = UNDECLARED,
    pixels_sha256: str = "",
) -> bytes:
    """Return a finding as a FHIR R4 Bundle of type collection, JSON in UTF-8.

    The patient is named by the ID in the film's header, the study by its accession number and UID; no name and no date of
    birth is written.

    Args:
        source: All bytes of the film's DICOM file.
        finding: What was found about it.
        writer: What found it.
        made_at: With a time zone.
        undeclared: See `make_results`.
        pixels_sha256: See `make_results`.

    Raises:
        FilmError: The film's header lacks its UIDs, or is not sane.
    """
    film = read_source(source, undeclared=undeclared, pixels_sha256=pixels_sha256)
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "timestamp": made_at.isoformat(timespec="seconds"),
        "entry": _entries(film, finding, writer, made_at),
    }
    return json.dumps(bundle, indent=1, ensure_ascii=False, allow_nan=False).encode()


def fhir_transaction(film: Source, finding: Finding, writer: Writer, *, made_at: datetime) -> str:
    """Return a finding as a FHIR R4 Bundle of type transaction: the resources of `fhir_bundle`, JSON in one line.

    Each resource is created only where the server has none with its identifier (`ifNoneExist`), so a transaction that comes twice
    changes nothing. References within it are UUIDs, the same numbers as the UIDs (PS3.5, B.2), for some servers resolve no OIDs.
    """
    entries = _entries(film, finding, writer, made_at)
    uuids = {entry["fullUrl"]: UUID(int=int(entry["fullUrl"].rpartition(".")[2])).urn for entry in entries}
    for entry in entries:
        resource = entry["resource"]
        entry["fullUrl"] = uuids[entry["fullUrl"]]
        for reference in (
            *resource.get("result", ()),
            *([resource["device"]] if "device" in resource else ()),
        ):
            reference["reference"] = uuids[reference["reference"]]
        (identifier,) = resource["identifier"]
        condition = f"identifier={identifier['system']}|{identifier['value']}"
        entry["request"] = {"method": "POST", "url": resource["resourceType"], "ifNoneExist": condition}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    return json.dumps(bundle, ensure_ascii=False, allow_nan=False)


def _entries(film: Source, finding: Finding, writer: Writer, made_at: datetime) -> list[Resource]:
    uids = result_uids(film.sop_instance_uid, film.pixels_sha256, writer)
    resources = {
        uids.report: _report(film, finding, uids, made_at, writer),
        uids.tracking: _observation(film, finding, uids, made_at),
        uids.device: _device(writer, uids),
    }
    return [{"fullUrl": f"urn:oid:{uid}", "resource": one} for uid, one in resources.items()]


def write_fhir(
    folder: Path,
    source: bytes,
    finding: Finding,
    writer: Writer,
    *,
    made_at: datetime,
    undeclared: str,
    pixels_sha256: str = "",
) -> Path:
    """Write `fhir_bundle` to a file that only its owner may read, whole or not at all; return its path.

    The name is the UID of the report, so a second writing puts the same bytes in the same place.

    Raises:
        FilmError: See `fhir_bundle`.
        DiskFullError, NotWritableError: The file cannot be written.
    """
    film = read_source(source, undeclared=undeclared, pixels_sha256=pixels_sha256)
    content = fhir_bundle(
        source, finding, writer, made_at=made_at, undeclared=undeclared, pixels_sha256=film.pixels_sha256
    )
    path = folder / f"{result_uids(film.sop_instance_uid, film.pixels_sha256, writer).report}.json"
    write_atomic(path, content, mode=0o600)
    return path


def _report(film: Source, finding: Finding, uids: ResultUids, made_at: datetime, writer: Writer) -> Resource:
    report = {
        "resourceType": "DiagnosticReport",
        "identifier": [_uid_identifier(uids.report)],
        "status": "preliminary",
        "category": [_concept("V2", "RAD", "Radiology")],
        "code": _concept("SCT", "399208008", "Plain chest X-ray"),
        **_subject(film),
        **_effective(film),
        "issued": made_at.isoformat(timespec="seconds"),
        "performer": [{"type": "Organization", "display": writer.manufacturer}],
        "result": [_reference(uids.tracking)],
        "imagingStudy": [_study(film)],
        "conclusion": f"{VERDICTS[finding.label]}. {NOTICE}.",
    }
    accession = decoded(film, Identity.ACCESSION_NUMBER)
    if accession:
        kind = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}
        report["basedOn"] = [{"identifier": {"type": kind, "value": accession}}]
    return report


def _observation(film: Source, finding: Finding, uids: ResultUids, made_at: datetime) -> Resource:
    value: Resource = {"dataAbsentReason": _concept("ABSENT", "error", "Error")}
    parts: list[Resource] = []
    if finding.label in PRESENCES and finding.probability is not None:
        value = {"valueCodeableConcept": _concept("SCT", *PRESENCES[finding.label])}
        parts = [
            _part(_concept("DCM", "111012", "Certainty of Finding"), finding.probability),
            _part({"text": f"Threshold ({finding.operating_point or 'given by hand'})"}, finding.threshold),
        ]
    return {
        "resourceType": "Observation",
        "identifier": [_uid_identifier(uids.tracking)],
        "status": "preliminary",
        "category": [_concept("CATEGORY", "imaging", "Imaging")],
        "code": _concept("SCT", "233604007", "Pneumonia"),
        **_subject(film),
        **_effective(film),
        "issued": made_at.isoformat(timespec="seconds"),
        **value,
        "note": [{"text": text} for text in (NOTICE, *(f"Warning: {name}" for name in finding.warnings))],
        "bodySite": _concept("SCT", "39607008", "Lung structure"),
        "device": _reference(uids.device),
        "derivedFrom": [_study(film) | {"display": f"Image {film.sop_instance_uid}"}],
        **({"component": parts} if parts else {}),
    }


def _device(writer: Writer, uids: ResultUids) -> Resource:
    versions = {
        "pneumoscan": writer.pneumoscan_version,
        "model.json SHA-256": writer.model_json_sha256,
        "model.onnx SHA-256": writer.onnx_sha256,
    }
    return {
        "resourceType": "Device",
        "identifier": [_uid_identifier(uids.device)],
        "manufacturer": writer.manufacturer,
        "deviceName": [{"name": f"pneumoscan {writer.model_name}", "type": "model-name"}],
        "version": [{"type": {"text": name}, "value": value} for name, value in versions.items()],
        "note": [{"text": NOTICE}],
    }


def _part(code: Resource, probability: float) -> Resource:
    quantity = {
        "value": percent_of(probability),
        "unit": "%",
        "system": "http://unitsofmeasure.org",
        "code": "%",
    }
    return {"code": code, "valueQuantity": quantity}


def _concept(system: str, code: str, display: str) -> Resource:
    return {"coding": [{"system": _SYSTEMS[system], "code": code, "display": display}]}


def _reference(uid: str) -> Resource:
    return {"reference": f"urn:oid:{uid}"}


def _uid_identifier(uid: str) -> Resource:
    return {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}


def _study(film: Source) -> Resource:
    return {"type": "ImagingStudy", "identifier": _uid_identifier(film.study_instance_uid)}


def _subject(film: Source) -> Resource:
    identifier = decoded(film, Identity.PATIENT_ID)
    return {"subject": {"type": "Patient", "identifier": {"value": identifier}}} if identifier else {}


def _effective(film: Source) -> Resource:
    """Return the day of the study; its time is left out, for a header seldom tells a time zone."""
    day = decoded(film, Identity.STUDY_DATE)
    try:
        return {"effectiveDateTime": datetime.strptime(day, "%Y%m%d").date().isoformat()}
    except ValueError:
        return {}


def decoded(film: Source, tag: Identity) -> str:
    """Return an identifier as text; empty where it is absent, or not plain in the character set of the film."""
    value = film.identity.get(tag, (b"", b""))[1].strip(b" \0")
    try:
        text = value.decode("ascii")
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() else ""


# HL7 v2


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
