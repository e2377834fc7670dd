"""The file of prediction rows, written row by row, and the continuation of an interrupted one."""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, BinaryIO

from pneumoscan.errors import UsageError
from pneumoscan.files import locked, make_folder, write_problems
from pneumoscan.inference.rows import COLUMNS, PredictionRow, header

_JSONL_START = b'{"path": '


@dataclass
class RowFile:
    """An open file of rows.

    Attributes:
        file: The open file.
        file_format: `csv` or `jsonl`.
        done: Number of rows of each path from the run that is continued.
        counts: Rows by status, including those of the earlier run.
    """

    file: BinaryIO
    file_format: str
    done: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, row: PredictionRow) -> None:
        """Write one row at once. If the process is killed, only the last row can be incomplete."""
        self.counts[row.status] += 1
        self._write(row.to_line(self.file_format))

    def begin(self) -> None:
        """Write the header."""
        self._write(header(self.file_format))

    def left(self, paths: list[str]) -> Iterator[str]:
        """Yield the paths that have no row yet, in order."""
        done = Counter(self.done)
        for path in paths:
            if done[path] > 0:
                done[path] -= 1
            else:
                yield path

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self.file.write(view) :]
        self.file.flush()


@contextmanager
def open_rows(
    path: Path, file_format: str, *, model: str, threshold: float, resume: bool, films: Sequence[str] = ()
) -> Iterator[RowFile]:
    """Open `path` for rows: after its last complete row with `resume`, else from its beginning.

    Args:
        path: The file. One that is not empty is overwritten only if it is a file of rows.
        file_format: `csv` or `jsonl`.
        model: The column `model` of the rows to come; earlier rows must have the same.
        threshold: The column `threshold`; likewise.
        resume: Continue the file. An incomplete last row is removed.
        films: The paths whose rows are to come. Without `resume`, a file with rows of some of them is not overwritten.

    Raises:
        UsageError: The file contains something else, or rows of another model, threshold or format, or an interrupted run is
            there that `resume` would continue.
        LockedError: Another process writes to it.
        DiskFullError, NotWritableError: The file cannot be written.
    """
    make_folder(path.parent)
    with write_problems(path):
        if path.exists() and not path.is_file():
            with path.open("wb", buffering=0) as device:
                rows = RowFile(device, file_format)
                rows.begin()
                yield rows
            return
        with locked(path, what=str(path)), path.open("r+b", buffering=0) as file:
            earlier = _earlier(path, file_format, model, threshold) if resume else _nothing(path, films)
            file.truncate(earlier.end)
            file.seek(earlier.end)
            rows = RowFile(file, file_format, earlier.done, earlier.counts)
            if earlier.end == 0:
                rows.begin()
            yield rows


@dataclass
class _Earlier:
    """The complete rows of an interrupted file, and the position after the last of them."""

    done: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    end: int = 0


def _nothing(path: Path, films: Sequence[str]) -> _Earlier:
    """Check that nothing is lost if the file is overwritten: it has no rows, or all of a run that has ended."""
    with path.open("rb") as file:
        start = file.readline(4096)
        _check_start(start, path)
        file.seek(0)
        is_csv = start == header("csv")
        done, is_whole = Counter[str](), True
        for record in _records(file, quoted=is_csv):
            is_whole = record.endswith(b"\n")
            if is_whole and record != header("csv"):
                done[_parse(record, "csv" if is_csv else "jsonl", path)["path"]] += 1
    if done and (not is_whole or done < Counter(films)):
        raise UsageError(
            f"{path} has the rows of an interrupted run, {done.total()} of {len(films)}.",
            "Continue it with --resume, or delete the file to begin again.",
        )
    return _Earlier()


def _earlier(path: Path, file_format: str, model: str, threshold: float) -> _Earlier:
    earlier = _Earlier()
    with path.open("rb") as file:
        for record in _records(file, quoted=file_format == "csv"):
            if not record.endswith(b"\n"):
                _check_start(record if earlier.end == 0 else b"", path)
                break
            if file_format == "csv" and earlier.end == 0:
                _check(record == header("csv"), path, "is not a CSV file of prediction rows")
            else:
                values = _parse(record, file_format, path)
                _check(
                    values["model"] == model, path, f"has rows of the model {values['model']}, not {model}"
                )
                _check(
                    float(values["threshold"]) == threshold,
                    path,
                    f"has rows at threshold {values['threshold']}",
                )
                earlier.done[values["path"]] += 1
                earlier.counts[values["status"]] += 1
            earlier.end += len(record)
    return earlier


def _records(file: BinaryIO, *, quoted: bool) -> Iterator[bytes]:
    """Yield the records. With `quoted`, a line end between quotes belongs to its record. The last may be incomplete."""
    record = b""
    for line in file:
        record += line
        if not quoted or record.count(b'"') % 2 == 0:
            yield record
            record = b""
    if record:
        yield record.removesuffix(b"\n")


def _parse(record: bytes, file_format: str, path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(record) if file_format == "jsonl" else _csv_values(record)
        if tuple(values) == COLUMNS and float(values["threshold"]) >= 0:
            return values
    except (ValueError, TypeError, csv.Error, StopIteration):
        pass
    raise UsageError(
        f"{path} has a line that is not a {file_format.upper()} prediction row.", "Choose another --out."
    )


def _csv_values(record: bytes) -> dict[str, Any]:
    text = StringIO(record.decode("utf-8", "surrogateescape"), newline="")
    return dict(zip(COLUMNS, next(csv.reader(text, strict=True)), strict=True))


def _check_start(start: bytes, path: Path) -> None:
    """Raise an error for a file that contains no rows, such as a film given by mistake."""
    known = (header("csv"), _JSONL_START)
    _check(
        any(start.startswith(text) or text.startswith(start) for text in known),
        path,
        "is not a file of prediction rows",
    )


def _check(holds: bool, path: Path, what: str) -> None:
    if not holds:
        raise UsageError(f"{path} {what}.", "Choose another --out.")
