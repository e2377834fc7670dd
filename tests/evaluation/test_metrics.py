"""Every figure beside an independent computation, then by hand at the edge."""

import json
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn import metrics as reference

from pneumoscan.errors import NothingUsableError, UsageError
from pneumoscan.evaluate.intervals import rate_intervals
from pneumoscan.evaluate.metrics import Metrics, evaluate_predictions
from pneumoscan.evaluate.thresholds import (
    THRESHOLDS,
    ThresholdRow,
    best_f1,
    choose_thresholds,
    confusion,
    threshold_table,
)

DESIGNED_KEYS = {
    "schema_version", "split", "n", "n_positive", "threshold", "threshold_source", "accuracy", "accuracy_ci95",
    "roc_auc", "roc_auc_ci95", "average_precision", "sensitivity", "specificity", "precision", "f1", "brier_score",
    "expected_calibration_error", "best_f1",
}  # fmt: skip


def judge(y_true, y_prob, **changes) -> Metrics:
    settings = {
        "patient_ids": None,
        "threshold": 0.5,
        "threshold_source": "fixed",
        "split": "test",
        "n_bootstrap": 50,
    }
    return evaluate_predictions(y_true, y_prob, **{**settings, **changes})


def test_the_thresholds_are_seventeen_exact_decimals():
    assert tuple(percent / 100 for percent in range(10, 91, 5)) == THRESHOLDS


@pytest.mark.parametrize("steps", [0, 20])
def test_table_agrees_with_counting_by_fractions(make_outcome, steps):
    y_true, y_prob = make_outcome(seed=3, steps=steps)
    for row in threshold_table(y_true, y_prob):
        pairs = [(bool(truth), prob >= row.threshold) for truth, prob in zip(y_true, y_prob, strict=True)]
        tp, fp = pairs.count((True, True)), pairs.count((False, True))
        fn, tn = pairs.count((True, False)), pairs.count((False, False))
        assert row.precision == pytest.approx(float(Fraction(tp, tp + fp)), abs=1e-12)
        assert row.recall == pytest.approx(float(Fraction(tp, tp + fn)), abs=1e-12)
        assert row.f1 == pytest.approx(float(Fraction(2 * tp, 2 * tp + fp + fn)), abs=1e-12)
        assert row.accuracy == pytest.approx(float(Fraction(tp + tn, len(pairs))), abs=1e-12)


def test_a_probability_equal_to_the_threshold_is_called_pneumonia():
    assert confusion([1, 0], [0.3, 0.3], 0.3).tp == 1
    assert confusion([1, 0], [0.3, 0.3], np.nextafter(0.3, 1)).fn == 1
    (row,) = [row for row in threshold_table([1, 0], [0.3, 0.1]) if row.threshold == 0.3]
    assert row == ThresholdRow(0.3, 1.0, 1.0, 1.0, 1.0)


def test_best_f1_of_equal_rows_is_the_lowest_threshold():
    rows = [ThresholdRow(t, 0.5, 0.5, f1, 0.5) for t, f1 in ((0.1, 0.6), (0.2, 0.8), (0.3, 0.8))]
    assert best_f1(rows).threshold == 0.2
    with pytest.raises(UsageError):
        best_f1([])


def test_metrics_agree_with_scikit_learn_and_formulas(make_outcome):
    y_true, y_prob = make_outcome(seed=5)
    found = judge(y_true, y_prob, threshold=0.37)
    called = (y_prob >= 0.37).astype(int)
    tn, fp, fn, tp = reference.confusion_matrix(y_true, called).ravel().tolist()
    table = found.confusion
    assert (table.tn, table.fp, table.fn, table.tp) == (tn, fp, fn, tp)
    positives, negatives = y_prob[y_true == 1], y_prob[y_true == 0]
    pairs = (positives[:, None] > negatives).mean() + (positives[:, None] == negatives).mean() / 2
    expected = {
        "accuracy": (tp + tn) / y_true.size,
        "sensitivity": tp / (tp + fn),
        "specificity": tn / (tn + fp),
        "precision": tp / (tp + fp),
        "npv": tn / (tn + fn),
        "f1": 2 * tp / (2 * tp + fp + fn),
        "balanced_accuracy": reference.balanced_accuracy_score(y_true, called),
        "roc_auc": pairs,
        "average_precision": brute_average_precision(y_true, y_prob),
        "brier_score": np.mean((y_prob - y_true) ** 2),
        "prevalence": y_true.mean(),
    }
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-12), name


