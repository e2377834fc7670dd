"""What is a film is read by its content into upright 8-bit grey, whatever its name, depth and colours."""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumoscan import errors
from pneumoscan.imaging import Film, read

UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: np.rot90(a, 1),
}


def tiff(orientation, order="<", kind=3, entries=1):
    """An EXIF block without its prefix."""
    magic = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entry = struct.pack(f"{order}HHIHH", 0x0112, kind, 1, orientation, 0)
    return magic + struct.pack(f"{order}IH", 8, entries) + entry * min(entries, 1) + bytes(4)


def test_a_grey_film_keeps_its_bytes(film_bytes):
    pixels = film_bytes.picture()
    film = read(film_bytes.encoded("PNG"))
    assert np.array_equal(film.pixels, pixels)
    assert (film.height, film.width, film.format, film.mode, film.source) == (120, 100, "PNG", "L", "<bytes>")
    assert film.image.dtype == np.float32
    assert np.array_equal(film.image, pixels / np.float32(255))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_grey_file_is_decoded_into_an_array_that_nobody_can_change(film_bytes, kind, monkeypatch):
    data = film_bytes.encoded(kind)
    monkeypatch.setattr(Image.Image, "tobytes", None)  # the copy that is avoided
    pixels = read(data).pixels
    assert pixels.flags.c_contiguous
    assert not pixels.flags.writeable
    monkeypatch.undo()
    assert np.array_equal(pixels, np.asarray(Image.open(BytesIO(data))))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("name", ["film.png", "film.jpeg", "film.txt", "film", "film.dcm"])
def test_the_content_counts_and_not_the_name(film_bytes, tmp_path, kind, name):
    path = tmp_path / name
    path.write_bytes(film_bytes.encoded(kind))
    assert read(path).format == kind
    assert np.array_equal(read(path).pixels, np.asarray(Image.open(path)))


def test_path_text_bytes_image_and_array_give_the_same_pixels(film_bytes, tmp_path):
    path = tmp_path / "film.jpg"
    path.write_bytes(film_bytes.encoded("JPEG"))
    data = path.read_bytes()
    decoded = Image.open(path)
    sources = [path, str(path), data, bytearray(data), memoryview(data), decoded, np.asarray(decoded)]
    films = [read(source) for source in sources]
    assert all(np.array_equal(film.pixels, films[0].pixels) for film in films)
    assert [film.source for film in films[:3]] == [str(path), str(path), "<bytes>"]
    assert [film.format for film in films] == ["JPEG"] * 5 + ["image", "array"]
    assert read(data, name="ward 3").source == "ward 3"


def test_the_given_image_and_array_are_not_changed(film_bytes):
    pixels = film_bytes.picture()
    image = Image.fromarray(pixels).convert("RGBA")
    film = read(pixels)
    read(image)
    assert image.mode == "RGBA"
    film.pixels[:] = 0
    assert np.array_equal(pixels, film_bytes.picture())


def luma(rgb):
    """ITU-R BT.601-7, section 2.5.1."""
    return rgb.astype(float) @ [0.299, 0.587, 0.114]


@pytest.fixture
def colours():
    return np.random.default_rng(2).integers(0, 256, (60, 70, 3), np.uint8)


def test_colour_becomes_luma(film_bytes, colours):
    film = read(film_bytes.encoded("PNG", Image.fromarray(colours)))
    assert film.mode == "RGB"
    assert np.abs(film.pixels - luma(colours)).max() <= 1
    assert np.array_equal(read(colours).pixels, film.pixels)


def test_palettes_become_the_luma_of_their_colours(film_bytes, colours):
    image = Image.fromarray(colours).quantize(32)
    film = read(film_bytes.encoded("PNG", image))
    assert film.mode == "P"
    assert np.abs(film.pixels - luma(np.asarray(image.convert("RGB")))).max() <= 1


