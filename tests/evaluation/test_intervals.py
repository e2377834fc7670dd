"""Intervals beside other implementations: closed forms, scikit-learn with weights, scipy, and plain loops."""

import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from pneumoscan.errors import UsageError
from pneumoscan.evaluate.intervals import (
    bootstrap_by_patient,
    rate_intervals,
    weighted_average_precision,
    weighted_roc_auc,
    wilson,
)
from pneumoscan.evaluate.paired import delong_test


@pytest.mark.parametrize(("k", "n"), [(0, 10), (1, 10), (5, 10), (10, 10), (380, 390), (1, 1)])
def test_wilson_is_scipys(k, n):
    stats = pytest.importorskip("scipy.stats")
    other = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert wilson(k, n) == pytest.approx((other.low, other.high), abs=1e-12)


def test_wilson_solves_its_equation():
    z = 1.959963984540054
    for bound in wilson(37, 52):
        assert abs(bound - 37 / 52) == pytest.approx(z * np.sqrt(bound * (1 - bound) / 52))


@pytest.mark.parametrize(("k", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(k, n):
    with pytest.raises(UsageError):
        wilson(k, n)


@pytest.mark.parametrize("steps", [0, 6])
def test_weighted_figures_are_scikit_learns(make_outcome, steps):
    y_true, y_prob = make_outcome(120, steps=steps)
    weights = np.random.default_rng(1).integers(0, 4, (20, 120)).astype(float)
    auc = weighted_roc_auc(y_true, y_prob, weights)
    precision = weighted_average_precision(y_true, y_prob, weights)
    for row, one_auc, one_precision in zip(weights, auc, precision, strict=True):
        assert one_auc == pytest.approx(roc_auc_score(y_true, y_prob, sample_weight=row), abs=1e-12)
        assert one_precision == pytest.approx(
            average_precision_score(y_true, y_prob, sample_weight=row), abs=1e-12
        )


def test_weighted_auc_without_a_class_is_nan():
    assert np.isnan(weighted_roc_auc(np.array([0, 1]), np.array([0.2, 0.9]), np.array([[1.0, 0.0]])))


def test_bootstrap_agrees_with_a_plain_loop(make_outcome):
    y_true, y_prob = make_outcome(240, gap=0.6)
    owners = np.arange(240) // 3
    found = bootstrap_by_patient(
        y_true, y_prob, threshold=0.5, patient_ids=owners.astype(str), n_resamples=1500
    )
    rng = np.random.default_rng(9)
    films = [np.flatnonzero(owners == owner) for owner in range(80)]
    plain = []
    for _ in range(1500):
        chosen = np.concatenate([films[owner] for owner in rng.integers(0, 80, 80)])
        truth, called = y_true[chosen], y_prob[chosen] >= 0.5
        plain.append(
            (roc_auc_score(truth, y_prob[chosen]), (called == truth).mean(), called[truth == 1].mean())
        )
    low, high = np.quantile(plain, [0.025, 0.975], axis=0)
    for column, name in enumerate(("roc_auc", "accuracy", "sensitivity")):
        assert found.intervals[name] == pytest.approx((low[column], high[column]), abs=0.012), name
    assert found.n_patients == 80


def test_rate_intervals_agree_with_a_plain_loop(make_outcome):
    y_true, y_prob = make_outcome(240, gap=0.6)
    owners = np.arange(240) // 3
    found = rate_intervals(y_true, y_prob, threshold=0.4, patient_ids=owners.astype(str), n_resamples=1500)
    rng = np.random.default_rng(9)
    plain = []
    for _ in range(1500):
        chosen = np.concatenate([np.flatnonzero(owners == owner) for owner in rng.integers(0, 80, 80)])
        truth, called = y_true[chosen], y_prob[chosen] >= 0.4
        plain.append((called[truth == 1].mean(), (~called)[truth == 0].mean()))
    bounds = np.quantile(plain, [0.025, 0.975], axis=0)
    for column in (0, 1):
        assert found[column] == pytest.approx(bounds[:, column], abs=0.012)


def test_rate_intervals_are_those_of_the_whole_bootstrap(make_outcome):
    y_true, y_prob = make_outcome(300)
    owners = np.arange(300) // 2
    whole = bootstrap_by_patient(y_true, y_prob, threshold=0.5, patient_ids=owners)
    found = rate_intervals(y_true, y_prob, threshold=0.5, patient_ids=owners)
    assert found == (whole.intervals["sensitivity"], whole.intervals["specificity"])


def test_views_of_a_film_make_no_interval_narrower(make_outcome):
    y_true, y_prob = make_outcome(60, gap=0.5)
    owners = np.arange(60)
    plain = rate_intervals(y_true, y_prob, threshold=0.5, patient_ids=owners)
    viewed = rate_intervals(
        *(np.tile(v, 5) for v in (y_true, y_prob)), threshold=0.5, patient_ids=np.tile(owners, 5)
    )
    assert np.allclose(viewed, plain)
    loose = rate_intervals(
        *(np.tile(v, 5) for v in (y_true, y_prob)), threshold=0.5, patient_ids=np.arange(300)
    )
    assert loose[0][1] - loose[0][0] < 0.7 * (plain[0][1] - plain[0][0])


def test_a_rate_without_an_error_has_the_interval_of_its_patients():
    y_true, owners = np.repeat([1, 0], 30), np.arange(60) // 2
    sensitivity, specificity = rate_intervals(y_true, y_true * 0.9, threshold=0.5, patient_ids=owners)
    assert sensitivity == specificity == wilson(15, 15)
    assert rate_intervals(y_true, y_true * 0.4, threshold=0.5, patient_ids=owners)[0] == wilson(0, 15)


def test_a_class_of_too_few_patients_has_no_interval():
    y_true = np.r_[1, np.zeros(9, int)]
    sensitivity, specificity = rate_intervals(
        [0, 0, 0], [0.1, 0.2, 0.9], threshold=0.5, patient_ids=[1, 2, 3]
    )
    assert sensitivity is None
    assert specificity is not None
    assert rate_intervals(y_true, y_true * 0.9, threshold=0.5, patient_ids=np.arange(10))[0] == wilson(1, 1)


def test_rate_intervals_are_quick():
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    rate_intervals(
        rng.integers(0, 2, 4000), rng.random(4000), threshold=0.5, patient_ids=np.arange(4000) // 10
    )
    assert time.perf_counter() - start < 2


def test_films_that_come_in_copies_widen_the_interval_by_patient_only(make_outcome):
    y_true, y_prob = (np.repeat(values, 8) for values in make_outcome(60, gap=0.5))
    owners = np.repeat(np.arange(60), 8).astype(str)
    by_patient = bootstrap_by_patient(y_true, y_prob, threshold=0.5, patient_ids=owners, n_resamples=400)
    by_film = bootstrap_by_patient(y_true, y_prob, threshold=0.5, n_resamples=400)
    widths = [np.diff(boot.intervals["roc_auc"])[0] for boot in (by_patient, by_film)]
    assert widths[0] > 2 * widths[1]


def test_bootstrap_is_the_same_for_a_seed_and_any_chunk(make_outcome, monkeypatch):
    y_true, y_prob = make_outcome(90)
    one = bootstrap_by_patient(y_true, y_prob, threshold=0.5, n_resamples=64)
    assert one == bootstrap_by_patient(y_true, y_prob, threshold=0.5, n_resamples=64)
    assert one != bootstrap_by_patient(y_true, y_prob, threshold=0.5, n_resamples=64, seed=1)
    monkeypatch.setattr("pneumoscan.evaluate.intervals._CHUNK", 90 * 7)
    assert one == bootstrap_by_patient(y_true, y_prob, threshold=0.5, n_resamples=64)


def test_bootstrap_of_one_class_has_no_interval():
    found = bootstrap_by_patient([1, 1], [0.2, 0.8], threshold=0.5, n_resamples=20)
    assert found.n_used == 0
    assert set(found.intervals.values()) == {None}


def test_thousand_resamples_of_five_thousand_films_take_seconds(make_outcome):
    y_true, y_prob = make_outcome(5000)
    start = time.perf_counter()
    bootstrap_by_patient(y_true, y_prob, threshold=0.5, n_resamples=1000)
    assert time.perf_counter() - start < 5 * 3


def plain_delong(y_true, *scores):
    """Structural components one pair at a time, as the paper writes them."""
    ranked = []
    for score in scores:
        kernel = np.array(
            [[(p > q) + 0.5 * (p == q) for q in score[y_true == 0]] for p in score[y_true == 1]]
        )
        ranked.append((kernel.mean(), kernel.mean(axis=1), kernel.mean(axis=0)))
    s10, s01 = np.cov([one[1] for one in ranked]), np.cov([one[2] for one in ranked])
    covariance = s10 / (y_true == 1).sum() + s01 / (y_true == 0).sum()
    return [one[0] for one in ranked], covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]


@pytest.mark.parametrize("steps", [0, 8])
def test_delong_is_the_papers(make_outcome, steps):
    y_true, first = make_outcome(80, seed=1, steps=steps)
    second = np.clip(first + np.random.default_rng(2).normal(0, 0.25, 80), 0, 1)
    found = delong_test(y_true, first, second)
    areas, variance = plain_delong(y_true, first, second)
    assert (found.roc_auc_a, found.roc_auc_b) == pytest.approx(areas)
    assert found.roc_auc_a == pytest.approx(roc_auc_score(y_true, first))
    assert found.standard_error == pytest.approx(np.sqrt(variance))
    stats = pytest.importorskip("scipy.stats")
    assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(found.z)))


def test_delong_by_patient_is_not_deceived_by_copies(make_outcome):
    y_true, first = make_outcome(80, seed=1, gap=0.5)
    second = np.clip(first + np.random.default_rng(2).normal(0, 0.25, 80), 0, 1)
    once = delong_test(y_true, first, second, patient_ids=np.arange(80).astype(str))
    assert once.standard_error == pytest.approx(delong_test(y_true, first, second).standard_error)
    twice = [np.repeat(values, 2) for values in (y_true, first, second)]
    copied = delong_test(*twice, patient_ids=np.repeat(np.arange(80), 2).astype(str))
    assert copied.standard_error == pytest.approx(once.standard_error)
    assert delong_test(*twice).standard_error < 0.75 * once.standard_error


def test_delong_of_a_model_with_itself_finds_nothing(make_outcome):
    y_true, y_prob = make_outcome(50)
    found = delong_test(y_true, y_prob, 3 * y_prob - 7)
    assert (found.difference, found.z, found.p_value) == (0.0, 0.0, 1.0)


def test_delong_needs_two_patients_of_each_class():
    with pytest.raises(UsageError, match="two patients"):
        delong_test([0, 1, 1], [0.1, 0.2, 0.3], [0.3, 0.2, 0.1])
