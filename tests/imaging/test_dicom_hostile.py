"""Hostile and damaged DICOM files: one typed refusal each, soon and in bounded memory, or the film that is there."""

import struct
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from pydicom import uid

from pneumoscan import errors
from pneumoscan.imaging import read

ITEM, ITEM_END, SEQUENCE_END = (struct.pack("<HH", 0xFFFE, number) for number in (0xE000, 0xE00D, 0xE0DD))
UNDEFINED = b"\xff\xff\xff\xff"


def nested(dicom, depth):
    """A private sequence in a sequence in a sequence, all of undefined length."""
    opened = (dicom.element(0x00091001, b"SQ", b"", 0xFFFFFFFF) + ITEM + UNDEFINED) * depth
    return opened + (ITEM_END + bytes(4) + SEQUENCE_END + bytes(4)) * depth


def siz(width, height, tile=(64, 64), components=1, bits=8):
    """The head of a JPEG 2000 codestream."""
    body = struct.pack(">8I", width, height, 0, 0, *tile, 0, 0) + struct.pack(">H", components)
    body += bytes([bits - 1, 1, 1]) * components
    return b"\xff\x4f\xff\x51" + struct.pack(">HH", len(body) + 4, 0) + body + b"\xff\x52\0\x0c" + bytes(10)


