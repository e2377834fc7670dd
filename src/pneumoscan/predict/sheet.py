"""The heatmap image: the film, the film with the heatmap, the colour scale, and the prediction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePath
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pneumoscan.bundle.heatmap import (
    ANCHORS,
    Evidence,
    check_has_map,
    coloured,
    evidence_of_film,
    grey_of,
    levels,
    shown_size,
)
from pneumoscan.bundle.load import Bundle
from pneumoscan.imaging import Film
from pneumoscan.rows import PredictionRow

NOTICE = "Research use only. Not a medical device."
_LEAST_WIDTH = 760
_STACKED_FROM = 1.8
_PAPER, _INK, _FAINT = (18, 18, 20), (235, 235, 235), (165, 165, 170)


def heatmaps_of(bundle: Bundle, operating_point: str = "") -> Callable[[Film, PredictionRow], Image.Image]:
    """Return the function that draws the heatmap image of a film.

    Args:
        bundle: The model.
        operating_point: Name of the operating point of the threshold; empty for your own threshold.

    Raises:
        UsageError: The model has no activation map.
    """
    check_has_map(bundle)
    return lambda film, row: draw(film, evidence_of_film(bundle, film), row, operating_point=operating_point)


def draw(film: Film, evidence: Evidence, row: PredictionRow, *, operating_point: str = "") -> Image.Image:
    """Draw the film, the film with the heatmap, the colour scale, and the prediction.

    Args:
        film: The film.
        evidence: See `evidence_of`.
        row: The prediction row of the film, not refused.
        operating_point: Name of the operating point of the threshold; empty for your own threshold.

    Returns:
        RGB, the longer side of each film from 512 to 1600 pixels.
    """
    sheet = _Sheet.of(shown_size(film))
    head = _head(sheet, film, row, operating_point)
    foot = _foot(sheet, evidence)
    picture = Image.new("RGB", (sheet.width, sheet.height_with(len(head), len(foot))), _PAPER)
    pen = ImageDraw.Draw(picture)
    top = sheet.write(pen, head, sheet.margin)
    grey = grey_of(film, sheet.shown)
    pictures = (grey, coloured(grey, levels(evidence, sheet.shown)))
    for image, place in zip(pictures, sheet.places(top), strict=True):
        picture.paste(image, place)
    top = sheet.below_pictures(top)
    _scale(picture, pen, sheet, evidence, top)
    sheet.write(pen, foot, top + sheet.scale_height)
    return picture


@dataclass(frozen=True)
class _Sheet:
    """Layout of the image; all sizes in pixels."""

    shown: tuple[int, int]
    text: int

    @classmethod
    def of(cls, shown: tuple[int, int]) -> "_Sheet":
        across = shown[0] if _is_wide(shown) else 2 * shown[0]
        return cls(shown, text=int(min(max(across / 75, 15), 30)))

    @property
    def margin(self) -> int:
        return self.text

    @property
    def line(self) -> int:
        return round(self.text * 1.45)

    @property
    def inner(self) -> int:
        across = self.shown[0] if _is_wide(self.shown) else 2 * self.shown[0] + self.margin
        return max(across, _LEAST_WIDTH)

    @property
    def width(self) -> int:
        return self.inner + 2 * self.margin

    @property
    def scale_height(self) -> int:
        return self.line * 3

    def places(self, top: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the corners of the film and of the heatmap, which is below a wide film and beside any other."""
        width, height = self.shown
        second = (0, height + self.margin) if _is_wide(self.shown) else (width + self.margin, 0)
        return (self.margin, top), (self.margin + second[0], top + second[1])

    def below_pictures(self, top: int) -> int:
        return self.places(top)[1][1] + self.shown[1] + self.margin

    def height_with(self, head: int, foot: int) -> int:
        lines = head + foot
        return self.below_pictures(self.margin) + lines * self.line + self.scale_height + 2 * self.margin

    def write(self, pen: ImageDraw.ImageDraw, lines: Sequence["_Line"], top: int) -> int:
        """Write lines and return the position below them."""
        for line in lines:
            pen.text((self.margin, top), line.text, fill=line.ink, font=_font(self.text))
            top += self.line
        return top + self.margin // 2


