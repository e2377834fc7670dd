"""The stored bits of compressed films: where they lie in the codestream, and what lies beyond them."""

import numpy as np
import pytest
from pydicom import uid

from pneumoscan.imaging import read

# Allocated and stored bits, and the highest one.
PLACES = [(16, 12, 15), (16, 14, 15), (16, 10, 11), (16, 10, 13), (16, 12, 13), (8, 6, 7)]


def streams(dicom, words, low, allocated, stored, *, signed):
    """Name → (syntax, frame): codestreams of all allocated bits, and of the stored bits only."""
    import imagecodecs

    bits = words.view(f"u{words.itemsize}")
    few = low.view(f"u{low.itemsize}") & ((1 << stored) - 1)
    made = {
        "JPEG-LS": (uid.JPEGLSLossless, dicom.jpeg_ls(words)),
        "JPEG Lossless": (uid.JPEGLosslessSV1, dicom.jpeg_lossless(bits, allocated)),
        "JPEG Lossless, stored bits": (uid.JPEGLosslessSV1, dicom.jpeg_lossless(few, stored)),
        "JPEG 2000": (uid.JPEG2000Lossless, dicom.jpeg_2000(words, allocated)),
        "JPEG 2000, stored bits": (uid.JPEG2000Lossless, dicom.jpeg_2000(low, stored)),
        "JPEG 2000, stored bits, in the lossy syntax": (uid.JPEG2000, dicom.jpeg_2000(low, stored)),
        "HTJ2K": (uid.HTJ2KLossless, imagecodecs.htj2k_encode(words)),
        "JPEG 2000, bits without sign": (uid.JPEG2000Lossless, dicom.jpeg_2000(bits, allocated)),
    }
    return made if signed else dict(list(made.items())[:-1])


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("allocated", "stored", "high"), PLACES)
def test_stored_bits_may_lie_above_unused_ones_in_a_codestream(
    dicom, allocated, stored, high, signed, photometric
):
    low = dicom.picture(stored, (48, 52), signed=signed)
    unused = np.random.default_rng(1).integers(0, 1 << (high + 1 - stored), low.shape).astype(low.dtype)
    words = (low << (high + 1 - stored)) | unused
    header = {
        "BitsStored": stored, "HighBit": high, "PhotometricInterpretation": photometric,
        "WindowCenter": 0 if signed else 1 << (stored - 1), "WindowWidth": 1 << stored,
    }  # fmt: skip
    expected = read(dicom.film(low, **(header | {"HighBit": stored - 1}))).pixels
    assert np.array_equal(read(dicom.film(words, **header)).pixels, expected)
    assert np.array_equal(read(dicom.film(words, uid.RLELossless, **header)).pixels, expected)
    for name, (syntax, frame) in streams(dicom, words, low, allocated, stored, signed=signed).items():
        assert np.array_equal(read(dicom.encapsulated(frame, words, syntax, **header)).pixels, expected), name


def test_a_codestream_as_deep_as_the_highest_bit_is_shifted_too(dicom):
    low = dicom.picture(10, (48, 52))
    header = {"BitsStored": 10, "HighBit": 11, "WindowCenter": 512, "WindowWidth": 1024}
    frame = dicom.jpeg_lossless(low << 2, 12)
    film = read(dicom.encapsulated(frame, low, uid.JPEGLosslessSV1, **header))
    assert np.array_equal(film.pixels, read(dicom.film(low << 2, **header)).pixels)


def overshooting(dicom, bits):
    """Values of a lossy film, some of them beyond its bits, and the same clipped."""
    over = dicom.picture(bits, (48, 52)).astype(np.uint16)
    over[10:20, 10:20] = (1 << bits) + np.arange(10)
    return over, np.minimum(over, (1 << bits) - 1)