def hostile(dicom):
    """Name → (bytes, class of the error)."""
    pixels = dicom.picture(8, (64, 64)).tobytes()
    whole = dicom.header() + dicom.pixels_of(pixels)
    j2k = dicom.fragment_of(dicom.film(dicom.picture(8, (64, 64)), uid.JPEG2000Lossless))
    jls = dicom.fragment_of(dicom.film(dicom.picture(8, (64, 64)), uid.JPEGLSLossless))
    jpeg = dicom.jpeg(dicom.picture(8, (64, 64)))
    frame = jpeg.index(b"\xff\xc0")
    rle = struct.pack("<16I", 1, 64, *[0] * 14)
    wide = dicom.header(8000, 8000)
    damaged, truncated, large = errors.FilmDamagedError, errors.FilmTruncatedError, errors.FilmTooLargeError

    def deflated(body):
        return dicom.file(body, uid.DeflatedExplicitVRLittleEndian)

    half_a_gigabyte = 500 << 20

    def compressed(data, syntax, head=None):
        return dicom.file((head or dicom.header()) + dicom.capsule(data), syntax)

    return {
        "half a megabyte deflated becomes 500": (
            deflated(dicom.bomb(dicom.element(0x00091001, b"OB", length=half_a_gigabyte), 500, whole)), large,
        ),
        "a bomb in the pixel data": (deflated(dicom.bomb(dicom.header() + dicom.pixels_of(b"", half_a_gigabyte), 500)), large),
        "deflated, cut": (deflated(dicom.deflated(whole)[:-9]), truncated),
        "deflated, noise": (deflated(np.random.default_rng(1).bytes(4000)), damaged),
        "deflated, empty": (deflated(b""), truncated),
        "65535 rows and little data": (dicom.file(dicom.header(65535, 64) + dicom.pixels_of(pixels)), damaged),
        "65535 rows and columns": (dicom.file(dicom.header(65535, 65535) + dicom.pixels_of(pixels)), large),
        "8000 squared in colour": (
            dicom.file(dicom.header(8000, 8000, samples=3, photometric=b"RGB ") + dicom.pixels_of(pixels)), large,
        ),
        "a length of two gigabytes": (
            dicom.file(dicom.header(extra=dicom.element(0x00281054, b"UN", b"x", 0x7FFFFFFF)) + whole), damaged,
        ),
        "pixel data of two gigabytes": (dicom.file(dicom.header() + dicom.pixels_of(pixels, 0x7FFFFFFE)), truncated),
        "pixel data of three bytes": (dicom.file(dicom.header() + dicom.pixels_of(pixels, 3)), damaged),
        "an element's length a byte short": (
            dicom.file(dicom.element(0x00080005, b"CS", b"ISO_IR 100", 9) + whole), None,
        ),
        "60,000 empty elements": (
            dicom.file(dicom.element(0x00091001, b"LO") * 60_000 + whole), large,
        ),
        "60,000 items": (
            dicom.file(dicom.element(0x00091001, b"SQ", (ITEM + bytes(4)) * 60_000, 0xFFFFFFFF) + whole), large,
        ),
        "sequences opened 100,000 deep": (
            dicom.file((dicom.element(0x00091001, b"SQ", b"", 0xFFFFFFFF) + ITEM + UNDEFINED) * 100_000), large,
        ),
        "sequences opened and not closed": (
            dicom.file(dicom.header() + (dicom.element(0x00091001, b"SQ", b"", 0xFFFFFFFF) + ITEM + UNDEFINED) * 300),
            truncated,
        ),
        "60,000 fragments": (
            dicom.file(dicom.header() + dicom.capsule(*[b""] * 60_000), uid.RLELossless), large,
        ),
        "fragments without an end": (
            dicom.file(dicom.header() + dicom.capsule(jpeg[:-20], end=False), uid.JPEGBaseline8Bit), truncated,
        ),
        "a fragment of undefined length": (
            dicom.file(dicom.header() + dicom.capsule(jpeg).replace(ITEM + bytes(4), ITEM + UNDEFINED, 1),
                       uid.JPEGBaseline8Bit), damaged,
        ),
        "no fragments": (dicom.file(dicom.header() + dicom.capsule(), uid.JPEG2000Lossless), damaged),
        "jpeg 2000 claims 60000 squared": (compressed(siz(60_000, 60_000) + j2k[60:], uid.JPEG2000Lossless), damaged),
        "jpeg 2000 claims what the header says, of nothing": (
            compressed(siz(8000, 8000, (8000, 8000)) + j2k[60:], uid.JPEG2000Lossless, wide), damaged,
        ),
        "jpeg 2000 in tiles of one pixel": (
            compressed(siz(8000, 8000, (1, 1)) + j2k[60:], uid.JPEG2000Lossless, wide), damaged,
        ),
        "jpeg 2000 of 5000 components": (compressed(siz(64, 64, components=5000) + b"\xff\xd9", uid.JPEG2000Lossless), damaged),
        "jpeg 2000, cut": (compressed(j2k[: len(j2k) // 2], uid.JPEG2000Lossless), truncated),
        "jpeg 2000, head only": (compressed(siz(64, 64) + b"\xff\xd9", uid.JPEG2000Lossless), damaged),
        "jpeg-ls claims 65535 rows": (
            compressed(jls[: jls.index(b"\xff\xf7") + 5] + b"\xff\xff\xff\xff" + jls[jls.index(b"\xff\xf7") + 9 :],
                       uid.JPEGLSLossless), damaged,
        ),
        "jpeg-ls, cut": (compressed(jls[: len(jls) // 2], uid.JPEGLSLossless), truncated),
        "jpeg-ls claims what the header says, of nothing": (
            compressed(jls[: jls.index(b"\xff\xf7") + 5] + struct.pack(">HH", 8000, 8000)
                       + jls[jls.index(b"\xff\xf7") + 9 :], uid.JPEGLSLossless, wide), damaged,
        ),
        "jpeg claims 65535 rows": (
            compressed(jpeg[: frame + 5] + b"\xff" * 4 + jpeg[frame + 9 :], uid.JPEGBaseline8Bit), damaged,
        ),
        "jpeg, cut": (compressed(jpeg[: len(jpeg) // 2], uid.JPEGBaseline8Bit), truncated),
        "jpeg that is none": (compressed(b"<html>" * 50, uid.JPEGBaseline8Bit), damaged),
        "rle without runs": (compressed(rle, uid.RLELossless), damaged),
        "rle of a twenty million runs of nothing": (compressed(rle + b"\x80" * 20_000_000, uid.RLELossless), damaged),
        "rle that runs over": (compressed(rle + b"\x81\x07" * 1_000_000, uid.RLELossless), errors.FilmUniformError),
        "rle with planes elsewhere": (
            compressed(struct.pack("<16I", 1, 0xFFFFFFF0, *[7] * 14) + pixels, uid.RLELossless), damaged,
        ),
        "rle of two planes": (compressed(struct.pack("<16I", 2, 64, 65, *[0] * 13) + pixels, uid.RLELossless), damaged),
        "cut in the file meta": (dicom.file(whole)[:140], truncated),
        "cut before the data set": (dicom.file(b""), truncated),
        "cut in an element's head": (dicom.file(whole)[:165], truncated),
        "cut in the header": (dicom.file(whole[:90]), truncated),
        "cut in the pixels": (dicom.file(whole)[:-500], truncated),
        "zeros": (bytes(128) + b"DICM" + bytes(5000), errors.FilmKindError),
        "noise": (bytes(128) + b"DICM" + np.random.default_rng(3).bytes(50_000), truncated),
        "text": (bytes(128) + b"DICM" + b"<html><body>404 Not Found</body></html>" * 20, truncated),
    }  # fmt: skip


@pytest.fixture(scope="module")
def hostile_films(dicom):
    return hostile(dicom)


LIMITED = """
import resource, sys, time
from pathlib import Path
import pydicom.pixels.decoders.base
from pneumoscan.errors import FilmError
from pneumoscan.imaging import read
import pneumoscan.imaging.dicom
def peak():
    # Not ru_maxrss, which a child inherits from the process that started it.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM"))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (512 << 20), used + (512 << 20)))
for path in sys.argv[1:]:
    data, began = Path(path).read_bytes(), time.process_time()
    try:
        read(data, name=path)
        name = "None"
    except FilmError as problem:
        name = type(problem).__name__
    print(name, time.process_time() - began, peak())
    del data
"""


def test_hostile_files_are_refused_within_two_seconds_and_512_mebibytes(hostile_films, tmp_path):
    paths = []
    for number, (data, _) in enumerate(hostile_films.values()):
        paths.append(tmp_path / f"{number}")
        paths[-1].write_bytes(data)
    command = [sys.executable, "-W", "error", "-c", LIMITED, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=250)
    assert done.stderr == ""
    outcomes = [line.split() for line in done.stdout.splitlines()]
    wrong = {
        name: given
        for (name, (_, expected)), (given, _, _) in zip(hostile_films.items(), outcomes, strict=True)
        if expected is not None and given != expected.__name__
    }
    assert not wrong
    slow = {name: took for name, (_, took, _) in zip(hostile_films, outcomes, strict=True) if float(took) > 2}
    assert not slow
    assert max(int(used) for _, _, used in outcomes) < 512


def test_depth_and_garbage_are_stepped_over(dicom):
    pixels = dicom.picture(8, (64, 64))
    rng = np.random.default_rng(4)
    letters = [bytes(two) for two in rng.integers(65, 91, (6000, 2), np.uint8)]
    # A long representation would make the rest its value.
    garbage = b"".join(
        dicom.element(0x00090000 | number, vr, rng.bytes(20))
        for number, vr in enumerate(letters, 0x1000)
        if not (vr.startswith((b"O", b"U")) or vr in {b"SQ", b"SV"})
    )
    assert len(garbage) > 5000 * 28
    private = b"".join(dicom.element(0x00091000 | n % 4096, b"LO", rng.bytes(64)) for n in range(5000))
    for extra in (nested(dicom, 300), nested(dicom, 10_000), garbage, private):
        body = dicom.header(extra=extra) + dicom.pixels_of(pixels.tobytes())
        assert np.array_equal(read(dicom.file(body)).pixels, pixels)


@pytest.mark.parametrize("name", ["explicit little", "implicit little", "RLE", "JPEG-LS", "JPEG 2000"])
def test_a_film_cut_at_any_length_is_truncated(dicom, name):
    good = dicom.film(dicom.picture(8, (40, 40)), dicom.SYNTAXES[name])
    lengths = [*range(132, 800, 3), *range(800, len(good), 53), *range(len(good) - 20, len(good))]
    whole = len(good) - 8 * (name in dicom.LOSSLESS)
    wrong = {}
    for length in lengths:
        if length >= whole:
            # Only the delimiter after the image is cut.
            assert np.array_equal(read(good[:length]).pixels, read(good).pixels)
            continue
        with pytest.raises(errors.FilmError) as caught:
            read(good[:length])
        if caught.type is not errors.FilmTruncatedError:
            wrong[length] = caught.type
    # A cut between two elements, all of the header before it, looks like a file without a picture.
    assert set(wrong.values()) <= {errors.FilmNoPictureError, errors.FilmKindError}
    assert len(wrong) < 15


def mutated(rng, good):
    """Damage a film: bytes changed, pieces cut out, doubled or swapped, lengths made to lie."""
    data = bytearray(good)
    # Mostly in the header: pixels are long and dull.
    end = len(data) if rng.random() < 0.3 else min(len(data), 1100)
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(132, min(end, len(data))))
        length = int(rng.integers(1, 40))
        match rng.integers(0, 6):
            case 0:
                data[at] = rng.integers(0, 256)
            case 1:
                data[at : at + 4] = rng.choice(
                    [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\1\0"]
                )
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length]
            case 4:
                data[at : at + length] = rng.bytes(length)
            case 5:
                data[at] ^= 1 << int(rng.integers(0, 8))
    return bytes(data if rng.random() < 0.8 else data[: rng.integers(132, max(len(data), 133))])


def fuzz(dicom, count, seed):
    """Read `count` damaged films; return how many were read and the classes of the refusals."""
    rng = np.random.default_rng(seed)
    pixels = dicom.picture(12, (48, 52))
    table = dicom.table(np.arange(4096), 0, 12)
    films = [
        dicom.film(pixels, syntax, BitsStored=12, WindowCenter=2000, WindowWidth=3000, PixelPaddingValue=5)
        for syntax in dicom.SYNTAXES.values()
    ]
    films.append(dicom.film(pixels, BitsStored=12, VOILUTSequence=table, RescaleSlope=2, RescaleIntercept=1))
    films.append(dicom.film(pixels, uid.ImplicitVRLittleEndian, BitsStored=12, ModalityLUTSequence=table))
    grey = dicom.picture(8, (48, 52))
    films.append(dicom.encapsulated(dicom.jpeg(grey), grey, uid.JPEGBaseline8Bit))
    films.append(dicom.film(np.stack([grey] * 3, axis=-1), PhotometricInterpretation="YBR_FULL"))
    refused, read_well, slowest = set(), 0, 0.0
    for number in range(count):
        data = mutated(rng, films[number % len(films)])
        began = time.thread_time()
        try:
            film = read(data)
            assert film.pixels.dtype == np.uint8
            assert film.pixels.ndim == 2
            read_well += 1
        except errors.FilmError as problem:
            refused.add(type(problem))
        slowest = max(slowest, time.thread_time() - began)
    assert slowest < 10
    return read_well, refused


def test_random_damage_gives_a_film_or_a_typed_refusal(dicom, capfd):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        read_well, refused = fuzz(dicom, 300, seed=1)
    assert read_well > 20
    assert len(refused) >= 5
    assert not warned
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_much_random_damage_gives_films_or_typed_refusals(dicom):
    fuzz(dicom, 20_000, seed=2)
