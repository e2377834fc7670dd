"""What a DICOM header says is no frontal chest film is refused by the header, typed, and without a word of the header."""

import logging
import struct
import warnings

import numpy as np
import pytest
from pydicom import uid

from pneumoscan import errors
from pneumoscan.imaging import read

MARKER = b"ZZPATIENTZZ"
# What the reader looks at, to be overwritten one by one with the marker.
MARKED = (
    0x00080016, 0x00080060, 0x00180015, 0x00185101, 0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280100,
    0x00280101, 0x00280103, 0x00281050, 0x00281051, 0x00281052, 0x00281053, 0x00281056,
)  # fmt: skip


def refusal(data):
    """The error that reading gives, or None."""
    try:
        read(data, name="film.dcm")
    except errors.PneumoscanError as caught:
        problem = caught
    else:
        return None
    assert problem.message.startswith("film.dcm ")
    assert problem.message.endswith(".")
    assert problem.message.isprintable()
    assert problem.remedy.isprintable()
    assert problem.remedy
    return problem


HEADERS = {
    "two frames": ({"NumberOfFrames": 2}, errors.FilmAnimatedError),
    "no frames": ({"NumberOfFrames": 0}, errors.FilmAnimatedError),
    "lateral": ({"ViewPosition": "LL"}, errors.FilmViewError),
    "lateral in words": ({"ViewPosition": "LATERAL"}, errors.FilmViewError),
    "right lateral": ({"ViewPosition": "RL"}, errors.FilmViewError),
    "decubitus": ({"ViewPosition": "LLD"}, errors.FilmViewError),
    "oblique": ({"ViewPosition": "RAO"}, errors.FilmViewError),
    "hand": ({"BodyPartExamined": "HAND"}, errors.FilmBodyPartError),
    "abdomen": ({"BodyPartExamined": "ABDOMEN"}, errors.FilmBodyPartError),
    "thoracic spine": ({"BodyPartExamined": "TSPINE"}, errors.FilmBodyPartError),
    "computed tomography": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "Modality": "CT"}, errors.FilmKindError),
    "capture of a tomogram": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "Modality": "CT"}, errors.FilmKindError),
    "magnetic resonance": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4", "Modality": "MR"}, errors.FilmKindError),
    "mammogram": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2", "Modality": "MG"}, errors.FilmKindError),
    "mammogram as DX": ({"Modality": "MG"}, errors.FilmKindError),
    "raw data": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1"}, errors.FilmKindError),
    "dental": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.3", "Modality": "IO"}, errors.FilmKindError),
    "unknown class": ({"SOPClassUID": "1.2.3.4.5"}, errors.FilmKindError),
    "nothing said": ({"SOPClassUID": "1.2.3", "Modality": None}, errors.FilmKindError),
    "palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, errors.FilmFormatError),
    "four samples": ({"SamplesPerPixel": 4}, errors.FilmFormatError),
    "32 bits": ({"BitsAllocated": 32, "BitsStored": 32}, errors.FilmFormatError),
    "one bit": ({"BitsAllocated": 1, "BitsStored": 1}, errors.FilmFormatError),
    "no photometric interpretation": ({"PhotometricInterpretation": None}, errors.FilmFormatError),
    "more bits stored than allocated": ({"BitsStored": 17}, errors.FilmDamagedError),
    "no bits stored": ({"BitsStored": 0, "HighBit": 0}, errors.FilmDamagedError),
    "high bit too low": ({"BitsStored": 12, "HighBit": 5}, errors.FilmDamagedError),
    "no rows": ({"Rows": None}, errors.FilmDamagedError),
    "rows of zero": ({"Rows": 0}, errors.FilmTooSmallError),
    "few rows": ({"Rows": 31}, errors.FilmTooSmallError),
    "65535 rows": ({"Rows": 65535, "Columns": 65535}, errors.FilmTooLargeError),
    "more rows than pixels": ({"Rows": 65535}, errors.FilmDamagedError),
    "fewer rows than pixels": ({"Rows": 60}, errors.FilmDamagedError),
    "slope of zero": ({"RescaleSlope": 0, "RescaleIntercept": 0}, errors.FilmValueError),
    "huge slope": ({"RescaleSlope": "1e308", "RescaleIntercept": "1e308"}, errors.FilmValueError),
    "window of width zero": ({"WindowCenter": 9, "WindowWidth": 0}, errors.FilmValueError),
    "window of negative width": ({"WindowCenter": 9, "WindowWidth": -50}, errors.FilmValueError),
    "unknown window": ({"WindowCenter": 9, "WindowWidth": 50, "VOILUTFunction": "CUBIC"}, errors.FilmValueError),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_no_film_has_is_refused(dicom, name):
    header, expected = HEADERS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of values that it would not write
        data = dicom.film(dicom.picture(16), **header)
    assert type(refusal(data)) is expected