def test_what_is_transparent_is_black(film_bytes, colours):
    alpha = np.random.default_rng(3).integers(0, 256, (60, 70, 1), np.uint8)
    rgba = np.concatenate([colours, alpha], axis=2)
    expected = luma(colours) * alpha[:, :, 0] / 255
    for source in (film_bytes.encoded("PNG", Image.fromarray(rgba)), rgba):
        assert np.abs(read(source).pixels - expected).max() <= 1.5
    grey_alpha = Image.fromarray(rgba).convert("LA")
    assert np.abs(read(film_bytes.encoded("PNG", grey_alpha)).pixels - expected).max() <= 1.5


def test_a_transparent_grey_level_or_palette_colour_is_black(film_bytes):
    pixels = film_bytes.picture()
    film = read(film_bytes.encoded("PNG", Image.fromarray(pixels), transparency=int(pixels[0, 0])))
    assert np.array_equal(film.pixels, np.where(pixels == pixels[0, 0], 0, pixels))
    palette = Image.fromarray(pixels).quantize(16)
    clear = read(film_bytes.encoded("PNG", palette, transparency=3))
    indices = np.asarray(palette)
    assert clear.pixels[indices == 3].max() == 0
    assert np.array_equal(clear.pixels[indices != 3], read(palette).pixels[indices != 3])


