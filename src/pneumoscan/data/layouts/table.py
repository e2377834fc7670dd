"""The table layout: a CSV file with a row for every film."""

import csv
import io
import math
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pneumoscan.data.manifest import CLASS_NAMES, FilmRecord, Manifest, Split, View
from pneumoscan.data.names import facts_of, split_named
from pneumoscan.errors import LayoutError

COLUMNS = ("path", "label", "patient_id", "split", "site", "view", "age")
_LABELS = {"0": 0, "1": 1} | {name: label for label, name in enumerate(CLASS_NAMES)}
_VIEWS: dict[str, View] = {"PA": "PA", "AP": "AP"}
# Plain years, or a DICOM age string of years, months, weeks or days.
_AGE = re.compile(r"(\d{1,3}(?:[.,]\d+)?)\s*([YMWD]?)", re.IGNORECASE)
_PER_YEAR = {"": 1.0, "Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}
MAX_AGE = 130.0


@dataclass(frozen=True)
class _Row:
    """One line of the file: its cells by column name, and where it stands."""

    place: str
    line: int
    cells: dict[str, str]


def load_csv(
    path: Path, *, labels_required: bool = True, splits: Mapping[str, Split] | None = None
) -> Manifest:
    """Read `path,label[,patient_id,split,site,view,age]`, with `,` `;` or tab between the cells and a heading in the first line.

    Paths are relative to the file's folder. Labels are 0, 1, NORMAL or PNEUMONIA. Without a `split` the films are
    train; without a `patient_id` the file name tells it. A `view` other than PA or AP and an `age` that is no number of
    years are not taken over, and a note counts them.

    Args:
        path: The file, UTF-8 with or without a byte order mark.
        labels_required: False takes films without a label (-1 then); their split is `test` if none is given.
        splits: By path, the split of films for which the table tells none.

    Raises:
        LayoutError: It is not such a table; names the line and the column.
    """
    header, rows = _open(path)
    _check_header(path, header, labels_required)
    films: list[FilmRecord] = []
    seen: dict[str, int] = {}
    unread = Counter[str]()
    for row in rows:
        film = _film(row, labels_required, splits or {})
        unread += Counter(
            name for name in ("view", "age") if row.cells.get(name) and getattr(film, name) is None
        )
        if film.path in seen:
            raise LayoutError(
                f"{row.place}, column path: {film.path!r} is also in line {seen[film.path]}.",
                "Name every film once.",
            )
        seen[film.path] = row.line
        films.append(film)
    return Manifest(path.parent, "csv", tuple(films), notes=_notes(path, header, unread)).in_order()


def has_film_columns(path: Path) -> bool:
    """Tell whether a file's first line names the columns of a table of films."""
    header, _ = _open(path)
    return {"path", "label"} <= set(header)


def _open(path: Path) -> tuple[list[str], Iterator[_Row]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as problem:
        raise LayoutError(
            f"{path} is not UTF-8 text (byte {problem.start}).", "Save it as UTF-8."
        ) from problem
    except OSError as problem:
        raise LayoutError(
            f"{path} cannot be read: {problem.strerror}.", "Check its permissions."
        ) from problem
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
    except csv.Error as problem:
        raise LayoutError(f"{path} line 1: {problem}.", "It must be a table in CSV.") from problem
    return header, _rows(path, header, reader)


def _rows(path: Path, header: list[str], reader: Any) -> Iterator[_Row]:
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            place = f"{path} line {reader.line_num}"
            if len(cells) > len(header):
                raise LayoutError(
                    f"{place}: {len(cells)} cells under {len(header)} columns.",
                    "Quote cells that hold a comma.",
                )
            yield _Row(
                place,
                reader.line_num,
                {name: cell.strip() for name, cell in zip(header, cells, strict=False)},
            )
    except csv.Error as problem:
        raise LayoutError(f"{path} line {reader.line_num}: {problem}.", "Mend the line.") from problem


def _check_header(path: Path, header: list[str], labels_required: bool) -> None:
    needed = ("path", "label") if labels_required else ("path",)
    for name in needed:
        if name not in header:
            shown = ", ".join(header)[:200] or "nothing"
            raise LayoutError(
                f"{path} line 1 has no column {name!r}; it has {shown}.",
                "The columns are path,label and, if you like, patient_id,split,site,view,age.",
            )
    for name in COLUMNS:
        if header.count(name) > 1:
            raise LayoutError(f"{path} line 1 has the column {name!r} twice.", "Name every column once.")


def _film(row: _Row, labels_required: bool, splits: Mapping[str, Split]) -> FilmRecord:
    given = row.cells.get("path", "")
    if not given or "\0" in given:
        raise LayoutError(f"{row.place}, column path: no path.", "Every row names a film's file.")
    path = posixpath.normpath(given)
    label = _label(row, labels_required)
    facts = facts_of(path)
    return FilmRecord(
        path=path,
        label=label,
        split=_split(row, splits.get(path, "train" if labels_required else "test")),
        patient_id=row.cells.get("patient_id") or facts.patient_id,
        cause=facts.cause if label != 0 else None,
        site=" ".join(row.cells.get("site", "").split()),
        view=_VIEWS.get(row.cells.get("view", "").upper()),
        age=years_of(row.cells.get("age", "")),
    )


def years_of(text: str) -> float | None:
    """Read an age, as `58`, `58.5` or `058Y` (also months M, weeks W, days D), in years; None if it is none."""
    match = _AGE.fullmatch(text.strip())
    if match is None:
        return None
    years = float(match[1].replace(",", ".")) / _PER_YEAR[match[2].upper()]
    return years if math.isfinite(years) and years <= MAX_AGE else None


def _label(row: _Row, labels_required: bool) -> int:
    given = row.cells.get("label", "")
    if not given and not labels_required:
        return -1
    try:
        return _LABELS[given.upper()]
    except KeyError:
        raise LayoutError(
            f"{row.place}, column label: {given!r}.", "A label is 0 or NORMAL, 1 or PNEUMONIA."
        ) from None


def _split(row: _Row, default: Split) -> Split:
    given = row.cells.get("split", "")
    if not given:
        return default
    split = split_named(given)
    if split is None:
        raise LayoutError(f"{row.place}, column split: {given!r}.", "A split is train, val or test.")
    return split


def _notes(path: Path, header: list[str], unread: Counter[str]) -> tuple[str, ...]:
    others = sorted({name or "(without a name)" for name in header} - set(COLUMNS))
    notes = [f"columns of {path.name} passed over: {', '.join(others)[:200]}."] if others else []
    notes += [
        f"{count} cell{'' if count == 1 else 's'} of column {name} not understood, left empty."
        for name, count in sorted(unread.items())
    ]
    return tuple(notes)