def brute_average_precision(y_true, y_prob) -> float:
    area, before = 0.0, 0.0
    for threshold in sorted(set(y_prob.tolist()), reverse=True):
        called = y_prob >= threshold
        recall = (called & (y_true == 1)).sum() / y_true.sum()
        area += (recall - before) * (called & (y_true == 1)).sum() / called.sum()
        before = recall
    return area


def test_json_has_every_designed_key_and_no_nan(make_outcome):
    y_true, y_prob = make_outcome()
    values = json.loads(
        json.dumps(judge(y_true, y_prob, patient_ids=["a"] * 200 + ["b"] * 200).to_json(), allow_nan=False)
    )
    assert set(values) >= DESIGNED_KEYS
    assert set(values["best_f1"]) == {"threshold", "f1", "precision", "recall"}
    assert set(values["confusion"]) == {"tn", "fp", "fn", "tp"}
    assert values["n_patients"] == 2
    assert values["bootstrap"]["seed"] == 0


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_gives_null_and_a_warning_not_a_crash(label):
    found = judge([label] * 4, [0.1, 0.4, 0.6, 0.9])
    assert found.roc_auc is None
    assert found.roc_auc_ci95 is None
    assert (found.sensitivity is None, found.specificity is None) == (label == 0, label == 1)
    assert found.balanced_accuracy is None
    assert any("no ROC curve" in text for text in found.warnings)
    json.dumps(found.to_json(), allow_nan=False)


def test_nothing_called_gives_precision_zero_and_says_so():
    found = judge([0, 1, 1], [0.1, 0.2, 0.3])
    assert (found.precision, found.f1, found.sensitivity, found.precision_ci95) == (0.0, 0.0, 0.0, None)
    assert found.zero_division == 0.0
    assert any("No film reaches" in text for text in found.warnings)


def test_one_film():
    found = judge([1], [0.8])
    assert (found.n, found.accuracy, found.average_precision) == (1, 1.0, 1.0)
    assert found.accuracy_ci95[0] == pytest.approx(0.2065, abs=1e-4)


@pytest.mark.parametrize(
    ("y_true", "y_prob", "error"),
    [
        ([0, 1], [0.1], UsageError),
        ([0, 1], [0.1, float("nan")], UsageError),
        ([0, 1], [0.1, 1.0001], UsageError),
        ([0, 1], [-1e-9, 0.5], UsageError),
        ([0, 2], [0.1, 0.5], UsageError),
        (["0", "1"], [0.1, 0.5], UsageError),
        ([0, 1], ["a", "b"], UsageError),
        ([[0, 1]], [[0.1, 0.2]], UsageError),
        ([], [], NothingUsableError),
    ],
)
def test_bad_arrays_are_refused_with_typed_errors(y_true, y_prob, error):
    with pytest.raises(error):
        judge(y_true, y_prob)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_bad_thresholds_are_refused(threshold):
    with pytest.raises(UsageError, match="threshold"):
        judge([0, 1], [0.1, 0.9], threshold=threshold)


def test_patients_must_be_one_a_film():
    with pytest.raises(UsageError, match="patient_ids"):
        judge([0, 1], [0.1, 0.9], patient_ids=["a"])


@pytest.mark.parametrize("steps", [0, 10, 3])
@pytest.mark.parametrize("seed", range(5))
def test_operating_points_are_the_best_by_brute_force(make_outcome, seed, steps):
    y_true, y_prob = make_outcome(150, seed=seed, steps=steps)
    points = choose_thresholds(y_true, y_prob)
    candidates = np.r_[np.unique(y_prob), 1.0]
    gains = [youden(y_true, y_prob, threshold) for threshold in candidates]
    assert points["balanced"].threshold == pytest.approx(undecided(y_true, y_prob), abs=0.02)
    assert youden(y_true, y_prob, points["balanced"].threshold) > max(gains) - 0.12
    reached = [t for t in candidates if (y_prob[y_true == 1] >= t).mean() >= 0.98]
    assert points["sensitivity_98"].threshold == max(reached)
    assert points["sensitivity_98"].recall >= 0.98
    best = max(row.f1 for row in threshold_table(y_true, y_prob))
    assert points["best_f1"].f1 == pytest.approx(best)
    assert points["best_f1"].threshold in THRESHOLDS


