"""Forms: what is filled in is, byte for byte, what highdicom makes of the same values."""

from io import BytesIO

import pydicom
import pytest
from hospital_films import FILM, MADE_AT, finding, hospital_film, writer
from PIL import Image

pytest.importorskip("highdicom", reason="the extra `node` is not installed")

from pneumoscan.node.header import Source, read_source
from pneumoscan.node.results import make_results, result_uids
from pneumoscan.node.results.finding import Finding
from pneumoscan.node.results.objects import PLACEHOLDERS, template_of
from pneumoscan.node.results.picture import make_capture, picture_elements
from pneumoscan.node.results.structured_report import make_report

LABELS = ("PNEUMONIA", "NORMAL", "UNSURE", "NOT_A_CHEST_FILM")
FILMS = {
    "usual": {},
    "odd lengths": {0x00080018: (b"UI", f"{FILM}4".encode()), 0x0020000D: (b"UI", b"1.2"), 0x0020000E: (b"UI", b"1.22")},
    "computed radiography": {0x00080016: (b"UI", b"1.2.840.10008.5.1.4.1.1.1"), 0x00080060: (b"CS", b"CR")},
}  # fmt: skip


def by_highdicom(film: bytes, found: Finding) -> bytes:
    """The report, without any form."""
    source = read_source(film)
    uids = result_uids(source.sop_instance_uid, source.pixels_sha256, writer())
    report = make_report(source, found, writer(), uids, source.local(MADE_AT))
    return template_of(report, {}).fill({}, source.identity)


@pytest.mark.parametrize("film", FILMS)
@pytest.mark.parametrize("label", LABELS)
def test_a_filled_report_is_what_highdicom_makes(label: str, film: str) -> None:
    content = hospital_film(FILMS[film])
    found = finding(label, warnings=("near_threshold", "a_new_one"))
    assert make_results(content, found, writer(), made_at=MADE_AT)[0].content == by_highdicom(content, found)


@pytest.mark.parametrize("probability", [0.0, 1.0, 0.07, 1 / 3, 5e-324, 1.2345678901234567e-9])
def test_every_probability_is_written_as_highdicom_writes_it(probability: float) -> None:
    content, found = hospital_film(), finding(probability=probability)
    assert make_results(content, found, writer(), made_at=MADE_AT)[0].content == by_highdicom(content, found)


@pytest.mark.parametrize("film", FILMS)
def test_a_filled_capture_is_what_highdicom_makes(film: str) -> None:
    content = hospital_film(FILMS[film])
    source: Source = read_source(content)
    uids = result_uids(source.sop_instance_uid, source.pixels_sha256, writer())
    capture = make_results(content, finding(), writer(), made_at=MADE_AT)[1].content
    data_set = pydicom.dcmread(BytesIO(capture))
    elements = picture_elements(source, Image.new("RGB", (8, 8)))
    for tag in elements:
        elements[tag] = (elements[tag][0], raw(data_set, tag))
    direct = make_capture(source, writer(), uids, source.local(MADE_AT))
    assert template_of(direct, {}).fill({}, {**source.identity, **elements}) == capture


def raw(data_set: pydicom.Dataset, tag: int) -> bytes:
    """An element's value as it stands in the file."""
    element = data_set.get_item(tag)
    assert element is not None
    end = bytes.fromhex("feffdde000000000") if tag == 0x7FE00010 else b""
    return bytes(element.value) + end


def test_no_stand_in_is_left_in_a_result() -> None:
    for made in make_results(hospital_film(), finding(), writer(), made_at=MADE_AT):
        assert not [
            name for name, value in PLACEHOLDERS.items() if value in made.content and name != "sop_class_uid"
        ]
