"""A DICOM film is read as a workstation shows it, to the grey level, whatever its transfer syntax."""

import subprocess
import sys
import threading
import time
import warnings
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from pneumoscan import errors
from pneumoscan.imaging import Film, preprocess, read
from pneumoscan.imaging.preprocessing import Preprocessing


def full(values, low, high):
    return np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)


# The same pixels


def png(pixels):
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_one_picture_gives_the_same_bytes_as_png_and_in_every_lossless_transfer_syntax(dicom):
    pixels = dicom.picture(8)
    plain = read(png(pixels))
    for name, syntax in dicom.SYNTAXES.items():
        film = read(dicom.film(pixels, syntax))
        assert film.pixels.tobytes() == plain.pixels.tobytes(), name
        assert preprocess(film, Preprocessing()).tobytes() == preprocess(plain, Preprocessing()).tobytes(), (
            name
        )
        assert (film.format, film.mode) == ("DICOM", "MONOCHROME2/8")
        assert (film.height, film.width) == pixels.shape


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_deep_films_are_the_same_in_every_lossless_transfer_syntax(dicom, bits, signed):
    pixels = dicom.picture(bits, signed=signed)
    films = {
        name: read(dicom.film(pixels, syntax, BitsStored=bits, WindowCenter=300, WindowWidth=900))
        for name, syntax in dicom.SYNTAXES.items()
    }
    first = films["explicit little"].pixels
    assert np.array_equal(first, full(pixels.astype(float), 299.5 - 449.5, 299.5 + 449.5))
    assert all(np.array_equal(film.pixels, first) for film in films.values())


def test_a_jpeg_in_a_dicom_file_is_the_film_that_the_jpeg_file_is(dicom):
    pixels = dicom.picture(8)
    for options in ({}, {"progressive": True}):
        frame = dicom.jpeg(pixels, **options)
        for syntax in (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit):
            film = read(dicom.encapsulated(frame, pixels, syntax))
            assert np.array_equal(film.pixels, read(frame).pixels)


@pytest.mark.parametrize("near", [False, True])
def test_lossy_codings_are_read_to_within_their_loss(dicom, near):
    pixels = dicom.picture(8)
    if near:
        syntax, frame = uid.JPEGLSNearLossless, dicom.jpeg_ls(pixels, level=2)
    else:
        syntax, frame = uid.JPEG2000, dicom.jpeg_2000(pixels, level=45, reversible=False)
    film = read(dicom.encapsulated(frame, pixels, syntax))
    assert 0 < np.abs(film.pixels.astype(int) - pixels).max() <= (2 if near else 12)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_lossless_jpeg_is_read_to_the_bit(dicom, bits, signed):
    pixels = dicom.picture(bits, signed=signed)
    header = {"BitsStored": bits, "WindowCenter": 300, "WindowWidth": 900}
    frame = dicom.jpeg_lossless(pixels.view(f"u{pixels.itemsize}") & ((1 << bits) - 1), bits)
    expected = read(dicom.film(pixels, **header)).pixels
    for syntax in (uid.JPEGLosslessSV1, uid.JPEGLossless):
        film = read(dicom.encapsulated(frame, pixels, syntax, **header))
        assert np.array_equal(film.pixels, expected)


def test_jpeg_of_twelve_bits_is_read_to_within_its_loss(dicom):
    import imagecodecs

    pixels = dicom.picture(12)
    frame = imagecodecs.jpeg8_encode(pixels, level=95, bitspersample=12)
    header = {"BitsStored": 12, "WindowCenter": 2048, "WindowWidth": 4096}
    film = read(dicom.encapsulated(frame, pixels, uid.JPEGExtended12Bit, **header))
    assert np.abs(film.pixels - full(pixels.astype(float), 0, 4095).astype(int)).max() <= 6


def test_runs_may_cross_rows_and_frames_may_be_in_pieces(dicom):
    pixels = dicom.picture(8)
    frame = dicom.packed_in_rows(pixels)
    assert np.array_equal(read(dicom.encapsulated(frame, pixels, uid.RLELossless)).pixels, pixels)
    frame = dicom.jpeg(pixels)
    pieces = [frame[at : at + 1000] for at in range(0, len(frame), 1000)]
    body = dicom.header(*pixels.shape)
    for offsets in (b"", bytes(4), b"\xff" * 4, bytes(16), b"\x07"):
        film = read(dicom.file(body + dicom.capsule(*pieces, offsets=offsets), uid.JPEGBaseline8Bit))
        assert np.array_equal(film.pixels, read(frame).pixels)