@pytest.mark.parametrize("tag", [0x00281050, 0x00281051, 0x00281052, 0x00281053])
@pytest.mark.parametrize(
    "text", [b"nan ", b"inf ", b"-Infinity ", b"1_0 ", b"1,5 ", b"0x10", b"1e999 ", b"ten "]
)
def test_numbers_that_are_none_are_refused(dicom, tag, text):
    others = b"".join(
        dicom.element(other, b"DS", b"50")
        for other in (0x00281050, 0x00281051, 0x00281052, 0x00281053)
        if other != tag
    )
    body = dicom.header(extra=others + dicom.element(tag, b"DS", text))
    problem = refusal(dicom.file(body + dicom.pixels_of(dicom.picture(8, (64, 64)).tobytes())))
    assert type(problem) is errors.FilmValueError
    assert text.decode().strip() not in str(problem)


def test_empty_numbers_are_absent(dicom):
    pixels = dicom.picture(8, (64, 64))
    empty = b"".join(
        dicom.element(tag, b"DS", text)
        for tag in (0x00281050, 0x00281051, 0x00281052, 0x00281053)
        for text in (b"", b"  ")
    )
    assert np.array_equal(
        read(dicom.file(dicom.header(extra=empty) + dicom.pixels_of(pixels.tobytes()))).pixels, pixels
    )


def coded(dicom, tag, value, meaning):
    item = dicom.element(0x00080100, b"SH", value) + dicom.element(0x00080104, b"LO", meaning)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item
    return dicom.element(tag, b"SQ", item)


@pytest.mark.parametrize(
    ("tag", "value", "meaning", "expected"),
    [
        (0x00082218, b"T-D3000 ", b"Chest ", None),
        (0x00082218, b"51185008", b"Thoracic structure", None),
        (0x00082218, b"51185008", b"Brustkorb ", None),
        (0x00082218, b"T-D8700 ", b"Hand", errors.FilmBodyPartError),
        (0x00082218, b"122494005 ", b"Thoracic spine", errors.FilmBodyPartError),
        (0x00082218, b"416550000 ", b"", None),
        (0x00082218, b"113197003 ", b"Rib ", errors.FilmBodyPartError),
        (0x00540220, b"R-10206 ", b"antero-posterior", None),
        (0x00540220, b"399348003 ", b"", None),
        (0x00540220, b"272479007 ", b"postero-anterior", None),
        *(
            (0x00540220, value, meaning, errors.FilmViewError)
            for value in (
                b"399173006 ",
                b"399198007 ",
                b"399067008 ",
                b"R-10236 ",
                b"R-10232 ",
                b"R-102CD ",
                b"G-5223",
                b"399182000 ",
                b"R-10220 ",
                b"102536004 ",
            )
            for meaning in (b"", b"vue de cote", "側面".encode())
        ),
        (0x00540220, b"LLAT", b"", errors.FilmViewError),
        (0x00540220, b"X1", b"Seitlich", errors.FilmViewError),
        (0x00540220, b"R-10228 ", b"right lateral ", errors.FilmViewError),
    ],
)
def test_coded_regions_and_views_count(dicom, tag, value, meaning, expected):
    body = dicom.header(extra=coded(dicom, tag, value, meaning))
    problem = refusal(dicom.file(body + dicom.pixels_of(dicom.picture(8, (64, 64)).tobytes())))
    assert (None if problem is None else type(problem)) is expected


