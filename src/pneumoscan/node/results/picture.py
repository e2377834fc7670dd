"""The picture for people: the film, and the answer in numbers and words; as a Secondary Capture Image (PS3.3, A.8).

A model that reads the lungs gives its map of the evidence too; that of other networks often lies beside the lungs, and is not drawn.
"""

import struct
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from io import BytesIO
from textwrap import wrap
from typing import Any

import numpy as np
from highdicom.sc import SCImage
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit
from pydicom.valuerep import DS

from pneumoscan.bundle.heatmap import Evidence, coloured, levels
from pneumoscan.classifier import NOT_A_CHEST_FILM, UNSURE
from pneumoscan.imaging import Film
from pneumoscan.node.header import MODEL_NAME, PICTURE_SERIES, Source
from pneumoscan.node.results.finding import NOTICE, VERDICTS, Finding, ResultUids, Writer, plain
from pneumoscan.node.results.objects import (
    MEANINGS,
    SOURCE_IMAGE,
    Template,
    concept,
    set_origin,
    template_for,
)

_WIDTH, _MARGIN, _TALLEST = 1024, 26, 640
_PANEL = _WIDTH - 2 * _MARGIN
_TOP = 152
_GAP, _LINE = 22, 24
_LARGE, _MIDDLE, _SMALL = 36, 18, 16
_PAPER, _WELL = (14, 15, 18), (26, 28, 33)
_INK, _FAINT, _ALARM = (240, 240, 242), (168, 172, 182), (255, 138, 128)


_LUNG_INK, _REGION_INK = (255, 214, 64), (94, 234, 255)
_VERDICT_INKS = {
    "PNEUMONIA": (255, 183, 77),
    "NORMAL": (128, 203, 196),
    UNSURE: (206, 190, 255),
    NOT_A_CHEST_FILM: (200, 203, 210),
}


def draw(film: Film, finding: Finding, writer: Writer, evidence: Evidence | None = None) -> Image.Image:
    """Draw the picture.

    Args:
        film: As it was read.
        finding: What was found about it; of NOT_A_CHEST_FILM no number is drawn.
        writer: What found it.
        evidence: The map to draw over the film; None draws the film in grey.

    Returns:
        RGB, 1024 pixels wide, 360 to 1000 high, after the shape of the film. It holds no word of the film's header.
    """
    shown = _shown_size(film)
    mapped = evidence is not None and finding.label != NOT_A_CHEST_FILM
    printed = replace(finding, probability=0.0, regions=(), lungs=())
    picture = _printed(printed, shown, writer, mapped).copy()
    grey = _grey_of(film, shown)
    if evidence is not None and mapped:
        grey = coloured(grey, levels(evidence, shown))
    corner = _MARGIN + (_PANEL - shown[0]) // 2, _TOP
    picture.paste(grey, corner)
    _draw_outlines(ImageDraw.Draw(picture), finding, corner, shown)
    if finding.label != NOT_A_CHEST_FILM and finding.probability is not None:
        _draw_probability(ImageDraw.Draw(picture), finding, finding.probability)
    return picture


def _shown_size(film: Film) -> tuple[int, int]:
    factor = min(_PANEL / film.width, _TALLEST / film.height)
    return max(1, round(film.width * factor)), max(1, round(film.height * factor))


def _grey_of(film: Film, shown: tuple[int, int]) -> Image.Image:
    # A film is four to thirty times as large: for that this filter is as sharp as a bicubic one, in a third of the time.
    return Image.fromarray(film.pixels).resize(shown, Image.Resampling.HAMMING, reducing_gap=1.1)


@lru_cache(maxsize=8)
def _printed(finding: Finding, shown: tuple[int, int], writer: Writer, mapped: bool) -> Image.Image:
    """Return the picture without film and probability: writing its words takes longer than both."""
    lines = _facts(finding, writer)
    if mapped:
        lines.insert(
            -2,
            (
                "Colours: evidence for pneumonia in the lungs; coarse, and not the outline of a disease.",
                _FAINT,
            ),
        )
    foot = _TOP + shown[1] + _GAP
    picture = Image.new("RGB", (_WIDTH, foot + len(lines) * _LINE + _MARGIN), _PAPER)
    pen = ImageDraw.Draw(picture)
    _draw_head(pen, finding)
    for number, (line, ink) in enumerate(lines):
        _write(pen, (_MARGIN, foot + number * _LINE), line, _SMALL, ink)
    return picture


