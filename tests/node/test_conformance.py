"""docs/dicom-conformance.md says what the code does, and names tests that exist."""

import importlib.util
import re
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hospital_films import MADE_AT, SERIES, STUDY, finding, hospital_film, writer

from pneumoscan.node.results import make_results

pytest.importorskip("highdicom", reason="the extra `node` is not installed")
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "dicom-conformance.md"


def test_the_tables_are_those_of_the_code():
    spec = importlib.util.spec_from_file_location("write_conformance", ROOT / "docs" / "write_conformance.py")
    write_conformance = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(write_conformance)
    text = PAGE.read_text(encoding="utf-8")
    assert write_conformance.page(text) == text, "run python docs/write_conformance.py"
    changed = text.replace("0xA700", "0xB700").replace("| `52101004` |", "| `5210100` |")
    assert write_conformance.page(changed) == text != changed
    with pytest.raises(ValueError, match="statuses"):
        write_conformance.page(text.replace("<!-- statuses,", "<!-- answers,"))


def test_every_test_that_is_named_exists():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text(encoding="utf-8"))
    assert len(named) > 10
    for path, test in named:
        assert f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), test


@pytest.fixture(scope="module")
def results():
    """Report and picture as data sets."""
    made = make_results(hospital_film(), finding(), writer(), made_at=MADE_AT)
    return [pydicom.dcmread(BytesIO(one.content)) for one in made]


def test_each_group_has_a_tracking_identifier_and_a_tracking_uid(results):
    groups = [item for item in walk(results[0]) if item.ConceptNameCodeSequence[0].CodeValue == "125007"]
    assert groups
    for group in groups:
        told = {item.ConceptNameCodeSequence[0].CodeValue: item for item in group.ContentSequence}
        assert told["112039"].TextValue
        assert re.fullmatch(r"2\.25\.\d+", told["112040"].UID)


def walk(item):
    for child in item.get("ContentSequence", []):
        yield child
        yield from walk(child)


def test_results_lie_in_the_films_study_each_in_a_series_of_its_own(results):
    for one in results:
        assert (one.StudyInstanceUID, one.PatientID, one.AccessionNumber) == (STUDY, "PID42", "ACC77")
    assert len({SERIES, *(one.SeriesInstanceUID for one in results)}) == 3
