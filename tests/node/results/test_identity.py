"""Whose a result is: names byte for byte in every character set, and nothing else of the film's header anywhere."""

import logging
import struct
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pydicom
import pytest
from hospital_films import CHARACTER_SETS, FILM, MADE_AT, film_in, finding, hospital_film, writer
from pydicom.datadict import DicomDictionary

from pneumoscan.errors import FilmError, FilmKindError
from pneumoscan.imaging import read
from pneumoscan.node.header import Header, pixels_sha256_of, read_header
from pneumoscan.node.results import make_results, result_uids

# What a result has to carry.
CARRIED = {0x00080020, 0x00080030, 0x00080050, 0x00080090, 0x00100010, 0x00100020, 0x00100021, 0x00100030,
           0x00100040, 0x0020000D, 0x00200010}  # fmt: skip
_TEXT = {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT"}


def raw_elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and value of each element of the first level, explicit little endian, without any library."""
    at, depth = 132, 0
    while at < len(content):
        group, number, vr = struct.unpack_from("<HH2s", content, at)
        if group == 0xFFFE:  # an item and the ends of items and sequences have no representation
            depth, at = depth + (1 if number == 0xE000 else -1), at + 8
            continue
        if vr in {b"OB", b"OW", b"SQ", b"UN", b"UT"}:
            (length,), at = struct.unpack_from("<I", content, at + 8), at + 12
        else:
            (length,), at = struct.unpack_from("<H", content, at + 6), at + 8
        if length == 0xFFFFFFFF and vr != b"SQ":
            return
        if length == 0xFFFFFFFF:
            depth, length = depth + 1, 0
        elif depth == 0:
            yield group << 16 | number, content[at : at + length]
        at += length


@pytest.mark.parametrize("character_set", CHARACTER_SETS)
def test_the_patients_name_is_the_films_byte_for_byte(character_set: str) -> None:
    film, name = film_in(character_set)
    for made in make_results(film, finding(), writer(), made_at=MADE_AT):
        values = dict(raw_elements(made.content))
        assert values[0x00100010].rstrip(b" ") == name
        declared = b"ISO_IR 100" if "Latin-1" in character_set else CHARACTER_SETS[character_set][0]
        assert values.get(0x00080005, b"").rstrip(b" ") == declared


@pytest.mark.parametrize("character_set", ["Japanese", "Korean", "Greek", "Cyrillic", "UTF-8", "GB18030"])
def test_a_reader_sees_the_same_name_in_film_and_result(character_set: str) -> None:
    film, _ = film_in(character_set)
    names = [
        str(pydicom.dcmread(BytesIO(one)).PatientName)
        for one in (
            film,
            *(made.content for made in make_results(film, finding(), writer(), made_at=MADE_AT)),
        )
    ]
    assert names[0] == names[1] == names[2]
    assert not names[0].isascii()


def canary_film() -> tuple[bytes, list[bytes]]:
    """A film with a canary in every text element that a header can have; and the canaries that must not get out."""
    changes, hidden = {}, []
    needed = {
        0x00080005,
        0x00080016,
        0x00080060,
        0x00180015,
        0x00185101,
        0x00281050,
        0x00281051,
        0x00281052,
        0x00281053,
    }
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        told = vr in _TEXT and keyword and not retired and 0x00080000 < tag < 0x7FE00000
        if told and tag not in needed and tag >> 16 != 0x0028:
            word = f"CANARY{tag:08X}".encode()
            changes[tag] = (vr.encode(), word)
            if tag not in CARRIED:
                hidden.append(word)
    changes |= {0x00090010: (b"LO", b"CANARYPRIVATE"), 0x00091001: (b"LO", b"CANARYPRIVATE")}
    return hospital_film(changes), [*hidden, b"CANARYPRIVATE"]


def test_no_text_of_the_header_gets_out_but_what_a_result_has_to_carry(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    film, hidden = canary_film()
    with caplog.at_level(logging.DEBUG):
        results = make_results(film, finding(), writer(), made_at=MADE_AT)
    assert len(hidden) > 1000
    for made in results:
        assert made.content.count(b"CANARY") == len(CARRIED) - 1  # all but the study's UID
        assert not [word for word in hidden if word in made.content]
        assert "CANARY" not in repr(made)
    assert "CANARY" not in caplog.text + "".join(capsys.readouterr())
    assert FILM not in caplog.text


@pytest.mark.parametrize("cut", [200, 400, 1000, 40_000])
def test_errors_of_a_cut_film_say_nothing_of_its_header(cut: int, caplog: pytest.LogCaptureFixture) -> None:
    film, _ = canary_film()
    with caplog.at_level(logging.DEBUG), pytest.raises(FilmError) as refused:
        make_results(film[:cut], finding(), writer(), made_at=MADE_AT)
    assert "CANARY" not in str(refused.value) + caplog.text


@pytest.mark.parametrize(
    ("name", "declared"),
    [(b"Doe^Jane", None), ("Müller".encode(), b"ISO_IR 192"), (b"\xbb\xee\xda", b"ISO_IR 144")],
)
def test_where_nothing_is_declared_the_results_declare_what_the_names_need(
    name: bytes, declared: bytes | None
) -> None:
    film = hospital_film({0x00100010: (b"PN", name)})
    report, _ = make_results(film, finding(), writer(), made_at=MADE_AT, undeclared="ISO_IR 144")
    assert dict(raw_elements(report.content)).get(0x00080005) == declared


@pytest.mark.parametrize(
    ("declared", "name"),
    [
        (b"ISO 2022 IR 6 \\ISO 2022 IR 87", CHARACTER_SETS["Japanese"][1]),
        (b" \\ ISO 2022 IR 87 ", CHARACTER_SETS["Japanese"][1]),
        (b"\\iso 2022 ir 87\\ISO_2022_IR_159", CHARACTER_SETS["Japanese"][1]),
        (b"\\ISO2022IR149", CHARACTER_SETS["Korean"][1]),
        *((spelt, CHARACTER_SETS["Cyrillic"][1]) for spelt in (
            b"ISO-IR 144", b"iso_ir 144", b"ISO 8859-5", b"ISO_IR_144", b"ISO IR 144", b"ISO_IR144\0", b"144 ", b"ISO_IR  144",
        )),
        (b"utf-8", CHARACTER_SETS["UTF-8"][1]),
        (b"ISO_IR-192", CHARACTER_SETS["UTF-8"][1]),
        (b"gb 18030", CHARACTER_SETS["GB18030"][1]),
        (b"ISO_IR 1OO", "M\u00fcller".encode("latin-1")),
        (b"WINDOWS-1251", "\u042e\u0440\u0438\u0439".encode("cp1251")),
    ],
)  # fmt: skip
def test_a_character_set_that_is_spelt_or_padded_otherwise_stays_as_it_is(
    declared: bytes, name: bytes
) -> None:
    film = hospital_film({0x00080005: (b"CS", declared), 0x00100010: (b"PN", name)})
    of_film = dict(raw_elements(film))
    for made in make_results(film, finding(), writer(), made_at=MADE_AT):
        values = dict(raw_elements(made.content))
        assert values[0x00080005] == of_film[0x00080005]
        assert values[0x00100010] == of_film[0x00100010]


def test_a_character_set_that_is_none_is_left_out() -> None:
    film = hospital_film({0x00080005: (b"CS", b"CANARY")})
    assert 0x00080005 not in dict(
        raw_elements(make_results(film, finding(), writer(), made_at=MADE_AT)[0].content)
    )


def test_own_results_are_known_and_films_are_not() -> None:
    film = hospital_film()
    headers = [
        read_header(one.content)[0] for one in make_results(film, finding(), writer(), made_at=MADE_AT)
    ]
    for header in headers:
        assert header.is_own_result
        assert Header(series_description=header.series_description).is_own_result
        assert Header(model_name="PneumoScan ").is_own_result
    assert not read_header(film)[0].is_own_result
    assert not Header().is_own_result


def test_our_picture_is_no_film_for_any_command() -> None:
    picture = make_results(hospital_film(), finding(), writer(), made_at=MADE_AT)[1]
    with pytest.raises(FilmKindError, match="a result of pneumoscan"):
        read(picture.content)


def test_uids_change_with_all_that_a_result_rests_on_and_with_nothing_else() -> None:
    of = {
        "as it is": result_uids(FILM, "0" * 64, writer()),
        "film": result_uids(FILM + ".1", "0" * 64, writer()),
        "pixels": result_uids(FILM, "1" * 64, writer()),
        **{
            name: result_uids(FILM, "0" * 64, writer(**{name: value}))
            for name, value in {
                "model_json_sha256": "12" * 32,
                "onnx_sha256": "12" * 32,
                "operating_point": "sensitive",
                "threshold": np.nextafter(0.5, 1),
                "pneumoscan_version": "0.1.1",
            }.items()
        },
    }
    uids = [
        uid
        for found in of.values()
        for uid in (found.report, found.report_series, found.picture, found.picture_series)
    ]
    assert len(set(uids)) == len(uids)
    assert all(uid.startswith("2.25.") and len(uid) <= 44 and int(uid[5:]) < 1 << 128 for uid in uids)
    assert result_uids(FILM, "0" * 64, writer(manufacturer="Other")) == of["as it is"]


def test_results_have_the_uids_that_were_foretold() -> None:
    film = hospital_film()
    uids = result_uids(FILM, pixels_sha256_of(film), writer())
    report, picture = make_results(film, finding(), writer(), made_at=MADE_AT)
    assert (report.sop_instance_uid, report.series_instance_uid) == (uids.report, uids.report_series)
    assert (picture.sop_instance_uid, picture.series_instance_uid) == (uids.picture, uids.picture_series)
    other = hospital_film({0x00080050: (b"SH", b"CORRECTED")})
    assert pixels_sha256_of(other) == pixels_sha256_of(film)