def _draw_head(pen: ImageDraw.ImageDraw, finding: Finding) -> None:
    ink = _VERDICT_INKS[finding.label]
    pen.rectangle((0, 0, 7, _TOP - 22), fill=ink)
    _write(pen, (_MARGIN, 18), VERDICTS[finding.label], _LARGE, ink)
    _draw_notice(pen)
    if finding.label == NOT_A_CHEST_FILM:
        _write(
            pen,
            (_MARGIN, 78),
            "The model was made for frontal chest films. It gives no answer here.",
            _MIDDLE,
        )
        return
    point = (
        f"operating point {plain(finding.operating_point)}" if finding.operating_point else "given by hand"
    )
    threshold = f"threshold {100 * finding.threshold:.1f} % ({point})"
    _write(pen, (_WIDTH - _MARGIN, 74), threshold, _MIDDLE, _FAINT, anchor="ra")


def _draw_notice(pen: ImageDraw.ImageDraw) -> None:
    width = _font(_MIDDLE).getlength(NOTICE)
    left = _WIDTH - _MARGIN - width - 24
    pen.rounded_rectangle((left, 21, _WIDTH - _MARGIN, 57), 7, outline=_ALARM, width=2)
    _write(pen, (_WIDTH - _MARGIN - 12, 39), NOTICE, _MIDDLE, _ALARM, anchor="rm")


def _draw_probability(pen: ImageDraw.ImageDraw, finding: Finding, probability: float) -> None:
    """Write the probability, and draw it on a line from 0 to 1 with the threshold as a tick across it."""
    _write(pen, (_MARGIN, 74), f"Probability of pneumonia {_percent(probability)} %", _MIDDLE)
    left, right, top, bottom = _MARGIN, _WIDTH - _MARGIN, 107, 119
    pen.rounded_rectangle((left, top, right, bottom), 6, fill=_WELL)
    end = left + round((right - left) * probability)
    pen.rounded_rectangle((left, top, max(end, left + 12), bottom), 6, fill=_VERDICT_INKS[finding.label])
    tick = left + round((right - left) * finding.threshold)
    pen.rectangle((tick - 1, top - 6, tick + 1, bottom + 6), fill=_INK)


def _draw_outlines(
    pen: ImageDraw.ImageDraw, finding: Finding, corner: tuple[int, int], shown: tuple[int, int]
) -> None:
    """Draw the lungs with R and L, and the regions of evidence: thin lines, dark below."""
    for outlines, ink, width in ((finding.lungs, _LUNG_INK, 1), (finding.regions, _REGION_INK, 2)):
        for outline in outlines:
            line = [
                (corner[0] + x * shown[0], corner[1] + y * shown[1])
                for x, y in (*outline.points, outline.points[0])
            ]
            pen.line(line, fill=_PAPER, width=width + 2, joint="curve")
            pen.line(line, fill=ink, width=width, joint="curve")
    for lung in finding.lungs:
        outer = min if lung.side == "right" else max
        top = min(y for _, y in lung.points)
        height = max(y for _, y in lung.points) - top
        upper = [point for point in lung.points if point[1] <= top + height / 4]
        x = corner[0] + outer(x for x, _ in upper) * shown[0] + (-16 if lung.side == "right" else 16)
        place = x, corner[1] + (top + height / 8) * shown[1]
        letter = "R" if lung.side == "right" else "L"
        pen.text(
            place,
            letter,
            fill=_LUNG_INK,
            font=_font(_MIDDLE),
            anchor="mm",
            stroke_width=2,
            stroke_fill=_PAPER,
        )


def _percent(probability: float) -> str:
    """Return per cent with one decimal; no probability becomes a certainty by rounding."""
    if 0 < probability < 0.0005:
        return "below 0.1"
    return "above 99.9" if 0.9995 <= probability < 1 else f"{100 * probability:.1f}"


