"""Two models on the same films: area under ROC (DeLong's test), rates at the threshold of each, and reclassified films.

Every difference is the second model minus the first. Films of a patient are dependent, so tests and intervals take patients as the units.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import erfc, sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import UsageError
from pneumoscan.evaluate.arrays import (
    Floats,
    Labels,
    check_finite,
    check_labels,
    check_outcome,
    check_patients,
    check_same_length,
)
from pneumoscan.evaluate.intervals import Interval, interval_of, patient_draws, wilson
from pneumoscan.evaluate.thresholds import check_threshold

ALPHA = 0.05
NONE, SECOND, FIRST, UNKNOWN = "no_detectable_difference", "second_better", "first_better", "undetermined"


@dataclass(frozen=True)
class DeLong:
    """Two models on the same films by the area under the ROC curve; `difference` is first minus second, with a normal 95% interval.

    `z` is 0 if both rank the films equally, the p-value is two-sided, and `clustered` says whether the films of a patient were one cluster.
    """

    roc_auc_a: float
    roc_auc_b: float
    difference: float
    standard_error: float
    ci95: Interval
    z: float
    p_value: float
    clustered: bool


def delong_test(
    y_true: npt.ArrayLike,
    y_score_a: npt.ArrayLike,
    y_score_b: npt.ArrayLike,
    *,
    patient_ids: Sequence[str] | npt.ArrayLike | None = None,
) -> DeLong:
    """Compare two models that scored the same films.

    E. DeLong, D. DeLong, D. Clarke-Pearson, Biometrics 44 (1988) 837–845; with `patient_ids` the variance of
    N. Obuchowski, Biometrics 53 (1997) 567–578, which treats the films of a patient as a cluster.

    Args:
        y_true: (n,) of 0 and 1, with at least two patients of each class.
        y_score_a: (n,) probabilities or logits of the first model.
        y_score_b: (n,) of the second model.
        patient_ids: (n,); without them, films count as independent.

    Raises:
        UsageError: Lengths differ, values are not finite, or a class has fewer than two patients.
    """
    truth = check_labels(y_true)
    scores = np.stack([_scores_of(truth, y_score_a, "y_score_a"), _scores_of(truth, y_score_b, "y_score_b")])
    patients = check_patients(patient_ids, truth.size)
    for label in (0, 1):
        if np.unique(patients[truth == label]).size < 2:
            raise UsageError(
                f"class {label} has fewer than two patients.", "There is no variance to compare with."
            )
    auc, covariance = _auc_covariance(truth, scores, patients)
    difference = float(auc[0] - auc[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    error = sqrt(variance) if variance > 1e-15 else 0.0
    z = difference / error if error else 0.0
    half = NormalDist().inv_cdf(0.975) * error
    return DeLong(
        float(auc[0]),
        float(auc[1]),
        difference,
        error,
        (difference - half, difference + half),
        z,
        erfc(abs(z) / sqrt(2)),
        patient_ids is not None,
    )


def _scores_of(truth: Labels, scores: npt.ArrayLike, name: str) -> Floats:
    values = check_finite(scores, name)
    check_same_length(truth, values, "y_true", name)
    return values


def _auc_covariance(truth: Labels, scores: Floats, patients: Labels) -> tuple[Floats, Floats]:
    """Return areas (m,) and their covariance (m, m) for scores (m, n)."""
    positive, negative = scores[:, truth == 1], scores[:, truth == 0]
    n_positive, n_negative = positive.shape[1], negative.shape[1]
    won = np.stack([_share_below(p, q) for p, q in zip(positive, negative, strict=True)])
    lost = 1 - np.stack([_share_below(q, p) for p, q in zip(positive, negative, strict=True)])
    auc = won.mean(axis=1)
    of_positive, counted_positive = _patient_sums(won - auc[:, None], patients[truth == 1], patients)
    of_negative, counted_negative = _patient_sums(lost - auc[:, None], patients[truth == 0], patients)
    within = _spread(of_positive, of_positive, counted_positive) / n_positive**2
    within += _spread(of_negative, of_negative, counted_negative) / n_negative**2
    n_patients = int(patients.max()) + 1
    across = _spread(of_positive, of_negative, n_patients) / (n_positive * n_negative)
    return auc, within + across + across.T


def _share_below(values: Floats, others: Floats) -> Floats:
    """Return, for each value, the share of `others` below it; ties count half. float64 like `values`."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, side="left") + np.searchsorted(ordered, values, side="right")
    return below.astype(np.float64) / (2 * others.size)


def _patient_sums(deviations: Floats, owners: Labels, patients: Labels) -> tuple[Floats, int]:
    """Return the sums of deviations (m, k) by patient, float64 (m, patients), and the number of patients with any."""
    n_patients = int(patients.max()) + 1
    rows = [np.bincount(owners, weights=row, minlength=n_patients) for row in deviations]
    sums: Floats = np.array(rows, dtype=np.float64)
    return sums, int(np.unique(owners).size)


