"""Two models on the same films: tests and intervals against other implementations and by hand, and the words."""

import numpy as np
import pytest
from scipy.stats import binomtest

from pneumoscan.evaluate.comparison import verdicts
from pneumoscan.evaluate.paired import compare_predictions, differing, exchange_test


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (0, 1), (3, 9), (10, 10), (0, 12), (40, 61)])
def test_with_one_film_per_patient_it_is_mcnemars_exact_test(lost, won):
    expected = binomtest(lost, lost + won).pvalue if lost + won else 1.0
    assert exchange_test([1] * won + [-1] * lost + [0] * 5) == pytest.approx(expected)


def test_films_of_one_patient_count_together():
    # Signed sums of 3 and 1: 4, 2, -2, -4, each with probability 1/4.
    assert exchange_test([3, 1]) == pytest.approx(0.5)
    assert exchange_test([3, -1]) == pytest.approx(1.0)
    # Ten gained films of ten patients are significant, of one patient they are not.
    assert exchange_test([1] * 10) < 0.01
    assert exchange_test([10]) == 1.0


def test_figures_are_the_counts():
    y_true = [1, 1, 1, 1, 0, 0, 0, 0]
    a = [0.9, 0.8, 0.2, 0.1, 0.6, 0.1, 0.2, 0.3]
    b = [0.9, 0.2, 0.8, 0.7, 0.1, 0.2, 0.9, 0.3]
    found = compare_predictions(y_true, a, b, threshold_a=0.5, threshold_b=0.5, n_resamples=200)
    sensitivity, specificity, accuracy = found.rates
    assert (sensitivity.a, sensitivity.b, sensitivity.difference) == (0.5, 0.75, 0.25)
    assert (sensitivity.only_a, sensitivity.only_b, sensitivity.n) == (1, 2, 4)
    assert (specificity.a, specificity.b, specificity.only_a, specificity.only_b) == (0.75, 0.75, 1, 1)
    assert accuracy.difference == pytest.approx(0.125)
    moved = found.reclassified
    assert (moved.up_positive, moved.down_positive, moved.up_negative, moved.down_negative) == (2, 1, 1, 1)
    assert moved.net == pytest.approx(0.25)
    assert moved.ci95[0] < 0.25 < moved.ci95[1]
    assert found.area.roc_auc_a == pytest.approx(10 / 16)
    assert found.area.difference == pytest.approx(found.area.roc_auc_b - found.area.roc_auc_a)


def test_a_better_model_is_named_and_the_same_one_is_not(make_outcome):
    y_true, good = make_outcome(400, gap=1.5)
    _, noise = make_outcome(400, seed=9, gap=0.0)
    poor = 0.4 * good + 0.6 * noise
    found = compare_predictions(y_true, poor, good, threshold_a=0.5, threshold_b=0.5)
    assert found.area_verdict == "second_better"
    assert verdicts(found, "Old", "New")[0].startswith("New ranks the films better than Old")
    turned = compare_predictions(y_true, good, poor, threshold_a=0.5, threshold_b=0.5)
    assert turned.area_verdict == "first_better"
    assert turned.area.difference == pytest.approx(-found.area.difference)
    same = compare_predictions(y_true, good, good, threshold_a=0.5, threshold_b=0.5)
    assert same.area_verdict == "no_detectable_difference"
    assert {each.verdict for each in same.rates} == {"no_detectable_difference"}
    # Without a film on which they differ, the interval still has a width.
    assert same.rates[0].ci95[0] < 0 < same.rates[0].ci95[1]
    told = verdicts(same, "A", "B")
    assert told[-1].startswith("Over all: no detectable difference")


def test_films_of_patients_widen_the_interval(make_outcome):
    y_true, a = make_outcome(200, gap=0.6)
    _, b = make_outcome(200, seed=3, gap=0.0)
    b = 0.5 * a + 0.5 * b
    # Each film three times: of one patient each, it says no more than once.
    y_true, a, b = (np.repeat(values, 3) for values in (y_true, a, b))
    apart = compare_predictions(y_true, a, b, threshold_a=0.5, threshold_b=0.5, n_resamples=400)
    patients = [f"p{number // 3}" for number in range(600)]
    together = compare_predictions(
        y_true, a, b, threshold_a=0.5, threshold_b=0.5, patient_ids=patients, n_resamples=400
    )
    for one, other in zip(apart.rates, together.rates, strict=True):
        assert one.difference == other.difference
        assert np.diff(other.ci95) > 1.3 * np.diff(one.ci95)
        assert other.p_value >= one.p_value
    assert together.area.standard_error > 1.3 * apart.area.standard_error


def test_one_class_and_one_score_are_no_verdict():
    found = compare_predictions([1, 1, 1], [0.9, 0.2, 0.3], [0.8, 0.7, 0.1], threshold_a=0.5, threshold_b=0.5)
    assert (found.area, found.area_verdict, found.rates[1].verdict) == (None, "undetermined", "undetermined")
    assert found.reclassified.net is None
    assert "cannot be compared" in verdicts(found, "A", "B")[0]
    constant = compare_predictions(
        [1, 1, 0, 0], [0.5] * 4, [0.9, 0.8, 0.1, 0.2], threshold_a=0.5, threshold_b=0.5
    )
    assert constant.area_verdict == "undetermined"


def test_films_that_differ_are_shown_for_either_model():
    y_true = np.array([1, 1, 1, 1, 0])
    calls = [(False, True), (False, True), (False, True), (True, False), (True, True)]
    gap = np.array([0.9, 0.8, 0.7, 0.1, 0.5])
    assert differing(calls, y_true, gap, limit=2) == [0, 3]
    assert differing(calls, y_true, gap) == [0, 1, 2, 3]
