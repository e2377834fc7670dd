"""Forty-odd bad films of our own, made by hand from bytes: each name has its bytes and the one error they must give."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image

from pneumoscan import errors

BadFilm = tuple[bytes, type[errors.FilmError]]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def picture(size=(120, 100), seed=0):
    """A grey uint8 picture (height, width) that compresses neither to nothing nor badly."""
    height, width = size
    rows = np.linspace(20, 200, height)[:, None] + 30 * np.sin(np.arange(width) / 7)
    noise = np.random.default_rng(seed).normal(0, 4, size)
    return np.clip(rows + noise, 0, 255).astype(np.uint8)


def encoded(kind, image=None, **options):
    image = Image.fromarray(picture()) if image is None else image
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(name, body=b"", crc=None):
    crc = zlib.crc32(name + body) if crc is None else crc
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc)


def header(width, height, depth=8, colour=0):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))


def png(*chunks):
    return PNG_SIGNATURE + b"".join(chunks)


def pixels_chunk(image):
    """IDAT of a grey uint8 picture (height, width), every row unfiltered."""
    return chunk(b"IDAT", zlib.compress(np.pad(image, ((0, 0), (1, 0))).tobytes()))


def segments(jpeg):
    """The marker segments of a JPEG's head as (marker, start, end); the last is SOS."""
    found, at = [], 2
    while not found or found[-1][0] != 0xDA:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4])
        found.append((jpeg[at + 1], at, end))
        at = end
    return found


def without(jpeg, marker):
    return (
        jpeg[:2]
        + b"".join(jpeg[a:b] for m, a, b in segments(jpeg) if m != marker)
        + jpeg[segments(jpeg)[-1][2] :]
    )


