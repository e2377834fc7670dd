"""Read a CSV file row by row, with errors that name the line."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pneumoscan.errors import LayoutError

MAX_HEADER = 64 * 1024


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
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as problem:
        raise LayoutError(
            f"{path} is not UTF-8 text (byte {problem.start}).", "Save it as UTF-8."
        ) from problem
    except OSError as problem:
        raise LayoutError(
            f"{path} cannot be read: {problem.strerror}.", "Check its permissions."
        ) from problem
    delimiter = _delimiter(text.split("\n", 1)[0])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
    except csv.Error as problem:
        raise LayoutError(f"{path} line 1: {problem}.", "It must be a table in CSV.") from problem
    return header, _rows(path, header, reader)


def _delimiter(first_line: str) -> str:
    return max(",;\t", key=first_line.count)


def _rows(path: Path, header: list[str], reader: Any) -> Iterator[Row]:
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            place = f"{path} line {reader.line_num}"
            if len(cells) > len(header):
                raise LayoutError(
                    f"{place}: {len(cells)} cells under {len(header)} columns.",
                    "Quote cells that contain a comma.",
                )
            yield Row(
                place,
                reader.line_num,
                {name: cell.strip() for name, cell in zip_longest(header, cells, fillvalue="")},
            )
    except csv.Error as problem:
        raise LayoutError(f"{path} line {reader.line_num}: {problem}.", "Correct the line.") from problem


def names_columns(path: Path, names: Sequence[str]) -> bool:
    """Return whether the first line of a file has every column of `names` (lower case)."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            first = file.readline(MAX_HEADER)
        header = next(csv.reader([first], delimiter=_delimiter(first)), [])
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