def _facts(finding: Finding, writer: Writer) -> list[tuple[str, tuple[int, int, int]]]:
    """Return the lines below the films: warnings first, then what the answer rests on."""
    lines = [(f"Caution: {MEANINGS.get(name, plain(name))}.", _ALARM) for name in finding.warnings]
    if finding.fields:
        shares = ", ".join(f"{side} {100 * share:.0f} %" for side, share in finding.fields)
        lines.append((f"Share of the lung field with evidence (inside the blue outlines): {shares}.", _INK))
        lines += [(line, _FAINT) for line in wrap(plain(finding.measured), 110)]
    model = (
        f"Model {plain(writer.model_name)} ({writer.onnx_sha256[:12]}), pneumoscan {plain(writer.pneumoscan_version)}, "
        f"{plain(writer.manufacturer)}."
    )
    return [
        *lines,
        (model, _FAINT),
        ("Preliminary result of a computer program, not verified by a physician.", _FAINT),
    ]


def _write(
    pen: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    size: int,
    ink: tuple[int, int, int] = _INK,
    *,
    anchor: str = "la",
) -> None:
    """Write one line, smaller where it would not fit between the margins."""
    while size > 10 and _font(size).getlength(text) > _WIDTH - 2 * _MARGIN:
        size -= 1
    pen.text(place, text, fill=ink, font=_font(size), anchor=anchor)


@lru_cache(maxsize=32)
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


_SERIES_NUMBER = 9702
_QUALITY = 85
_ROWS, _COLUMNS, _RATIO, _PIXELS, _BURNED_IN = 0x0028_0010, 0x0028_0011, 0x0028_2112, 0x7FE0_0010, 0x0028_0301
_END_OF_FRAGMENTS = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


@lru_cache(maxsize=4)
def capture_template(writer: Writer) -> Template:
    """Return what all captures by a writer have in common, whatever the film and the picture."""
    return template_for(lambda source, uids, made_at: make_capture(source, writer, uids, made_at))


def make_capture(source: Source, writer: Writer, uids: ResultUids, made_at: datetime) -> Dataset:
    """Return a secondary capture, still without the patient, the study and the elements of its picture."""
    capture = SCImage(
        np.zeros((16, 16, 3), np.uint8),
        photometric_interpretation="YBR_FULL_422",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        study_instance_uid=source.study_instance_uid,
        series_instance_uid=uids.picture_series,
        series_number=_SERIES_NUMBER,
        sop_instance_uid=uids.picture,
        instance_number=1,
        manufacturer=plain(writer.manufacturer),
        manufacturer_model_name=MODEL_NAME,
        series_description=PICTURE_SERIES,
        transfer_syntax_uid=JPEGBaseline8Bit,
    )
    # A sheet with words on it has no left and right of its own (type 2C: empty).
    capture.PatientOrientation = []
    capture.BodyPartExamined = "CHEST"
    capture.ConversionType = "WSD"
    capture.SecondaryCaptureDeviceManufacturer = plain(writer.manufacturer)
    capture.SecondaryCaptureDeviceManufacturerModelName = MODEL_NAME
    capture.DerivationDescription = f"The film, and the answer in numbers and words. {NOTICE}."
    capture.SourceImageSequence = [_reference(source)]
    # PS3.3, C.7.6.1.1.5.
    capture.LossyImageCompression, capture.LossyImageCompressionMethod = "01", "ISO_10918_1"
    set_origin(capture, writer, made_at)
    del capture.PixelData
    return capture


def picture_elements(source: Source, picture: Image.Image) -> dict[int, tuple[bytes, bytes]]:
    """Return the elements of a picture: by tag, value representation and value."""
    pixels = BytesIO()
    picture.save(pixels, "JPEG", quality=_QUALITY, subsampling="4:2:2")
    jpeg = pixels.getvalue()
    ratio = str(DS(round(3 * picture.width * picture.height / len(jpeg), 2), auto_format=True)).encode()
    elements = {
        _ROWS: (b"US", struct.pack("<H", picture.height)),
        _COLUMNS: (b"US", struct.pack("<H", picture.width)),
        _RATIO: (b"DS", ratio + b" " * (len(ratio) % 2)),
        _PIXELS: (b"OB", encapsulate([jpeg]) + _END_OF_FRAGMENTS),
    }
    if source.burned_in:
        burned_in = source.burned_in.encode("ascii")
        elements[_BURNED_IN] = b"CS", burned_in + b" " * (len(burned_in) % 2)
    return elements


def _reference(source: Source) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = source.sop_class_uid
    item.ReferencedSOPInstanceUID = source.sop_instance_uid
    item.PurposeOfReferenceCodeSequence = [concept(SOURCE_IMAGE)]
    return item
