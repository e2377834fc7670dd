"""What is answered, and the figures of each site, against counting by hand."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_bundle
from sklearn.metrics import roc_auc_score

from pneumoscan.bundle.spec import BundleSpec
from pneumoscan.classifier import shown_to_work
from pneumoscan.errors import BundleError, UsageError
from pneumoscan.evaluate.displays import RiskCoverageDisplay, SiteDisplay
from pneumoscan.evaluate.films import Answers, risk_coverage
from pneumoscan.evaluate.intervals import wilson
from pneumoscan.evaluate.sites import SiteTable, read_left_out


@pytest.fixture
def films():
    """Sixty films of two sites, two of each patient; site b is harder."""
    rng = np.random.default_rng(0)
    y_true = np.arange(120) % 2
    sites = np.where(np.arange(120) < 60, "a", "b")
    noise = np.where(sites == "a", 1.0, 3.0)
    y_prob = 1 / (1 + np.exp(-(y_true - 0.5) * 2 + rng.normal(0, 1, 120) * noise))
    patients = [f"p{number // 2}" for number in range(120)]
    return y_true, y_prob, tuple(sites.tolist()), patients


def test_answers_are_counted():
    y_true = [1, 1, 0, 0, 1]
    labels = ["PNEUMONIA", "NORMAL", "PNEUMONIA", "UNSURE", "NOT_A_CHEST_FILM"]
    found = Answers.from_labels(y_true, labels, [False, True, False, True, True])
    assert (found.answered.count, found.answered.of) == (3, 5)
    assert found.not_answered.count == 2
    assert (found.accuracy_answered.count, found.accuracy_answered.of) == (1, 3)
    assert found.warned.share == pytest.approx(0.6)
    # The film missed has a warning, the false alarm has none.
    assert (found.confident_and_wrong.count, found.confident_and_wrong.of) == (1, 5)
    assert found.confident_and_wrong.ci95 == wilson(1, 5)


def test_where_nothing_is_answered_there_is_no_accuracy():
    found = Answers.from_labels([1, 0], ["UNSURE", "UNSURE"], [True, True])
    assert found.accuracy_answered.share is None
    assert found.accuracy_answered.ci95 is None


def test_the_surest_films_are_answered_first():
    coverage, error = risk_coverage([1, 0, 1, 0], [0.9, 0.02, 0.3, 0.6], 0.5)
    # From the surest: 0.02, 0.9, 0.3 (missed), 0.6 (false alarm).
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert error.tolist() == pytest.approx([0, 0, 1 / 3, 0.5])
    assert np.isfinite(risk_coverage([1, 0], [1.0, 0.0], 0.5)[1]).all()


def test_each_site_is_judged_by_itself(films):
    y_true, y_prob, sites, patients = films
    labels = ["PNEUMONIA" if prob >= 0.5 else "NORMAL" for prob in y_prob]
    table = SiteTable.from_predictions(
        y_true, y_prob, sites, threshold=0.5, patient_ids=patients, labels=labels, n_bootstrap=200
    )
    assert [row.site for row in table.rows] == ["a", "b"]
    for row in table.rows:
        own = np.array(sites) == row.site
        assert row.roc_auc == pytest.approx(roc_auc_score(y_true[own], y_prob[own]))
        assert row.roc_auc_ci95[0] < row.roc_auc < row.roc_auc_ci95[1]
        assert (row.n, row.n_positive, row.n_patients) == (60, 30, 30)
        assert row.sensitivity == pytest.approx((y_prob[own & (y_true == 1)] >= 0.5).mean())
        assert row.answers.answered.share == 1
        assert row.answers.accuracy_answered.share == pytest.approx(row.accuracy)
    [difference] = table.differences
    assert (difference.site, difference.other) == ("a", "b")
    assert difference.roc_auc == pytest.approx(table.rows[0].roc_auc - table.rows[1].roc_auc)
    assert 0 < difference.ci95[0] < difference.roc_auc < difference.ci95[1]
    told = table.to_json()
    assert list(told["sites"]) == ["a", "b"]
    assert told["site_differences"][0]["roc_auc"] == difference.roc_auc


def test_a_site_of_one_label_has_no_area(films):
    y_true, y_prob, sites, patients = films
    y_true = np.where(np.array(sites) == "b", 1, y_true)
    table = SiteTable.from_predictions(y_true, y_prob, sites, threshold=0.5, patient_ids=patients)
    assert table.rows[1].roc_auc is None
    assert table.rows[1].specificity is None
    assert table.differences == ()
    assert table.warnings() == ("All films of the site b are labelled PNEUMONIA: it has no area under ROC.",)
    SiteDisplay.from_table(table, 0.8, None).plot()


def test_the_graphs_show_every_site_and_the_model(films):
    y_true, y_prob, sites, patients = films
    table = SiteTable.from_predictions(y_true, y_prob, sites, threshold=0.5, patient_ids=patients)
    forest = SiteDisplay.from_table(table, 0.9, (0.8, 0.95))
    assert [row[0] for row in forest.rows] == ["a", "b", "all films"]
    labels = [label if number % 3 else "UNSURE" for number, label in enumerate(["NORMAL"] * 120)]
    answers = Answers.from_labels(y_true, labels, [False] * 120)
    display = RiskCoverageDisplay.from_predictions(
        y_true, y_prob, threshold=0.5, sites=sites, answers=answers
    )
    assert [name for name, _, _ in display.lines] == ["a", "b", "all films"]
    assert display.point == pytest.approx((2 / 3, 1 - answers.accuracy_answered.share))
    texts = [text.get_text() for text in display.plot().axes[0].get_legend().get_texts()]
    assert any("answers 67%" in text for text in texts)


HOSPITALS = """films,seen,n_ill,n_healthy,roc_auc,ci95_low,ci95_high,threshold,sensitivity,specificity
far: opacity against normal,left out,1410,1886,0.9329,0.9230,0.9416,0.3667,0.9872,0.3017
"far: opacity against normal, PA",left out,295,1538,0.8734,0.8453,0.8966,0.3667,0.9458,0.3563
"far: opacity against normal, AP",left out,1115,348,0.9015,0.8811,0.9198,0.3667,0.9982,0.0603
near,held out,581,201,0.9836,0.9753,0.9908,0.3667,0.9208,0.9701
others,,76,41,0.9117,0.8596,0.9620,0.3667,1.0000,0.2439
"""


def test_what_leaving_a_hospital_out_measured_is_read_stored_and_told(tmp_path):
    table = tmp_path / "hospitals.csv"
    table.write_text(HOSPITALS)
    (row,) = read_left_out(table)
    assert row == {
        "trained_on": ["near"], "films": "far: opacity against normal", "n_positive": 1410, "n_negative": 1886,
        "roc_auc": 0.9329, "roc_auc_ci95": [0.923, 0.9416], "sensitivity": 0.9872, "specificity": 0.3017,
    }  # fmt: skip
    spec = replace(tiny_bundle.make_spec(), left_out=[row], training={"sites": {"near": 10, "far": 20}})
    assert BundleSpec.from_json(spec.to_json()).left_out == [row]
    told = shown_to_work(spec)
    for part in ("two hospitals (near, far)", "0.93 (0.92 to 0.94)", "0.99", "0.30", "near alone", "adapt"):
        assert part in told
    for wrong in ({**row, "roc_auc": 2}, {**row, "n_positive": 0}, {**row, "trained_on": "near"}, "no row"):
        with pytest.raises(BundleError, match="left_out"):
            replace(spec, left_out=[wrong])


@pytest.mark.parametrize(
    "text", ["", "films,seen\nnear,held out\n", HOSPITALS.replace("left out", "held out"), "\0"]
)
def test_a_table_that_leaves_no_hospital_out_is_refused(tmp_path, text):
    table = tmp_path / "hospitals.csv"
    table.write_text(text)
    with pytest.raises(UsageError, match=r"hospitals\.csv"):
        read_left_out(table)
