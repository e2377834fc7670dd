"""The out-of-distribution detector learns what a film looks like, and its limits keep what they promise."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from pneumoscan.bundle.spec import log_odds, probability_of
from pneumoscan.evaluate import held_out as limits
from pneumoscan.imaging import Preprocessing
from pneumoscan.imaging.preprocessing import normalise
from pneumoscan.networks.exported import onnx_graph
from pneumoscan.train.detector import area_weights, fit_ood_detector, shown, shrunk, turned_ways, wrong
from pneumoscan.train.films import TrainingFilms


@pytest.fixture(scope="module")
def films():
    """Two hundred drawn chests, a bright head end above, 40 held out."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:64, 0:64] / 64
    images = []
    for _ in range(200):
        film = 0.5 + rng.uniform(0.1, 0.4) * y
        for centre in (0.3, 0.7):
            film = np.where(
                ((x - centre) / 0.15) ** 2 + ((y - rng.uniform(0.38, 0.45)) / 0.3) ** 2 < 1, 0.2, film
            )
        film = np.where(np.abs(x - rng.uniform(0.47, 0.53)) < 0.05, 0.9, film) + rng.normal(0, 0.03, (64, 64))
        images.append((film.clip(0, 1) * 255).astype(np.uint8))
    labels = (np.arange(200) % 2).astype(np.float32)
    return TrainingFilms(
        np.stack(images),
        labels,
        np.arange(160),
        np.arange(160, 200),
        Preprocessing(size=64, mean=0.5, std=0.25),
    )


@pytest.fixture(scope="module")
def detector(films):
    return fit_ood_detector(films, seed=1)


def distances(detector, films, images):
    with torch.inference_mode():
        return detector(
            torch.from_numpy(normalise(np.ascontiguousarray(images), films.preprocessing))[:, None]
        ).numpy()


def test_held_out_films_are_near_and_turned_ones_far(detector, films):
    near = distances(detector, films, films.images[films.val])
    assert near.min() >= 0
    for name, turned in turned_ways(films.images[films.val]).items():
        assert np.median(distances(detector, films, turned)) > 5 * np.quantile(near, 0.95), name


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_one_colour_is_far_and_finite(detector, films, level):
    flat = np.full((1, 64, 64), level, np.uint8)
    assert 10 <= distances(detector, films, flat)[0] < 1e4


def test_noise_is_far(detector, films):
    noise = np.random.default_rng(0).integers(0, 256, (5, 64, 64)).astype(np.uint8)
    near = distances(detector, films, films.images[films.val])
    assert distances(detector, films, noise).min() > np.quantile(near, 0.9)


def test_contrast_and_brightness_do_not_count(detector, films):
    some = films.images[films.val[:8]]
    dimmer = (40 + some // 2).astype(np.uint8)
    np.testing.assert_allclose(
        distances(detector, films, some), distances(detector, films, dimmer), rtol=0.2, atol=0.05
    )


def test_a_seed_gives_one_detector(detector, films):
    again, other = fit_ood_detector(films, seed=1), fit_ood_detector(films, seed=2)
    same = [
        torch.equal(a, b)
        for a, b in zip(detector.state_dict().values(), again.state_dict().values(), strict=True)
    ]
    assert all(same)
    assert not torch.equal(detector.score[0].weight, other.score[0].weight)


def test_held_out_films_are_not_looked_at(detector, films):
    changed = films.images.copy()
    changed[films.val] = 255 - changed[films.val]
    again = fit_ood_detector(
        TrainingFilms(changed, films.labels, films.train, films.val, films.preprocessing), seed=1
    )
    assert torch.equal(detector.mean, again.mean)
    assert torch.equal(detector.score[0].weight, again.score[0].weight)


@pytest.mark.parametrize(("count", "size"), [(1, 16), (3, 50)])
def test_a_handful_of_films_of_any_size_is_enough(films, count, size):
    images = np.stack([np.resize(film[:size, :size], (size, size)) for film in films.images[: count + 1]])
    few = TrainingFilms(
        images, films.labels[: count + 1], np.arange(count), np.array([count]), Preprocessing(size=size)
    )
    assert np.isfinite(distances(fit_ood_detector(few), few, images)).all()


class WithMap(nn.Module):
    """Counts how often its trunk runs."""

    runs = 0

    def activation_map(self, film):
        self.runs += 1
        return nn.functional.avg_pool2d(film, 16).squeeze(1) * 3

    def forward(self, film):
        raise AssertionError("the logit comes from the map")


def test_the_graph_gives_map_logit_and_distance(detector, films):
    graph = onnx_graph(WithMap(), 64, 2.0, detector)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_outputs()]
    assert names == ["probability", "logit", "activation_map", "distance"]
    batch = films.plain(films.val[:5]).numpy()
    probability, logit, maps, distance = session.run(None, {"film": batch})
    assert maps.shape == (5, 4, 4)
    np.testing.assert_allclose(maps.mean((1, 2)), logit, atol=1e-5)
    np.testing.assert_allclose(probability, probability_of(logit, 2.0), atol=1e-6)
    expected = distances(detector, films, films.images[films.val[:5]])
    np.testing.assert_allclose(distance, expected, rtol=1e-3, atol=1e-4)
    alone = [session.run(["distance"], {"film": batch[i : i + 1]})[0][0] for i in range(5)]
    np.testing.assert_allclose(alone, distance, rtol=1e-3, atol=1e-4)


