"""CheXpert: 224,316 films of adults of one hospital, with findings mined from their reports.

J. Irvin et al., "CheXpert: A Large Chest Radiograph Dataset with Uncertainty Labels", AAAI 2019. The tables are
`train.csv` and `valid.csv`; 1.0 means that a finding is present, 0.0 that it is absent, -1.0 that the report is uncertain.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pneumoscan.data.layouts.known.findings import NO_FINDING, chosen, in_words, passed_over
from pneumoscan.data.layouts.rows import Row, check_columns, names_columns, open_rows
from pneumoscan.data.layouts.table import view_of, years_of
from pneumoscan.data.manifest import FilmRecord, Manifest, Split
from pneumoscan.errors import LayoutError

TABLES: dict[str, Split] = {"train.csv": "train", "valid.csv": "val"}
COLUMNS = ("path", "frontal/lateral", "no finding")
# The columns before the findings.
_ABOUT = ("path", "sex", "age", "frontal/lateral", "ap/pa")
_PATIENT = re.compile(r"patient\d+")
_TRIED = 50


def is_at(folder: Path) -> bool:
    """Return whether a folder contains a table with the columns of the set."""
    return any((folder / name).is_file() and names_columns(folder / name, COLUMNS) for name in TABLES)


def load(folder: Path, findings: tuple[str, ...] = ()) -> Manifest:
    """Read the frontal films: those with a chosen finding are PNEUMONIA, those with `No Finding` NORMAL.

    Films whose chosen findings are uncertain, and films with neither, are left out. `valid.csv` is the split val.

    Args:
        folder: Folder of the tables.
        findings: Findings that count as PNEUMONIA; by default `Pneumonia`.

    Raises:
        LayoutError: A table has other columns, or its films are missing.
        UsageError: The set has no such finding.
    """
    passed, films = Counter[str](), list[FilmRecord]()
    for name, split in TABLES.items():
        if (folder / name).is_file():
            films += _films(folder, folder / name, split, findings, passed)
    notes = [note for what, count in sorted(passed.items()) for note in passed_over(count, what)]
    return Manifest(folder, "chexpert", tuple(films), tuple(notes)).in_order()


def _films(
    folder: Path, table: Path, split: Split, findings: tuple[str, ...], passed: Counter[str]
) -> Iterator[FilmRecord]:
    header, found = open_rows(table)
    check_columns(table, header, COLUMNS)
    positive = chosen(findings, [name.title() for name in header if name and name not in _ABOUT])
    check_columns(table, header, [name.lower() for name in positive])
    rows = list(found)
    base = _base(folder, table, rows)
    for row in rows:
        label = _label(row, positive)
        path = base + _inner(row)
        if isinstance(label, str):
            passed[label] += 1
        elif not (folder / path).is_file():
            passed["of the tables without a file"] += 1
        else:
            yield _film(row, path, label, split)


def _label(row: Row, positive: tuple[str, ...]) -> int | str:
    """Return the label, or the reason why the film has none."""
    if row.cells["frontal/lateral"].lower() != "frontal":
        return "of another view than frontal"
    marks = {_mark(row, name) for name in positive}
    if 1.0 in marks:
        return 1
    if -1.0 in marks:
        return f"of uncertain {in_words(positive)}"
    if _mark(row, NO_FINDING) == 1.0:
        return 0
    return f"with other findings than {in_words(positive)}"


def _mark(row: Row, finding: str) -> float:
    cell = row.cells.get(finding.lower(), "")
    try:
        return float(cell or 0)
    except ValueError:
        raise LayoutError(
            f"{row.place}, column {finding}: {cell!r}.", "A finding is 1.0, 0.0, -1.0 or empty."
        ) from None


def _film(row: Row, path: str, label: int, split: Split) -> FilmRecord:
    patient = _PATIENT.search(path)
    return FilmRecord(
        path=path,
        label=label,
        split=split,
        patient_id=patient[0] if patient else path,
        view=view_of(row.cells.get("ap/pa", "")),
        age=years_of(row.cells.get("age", "")),
    )


def _inner(row: Row) -> str:
    """Return the path relative to the folder of the set: `train/patient00001/…`."""
    first, _, rest = row.cells["path"].partition("/")
    return rest if first.lower().startswith("chexpert") else row.cells["path"]


def _base(folder: Path, table: Path, rows: list[Row]) -> str:
    """Return the prefix between the folder and that of the set: empty, or the first part of the paths in the table."""
    for row in rows[:_TRIED]:
        outer = row.cells["path"].removesuffix(_inner(row))
        for base in dict.fromkeys(("", outer)):
            if (folder / (base + _inner(row))).is_file():
                return base
    raise LayoutError(
        f"none of the first films of {table} is in {folder}.", "Unpack the set's archive there."
    )
