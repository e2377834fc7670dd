"""The table layout: a CSV file with one row per film."""

import math
import posixpath
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pneumoscan.data.layouts.rows import Row, open_rows
from pneumoscan.data.manifest import CLASS_NAMES, FilmRecord, Manifest, Split, View
from pneumoscan.data.names import facts_of, split_named
from pneumoscan.errors import LayoutError

REQUIRED = ("path", "label")
COLUMNS = (*REQUIRED, "patient_id", "split", "site", "view", "age")
_LABELS = {"0": 0, "1": 1} | {name: label for label, name in enumerate(CLASS_NAMES)}
_VIEWS: dict[str, View] = {"PA": "PA", "AP": "AP"}
# Plain years, or a DICOM age string of years, months, weeks or days.
_AGE = re.compile(r"(\d{1,3}(?:[.,]\d+)?)\s*([YMWD]?)", re.IGNORECASE)
_PER_YEAR = {"": 1.0, "Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}
MAX_AGE = 130.0


def load_csv(
    path: Path, *, labels_required: bool = True, splits: Mapping[str, Split] | None = None
) -> Manifest:
    """Read `path,label[,patient_id,split,site,view,age]`, with the names of the columns in the first line.

    Cells are separated by `,` `;` or tab. Paths are relative to the folder of the file. Labels are 0, 1, NORMAL or
    PNEUMONIA. Films without a `split` are train. Without a `patient_id` it is derived from the file name. A `view` other
    than PA or AP, and an `age` that is not a number of years, are ignored, and a note counts them.

    Args:
        path: The file, UTF-8 with or without a byte order mark.
        labels_required: False accepts films without a label (then -1); their split is `test` if none is given.
        splits: By path, the split of films for which the table gives none.

    Raises:
        LayoutError: The table has an error; the message names line and column.
    """
    header, rows = open_rows(path)
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
                "List every film once.",
            )
        seen[film.path] = row.line
        films.append(film)
    return Manifest(path.parent, "csv", tuple(films), notes=_notes(path, header, unread)).in_order()


def _check_header(path: Path, header: list[str], labels_required: bool) -> None:
    needed = REQUIRED if labels_required else ("path",)
    for name in needed:
        if name not in header:
            shown = ", ".join(header)[:200] or "nothing"
            raise LayoutError(
                f"{path} line 1 has no column {name!r}; it has {shown}.",
                "The columns are path,label and optionally patient_id,split,site,view,age.",
            )
    for name in COLUMNS:
        if header.count(name) > 1:
            raise LayoutError(f"{path} line 1 has the column {name!r} twice.", "Give every column once.")


def _film(row: Row, labels_required: bool, splits: Mapping[str, Split]) -> FilmRecord:
    given = row.cells.get("path", "")
    if not given or "\0" in given:
        raise LayoutError(f"{row.place}, column path: no path.", "Every row needs the path of a film.")
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
        view=view_of(row.cells.get("view", "")),
        age=years_of(row.cells.get("age", "")),
    )


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


def _label(row: Row, labels_required: bool) -> int:
    given = row.cells.get("label", "")
    if not given and not labels_required:
        return -1
    try:
        return _LABELS[given.upper()]
    except KeyError:
        raise LayoutError(
            f"{row.place}, column label: {given!r}.", "A label is 0 or NORMAL, 1 or PNEUMONIA."
        ) from None


def _split(row: Row, default: Split) -> Split:
    given = row.cells.get("split", "")
    if not given:
        return default
    split = split_named(given)
    if split is None:
        raise LayoutError(f"{row.place}, column split: {given!r}.", "A split is train, val or test.")
    return split


def _notes(path: Path, header: list[str], unread: Counter[str]) -> tuple[str, ...]:
    others = sorted({name or "(without a name)" for name in header} - set(COLUMNS))
    notes = [f"columns of {path.name} ignored: {', '.join(others)[:200]}."] if others else []
    notes += [
        f"{count} cell{'' if count == 1 else 's'} of column {name} not understood, left empty."
        for name, count in sorted(unread.items())
    ]
    return tuple(notes)