@pytest.mark.parametrize(
    "view",
    [
        "LL", "RL", "LAT", "LLAT", "RLAT", "L-LAT", "LAT L", "LATL", "LLATERAL", "RLATERAL", "LATERAL", "LATERALE",
        "Latérale", "LATERALES", "LATERAAL", "LATERO-LATERALE", "LEFT LATERAL", "XTLAT", "PROFIL", "PROFILE", "PROFILO",
        "PERFIL", "PERFIL IZQ", "SEITLICH", "seitlich li", "SEITENAUFNAHME", "BOCZNE", "OBLIQUE", "OBLICUA", "OBLIQUA",
        "LAO", "LLD", "DECUBITUS",
    ],
)  # fmt: skip
def test_a_view_from_the_side_is_refused_however_it_is_spelt(dicom, view):
    body = dicom.header(extra=dicom.element(0x00185101, b"CS", view.encode().ljust(16)))
    data = dicom.file(body + dicom.pixels_of(dicom.picture(8, (64, 64)).tobytes()))
    assert type(refusal(data)) is errors.FilmViewError


@pytest.mark.parametrize(
    "view",
    [
        "PA",
        "AP",
        "PA ERECT",
        "FRONTAL",
        "FACE",
        "SUPINE",
        "BILATERAL",
        "LATERALITY R",
        "PALATE",
        "DV",
        "PORT",
    ],
)
def test_frontal_and_unknown_views_are_read(dicom, view):
    pixels = dicom.picture(8, (64, 64))
    assert np.array_equal(read(dicom.film(pixels, ViewPosition=view)).pixels, pixels)


@pytest.mark.parametrize(
    "part",
    [
        "UNKNOWN", "OTHER", "N/A", "NA", "NONE", "NOT SPECIFIED", "UNSPECIFIED", "CXR", "CHESTPA", "CHEST_AP", "CHEST 2V",
        "THORACIC", "THORACIC CAVITY", "CHESTABDOMEN", "CHESTABDPELVIS", "NECKCHEST", "PECHO", "POITRINE", "TORAKS", "TORAX",
        "RXTORAX", "THORAX PA", "THORAKAL", "TORACICA", "BRUSTKORB", "PULMONES", "LUNGE",
    ],
)  # fmt: skip
def test_what_means_the_chest_or_nothing_is_not_another_body_part(dicom, part):
    pixels = dicom.picture(8, (64, 64))
    body = dicom.header(extra=dicom.element(0x00180015, b"CS", part.encode().ljust(16)))
    assert np.array_equal(read(dicom.file(body + dicom.pixels_of(pixels.tobytes()))).pixels, pixels)


@pytest.mark.parametrize(
    "part",
    [
        "TSPINE",
        "THORACIC SPINE",
        "THORACOLUMBAR",
        "BREAST",
        "RIB",
        "ABDOMEN",
        "SHOULDER",
        "OTHER HAND",
        "SKULL",
    ],
)
def test_another_body_part_is_refused_with_the_element_that_says_so(dicom, part):
    problem = refusal(dicom.film(dicom.picture(8, (64, 64)), BodyPartExamined=part))
    assert type(problem) is errors.FilmBodyPartError
    assert "BODY PART" in str(problem)
    assert part not in str(problem)


def test_an_unknown_body_part_does_not_hide_the_region(dicom):
    extra = coded(dicom, 0x00082218, b"T-D8700 ", b"Hand") + dicom.element(0x00180015, b"CS", b"UNKNOWN ")
    data = dicom.file(dicom.header(extra=extra) + dicom.pixels_of(dicom.picture(8, (64, 64)).tobytes()))
    assert type(refusal(data)) is errors.FilmBodyPartError


def test_files_without_a_picture_are_refused_for_what_they_are(dicom):
    storage = "1.2.840.10008.5.1.4.1.1."
    said = {
        "1.2.840.10008.1.3.10": "directory",
        f"{storage}104.1": "document",
        f"{storage}88.11": "report",
        f"{storage}11.1": "presentation state",
        f"{storage}2.1": "tomogram",
    }
    for name, words in said.items():
        body = dicom.element(0x00080016, b"UI", name.encode() + b"\0" * (len(name) % 2))
        problem = refusal(dicom.file(body + dicom.element(0x00420011, b"OB", b"%PDF")))
        assert type(problem) is errors.FilmKindError
        assert words in problem.message
    assert type(refusal(dicom.file(dicom.header()))) is errors.FilmNoPictureError


