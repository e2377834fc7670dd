"""Calibration beside scikit-learn's curve and its logistic regression, and by hand."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from pneumoscan.errors import UsageError
from pneumoscan.evaluate.calibration import fit_temperature, reliability


def test_reliability_is_scikit_learns_curve(make_outcome):
    y_true, y_prob = make_outcome(500)
    found = reliability(y_true, y_prob, 15)
    rate, mean = calibration_curve(y_true, y_prob, n_bins=15, strategy="uniform")
    full = found.count > 0
    assert found.positive_rate[full] == pytest.approx(rate)
    assert found.mean_probability[full] == pytest.approx(mean)
    assert found.count.sum() == 500


def test_calibration_error_by_hand():
    found = reliability([1, 0, 1, 1], [0.1, 0.2, 0.9, 0.9], 2)
    assert found.count.tolist() == [2, 2]
    assert found.expected_calibration_error == pytest.approx(0.5 * abs(0.15 - 0.5) + 0.5 * abs(0.9 - 1.0))
    assert found.maximum_calibration_error == pytest.approx(0.35)


def test_edges_belong_to_the_bin_above_and_one_to_the_last():
    assert reliability([0, 0, 1, 1], [0.0, 0.5, 0.5, 1.0], 2).count.tolist() == [1, 3]


def test_empty_bins_are_nan_and_count_for_nothing():
    found = reliability([1, 1], [1.0, 1.0])
    assert np.isnan(found.mean_probability[:-1]).all()
    assert found.expected_calibration_error == 0


def test_bins_of_equal_mass_hold_equally_many(make_outcome):
    y_true, y_prob = make_outcome(300)
    found = reliability(y_true, y_prob, 10, equal_mass=True)
    assert found.count.min() >= 29
    assert found.count.max() <= 31
    assert reliability([0, 1, 1], [0.5, 0.5, 0.5], 10, equal_mass=True).count.sum() == 3


def test_bins_below_one_are_refused():
    with pytest.raises(UsageError, match="bins"):
        reliability([0, 1], [0.1, 0.2], 0)


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_temperature_is_the_slope_of_a_logistic_regression(scale):
    rng = np.random.default_rng(0)
    true_logits = rng.normal(0, 2, 2000)
    y_true = (rng.random(2000) < 1 / (1 + np.exp(-true_logits))).astype(int)
    logits = true_logits * scale
    model = LogisticRegression(C=1e10, fit_intercept=False, tol=1e-10).fit(logits[:, None], y_true)
    assert fit_temperature(logits, y_true) == pytest.approx(1 / model.coef_[0, 0], rel=1e-4)


def test_temperature_stays_in_its_range():
    assert fit_temperature([-3.0, 3.0], [0, 1]) == 0.05
    assert fit_temperature([-3.0, 3.0], [1, 0]) == 20.0
    assert fit_temperature([0.0, 0.0], [1, 0]) == 1.0
    assert 0.05 <= fit_temperature([-1e6, 1e6, 1e6], [0, 1, 0]) <= 20


def test_temperature_takes_one_class():
    assert fit_temperature([1.0, 2.0], [1, 1]) == 0.05


@pytest.mark.parametrize("logits", [[0.1], [0.1, np.inf], [0.1, np.nan]])
def test_bad_logits_are_refused(logits):
    with pytest.raises(UsageError):
        fit_temperature(logits, [0, 1])
