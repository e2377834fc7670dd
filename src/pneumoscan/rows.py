"""The prediction row of a film, its form in a CSV or JSONL file, and the continuation of an interrupted file."""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from pneumoscan.errors import FilmError, UsageError
from pneumoscan.files import locked, make_folder, write_problems

COLUMNS = (
    "path", "status", "probability", "label", "threshold", "warnings", "error_code", "error", "model",
)  # fmt: skip
REGION_COLUMNS = ("right_lung_with_evidence", "left_lung_with_evidence", "regions")
"""What `predict --regions` adds."""
FORMATS = ("csv", "jsonl")
_QUOTED_IF_INSIDE = frozenset('",\r\n')
# A spreadsheet interprets text that begins like this as a formula; quotes protect the name.
_QUOTED_IF_FIRST = ("=", "+", "-", "@", "\t", " ")


@dataclass(frozen=True)
class PredictionRow:
    """The result for one input, also for one that could not be used.

    Attributes:
        path: The path as given; `<bytes>`, `<image>` or `<array>` if there is none.
        status: `ok` or `refused`.
        probability: Probability of PNEUMONIA in [0, 1]; None if refused, and for NOT_A_CHEST_FILM.
        label: `PNEUMONIA` if `probability >= threshold`, else `NORMAL`; `UNSURE` or `NOT_A_CHEST_FILM` if the model abstains
            (`classifier`); empty if refused.
        threshold: The threshold in [0, 1] that gave the label.
        warnings: Reasons to trust the probability less: `smaller_than_input`, `unusual_shape`, `low_contrast`,
            `model_of_synthetic_films`, `no_lungs`, `one_lung`, `lungs_cut`, `unusual_lungs`, `far_from_training_films`,
            `near_threshold`.
        error_code: Code of the error (`pneumoscan.errors`); empty if the film was read.
        error: The same in words.
        model: Name and first 12 digits of the SHA-256 of the network.
        regions: `REGION_COLUMNS`, as `bundle.regions.Regions.to_json` returns them; None if they were not asked for, or if the film
            was refused.
    """

    path: str
    status: Literal["ok", "refused"]
    probability: float | None
    label: str
    threshold: float
    warnings: tuple[str, ...]
    error_code: str
    error: str
    model: str
    regions: Mapping[str, Any] | None = None

    def to_json(self, columns: Sequence[str] = COLUMNS) -> dict[str, Any]:
        """Return the columns in order as JSON types."""
        values = {name: getattr(self, name) for name in COLUMNS} | {"warnings": list(self.warnings)}
        more = dict.fromkeys(REGION_COLUMNS) if self.regions is None else self.regions
        return values | {name: more[name] for name in columns[len(COLUMNS) :]}

    def to_line(self, file_format: str, columns: Sequence[str] = COLUMNS) -> bytes:
        """Return the row as one record of a `csv` or `jsonl` file, with its line end.

        Probabilities have at least 6 decimals, and as many as needed to restore the same float64. Warnings are joined by `;`
        in CSV, and regions are JSON. Names that are not UTF-8 keep their bytes in CSV and are escaped in JSONL.
        """
        if file_format == "jsonl":
            return _json_line(self.to_json(columns))
        values = self.to_json(columns)
        values |= {name: _in_csv(values[name]) for name in columns[len(COLUMNS) :]}
        values |= {
            "probability": "" if self.probability is None else decimals(self.probability, 6),
            "threshold": decimals(self.threshold, 2),
            "warnings": ";".join(self.warnings),
        }
        return (",".join(map(_csv_field, values.values())) + "\n").encode("utf-8", "surrogateescape")


def header(file_format: str, columns: Sequence[str] = COLUMNS) -> bytes:
    """Return the header: the names of the columns in CSV, nothing in JSONL."""
    return (",".join(columns) + "\n").encode() if file_format == "csv" else b""


def refused_row(model: str, path: str, threshold: float, problem: FilmError) -> PredictionRow:
    """Return the row of a film that cannot be read; `model` is its column `model`."""
    return PredictionRow(path, "refused", None, "", threshold, (), problem.code, str(problem), model)


def decimals(value: float, least: int) -> str:
    """Write a float64 without exponent, with at least so many decimals and as many as it takes to read it again."""
    return str(np.format_float_positional(value, unique=True, min_digits=least))


