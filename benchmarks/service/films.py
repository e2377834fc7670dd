"""Films for the benchmarks of the service: good ones with their expected rows, bad ones, and damaged ones."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image
from pydicom import uid

from benchmarks.timing import ROOT
from pneumoscan.bundle.contents import pretrained_bundle
from pneumoscan.bundle.load import Bundle, load_bundle
from pneumoscan.classifier import predict_one
from pneumoscan.phantom import draw_film

TESTS = ROOT / "tests" / "support"
FILM_SIZE = (1000, 1300)
GRAIN = 3.0
RAW_BYTES = "application/octet-stream"
KINDS = {"JPEG": "image/jpeg", "PNG": "image/png", "DICOM": "application/dicom"}


@dataclass(frozen=True)
class GoodFilm:
    """A film and its expected row.

    Attributes:
        name: How it was generated.
        data: Bytes of the file.
        kind: Media type.
        row: The prediction row of `predict_one`, as JSON types.
    """

    name: str
    data: bytes
    kind: str
    row: dict[str, Any]


@cache
def load_support(name: str) -> ModuleType:
    """Load a module of the tests that generates films: `dicom_films` or `bad_films`."""
    path = TESTS / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"pneumoscan_load_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@cache
def model() -> Bundle:
    """Return the model in the package."""
    return load_bundle(pretrained_bundle(), threads=1)


def encoded(pixels: np.ndarray, kind: str = "JPEG", *, mode: str = "", **options: Any) -> bytes:
    """Return pixels as a file, in Pillow's `mode` if one is given; JPEGs of quality 90."""
    file, image = BytesIO(), Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(
        file, kind, **({"quality": 90} if kind == "JPEG" else {}), **options
    )
    return file.getvalue()


def large_film(number: int) -> bytes:
    """Return a synthetic film of 1300×1000 as a JPEG of quality 90, with grain; each number is another patient."""
    pixels = draw_film(number, 0, label=number % 2, size=(250, 325))
    smooth = np.asarray(Image.fromarray(pixels).resize(FILM_SIZE[::-1], Image.Resampling.LANCZOS))
    # Enlarged films are smoother than real ones of that size. Grain gives the file a realistic size.
    grain = np.random.default_rng(number).normal(0, GRAIN, FILM_SIZE)
    return encoded(np.clip(smooth + grain, 0, 255).astype(np.uint8))


def large_films(work: Path, count: int) -> list[bytes]:
    """Return `count` of the films of `large_film`, generated once."""
    folder = work / f"web-{FILM_SIZE[1]}x{FILM_SIZE[0]}"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"film-{number:03d}.jpeg"
        if not path.exists():
            temporary = path.with_suffix(".part")
            temporary.write_bytes(large_film(number))
            temporary.rename(path)
    return [(folder / f"film-{number:03d}.jpeg").read_bytes() for number in range(count)]


def good_film(name: str, data: bytes, kind: str) -> GoodFilm:
    """Return a film with its row, computed in this process."""
    row = predict_one(model(), data, model().spec.threshold()).to_json()
    if row["status"] != "ok":
        raise ValueError(f"{name} is no good film: {row['error']}")
    return GoodFilm(name, data, kind, row)


def small_films(count: int, *, side: int = 256, first: int = 0) -> list[GoodFilm]:
    """Return `count` good films of many kinds, each of another patient, that are read quickly."""
    films = []
    for number in range(first, first + count):
        name = SORTS[number % len(SORTS)]
        pixels = draw_film(number, 0, label=number % 2, size=(side, side + 8 * (number % 7)))
        data = file_of(name, pixels)
        kind = name.split()[0]
        films.append(good_film(f"{name}, {number}", data, KINDS[kind]))
    return films


SORTS = (
    "JPEG grey", "PNG grey", "DICOM explicit little", "JPEG progressive", "DICOM JPEG-LS", "JPEG colour",
    "PNG 16", "DICOM RLE", "JPEG with EXIF", "DICOM deflated", "PNG palette", "DICOM JPEG 2000", "PNG alpha",
    "DICOM JPEG", "DICOM implicit little", "DICOM explicit big",
)  # fmt: skip


