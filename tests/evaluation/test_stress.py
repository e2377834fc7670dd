"""The stress table: each view evaluated like the plain films, and told in files, figure and page."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pneumoscan.errors import FilmDamagedError, UsageError
from pneumoscan.evaluate.films import EvaluatedSplit
from pneumoscan.evaluate.metrics import evaluate_predictions
from pneumoscan.evaluate.report import example, write_evaluation
from pneumoscan.evaluate.stress import (
    FIGURES,
    StressDisplay,
    StressTable,
    perturbed,
    readable_name,
    stress_table,
)
from pneumoscan.imaging.perturbation import PERTURBATIONS

NAMES = [view.name for view in PERTURBATIONS]


@pytest.fixture
def outcome(make_outcome):
    return make_outcome(90, gap=1.0)


@pytest.fixture
def views(outcome):
    """Probabilities that get worse from view to view."""
    rng = np.random.default_rng(5)
    noises = [(name, 0.04 * place * rng.normal(size=90)) for place, name in enumerate(NAMES)]
    return {name: np.clip(outcome[1] + noise + 0.02, 0, 1) for name, noise in noises}


@pytest.fixture
def patients():
    return [f"p{index // 3}" for index in range(90)]


def test_each_row_is_the_view_judged_by_itself(outcome, views, patients):
    y_true, y_prob = outcome
    table = StressTable.from_predictions(
        y_true, y_prob, views, threshold=0.45, patient_ids=patients, n_bootstrap=20
    )
    assert [row.perturbation for row in (table.plain, *table.rows)] == ["plain", *NAMES]
    for row, prob in zip((table.plain, *table.rows), (y_prob, *views.values()), strict=True):
        alone = evaluate_predictions(
            y_true,
            prob,
            patient_ids=patients,
            threshold=0.45,
            threshold_source="",
            split="val",
            n_bootstrap=20,
        )
        assert row.n == 90
        for figure in (*FIGURES, "roc_auc_ci95"):
            assert getattr(row, figure) == getattr(alone, figure), figure


def test_mean_and_worst_are_over_the_changed_views_only(outcome, views):
    y_true, y_prob = outcome
    table = StressTable.from_predictions(y_true, 1 - y_prob, views, threshold=0.45, n_bootstrap=0)
    areas = {name: roc_auc_score(y_true, prob) for name, prob in views.items()}
    assert table.plain.roc_auc < min(areas.values())
    assert table.mean("roc_auc") == pytest.approx(np.mean(list(areas.values())))
    worst = table.worst("roc_auc")
    assert (worst.perturbation, worst.value) == min(areas.items(), key=lambda item: item[1])
    values = table.to_json()
    assert values["worst"]["roc_auc"] == {"perturbation": worst.perturbation, "value": worst.value}
    assert values["mean"]["sensitivity"] == table.mean("sensitivity")
    assert table.plain.roc_auc_ci95 is None


def test_of_equals_the_first_is_the_worst(outcome):
    y_true, y_prob = outcome
    table = StressTable.from_predictions(
        y_true, y_prob, {"a": y_prob, "b": y_prob}, threshold=0.5, n_bootstrap=0
    )
    assert table.worst("accuracy").perturbation == "a"


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_leaves_gaps_and_no_nan(label):
    y_prob = np.array([0.2, 0.7])
    table = StressTable.from_predictions([label] * 2, y_prob, {"flipped": y_prob}, threshold=0.5)
    values = json.loads(json.dumps(table.to_json(), allow_nan=False))
    gone = "specificity" if label else "sensitivity"
    for figure in ("roc_auc", gone):
        assert values["plain"][figure] is None
        assert values["mean"][figure] is None
        assert values["worst"][figure] is None
    assert values["mean"]["accuracy"] == 0.5
    StressDisplay.from_table(table).plot()


def test_what_cannot_be_judged_is_refused(outcome, views):
    y_true, y_prob = outcome
    with pytest.raises(UsageError, match="no view"):
        StressTable.from_predictions(y_true, y_prob, {}, threshold=0.5)
    with pytest.raises(UsageError, match="90 films"):
        StressTable.from_predictions(y_true, y_prob, {"flipped": y_prob[1:]}, threshold=0.5)
    with pytest.raises(UsageError, match=r"\[0, 1\]"):
        StressTable.from_predictions(y_true, y_prob, views, threshold=2)
    for images in (np.zeros((2, 8, 9), np.uint8), np.zeros((2, 8, 8)), np.zeros((8, 8), np.uint8)):
        with pytest.raises(UsageError, match=r"\(n, S, S\)"):
            stress_table(images, [0, 1], lambda part: np.zeros(len(part)), 0.5)


# Squashed films


@pytest.fixture
def images(draw_film):
    rng = np.random.default_rng(1)
    return np.stack([draw_film(rng, (40, 40), consolidation=bool(index % 2)) for index in range(300)])


def brightness(images):
    return images.mean(axis=(1, 2)) / 255


def test_squashed_films_are_judged_in_every_view(images):
    y_true = np.arange(300) % 2
    asked = []

    def predict(part):
        asked.append(part.shape)
        assert part.dtype == np.uint8
        return brightness(part)

    threshold = float(np.median(brightness(images)))
    table = stress_table(images, y_true, predict, threshold, n_bootstrap=0)
    assert asked == [(256, 40, 40), (44, 40, 40)] * 11
    by_hand = StressTable.from_predictions(
        y_true,
        brightness(images),
        {view.name: brightness(perturbed(images, view)) for view in PERTURBATIONS},
        threshold=threshold,
        n_bootstrap=0,
    )
    assert table == by_hand
    rows = {row.perturbation: row for row in table.rows}
    # The mean of a film is blind to flips and sees gamma: brighter films are called PNEUMONIA.
    assert replace(rows["flipped"], perturbation="plain") == table.plain
    assert rows["gamma_0_6"].specificity < table.plain.specificity < rows["gamma_1_7"].specificity


def test_the_views_can_be_chosen_and_come_back_at_one_size(images):
    assert all(perturbed(images[:2], view).shape == (2, 40, 40) for view in PERTURBATIONS)
    masks = np.zeros_like(images[:2])
    masks[:, 10:30, 5:20] = 255
    for view in PERTURBATIONS:
        crops = perturbed(np.stack([images[:2], masks], 1), view)
        assert (crops[:, 0] == perturbed(images[:2], view)).all()
        assert (crops[:, 1] == perturbed(masks, view)).all()
    table = stress_table(
        images[:20],
        np.arange(20) % 2,
        brightness,
        0.4,
        perturbations=PERTURBATIONS[-2:],
        patient_ids=[str(index // 2) for index in range(20)],
        n_bootstrap=30,
    )
    assert [row.perturbation for row in table.rows] == NAMES[-2:]
    low, high = table.plain.roc_auc_ci95
    assert low <= table.plain.roc_auc <= high


# Files, figure and page


@pytest.fixture
def quick_graphs(monkeypatch):
    names = ("precision_recall", "threshold", "confusion", "roc", "reliability", "stress")
    monkeypatch.setattr(
        "pneumoscan.evaluate.report._write_graphs", lambda *_: dict.fromkeys(names, b"<svg/>")
    )


@pytest.fixture
def evaluated(outcome, views, patients, draw_film):
    y_true, y_prob = outcome
    return EvaluatedSplit(
        model="tiny",
        split="test",
        y_true=y_true,
        y_prob=y_prob,
        paths=tuple(f"<film {index}>.jpeg" for index in range(90)),
        patient_ids=tuple(patients),
        threshold=0.45,
        threshold_source="by hand",
        views=views,
        thumbnail=lambda index: draw_film(np.random.default_rng(index), (64, 80)),
        n_bootstrap=20,
    )


@pytest.mark.usefixtures("quick_graphs")
def test_the_table_is_written_and_told(evaluated, tmp_path):
    metrics = write_evaluation(tmp_path, evaluated)
    table = metrics.stress
    with (tmp_path / "stress.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["perturbation", "n", *FIGURES]
    assert [row[0] for row in rows] == ["plain", *NAMES]
    assert [float(row[2]) for row in rows] == [row.roc_auc for row in (table.plain, *table.rows)]
    values = json.loads((tmp_path / "metrics.json").read_text())
    assert values["stress"] == json.loads(json.dumps(table.to_json()))
    assert values["stress"]["plain"]["roc_auc"] == values["roc_auc"] == metrics.roc_auc
    page = (tmp_path / "report.html").read_text()
    assert "Stress test: the same films in altered views" in page
    assert page.count("<figcaption>gamma 0.6<br>") == 1
    strip = page.split('<div class="views">')[1].split("</div>")[0]
    assert strip.count("data:image/jpeg") == 11
    assert f"<b>{table.worst('roc_auc').value:.3f}</b>" in page


@pytest.mark.usefixtures("quick_graphs")
def test_without_views_there_is_nothing_of_it(evaluated, tmp_path):
    write_evaluation(tmp_path, evaluated)
    (tmp_path / "stress.svg").write_text("old")
    (tmp_path / "stress.png").write_text("old")
    metrics = write_evaluation(tmp_path, replace(evaluated, views={}))
    assert metrics.stress is None
    assert "stress" not in json.loads((tmp_path / "metrics.json").read_text())
    assert not list(tmp_path.glob("stress*"))
    assert "altered views" not in (tmp_path / "report.html").read_text()


def test_the_graph_is_written(evaluated, tmp_path):
    write_evaluation(tmp_path, evaluated)
    assert (tmp_path / "stress.svg").read_bytes().startswith(b"<?xml")
    assert (tmp_path / "stress.png").stat().st_size > 10_000


@pytest.mark.usefixtures("quick_graphs")
def test_a_film_that_is_gone_leaves_its_strip_out(evaluated, tmp_path):
    def gone(index):
        raise FilmDamagedError("gone")

    for thumbnail in (gone, None):
        write_evaluation(tmp_path, replace(evaluated, thumbnail=thumbnail))
        page = (tmp_path / "report.html").read_text()
        assert "Stress test: the same films in altered views" in page
        assert 'class="views"' not in page


def test_the_film_shown_is_called_rightly_and_changes_most(evaluated):
    y_true, y_prob = np.array([1, 1, 0]), np.array([0.2, 0.8, 0.1])
    views = {"flipped": np.array([0.9, 0.3, 0.1]), "blurred": np.array([0.9, 0.7, 0.2])}
    small = replace(
        evaluated, y_true=y_true, y_prob=y_prob, views=views, paths=("x",) * 3, patient_ids=("p",) * 3
    )
    assert example(small) == (1, 1)


def test_names_for_people():
    assert [readable_name(name) for name in ("gamma_0_6", "crop_85", "border_masked")] == [
        "gamma 0.6",
        "crop 85",
        "border masked",
    ]


def test_the_documents_tell_every_view_and_key(outcome, views):
    text = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    told = text.split("## Stress test")[1].split("\n## ")[0]
    for view in PERTURBATIONS:
        assert f"| `{view.name}` |" in told
    values = StressTable.from_predictions(*outcome, views, threshold=0.5, n_bootstrap=0).to_json()
    for key in (*values, *values["plain"]):
        assert f"`{key}`" in told, key
