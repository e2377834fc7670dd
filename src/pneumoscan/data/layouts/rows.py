"""Read a CSV file row by row, with errors that name the line."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

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