@pytest.mark.parametrize("fill", [b"\0", b"\xff", bytes(5)])
def test_compressed_frames_may_be_filled_up(dicom, fill):
    pixels = dicom.picture(8)
    for syntax in (uid.JPEG2000Lossless, uid.JPEGLSLossless):
        frame = dicom.fragment_of(dicom.film(pixels, syntax)).rstrip(b"\0") + fill
        assert np.array_equal(read(dicom.encapsulated(frame, pixels, syntax)).pixels, pixels)


# Grey levels


def by_pydicom(pixels, ds):
    """The grey levels that pydicom's own functions give, for values that they are right for."""
    shown = apply_voi_lut(apply_modality_lut(pixels, ds), ds)
    if "VOILUTSequence" in ds:
        low, high = 0, 2 ** ds.VOILUTSequence[0].LUTDescriptor[2] - 1
    else:
        # What it scales its output to is what values far outside of the window become.
        low, high = apply_voi_lut(np.array([-1e9, 1e9]), ds)
    return (shown.astype(float) - low) / (high - low) * 255


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    "header",
    [
        {"WindowCenter": 700, "WindowWidth": 1200},
        {"WindowCenter": [700, 20], "WindowWidth": [1200, 30], "VOILUTFunction": "LINEAR"},
        {"WindowCenter": 700, "WindowWidth": 1200, "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": 700, "WindowWidth": 1200, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 840.5, "WindowWidth": 0.25, "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": 700, "WindowWidth": 1200, "RescaleSlope": 0.5, "RescaleIntercept": -100},
        {"WindowCenter": -700, "WindowWidth": 1200, "RescaleSlope": -1, "RescaleIntercept": 12},
        {"RescaleSlope": "2.5E-1", "RescaleIntercept": "+3", "WindowCenter": 100.0, "WindowWidth": 90.5},
    ],
)  # fmt: skip
def test_windows_and_slopes_give_what_pydicom_gives(dicom, header, signed):
    pixels = dicom.picture(12, signed=signed)
    ds = dicom.data_set(pixels, BitsStored=12, **header)
    with np.errstate(over="ignore"):
        expected = by_pydicom(pixels, ds)
    assert np.abs(read(dicom.written(ds)).pixels - expected).max() <= 0.5 + 1e-6


def test_a_window_of_width_one_is_a_threshold(dicom):
    pixels = dicom.picture(12)
    film = read(dicom.film(pixels, BitsStored=12, WindowCenter=1500, WindowWidth=1))
    assert np.array_equal(film.pixels, np.where(pixels > 1499, 255, 0))


@pytest.mark.parametrize(
    ("bits", "first", "count"), [(16, 0, 4096), (12, 0, 4096), (10, 300, 2000), (14, 0, 65536)]
)
def test_voi_tables_give_what_pydicom_gives(dicom, bits, first, count):
    values = (np.sqrt(np.linspace(0, 1, count)) * (2**bits - 1)).astype(int)
    pixels = dicom.picture(12)
    ds = dicom.data_set(pixels, BitsStored=12, VOILUTSequence=dicom.table(values, first, bits))
    # pydicom unpacks such tables by the transfer syntax, which only the written file has.
    film = read(dicom.written(ds))
    assert np.abs(film.pixels - by_pydicom(pixels, ds)).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("first", [0, 300])
def test_modality_tables_give_what_pydicom_gives(dicom, first):
    values = (np.sqrt(np.linspace(0, 1, 3000)) * 65535).astype(int)
    pixels = dicom.picture(12)
    sequence = dicom.table(values, first, 16)
    ds = dicom.data_set(
        pixels, BitsStored=12, ModalityLUTSequence=sequence, WindowCenter=3e4, WindowWidth=5e4
    )
    film = read(dicom.written(ds))
    assert np.abs(film.pixels - by_pydicom(pixels, ds)).max() <= 0.5 + 1e-6


