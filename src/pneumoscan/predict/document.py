"""The result for one film as a PDF of one page (A4), to print and sign. The same input gives the same bytes."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pneumoscan import __version__
from pneumoscan.bundle.heatmap import grey_of, shown_size
from pneumoscan.bundle.load import Bundle
from pneumoscan.classifier import NOT_A_CHEST_FILM, lungs_of_film
from pneumoscan.errors import importing, require
from pneumoscan.files import identity_of_path, sha256_of
from pneumoscan.imaging import Film
from pneumoscan.rows import PredictionRow

if TYPE_CHECKING:
    from reportlab.pdfgen.canvas import Canvas

NOTICE = "Research use only. Not a medical device."
KEYWORD = "pneumoscan-film"
_turn = threading.Lock()
_FONT, _BOLD = "Vera", "VeraBd"
_WIDTH, _HEIGHT, _MARGIN = 595.28, 841.89, 48.0
_INNER = _WIDTH - 2 * _MARGIN
_FILM_HEIGHT = 380.0
_REST, _LINE = 275.0, 13.0
"""Height of all that stands below the film, without sentences, and of a sentence."""
_QUALITY = 90
_ANSWERS = {
    "PNEUMONIA": "PNEUMONIA",
    "NORMAL": "NORMAL",
    "UNSURE": "UNSURE: a person must decide",
    NOT_A_CHEST_FILM: "NOT A CHEST FILM: not judged",
}


@dataclass(frozen=True)
class Words:
    """What a document says of a film besides its row.

    Attributes:
        title: Name of the film.
        sha256: Of its file, 64 hexadecimal digits; may be empty.
        operating_point: Name of the one that the threshold belongs to; empty for a threshold of one's own.
        identity: Identifies the film in the document's keywords; may be empty.
        patient: Lines about patient and study; none if nothing is known of them.
    """

    title: str
    sha256: str = ""
    operating_point: str = ""
    identity: str = ""
    patient: tuple[str, ...] = ()


def pdf_of(
    film: Film, row: PredictionRow, words: Words, outlines: Sequence[npt.NDArray[np.float64]] = ()
) -> bytes:
    """Return the document.

    Args:
        film: The film.
        row: Its row, with the status `ok`.
        words: What else is said of it.
        outlines: Of each lung, as shares of the film (`Lungs.outlines`).

    Raises:
        MissingDependencyError: The extra `pdf` is not installed.
    """
    with importing("pdf"):
        from reportlab.pdfgen.canvas import Canvas

    # reportlab keeps fonts for all documents together.
    with _turn:
        _register_fonts()
        file = BytesIO()
        # `invariant`: no time of the making, and an identifier from the content.
        page = Canvas(file, pagesize=(_WIDTH, _HEIGHT), invariant=1, pageCompression=1)
        page.setTitle(_drawable(words.title))
        page.setAuthor(f"pneumoscan {__version__}")
        page.setSubject(NOTICE)
        page.setKeywords(f"{KEYWORD} {words.identity}")
        top = _head(page, words)
        most = top - _REST - _LINE * (len(row.warnings))
        top = _film(page, film, outlines, top, min(_FILM_HEIGHT, most))
        top = _answer(page, row, words, top)
        _facts(page, film, row, words, top)
        _foot(page, outlined=bool(len(outlines)))
        page.showPage()
        page.save()
    return file.getvalue()


def documents_of(bundle: Bundle, operating_point: str = "") -> Callable[[Film, PredictionRow], bytes]:
    """Return the function that makes the document of a film with this model; the film is the file that its row names.

    Args:
        bundle: The model.
        operating_point: Name of the operating point of the threshold; empty for your own threshold.

    Raises:
        MissingDependencyError: The extra `pdf` is not installed.
    """
    require("reportlab")

    def make(film: Film, row: PredictionRow) -> bytes:
        words = Words(
            row.path,
            sha256_of(Path(row.path)),
            operating_point,
            identity=identity_of_path(row.path),
        )
        lungs = lungs_of_film(bundle, film) if bundle.spec.lungs is not None else None
        return pdf_of(film, row, words, lungs.outlines() if lungs is not None else ())

    return make


def identity_of(document: bytes) -> str | None:
    """Return `Words.identity` of a document; None if it is none of this module."""
    _, found, after = document.partition(f"{KEYWORD} ".encode())
    return after[:64].decode("ascii", "replace") if found and document.startswith(b"%PDF-") else None


def _register_fonts() -> None:
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    for name in {_FONT, _BOLD} - set(pdfmetrics.getRegisteredFontNames()):
        pdfmetrics.registerFont(TTFont(name, f"{name}.ttf"))


def _drawable(text: str) -> str:
    """Return a text in letters that the font has; others are escaped."""
    from reportlab.pdfbase import pdfmetrics

    known = pdfmetrics.getFont(_FONT).face.charToGlyph
    return "".join(c if c.isprintable() and ord(c) in known else ascii(c).strip("'") for c in text)


def _write(page: "Canvas", text: str, left: float, top: float, size: float = 9.5, font: str = _FONT) -> float:
    """Write a text in lines that fit between `left` and the right margin; return the place below."""
    page.setFont(font, size)
    for line in _wrapped(_drawable(text), _WIDTH - _MARGIN - left, size, font):
        page.drawString(left, top - size, line)
        top -= 1.35 * size
    return top


def _wrapped(text: str, width: float, size: float, font: str) -> list[str]:
    from reportlab.pdfbase.pdfmetrics import stringWidth

    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if stringWidth(longer, font, size) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        # A word that is wider than a line is cut.
        for character in word:
            if stringWidth(lines[-1] + character, font, size) > width:
                lines.append("")
            lines[-1] += character
    return lines


def _head(page: "Canvas", words: Words) -> float:
    top = _HEIGHT - _MARGIN
    page.setFont(_BOLD, 9.5)
    page.drawString(_MARGIN, top - 9.5, "pneumoscan")
    page.drawRightString(_WIDTH - _MARGIN, top - 9.5, NOTICE)
    page.setLineWidth(0.75)
    page.line(_MARGIN, top - 15, _WIDTH - _MARGIN, top - 15)
    title = _drawable(PurePath(words.title).name or words.title)
    top = _write(
        page, title if len(title) <= 100 else f"{title[:50]}…{title[-48:]}", _MARGIN, top - 24, 13, _BOLD
    )
    for line in words.patient:
        top = _write(page, line, _MARGIN, top)
    return top


def _film(
    page: "Canvas", film: Film, outlines: Sequence[npt.NDArray[np.float64]], top: float, most: float
) -> float:
    from reportlab.lib.utils import ImageReader

    factor = min(_INNER / film.width, most / film.height)
    width, height = film.width * factor, film.height * factor
    jpeg = BytesIO()
    grey_of(film, shown_size(film)).save(jpeg, "JPEG", quality=_QUALITY)
    left, bottom = _MARGIN, top - 8 - height
    page.drawImage(ImageReader(jpeg), left, bottom, width, height)
    page.setStrokeColorRGB(1, 0.84, 0.25)
    page.setLineWidth(0.8)
    for outline in outlines:
        path = page.beginPath()
        for number, (x, y) in enumerate(outline.tolist()):
            place = left + x * width, bottom + (1 - y) * height
            path.lineTo(*place) if number else path.moveTo(*place)
        path.close()
        page.drawPath(path)
    page.setStrokeColorRGB(0, 0, 0)
    return bottom - 10


def _answer(page: "Canvas", row: PredictionRow, words: Words, top: float) -> float:
    top = _write(page, _ANSWERS.get(row.label, row.label), _MARGIN, top, 14, _BOLD)
    if row.probability is None:
        return top
    named = f"operating point {words.operating_point}" if words.operating_point else "chosen by hand"
    text = f"Probability of pneumonia {row.probability:.4f}, threshold {row.threshold:.4f} ({named})."
    top = _write(page, text, _MARGIN, top - 2, 10.5)
    top = _scale(page, row.probability, row.threshold, top - 4)
    for sentence in (*(f"Warning: {word.replace('_', ' ')}." for word in row.warnings),):
        top = _write(page, sentence, _MARGIN, top)
    return top


def _scale(page: "Canvas", probability: float, threshold: float, top: float) -> float:
    """Draw the probability on a line from 0 to 1, with the threshold as a line across it."""
    width, bottom = 260.0, top - 10
    page.setFillColorRGB(0.88, 0.9, 0.92)
    page.rect(_MARGIN, bottom, width, 6, stroke=0, fill=1)
    page.setFillColorRGB(0.35, 0.38, 0.42)
    page.rect(_MARGIN, bottom, width * probability, 6, stroke=0, fill=1)
    page.setFillColorRGB(0, 0, 0)
    page.rect(_MARGIN + width * threshold - 0.6, bottom - 3, 1.2, 12, stroke=0, fill=1)
    page.setFont(_FONT, 7)
    page.drawString(_MARGIN, bottom - 11, "0")
    page.drawRightString(_MARGIN + width, bottom - 11, "1")
    page.drawCentredString(_MARGIN + width * min(max(threshold, 0.06), 0.94), bottom - 11, "threshold")
    return bottom - 16


def _facts(page: "Canvas", film: Film, row: PredictionRow, words: Words, top: float) -> None:
    facts = [
        ("Film", f"{film.format}, {film.width} × {film.height} pixels"),
        *([("SHA-256 of the file", words.sha256)] if words.sha256 else []),
        ("Model", f"{row.model}, pneumoscan {__version__}"),
    ]
    page.setLineWidth(0.5)
    page.line(_MARGIN, top - 4, _WIDTH - _MARGIN, top - 4)
    top -= 8
    for name, value in facts:
        _write(page, name, _MARGIN, top, 8)
        top = _write(page, value, _MARGIN + 105, top, 8)


def _foot(page: "Canvas", *, outlined: bool) -> None:
    """Draw the lines for the reader's own verdict and signature."""
    page.setLineWidth(0.75)
    bottom = _MARGIN + 14
    page.setFont(_FONT, 9.5)
    for number, word in enumerate(("I agree", "I disagree", "I cannot say")):
        left = _MARGIN + 100 * number
        page.rect(left, bottom + 58, 9, 9)
        page.drawString(left + 15, bottom + 59, word)
    page.drawString(_MARGIN + 300, bottom + 59, "Note")
    page.line(_MARGIN + 330, bottom + 56, _WIDTH - _MARGIN, bottom + 56)
    for left, right, word in ((0, 190, "Name"), (205, 300, "Date"), (315, _INNER, "Signature")):
        page.line(_MARGIN + left, bottom + 12, _MARGIN + right, bottom + 12)
        page.setFont(_FONT, 7.5)
        page.drawString(_MARGIN + left, bottom + 2, word)
    said = " The outline shows the lungs that the model reads, not a disease." if outlined else ""
    page.drawString(_MARGIN, bottom - 14, NOTICE + said)
