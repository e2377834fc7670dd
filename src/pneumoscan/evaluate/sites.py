"""Shares of films that a model answers, the figures of each site, and the differences between sites."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pneumoscan.bundle.spec import CLASS_NAMES
from pneumoscan.errors import UsageError
from pneumoscan.evaluate.arrays import Floats, check_outcome, check_patients
from pneumoscan.evaluate.drawing import BLUE, GREY, INK, PALE, figure_of, new_axes, say_undefined, styled
from pneumoscan.evaluate.intervals import Interval, area_draws, group_area_draws, wilson
from pneumoscan.evaluate.thresholds import confusion

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_FARTHEST = 40.0
VIEWS = ("PA", "AP")
_HOSPITALS = (
    "films",
    "seen",
    "n_ill",
    "n_healthy",
    "roc_auc",
    "ci95_low",
    "ci95_high",
    "sensitivity",
    "specificity",
)


def read_left_out(path: Path) -> list[dict[str, Any]]:
    """Return the entry `left_out` of a bundle from a table of `studies/hospitals.py`.

    Its rows `held out` name the hospitals of the training, its rows `left out` have the figures of those left out. Rows of a single
    view are not taken.

    Raises:
        UsageError: The file is no such table, or has no hospital that was left out.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        trained = sorted({row["films"].partition(":")[0] for row in rows if row["seen"] == "held out"})
        found = [
            {
                "trained_on": trained,
                "films": row["films"],
                "n_positive": int(row["n_ill"]),
                "n_negative": int(row["n_healthy"]),
                "roc_auc": float(row["roc_auc"]),
                "roc_auc_ci95": [float(row["ci95_low"]), float(row["ci95_high"])],
                "sensitivity": float(row["sensitivity"]),
                "specificity": float(row["specificity"]),
            }
            for row in rows
            if row["seen"] == "left out" and row["films"].rpartition(", ")[2] not in VIEWS
        ]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as problem:
        raise UsageError(
            f"{path} is not a table of hospitals: {type(problem).__name__} {problem}.",
            f"Give a CSV table with the columns {', '.join(_HOSPITALS)}, as studies/hospitals.py writes it.",
        ) from None
    if not found or not trained:
        raise UsageError(
            f"{path} has no hospital that was left out, or none that was trained on.",
            "Judge a run whose sampling.films leaves a site out: its rows are `left out`, the others `held out`.",
        )
    return found


@dataclass(frozen=True)
class Share:
    """`count` of `of` films, with the share and its 95% interval (Wilson) in [0, 1]; None if `of` is 0."""

    count: int
    of: int
    share: float | None
    ci95: Interval | None

    @classmethod
    def from_count(cls, count: int, of: int) -> "Share":
        """Return the share with its interval, treating films as independent."""
        return cls(count, of, count / of if of else None, wilson(count, of) if of else None)


