"""The classifier: what counts as one film, as several, and what it answers."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumoscan.classifier import PneumoniaClassifier
from pneumoscan.errors import ConfigError, FilmFormatError, FilmNotFoundError, FilmValueError
from pneumoscan.imaging import Preprocessing, preprocess, read


@pytest.fixture
def model(bundle_folder):
    return PneumoniaClassifier.from_pretrained(bundle_folder)


@pytest.fixture
def films(tmp_path, draw_film):
    paths = []
    for number in range(4):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(draw_film(np.random.default_rng(number))).save(paths[-1])
    return paths


def test_probabilities_are_those_of_the_network(model, films, true_logits):
    inputs = np.stack([preprocess(read(path), Preprocessing(size=32)) for path in films])[:, None]
    expected = 1 / (1 + np.exp(-true_logits(inputs) / 1.5))
    proba = model.predict_proba(films)
    assert (proba.shape, proba.dtype) == ((4, 2), np.float64)
    np.testing.assert_allclose(proba[:, 1], expected, atol=1e-6)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-15)


def test_one_film_in_every_form_is_the_same(model, films):
    path = films[0]
    image = Image.open(path)
    array = np.asarray(image)
    forms = [
        path,
        str(path),
        path.read_bytes(),
        bytearray(path.read_bytes()),
        image,
        array,
        array[:, :, None],
    ]
    answers = [
        model.predict_proba(form) for form in [*forms, np.dstack([array] * 3), [path], (path,), iter([path])]
    ]
    assert all(answer.shape == (1, 2) for answer in answers)
    assert len({answer[0, 1] for answer in answers}) == 1


def test_a_stack_is_many_films(model, films):
    stack = np.stack([np.asarray(Image.open(path)) for path in films])
    expected = model.predict_proba(films)
    np.testing.assert_array_equal(model.predict_proba(stack), expected)
    np.testing.assert_array_equal(model.predict_proba(np.stack([stack] * 3, axis=-1)), expected)


def test_a_film_does_not_depend_on_its_neighbours(model, films):
    together = model.predict_proba(films)
    alone = np.concatenate([model.predict_proba(path) for path in reversed(films)])[::-1]
    np.testing.assert_array_equal(together, alone)


def test_predict_uses_the_operating_point(bundle_folder, films):
    for name, threshold in (("balanced", 0.5), ("sensitive", 0.3)):
        model = PneumoniaClassifier.from_pretrained(bundle_folder, operating_point=name)
        assert model.threshold == threshold
        positive = model.predict_proba(films)[:, 1] >= threshold
        assert model.predict(films).tolist() == [("NORMAL", "PNEUMONIA")[int(value)] for value in positive]


def test_the_threshold_itself_is_positive(model, films):
    model.threshold = float(model.predict_proba(films[0])[0, 1])
    assert model.predict(films[0]).tolist() == ["PNEUMONIA"]
    model.threshold = float(np.nextafter(model.threshold, 1))
    assert model.predict(films[0]).tolist() == ["NORMAL"]


def test_no_films(model):
    assert model.predict_proba([]).shape == (0, 2)
    assert model.predict([]).shape == (0,)
    assert model.classes_.tolist() == ["NORMAL", "PNEUMONIA"]


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (Path("nowhere.png"), FilmNotFoundError),
        (b"no film", FilmFormatError),
        (7, FilmValueError),
        (None, FilmValueError),
    ],
)
def test_a_bad_film_is_named_by_its_index(model, films, bad, error):
    with pytest.raises(error, match=r"^film 2: "):
        model.predict_proba([films[0], films[1], bad, films[2]])


def test_what_is_no_film_at_all(model):
    with pytest.raises(FilmValueError, match="int"):
        model.predict_proba(7)


def test_unknown_operating_point(bundle_folder):
    with pytest.raises(ConfigError, match="balanced"):
        PneumoniaClassifier.from_pretrained(bundle_folder, operating_point="other")