def test_a_modality_table_of_twelve_bits(dicom):
    pixels = dicom.picture(12)
    values = 4095 - np.arange(4096)
    sequence = dicom.table(values, 0, 12)
    film = read(
        dicom.film(pixels, BitsStored=12, ModalityLUTSequence=sequence, WindowCenter=2048, WindowWidth=4096)
    )
    assert np.array_equal(film.pixels, full(values[pixels].astype(float), 0, 4095))


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_from_twelve_bits_to_eight(dicom, packed):
    pixels = dicom.picture(12)
    values = 255 - np.arange(4096) // 16
    item = dicom.table(values, 0, 8)
    if packed:
        item[0]["LUTData"].value = values.astype(np.uint8).tobytes()
    film = read(dicom.film(pixels, BitsStored=12, VOILUTSequence=item))
    assert np.array_equal(film.pixels, values[pixels])


def test_a_table_may_begin_below_zero(dicom):
    pixels = dicom.picture(12, signed=True)
    item = dicom.table(np.arange(4096), 0, 12)
    item[0].add_new(0x00283002, "SS", [4096, -2048, 12])
    film = read(dicom.film(pixels, BitsStored=12, VOILUTSequence=item))
    assert np.array_equal(film.pixels, full(pixels.astype(float), -2048, 2047))
    film = read(dicom.film(pixels, uid.ImplicitVRLittleEndian, BitsStored=12, VOILUTSequence=item))
    assert np.array_equal(film.pixels, full(pixels.astype(float), -2048, 2047))


def test_a_table_goes_before_a_window_and_a_first_table_before_a_second(dicom):
    pixels = dicom.picture(12)
    tables = [*dicom.table(np.arange(4096), 0, 12), *dicom.table(np.zeros(4096), 0, 12)]
    film = read(dicom.film(pixels, BitsStored=12, VOILUTSequence=tables, WindowCenter=5, WindowWidth=9))
    assert np.array_equal(film.pixels, full(pixels.astype(float), 0, 4095))


def test_without_a_window_eight_bits_stay_and_more_are_stretched_between_percentiles(dicom):
    pixels = dicom.picture(8)[20:100, 20:90]
    assert np.array_equal(read(dicom.film(np.ascontiguousarray(pixels))).pixels, pixels)
    deep = dicom.picture(12)
    deep[0, 0] = 4095
    low, high = np.percentile(deep, (0.5, 99.5))
    film = read(dicom.film(deep, BitsStored=12))
    assert np.array_equal(film.pixels, full(deep.astype(float), low, high))
    assert high < 4000
    assert np.array_equal(read(dicom.film(deep + 20_000, BitsStored=16)).pixels, film.pixels)


def test_a_nearly_empty_film_is_stretched_over_all_it_has(dicom):
    deep = np.full((64, 64), 700, np.uint16)
    deep[3, 3:6] = 100, 900, 500
    film = read(dicom.film(deep))
    assert np.array_equal(film.pixels, full(deep.astype(float), 100, 900))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("shape", [None, "IDENTITY", "INVERSE"])
def test_polarity_is_turned_once_or_not_at_all(dicom, photometric, shape):
    pixels = dicom.picture(8)
    film = read(dicom.film(pixels, PhotometricInterpretation=photometric, PresentationLUTShape=shape))
    turned = photometric == "MONOCHROME1" or shape == "INVERSE"
    assert np.array_equal(film.pixels, 255 - pixels if turned else pixels)
    assert film.mode == f"{photometric}/8"


def test_bits_beyond_those_stored_are_no_picture(dicom):
    pixels = dicom.picture(12)
    overlay = pixels | (np.arange(pixels.size).reshape(pixels.shape) % 16 << 12).astype(np.uint16)
    shifted = (pixels << 4) | (np.arange(pixels.size).reshape(pixels.shape) % 16).astype(np.uint16)
    plain = read(dicom.film(pixels, BitsStored=12)).pixels
    for syntax in (uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.RLELossless):
        assert np.array_equal(read(dicom.film(overlay, syntax, BitsStored=12)).pixels, plain)
        assert np.array_equal(read(dicom.film(shifted, syntax, BitsStored=12, HighBit=15)).pixels, plain)


