"""Differences to the baseline: what makes them wide, and when a verdict is given."""

import numpy as np
import pytest

from pneumoscan.evaluate.intervals import patient_weights, weighted_roc_auc
from pneumoscan.study.differences import StudyComparison, figures_of
from pneumoscan.study.evaluation import RESAMPLES
from pneumoscan.study.trial_records import TrialRecord

N = 200
Y_TRUE = np.arange(N) % 2
PATIENTS = tuple(f"person{index // 2}" for index in range(N))


def record(key: str, seed: int, *, skill: float, noise: int = 0) -> TrialRecord:
    """A trial whose logits follow the labels with `skill`; trials of one `noise` err on the same films."""
    rng = np.random.default_rng(noise)
    logits = (skill * (2 * Y_TRUE - 1) + rng.normal(size=N)).astype(np.float32)
    weights = patient_weights(PATIENTS, n_resamples=RESAMPLES)
    area = weighted_roc_auc(Y_TRUE, logits.astype(np.float64), np.ones((1, N)))[0]
    return TrialRecord(
        key,
        seed,
        "done",
        figures={
            "roc_auc": area,
            "accuracy": float(((logits >= 0) == (Y_TRUE == 1)).mean()),
            "stress": {"mean": {"roc_auc": area}},
        },
        logits=logits,
        stress_draws=weighted_roc_auc(Y_TRUE, logits.astype(np.float64), weights),
    )


def compare(*records: TrialRecord) -> StudyComparison:
    return StudyComparison.of(records, Y_TRUE, PATIENTS)


def test_the_same_answers_have_no_difference() -> None:
    found = compare(record("a", 0, skill=1.0), record("b", 0, skill=1.0)).difference("b", "a", "roc_auc")
    assert found is not None
    assert (found.value, found.ci95, found.verdict) == (0, (0, 0), "no detectable difference")
    assert not found.seeds_known


def test_what_both_trials_share_cancels_out() -> None:
    base = record("a", 0, skill=1.0)
    paired = compare(base, record("b", 0, skill=1.3)).difference("b", "a", "roc_auc")
    apart = compare(base, record("b", 0, skill=1.3, noise=1)).difference("b", "a", "roc_auc")
    assert paired is not None
    assert apart is not None
    assert paired.verdict == "better"
    assert paired.ci95[1] - paired.ci95[0] < 0.5 * (apart.ci95[1] - apart.ci95[0])


def test_worse_is_told_the_other_way_round() -> None:
    found = compare(record("a", 0, skill=1.5), record("b", 0, skill=0.7)).difference(
        "b", "a", "stress_roc_auc"
    )
    assert found is not None
    assert found.verdict == "worse"
    assert found.ci95[1] < 0


def test_a_wide_spread_over_seeds_takes_the_verdict_back() -> None:
    variant = record("b", 0, skill=1.3)
    steady = [record("a", seed, skill=1.0 + 0.001 * seed) for seed in range(3)]
    restless = [record("a", seed, skill=skill) for seed, skill in enumerate((0.5, 1.0, 1.6))]
    certain = compare(*steady, variant).difference("b", "a", "roc_auc")
    open_ = compare(*restless, variant).difference("b", "a", "roc_auc")
    assert certain is not None
    assert open_ is not None
    assert certain.seeds_known
    assert certain.verdict == "better"
    assert open_.verdict == "no detectable difference"


def test_the_spread_is_pooled_over_configurations() -> None:
    records = [record("a", 0, skill=1.0), *(record("c", seed, skill=0.6 + 0.4 * seed) for seed in range(3))]
    factor = compare(*records).seed_factor["roc_auc"]
    areas = np.array([each.figures["roc_auc"] for each in records[1:]])
    expected = areas.std(ddof=1) / (1 - areas.mean())
    assert factor == pytest.approx(expected)


def test_the_baseline_and_what_is_missing_have_no_difference() -> None:
    found = compare(record("a", 0, skill=1.0), TrialRecord("b", 0, "diverged", "gone"))
    assert found.difference("a", "a", "roc_auc") is None
    assert found.difference("b", "a", "roc_auc") is None
    assert found.mean("b", "roc_auc") is None


def test_resamples_draw_patients_with_all_their_films_and_always_the_same() -> None:
    weights = patient_weights(PATIENTS, n_resamples=RESAMPLES)
    assert weights.shape == (400, N)
    assert (weights[:, 0::2] == weights[:, 1::2]).all()
    assert (weights.sum(axis=1) == N).all()
    assert (weights == patient_weights(PATIENTS, n_resamples=RESAMPLES)).all()


def test_the_draws_centre_on_the_figure() -> None:
    one = record("a", 0, skill=1.0)
    for figure in figures_of(one, Y_TRUE, patient_weights(PATIENTS, n_resamples=RESAMPLES)).values():
        assert np.nanmean(figure.draws) == pytest.approx(figure.value, abs=0.01)
