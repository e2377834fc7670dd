"""The figures of each site, and the differences between sites."""

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

NO_SITE = "(not told)"
RATES = ("accuracy", "sensitivity", "specificity")


@dataclass(frozen=True)
class SiteFigures:
    """The figures of one site; None means that its films do not determine it.

    Attributes:
        site: Name of the site; `(not told)` for films without a site.
        n: Number of films.
        n_positive: Films with the true label PNEUMONIA.
        n_patients: Patients of these films.
        roc_auc: Area under ROC.
        roc_auc_ci95: Bootstrap by patient.
        accuracy: Share of films classified correctly at the threshold.
        accuracy_ci95: Wilson.
        sensitivity: Recall of PNEUMONIA.
        sensitivity_ci95: Wilson.
        specificity: Recall of NORMAL.
        specificity_ci95: Wilson.
        answers: The answers of the model; None if unknown.
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
    """Area under ROC at `site` minus that at `other`, with its 95% interval over the patients of both."""

    site: str
    other: str
    roc_auc: float
    ci95: Interval


@dataclass(frozen=True)
class SiteTable:
    """The figures of all sites, and the differences between each pair.

    Attributes:
        rows: The sites in alphabetical order.
        differences: The pairs of sites with both classes.
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
        """Evaluate each site separately.

        The interval of a difference is the 2.5% and 97.5% quantiles of the differences of independent bootstraps by
        patient; sites share no patient.

        Args:
            y_true: (n,) of 0 and 1.
            y_prob: (n,) in [0, 1].
            sites: n names.
            threshold: A film is labelled PNEUMONIA from this probability on.
            patient_ids: n patients of the films.
            labels: n labels of the model, or none.
            warned: n, whether a film has a warning, or none.
            n_bootstrap: Number of resamples.
            seed: Seed of the bootstrap.
        """
        outcome = check_outcome(y_true, y_prob)
        names = np.array([site or NO_SITE for site in sites])
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
                has_warning = [bool(warned[film]) for film in own] if len(warned) else [False] * len(own)
                row = replace(
                    row, answers=Answers.from_labels(truth, [labels[film] for film in own], has_warning)
                )
            rows.append(row)
        return cls(tuple(rows), tuple(_differences(rows, draws)))

    def to_json(self) -> dict[str, Any]:
        """Return `sites` by name and the list `site_differences`."""
        return {
            "sites": {row.site: row.to_json() for row in self.rows},
            "site_differences": [asdict(difference) for difference in self.differences],
        }

    def warnings(self) -> tuple[str, ...]:
        """Return a sentence for each site without an area under ROC."""
        return tuple(
            f"All films of the site {row.site} are labelled {'PNEUMONIA' if row.n_positive else 'NORMAL'}: it has no area under "
            "ROC."
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
    """Return the interval of resamples; None if fewer than half of them contain both classes."""
    used = draws[np.isfinite(draws)]
    if len(used) < max(1, len(draws) // 2):
        return None
    low, high = np.quantile(used, [0.025, 0.975])
    return float(low), float(high)
