"""The model in the package that reads the lungs: small, whole, and right where radiologists were."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from pneumoscan.bundle.contents import LUNGS_MODEL, find_bundle
from pneumoscan.bundle.load import load_bundle
from pneumoscan.classifier import PneumoniaClassifier, predict_one
from pneumoscan.imaging import read


@pytest.fixture(scope="module")
def model():
    return load_bundle(LUNGS_MODEL)


def test_it_is_found_by_name_and_both_networks_are_small(model):
    assert find_bundle(Path("lungs")) == find_bundle(Path("flagship-4")) == LUNGS_MODEL
    networks = [LUNGS_MODEL / name for name in ("model.onnx", "lungs.onnx")]
    assert sum(path.stat().st_size for path in networks) <= 8_000_000
    assert all(b"site-packages" not in path.read_bytes() for path in networks)
    assert model.spec.parameters <= 1_500_000
    assert model.spec.preprocessing.input == "lungs"
    assert set(model.spec.thresholds) == {"balanced", "sensitivity_98", "best_f1"}


def test_the_mean_of_its_map_is_its_logit(model):
    rng = np.random.default_rng(0)
    size = model.spec.preprocessing.size
    batch = rng.normal(0, 1, (3, 2, size, size)).astype(np.float32)
    outputs = model.run(batch)
    assert outputs.activation_map.shape[1] >= 14
    np.testing.assert_allclose(outputs.activation_map.mean((1, 2)), outputs.logit, atol=1e-4)


def test_what_shows_no_lungs_gets_no_confident_answer(model):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (300, 300), np.uint8)
    coarse = np.asarray(Image.fromarray(rng.integers(0, 256, (6, 6), np.uint8)).resize((300, 300)))
    page = np.full((400, 300), 250, np.uint8)
    page[40:360:12, 30:270] = 20
    for film in (noise, coarse, page):
        assert predict_one(model, film, 0.5).label in {"NOT_A_CHEST_FILM", "UNSURE"}


@pytest.mark.real_films
def test_children_of_its_hospital(model, real_films):
    paths = [
        path
        for name in ("NORMAL", "PNEUMONIA")
        for path in sorted((real_films / "train" / name).iterdir())[::40]
    ]
    rows = [predict_one(model, path, model.spec.threshold()) for path in paths]
    y_true = [path.parent.name == "PNEUMONIA" for path in paths]
    assert roc_auc_score(y_true, [row.probability or 0 for row in rows]) > 0.97
    assert sum(row.label == "NOT_A_CHEST_FILM" for row in rows) <= 1
    assert sum(row.label == "UNSURE" for row in rows) <= 0.2 * len(rows)


@pytest.mark.real_films
def test_adults_that_radiologists_read(model, real_films):
    adults = real_films.parent / "nih_chest"
    if not adults.is_dir():
        pytest.skip("no films of adults beside the children's")
    with (adults / "films.csv").open(newline="") as file:
        films = [row for row in csv.DictReader(file) if row["reading"] in {"OPACITY", "NORMAL"}]
    rows = [predict_one(model, adults / film["path"], model.spec.threshold()) for film in films]
    y_true = [film["reading"] == "OPACITY" for film in films]
    assert roc_auc_score(y_true, [row.probability or 0 for row in rows]) > 0.85
    assert sum(row.label in {"NORMAL", "PNEUMONIA"} for row in rows) >= 0.7 * len(rows)


@pytest.mark.real_films
def test_turned_films_are_no_chest_films(model, real_films):
    paths = sorted((real_films / "train" / "NORMAL").iterdir())[::60]
    for change in (np.rot90, lambda film: film[::-1]):
        labels = [
            predict_one(model, np.ascontiguousarray(change(read(path).pixels)), 0.5).label for path in paths
        ]
        assert np.mean([label in {"NOT_A_CHEST_FILM", "UNSURE"} for label in labels]) >= 0.9


@pytest.mark.real_films
def test_it_shows_the_lungs(real_films):
    path = sorted((real_films / "train" / "NORMAL").iterdir())[0]
    lungs = PneumoniaClassifier.from_pretrained("lungs").lungs(path)
    assert lungs.quality.parts == 2
    assert 0.15 < lungs.mask.mean() < 0.6
