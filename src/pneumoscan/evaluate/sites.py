"""The figures of each site, or of each group by a column of the table (`view`, `sex`, `age:18,65`), and the differences between them."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations, pairwise
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.data.manifest import COLUMNS, FilmRecord
from pneumoscan.errors import UsageError
from pneumoscan.evaluate.arrays import Floats, check_outcome, check_patients
from pneumoscan.evaluate.films import Answers, EvaluatedSplit
from pneumoscan.evaluate.intervals import Interval, area_draws, group_area_draws, interval_of, wilson
from pneumoscan.evaluate.thresholds import confusion

VIEWS = ("PA", "AP")
HOSPITALS = (
    "films", "seen", "n_ill", "n_healthy", "roc_auc", "ci95_low", "ci95_high", "threshold", "sensitivity", "specificity",
)  # fmt: skip
"""The columns of a table of `studies/hospitals.py`."""


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
            f"Give a CSV table with the columns {', '.join(HOSPITALS)}, as studies/hospitals.py writes it.",
        ) from None
    if not found or not trained:
        raise UsageError(
            f"{path} has no hospital that was left out, or none that was trained on.",
            "Judge a run whose sampling.films leaves a site out: its rows are `left out`, the others `held out`.",
        )
    return found


NO_SITE = "(not told)"
RATES = ("accuracy", "sensitivity", "specificity")


@dataclass(frozen=True)
class SiteFigures:
    """The figures of one site or group, `(not told)` for films without one; None means that its films do not determine it.

    Intervals of the area are by bootstrap over patients, those of the rates are Wilson's.
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
                row = replace(row, roc_auc=area, roc_auc_ci95=interval_of(spread))
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
        interval = interval_of(draws[one.site] - draws[two.site])
        if interval is not None and one.roc_auc is not None and two.roc_auc is not None:
            yield SiteDifference(one.site, two.site, one.roc_auc - two.roc_auc, interval)


# Groups by a column


MOST = 40
"""More groups than this are a list of values rather than groups."""


@dataclass(frozen=True)
class GroupTable:
    """The figures of the groups of one column; `by` has its bounds if there are any: `view`, `age:18,65`."""

    by: str
    column: str
    table: SiteTable

    @property
    def smallest(self) -> SiteFigures:
        """The group with the fewest films, the first of equals."""
        return min(self.table.rows, key=lambda row: row.n)

    def to_json(self) -> dict[str, Any]:
        """Return `column`, `groups` by name, `smallest`, and the list `differences`."""
        told = self.table.to_json()
        differences = [{"group": each.pop("site"), **each} for each in told["site_differences"]]
        return {
            "column": self.column,
            "smallest": self.smallest.site,
            "groups": told["sites"],
            "differences": differences,
        }


def columns_of(films: Sequence[FilmRecord]) -> dict[str, tuple[str, ...]]:
    """Return the columns of a table of n films that have a value for any of them: n texts by name, empty where unknown."""
    others = dict.fromkeys(name for film in films for name, _ in film.others)
    found = {name: tuple(film.column(name) for film in films) for name in COLUMNS}
    if others:
        cells = [dict(film.others) for film in films]
        found |= {name: tuple(row.get(name, "") for row in cells) for name in others if name not in COLUMNS}
    return {name: values for name, values in found.items() if any(values)}


def named_groups(by: str, columns: Mapping[str, Sequence[str]]) -> tuple[str, list[str], list[str]]:
    """Return the name of a column, the group of each film (empty if unknown), and the groups in their order.

    Args:
        by: `COLUMN`, or `COLUMN:NUMBER,NUMBER,…` with rising numbers, at which a new group begins.
        columns: See `columns_of`.

    Raises:
        UsageError: There is no such column, or its values are not numbers that can be divided, or too many.
    """
    column, bounds = _parsed(by, columns)
    values = list(columns[column])
    if not bounds:
        groups = sorted(set(values) - {""}, key=lambda text: (_number(text) is None, _number(text), text))
        if len(groups) > MOST:
            raise UsageError(
                f"--by {by}: the column has {len(groups)} values.",
                f"Divide a column of numbers, such as --by {column}:18,65; at most {MOST} groups are shown.",
            )
        return column, values, groups
    numbers = [_number(text) for text in values]
    if all(number is None for number in numbers):
        shown = next(text for text in values if text)
        raise UsageError(
            f"--by {by}: the column has no numbers; the first value is {shown!r}.",
            f"Leave out the numbers: --by {column}.",
        )
    starts = [f"{bound:g}" for bound in bounds]
    names = [
        f"below {starts[0]}",
        *(f"{low} to below {high}" for low, high in pairwise(starts)),
        f"{starts[-1]} and above",
    ]
    placed = ["" if number is None else names[sum(number >= cut for cut in bounds)] for number in numbers]
    return column, placed, names


def _parsed(by: str, columns: Mapping[str, Sequence[str]]) -> tuple[str, list[float]]:
    """Return the column of a choice and its bounds, none if it has none."""
    known = {name.lower(): name for name in columns}
    if by.strip().lower() in known:
        return known[by.strip().lower()], []
    name, mark, text = by.rpartition(":")
    column = known.get((name if mark else by).strip().lower())
    if column is None:
        there = ", ".join(columns)
        raise UsageError(
            f"--by {by}: the films have no column {(name if mark else by)!r} with a value.",
            f"The columns are {there}." if there else "Give the films as a table with such a column.",
        )
    bounds = [_number(part) for part in text.split(",")]
    rising = [bound for bound in bounds if bound is not None]
    if len(rising) != len(bounds) or sorted(set(rising)) != rising:
        raise UsageError(
            f"--by {by}: {text!r} are not rising numbers.", f"Write for instance --by {column}:18,65."
        )
    return column, rising


def _number(text: str) -> float | None:
    """Return a cell as a number; None if it is none. A decimal comma is read where there is no point."""
    try:
        number = float(text if "." in text else text.replace(",", "."))
    except ValueError:
        return None
    return number if isfinite(number) else None


def tables_of(evaluated: EvaluatedSplit) -> tuple[SiteTable | None, tuple[GroupTable, ...]]:
    """Return the figures of each site, if there are several, and those of each choice of `EvaluatedSplit.by`, each once.

    Raises:
        UsageError: See `named_groups`.
    """

    def table(names: Sequence[str], order: Sequence[str] = ()) -> SiteTable:
        return SiteTable.from_predictions(
            evaluated.y_true,
            evaluated.y_prob,
            names,
            threshold=evaluated.threshold,
            patient_ids=evaluated.patient_ids,
            labels=evaluated.labels,
            warned=evaluated.warned,
            order=order,
            n_bootstrap=evaluated.n_bootstrap,
            seed=evaluated.seed,
        )

    groups = []
    for by in dict.fromkeys(evaluated.by):
        column, names, order = named_groups(by, evaluated.columns)
        groups.append(GroupTable(by, column, table(names, [*order, NO_SITE])))
    return table(evaluated.sites) if len(set(evaluated.sites)) > 1 else None, tuple(groups)
