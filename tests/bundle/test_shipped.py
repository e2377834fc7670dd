"""The model that comes with the package: what it promises, and that its map is where its answer comes from."""

import json
from pathlib import Path

import numpy as np
import pytest

from pneumoscan.bundle.contents import pretrained_bundle
from pneumoscan.bundle.load import load_bundle
from pneumoscan.classifier import predict_one, shown_to_work
from pneumoscan.imaging import preprocess, read
from pneumoscan.imaging.perturbation import PERTURBATIONS


@pytest.fixture(scope="module")
def shipped():
    return load_bundle(pretrained_bundle())


@pytest.fixture
def checks():
    """The heatmap checks of the model card."""
    pytest.importorskip("onnx")
    from pneumoscan.card import measuring

    return measuring


def inputs(shipped, films: list[np.ndarray]) -> np.ndarray:
    return np.stack([preprocess(read(film), shipped.spec.preprocessing) for film in films])


@pytest.fixture
def drawn(shipped, draw_film):
    rng = np.random.default_rng(0)
    return inputs(shipped, [draw_film(rng=rng, size=(240, 260)) for _ in range(6)])


def test_it_is_small_and_whole_and_names_no_machine(shipped):
    files = [path for path in pretrained_bundle().iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 10_000_000
    assert {path.name for path in files} >= {"model.onnx", "model.json", "README.md"}
    assert b".py" not in (pretrained_bundle() / "model.onnx").read_bytes()


def test_it_has_a_map_a_guard_and_three_operating_points_with_intervals(shipped):
    assert set(shipped.spec.outputs) == {"probability", "logit", "activation_map", "distance", "site_scores"}
    assert not shipped.spec.training["synthetic"]
    assert set(shipped.spec.thresholds) == {"balanced", "sensitivity_98", "best_f1"}
    for point in shipped.spec.thresholds.values():
        for name in ("recall", "specificity"):
            low, high = point[f"{name}_ci95"]
            assert 0 < low <= point[name] <= high <= 1
        assert point["source"]
    assert shipped.spec.thresholds["sensitivity_98"]["recall"] >= 0.98


def test_the_mean_of_its_map_is_its_logit(shipped, drawn, checks):
    assert checks.mean_error(shipped, drawn[:, None]) < 1e-4


def test_films_have_different_answers(shipped, drawn):
    assert shipped.run(drawn[:, None]).logit.std() > 0.05


def test_it_tells_for_whom_it_is_shown_to_work(shipped):
    assert list(shipped.spec.sites) == ["children"]
    told = shown_to_work(shipped.spec)
    for facts in shipped.spec.sites.values():
        low, high = facts["roc_auc_ci95"]
        assert 0.5 < low <= facts["roc_auc"] <= high <= 1
        assert facts["whom"] in told
        assert f"AUC {facts['roc_auc']:.3f}" in told


def test_nothing_in_the_package_says_that_it_works_for_adults(shipped):
    for text in (shown_to_work(shipped.spec), shipped.card()):
        assert "adult" not in text.lower()
    assert "fitted_to" not in shipped.spec.training


@pytest.mark.real_films
def test_it_recognises_children_and_abstains_from_adults(shipped, real_films):
    adults = real_films.parent / "nih_chest"
    paths = [*sorted((real_films / "train" / "NORMAL").iterdir())[::40]]
    found = [predict_one(shipped, path, 0.5).resembles for path in paths]
    assert found.count("children") >= 0.9 * len(found)
    if adults.is_dir():
        rows = [predict_one(shipped, path, 0.5) for path in sorted(adults.rglob("*.png"))[::25]]
        assert all(row.resembles == "none" and "far_from_training_films" in row.warnings for row in rows)
        assert not {row.label for row in rows} & {"NORMAL", "PNEUMONIA"}


def test_random_weights_destroy_the_map(shipped, drawn, checks):
    correlations = [checks.map_correlations(shipped, drawn[:, None], seed) for seed in range(3)]
    assert np.abs(np.mean(correlations)) < 0.5


def test_what_is_no_chest_film_is_called_so(shipped):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (300, 300), np.uint8)
    ramp = np.linspace(0, 255, 300).astype(np.uint8)[None].repeat(300, axis=0)
    for film in (noise, ramp):
        assert predict_one(shipped, film, 0.5).label in {"NOT_A_CHEST_FILM", "UNSURE"}