def lossy_films(dicom, over, bits, **header):
    """Name → film of values that overshoot."""
    import imagecodecs

    pixels = over.astype(np.uint16)
    frames = {
        "JPEG Extended": (
            uid.JPEGExtended12Bit,
            imagecodecs.jpeg8_encode(pixels, level=100, bitspersample=12),
        ),
        "JPEG-LS": (uid.JPEGLSNearLossless, dicom.jpeg_ls(pixels, level=1)),
        "JPEG 2000": (uid.JPEG2000, dicom.jpeg_2000(pixels, 12, level=70, reversible=False)),
    }
    films = {
        name: dicom.encapsulated(frame, pixels, syntax, BitsStored=bits, **header)
        for name, (syntax, frame) in frames.items()
    }
    again = {"BitsStored": bits, "LossyImageCompression": "01", **header}
    films |= {
        f"{name}, decompressed": dicom.film(pixels, syntax, **again)
        for name, syntax in dicom.SYNTAXES.items()
        if name != "JPEG 2000"
    }
    films["JPEG 2000, decompressed"] = dicom.encapsulated(
        dicom.jpeg_2000(pixels, 16), pixels, uid.JPEG2000Lossless, **again
    )
    return films


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 512, "WindowWidth": 1024}])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_lossy_values_beyond_the_stored_bits_are_clipped(dicom, window, photometric):
    over, clipped = overshooting(dicom, 10)
    header = {**window, "PhotometricInterpretation": photometric}
    expected = read(dicom.film(clipped, BitsStored=10, **header)).pixels.astype(int)
    for name, film in lossy_films(dicom, over, 10, **header).items():
        away = np.abs(read(film).pixels - expected).max()
        assert away <= (0 if "decompressed" in name else 3), name


def test_lossy_values_of_eight_allocated_bits_are_clipped(dicom):
    pixels = dicom.picture(6, (64, 64))
    pixels[11:27, 11:27] = 63
    pixels[27:42, 11:27] = 0
    frame = dicom.jpeg(pixels, quality=50)
    coded = read(frame).pixels
    assert coded.max() > 63
    film = read(dicom.encapsulated(frame, pixels, uid.JPEGBaseline8Bit, BitsStored=6))
    assert np.array_equal(film.pixels, read(dicom.film(np.minimum(coded, 63), BitsStored=6)).pixels)


@pytest.mark.parametrize("masked", [False, True])
def test_signed_lossy_values_are_clipped_at_both_ends(dicom, masked):
    picture = dicom.picture(10, (48, 52), signed=True)
    over = picture.copy()
    over[10:20, 10:20] = 511 + np.arange(10)
    if not masked:
        over[20:30, 10:20] = -512 - np.arange(10)
    clipped = np.clip(over, -512, 511)
    window = {"BitsStored": 10, "WindowCenter": 0, "WindowWidth": 1024}
    if masked:
        # Only the stored bits: what overshoots the highest pattern, which is -1.
        clipped = picture.copy()
        clipped[10:20, 10:20] = -1
        over = picture.view(np.uint16) & 1023
        over[10:20, 10:20] = 1023 + np.arange(10)
        over = over.view(np.int16)
    expected = read(dicom.film(clipped, **window)).pixels
    film = read(dicom.film(over, LossyImageCompression="01", **window))
    assert np.array_equal(film.pixels, expected)


def test_overlays_of_lossless_films_are_masked_and_not_clipped(dicom):
    pixels = dicom.picture(12, (48, 52))
    overlay = pixels | (np.arange(pixels.size).reshape(pixels.shape) % 2 << 15).astype(np.uint16)
    plain = read(dicom.film(pixels, BitsStored=12)).pixels
    for name, (syntax, frame) in {
        "JPEG-LS": (uid.JPEGLSLossless, dicom.jpeg_ls(overlay)),
        "JPEG-LS that may lose": (uid.JPEGLSNearLossless, dicom.jpeg_ls(overlay)),
        "JPEG Lossless": (uid.JPEGLosslessSV1, dicom.jpeg_lossless(overlay, 16)),
        "JPEG 2000": (uid.JPEG2000Lossless, dicom.jpeg_2000(overlay, 16)),
        "JPEG 2000 that may lose": (uid.JPEG2000, dicom.jpeg_2000(overlay, 16)),
    }.items():
        film = read(dicom.encapsulated(frame, overlay, syntax, BitsStored=12, LossyImageCompression="00"))
        assert np.array_equal(film.pixels, plain), name