def test_the_sign_is_the_highest_stored_bit(dicom):
    pixels = dicom.picture(12, signed=True)
    masked = (pixels.view(np.uint16) & 0x0FFF).view(np.int16)
    assert masked.min() >= 0
    window = {"BitsStored": 12, "WindowCenter": 0, "WindowWidth": 4096}
    assert np.array_equal(
        read(dicom.film(masked, **window)).pixels, read(dicom.film(pixels, **window)).pixels
    )


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_count(dicom, photometric):
    picture = dicom.picture(12)
    picture = np.clip(picture, 50, 4000)
    bare = read(
        dicom.film(
            np.ascontiguousarray(picture[:, :90]), BitsStored=12, PhotometricInterpretation=photometric
        )
    )
    for value, limit in ((4090, None), (4080, 4095), (4095, 4080), (0, None)):
        padded = picture.copy()
        padded[:, 90:] = value
        header = {"PixelPaddingValue": value, "PixelPaddingRangeLimit": limit}
        film = read(dicom.film(padded, BitsStored=12, PhotometricInterpretation=photometric, **header))
        assert film.pixels[:, 90:].max() == 0
        assert np.array_equal(film.pixels[:, :90], bare.pixels)


def test_padding_may_be_negative_or_beyond_the_stored_bits(dicom):
    signed = np.clip(dicom.picture(16, signed=True), -2000, 2000)
    signed[:, 90:] = -32768
    ds = dicom.data_set(signed, WindowCenter=0, WindowWidth=3000, PhotometricInterpretation="MONOCHROME1")
    ds.add_new(0x00280120, "SS", -32768)
    assert read(dicom.written(ds)).pixels[:, 90:].max() == 0
    beyond = dicom.picture(12)
    beyond[:, 90:] = 0xFFFF
    film = read(
        dicom.film(beyond, BitsStored=12, PixelPaddingValue=0xFFFF, WindowCenter=2048, WindowWidth=4096)
    )
    assert film.pixels[:, 90:].max() == 0


# Colour


@pytest.fixture
def colours():
    return np.random.default_rng(2).integers(0, 256, (60, 70, 3), np.uint8)


def test_colour_becomes_the_luma_of_the_other_formats(dicom, colours):
    capture = {"SOPClassUID": dicom.SC, "Modality": "OT"}
    expected = read(colours).pixels
    for syntax in dicom.SYNTAXES.values():
        assert np.array_equal(read(dicom.film(colours, syntax, **capture)).pixels, expected)
    ds = dicom.data_set(colours, **capture, PlanarConfiguration=1)
    ds.PixelData = np.ascontiguousarray(colours.transpose(2, 0, 1)).tobytes()
    film = read(dicom.written(ds))
    assert np.array_equal(film.pixels, expected)
    assert film.mode == "RGB/8"


def test_of_luma_and_chroma_the_luma_is_taken(dicom, colours):
    for planar in (0, 1):
        ds = dicom.data_set(colours, PhotometricInterpretation="YBR_FULL", PlanarConfiguration=planar)
        ds.PixelData = np.ascontiguousarray(colours.transpose(2, 0, 1) if planar else colours).tobytes()
        assert np.array_equal(read(dicom.written(ds)).pixels, colours[:, :, 0])
    half = dicom.data_set(colours, PhotometricInterpretation="YBR_FULL_422")
    pairs = np.stack(
        [colours[:, ::2, 0], colours[:, 1::2, 0], colours[:, ::2, 1], colours[:, ::2, 2]], axis=-1
    )
    half.PixelData = pairs.tobytes()
    assert np.array_equal(read(dicom.written(half)).pixels, colours[:, :, 0])


def test_jpeg_colours_are_what_the_header_says(dicom, film_bytes, colours):
    smooth = np.asarray(Image.fromarray(colours).resize((140, 120), Image.Resampling.BICUBIC))
    frame = dicom.jpeg(smooth, subsampling=0, quality=95)
    film = read(
        dicom.encapsulated(frame, smooth, uid.JPEGBaseline8Bit, PhotometricInterpretation="YBR_FULL_422")
    )
    assert np.array_equal(film.pixels, read(frame).pixels)
    # Red, green and blue as they are, and no marker that says so.
    file = BytesIO()
    Image.fromarray(smooth).save(file, "JPEG", quality=95, keep_rgb=True, subsampling=0)
    bare = film_bytes.without(file.getvalue(), 0xEE)
    assert bare[film_bytes._frame_at(bare) + 10 :: 3][:3] == b"RGB"
    at = film_bytes._frame_at(bare) + 10
    bare = bytearray(bare)
    bare[at], bare[at + 3], bare[at + 6] = 1, 2, 3
    scan = bare.index(b"\xff\xda") + 5
    bare[scan], bare[scan + 2], bare[scan + 4] = 1, 2, 3
    film = read(dicom.encapsulated(bytes(bare), smooth, uid.JPEGBaseline8Bit))
    assert np.abs(film.pixels.astype(int) - read(smooth).pixels).max() <= 12


