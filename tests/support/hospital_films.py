"""Radiographs as a PACS holds them, with whatever bytes a test wants in their header; and what goes into their results."""

from datetime import datetime, timedelta, timezone
from typing import Any

import synthetic_films
from dicom_films import DX, element, file, us

from pneumoscan.node.results import Finding, Writer
from pneumoscan.node.results.finding import Outline

STUDY, SERIES, FILM = "1.2.826.0.1.1", "1.2.826.0.1.1.2", "1.2.826.0.1.1.2.3"
MADE_AT = datetime(2026, 3, 4, 23, 5, 6, 7000, timezone(timedelta(hours=9)))
_HEADER = {
    0x00080016: (b"UI", DX.encode()),
    0x00080018: (b"UI", FILM.encode()),
    0x00080020: (b"DA", b"20260304"),
    0x00080030: (b"TM", b"091011"),
    0x00080050: (b"SH", b"ACC77"),
    0x00080060: (b"CS", b"DX"),
    0x00080090: (b"PN", b"Referrer^A"),
    0x00100010: (b"PN", b"Doe^Jane"),
    0x00100020: (b"LO", b"PID42"),
    0x00100030: (b"DA", b"19500607"),
    0x00100040: (b"CS", b"F"),
    0x00180015: (b"CS", b"CHEST"),
    0x0020000D: (b"UI", STUDY.encode()),
    0x0020000E: (b"UI", SERIES.encode()),
    0x00200010: (b"SH", b"STUDY1"),
}

# PS3.5, annexes H (Japanese), I (Korean), J (Chinese), and single-byte sets.
CHARACTER_SETS: dict[str, tuple[bytes | None, bytes]] = {
    "Japanese": (b"\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
    "Korean": (b"\\ISO 2022 IR 149", b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"),
    "Greek": (b"ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2"),
    "Cyrillic": (b"ISO_IR 144", b"\xbb\xee\xda^\xd8\xd9"),
    "UTF-8": (b"ISO_IR 192", "Wang^XiaoDong=王^小東".encode()),
    "GB18030": (b"GB18030", "Wang^XiaoDong=王^小东".encode("gb18030")),
    "none, with bytes of Latin-1": (None, "Müller^Jürgen".encode("latin-1")),
    "empty": (b"", b"Doe^Jane"),
}


def hospital_film(changes: dict[int, tuple[bytes, bytes] | None] | None = None, size: int = 96) -> bytes:
    """The bytes of a DX film; `changes` sets elements by tag to a representation and a value, or leaves them out."""
    pixels = synthetic_films.draw_film(size=(size, size + 10))
    rows, columns = pixels.shape
    elements: dict[int, Any] = {
        tag: element(tag, vr, _even(vr, value)) for tag, (vr, value) in _HEADER.items()
    }
    elements[0x00280002] = us(0x00280002, 1)
    elements[0x00280004] = element(0x00280004, b"CS", b"MONOCHROME2 ")
    for tag, value in zip(
        (0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103),
        (rows, columns, 8, 8, 7, 0),
        strict=True,
    ):
        elements[tag] = us(tag, value)
    elements[0x7FE00010] = element(0x7FE00010, b"OW", pixels.tobytes() + bytes(pixels.size % 2))
    for tag, change in (changes or {}).items():
        if change is None:
            del elements[tag]
        else:
            elements[tag] = element(tag, change[0], _even(*change))
    return file(b"".join(elements[tag] for tag in sorted(elements)))


def _even(vr: bytes, value: bytes) -> bytes:
    return value + (b"\0" if vr in {b"UI", b"OB", b"UN"} else b" ") * (len(value) % 2)


def film_in(character_set: str) -> tuple[bytes, bytes]:
    """The bytes of a film whose patient has a name in a character set, and that name."""
    declared, name = CHARACTER_SETS[character_set]
    changes: dict[int, tuple[bytes, bytes] | None] = {0x00100010: (b"PN", name)}
    if declared is not None:
        changes[0x00080005] = (b"CS", declared)
    return hospital_film(changes), name


def writer(**changes: Any) -> Writer:
    values: dict[str, Any] = {
        "model_name": "tiny",
        "model_json_sha256": "ab" * 32,
        "onnx_sha256": "cd" * 32,
        "pneumoscan_version": "0.1.0",
        "operating_point": "balanced",
        "threshold": 0.5,
        "manufacturer": "A hospital",
    }
    return Writer(**values | changes)


def finding(label: str = "PNEUMONIA", **changes: Any) -> Finding:
    values: dict[str, Any] = {
        "label": label,
        "probability": 0.8125,
        "threshold": 0.5,
        "operating_point": "balanced",
        "warnings": (),
    }
    return Finding(**values | changes)


def outlined(label: str = "PNEUMONIA", **changes: Any) -> Finding:
    """A finding with two lungs, a region in each, and one more in the right lung."""

    def square(left: float, top: float, right: float, bottom: float) -> tuple[tuple[float, float], ...]:
        return (left, top), (right, top), (right, bottom), (left, bottom)

    values: dict[str, Any] = {
        "regions": (
            Outline("right", square(0.2, 0.6, 0.35, 0.8), 0.5),
            Outline("left", square(0.65, 0.5, 0.75, 0.7), 0.25),
            Outline("right", square(0.25, 0.3, 0.3, 0.4), 0.125),
        ),
        "lungs": (
            Outline("right", square(0.15, 0.2, 0.4, 0.85)),
            Outline("left", square(0.6, 0.2, 0.85, 0.85)),
        ),
        "fields": (("right", 0.25), ("left", 0.125)),
        "measured": "On 63% of 76 films, the place with the most evidence lies in a box.",
    }
    return finding(label, **values | changes)