def test_transfer_syntaxes_that_are_not_read_are_refused(dicom):
    body = dicom.header() + dicom.capsule(b"\0\0\1\xb3" * 50)
    for syntax in (uid.MPEG2MPML, "1.2.840.10008.1.2.4.94", "1.2.3", "1.2.840.113619.5.2"):
        assert type(refusal(dicom.file(body, syntax))) is errors.FilmFormatError


def test_what_only_looks_like_dicom_is_refused(dicom):
    whole = dicom.film(dicom.picture(8))
    for data, words in (
        (whole[132:], "without the file preamble"),
        (whole[whole.index(b"\x08\x00\x16\x00") :], "without the file preamble"),
        (b"<!DOCTYPE html><html>" + bytes(200), "HTML"),
        (bytes(128) + b"DICN" + whole[132:], "unknown format"),
    ):
        problem = refusal(data)
        assert type(problem) is errors.FilmFormatError
        assert words in problem.message
    assert type(refusal(whole[:132])) is errors.FilmTruncatedError


def test_pixel_data_that_contradict_the_transfer_syntax_are_refused(dicom):
    pixels = dicom.picture(8, (64, 64)).tobytes()
    for body, syntax in (
        (dicom.capsule(pixels), uid.ExplicitVRLittleEndian),
        (dicom.pixels_of(pixels), uid.JPEGBaseline8Bit),
        (dicom.pixels_of(pixels), uid.RLELossless),
    ):
        assert type(refusal(dicom.file(dicom.header() + body, syntax))) is errors.FilmDamagedError


def test_films_of_one_colour_are_refused(dicom):
    assert type(refusal(dicom.film(np.full((64, 64), 700, np.uint16)))) is errors.FilmUniformError
    padded = dicom.film(np.full((64, 64), 700, np.uint16), PixelPaddingValue=700)
    assert type(refusal(padded)) is errors.FilmUniformError


@pytest.mark.parametrize(
    ("header", "cause"),
    [
        ({"WindowCenter": 20_000, "WindowWidth": 100}, "WINDOW"),
        ({"WindowCenter": -5_000, "WindowWidth": 100, "PhotometricInterpretation": "MONOCHROME1"}, "WINDOW"),
        (
            {"WindowCenter": 2_000, "WindowWidth": 100, "RescaleIntercept": -20_000, "RescaleSlope": 1},
            "WINDOW",
        ),
        (
            {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 4095, "WindowCenter": 9, "WindowWidth": 9},
            "PADDING",
        ),
    ],
)
def test_what_makes_a_film_of_one_grey_level_is_named(dicom, header, cause):
    problem = refusal(dicom.film(dicom.picture(12), BitsStored=12, **header))
    assert type(problem) is errors.FilmUniformError
    assert cause in problem.message
    assert "grey value only (" not in problem.message


def test_a_table_that_makes_a_film_of_one_grey_level_is_named(dicom):
    for name in ("VOILUTSequence", "ModalityLUTSequence"):
        item = dicom.table(np.full(4096, 700), 0, 12)
        header = {"WindowCenter": 9, "WindowWidth": 9, name: item}
        problem = refusal(dicom.film(dicom.picture(12), BitsStored=12, **header))
        assert type(problem) is errors.FilmUniformError
        assert "look-up table" in problem.message


def test_tables_that_are_none_are_refused(dicom):
    pixels = dicom.picture(12)
    short, wide, bare = (dicom.table(np.arange(4096)) for _ in range(3))
    short[0]["LUTData"].value = bytes(4000)
    wide[0].LUTDescriptor = [4096, 0, 17]
    del bare[0]["LUTDescriptor"]
    for name in ("VOILUTSequence", "ModalityLUTSequence"):
        for table, expected in (
            (short, errors.FilmDamagedError),
            (wide, errors.FilmValueError),
            (bare, errors.FilmDamagedError),
        ):
            assert type(refusal(dicom.film(pixels, BitsStored=12, **{name: table}))) is expected


# Nothing of a patient