def youden(y_true, y_prob, threshold) -> float:
    called = y_prob >= threshold
    return float(called[y_true == 1].mean() + (~called)[y_true == 0].mean())


def undecided(y_true, y_prob) -> float:
    """Where a logistic regression on log-odds, both classes weighted alike, is undecided, by minimising its loss."""
    odds = logit(np.clip(y_prob, 1e-3, 1 - 1e-3))
    weight = np.where(y_true == 1, 1 / y_true.sum(), 1 / (1 - y_true).sum())
    sign = 2 * y_true - 1
    found = minimize(lambda w: (weight * np.logaddexp(0, -sign * (w[0] * odds + w[1]))).sum(), [1.0, 0.0])
    return float(expit(-found.x[1] / found.x[0]))


def test_a_few_films_do_not_move_the_balanced_threshold():
    rng = np.random.default_rng(0)
    y_true = np.repeat([0, 1], [200, 600])
    y_prob = expit(np.r_[rng.standard_t(3, 200) - 3, 1.5 * rng.standard_t(3, 600) + 3])
    draws = [rng.integers(0, 800, 800) for _ in range(30)]
    balanced = [choose_thresholds(y_true[rows], y_prob[rows])["balanced"].threshold for rows in draws]
    highest = [
        max(np.unique(y_prob), key=lambda t, rows=rows: youden(y_true[rows], y_prob[rows], t))
        for rows in draws
    ]
    assert np.std(logit(balanced)) < 0.5 * np.std(logit(highest))


@pytest.mark.parametrize(
    "y_prob", [[0.5] * 4, [0.9, 0.8, 0.2, 0.1], [0.0, 0.0, 1.0, 1.0], [0.0, 1e-9, 1e-9, 1e-8]]
)
def test_there_is_a_balanced_threshold_whatever_the_model_says(y_prob):
    assert 0 <= choose_thresholds([0, 0, 1, 1], y_prob)["balanced"].threshold <= 1


def test_balanced_parts_classes_that_lie_apart():
    points = choose_thresholds([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9])
    assert 0.3 < points["balanced"].threshold < 0.5
    assert (points["balanced"].recall, points["balanced"].specificity) == (1.0, 1.0)
    assert points["balanced"].to_json()["n_positive"] == 2
    assert "4 held-out training films" in points["balanced"].source


def test_operating_points_carry_intervals_by_patient(make_outcome):
    y_true, y_prob = make_outcome(300)
    owners = [f"person{i // 2}" for i in range(300)]
    plain, points = choose_thresholds(y_true, y_prob), choose_thresholds(y_true, y_prob, patient_ids=owners)
    for name, point in points.items():
        expected = rate_intervals(y_true, y_prob, threshold=point.threshold, patient_ids=owners)
        assert (point.recall_ci95, point.specificity_ci95) == expected
        assert expected[0][0] <= point.recall <= expected[0][1]
        assert expected[1][0] <= point.specificity <= expected[1][1]
        none = {"recall_ci95": None, "specificity_ci95": None}
        assert point.to_json() | none == plain[name].to_json()
        assert json.loads(json.dumps(point.to_json())) == point.to_json()
    assert points == choose_thresholds(y_true, y_prob, patient_ids=owners)


def test_operating_points_need_a_patient_for_every_film():
    with pytest.raises(UsageError, match="patient_ids"):
        choose_thresholds([0, 1], [0.1, 0.9], patient_ids=["a"])


def test_best_f1_is_the_middle_of_equals():
    assert choose_thresholds([0, 1], [0.12, 0.58])["best_f1"].threshold == 0.35


def test_sensitivity_98_may_miss_one_in_fifty():
    y_true = np.r_[np.ones(50, int), 0]
    y_prob = np.r_[0.01, np.linspace(0.5, 0.9, 49), 0.2]
    assert choose_thresholds(y_true, y_prob)["sensitivity_98"].threshold == 0.5
    assert choose_thresholds(y_true[1:], y_prob[1:])["sensitivity_98"].threshold == 0.5
    assert choose_thresholds(np.r_[y_true[1:], 1], np.r_[y_prob[1:], 0.3])["sensitivity_98"].threshold == 0.5


def test_thresholds_need_both_classes():
    with pytest.raises(UsageError, match="both classes"):
        choose_thresholds([1, 1], [0.2, 0.3])
