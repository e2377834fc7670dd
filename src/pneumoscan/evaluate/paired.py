"""Two models on the same films: area under ROC, rates at the threshold of each, reclassified films, and a verdict in words.

Every difference is the second model minus the first. Films of a patient are dependent, so tests and intervals take patients as the units.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import UsageError
from pneumoscan.evaluate.arrays import Floats, Labels, check_outcome, check_patients, check_same_length
from pneumoscan.evaluate.delong import DeLong, delong_test
from pneumoscan.evaluate.displays import RocDisplay
from pneumoscan.evaluate.drawing import BLUE, PALE, VERMILION, figure_of, new_axes, say_undefined, styled
from pneumoscan.evaluate.intervals import Interval, patient_draws, wilson
from pneumoscan.evaluate.thresholds import check_threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALPHA = 0.05
NONE, SECOND, FIRST, UNKNOWN = "no_detectable_difference", "second_better", "first_better", "undetermined"


@dataclass(frozen=True)
class RateDifference:
    """A share of films that both models classified, at the threshold of each.

    Attributes:
        name: `sensitivity`, `specificity` or `accuracy`.
        n: Films that count for it.
        n_patients: Patients of these films.
        a: The rate of the first model, in [0, 1]; None without films.
        b: The rate of the second.
        difference: Second minus first.
        ci95: Its 95% interval over patients.
        only_a: Films that only the first model classified correctly.
        only_b: Films that only the second classified correctly.
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

    Attributes:
        up_positive: PNEUMONIA films that only the second model labels PNEUMONIA.
        down_positive: PNEUMONIA films that only the first labels so.
        up_negative: NORMAL films that only the second labels PNEUMONIA.
        down_negative: NORMAL films that only the first labels so.
        net: Net reclassification: the sum of the differences of sensitivity and specificity, in [-2, 2]; None without one class.
        ci95: Its 95% interval over patients.
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
        n: Number of films.
        n_positive: Films with the true label PNEUMONIA.
        n_patients: Their patients.
        threshold_a: Threshold of the first model.
        threshold_b: Threshold of the second.
        area: Areas under ROC and DeLong's test by patient; `difference` is second minus first. None where a class has fewer than two patients.
        area_verdict: As in `RateDifference`.
        rates: Sensitivity, specificity and accuracy.
        reclassified: The films with another label.
        n_resamples: Resamples of the intervals of the rates.
        seed: Their seed.
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
            ci95=_quantiles(total) if net is not None and moved else None,
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
    interval = _quantiles(shares)
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


def _quantiles(values: Floats) -> Interval | None:
    used = values[np.isfinite(values)]
    if used.size < max(1, values.size // 2):
        return None
    low, high = np.quantile(used, [0.025, 0.975])
    return float(low), float(high)


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


def verdicts(paired: Paired, name_a: str, name_b: str) -> tuple[str, ...]:
    """Return what the comparison shows, in sentences; the first is about the area under ROC."""
    found = [_area_in_words(paired, name_a, name_b)]
    found += [_rate_in_words(each, name_a, name_b) for each in paired.rates[:2]]
    rates = {each.name: each.verdict for each in paired.rates}
    both = {rates["sensitivity"], rates["specificity"]}
    if both == {FIRST, SECOND}:
        found.append(
            "One model is better in sensitivity and the other in specificity: the thresholds differ, which says nothing about which ranks "
            "films better. The area does."
        )
    if paired.area_verdict == NONE and both == {NONE}:
        found.append(
            f"Over all: no detectable difference on these {paired.n:,} films of {paired.n_patients:,} patients."
        )
    return tuple(found)


def _area_in_words(paired: Paired, name_a: str, name_b: str) -> str:
    area = paired.area
    if area is None:
        return "The area under ROC cannot be compared: a class has fewer than two patients."
    numbers = (
        f"area under ROC {area.roc_auc_a:.4f} and {area.roc_auc_b:.4f}, difference {area.difference:+.4f} "
        f"(95% {area.ci95[0]:+.4f} to {area.ci95[1]:+.4f}, p {_p(area.p_value)})"
    )
    if paired.area_verdict == UNKNOWN:
        return f"The areas have no variance that a test could use: {area.roc_auc_a:.4f} and {area.roc_auc_b:.4f}."
    if paired.area_verdict == NONE:
        most = max(map(abs, area.ci95))
        return (
            f"No detectable difference in how {name_a} and {name_b} rank the films: {numbers}. "
            f"A difference up to {most:.4f} is not excluded."
        )
    better, other = (name_b, name_a) if paired.area_verdict == SECOND else (name_a, name_b)
    return f"{better} ranks the films better than {other}: {numbers}."


def _rate_in_words(rate: RateDifference, name_a: str, name_b: str) -> str:
    if rate.a is None or rate.b is None or rate.difference is None or rate.p_value is None:
        return f"The {rate.name} cannot be compared: there are no such films."
    interval = f"95% {rate.ci95[0]:+.4f} to {rate.ci95[1]:+.4f}, " if rate.ci95 else ""
    numbers = (
        f"{rate.a:.4f} and {rate.b:.4f}, difference {rate.difference:+.4f} ({interval}p {_p(rate.p_value)})"
    )
    if rate.verdict == NONE:
        return f"No detectable difference in {rate.name} at the threshold of each: {numbers}."
    better = name_b if rate.verdict == SECOND else name_a
    return f"{better} has the higher {rate.name} at the threshold of each: {numbers}."


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"= {value:.4f}"


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


@dataclass(frozen=True)
class PairedRocDisplay:
    """The ROC curves of two models on the same films, with the threshold of each.

    Attributes:
        curves: Name and curve of the first and the second model.
    """

    curves: tuple[tuple[str, RocDisplay], ...]

    def plot(self, ax: "Axes | None" = None) -> "Figure":
        """Draw both curves and the diagonal of chance."""
        with styled():
            ax = ax if ax is not None else new_axes(5.6, 5.2)
            ax.set(
                xlabel="1 − specificity", ylabel="sensitivity (recall)", title="ROC curves on the same films"
            )
            if any(curve.roc_auc is None for _, curve in self.curves):
                say_undefined(ax, "All films have one label:\nthere is no curve to draw.")
                return figure_of(ax)
            ax.plot([0, 1], [0, 1], color=PALE, linewidth=1)
            for (name, curve), colour, dashes in zip(
                self.curves, (BLUE, VERMILION), ("-", "--"), strict=True
            ):
                label = f"{name if len(name) <= 40 else name[:39] + '…'} · {curve.roc_auc:.3f}"
                ax.plot(
                    curve.false_positive_rate, curve.true_positive_rate, dashes, color=colour, label=label
                )
                if curve.point is not None:
                    ax.plot(*curve.point, "o", color=colour, markersize=8)
            ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.03), aspect="equal")
            ax.grid(visible=True)
            ax.legend(loc="lower right")
            return figure_of(ax)
