"""Groups of films by any column of their table: `view`, `sex`, or `age:18,65` for three ranges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import Any

from pneumoscan.data.manifest import COLUMNS, FilmRecord
from pneumoscan.errors import UsageError
from pneumoscan.evaluate.films import EvaluatedSplit
from pneumoscan.evaluate.intervals import Interval
from pneumoscan.evaluate.sites import ALL, NO_SITE, SiteDisplay, SiteFigures, SiteTable

MOST = 40
"""More groups than this are a list of values rather than groups."""


@dataclass(frozen=True)
class GroupTable:
    """The figures of the groups of one column.

    Attributes:
        by: The column, with bounds if there are any: `view`, `age:18,65`.
        column: Name of the column.
        table: The figures of each group and the differences between them; films without a value are a group of their own.
    """

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


def group_tables(evaluated: EvaluatedSplit) -> tuple[GroupTable, ...]:
    """Return the figures of each choice of `EvaluatedSplit.by`, each once; raises as `named_groups` says."""
    tables = []
    for by in dict.fromkeys(evaluated.by):
        column, names, order = named_groups(by, evaluated.columns)
        table = SiteTable.from_predictions(
            evaluated.y_true,
            evaluated.y_prob,
            names,
            threshold=evaluated.threshold,
            patient_ids=evaluated.patient_ids,
            labels=evaluated.labels,
            warned=[bool(warnings) for warnings in evaluated.warnings],
            order=[*order, NO_SITE],
            n_bootstrap=evaluated.n_bootstrap,
            seed=evaluated.seed,
        )
        tables.append(GroupTable(by, column, table))
    return tuple(tables)


def group_display(
    tables: Sequence[GroupTable], n: int, roc_auc: float | None, interval: Interval | None
) -> SiteDisplay:
    """Return the forest plot of all groups, with all n films and their area at the bottom."""
    rows = [
        (f"{each.column} {row.site}", row.n, row.roc_auc, row.roc_auc_ci95)
        for each in tables
        for row in each.table.rows
    ]
    return SiteDisplay((*rows, (ALL, n, roc_auc, interval)), title="Area under ROC by group")