def patched(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def _frame_at(jpeg):
    return next(start for marker, start, _end in segments(jpeg) if marker == 0xC0)


def _not_pictures() -> dict[str, BadFilm]:
    wrong = errors.FilmFormatError
    two = [Image.fromarray(picture(seed=i)) for i in (0, 1)]
    return {
        "empty": (b"", errors.FilmEmptyError),
        "one byte": (b"x", wrong),
        "zeros": (bytes(5000), wrong),
        "noise": (np.random.default_rng(5).bytes(5000), wrong),
        "text": ("Röntgen thorax, 2 Ebenen\n".encode() * 50, wrong),
        "html": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", wrong),
        "svg": (b'<svg xmlns="http://www.w3.org/2000/svg" width="200" height="200"><rect/></svg>', wrong),
        "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 200 200\nshowpage\n", wrong),
        "pdf": (b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF", wrong),
        "gif": (encoded("GIF"), wrong),
        "animated gif": (encoded("GIF", two[0], save_all=True, append_images=two[1:]), wrong),
        "bmp": (encoded("BMP"), wrong),
        "tiff": (encoded("TIFF"), wrong),
        "webp": (b"RIFF\x24\x00\x00\x00WEBPVP8L\x17\x00\x00\x00\x2f\x31\xc0\x18\x00" + bytes(19), wrong),
        "zip": (b"PK\x05\x06" + bytes(18), wrong),
        "gzip": (b"\x1f\x8b\x08\x00" + bytes(30), wrong),
        "icon": (b"\x00\x00\x01\x00\x01\x00\x20\x20" + bytes(100), wrong),
        "jpeg 2000": (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(100), wrong),
        "dicom of nothing": (bytes(128) + b"DICM" + bytes(200), errors.FilmKindError),
    }


def _pngs() -> dict[str, BadFilm]:
    image = picture()
    good = png(header(100, 120), pixels_chunk(image), chunk(b"IEND"))
    body = pixels_chunk(image)
    small = Image.fromarray(image)
    control = chunk(b"acTL", struct.pack(">II", 2, 0))
    return {
        "png: signature only": (PNG_SIGNATURE, errors.FilmTruncatedError),
        "png: half a signature": (PNG_SIGNATURE[:4], errors.FilmTruncatedError),
        "png: header only": (png(header(100, 120)), errors.FilmTruncatedError),
        "png: cut in its pixels": (good[: len(good) // 2], errors.FilmTruncatedError),
        "png: no end": (good[:-12], errors.FilmTruncatedError),
        "png: pixels end early, well wrapped": (
            png(header(100, 120), chunk(b"IDAT", body[8:3000]), chunk(b"IEND")),
            errors.FilmTruncatedError,
        ),
        "png: no pixels": (png(header(100, 120), chunk(b"IEND")), errors.FilmDamagedError),
        "png: wrong checksum of the header": (
            png(header(100, 120)[:-4] + b"\0\0\0\0", body, chunk(b"IEND")),
            errors.FilmDamagedError,
        ),
        "png: wrong checksum of the pixels": (
            png(header(100, 120), body[:-1] + bytes([body[-1] ^ 1]), chunk(b"IEND")),
            errors.FilmDamagedError,
        ),
        "png: one bit of the pixels flipped": (
            patched(good, 400, bytes([good[400] ^ 4])),
            errors.FilmDamagedError,
        ),
        "png: two headers": (
            png(header(100, 120), header(20_000, 20_000), body, chunk(b"IEND")),
            errors.FilmDamagedError,
        ),
        "png: header second": (png(chunk(b"gAMA", bytes(4)), header(100, 120)), errors.FilmDamagedError),
        "png: colour type 5": (
            png(header(100, 120, colour=5), body, chunk(b"IEND")),
            errors.FilmDamagedError,
        ),
        "png: palette without a palette": (
            png(header(100, 120, colour=3), body, chunk(b"IEND")),
            errors.FilmDamagedError,
        ),
        "png: not deflated": (
            png(header(100, 120), chunk(b"IDAT", bytes(range(256)) * 40), chunk(b"IEND")),
            errors.FilmDamagedError,
        ),
        "png: line ends translated": (good.replace(b"\r\n", b"\n"), errors.FilmFormatError),
        "png: width 0": (png(header(0, 120), body, chunk(b"IEND")), errors.FilmTooSmallError),
        "png: 1×1": (encoded("PNG", small.resize((1, 1))), errors.FilmTooSmallError),
        "png: 31×200": (encoded("PNG", small.resize((31, 200))), errors.FilmTooSmallError),
        "png: animated": (png(header(100, 120), control, body, chunk(b"IEND")), errors.FilmAnimatedError),
        "png: animated, written by Pillow": (
            encoded("PNG", small, save_all=True, append_images=[Image.fromarray(picture(seed=1))]),
            errors.FilmAnimatedError,
        ),
        "png: one colour": (encoded("PNG", Image.new("L", (100, 100), 90)), errors.FilmUniformError),
        "png: one colour of 16 bits": (
            encoded("PNG", Image.fromarray(np.full((100, 100), 30_000, np.uint16))),
            errors.FilmUniformError,
        ),
        "png: wholly transparent": (
            encoded("PNG", Image.merge("LA", (small, Image.new("L", small.size, 0)))),
            errors.FilmUniformError,
        ),
    }


def _jpegs() -> dict[str, BadFilm]:
    good = encoded("JPEG")
    frame, scan = _frame_at(good), segments(good)[-1]
    tables = next(start for marker, start, _end in segments(good) if marker == 0xC4)
    return {
        "jpeg: start only": (b"\xff\xd8", errors.FilmTruncatedError),
        "jpeg: signature only": (good[:3], errors.FilmTruncatedError),
        "jpeg: cut in its head": (good[: frame + 6], errors.FilmTruncatedError),
        "jpeg: cut in the middle": (good[: len(good) // 2], errors.FilmTruncatedError),
        "jpeg: no end": (good[:-2], errors.FilmTruncatedError),
        "jpeg: ends after its head": (good[: scan[1]] + b"\xff\xd9", errors.FilmDamagedError),
        "jpeg: no frame header": (without(good, 0xC0), errors.FilmDamagedError),
        "jpeg: no quantisation table": (without(good, 0xDB), errors.FilmDamagedError),
        "jpeg: broken Huffman table": (patched(good, tables + 5, b"\xff" * 16), errors.FilmDamagedError),
        "jpeg: segment of length 0": (patched(good, 4, b"\0\0"), errors.FilmDamagedError),
        "jpeg: 12 bits": (patched(good, frame + 4, b"\x0c"), errors.FilmFormatError),
        "jpeg: lossless": (patched(good, frame + 1, b"\xc3"), errors.FilmFormatError),
        "jpeg: height 0": (patched(good, frame + 5, b"\0\0"), errors.FilmTooSmallError),
        "jpeg: 20 rows": (encoded("JPEG", Image.fromarray(picture((20, 100)))), errors.FilmTooSmallError),
        "jpeg: claims 65535×65535": (patched(good, frame + 5, b"\xff" * 4), errors.FilmTooLargeError),
        "jpeg: one colour": (
            encoded("JPEG", Image.new("RGB", (100, 100), (9, 80, 7))),
            errors.FilmUniformError,
        ),
    }


def _bombs() -> dict[str, BadFilm]:
    nothing = zlib.compress(bytes(12_001 * 1000), 9)
    return {
        "bomb: a small png claims 12000×12000": (
            png(header(12_000, 12_000), chunk(b"IDAT", nothing), chunk(b"IEND")),
            errors.FilmTooLargeError,
        ),
        "bomb: png claims 2147483647×2147483647": (
            png(header(2**31 - 1, 2**31 - 1), chunk(b"IDAT"), chunk(b"IEND")),
            errors.FilmTooLargeError,
        ),
        "bomb: 8000×8000 black colour pixels": (
            encoded("PNG", Image.new("RGB", (8000, 8000))),
            errors.FilmUniformError,
        ),
        "bomb: more pixels than the header says": (
            png(header(100, 120), chunk(b"IDAT", zlib.compress(bytes(50_000_000))), chunk(b"IEND")),
            errors.FilmUniformError,
        ),
    }


def bad_films() -> dict[str, BadFilm]:
    """Every bad film: name → (bytes, the class of its error)."""
    makers: tuple[Callable[[], dict[str, BadFilm]], ...] = (_not_pictures, _pngs, _jpegs, _bombs)
    return {name: film for make in makers for name, film in make().items()}