@dataclass(frozen=True)
class _Line:
    text: str
    ink: tuple[int, int, int] = _INK


def _is_wide(shown: tuple[int, int]) -> bool:
    return shown[0] > _STACKED_FROM * shown[1]


def _head(sheet: _Sheet, film: Film, row: PredictionRow, operating_point: str) -> list[_Line]:
    named = f"operating point {operating_point}" if operating_point else "given by hand"
    shown = (
        "" if sheet.shown == (film.width, film.height) else f", shown at {sheet.shown[0]} by {sheet.shown[1]}"
    )
    name = _fitted(printable(PurePath(row.path).name or row.path), sheet)
    facts = (
        f"{row.label}: probability {row.probability:.4f}, threshold {row.threshold:.4f} ({named})",
        f"{film.width} by {film.height} pixels{shown}; model {printable(row.model)}",
    )
    lines = [_Line(name), *(_Line(text) for fact in facts for text in _wrapped(fact, sheet))]
    warnings = [f"warnings: {', '.join(row.warnings)}"] if row.warnings else []
    return lines + [_Line(text, ANCHORS[-1][1]) for fact in warnings for text in _wrapped(fact, sheet)]


def _foot(sheet: _Sheet, evidence: Evidence) -> list[_Line]:
    values = evidence.values
    facts = (
        f"Local evidence for pneumonia, as a logit: mean over the film {values.mean():+.2f}, highest {values.max():+.2f}. "
        "Evidence against it (below 0) is not drawn. The map is coarse: it shows where the prediction comes from, not the "
        "outline of a disease.",
    )
    lines = [_Line(text, _FAINT) for fact in facts for text in _wrapped(fact, sheet)]
    return [*lines, _Line(NOTICE)]


def _scale(
    picture: Image.Image, pen: ImageDraw.ImageDraw, sheet: _Sheet, evidence: Evidence, top: int
) -> None:
    """Draw the colour scale on mid-grey, with numbers below."""
    width, height = min(sheet.inner - 2 * sheet.line, 32 * sheet.text), sheet.line * 3 // 4
    ramp = Image.fromarray(np.linspace(0, 255, width).round().astype(np.uint8)[None]).resize((width, height))
    picture.paste(coloured(Image.new("L", (width, height), 160), ramp), (sheet.margin, top))
    font = _font(sheet.text)
    for part in range(5):
        value = evidence.full_scale * part / 4
        x = sheet.margin + round((width - 1) * part / 4)
        pen.line((x, top + height, x, top + height + sheet.text // 3), fill=_INK)
        label = f"{value:.3g}" + ("" if part < 4 else " and more")
        anchor = "la" if part in {0, 4} else "ma"
        pen.text((x, top + height + sheet.text // 2), label, fill=_INK, font=font, anchor=anchor)


@lru_cache(maxsize=32)
def _font(size: int) -> Any:
    try:
        return ImageFont.load_default(size)
    except (ImportError, OSError):  # Pillow without FreeType has one small font
        return ImageFont.load_default()


def printable(text: str) -> str:
    """Return a text that can be drawn: control characters, invalid UTF-8 and missing glyphs are escaped."""
    return "".join(c if (c.isascii() and c.isprintable()) or _has_glyph(c) else ascii(c)[1:-1] for c in text)


@lru_cache(maxsize=4096)
def _has_glyph(character: str) -> bool:
    if not character.isprintable():
        return False
    try:
        font = _font(20)
        return bytes(font.getmask(character)) != bytes(font.getmask("\U0010fffe"))
    except (UnicodeError, OSError):
        return False


def _fitted(text: str, sheet: _Sheet) -> str:
    """Return a text shortened in its middle to fit into a line."""
    keep = len(text)
    shown = text
    while keep > 2 and _font(sheet.text).getlength(shown) > sheet.inner:
        keep -= 1 + keep // 20
        shown = f"{text[: (keep + 1) // 2]}…{text[len(text) - keep // 2 :]}"
    return shown


def _wrapped(text: str, sheet: _Sheet) -> list[str]:
    lines, font = [""], _font(sheet.text)
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > sheet.inner:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
