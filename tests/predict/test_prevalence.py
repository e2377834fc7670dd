"""Predictive values and probabilities at another prevalence, beside counted films and drawn ones."""

import numpy as np
import pytest

from pneumoscan.errors import UsageError
from pneumoscan.predict.prevalence import (
    corrected_probability,
    learnt_prevalence,
    predictive_summary,
    predictive_values,
)

POINT = {"threshold": 0.8, "source": "by a rule, on 100 films", "recall": 0.9, "specificity": 0.8}


def test_predictive_values_are_those_of_counted_films():
    # 1,000 films, 100 ill: 90 found, 10 missed; 900 healthy: 720 passed, 180 alarms.
    values = predictive_values(0.9, 0.8, 0.1)
    assert values.ppv == pytest.approx(90 / 270)
    assert values.npv == pytest.approx(720 / 730)
    assert (values.called, values.found, values.missed) == pytest.approx((0.27, 0.09, 0.01))


def test_a_call_that_is_never_made_has_no_value():
    assert predictive_values(0.0, 1.0, 0.3).ppv is None
    assert predictive_values(1.0, 0.0, 0.3).npv is None
    assert predictive_values(1.0, 1.0, 0.3).ppv == 1


@pytest.mark.parametrize(
    ("rates", "word"),
    [
        ((1.1, 0.5, 0.5), "sensitivity"),
        ((0.5, -0.1, 0.5), "specificity"),
        ((0.5, 0.5, 0.0), "prevalence"),
        ((0.5, 0.5, 1.0), "prevalence"),
        ((0.5, 0.5, float("nan")), "prevalence"),
    ],
)
def test_impossible_rates_are_refused(rates, word):
    with pytest.raises(UsageError, match=word):
        predictive_values(*rates)


def test_the_logit_moves_by_the_difference_of_the_prior_logits():
    logit = lambda p: np.log(p / (1 - p))  # noqa: E731
    p = np.linspace(0.01, 0.99, 7).reshape(7, 1)
    moved = corrected_probability(p, 0.5, 0.1)
    assert moved.shape == p.shape
    assert logit(moved) - logit(p) == pytest.approx(np.full(p.shape, logit(0.1) - logit(0.5)))
    assert corrected_probability(moved, 0.1, 0.5) == pytest.approx(p)
    assert corrected_probability(p, 0.3, 0.3) == pytest.approx(p)
    assert corrected_probability([0.0, 1.0], 0.7, 0.01).tolist() == [0.0, 1.0]
    assert float(corrected_probability(0.5, 0.5, 0.2)) == pytest.approx(0.2)


def test_corrected_probabilities_are_calibrated_at_the_new_prevalence():
    rng = np.random.default_rng(0)

    def drawn(prevalence, n=200_000):
        ill = rng.random(n) < prevalence
        score = rng.normal(np.where(ill, 1.0, -1.0), 1.3)
        learnt_at = 0.74
        prior = np.log(learnt_at / (1 - learnt_at))
        return ill, 1 / (1 + np.exp(-(2 * score / 1.3**2 + prior)))  # Bayes' rule for two normals

    ill, probability = drawn(0.1)
    corrected = corrected_probability(probability, 0.74, 0.1)
    assert probability.mean() > 0.2
    assert corrected.mean() == pytest.approx(0.1, abs=0.003)
    for low in (0.05, 0.2, 0.5, 0.8):
        chosen = (corrected >= low) & (corrected < low + 0.15)
        assert ill[chosen].mean() == pytest.approx(corrected[chosen].mean(), abs=0.03)


@pytest.mark.parametrize(
    "arguments", [(1.2, 0.5, 0.1), ([0.5, np.nan], 0.5, 0.1), (0.5, 0, 0.1), (0.5, 0.5, 1)]
)
def test_impossible_probabilities_are_refused(arguments):
    with pytest.raises(UsageError):
        corrected_probability(*arguments)


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({"n_films": 100, "n_positive": 74, "config": {"loss": {"class_weights": "balanced"}}}, 0.5),
        ({"n_films": 100, "n_positive": 74, "config": {"loss": {"class_weights": "none"}}}, 0.74),
        ({"n_films": 100, "n_positive": 74}, 0.74),
        ({"n_films": 100}, None),
        ({"n_films": 100, "n_positive": 100}, None),
        ({"config": "told elsewhere"}, None),
    ],
)
def test_the_prevalence_that_the_loss_saw(training, expected):
    assert learnt_prevalence(training) == expected


def test_what_is_told_has_rates_values_and_films():
    rates, values, films, caution = predictive_summary("balanced", POINT, 0.1)
    assert rates == "balanced: sensitivity 0.900, specificity 0.800 (by a rule, on 100 films)"
    assert values == "prevalence 0.1: PPV 0.333, NPV 0.986"
    assert films == (
        "Of 100 films at this prevalence, 10.0 with pneumonia: 27.0 are labelled PNEUMONIA, 9.0 of them correctly; "
        "1.0 are missed."
    )
    assert "do not change" in caution


def test_intervals_of_both_rates_bound_both_values():
    point = {**POINT, "recall_ci95": [0.8, 0.95], "specificity_ci95": [0.7, 0.9]}
    rates, values, *_ = predictive_summary("balanced", point, 0.1)
    assert "sensitivity 0.900 (0.800 to 0.950), specificity 0.800 (0.700 to 0.900)" in rates
    low, high = predictive_values(0.8, 0.7, 0.1), predictive_values(0.95, 0.9, 0.1)
    assert (
        f"PPV 0.333 ({low.ppv:.3f} to {high.ppv:.3f}), NPV 0.986 ({low.npv:.3f} to {high.npv:.3f})" in values
    )
    inside = [predictive_values(a, b, 0.1) for a in (0.8, 0.95) for b in (0.7, 0.9)]
    assert all(low.ppv <= value.ppv <= high.ppv and low.npv <= value.npv <= high.npv for value in inside)


def test_rare_disease_is_told_in_more_films():
    assert (
        "Of 10,000 films at this prevalence, 10.0 with pneumonia" in predictive_summary("x", POINT, 0.001)[2]
    )


def test_an_operating_point_without_rates_says_so():
    (line,) = predictive_summary(
        "old", {"threshold": 0.5, "source": "?", "recall": 0.9, "specificity": None}, 0.2
    )
    assert "does not contain the sensitivity and specificity" in line