def _spread(first: Floats, second: Floats, count: int) -> Floats:
    return np.asarray(first @ second.T * (count / (count - 1)), dtype=np.float64)


@dataclass(frozen=True)
class RateDifference:
    """A share of films that both models classified, `a` and `b`, at the threshold of each; None without such films.

    Attributes:
        name: `sensitivity`, `specificity` or `accuracy`.
        difference: Second minus first, with its 95% interval over patients.
        only_a: Films that only the first model classified correctly; `only_b` likewise.
        p_value: McNemar's exact test, by patient; see `exchange_test`.
        verdict: `second_better`, `first_better`, `no_detectable_difference`, or `undetermined` without films.
    """

    name: str
    n: int
    n_patients: int
    a: float | None
    b: float | None
    difference: float | None
    ci95: Interval | None
    only_a: int
    only_b: int
    p_value: float | None
    verdict: str


@dataclass(frozen=True)
class Reclassification:
    """The films that the second model labels otherwise than the first (M. Pencina et al., Statist. Med. 27 (2008) 157–172).

    `up` only the second labels PNEUMONIA, `down` only the first. `net` is the sum of the differences of sensitivity and specificity, in
    [-2, 2], with its 95% interval over patients; None without one class.
    """

    up_positive: int
    down_positive: int
    up_negative: int
    down_negative: int
    net: float | None
    ci95: Interval | None