# Files


def test_path_and_bytes_are_one_and_the_ending_does_not_count(dicom, tmp_path):
    data = dicom.film(dicom.picture(8))
    for name in ("film.dcm", "film", "film.png", "IM000001"):
        path = tmp_path / name
        path.write_bytes(data)
        film = read(path)
        assert isinstance(film, Film)
        assert (film.format, film.source) == ("DICOM", str(path))
        assert np.array_equal(film.pixels, read(data).pixels)


def test_what_says_little_is_read_and_what_is_odd_is_followed(dicom):
    pixels = dicom.picture(8)
    for header in (
        {"SOPClassUID": dicom.CR, "Modality": "CR"},
        {"SOPClassUID": dicom.CR, "Modality": None, "BodyPartExamined": None, "ViewPosition": None},
        {"SOPClassUID": dicom.SC, "Modality": None},
        {"SOPClassUID": f"{dicom.SC}.2", "Modality": "CR", "NumberOfFrames": 1},
        {"NumberOfFrames": "1 ", "BodyPartExamined": "", "ViewPosition": ""},
        {"BodyPartExamined": "PORT CHEST"},
        {"BodyPartExamined": "TORAX"},
        {"ViewPosition": "AP"},
        {"ViewPosition": "AP ERECT"},
        {"BitsStored": None},
        {"SamplesPerPixel": None, "PixelRepresentation": None},
        {"PixelAspectRatio": [3, 4], "ImagerPixelSpacing": [0.2, 0.1], "FieldOfViewHorizontalFlip": "YES"},
    ):
        assert np.array_equal(read(dicom.film(pixels, **header)).pixels, pixels), header


@pytest.mark.parametrize(
    "said", [b"chest ", "TÓRAX".encode(), "Tórax ".encode("latin-1"), b"Thorax\0", b"  "]
)
def test_body_parts_are_compared_without_case_accents_and_padding(dicom, said):
    pixels = dicom.picture(8, (64, 64))
    body = dicom.header(extra=dicom.element(0x00180015, b"CS", said)) + dicom.pixels_of(pixels.tobytes())
    assert np.array_equal(read(dicom.file(body)).pixels, pixels)


def test_a_header_in_another_encoding_than_it_says_is_read(dicom):
    pixels = dicom.picture(8)
    explicit, implicit = dicom.film(pixels), dicom.film(pixels, uid.ImplicitVRLittleEndian)
    for data in (explicit, implicit):
        for name in (b"1.2.840.10008.1.2\0", b"1.2.840.10008.1.2.1\0"):
            start = data.index(b"\x02\x00\x10\x00UI")
            end = start + 8 + data[start + 6]
            changed = data[:start] + dicom.element(0x00020010, b"UI", name) + data[end:]
            assert np.array_equal(read(changed).pixels, pixels)
        assert np.array_equal(read(data[:start] + data[end:]).pixels, pixels)


def test_nested_pictures_and_unknown_elements_are_stepped_over(dicom):
    pixels = dicom.picture(8)
    icon = dicom.data_set(np.full((9, 9), 3, np.uint8), Rows=9)
    icon.Modality = "CT"
    ds = dicom.data_set(pixels)
    ds.IconImageSequence = [icon]
    ds.add_new(0x00090010, "LO", "MAKER")
    ds.add_new(0x00091001, "UN", b"\xff" * 4000)
    nested = Dataset()
    nested.ReferencedImageSequence = [Dataset(), icon]
    ds.SourceImageSequence = [nested, nested]
    for undefined in (False, True):
        for sequence in (ds["IconImageSequence"], ds["SourceImageSequence"]):
            sequence.is_undefined_length = undefined
            for item in sequence.value:
                item.is_undefined_length_sequence_item = undefined
        for syntax in (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian):
            assert np.array_equal(read(dicom.written(ds, syntax)).pixels, pixels)


def test_sequences_of_unknown_representation_are_implicit(dicom):
    inside = b"\x08\x00\x60\x00\x02\x00\x00\x00CT"
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + inside + b"\xfe\xff\x0d\xe0\0\0\0\0"
    unknown = dicom.element(0x00291010, b"UN", item + b"\xfe\xff\xdd\xe0\0\0\0\0", 0xFFFFFFFF)
    pixels = dicom.picture(8, (64, 64))
    body = dicom.header(extra=unknown) + dicom.pixels_of(pixels.tobytes())
    assert np.array_equal(read(dicom.file(body)).pixels, pixels)