@dataclass(frozen=True)
class Answers:
    """The answers of a model for films with known labels.

    Attributes:
        answered: Films labelled PNEUMONIA or NORMAL, of all.
        not_answered: Films labelled UNSURE or NOT_A_CHEST_FILM, of all.
        accuracy_answered: Films labelled correctly, of the answered.
        warned: Films with any warning, of all.
        confident_and_wrong: Films labelled wrongly without a warning, of all.
    """

    answered: Share
    not_answered: Share
    accuracy_answered: Share
    warned: Share
    confident_and_wrong: Share

    @classmethod
    def from_labels(
        cls, y_true: npt.ArrayLike, labels: Sequence[str], warned: Sequence[bool] | npt.ArrayLike
    ) -> "Answers":
        """Count the answers.

        Args:
            y_true: (n,) of 0 and 1.
            labels: n labels of the model.
            warned: (n,) whether a film has a warning.
        """
        truth, has_warning = np.asarray(y_true), np.asarray(warned, dtype=bool)
        given = np.array([CLASS_NAMES.index(label) if label in CLASS_NAMES else -1 for label in labels])
        answered, n = given >= 0, len(truth)
        right = answered & (given == truth)
        return cls(
            answered=Share.from_count(int(answered.sum()), n),
            not_answered=Share.from_count(int((~answered).sum()), n),
            accuracy_answered=Share.from_count(int(right.sum()), int(answered.sum())),
            warned=Share.from_count(int(has_warning.sum()), n),
            confident_and_wrong=Share.from_count(int((answered & ~right & ~has_warning).sum()), n),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the shares as JSON types."""
        return asdict(self)


def risk_coverage(y_true: npt.ArrayLike, y_prob: npt.ArrayLike, threshold: float) -> tuple[Floats, Floats]:
    """Return the risk-coverage curve: the share of films answered, most confident first, and the error among them.

    R. El-Yaniv, Y. Wiener, On the Foundations of Noise-free Selective Classification, JMLR 11 (2010) 1605–1641. Confidence is
    the distance of the log-odds of a film from those of the threshold.

    Args:
        y_true: (n,) of 0 and 1.
        y_prob: (n,) in [0, 1].
        threshold: A film is labelled PNEUMONIA from this probability on.

    Returns:
        Coverage k / n, float64 (n,), and the error among the k most confident films, float64 (n,).
    """
    outcome = check_outcome(y_true, y_prob)
    sure = np.abs(_log_odds(outcome.y_prob) - _log_odds(np.array([threshold]))[0])
    order = np.argsort(-sure, kind="stable")
    wrong = (outcome.y_prob >= threshold) != (outcome.y_true == 1)
    count = np.arange(1, outcome.n + 1)
    return count / outcome.n, np.cumsum(wrong[order]) / count


def _log_odds(probability: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        odds = np.log(probability) - np.log1p(-probability)
    clipped: Floats = np.clip(odds, -_FARTHEST, _FARTHEST)
    return clipped


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
        rows: The sites in alphabetical order, or groups in theirs.
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
        order: Sequence[str] = (),
        n_bootstrap: int = 1000,
        seed: int = 0,
    ) -> "SiteTable":
        """Evaluate each site, or each group of other films, separately.

        The interval of a difference is the 2.5% and 97.5% quantiles of the differences of independent bootstraps by
        patient. Where a patient has films in several groups, all groups have the same resamples of all patients.

        Args:
            y_true: (n,) of 0 and 1.
            y_prob: (n,) in [0, 1].
            sites: n names.
            threshold: A film is labelled PNEUMONIA from this probability on.
            patient_ids: n patients of the films.
            labels: n labels of the model, or none.
            warned: n, whether a film has a warning, or none.
            order: Names in the order of the rows; by default, and for other names, the alphabetical one.
            n_bootstrap: Number of resamples.
            seed: Seed of the bootstrap.
        """
        outcome = check_outcome(y_true, y_prob)
        names = np.array([site or NO_SITE for site in sites])
        placed = {name: place for place, name in enumerate(order)}
        ordered = sorted(set(names.tolist()), key=lambda name: (placed.get(name, len(placed)), name))
        groups = [np.flatnonzero(names == name) for name in ordered]
        every = check_patients(patient_ids, outcome.n)
        shared = sum(len(np.unique(every[own])) for own in groups) > len(np.unique(every))
        joint = (
            group_area_draws(
                outcome.y_true, outcome.y_prob, every, groups, n_resamples=n_bootstrap, seed=seed
            )
            if shared
            else None
        )
        rows, draws = [], {}
        for place, (name, own) in enumerate(zip(ordered, groups, strict=True)):
            patients = np.unique(every[own], return_inverse=True)[1].astype(np.int64)
            truth, prob = outcome.y_true[own], outcome.y_prob[own]
            row = _figures(name, truth, prob, threshold, int(patients.max()) + 1)
            if row.sensitivity is not None and row.specificity is not None:
                area, spread = area_draws(
                    truth, prob, patients, n_resamples=0 if shared else n_bootstrap, seed=seed + place
                )
                spread = spread if joint is None else joint[place]
                row = replace(row, roc_auc=area, roc_auc_ci95=_interval(spread))
                draws[name] = spread
            if labels:
                has_warning = (
                    [bool(warned[film]) for film in own.tolist()] if len(warned) else [False] * len(own)
                )
                row = replace(
                    row,
                    answers=Answers.from_labels(truth, [labels[film] for film in own.tolist()], has_warning),
                )
            rows.append(row)
        return cls(tuple(rows), tuple(_differences(rows, draws)))

    def to_json(self) -> dict[str, Any]:
        """Return `sites` by name and the list `site_differences`."""
        return {
            "sites": {row.site: row.to_json() for row in self.rows},
            "site_differences": [asdict(difference) for difference in self.differences],
        }

    def warnings(self, what: str = "the site") -> tuple[str, ...]:
        """Return a sentence for each site without an area under ROC."""
        return tuple(
            f"All films of {what} {row.site} are labelled {'PNEUMONIA' if row.n_positive else 'NORMAL'}: it has no area under "
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


ALL = "all films"


@dataclass(frozen=True)
class SiteDisplay:
    """A forest plot: a dot with its interval for each site, and for all films at the bottom.

    Attributes:
        rows: Name, number of films, area under ROC and its 95% interval, from the top.
        title: Title of the graph.
    """

    rows: tuple[tuple[str, int, float | None, Interval | None], ...]
    title: str = "Area under ROC by site"

    @classmethod
    def from_table(
        cls, table: SiteTable, roc_auc: float | None, roc_auc_ci95: Interval | None
    ) -> "SiteDisplay":
        """Create the display from a table, and the area of all its films together."""
        whole = (ALL, sum(row.n for row in table.rows), roc_auc, roc_auc_ci95)
        return cls((*((row.site, row.n, row.roc_auc, row.roc_auc_ci95) for row in table.rows), whole))

    def plot(self, ax: "Axes | None" = None) -> "Figure":
        """Draw the sites below each other; the dashed line is chance."""
        with styled():
            ax = ax if ax is not None else new_axes(7.2, 1.4 + 0.42 * len(self.rows))
            ax.set_title(self.title)
            places = list(range(len(self.rows)))
            known = [(row[2], row[3]) for row in self.rows if row[2] is not None]
            if not known:
                say_undefined(ax, "All films of each row have one label:\nthere is no area.")
                return figure_of(ax)
            low = min([0.5, *(area for area, _ in known), *(bounds[0] for _, bounds in known if bounds)])
            ax.set_xlim(low - 0.02, 1.01)
            ax.hlines(places, low - 0.02, 1.01, color=PALE, linewidth=0.6, zorder=0)
            ax.axvline(0.5, color=GREY, linewidth=1, linestyle=(0, (2, 2)))
            for place, (name, _, area, bounds) in enumerate(self.rows):
                colour, mark = (INK, "D") if name == ALL else (BLUE, "o")
                if bounds:
                    ax.plot(bounds, (place, place), color=colour, linewidth=1.6, alpha=0.6)
                if area is not None:
                    ax.plot([area], [place], mark, color=colour, markersize=7)
                label = "one label only" if area is None else f"{area:.3f}"
                label += f" ({bounds[0]:.3f} to {bounds[1]:.3f})" if bounds else ""
                ax.annotate(
                    label,
                    (1.02, place),
                    xycoords=("axes fraction", "data"),
                    va="center",
                    annotation_clip=False,
                )
            ax.set_yticks(places, [f"{name} ({n:,})" for name, n, _, _ in self.rows])
            ax.set_ylim(len(self.rows) - 0.4, -0.6)
            ax.set_xlabel("area under ROC, 95% interval over patients (0.5: chance)")
            ax.tick_params(axis="y", length=0)
            return figure_of(ax)