def file_of(sort: str, pixels: np.ndarray) -> bytes:
    """Return a grey picture (height, width) as a file of one of `SORTS`."""
    makers: dict[str, Callable[[], bytes]] = {
        "JPEG grey": lambda: encoded(pixels),
        "JPEG colour": lambda: encoded(np.stack([pixels] * 3, axis=-1)),
        "JPEG progressive": lambda: encoded(pixels, progressive=True),
        "JPEG with EXIF": lambda: encoded(pixels[::-1, ::-1], exif=_upside_down()),
        "PNG grey": lambda: encoded(pixels, "PNG"),
        "PNG 16": lambda: encoded(pixels.astype(np.uint16) * 257, "PNG"),
        "PNG palette": lambda: encoded(pixels, "PNG", mode="P"),
        "PNG alpha": lambda: encoded(np.stack([pixels, np.full_like(pixels, 250)], axis=-1), "PNG"),
    }
    return makers[sort]() if sort in makers else dicom_of(sort.removeprefix("DICOM "), pixels)


def _upside_down() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 3
    return exif


def dicom_of(syntax: str, pixels: np.ndarray) -> bytes:
    """Return a DICOM film of 8 bits in one of the transfer syntaxes of the tests, or `JPEG`."""
    dicom = load_support("dicom_films")
    if syntax == "JPEG":
        data: bytes = dicom.encapsulated(dicom.jpeg(pixels), pixels, uid.JPEGBaseline8Bit)
    else:
        data = dicom.film(pixels, dicom.SYNTAXES[syntax])
    return data


def bad_films() -> dict[str, bytes]:
    """Return films that must be refused, by name: truncated, bombs, and nearly fifty others."""
    dicom = load_support("dicom_films")
    pixels = draw_film(1, 0, label=1, size=(200, 220))
    native, deflated = dicom_of("explicit little", pixels), uid.DeflatedExplicitVRLittleEndian
    whole = dicom.header() + dicom.pixels_of(b"", 500 << 20)
    named = {name: data for name, (data, _error) in load_support("bad_films").bad_films().items()}
    jpeg = encoded(pixels)
    return named | {
        "dicom: cut": native[: len(native) // 2],
        "dicom: deflate bomb": dicom.file(dicom.bomb(whole, 500), deflated),
        "dicom: claims 65535×65535": dicom.file(dicom.header(65535, 65535) + dicom.pixels_of(bytes(4096))),
        "dicom: cut JPEG-LS": dicom_of("JPEG-LS", pixels)[:-900],
        "dicom: cut JPEG 2000": dicom_of("JPEG 2000", pixels)[:-900],
        "jpeg: cut": jpeg[: len(jpeg) // 3],
    }


def damaged_films(count: int, seed: int) -> list[bytes]:
    """Return `count` damaged films: bits flipped, cut, spliced, doubled, headers swapped, lengths changed."""
    rng = np.random.default_rng(seed)
    pixels = [draw_film(number, 0, label=number % 2, size=(120, 136)) for number in range(4)]
    good = [file_of(sort, film) for film in pixels for sort in SORTS]
    return [_damaged(rng, good[number % len(good)], good) for number in range(count)]


def _damaged(rng: np.random.Generator, film: bytes, others: list[bytes]) -> bytes:
    data = bytearray(film)
    for _ in range(int(rng.integers(1, 5))):
        if not data:
            break
        # Mostly in the header, because changes of pixels rarely matter.
        end = len(data) if rng.random() < 0.4 else min(len(data), 1200)
        at, length = int(rng.integers(0, end)), int(rng.integers(1, 40))
        other = others[int(rng.integers(0, len(others)))]
        match int(rng.integers(0, 20)):
            case 0 | 1 | 2 | 3 | 4 | 5:
                for place in rng.integers(0, end, int(rng.integers(1, 9))):
                    data[int(place)] ^= 1 << int(rng.integers(0, 8))
            case 6 | 7 | 8 | 9:
                lies = [b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\0\0\1\0"]
                data[at : at + 4] = lies[int(rng.integers(0, len(lies)))]
            case 10 | 11:
                del data[at : at + length]
            case 12 | 13:
                data[at:at] = data[at : at + length]
            case 14 | 15:
                data[at : at + length] = rng.bytes(length)
            case 16:
                data[at:] = other[int(rng.integers(0, len(other))) :]
            case 17 | 18:
                head = int(rng.integers(1, 700))
                data[:head] = other[:head]
            case _:
                del data[int(rng.integers(0, len(data))) :]
    return bytes(data)
