"""Complete files whose structure is not as the standard has it: what is whole is read, and the true cause is told."""

import struct

import numpy as np
import pytest
from pydicom import uid

from pneumoscan import errors
from pneumoscan.imaging import read

ITEM, ITEM_END, SEQUENCE_END = (struct.pack("<HH", 0xFFFE, number) for number in (0xE000, 0xE00D, 0xE0DD))
UNDEFINED = b"\xff\xff\xff\xff"
DELIMITER = SEQUENCE_END + bytes(4)


def frames(dicom):
    """Transfer syntax → a frame of `picture(8, (64, 64))`."""
    import imagecodecs

    pixels = dicom.picture(8, (64, 64))
    frames = {
        uid.JPEGBaseline8Bit: dicom.jpeg(pixels),
        uid.JPEGExtended12Bit: dicom.jpeg(pixels, progressive=True),
        uid.JPEGLosslessSV1: dicom.jpeg_lossless(pixels, 8),
        uid.JPEGLSLossless: dicom.jpeg_ls(pixels),
        uid.JPEG2000Lossless: dicom.jpeg_2000(pixels, 8),
        uid.JPEG2000: imagecodecs.jpeg2k_encode(pixels, codecformat="JP2", reversible=True),
        uid.HTJ2KLossless: imagecodecs.htj2k_encode(pixels),
        uid.RLELossless: dicom.packed_in_rows(pixels),
    }
    return {syntax: frame + b"\0" * (len(frame) % 2) for syntax, frame in frames.items()}