@pytest.mark.real_films
def test_covering_the_hottest_square_costs_more_than_another(shipped, real_films, checks):
    paths = sorted((real_films / "train" / "PNEUMONIA").iterdir())[::97]
    films = inputs(shipped, [np.asarray(read(path).pixels) for path in paths])
    found = checks.measure_heatmaps(shipped, list(films), np.ones(len(films), np.int64))["deletion"]
    assert found["films"] >= 30
    assert found["fall_of_logit_hottest"] > 2 * found["fall_of_logit_random"]
    assert found["share_of_films_hottest_falls_more"] > 0.7


@pytest.mark.real_films
def test_real_films_turned_or_inverted_are_not_called_chest_films(shipped, real_films):
    folders = [real_films / "train" / name for name in ("NORMAL", "PNEUMONIA")]
    pixels = [read(path).pixels for folder in folders for path in sorted(folder.iterdir())[::80]]
    fine = [predict_one(shipped, film, 0.5).label for film in pixels]
    assert np.mean([label == "NOT_A_CHEST_FILM" for label in fine]) <= 0.05
    for change in (np.rot90, lambda x: 255 - x):
        labels = [predict_one(shipped, np.ascontiguousarray(change(film)), 0.5).label for film in pixels]
        assert np.mean([label in {"NOT_A_CHEST_FILM", "UNSURE"} for label in labels]) > 0.95


def test_its_records_are_those_of_its_operating_points(shipped):
    records = shipped.records()
    curve, held_out = records["operating_curve"], records["held_out"]
    by_threshold = {point["threshold"]: point for point in curve["points"]}
    assert 100 < len(by_threshold) <= 250
    for point in shipped.spec.thresholds.values():
        found = by_threshold[point["threshold"]]
        assert (curve["n"], curve["n_positive"]) == (point["n"], point["n_positive"])
        assert found["unsure_films"] == pytest.approx(point["unsure_band"]["films"], abs=1e-6)
        for name in ("recall", "specificity", "recall_ci95", "specificity_ci95"):
            assert found[name] == pytest.approx(point[name], abs=1e-6)
        high_enough = [other for other in by_threshold.values() if other["recall"] >= point["recall"] - 1e-6]
        assert max(other["threshold"] for other in high_enough) >= point["threshold"]
    assert held_out["threshold"] == records["stress"]["threshold"] == shipped.spec.threshold()
    assert len(records["stress"]["table"]) == len(PERTURBATIONS)
    assert len(records["precision_recall"]["recall"]) <= 300
    assert held_out["expected_calibration_error"] == pytest.approx(
        shipped.spec.calibration["after"]["expected_calibration_error"], abs=1e-6
    )
    assert records["cautions"]
    assert (pretrained_bundle() / "records.json").stat().st_size < 100_000


def test_its_records_are_those_of_the_published_evaluation(shipped):
    path = Path(__file__).resolve().parents[2] / "results" / "flagship-3-children" / "seed-0" / "metrics.json"
    if not path.is_file():
        pytest.skip("the results are not part of this distribution")
    metrics, records = json.loads(path.read_text()), shipped.records()
    for name, value in records["held_out"].items():
        if name != "source":
            assert value == pytest.approx(metrics[name], abs=1e-6), name
    assert records["stress"]["threshold"] == metrics["stress"]["threshold"]
    for row, told in zip(records["stress"]["table"], metrics["stress"]["table"], strict=True):
        assert row["roc_auc_ci95"] == pytest.approx(told["roc_auc_ci95"], abs=1e-6)
        assert (row["perturbation"], row["n"]) == (told["perturbation"], told["n"])
        for name in ("roc_auc", "accuracy", "sensitivity", "specificity"):
            assert row[name] == pytest.approx(told[name], abs=1e-6)
