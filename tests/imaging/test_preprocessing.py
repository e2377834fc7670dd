"""The one preprocessing: the same bytes for training and for reading, no aliasing, always finite."""

import hashlib

import numpy as np
import pytest

from pneumoscan.errors import ConfigError
from pneumoscan.imaging import Film, Preprocessing, preprocess, read
from pneumoscan.imaging.preprocessing import normalise, squash, standardise

EVERY = [Preprocessing(), Preprocessing(mean=0.48, std=0.22), Preprocessing(normalisation="per_film")]


def integer_film():
    """224×224 from whole numbers alone, so that it is the same on every machine."""
    y, x = np.mgrid[0:224, 0:224]
    return read(((x * 3 + y * 2 + (x * y) // 64 + 40 * ((x // 28 + y // 28) % 2)) % 256).astype(np.uint8))


@pytest.mark.parametrize("settings", EVERY, ids=lambda settings: settings.normalisation + str(settings.mean))
def test_training_and_reading_share_their_bytes(draw_film, settings):
    rng = np.random.default_rng(0)
    films = [read(draw_film(rng=rng, size=size)) for size in ((120, 140), (900, 700), (200, 200), (50, 333))]
    cached = np.stack([squash(film, settings.size) for film in films])
    batch = normalise(cached, settings)
    assert batch.dtype == np.float32
    assert batch.shape == (4, 200, 200)
    for row, film in zip(batch, films, strict=True):
        assert row.tobytes() == preprocess(film, settings).tobytes()


def test_standardise_is_the_second_half_of_normalise(draw_film):
    images = draw_film()[None]
    for settings in EVERY:
        halves = standardise(images.astype(np.float32) / np.float32(255), settings)
        assert halves.tobytes() == normalise(images, settings).tobytes()


def test_one_film_gives_the_same_input_by_every_way_in(film_bytes, tmp_path):
    path = tmp_path / "film.png"
    path.write_bytes(film_bytes.encoded("PNG"))
    image = film_bytes.Image.open(path)
    inputs = {
        preprocess(read(s), EVERY[1]).tobytes() for s in (path, path.read_bytes(), image, np.asarray(image))
    }
    assert len(inputs) == 1


def test_fixed_and_per_film_do_what_they_say(draw_film):
    film = read(draw_film())
    plain = preprocess(film, EVERY[0])
    assert plain.min() >= 0
    assert plain.max() <= 1
    np.testing.assert_allclose(preprocess(film, EVERY[1]), (plain - 0.48) / 0.22, atol=1e-5)
    own = preprocess(film, EVERY[2])
    assert abs(own.mean()) < 1e-4
    assert own.std() == pytest.approx(1, abs=1e-4)


def test_an_even_film_stays_finite():
    for level in (0, 90, 255):
        even = np.full((1, 64, 64), level, np.uint8)
        values = normalise(even, Preprocessing(normalisation="per_film"))
        assert np.abs(values).max() < 1e-3
    # A single deviating pixel is not blown up beyond what 8 bits can tell.
    even[0, 0, 0] = 254
    assert np.abs(normalise(even, Preprocessing(normalisation="per_film"))).max() < 1.1


def test_fine_patterns_become_grey_and_not_stripes():
    y, x = np.mgrid[0:1200, 0:1300]
    squashed = squash(read(((x + y) % 2 * 255).astype(np.uint8)), 100)
    assert np.abs(squashed.astype(int) - 127.5).max() <= 2
    stripes = squash(read((x % 5 * 51).astype(np.uint8)), 100)
    assert stripes.std() < 8  # Every fifth pixel as it stands has 72.


def test_squashing_fills_the_square_and_keeps_light_and_sides():
    film = np.zeros((300, 600), np.uint8)
    film[:150, :300] = 200
    small = squash(read(film), 100)
    assert small.shape == (100, 100)
    assert small.mean() == pytest.approx(film.mean(), abs=0.7)
    assert small[:48, :48].min() == 200
    assert small[52:].max() == 0


def test_a_film_of_that_size_keeps_its_bytes(draw_film):
    pixels = draw_film(size=(200, 200))
    assert np.array_equal(squash(read(pixels), 200), pixels)


GOLDEN = np.array(
    [
        [119, 14, 166, 97, 248],
        [226, 151, 78, 41, 224],
        [76, 34, 225, 239, 196],
        [220, 208, 194, 144, 132],
        [69, 89, 107, 88, 107],
    ]
)
GOLDEN_INPUT = "90d9ecda9fa05cde"


def test_the_resampling_is_that_of_the_films_models_were_trained_on():
    film = integer_film()
    assert hashlib.sha256(film.pixels.tobytes()).hexdigest()[:16] == GOLDEN_INPUT
    assert np.abs(squash(film, 200)[20::40, 20::40].astype(int) - GOLDEN).max() <= 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 15},
        {"size": 1025},
        {"size": 200.0},
        {"size": True},
        {"normalisation": "none"},
        {"std": 0.0},
        {"std": -1.0},
        {"mean": float("nan")},
        {"mean": "0.5"},
        {"std": None},
        {"version": 2},
    ],
)
def test_settings_that_do_not_make_sense_are_refused(wrong):
    with pytest.raises(ConfigError):
        Preprocessing(**wrong)


def test_settings_travel_as_json():
    settings = Preprocessing(size=64, mean=0.5, std=0.25)
    assert Preprocessing(**settings.to_json()) == settings
    assert isinstance(integer_film(), Film)