def test_a_network_without_map_or_guard_has_neither_output(films):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64 * 64, 1), nn.Flatten(0))
    session = onnxruntime.InferenceSession(onnx_graph(network, 64, 1.0), providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_outputs()] == ["probability", "logit"]


@pytest.mark.parametrize(("size", "side"), [(200, 32), (64, 32), (50, 64), (16, 32), (33, 7)])
def test_area_weights_are_means_over_equal_stretches(size, side):
    weights = area_weights(size, side)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(weights.sum(0), side / size, rtol=1e-4)
    fine = np.repeat(np.arange(size), side).reshape(side, size)
    np.testing.assert_allclose(weights @ np.arange(size, dtype=np.float32), fine.mean(1), rtol=1e-4)


def test_pictures_of_both_kinds(films):
    small = shrunk(films.images[:60])
    assert small.shape == (60, 64, 64)
    for make in (shown, wrong):
        pictures = make(small, np.random.default_rng(0))
        assert pictures.shape == small.shape
        assert pictures.dtype == np.float32
        assert np.isfinite(pictures).all()
        assert 0 <= pictures.min() <= pictures.max() <= 1
    again = shown(small, np.random.default_rng(0))
    np.testing.assert_array_equal(again, shown(small, np.random.default_rng(0)))


def test_cut_offs_keep_the_false_alarms():
    distance = np.random.default_rng(0).exponential(0.05, 2000)
    cuts = limits.cut_offs(distance)
    assert (distance >= cuts["unusual"]).mean() <= limits.FALSE_ALARMS
    assert cuts["not_a_chest_film"] == limits.CERTAIN
    wide = limits.cut_offs(100 * distance)
    assert 0 < (100 * distance >= wide["not_a_chest_film"]).mean() <= limits.FALSE_ALARMS
    assert wide["unusual"] == wide["not_a_chest_film"]


def test_false_alarms_are_counted_on_other_patients():
    rng = np.random.default_rng(1)
    distance, patients = rng.exponential(1, 4000), np.repeat(np.arange(2000), 2)
    facts = limits.ood_facts(distance, patients, {"inverted": distance + 50})
    assert facts["false_alarms"]["unusual"] == pytest.approx(0.01, abs=0.006)
    assert facts["caught"] == {"inverted": {"unusual": 1.0, "not_a_chest_film": 1.0}}
    # The odd patients' films are all far: on them every film is an alarm, and they excuse the even ones.
    halves = np.unique(patients, return_inverse=True)[1] % 2 == 1
    one_sided = limits.ood_facts(np.where(halves, distance + 100, distance), patients, {})
    assert one_sided["false_alarms"]["unusual"] == pytest.approx(0.5)


def test_too_few_films_measure_no_false_alarms():
    assert limits.ood_facts(np.linspace(0, 1, 40), None, {})["false_alarms"] is None


@pytest.fixture
def answers():
    rng = np.random.default_rng(2)
    y_true = rng.integers(0, 2, 3000)
    return rng.normal(np.where(y_true == 1, 3.0, -3.0), 2.0), y_true


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
def test_the_band_holds_half_of_the_errors_or_few_films(answers, threshold):
    logits, y_true = answers
    band = limits.band_around(logits, y_true, 1.5, threshold, "films")
    probability = probability_of(logits, 1.5)
    inside = (probability >= band["low"]) & (probability <= band["high"])
    wrong_calls = (probability >= threshold) != (y_true == 1)
    assert band["films"] == pytest.approx(inside.mean(), abs=1e-3)
    assert band["errors"] == pytest.approx(inside[wrong_calls].mean(), abs=0.02)
    assert band["films"] <= limits.MOST_UNSURE
    assert band["films"] > limits.MOST_UNSURE - 0.01 or band["errors"] >= limits.HELD_ERRORS
    assert log_odds(band["high"]) - log_odds(threshold) == pytest.approx(band["half_width"])
    # What is left outside is called better than what is inside.
    assert wrong_calls[inside].mean() > 1.5 * wrong_calls[~inside].mean()


def test_without_errors_no_film_is_unsure():
    logits, y_true = np.array([-5.0, -4.0, 4.0, 5.0] * 50), np.array([0, 0, 1, 1] * 50)
    band = limits.band_around(logits, y_true, 1.0, 0.5, "films")
    assert (band["films"], band["errors"], band["half_width"]) == (0.0, 0.0, 0.0)
    assert band["low"] == band["high"] == 0.5


def test_films_of_one_gap_do_not_break_the_limit():
    logits, y_true = np.array([0.1] * 100 + [3.0] * 900), np.array([0] * 100 + [1] * 900)
    assert limits.band_around(logits, y_true, 1.0, 0.5, "films")["films"] <= limits.MOST_UNSURE


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_thresholds_at_the_ends_have_a_legal_band(answers, threshold):
    band = limits.band_around(*answers, 1.0, threshold, "films")
    assert 0 <= band["low"] <= threshold <= band["high"] <= 1


def test_calibration_is_that_of_scikit_learn(answers):
    from sklearn.metrics import brier_score_loss, log_loss

    logits, y_true = answers
    facts = limits.calibration_facts(logits, y_true, 0.8)
    for when, temperature in (("before", 1.0), ("after", 0.8)):
        probability = probability_of(logits, temperature)
        assert facts[when]["temperature"] == temperature
        assert facts[when]["log_loss"] == pytest.approx(log_loss(y_true, probability), rel=1e-6)
        assert facts[when]["brier_score"] == pytest.approx(brier_score_loss(y_true, probability))
        assert 0 < facts[when]["expected_calibration_error"] < 1