def marked(dicom, syntax):
    """A film with the marker in every kind of element that may hold text, in private ones and in wrong places."""
    explicit = (
        b"AE",
        b"AS",
        b"CS",
        b"DA",
        b"DS",
        b"DT",
        b"IS",
        b"LO",
        b"LT",
        b"PN",
        b"SH",
        b"ST",
        b"TM",
        b"UI",
        b"UT",
    )
    text = b"".join(
        dicom.element(0x00090000 | (0x1000 + number), vr, MARKER + b" ") for number, vr in enumerate(explicit)
    )
    patient = b"".join(
        dicom.element(tag, vr, MARKER + b" ")
        for tag, vr in (
            (0x00080050, b"SH"), (0x00080080, b"LO"), (0x00080090, b"PN"), (0x00081030, b"LO"), (0x00100010, b"PN"),
            (0x00100020, b"LO"), (0x00100030, b"DA"), (0x00104000, b"LT"), (0x00321060, b"LO"), (0x00400275, b"ZZ"),
        )
    )  # fmt: skip
    values = {
        0x00080016: (b"UI", dicom.CR.encode() + b"\0"), 0x00080060: (b"CS", b"CR"), 0x00180015: (b"CS", b"CHEST "),
        0x00185101: (b"CS", b"PA"), 0x00280002: (b"US", b"\1\0"), 0x00280004: (b"CS", b"MONOCHROME2 "),
        0x00280008: (b"IS", b"1 "), 0x00280010: (b"US", b"\x40\0"), 0x00280011: (b"US", b"\x40\0"),
        0x00280100: (b"US", b"\x08\0"), 0x00280101: (b"US", b"\x08\0"), 0x00280102: (b"US", b"\x07\0"),
        0x00280103: (b"US", b"\0\0"), 0x00281050: (b"DS", b"100 "), 0x00281051: (b"DS", b"200 "),
        0x00281052: (b"DS", b"0 "), 0x00281053: (b"DS", b"1 "), 0x00281056: (b"CS", b"LINEAR"),
    }  # fmt: skip
    body = (
        patient
        + text
        + b"".join(dicom.element(tag, vr, value) for tag, (vr, value) in sorted(values.items()))
    )
    if syntax == uid.ExplicitVRLittleEndian:
        return dicom.file(body + dicom.pixels_of(dicom.picture(8, (64, 64)).tobytes()))
    frame = {
        uid.JPEGBaseline8Bit: b"\xff\xd8\xff\xfe\0\x0d" + MARKER + dicom.jpeg(dicom.picture(8, (64, 64)))[2:],
        uid.JPEG2000Lossless: b"\xff\x4f\xff\x51" + MARKER * 9,
        uid.JPEGLSLossless: b"\xff\xd8\xff\xf7\0\x0b\x08\0\x40\0\x40\1\1\x11\0" + MARKER * 9,
        uid.RLELossless: MARKER * 9,
    }[syntax]  # fmt: skip
    return dicom.file(body + dicom.capsule(frame), syntax)


def test_no_word_of_a_header_gets_into_an_error_a_log_or_a_warning(dicom, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    films, said = 0, []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for syntax in (
            uid.ExplicitVRLittleEndian,
            uid.JPEGBaseline8Bit,
            uid.JPEG2000Lossless,
            uid.JPEGLSLossless,
            uid.RLELossless,
        ):
            good = marked(dicom, syntax)
            made = [
                good,
                good[: len(good) // 2],
                good[:-40],
                good.replace(b"1.2.840.10008.1.2", MARKER + b"......"),
            ]
            made += [
                marked_with(dicom, syntax, tag, vr)
                for tag in MARKED
                for vr in (b"LO", b"CS", b"US", b"UN", b"ZZ")
            ]
            for data in made:
                problem = refusal(data)
                films += problem is None
                said.append("" if problem is None else f"{problem!r} {problem} {problem.__dict__}")
                while problem is not None:
                    said.append(repr(problem))
                    problem = problem.__cause__
    assert films >= 1
    assert len(set(said)) > 10
    text = "\n".join([*said, caplog.text, *(str(warning.message) for warning in warned), *capfd.readouterr()])
    assert MARKER.decode() not in text
    assert "ZZ" not in text
    assert not warned
    assert not [record for record in caplog.records if record.name.startswith(("pydicom", "imagecodecs"))]


def marked_with(dicom, syntax, tag, vr):
    data = marked(dicom, syntax)
    name = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    start = data.index(name)
    end = start + 8 + int.from_bytes(data[start + 6 : start + 8], "little")
    return data[:start] + dicom.element(tag, vr, MARKER + b" ") + data[end:]
