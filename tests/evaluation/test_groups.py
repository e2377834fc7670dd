"""The figures of groups of films by any column of their table, against counting by hand."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pneumoscan.data.layouts import load_manifest
from pneumoscan.errors import UsageError
from pneumoscan.evaluate.films import EvaluatedSplit
from pneumoscan.evaluate.intervals import wilson
from pneumoscan.evaluate.report import write_evaluation
from pneumoscan.evaluate.sites import SiteTable, columns_of, named_groups, tables_of


@pytest.fixture
def quick_graphs(monkeypatch):
    names = ("precision_recall", "threshold", "confusion", "roc", "reliability", "groups")
    monkeypatch.setattr(
        "pneumoscan.evaluate.report._write_graphs", lambda *_: dict.fromkeys(names, b"<svg/>")
    )


@pytest.fixture
def evaluated(make_outcome):
    y_true, y_prob = make_outcome(120, gap=0.8)
    views = tuple(["PA", "AP", ""][number % 3] for number in range(120))
    ages = tuple("" if number % 10 == 9 else str(number) for number in range(120))
    return EvaluatedSplit(
        model="tiny",
        split="test",
        y_true=y_true,
        y_prob=y_prob,
        paths=tuple(f"film{number}" for number in range(120)),
        patient_ids=tuple(f"p{number // 2}" for number in range(120)),
        threshold=0.5,
        threshold_source="by hand",
        columns={"view": views, "age": ages, "label": ("x",) * 120},
        by=("view", "age:18,65"),
        n_bootstrap=60,
    )


def test_each_group_has_its_own_figures_and_unknown_values_are_a_group(evaluated):
    _, (views, ages) = tables_of(evaluated)
    assert [row.site for row in views.table.rows] == ["AP", "PA", "(not told)"]
    assert [row.site for row in ages.table.rows] == [
        "below 18",
        "18 to below 65",
        "65 and above",
        "(not told)",
    ]
    assert sum(row.n for row in ages.table.rows) == 120
    for row in views.table.rows:
        own = np.array([value or "(not told)" for value in evaluated.columns["view"]]) == row.site
        truth, prob = evaluated.y_true[own], evaluated.y_prob[own]
        assert row.roc_auc == pytest.approx(roc_auc_score(truth, prob))
        assert row.roc_auc_ci95[0] <= row.roc_auc <= row.roc_auc_ci95[1]
        found = int(((prob >= 0.5) & (truth == 1)).sum())
        assert row.sensitivity_ci95 == wilson(found, int(truth.sum()))
    below = ages.table.rows[0]
    assert below.n == sum(bool(age) and float(age) < 18 for age in evaluated.columns["age"])
    assert ages.smallest.site == "(not told)"


def test_groups_that_share_patients_are_resampled_together():
    # Both films of a patient have the same score and label, so the two groups have the same area in each resample.
    rng = np.random.default_rng(1)
    truth, prob = rng.integers(0, 2, 40), rng.random(40)
    y_true, y_prob = np.repeat(truth, 2), np.repeat(prob, 2)
    patients = [f"p{number // 2}" for number in range(80)]
    shared = SiteTable.from_predictions(
        y_true, y_prob, ["a", "b"] * 40, threshold=0.5, patient_ids=patients, n_bootstrap=100
    )
    assert shared.differences[0].roc_auc == 0
    assert shared.differences[0].ci95 == (0, 0)
    apart = SiteTable.from_predictions(
        y_true,
        y_prob,
        ["a", "b"] * 40,
        threshold=0.5,
        patient_ids=[str(n) for n in range(80)],
        n_bootstrap=100,
    )
    assert apart.differences[0].ci95[0] < -0.05


@pytest.mark.usefixtures("quick_graphs")
def test_the_folder_names_the_smallest_group_and_passes_the_columns_on(evaluated, tmp_path):
    metrics = write_evaluation(tmp_path, evaluated)
    told = json.loads((tmp_path / "metrics.json").read_text())["groups"]
    assert list(told) == ["view", "age:18,65"]
    assert told["age:18,65"]["smallest"] == "(not told)"
    assert told["view"]["groups"]["PA"]["n"] == 40
    assert {"group", "other", "roc_auc", "ci95"} == set(told["view"]["differences"][0])
    with (tmp_path / "groups.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["group"] for row in rows if row["smallest"] == "True"] == [
        metrics.groups[0].smallest.site,
        "(not told)",
    ]
    assert float(rows[0]["sensitivity_low"]) == metrics.groups[0].table.rows[0].sensitivity_ci95[0]
    with (tmp_path / "predictions.csv").open(newline="") as file:
        films = list(csv.DictReader(file))
    assert [film["view"] for film in films] == list(evaluated.columns["view"])
    # A column of the table that has the name of ours keeps both.
    assert (films[0]["label"], films[0]["table_label"]) == ("", "x")
    assert "18 to below 65" in (tmp_path / "report.html").read_text()
    write_evaluation(tmp_path, replace(evaluated, by=()))
    assert not (tmp_path / "groups.csv").exists()


def test_the_graph_shows_every_group(evaluated, tmp_path):
    write_evaluation(tmp_path, evaluated)
    assert {"groups.svg", "groups.png"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("ward", ["no column 'ward'", "view, age"]),
        ("ward:1,2", ["no column 'ward'"]),
        ("age:", ["rising numbers"]),
        ("age:65,18", ["rising numbers"]),
        ("age:18,18", ["rising numbers"]),
        ("age:18,nan", ["rising numbers"]),
        ("view:18", ["no numbers", "'PA'"]),
        ("age", ["108 values", "age:18,65"]),
    ],
)
def test_what_cannot_be_grouped_is_told(evaluated, by, names):
    with pytest.raises(UsageError) as problem:
        named_groups(by, evaluated.columns)
    for name in names:
        assert name in str(problem.value)


def test_names_are_read_in_any_case_and_numbers_with_a_comma():
    columns = {"dose: mGy": ("0,5", "2.5", "much", ""), "Ward": ("b", "a", "", "10")}
    assert named_groups("WARD", columns) == ("Ward", ["b", "a", "", "10"], ["10", "a", "b"])
    assert named_groups("dose: mgy:1", columns)[1] == ["below 1", "1 and above", "", ""]


def test_every_column_of_a_table_is_kept(tmp_path):
    (tmp_path / "films.csv").write_text(
        "path,label,view,age,sex,ward,device\na.png,0,PA,070Y,f,3,\nb.png,1,lateral,,,,x\n", encoding="utf-8"
    )
    columns = columns_of(load_manifest(tmp_path / "films.csv").films)
    assert columns == {
        "view": ("PA", ""),
        "age": ("70", ""),
        "sex": ("F", ""),
        "ward": ("3", ""),
        "device": ("", "x"),
    }
