"""The operating curve says what counting says, at thresholds that keep the films they were chosen by."""

import numpy as np
import pytest

from pneumoscan.errors import UsageError
from pneumoscan.evaluate.arrays import check_outcome
from pneumoscan.evaluate.intervals import curve_intervals, rate_intervals
from pneumoscan.evaluate.thresholds import ONE_IN, choose_thresholds, curve_thresholds, operating_curve


def test_every_point_says_what_counting_says(make_outcome):
    y_true, y_prob = make_outcome(900)
    points = operating_curve(y_true, y_prob, patient_ids=None, named=[0.123456789])
    cuts = [point.threshold for point in points]
    assert cuts == sorted(set(cuts))
    assert 100 < len(cuts) < 250
    assert (cuts[0], cuts[-1]) == (0.0, 1.0)
    assert 0.123456789 in cuts
    for point in points:
        called = y_prob >= point.threshold
        assert point.recall == called[y_true == 1].mean()
        assert point.specificity == (~called)[y_true == 0].mean()
        assert point.recall_ci95 is None


@pytest.mark.parametrize("steps", [0, 20])
def test_the_best_threshold_for_each_round_share_of_missed_films_is_there(make_outcome, steps):
    y_true, y_prob = make_outcome(3000, gap=2.0, steps=steps)
    points = operating_curve(y_true, y_prob, patient_ids=None)
    for share in ONE_IN:
        films = np.sort(y_prob[y_true == 1])
        best = films[int(films.size / share)]
        found = max(point.threshold for point in points if point.recall >= 1 - 1 / share)
        assert best - 1e-5 < found <= best
        healthy = np.sort(y_prob[y_true == 0])
        allowed = min(point.threshold for point in points if point.specificity >= 1 - 1 / share)
        above = np.nextafter(healthy[::-1][int(healthy.size / share)], 1)
        assert above <= allowed <= above + 1e-4


def test_its_points_are_the_operating_points_with_their_intervals(make_outcome):
    y_true, y_prob = make_outcome(600)
    patients = np.arange(600) // 3
    chosen = choose_thresholds(y_true, y_prob, patient_ids=patients)
    named = [point.threshold for point in chosen.values()]
    points = operating_curve(y_true, y_prob, patient_ids=patients, named=named)
    by_threshold = {point.threshold: point for point in points}
    for point in chosen.values():
        found = by_threshold[point.threshold]
        for name in ("recall", "specificity", "recall_ci95", "specificity_ci95"):
            assert getattr(found, name) == getattr(point, name)


def test_many_thresholds_have_the_intervals_of_each(make_outcome):
    y_true, y_prob = make_outcome(200)
    patients, cuts = np.arange(200) // 2, [0.0, 0.2, 0.5, 1.0]
    together = curve_intervals(y_true, y_prob, thresholds=cuts, patient_ids=patients, n_resamples=200)
    alone = [
        rate_intervals(y_true, y_prob, threshold=cut, patient_ids=patients, n_resamples=200) for cut in cuts
    ]
    assert together == alone
    assert together[0][0][1] == 1.0


@pytest.mark.parametrize(
    "y_prob",
    [
        [0.0, 0.0, 1.0, 1.0],
        [0.5] * 4,
        [1.0, 1.0, 0.0, 0.0],
        [1e-300, 0.2, 0.2, 1 - 1e-16],
        [0.0, 1.0, 1.0, 0.0],
    ],
)
def test_extreme_films_have_a_curve(y_prob):
    points = operating_curve([0, 0, 1, 1], y_prob, patient_ids=[1, 2, 3, 4])
    assert all(0 <= point.threshold <= 1 for point in points)
    assert points[0].recall == 1.0
    recalls = [point.recall for point in points]
    assert recalls == sorted(recalls, reverse=True)


def test_thresholds_of_a_few_films_are_few_and_rounded(make_outcome):
    cuts = curve_thresholds(check_outcome(*make_outcome(10)))
    assert len(cuts) < 100
    assert all(float(f"{cut:.6g}") == cut for cut in cuts)


def test_one_class_has_no_curve():
    with pytest.raises(UsageError, match="both classes"):
        operating_curve([1, 1], [0.2, 0.9], patient_ids=None)
