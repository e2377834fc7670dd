"""The table layout: a CSV file with one row per film, read row by row, with errors that name the line."""

import csv
import io
import math
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pneumoscan.bundle.spec import CLASS_NAMES
from pneumoscan.data.layouts.folder import facts_of, split_named
from pneumoscan.data.manifest import (
    Box,
    FilmRecord,
    Manifest,
    Reading,
    Sex,
    Split,
    View,
)
from pneumoscan.errors import LayoutError
from pneumoscan.files import as_text, encoding_of

MAX_HEADER = 64 * 1024
_SEPARATOR = re.compile(r'"?sep=(.)"?[^\S\n]*\n', re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        place: File and line, for messages.
        line: Its number, from 1.
        cells: Cells by the name of the column in lower case; empty if the line is short.
    """

    place: str
    line: int
    cells: dict[str, str]


def open_rows(path: Path) -> tuple[list[str], Iterator[Row]]:
    """Return the names of the columns in lower case, and the rows; cells are separated by `,` `;` or tab.

    Raises:
        LayoutError: The file cannot be read, or (during iteration) has an invalid line.
    """
    try:
        text = as_text(path.read_bytes())
    except UnicodeDecodeError as problem:
        raise LayoutError(
            f"{path} is not UTF-8 text (byte {problem.start}).", "Save it as UTF-8."
        ) from problem
    except OSError as problem:
        raise LayoutError(
            f"{path} cannot be read: {problem.strerror}.", "Check its permissions."
        ) from problem
    reader, before = _reader(text)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
    except csv.Error as problem:
        raise LayoutError(f"{path} line {before + 1}: {problem}.", "It must be a table in CSV.") from problem
    return header, _rows(path, header, reader, before)


def _reader(text: str) -> tuple[Any, int]:
    """Return a reader of the table, and how many lines stand before it: Excel's `sep=;` in the first line is no part of it."""
    named = _SEPARATOR.match(text)
    table = text[named.end() :] if named else text
    delimiter = named[1] if named else max(",;\t", key=table.partition("\n")[0].count)
    return csv.reader(io.StringIO(table, newline=""), delimiter=delimiter, strict=True), int(bool(named))


def _rows(path: Path, header: list[str], reader: Any, before: int) -> Iterator[Row]:
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            line = before + reader.line_num
            place = f"{path} line {line}"
            if len(cells) > len(header):
                raise LayoutError(
                    f"{place}: {len(cells)} cells under {len(header)} columns.",
                    "Quote cells that contain a comma.",
                )
            yield Row(
                place,
                line,
                {name: cell.strip() for name, cell in zip_longest(header, cells, fillvalue="")},
            )
    except csv.Error as problem:
        raise LayoutError(
            f"{path} line {before + reader.line_num}: {problem}.", "Correct the line."
        ) from problem


def names_columns(path: Path, names: Sequence[str]) -> bool:
    """Return whether the first line of a file has every column of `names` (lower case)."""
    try:
        with path.open("rb") as file:
            start = file.read(MAX_HEADER)
        header: list[str] = next(_reader(start.decode(encoding_of(start), "replace"))[0], [])
    except (OSError, csv.Error):
        return False
    return set(names) <= {name.strip().lower() for name in header}


def check_columns(path: Path, header: list[str], names: Sequence[str]) -> None:
    """Raise LayoutError unless a table has every column of `names` (lower case)."""
    missing = [name for name in names if name not in header]
    if missing:
        raise LayoutError(
            f"{path} line 1 has no column {missing[0]!r}; it has {', '.join(header)[:200] or 'nothing'}.",
            "Use the original file of the publisher.",
        )


# Films


REQUIRED = ("path", "label")
READING = "reading"
COLUMNS = (*REQUIRED, "patient_id", "split", "site", "view", "age", "sex", READING, "mask", "aerated")
BOXES = "boxes.csv"
_READINGS: dict[str, Reading] = {
    "NORMAL": "NORMAL", "ABNORMAL": "ABNORMAL", "OPACITY": "OPACITY",
    "NO LUNG OPACITY / NOT NORMAL": "ABNORMAL", "LUNG OPACITY": "OPACITY",
}  # fmt: skip
_LABELS = (
    {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
    | {name: label for label, name in enumerate(CLASS_NAMES)}
    | {name: int(reading == "OPACITY") for name, reading in _READINGS.items()}
)
_SEXES: dict[str, Sex] = {"F": "F", "FEMALE": "F", "W": "F", "M": "M", "MALE": "M"}
_VIEWS: dict[str, View] = {"PA": "PA", "AP": "AP"}
# Plain years, or a DICOM age string of years, months, weeks or days.
_AGE = re.compile(r"(\d{1,3}(?:[.,]\d+)?)\s*([YMWD]?)", re.IGNORECASE)
_PER_YEAR = {"": 1.0, "Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}
MAX_AGE = 130.0
_OF_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def load_csv(
    path: Path,
    *,
    labels_required: bool = True,
    splits: Mapping[str, Split] | None = None,
    truth: Sequence[str] = (),
) -> Manifest:
    """Read a table of films with the names of the columns (`COLUMNS`) in the first line.

    Cells are separated by `,` `;` or tab. Paths are relative to the folder of the file; backslashes count as slashes unless a
    film has such a name. Labels are 0, 1, NORMAL or
    PNEUMONIA; in a column of readings OPACITY is PNEUMONIA, and NORMAL and ABNORMAL are NORMAL. Films without a `split` are
    train. Without a `patient_id` it is derived from the file name. A `view` other than PA or AP, an `age` that is not a
    number of years, and an unknown `sex` or `reading` are ignored, and a note counts them. Boxes are read from `boxes.csv`
    beside the file, with the columns `path,x,y,width,height` in pixels of the film.

    Args:
        path: The file, in UTF-8, or UTF-16 as programs of Windows write it.
        labels_required: False accepts films without a label (then -1); their split is `test` if none is given.
        splits: By path, the split of films for which the table gives none.
        truth: The column of the labels, and optionally the values that count; films with another value or none are left
            out. By default every film, by the column `label`, or `reading` if there is no `label`.

    Raises:
        LayoutError: The table has an error; the message names line and column.
    """
    header, rows = open_rows(path)
    column = (
        truth[0].lower() if truth else READING if "label" not in header and READING in header else "label"
    )
    _check_header(path, header, column if labels_required or truth else None)
    kept = {value.upper() for value in truth[1:]}
    boxes = _boxes(path.parent / BOXES)
    films: list[FilmRecord] = []
    seen: dict[str, Row] = {}
    unread, left_out, repeated = Counter[str](), 0, 0
    for row in rows:
        given = row.cells.get(column, "").upper()
        if truth and (not given or (kept and given not in kept)):
            left_out += 1
            continue
        film = _film(row, column, labels_required, splits or {}, boxes, path.parent)
        if film.path in seen:
            if row.cells == seen[film.path].cells:
                repeated += 1
                continue
            raise LayoutError(
                f"{row.place}, column path: {film.path!r} is also in line {seen[film.path].line}, with other cells.",
                "List every film once.",
            )
        unread += Counter(
            name
            for name in ("view", "age", "sex", READING)
            if row.cells.get(name) and getattr(film, name) is None
        )
        seen[film.path] = row
        films.append(film)
    notes = _notes(path, header, unread, column)
    if repeated:
        notes += (f"{repeated} repeated line{'' if repeated == 1 else 's'} of {path.name} left out.",)
    if left_out:
        notes += (f"{left_out:,} film{'' if left_out == 1 else 's'} without {' or '.join(truth[1:]) or 'a value'} in "
                  f"the column {column} left out.",)  # fmt: skip
    if unknown := len(boxes.keys() - seen.keys()) if not truth else 0:
        notes += (
            f"{BOXES} has boxes of {unknown} film{'' if unknown == 1 else 's'} that {path.name} does not list.",
        )
    return Manifest(path.parent, "csv", tuple(films), notes=notes).in_order()


def _boxes(path: Path) -> dict[str, tuple[Box, ...]]:
    """Return the boxes of each film from a table beside the table of films; none if there is no such table."""
    if not path.is_file():
        return {}
    header, rows = open_rows(path)
    names = ("x", "y", "width", "height")
    check_columns(path, header, ("path", *names))
    boxes: dict[str, tuple[Box, ...]] = {}
    for row in rows:
        try:
            left, top, width, height = (float(row.cells[name].replace(",", ".")) for name in names)
        except ValueError:
            raise LayoutError(
                f"{row.place}: a box is not four numbers.", f"Give {', '.join(names)} in pixels."
            ) from None
        if not (math.isfinite(left + top + width + height) and width > 0 and height > 0):
            raise LayoutError(f"{row.place}: a box without area.", "Width and height are above 0, in pixels.")
        film = _slashed(row, row.cells["path"], path.parent)
        boxes[film] = (*boxes.get(film, ()), (left, top, width, height))
    return boxes


def _check_header(path: Path, header: list[str], label: str | None) -> None:
    for name in ("path", label):
        if name is not None and name not in header:
            shown = ", ".join(header)[:200] or "nothing"
            raise LayoutError(
                f"{path} line 1 has no column {name!r}; it has {shown}.",
                f"The columns are path,label and optionally {','.join(COLUMNS[2:])}.",
            )
    for name in COLUMNS:
        if header.count(name) > 1:
            raise LayoutError(f"{path} line 1 has the column {name!r} twice.", "Give every column once.")


def _film(
    row: Row,
    column: str,
    labels_required: bool,
    splits: Mapping[str, Split],
    boxes: Mapping[str, tuple[Box, ...]],
    folder: Path,
) -> FilmRecord:
    given = row.cells.get("path", "")
    if not given or "\0" in given:
        raise LayoutError(f"{row.place}, column path: no path.", "Every row needs the path of a film.")
    path = _slashed(row, given, folder)
    label = _label(row, column, labels_required)
    facts = facts_of(path)
    return FilmRecord(
        path=path,
        label=label,
        split=_split(row, splits.get(path, "train" if labels_required else "test")),
        patient_id=row.cells.get("patient_id") or facts.patient_id,
        cause=facts.cause if label != 0 else None,
        site=" ".join(row.cells.get("site", "").split()),
        reading=_READINGS.get(row.cells.get(READING, "").upper()),
        mask=_picture(row, "mask", folder),
        aerated=_picture(row, "aerated", folder),
        boxes=boxes.get(path, ()),
        **about_of(row, ("view", "age", "sex"), known=COLUMNS),
    )


def about_of(row: Row, names: tuple[str, str, str], *, known: Sequence[str]) -> dict[str, Any]:
    """Return `view`, `age`, `sex` and `others` of a film.

    Args:
        row: Its line.
        names: The columns of view, age and sex (lower case).
        known: Further columns that have a meaning of their own and are not among the others.
    """
    view, age, sex = (row.cells.get(name, "") for name in names)
    others = [(name, cell) for name, cell in row.cells.items() if name and cell]
    return {
        "view": view_of(view),
        "age": years_of(age),
        "sex": _SEXES.get(sex.upper()),
        "others": tuple((name, cell) for name, cell in others if name not in (*names, *known)),
    }


def _slashed(row: Row, given: str, folder: Path) -> str:
    """Return a normal path with slashes, of one that may be written as on Windows."""
    if "\\" not in given or (os.sep == "/" and os.path.lexists(folder / given)):
        return posixpath.normpath(given)
    if os.sep == "/" and _OF_WINDOWS.match(given):
        raise LayoutError(
            f"{row.place}, column path: {given!r} is a path of a Windows machine.",
            "Give paths relative to the folder of the table.",
        )
    return posixpath.normpath(given.replace("\\", "/"))


def _picture(row: Row, name: str, folder: Path) -> str:
    given = row.cells.get(name, "")
    return _slashed(row, given, folder) if "\\" in given else given


def view_of(text: str) -> View | None:
    """Return a view, `PA` or `AP`, in upper or lower case; None if it is neither."""
    return _VIEWS.get(text.strip().upper())


def years_of(text: str) -> float | None:
    """Return an age such as `58`, `58.5` or `058Y` (also months M, weeks W, days D) in years; None if invalid."""
    match = _AGE.fullmatch(text.strip())
    if match is None:
        return None
    years = float(match[1].replace(",", ".")) / _PER_YEAR[match[2].upper()]
    return years if math.isfinite(years) and years <= MAX_AGE else None


def _label(row: Row, column: str, labels_required: bool) -> int:
    given = row.cells.get(column, "")
    if not given and not labels_required:
        return -1
    try:
        return _LABELS[given.upper()]
    except KeyError:
        raise LayoutError(
            f"{row.place}, column {column}: {given!r}.",
            "A label is 0 or NORMAL, 1 or PNEUMONIA; a reading is NORMAL, ABNORMAL or OPACITY.",
        ) from None


def _split(row: Row, default: Split) -> Split:
    given = row.cells.get("split", "")
    if not given:
        return default
    split = split_named(given)
    if split is None:
        raise LayoutError(f"{row.place}, column split: {given!r}.", "A split is train, val or test.")
    return split


def _notes(path: Path, header: list[str], unread: Counter[str], label: str) -> tuple[str, ...]:
    others = sorted({name or "(without a name)" for name in header} - {*COLUMNS, label})
    notes = (
        [f"columns of {path.name} that only `evaluate --by` uses: {', '.join(others)[:200]}."]
        if others
        else []
    )
    notes += [
        f"{count} cell{'' if count == 1 else 's'} of column {name} not understood, left empty."
        for name, count in sorted(unread.items())
    ]
    return tuple(notes)