# Speed and silence


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2000, "WindowWidth": 4000}])
def test_a_large_film_is_read_within_150_milliseconds(dicom, window):
    data = dicom.film(dicom.picture(12, (2500, 2048)), BitsStored=12, **window)
    times = []
    for _ in range(5):
        began = time.thread_time()
        read(data)
        times.append(time.thread_time() - began)
    assert min(times) < 0.15


IMPORTED = """
import sys
from pneumoscan.imaging import read
for path in sys.argv[1:]:
    read(path)
    print("imagecodecs" in sys.modules)
    assert "pydicom" not in sys.modules
"""


def test_the_codecs_are_imported_only_for_a_film_that_needs_them(dicom, tmp_path):
    pixels = dicom.picture(8)
    films = [
        png(pixels),
        *(dicom.film(pixels, dicom.SYNTAXES[name]) for name in ("implicit little", "RLE", "JPEG-LS")),
    ]
    films.insert(3, dicom.encapsulated(dicom.jpeg(pixels), pixels, uid.JPEGBaseline8Bit))
    for number, data in enumerate(films):
        (tmp_path / f"{number}").write_bytes(data)
    command = [sys.executable, "-W", "error", "-c", IMPORTED, *sorted(tmp_path.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.split() == ["False", "False", "False", "False", "True"]


WITHOUT = """
import sys
from importlib import util
find_spec = util.find_spec
util.find_spec = lambda name: None if name == "imagecodecs" else find_spec(name)
sys.modules["imagecodecs"] = None
from pneumoscan.errors import PneumoscanError
from pneumoscan.imaging import read
for path in sys.argv[1:]:
    try:
        print(read(path).pixels.astype(int).sum())
    except PneumoscanError as problem:
        print(problem.code, problem.exit_code, problem)
"""


def test_without_codecs_pillow_decodes_jpeg_2000_and_of_others_it_is_said_what_to_install(dicom, tmp_path):
    films = {
        f"{bits}": dicom.film(dicom.picture(bits), uid.JPEG2000Lossless, BitsStored=bits)
        for bits in (8, 12, 16)
    }
    films["signed"] = dicom.film(dicom.picture(12, signed=True), uid.JPEG2000Lossless, BitsStored=12)
    films["colour"] = dicom.film(np.stack([dicom.picture(8)] * 3, axis=-1), uid.JPEG2000Lossless)
    expected = [str(read(data).pixels.astype(int).sum()) for data in films.values()]
    pixels = dicom.picture(12)
    films["near"] = dicom.film(pixels, uid.JPEGLSLossless, BitsStored=12)
    frame = dicom.jpeg_lossless(pixels, 12)
    films["lossless"] = dicom.encapsulated(frame, pixels, uid.JPEGLosslessSV1, BitsStored=12)
    for name, data in films.items():
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-W", "error", "-c", WITHOUT, *(tmp_path / name for name in films)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    *sums, near, lossless = done.stdout.splitlines()
    assert sums == expected
    assert near.startswith("environment.codec 6 ")
    assert 'pip install "pneumoscan[dicom]"' in near
    assert lossless.startswith("environment.codec 6 ")
    assert "lossless or 12-bit JPEG" in lossless


def test_a_missing_codec_is_a_films_error_too():
    assert issubclass(errors.CodecMissingError, errors.FilmError)
    assert issubclass(errors.CodecMissingError, errors.EnvironmentProblemError)


def test_threads_read_the_same_and_leave_pydicoms_settings_alone(dicom):
    from pydicom import config

    pixels = dicom.picture(12)
    files = [dicom.film(pixels, syntax, BitsStored=12) for syntax in dicom.SYNTAXES.values()]
    expected = read(files[0]).pixels
    filters = list(warnings.filters)
    settings = (config.settings.reading_validation_mode, config.enforce_valid_values, config.debugging)
    wrong = []

    def work():
        for _ in range(5):
            wrong.extend(1 for data in files if not np.array_equal(read(data).pixels, expected))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert warnings.filters == filters
    assert settings == (
        config.settings.reading_validation_mode,
        config.enforce_valid_values,
        config.debugging,
    )
