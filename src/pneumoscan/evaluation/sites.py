"""The figures of each site, and how sites differ."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.evaluation.answers import Answers
from pneumoscan.evaluation.arrays import Floats, check_outcome, check_patients
from pneumoscan.evaluation.intervals import Interval, area_draws, wilson
from pneumoscan.evaluation.thresholds import confusion

NOT_TOLD = "(not told)"
RATES = ("accuracy", "sensitivity", "specificity")


@dataclass(frozen=True)
class SiteFigures:
    """One site; None is what its films cannot tell.

    Attributes:
        site: Its name; `(not told)` for films that name none.
        n: Films.
        n_positive: Those labelled PNEUMONIA.
        n_patients: Patients they belong to.
        roc_auc: Area under ROC.
        roc_auc_ci95: Bootstrap by patient.
        accuracy: At the threshold, as the next.
        accuracy_ci95: Wilson, as the next.
        sensitivity: Recall of PNEUMONIA.
        sensitivity_ci95: Wilson.
        specificity: Recall of NORMAL.
        specificity_ci95: Wilson.
        answers: What the model answered; None if that is not known.
    """

    site: str
    n: int
    n_positive: int
    n_patients: int
    roc_auc: float | None
    roc_auc_ci95: Interval | None
    accuracy: float
    accuracy_ci95: Interval
    sensitivity: float | None
    sensitivity_ci95: Interval | None
    specificity: float | None
    specificity_ci95: Interval | None
    answers: Answers | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON types, without the name."""
        values = asdict(self)
        del values["site"]
        return values


@dataclass(frozen=True)
class SiteDifference:
    """Area under ROC at `site` less that at `other`, with its 95% interval over the patients of both."""

    site: str
    other: str
    roc_auc: float
    ci95: Interval


@dataclass(frozen=True)
class SiteTable:
    """Every site, and every two of them compared.

    Attributes:
        rows: In alphabetical order.
        differences: Of two sites each that have both classes.
    """

    rows: tuple[SiteFigures, ...]
    differences: tuple[SiteDifference, ...]

    @classmethod
    def from_predictions(
        cls,
        y_true: npt.ArrayLike,
        y_prob: npt.ArrayLike,
        sites: Sequence[str],
        *,
        threshold: float,
        patient_ids: Sequence[str],
        labels: Sequence[str] = (),
        warned: Sequence[bool] = (),
        n_bootstrap: int = 1000,
        seed: int = 0,
    ) -> "SiteTable":
        """Judge each site by itself.

        The interval of a difference is the 2.5% and 97.5% quantiles of the differences of independent bootstraps by
        patient; sites share no patient.

        Args:
            y_true: (n,) of 0 and 1.
            y_prob: (n,) in [0, 1].
            sites: n names.
            threshold: A film is called PNEUMONIA from here up.
            patient_ids: n; films of one patient share theirs.
            labels: n labels that the model gave, or none.
            warned: n, whether a film came with a warning, or none.
            n_bootstrap: Resamples.
            seed: Of the bootstrap.
        """
        outcome = check_outcome(y_true, y_prob)
        names = np.array([site or NOT_TOLD for site in sites])
        rows, draws = [], {}
        for place, name in enumerate(sorted(set(names.tolist()))):
            own = np.flatnonzero(names == name).tolist()
            patients = check_patients([patient_ids[row] for row in own], len(own))
            truth, prob = outcome.y_true[own], outcome.y_prob[own]
            row = _figures(name, truth, prob, threshold, int(patients.max()) + 1)
            if row.sensitivity is not None and row.specificity is not None:
                area, spread = area_draws(truth, prob, patients, n_resamples=n_bootstrap, seed=seed + place)
                row = replace(row, roc_auc=area, roc_auc_ci95=_interval(spread))
                draws[name] = spread
            if labels:
                told = [bool(warned[film]) for film in own] if len(warned) else [False] * len(own)
                row = replace(row, answers=Answers.from_labels(truth, [labels[film] for film in own], told))
            rows.append(row)
        return cls(tuple(rows), tuple(_differences(rows, draws)))

    def to_json(self) -> dict[str, Any]:
        """Return `sites` by name and the list `site_differences`."""
        return {
            "sites": {row.site: row.to_json() for row in self.rows},
            "site_differences": [asdict(difference) for difference in self.differences],
        }

    def warnings(self) -> tuple[str, ...]:
        """Say of which sites there is no area under ROC."""
        return tuple(
            f"All films of the site {row.site} are labelled {'PNEUMONIA' if row.n_positive else 'NORMAL'}: there is no area under "
            "ROC of it."
            for row in self.rows
            if row.roc_auc is None
        )


def _figures(
    name: str, truth: npt.NDArray[np.int64], prob: Floats, threshold: float, patients: int
) -> SiteFigures:
    counts = confusion(truth, prob, threshold)
    positive, normal = counts.tp + counts.fn, counts.tn + counts.fp
    right, n = counts.tp + counts.tn, len(truth)
    return SiteFigures(
        site=name, n=n, n_positive=positive, n_patients=patients, roc_auc=None, roc_auc_ci95=None,
        accuracy=right / n, accuracy_ci95=wilson(right, n),
        sensitivity=counts.tp / positive if positive else None,
        sensitivity_ci95=wilson(counts.tp, positive) if positive else None,
        specificity=counts.tn / normal if normal else None,
        specificity_ci95=wilson(counts.tn, normal) if normal else None,
    )  # fmt: skip


def _differences(rows: Sequence[SiteFigures], draws: dict[str, Floats]) -> Iterator[SiteDifference]:
    for one, two in combinations([row for row in rows if row.roc_auc is not None], 2):
        interval = _interval(draws[one.site] - draws[two.site])
        if interval is not None and one.roc_auc is not None and two.roc_auc is not None:
            yield SiteDifference(one.site, two.site, one.roc_auc - two.roc_auc, interval)


def _interval(draws: Floats) -> Interval | None:
    """Return the interval of draws; None where fewer than half of them held both classes."""
    used = draws[np.isfinite(draws)]
    if len(used) < max(1, len(draws) // 2):
        return None
    low, high = np.quantile(used, [0.025, 0.975])
    return float(low), float(high)