@dataclass(frozen=True)
class Paired:
    """The comparison of two models on the same films.

    Attributes:
        area: Areas under ROC and DeLong's test by patient; `difference` is second minus first. None where a class has fewer than two patients.
        area_verdict: As in `RateDifference`.
        rates: Sensitivity, specificity and accuracy.
        n_resamples: Resamples of the intervals of the rates, with their seed.
    """

    n: int
    n_positive: int
    n_patients: int
    threshold_a: float
    threshold_b: float
    area: DeLong | None
    area_verdict: str
    rates: tuple[RateDifference, ...]
    reclassified: Reclassification
    n_resamples: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON types; the areas are named after their model, `roc_auc_a` and `roc_auc_b`."""
        values = asdict(self)
        values["rates"] = {each.pop("name"): each for each in values["rates"]}
        return values


def compare_predictions(
    y_true: npt.ArrayLike,
    y_prob_a: npt.ArrayLike,
    y_prob_b: npt.ArrayLike,
    *,
    threshold_a: float,
    threshold_b: float,
    patient_ids: Sequence[str] | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Paired:
    """Compare two models that classified the same films.

    Args:
        y_true: (n,) of 0 and 1.
        y_prob_a: (n,) in [0, 1], of the first model.
        y_prob_b: (n,) in [0, 1], of the second.
        threshold_a: The first model labels a film PNEUMONIA from this probability on.
        threshold_b: The second likewise.
        patient_ids: (n,); without them every film is its own patient.
        n_resamples: Resamples of the patients.
        seed: Seed of the resampling.

    Raises:
        UsageError, NothingUsableError: See `check_outcome`, `check_patients`, `check_threshold`.
    """
    first, second = check_outcome(y_true, y_prob_a), check_outcome(y_true, y_prob_b)
    check_same_length(first.y_prob, second.y_prob, "y_prob_a", "y_prob_b")
    patients, truth = check_patients(patient_ids, first.n), first.y_true == 1
    called_a = first.y_prob >= check_threshold(threshold_a)
    called_b = second.y_prob >= check_threshold(threshold_b)
    try:
        found = delong_test(
            first.y_true,
            second.y_prob,
            first.y_prob,
            patient_ids=None if patient_ids is None else patients,
        )
        # The test was asked for second minus first; the areas keep the names of their models.
        area = replace(found, roc_auc_a=found.roc_auc_b, roc_auc_b=found.roc_auc_a)
    except UsageError:
        area = None

    # Gains of the second model by patient: +1 for each film that only it classifies correctly, -1 for each that only the first does.
    gain = (called_b == truth).astype(np.int64) - (called_a == truth)
    classes = {"sensitivity": truth, "specificity": ~truth, "accuracy": np.ones_like(truth)}
    n_patients = int(patients.max()) + 1
    gains = {name: _sums(patients, gain * own, n_patients) for name, own in classes.items()}
    films = {name: _sums(patients, own.astype(np.int64), n_patients) for name, own in classes.items()}
    of_gains, of_films = (np.stack([each[name] for name in classes], axis=1) for each in (gains, films))
    drawn = [
        (counts @ of_gains, counts @ of_films) for counts in patient_draws(n_patients, n_resamples, seed)
    ]
    won, count = (np.concatenate(parts).astype(np.float64) for parts in zip(*drawn, strict=True))
    shares = np.divide(won, count, out=np.full_like(won, np.nan), where=count > 0)
    rates = tuple(
        _rate(name, own, called_a == truth, called_b == truth, gains[name], films[name], shares[:, place])
        for place, (name, own) in enumerate(classes.items())
    )
    sensitivity, specificity = rates[:2]
    net = (
        sensitivity.difference + specificity.difference
        if sensitivity.difference is not None and specificity.difference is not None
        else None
    )
    up, down = called_b & ~called_a, called_a & ~called_b
    total = shares[:, 0] + shares[:, 1]
    moved = bool((gain != 0).any())
    return Paired(
        n=first.n,
        n_positive=first.n_positive,
        n_patients=n_patients,
        threshold_a=float(threshold_a),
        threshold_b=float(threshold_b),
        area=area,
        area_verdict=_area_verdict(area),
        rates=rates,
        reclassified=Reclassification(
            up_positive=int((up & truth).sum()),
            down_positive=int((down & truth).sum()),
            up_negative=int((up & ~truth).sum()),
            down_negative=int((down & ~truth).sum()),
            net=net,
            ci95=interval_of(total) if net is not None and moved else None,
        ),
        n_resamples=n_resamples,
        seed=seed,
    )


def _sums(patients: Labels, values: Labels, n_patients: int) -> Labels:
    return np.bincount(patients, weights=values, minlength=n_patients).astype(np.int64)


def _rate(
    name: str,
    own: npt.NDArray[np.bool_],
    right_a: npt.NDArray[np.bool_],
    right_b: npt.NDArray[np.bool_],
    gains: Labels,
    films: Labels,
    shares: Floats,
) -> RateDifference:
    n, people = int(own.sum()), int((films > 0).sum())
    if not n:
        return RateDifference(name, 0, 0, None, None, None, None, 0, 0, None, UNKNOWN)
    only_a, only_b = int((right_a & ~right_b & own).sum()), int((right_b & ~right_a & own).sum())
    difference, p_value = (only_b - only_a) / n, exchange_test(gains)
    interval = interval_of(shares)
    if not gains.any():
        # All resamples agree. What the films exclude is a difference in more patients than the upper bound of none.
        bound = wilson(0, people)[1]
        interval = (-bound, bound)
    return RateDifference(
        name,
        n,
        people,
        float(right_a[own].mean()),
        float(right_b[own].mean()),
        difference,
        interval,
        only_a,
        only_b,
        p_value,
        _verdict(difference, p_value),
    )


def _verdict(difference: float, p_value: float) -> str:
    if p_value >= ALPHA:
        return NONE
    return SECOND if difference > 0 else FIRST


def _area_verdict(area: DeLong | None) -> str:
    # Without variance, as where one model gives a single score, the test says nothing about a difference.
    if area is None or (area.difference != 0 and area.standard_error == 0):
        return UNKNOWN
    return _verdict(area.difference, area.p_value)


def exchange_test(gains: npt.ArrayLike) -> float:
    """Return the two-sided p-value of an exact test of two models on the same films, in which patients are the units.

    If both models are equally good, exchanging them for a patient changes nothing: the gain of each patient has either sign with
    probability 1/2. With one film per patient this is McNemar's exact test (Q. McNemar, Psychometrika 12 (1947) 153–157).

    Args:
        gains: int (patients,): films that only the second model classifies correctly, minus those that only the first does.
    """
    sizes = np.abs(np.asarray(gains, dtype=np.int64))
    sizes = sizes[sizes > 0]
    total, seen = int(sizes.sum()), abs(int(np.sum(gains)))
    # The probability of each sum of the signed sizes, from -total to total.
    chances = np.zeros(2 * total + 1)
    chances[total] = 1.0
    for size in sizes.tolist():
        # Whatever is possible so far lies within `total`, so nothing is rolled over the ends.
        chances = (np.roll(chances, size) + np.roll(chances, -size)) / 2
    sums = np.abs(np.arange(-total, total + 1))
    return min(1.0, float(chances[sums >= seen].sum()))


def differing(
    paired_calls: Sequence[tuple[bool, bool]], y_true: Labels, gap: Floats, limit: int = 12
) -> list[int]:
    """Return films that the models label differently, the largest difference of the scores first; up to half for either model.

    Args:
        paired_calls: n pairs: whether the first and the second model label the film PNEUMONIA.
        y_true: int64 (n,).
        gap: float64 (n,), the absolute difference of the scores.
        limit: Most films.
    """
    calls = np.array(paired_calls, dtype=bool).reshape(-1, 2)
    where = np.flatnonzero(calls[:, 0] != calls[:, 1])
    ranked = where[np.argsort(-gap[where], kind="stable")]
    right_b = calls[ranked, 1] == (y_true[ranked] == 1)
    half = [index for part in (ranked[right_b], ranked[~right_b]) for index in part[: limit // 2]]
    fill = [index for index in ranked if index not in set(half)][: limit - len(half)]
    kept = {*half, *fill}
    return [int(index) for index in ranked if index in kept]
