"""What the page shows of DICOM headers: patient and date, order, the previous film, lengths."""

import base64
from io import BytesIO
from typing import Any

import pytest

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)").expect
pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed (extra node)")


def changed(data: bytes, syntax: str = "", **values: Any) -> bytes:
    """Return a film with other values in its header."""
    film = pydicom.dcmread(BytesIO(data))
    for name, value in values.items():
        setattr(film, name, value)
    if syntax:
        film.file_meta.TransferSyntaxUID = syntax
    file = BytesIO()
    film.save_as(file, implicit_vr=syntax == "1.2.840.10008.1.2", little_endian=True)
    return file.getvalue()


def header_of(visit: Any, data: bytes) -> Any:
    return visit.page.evaluate(
        """async (text) => { const { headerOf } = await import("/page/state/dicom.js");
             return headerOf(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer); }""",
        base64.b64encode(data).decode(),
    )


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"])
def test_a_header_is_read_in_the_browser(visits: Any, odd_files: dict[str, bytes], syntax: str) -> None:
    visit, film = visits.open(), odd_files["chest.dcm"]
    item = pydicom.Dataset()
    item.PatientID, item.StudyDate = "inner", "19990101"
    sequence = pydicom.Sequence([item])
    data = changed(
        film, syntax, SpecificCharacterSet="ISO_IR 192", PatientName="Yamada^Tarou=山田^太郎", PatientID="ÄB 1 ", StudyDate="20260105",
        PatientBirthDate="19500102", PatientSex="F", PixelSpacing=[0.2, 0.3], ImagerPixelSpacing=[1, 1],
        ReferencedStudySequence=sequence,
    )  # fmt: skip
    told = header_of(visit, data)
    assert told == {
        "name": "Yamada Tarou", "id": "ÄB 1", "born": "1950-01-02", "sex": "F", "date": "2026-01-05", "spacing": [0.2, 0.3],
        "atDetector": False,
    }  # fmt: skip
    assert header_of(visit, changed(film, ImagerPixelSpacing=[0.5, 0.5]))["atDetector"] is True
    for other in (b"", data[:140], b"\xff" * 500, odd_files["letter.txt"], data[:132] + b"\xff" * 400):
        told = header_of(visit, other)
        assert told is None or told["id"] == ""
    visit.check_quiet()


def test_films_are_ordered_by_patient_and_the_previous_one_is_shown(
    visits: Any, odd_files: dict[str, bytes], twenty_films: dict[str, bytes]
) -> None:
    film = odd_files["chest.dcm"]
    visit = visits.open()
    visit.drop({
        "new.dcm": changed(film, PatientName="Doe^Jane", PatientID="P1", StudyDate="20260105", PixelSpacing=[0.5, 0.5]),
        "other.dcm": changed(film, PatientName="Adam^B", PatientID="P2", StudyDate="20250101"),
        "oldest.dcm": changed(film, PatientName="Doe^Jane", PatientID="P1", StudyDate="20240101"),
        "old.dcm": changed(film, PatientName="Doe^Jane", PatientID="P1", StudyDate="20250601"),
        "film.jpeg": twenty_films["film 01.jpeg"],
    })  # fmt: skip
    visit.wait_for(5)
    page = visit.page
    page.select_option("#sort", "patient")
    visit.painted()
    assert list(visit.answers()) == ["other.dcm", "oldest.dcm", "old.dcm", "new.dcm", "film.jpeg"]
    expect(page.locator(".film:has-text('new.dcm')")).to_contain_text(
        "Doe Jane · ID P1 · 2026-01-05", use_inner_text=True
    )
    page.click(".film:has-text('new.dcm')")
    page.focus("#worklist")
    page.keyboard.press("p")
    page.wait_for_selector("#prior-film canvas")
    expect(page.locator("#prior-film")).to_contain_text("2025-06-01: old.dcm", use_inner_text=True)
    page.click(".film:has-text('oldest.dcm')")
    expect(page.locator("#prior")).to_be_hidden()
    expect(page.locator("#prior-film")).to_be_hidden()
    page.click(".film:has-text('new.dcm')")
    page.keyboard.press("p")
    visit.shown()
    length = """async () => { const { lengthInWords } = await import("/page/state/dicom.js");
        return [{ spacing: [0.5, 0.25] }, { spacing: [0.5, 0.25], atDetector: true }, null].map((header) =>
            lengthInWords({ row: { width: 400, height: 300 }, header }, [[0, 0], [1, 1]])); }"""
    assert page.evaluate(length) == ["180.3 mm", "180.3 mm at the detector", "500 pixels"]
    before = page.evaluate("document.getElementById('film').toDataURL()")
    page.keyboard.press("m")
    box = page.locator("#film").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 180, steps=3)
    page.mouse.up()
    visit.painted()
    assert page.evaluate("document.getElementById('film').toDataURL()") != before
    page.keyboard.press("m")
    visit.painted()
    assert page.evaluate("document.getElementById('film').toDataURL()") == before
    visit.check_quiet()