def capsules(dicom, frame, syntax):
    """Name → the pixel data of a frame, with another end or beginning than the standard has."""
    middle = len(frame) // 4 * 2
    offsets = struct.pack("<I", 0)
    plain = dicom.capsule(frame, end=False)
    odd = dicom.capsule(frame[:-1], end=False) if syntax != uid.RLELossless and frame[-1] == 0 else plain
    made = {
        "no delimiter": plain,
        "no delimiter, in pieces": dicom.capsule(frame[:middle], frame[middle:], offsets=offsets, end=False),
        "half a delimiter": plain + SEQUENCE_END,
        "zeros": plain + bytes(8),
        "many zeros": plain + bytes(1000),
        "the delimiter of an item": plain + ITEM_END + bytes(4),
        "the delimiter of an item, then padding": plain + ITEM_END + bytes(4) + dicom.element(0xFFFCFFFC, b"OB", bytes(20)),
        "the delimiter of an item after each": (
            dicom.capsule(frame[:middle], end=False) + ITEM_END + bytes(4)
            + ITEM + struct.pack("<I", len(frame) - middle) + frame[middle:] + ITEM_END + bytes(4) + DELIMITER
        ),
        "a delimiter with a length": plain + SEQUENCE_END + b"\4\0\0\0",
        "an odd fragment": odd + DELIMITER,
        "an odd fragment and a byte that does not count": odd + b"\0" + DELIMITER,
        "no table of offsets": plain.replace(ITEM + bytes(4), b"", 1) + DELIMITER,
        "elements after it": plain + DELIMITER + dicom.element(0xFFFCFFFC, b"OB", bytes(20)),
    }  # fmt: skip
    for name, junk in {
        "a line break": b"\r\n", "spaces": b"  ", "zeros": bytes(64), "text": b"end of image", "an item": ITEM + bytes(4),
        "half an image": frame[: len(frame) // 2], "the start of one": b"\xff\xd8", "ones": b"\xff" * 30,
    }.items():  # fmt: skip
        made[f"{name} after the image"] = dicom.capsule(frame + junk)
        made[f"{name} in a piece of its own"] = dicom.capsule(frame, junk, offsets=offsets)
        made[f"{name} after the image, no delimiter"] = dicom.capsule(frame + junk, end=False)
    return made


def test_whole_images_are_read_whatever_follows_them(dicom):
    wrong = []
    for syntax, frame in frames(dicom).items():
        plain = read(dicom.file(dicom.header() + dicom.capsule(frame), syntax)).pixels
        for name, capsule in capsules(dicom, frame, syntax).items():
            try:
                same = np.array_equal(read(dicom.file(dicom.header() + capsule, syntax)).pixels, plain)
            except errors.FilmError as problem:
                same = str(problem)
            if same is not True:
                wrong.append((syntax.name, name, same))
    assert not wrong


def test_what_is_cut_is_not_read_whatever_follows_it(dicom):
    """An image that is not whole: with the file it was cut off, or it was stored so."""
    for syntax, frame in frames(dicom).items():
        if syntax == uid.RLELossless:
            continue
        for part in (0.4, 0.7, 0.97):
            cut = frame[: int(len(frame) * part) // 2 * 2]
            for junk in (b"", b"\r\n", bytes(200), ITEM_END + bytes(4)):
                for end in (True, False):
                    data = dicom.file(dicom.header() + dicom.capsule(cut + junk, end=end), syntax)
                    with pytest.raises(errors.FilmTruncatedError) as caught:
                        read(data)
                    # To copy a file again helps only if its end is missing.
                    assert ("Copy" in caught.value.remedy) is not end, (syntax.name, part, junk)


def test_the_marker_of_the_end_in_a_comment_is_not_the_end(dicom):
    frame = dicom.jpeg(dicom.picture(8, (64, 64)), comment=b"\xff\xd9 " * 20)
    plain = read(dicom.file(dicom.header() + dicom.capsule(frame), uid.JPEGBaseline8Bit)).pixels
    film = read(dicom.file(dicom.header() + dicom.capsule(frame + b"\r\n"), uid.JPEGBaseline8Bit))
    assert np.array_equal(film.pixels, plain)
    with pytest.raises(errors.FilmTruncatedError):
        read(dicom.file(dicom.header() + dicom.capsule(frame[:1000] + b"\r\n"), uid.JPEGBaseline8Bit))


def test_an_incomplete_run_length_film_names_its_cause(dicom):
    frame = dicom.packed_in_rows(dicom.picture(8, (64, 64)))[:-100]
    for end, expected in ((True, errors.FilmDamagedError), (False, errors.FilmTruncatedError)):
        with pytest.raises(expected):
            read(dicom.file(dicom.header() + dicom.capsule(frame, end=end), uid.RLELossless))


def item(*elements, end=ITEM_END + bytes(4)):
    return ITEM + UNDEFINED + b"".join(elements) + end


def sequences(dicom):
    """Name → a sequence of undefined length that is not closed as it should be, before the rest of the header."""
    inner = dicom.element(0x00080060, b"CS", b"CT")
    nested = dicom.element(0x00081140, b"SQ", item(inner, end=DELIMITER), 0xFFFFFFFF)
    return {
        "its delimiter after the last item": item(inner, end=DELIMITER),
        "its delimiter twice": item(inner, end=DELIMITER) + DELIMITER,
        "its delimiter between items": item(inner, end=DELIMITER) + item(inner) + DELIMITER,
        "no delimiter": item(inner),
        "the delimiter of an item": item(inner) + ITEM_END + bytes(4),
        "no delimiter of an item before the next": item(inner, end=b"") + item(inner) + DELIMITER,
        "one in another": item(inner, nested) + DELIMITER,
    }


def test_sequences_that_are_not_closed_are_stepped_over(dicom):
    pixels = dicom.picture(8, (64, 64))
    for name, body in sequences(dicom).items():
        extra = dicom.element(0x00081111, b"SQ", body, 0xFFFFFFFF)
        data = dicom.file(extra + dicom.header() + dicom.pixels_of(pixels.tobytes()))
        assert np.array_equal(read(data).pixels, pixels), name


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("vr", [b"QQ", b"??", b"zz", b"\0\0", b"- "])
def test_unknown_representations_are_stepped_over(dicom, vr, wide):
    pixels = dicom.picture(8, (64, 64))
    length = struct.pack("<HI", 0, 4) if wide else struct.pack("<H", 4)
    extra = struct.pack("<HH", 0x0009, 0x1002) + vr + length + b"abcd"
    rest = dicom.header()
    data = dicom.file(extra + rest[rest.index(b"\x28\x00") :] + dicom.pixels_of(pixels.tobytes()))
    # The class is before the unknown element.
    start = data.index(extra)
    data = data[:start] + rest[: rest.index(b"\x28\x00")] + data[start:]
    assert np.array_equal(read(data).pixels, pixels)


def test_a_wrong_length_in_a_complete_file_is_not_a_file_that_was_cut(dicom):
    frame = frames(dicom)[uid.JPEGLSLossless]
    bodies = {
        uid.ExplicitVRLittleEndian: dicom.pixels_of(dicom.picture(8, (64, 64)).tobytes()),
        uid.JPEGLSLossless: dicom.capsule(frame),
    }
    for syntax, body in bodies.items():
        for tail in (b"", bytes(40), dicom.element(0xFFFCFFFC, b"OB", bytes(20))):
            wrong = dicom.element(0x00090010, b"UT", b"x" * 10, 0x7FFFFF00)
            data = dicom.file(wrong + dicom.header() + body + tail, syntax)
            with pytest.raises(errors.FilmDamagedError) as caught:
                read(data)
            assert "Copy" not in caught.value.remedy
            with pytest.raises(errors.FilmTruncatedError):
                read(data[: -len(tail) - 500])


def test_a_wrong_length_in_a_complete_jpeg_or_png_is_not_a_file_that_was_cut(film_bytes):
    jpeg = film_bytes.encoded("JPEG")
    at = jpeg.index(b"\xff\xdb") + 2
    png = film_bytes.encoded("PNG")
    length = png.index(b"IDAT") - 4
    for data in (
        jpeg[:at] + b"\xff\xf0" + jpeg[at + 2 :],
        png[:length] + b"\0\xff\xff\xff" + png[length + 4 :],
    ):
        with pytest.raises(errors.FilmDamagedError):
            read(data)
        with pytest.raises(errors.FilmTruncatedError):
            read(data[:-20])