def test_sixteen_bits_become_eight_by_the_full_scale(film_bytes):
    deep = np.arange(0, 65536, 4, dtype=np.uint16).reshape(128, 128)
    deep[0, 0], deep[0, 1] = 30_000, 65_535
    film = read(film_bytes.encoded("PNG", Image.fromarray(deep)))
    assert (film.pixels[0, 0], film.pixels[0, 1]) == (116, 255)
    assert np.array_equal(film.pixels, deep // 257)
    assert np.array_equal(read(deep).pixels, film.pixels)
    assert np.array_equal(read(Image.fromarray(deep.astype(np.int32))).pixels, film.pixels)


def test_sixteen_bit_colour_is_read_to_within_a_level(film_bytes):
    deep = np.random.default_rng(1).integers(0, 65536, (64, 64, 3)).astype(np.uint16)
    rows = np.concatenate(
        [np.zeros((64, 1), np.uint8), deep.astype(">u2").view(np.uint8).reshape(64, -1)], axis=1
    )
    data = film_bytes.png(
        film_bytes.header(64, 64, depth=16, colour=2),
        film_bytes.chunk(b"IDAT", film_bytes.zlib.compress(rows.tobytes())),
        film_bytes.chunk(b"IEND"),
    )
    assert np.abs(read(data).pixels - luma(deep) / 257).max() <= 1.5


def png_of_sixteen_bits(film_bytes, deep):
    """A PNG of 16 bits: (h, w) grey, (h, w, 2) with alpha, (h, w, 3) colour, (h, w, 4) colour with alpha."""
    colour = {2: 0, 3: {2: 4, 3: 2, 4: 6}.get(deep.shape[-1])}[deep.ndim]
    height, width = deep.shape[:2]
    rows = np.pad(deep.astype(">u2").view(np.uint8).reshape(height, -1), ((0, 0), (1, 0)))
    return film_bytes.png(
        film_bytes.header(width, height, depth=16, colour=colour),
        film_bytes.chunk(b"IDAT", film_bytes.zlib.compress(rows.tobytes())),
        film_bytes.chunk(b"IEND"),
    )


@pytest.mark.parametrize("bits", [8, 9, 10, 12, 13, 14, 15])
def test_fewer_bits_in_sixteen_are_refused_with_the_highest_value(film_bytes, bits):
    most = (1 << bits) - 1
    deep = np.linspace(0, most, 64 * 70).astype(np.uint16).reshape(64, 70)
    alpha = np.full_like(deep, 65535)
    exact = [
        deep, deep[:, :, None], np.dstack([deep] * 3), np.dstack([deep, deep, deep, alpha]),
        Image.fromarray(deep), Image.fromarray(deep.astype(np.int32)), png_of_sixteen_bits(film_bytes, deep),
    ]  # fmt: skip
    # Of these, Pillow keeps the high bytes.
    colours = [
        png_of_sixteen_bits(film_bytes, np.dstack(bands))
        for bands in ([deep, alpha], [deep] * 3, [deep, deep, deep, alpha])
    ]
    for source in (*exact, *colours):
        with pytest.raises(errors.FilmValueError, match=rf"\b{most}\b"):
            read(source)


def test_sixteen_bits_that_use_the_highest_are_read(film_bytes):
    deep = np.linspace(500, 33_000, 64 * 70).astype(np.uint16).reshape(64, 70)
    alpha = np.full_like(deep, 65535)
    plain = read(deep).pixels
    assert np.array_equal(plain, deep // 257)
    assert np.array_equal(read(png_of_sixteen_bits(film_bytes, deep)).pixels, plain)
    for bands in ([deep, alpha], [deep] * 3, [deep, deep, deep, alpha]):
        film = read(png_of_sixteen_bits(film_bytes, np.dstack(bands)))
        assert np.abs(film.pixels.astype(int) - plain).max() <= 1


def test_a_film_that_is_transparent_everywhere_says_so(film_bytes):
    grey = film_bytes.picture()
    clear = np.zeros_like(grey)
    rgba = np.dstack([grey, grey, grey, clear])
    images = [Image.fromarray(rgba), Image.fromarray(np.dstack([grey, clear]), "LA")]
    for source in (rgba, *images, *(film_bytes.encoded("PNG", image) for image in images)):
        with pytest.raises(errors.FilmUniformError, match="alpha"):
            read(source)


@pytest.mark.parametrize(("depth", "white"), [(1, 1), (2, 3), (4, 15)])
def test_few_bits_become_the_full_scale(film_bytes, depth, white):
    levels = np.random.default_rng(0).integers(0, white + 1, (40, 40)).astype(np.uint8)
    bits = np.unpackbits(levels[:, :, None], axis=2)[:, :, 8 - depth :].reshape(40, -1)
    rows = np.pad(np.packbits(bits, axis=1), ((0, 0), (1, 0)))
    data = film_bytes.png(
        film_bytes.header(40, 40, depth=depth),
        film_bytes.chunk(b"IDAT", film_bytes.zlib.compress(rows.tobytes())),
        film_bytes.chunk(b"IEND"),
    )
    assert np.array_equal(read(data).pixels, levels * (255 // white))


def test_cmyk_jpegs_are_not_read_as_negatives(film_bytes):
    pixels = film_bytes.picture()
    film = read(film_bytes.encoded("JPEG", Image.fromarray(pixels).convert("CMYK"), quality=95))
    assert film.mode == "CMYK"
    assert np.abs(film.pixels.astype(int) - pixels).mean() < 3


def test_float_and_bool_arrays_are_brought_to_the_full_scale(film_bytes):
    pixels = film_bytes.picture()
    for dtype in (np.float32, np.float64):
        assert np.array_equal(read(pixels.astype(dtype) / dtype(255)).pixels, pixels)
    assert np.array_equal(read(pixels > 100).pixels, np.where(pixels > 100, 255, 0))
    assert np.array_equal(read(pixels[:, :, None]).pixels, pixels)
    assert np.array_equal(read(np.repeat(pixels[:, :, None], 3, axis=2)).pixels, pixels)
    assert np.array_equal(read(np.asfortranarray(pixels)[::-1]).pixels, pixels[::-1])


@pytest.mark.parametrize("orientation", sorted(UPRIGHT))
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_orientation_is_set_upright(film_bytes, orientation, order):
    raw = film_bytes.picture()
    upright = UPRIGHT[orientation](raw)
    block = tiff(orientation, order)
    data = film_bytes.png(
        film_bytes.header(100, 120),
        film_bytes.chunk(b"eXIf", block),
        film_bytes.pixels_chunk(raw),
        film_bytes.chunk(b"IEND"),
    )
    assert np.array_equal(read(data).pixels, upright)
    film = read(film_bytes.encoded("JPEG", Image.fromarray(raw), quality=95, exif=b"Exif\0\0" + block))
    assert film.pixels.shape == upright.shape
    assert np.abs(film.pixels.astype(int) - upright).mean() < 2
    assert np.array_equal(read(Image.open(BytesIO(data))).pixels, upright)


def test_orientation_is_the_one_that_pillow_writes_and_sees(film_bytes):
    exif = Image.Exif()
    exif[0x010E], exif[0x0112], exif[0x0131] = "thorax", 6, "scanner"
    for kind in ("JPEG", "PNG"):
        assert read(film_bytes.encoded(kind, exif=exif)).pixels.shape == (100, 120)


def test_colour_films_are_set_upright_too(film_bytes, colours):
    data = film_bytes.encoded("PNG", Image.fromarray(colours), exif=b"Exif\0\0" + tiff(8))
    assert np.array_equal(read(data).pixels, np.rot90(read(colours).pixels))


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"II*\0",
        tiff(6)[:17],
        tiff(0),
        tiff(9),
        tiff(6, kind=2),
        tiff(6, entries=0),
        b"XX*\0" + tiff(6)[4:],
        b"II*\0\xff\xff\xff\x7f" + bytes(20),
        b"II*\0" + struct.pack("<IH", 8, 65535) + bytes(30),
    ],
)
def test_a_damaged_exif_block_costs_no_film(film_bytes, block):
    film = read(film_bytes.encoded("JPEG", exif=b"Exif\0\0" + block))
    assert film.pixels.shape == (120, 100)


def test_of_a_multi_picture_jpeg_the_first_is_read(film_bytes):
    first, second = (Image.fromarray(film_bytes.picture(seed=seed)) for seed in (0, 1))
    data = film_bytes.encoded("MPO", first, save_all=True, append_images=[second], quality=90)
    film = read(data)
    assert film.format == "JPEG"
    assert np.array_equal(film.pixels, read(film_bytes.encoded("JPEG", first, quality=90)).pixels)


def test_bytes_after_the_picture_are_ignored(film_bytes):
    for kind in ("JPEG", "PNG"):
        good = film_bytes.encoded(kind)
        for tail in (b"\0" * 100, b"\r\n", b"\xff\xd8\xff\xda", b"PK\x03\x04"):
            assert np.array_equal(read(good + tail).pixels, read(good).pixels)


def test_padding_and_comments_between_segments_are_skipped(film_bytes):
    good = film_bytes.encoded("JPEG", comment=b"\xff\xd9\xff\xda not the end")
    padded = good[:2] + b"\xff\xff\xff" + good[2:]
    assert np.array_equal(read(padded).pixels, read(film_bytes.encoded("JPEG")).pixels)


def test_interlaced_and_split_pngs_are_read(film_bytes):
    pixels = film_bytes.picture()
    packed = film_bytes.pixels_chunk(pixels)[8:-4]
    parts = [film_bytes.chunk(b"IDAT", packed[at : at + 100]) for at in range(0, len(packed), 100)]
    assert np.array_equal(
        read(film_bytes.png(film_bytes.header(100, 120), *parts, film_bytes.chunk(b"IEND"))).pixels, pixels
    )


def test_min_side_is_the_callers(draw_film):
    assert isinstance(read(draw_film(size=(20, 20)), min_side=16), Film)


@pytest.mark.real_films
def test_real_films_are_read_as_pillow_reads_them(real_films: Path):
    for path in sorted(real_films.glob("train/*/*"))[::400]:
        assert np.array_equal(read(path).pixels, np.asarray(Image.open(path).convert("L")))
