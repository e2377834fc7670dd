"""Rows of the models in the package for some hundred pictures of all formats, read and refused.

`python tests/support/reading_goldens.py` writes those of this machine. Another processor adds in another order, so the test
compares probabilities to a millionth, and the rest of each row byte by byte.
"""

from io import BytesIO
from pathlib import Path

import bad_films
import dicom_films
import numpy as np
from PIL import Image
from synthetic_films import draw_film

from pneumoscan.bundle.contents import SHIPPED_MODELS
from pneumoscan.bundle.load import load_bundle
from pneumoscan.classifier import predict_one
from pneumoscan.rows import header

GOLDENS = Path(__file__).parents[1] / "bundle" / "reading_goldens.csv"


def _encoded(kind: str, image: Image.Image, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


def films() -> dict[str, bytes]:
    """Return the bytes of every film by its name."""
    rng = np.random.default_rng(7)
    found: dict[str, bytes] = {}
    for number in range(8):
        side = int(rng.integers(150, 600))
        drawn = Image.fromarray(draw_film(rng, (side, int(side * rng.uniform(0.8, 1.4)))))
        found[f"grey{number}.jpeg"] = _encoded("JPEG", drawn, quality=90)
        found[f"grey{number}.png"] = _encoded("PNG", drawn)
    film = draw_film(np.random.default_rng(1), (240, 300))
    grey = Image.fromarray(film)
    found["colour.jpeg"] = _encoded("JPEG", grey.convert("RGB"))
    found["alpha.png"] = _encoded("PNG", grey.convert("RGBA"))
    found["palette.png"] = _encoded("PNG", grey.convert("P"))
    found["sixteen.png"] = _encoded("PNG", Image.fromarray(film.astype(np.uint16) * 257))
    for orientation in (1, 3, 6, 8):
        exif = Image.Exif()
        exif[274] = orientation
        found[f"turned{orientation}.jpeg"] = _encoded("JPEG", grey, exif=exif.tobytes())
    for name, shape in (("tiny", (40, 48)), ("long", (60, 400)), ("wide", (300, 100))):
        found[f"{name}.png"] = _encoded("PNG", Image.fromarray(draw_film(np.random.default_rng(2), shape)))
    found["pale.png"] = _encoded("PNG", Image.fromarray((120 + film // 32).astype(np.uint8)))
    found["negative.png"] = _encoded("PNG", Image.fromarray(255 - film))
    for name, syntax in dicom_films.SYNTAXES.items():
        found[f"{name}.dcm"] = dicom_films.film(dicom_films.picture(8), syntax)
    for bits in (10, 12, 16):
        found[f"bits{bits}.dcm"] = dicom_films.film(dicom_films.picture(bits), BitsStored=bits)
    pixels = dicom_films.picture(12)
    changes: dict[str, dict[str, object]] = {
        "inverse": {"PhotometricInterpretation": "MONOCHROME1"},
        "window": {"WindowCenter": 2000, "WindowWidth": 1500},
        "lateral": {"ViewPosition": "LL"},
        "hand": {"BodyPartExamined": "HAND"},
        "ct": {"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"},
        "frames": {"NumberOfFrames": 2},
    }
    for name, change in changes.items():
        found[f"{name}.dcm"] = dicom_films.film(pixels, BitsStored=12, **change)
    return found | {f"bad/{name}": data for name, (data, _) in bad_films.bad_films().items()}


def rows() -> bytes:
    """Return the CSV rows of all films, read by each model of the package."""
    lines = [header("csv")]
    for folder in dict.fromkeys(SHIPPED_MODELS.values()):
        bundle = load_bundle(folder)
        lines += [
            predict_one(bundle, data, bundle.spec.threshold(), name=name).to_line("csv")
            for name, data in films().items()
        ]
    return b"".join(lines)


if __name__ == "__main__":
    GOLDENS.write_bytes(rows())