def _csv_field(value: object) -> str:
    text = str(value)
    if text.startswith(_QUOTED_IF_FIRST) or not _QUOTED_IF_INSIDE.isdisjoint(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def _in_csv(value: object) -> str:
    return "" if value is None else json.dumps(value, separators=(",", ":"))


def _json_line(values: dict[str, Any]) -> bytes:
    try:
        return (json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(values, allow_nan=False) + "\n").encode()


_JSONL_START = b'{"path": '
_KNOWN = (COLUMNS, (*COLUMNS, *REGION_COLUMNS))


@dataclass
class RowFile:
    """An open file of rows.

    Attributes:
        file: The open file.
        file_format: `csv` or `jsonl`.
        done: Number of rows of each path from the run that is continued.
        counts: Rows by status, including those of the earlier run.
        columns: The columns of every row.
    """

    file: BinaryIO
    file_format: str
    done: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    columns: Sequence[str] = COLUMNS

    def add(self, row: PredictionRow) -> None:
        """Write one row at once. If the process is killed, only the last row can be incomplete."""
        self.counts[row.status] += 1
        self._write(row.to_line(self.file_format, self.columns))

    def begin(self) -> None:
        """Write the header."""
        self._write(header(self.file_format, self.columns))

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
    path: Path,
    file_format: str,
    *,
    model: str,
    threshold: float,
    resume: bool,
    films: Sequence[str] = (),
    columns: Sequence[str] = COLUMNS,
) -> Iterator[RowFile]:
    """Open `path` for rows: after its last complete row with `resume`, else from its beginning.

    Args:
        path: The file. One that is not empty is overwritten only if it is a file of rows.
        file_format: `csv` or `jsonl`.
        model: The column `model` of the rows to come; earlier rows must have the same.
        threshold: The column `threshold`; likewise.
        resume: Continue the file. An incomplete last row is removed.
        films: The paths whose rows are to come. Without `resume`, a file with rows of some of them is not overwritten.
        columns: The columns of every row; earlier rows must have the same.

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
                rows = RowFile(device, file_format, columns=columns)
                rows.begin()
                yield rows
            return
        with locked(path, what=str(path)), path.open("r+b", buffering=0) as file:
            earlier = (
                _earlier(path, file_format, model, threshold, columns) if resume else _nothing(path, films)
            )
            file.truncate(earlier.end)
            file.seek(earlier.end)
            rows = RowFile(file, file_format, earlier.done, earlier.counts, columns)
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
        columns = next((known for known in _KNOWN if start == header("csv", known)), None)
        done, is_whole = Counter[str](), True
        for record in _records(file, quoted=columns is not None):
            is_whole = record.endswith(b"\n")
            if is_whole and not (columns and record == header("csv", columns)):
                done[_parse(record, "csv" if columns else "jsonl", path, columns)["path"]] += 1
    if done and (not is_whole or done < Counter(films)):
        raise UsageError(
            f"{path} has the rows of an interrupted run, {done.total()} of {len(films)}.",
            "Continue it with --resume, or delete the file to begin again.",
        )
    return _Earlier()


def _earlier(path: Path, file_format: str, model: str, threshold: float, columns: Sequence[str]) -> _Earlier:
    earlier = _Earlier()
    with path.open("rb") as file:
        for record in _records(file, quoted=file_format == "csv"):
            if not record.endswith(b"\n"):
                _check_start(record if earlier.end == 0 else b"", path)
                break
            if file_format == "csv" and earlier.end == 0:
                others = [header("csv", known) for known in _KNOWN if known != columns]
                _check(
                    record not in others, path, "has other columns: it was written with or without --regions"
                )
                _check(record == header("csv", columns), path, "is not a CSV file of prediction rows")
            else:
                values = _parse(record, file_format, path, columns)
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


def _parse(record: bytes, file_format: str, path: Path, columns: Sequence[str] | None) -> dict[str, Any]:
    """Return the values of a row; `columns` None allows those of every kind of row."""
    try:
        values: dict[str, Any]
        values = json.loads(record) if file_format == "jsonl" else _csv_values(record, columns or COLUMNS)
        if tuple(values) in ([columns] if columns else _KNOWN) and float(values["threshold"]) >= 0:
            return values
    except (ValueError, TypeError, csv.Error, StopIteration):
        pass
    raise UsageError(
        f"{path} has a line that is not a {file_format.upper()} prediction row.", "Choose another --out."
    )


def _csv_values(record: bytes, columns: Sequence[str]) -> dict[str, Any]:
    text = StringIO(record.decode("utf-8", "surrogateescape"), newline="")
    return dict(zip(columns, next(csv.reader(text, strict=True)), strict=True))


def _check_start(start: bytes, path: Path) -> None:
    """Raise an error for a file that contains no rows, such as a film given by mistake."""
    known = (*(header("csv", columns) for columns in _KNOWN), _JSONL_START)
    _check(
        any(start.startswith(text) or text.startswith(start) for text in known),
        path,
        "is not a file of prediction rows",
    )


def _check(holds: bool, path: Path, what: str) -> None:
    if not holds:
        raise UsageError(f"{path} {what}.", "Choose another --out.")
