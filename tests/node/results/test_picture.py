"""The picture: what is burnt in, and how it stands in a secondary capture."""

from io import BytesIO

import numpy as np
import pydicom
import pytest
from hospital_films import FILM, MADE_AT, finding, hospital_film, writer
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from pneumoscan.bundle.heatmap import Evidence
from pneumoscan.imaging import Film
from pneumoscan.node.results import make_results, picture


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that are written into pictures."""
    written: list[str] = []
    picture._printed.cache_clear()
    write = picture._write

    def spy(pen, place, text, *more, **options):
        written.append(text)
        write(pen, place, text, *more, **options)

    monkeypatch.setattr(picture, "_write", spy)
    return written


def capture_of(**changes: object) -> Dataset:
    made = make_results(hospital_film(), finding(**changes), writer(), made_at=MADE_AT)[1]
    return pydicom.dcmread(BytesIO(made.content))


def film_of(height: int, width: int) -> Film:
    return Film(np.full((height, width), 90, np.uint8), "<array>", "array", "uint8")


def test_the_capture_is_a_jpeg_of_the_chest_that_names_its_film() -> None:
    capture = capture_of()
    assert capture.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    assert capture.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
    assert (capture.Modality, capture.BodyPartExamined, capture.LossyImageCompression) == (
        "OT",
        "CHEST",
        "01",
    )
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == FILM
    image = Image.open(BytesIO(next(generate_frames(capture.PixelData, number_of_frames=1))))
    assert (image.format, image.mode) == ("JPEG", "RGB")
    assert image.size == (capture.Columns, capture.Rows)


@pytest.mark.parametrize("said", ["YES", "NO", "PERHAPS"])
def test_the_capture_says_of_names_in_the_pixels_what_the_film_said(said: str) -> None:
    film = hospital_film({0x00280301: (b"CS", said.encode())})
    capture = pydicom.dcmread(BytesIO(make_results(film, finding(), writer(), made_at=MADE_AT)[1].content))
    assert capture.get("BurnedInAnnotation", "PERHAPS") == said


@pytest.mark.parametrize(
    ("label", "verdict"),
    [
        ("PNEUMONIA", "Pneumonia: present"),
        ("NORMAL", "Pneumonia: absent"),
        ("UNSURE", "Pneumonia: undetermined"),
        ("NOT_A_CHEST_FILM", "Not judged: not a frontal chest film"),
    ],
)
def test_verdict_notice_model_and_warnings_are_burnt_in(label: str, verdict: str, words: list[str]) -> None:
    picture.draw(film_of(90, 100), finding(label, warnings=("near_threshold",)), writer())
    assert verdict in words
    assert "RESEARCH - not for diagnosis" in words
    assert any("tiny (cdcdcdcdcdcd), pneumoscan 0.1.0" in text for text in words)
    assert "Caution: The probability is near the threshold." in words
    numbers = [text for text in words if "81.2" in text or "50.0" in text or "balanced" in text]
    assert len(numbers) == (0 if label == "NOT_A_CHEST_FILM" else 2)


@pytest.mark.parametrize(
    ("probability", "text"),
    [(0.9999, "above 99.9"), (1e-9, "below 0.1"), (1.0, "100.0"), (0.0, "0.0"), (0.1234, "12.3")],
)
def test_rounding_makes_no_certainty(probability: float, text: str, words: list[str]) -> None:
    picture.draw(film_of(90, 100), finding(probability=probability), writer())
    assert f"Probability of pneumonia {text} %" in words


@pytest.mark.parametrize("size", [(64, 64), (3000, 2400), (400, 2000), (2000, 400)])
def test_films_of_every_shape_fit(size: tuple[int, int]) -> None:
    drawn = picture.draw(film_of(*size), finding(), writer())
    assert drawn.mode == "RGB"
    assert drawn.width == 1024
    assert 360 <= drawn.height <= 1000


@pytest.mark.parametrize("label", ["PNEUMONIA", "NORMAL", "UNSURE", "NOT_A_CHEST_FILM"])
def test_the_film_is_shown_in_grey_without_a_map(label: str, words: list[str]) -> None:
    drawn = np.asarray(picture.draw(film_of(800, 800), finding(label), writer())).astype(int)
    middle = drawn[picture._TOP + 100 : picture._TOP + 500, 300:700]
    assert (middle == 90).all()
    assert not [text for text in words if "evidence" in text.lower()]


def test_the_map_of_a_model_that_reads_the_lungs_is_drawn_in_its_box(words: list[str]) -> None:
    evidence = Evidence(np.full((4, 4), 10.0, np.float32), 10.0, box=(0.25, 0.25, 0.5, 0.75))
    drawn = np.asarray(picture.draw(film_of(800, 800), finding(), writer(), evidence)).astype(int)
    left, top = (1024 - 640) // 2, picture._TOP
    inside, outside = (
        drawn[top + 200 : top + 440, left + 200 : left + 300],
        drawn[top + 200 : top + 440, left + 360 : left + 600],
    )
    assert (outside == 90).all()
    assert (inside[..., 0] - inside[..., 2] > 40).all()
    assert [text for text in words if "evidence" in text.lower()]
    none = np.asarray(
        picture.draw(film_of(800, 800), finding("NOT_A_CHEST_FILM"), writer(), evidence)
    ).astype(int)
    assert (none[top + 100 : top + 500, 300:700] == 90).all()
