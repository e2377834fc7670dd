"""What the structured report says, read back as a viewer would read it."""

import re
import sys
from decimal import Decimal
from io import BytesIO

import numpy as np
import pydicom
import pytest
from hospital_films import FILM, MADE_AT, SERIES, STUDY, finding, hospital_film, writer
from pydicom.dataset import Dataset

from pneumoscan.errors import (
    FilmIdentityError,
    FilmNoPictureError,
    FilmTooLargeError,
    MissingDependencyError,
    UsageError,
)
from pneumoscan.node.results import Finding, make_results
from pneumoscan.node.results.finding import percent_of

LABELS = ("PNEUMONIA", "NORMAL", "UNSURE", "NOT_A_CHEST_FILM")


def report_of(found: Finding, **changes: object) -> Dataset:
    made = make_results(hospital_film(), found, writer(**changes), made_at=MADE_AT)[0]
    return pydicom.dcmread(BytesIO(made.content))


def items(report: Dataset) -> list[tuple[str, str, str]]:
    """Relationship, concept code and value of every content item, in the order of the tree."""
    return [
        (item.RelationshipType, item.ConceptNameCodeSequence[0].CodeValue, _value(item))
        for item in _walk(report)
    ]


def _walk(item: Dataset) -> list[Dataset]:
    found = []
    for child in item.get("ContentSequence", []):
        found += [child, *_walk(child)]
    return found


def _value(item: Dataset) -> str:
    match item.ValueType:
        case "CODE":
            code = item.ConceptCodeSequence[0]
            return f"{code.CodeValue} {code.CodingSchemeDesignator}"
        case "NUM":
            return str(item.MeasuredValueSequence[0]["NumericValue"].value.original_string)
        case "TEXT":
            return str(item.TextValue)
        case "UIDREF":
            return str(item.UID)
        case "IMAGE":
            return str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
    return ""


def test_the_report_has_the_codes_of_a_finding_of_pneumonia() -> None:
    report = report_of(finding())
    said = items(report)
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert report.ConceptNameCodeSequence[0].CodeValue == "126000"
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    for expected in (
        ("HAS CONCEPT MOD", "121058", "363679005 SCT"),
        ("CONTAINS", "121071", "233604007 SCT"),
        ("HAS CONCEPT MOD", "363698007", "39607008 SCT"),
        ("CONTAINS", "111012", "81.25"),
        ("CONTAINS", "121052", "52101004 SCT"),
        ("CONTAINS", "121112", FILM),
        ("HAS CONCEPT MOD", "111001", "tiny"),
        ("HAS CONCEPT MOD", "111003", "0.1.0"),
        ("HAS CONCEPT MOD", "122405", "A hospital"),
        ("HAS CONCEPT MOD", "111000", "123110 DCM"),
        ("HAS CONCEPT MOD", "111002", f"SHA-256 of model.onnx: {'cd' * 32}"),
        ("HAS CONCEPT MOD", "111002", f"SHA-256 of model.json: {'ab' * 32}"),
        ("HAS CONCEPT MOD", "111002", "operating point: balanced"),
        ("HAS CONCEPT MOD", "111002", "threshold: 0.5"),
        ("HAS CONCEPT MOD", "111002", "RESEARCH - not for diagnosis"),
    ):
        assert expected in said
    referenced = report.CurrentRequestedProcedureEvidenceSequence[0]
    assert referenced.StudyInstanceUID == report.StudyInstanceUID == STUDY
    assert referenced.ReferencedSeriesSequence[0].SeriesInstanceUID == SERIES


@pytest.mark.parametrize(
    ("label", "presence"),
    [("PNEUMONIA", "52101004"), ("NORMAL", "272519000"), ("UNSURE", "373068000")],
)
def test_each_label_has_its_presence(label: str, presence: str) -> None:
    said = items(report_of(finding(label, warnings=("far_from_training_films",))))
    assert ("CONTAINS", "121052", f"{presence} SCT") in said
    # A film that merely looks unlike those of the training is never "unusable".
    assert not {"111050", "111235 DCM"} & {word for item in said for word in item}


def test_what_is_no_chest_film_has_no_finding_and_no_number() -> None:
    report = report_of(finding("NOT_A_CHEST_FILM"))
    said = items(report)
    assert items(report_of(finding("NOT_A_CHEST_FILM", probability=None))) == said
    with pytest.raises(UsageError):
        finding("UNSURE", probability=None)
    assert ("CONTAINS", "111050", "111235 DCM") in said
    assert not {"121071", "111012", "121052"} & {concept for _, concept, _ in said}
    assert "0.8125" not in str(report)
    assert "81.25" not in str(report)


