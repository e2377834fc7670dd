"""Search for failures of a model on synthetic films, and draw them on one sheet.

No real films may be shown. Phantoms differ from real films, so this shows how the model fails, not how often.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from pneumoscan.card.other_pictures import DRAWN, TURNED, drawn
from pneumoscan.data.phantom import draw_film
from pneumoscan.errors import FilmError
from pneumoscan.evaluation.stress import readable_name
from pneumoscan.imaging import Film, read
from pneumoscan.imaging.perturbation import PERTURBATIONS
from pneumoscan.inference.abstention import NOT_A_CHEST_FILM, UNSURE
from pneumoscan.inference.bundle import Bundle
from pneumoscan.inference.heatmap import FULL_SCALE, evidence_of, grey_of, overlay
from pneumoscan.inference.outputs import MAP_OUTPUT
from pneumoscan.inference.rows import find_in, model_name, outputs_of_film

Pixels = npt.NDArray[np.uint8]
SET_SEED = 2026
PATIENTS = 24
PICTURES = 4
"""Number of pictures of each kind that is not a chest."""

SHOWN = 6
REFUSED = "refused"
ANSWERS = ("PNEUMONIA", "NORMAL", UNSURE, NOT_A_CHEST_FILM, REFUSED)
GROUPS = (
    "phantom with pneumonia",
    "phantom without pneumonia",
    "phantom turned or inverted",
    "drawing of no chest",
)
KINDS = ("missed", "false alarm", "taken for a chest film", "not taken for a chest film")
MOST_BYTES = 380_000
_SIDE, _GAP, _LINE = 218, 14, 19
_PAPER, _INK, _FAINT = (18, 18, 20), (235, 235, 235), (165, 165, 170)


@dataclass(frozen=True)
class Sample:
    """A picture for the model.

    Attributes:
        group: One of `GROUPS`.
        number: Number of the phantom patient, or of the picture.
        view: The alteration, or the kind of picture.
        should_be: PNEUMONIA, NORMAL or NOT_A_CHEST_FILM.
        pixels: uint8 (h, w).
    """

    group: str
    number: int
    view: str
    should_be: str
    pixels: Pixels


@dataclass(frozen=True)
class Failure:
    """A wrong answer, with the fields of the record."""

    kind: str
    group: str
    number: int
    view: str
    should_be: str
    says: str
    probability: float


def samples() -> Iterator[Sample]:
    """Yield the fixed set: phantoms with and without pneumonia in all views, turned ones, and other pictures."""
    for patient in range(PATIENTS):
        for label, name in ((1, "PNEUMONIA"), (0, "NORMAL")):
            pixels = draw_film(patient, 0, label=label, seed=SET_SEED)
            group = GROUPS[1 - label]
            yield Sample(group, patient, "plain", name, pixels)
            for view in PERTURBATIONS:
                yield Sample(group, patient, view.name, name, view.change(pixels))
        # `pixels` is now the film without pneumonia.
        for turn, change in TURNED.items():
            yield Sample(GROUPS[2], patient, turn, NOT_A_CHEST_FILM, np.ascontiguousarray(change(pixels)))
    for kind in DRAWN:
        for number in range(PICTURES):
            yield Sample(GROUPS[3], number, kind, NOT_A_CHEST_FILM, drawn(kind, number))


def answer(bundle: Bundle, pixels: Pixels) -> tuple[str, float]:
    """Return the label of a prediction row, or `refused`, and the probability (0 if refused)."""
    try:
        film = read(pixels)
    except FilmError:
        return REFUSED, 0.0
    row = find_in(bundle, film, bundle.spec.threshold()).row
    assert row.probability is not None
    return row.label, row.probability


def kind_of(should_be: str, says: str) -> str | None:
    """Return which of `KINDS` an answer is; None if it is correct, UNSURE or refused."""
    if says in {should_be, UNSURE, REFUSED}:
        return None
    if should_be == NOT_A_CHEST_FILM:
        return KINDS[2]
    if says == NOT_A_CHEST_FILM:
        return KINDS[3]
    return KINDS[0] if should_be == "PNEUMONIA" else KINDS[1]


def search(bundle: Bundle, command: str = "pneumoscan card") -> tuple[dict[str, Any], bytes]:
    """Classify the whole set; return the record, and a PNG of the failures (empty if there are none)."""
    counts = {group: Counter[str]() for group in GROUPS}
    found: list[tuple[Failure, Pixels]] = []
    for sample in samples():
        says, probability = answer(bundle, sample.pixels)
        counts[sample.group][says] += 1
        kind = kind_of(sample.should_be, says)
        if kind:
            about = (sample.group, sample.number, sample.view, sample.should_be)
            found.append((Failure(kind, *about, says, round(probability, 6)), sample.pixels))
    cases = choose([failure for failure, _ in found])
    pictures = dict(found)
    png = sheet(bundle, [(case, pictures[case]) for case in cases]) if cases else b""
    record = {
        "schema_version": 1,
        "command": command,
        "model": model_name(bundle),
        "films": {
            "seed": SET_SEED,
            "patients": PATIENTS,
            "views": 1 + len(PERTURBATIONS),
            "pictures": PICTURES,
        },
        "threshold": bundle.spec.threshold(),
        "counts": {group: {name: number[name] for name in ANSWERS} for group, number in counts.items()},
        "failures": {kind: sum(failure.kind == kind for failure, _ in found) for kind in KINDS},
        "cases": [asdict(case) for case in cases],
        "picture_sha256": hashlib.sha256(png).hexdigest(),
    }
    return record, png


def choose(failures: Sequence[Failure], count: int = SHOWN) -> list[Failure]:
    """Return at most `count` failures: each kind in turn, the most confident first, with as many views and patients as possible."""
    chosen: list[Failure] = []
    while len(chosen) < min(count, len(failures)):
        left = [failure for failure in failures if failure not in chosen]
        seen = {(failure.kind, failure.view) for failure in chosen}
        # Two pictures of one kind in one view look the same, so the second comes last.
        left = [failure for failure in left if (failure.kind, failure.view) not in seen] or left
        for kind in KINDS:
            of_kind = [failure for failure in left if failure.kind == kind]
            if of_kind and len(chosen) < count:
                chosen.append(min(of_kind, key=lambda failure: _worth(failure, chosen)))
    return sorted(chosen, key=lambda failure: KINDS.index(failure.kind))


def _worth(failure: Failure, chosen: Sequence[Failure]) -> tuple[int, float, str, int]:
    seen = sum((other.view == failure.view) + (other.number == failure.number) for other in chosen)
    return seen, -abs(failure.probability - 0.5), failure.view, failure.number


def description(failure: Failure | dict[str, Any]) -> str:
    """Return a description of the picture: `phantom with pneumonia no. 3, gamma 1.7`."""
    facts = failure if isinstance(failure, dict) else asdict(failure)
    return f"{facts['group']}, no. {facts['number']}, {readable_name(facts['view'])}"


def sheet(bundle: Bundle, cases: Sequence[tuple[Failure, Pixels]]) -> bytes:
    """Draw the cases in two columns, film and evidence side by side, as a PNG of at most `MOST_BYTES`."""
    columns = min(2, len(cases))
    wide = 2 * _SIDE + 4 + _GAP
    films = [read(pixels) for _, pixels in cases]
    rows = [range(start, min(start + columns, len(cases))) for start in range(0, len(cases), columns)]
    heights = [max(_shown(films[place])[1] for place in row) + 3 * _LINE + _GAP for row in rows]
    picture = Image.new("RGB", (columns * wide + _GAP, sum(heights) + 2 * _LINE + 2 * _GAP), _PAPER)
    top = _GAP
    for row, high in zip(rows, heights, strict=True):
        for column, place in enumerate(row):
            panel = _case(bundle, place + 1, cases[place][0], films[place], high)
            picture.paste(panel, (_GAP + column * wide, top))
        top += high
    pen = ImageDraw.Draw(picture)
    for line, text in enumerate(_foot(bundle)):
        pen.text((_GAP, top + line * _LINE), text, fill=_FAINT, font=_font(14))
    return _png(picture)


def _case(bundle: Bundle, number: int, case: Failure, film: Film, high: int) -> Image.Image:
    """Draw a film, its map and its description, `high` pixels high."""
    shown = _shown(film)
    panels = [grey_of(film, shown).convert("RGB")]
    if MAP_OUTPUT in bundle.spec.outputs:
        evidence = outputs_of_film(bundle, film).activation_map
        assert evidence is not None
        panels.append(overlay(film, evidence_of(bundle, evidence[0]), shown))
    picture = Image.new("RGB", (2 * _SIDE + 4, high), _PAPER)
    pen = ImageDraw.Draw(picture)
    for place, panel in enumerate(panels):
        picture.paste(panel, (place * (shown[0] + 4), high - 3 * _LINE - _GAP - shown[1]))
    lines = (
        f"{number}  {case.kind}",
        description(case),
        f"should be {case.should_be} · says {case.says} · probability {case.probability:.3f}",
    )
    for line, words in enumerate(lines):
        ink, top = (_FAINT if line else _INK), high - 3 * _LINE - _GAP + 4 + line * _LINE
        pen.text((0, top), words, fill=ink, font=_font(13 if line else 15))
    return picture


def _shown(film: Film) -> tuple[int, int]:
    """Return width and height of a film on the sheet."""
    scale = _SIDE / max(film.width, film.height)
    return max(1, round(film.width * scale)), max(1, round(film.height * scale))


def _foot(bundle: Bundle) -> tuple[str, str]:
    full_scale = bundle.spec.training.get("map_full_scale") or FULL_SCALE
    return (
        f"SYNTHETIC: drawings, no patient. Right: evidence for pneumonia, grey for none, light yellow for a logit of {full_scale:g}.",
        f"{model_name(bundle)}. Research use only. Not a medical device.",
    )


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _png(picture: Image.Image) -> bytes:
    """Return a PNG in full colour, or of the most colours that stay within the size."""
    smaller = (picture.quantize(colours, dither=Image.Dither.NONE) for colours in (256, 128, 64))
    for version in (picture, *smaller):
        file = BytesIO()
        version.save(file, "PNG", optimize=True)
        if file.tell() <= MOST_BYTES:
            break
    return file.getvalue()