def test_warnings_are_in_a_private_scheme_that_is_declared() -> None:
    names = ("near_threshold", "far_from_training_films", "a_warning_of_a_later_version")
    report = report_of(finding("UNSURE", warnings=names))
    values = [value for _, concept, value in items(report) if concept == "WARNING"]
    assert values[:2] == ["NEAR 99PNEUMOSCAN", "FAR 99PNEUMOSCAN"]
    assert re.fullmatch(r"[0-9A-F]{16} 99PNEUMOSCAN", values[2])
    assert report.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99PNEUMOSCAN"


@pytest.mark.parametrize(
    "probability", [0.0, 1.0, 0.07, 1 / 3, 0.1 + 0.2, 5e-324, 1.2345678901234567e-9, 0.9999999999999999]
)
def test_the_number_is_the_probability_to_the_digits_of_a_decimal_string(probability: float) -> None:
    said = {concept: value for _, concept, value in items(report_of(finding(probability=probability)))}
    text = said["111012"]
    exact = Decimal(repr(probability)).scaleb(2)
    last = Decimal((0, (1,), Decimal(text).as_tuple().exponent))
    assert len(text) <= 16
    assert abs(Decimal(text) - exact) <= last / 2 or Decimal(text) == exact


def test_random_probabilities_keep_thirteen_digits_or_more() -> None:
    for probability in np.random.default_rng(3).uniform(0, 1, 500).tolist():
        text = str(pydicom.valuerep.DSdecimal(pydicom.valuerep.format_number_as_ds(percent_of(probability))))
        assert abs(Decimal(text) - Decimal(repr(probability)).scaleb(2)) <= Decimal("1e-12")


@pytest.mark.parametrize("label", LABELS)
def test_the_same_arguments_give_the_same_bytes(label: str) -> None:
    film = hospital_film()
    once, again = (make_results(film, finding(label), writer(), made_at=MADE_AT) for _ in range(2))
    assert [one.content for one in once] == [one.content for one in again]
    assert [one.kind for one in once] == ["report", "picture"]


def test_every_date_and_time_is_that_of_the_making_or_of_the_film() -> None:
    for made in make_results(hospital_film(), finding(), writer(), made_at=MADE_AT):
        data_set = pydicom.dcmread(BytesIO(made.content))
        dates = {str(e.value) for e in data_set.iterall() if e.VR == "DA"}
        times = {str(e.value) for e in data_set.iterall() if e.VR == "TM"}
        moments = {str(e.value) for e in data_set.iterall() if e.VR == "DT"}
        assert dates <= {"20260304", "19500607"}
        assert times == {"230506.007000", "091011"}
        assert moments == {"20260304230506.007000+0900"}


def test_a_film_that_tells_its_time_zone_has_results_in_that_zone() -> None:
    film = hospital_film({0x00080201: (b"SH", b"-0500")})
    report = pydicom.dcmread(BytesIO(make_results(film, finding(), writer(), made_at=MADE_AT)[0].content))
    assert (report.ContentDate, report.ContentTime) == ("20260304", "090506.007000")
    assert report.TimezoneOffsetFromUTC == "-0500"


@pytest.mark.parametrize("tag", [0x00080018, 0x0020000D, 0x0020000E, 0x00080016])
@pytest.mark.parametrize("value", [None, (b"UI", b"1.2.CANARY")])
def test_a_film_without_its_uids_is_refused(tag: int, value: tuple[bytes, bytes] | None) -> None:
    film = hospital_film({tag: value, 0x00080060: (b"CS", b"DX")})
    with pytest.raises(FilmIdentityError, match="UID") as refused:
        make_results(film, finding(), writer(), made_at=MADE_AT)
    assert "CANARY" not in str(refused.value)


def test_other_films_that_cannot_have_results_are_refused() -> None:
    with pytest.raises(FilmNoPictureError):
        make_results(hospital_film({0x7FE00010: None}), finding(), writer(), made_at=MADE_AT)
    with pytest.raises(FilmTooLargeError):
        make_results(hospital_film({0x00100010: (b"PN", b"x" * 5000)}), finding(), writer(), made_at=MADE_AT)


def test_arguments_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(UsageError, match="time zone"):
        make_results(hospital_film(), finding(), writer(), made_at=MADE_AT.replace(tzinfo=None))
    with pytest.raises(UsageError, match="operating point or threshold"):
        make_results(hospital_film(), finding(threshold=0.4), writer(), made_at=MADE_AT)
    with pytest.raises(UsageError, match="label"):
        finding("PERHAPS")
    with pytest.raises(UsageError, match=r"\[0, 1\]"):
        finding(probability=float("nan"))
    with pytest.raises(UsageError, match="SHA-256"):
        writer(onnx_sha256="12")
    with pytest.raises(UsageError, match="DICOM header"):
        writer(manufacturer="漢字")


def test_without_highdicom_there_is_a_word_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("highdicom", "pneumoscan.node.results."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(MissingDependencyError, match=r"pneumoscan\[node\]"):
        make_results(hospital_film(), finding(), writer(), made_at=MADE_AT)
