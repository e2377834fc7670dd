"""What readers say of the model's answers: agree, disagree, cannot say; and a CSV file of them that is only appended to.

The last verdict of a reader on a film counts; the earlier ones stay in the file. A verdict has an identifier of its own, so that one
that is sent twice is kept once.
"""

import csv
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

from pneumoscan.errors import DataDamagedError, UsageError
from pneumoscan.files import write_problems
from pneumoscan.rows import decimals
from pneumoscan.system import lock

AGREE, DISAGREE, CANNOT_SAY, NONE = "agree", "disagree", "cannot_say", "none"
VERDICTS = (AGREE, DISAGREE, CANNOT_SAY, NONE)
"""`none` takes an earlier verdict back, or has a note alone."""
MOST_BYTES = 16 * 1024
"""Of a verdict as JSON."""
_FORMS = {
    "time": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"),
    "sha256": re.compile("[0-9a-f]{64}"),
    "id": re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "label": re.compile("PNEUMONIA|NORMAL|UNSURE|NOT_A_CHEST_FILM"),
    "verdict": re.compile("|".join(VERDICTS)),
}
_LENGTHS = {"reader": 100, "path": 1000, "model": 200, "note": 1000}
# What a spreadsheet takes for a formula, and what was one before it got an apostrophe.
_FORMULA = re.compile(r"'*\s*[=+\-@]")
_FORMULA_MARK = re.compile(r"^'(?='*\s*[=+\-@])")


@dataclass(frozen=True)
class Verdict:
    """What a reader says of the model's answer for one film.

    Attributes:
        time: When it was given, UTC, as `2026-03-01T09:30:00.000Z`.
        reader: Name or initials; may be empty.
        path: Name of the film.
        sha256: Of the film's file, 64 hexadecimal digits.
        model: Column `model` of the row.
        probability: Of PNEUMONIA in [0, 1]; None for NOT_A_CHEST_FILM.
        label: The answer that the reader saw.
        threshold: That gave it, in [0, 1].
        verdict: One of `VERDICTS`.
        note: May be empty.
        id: A UUID that no other verdict has.
    """

    time: str
    reader: str
    path: str
    sha256: str
    model: str
    probability: float | None
    label: str
    threshold: float
    verdict: str
    note: str
    id: str

    @classmethod
    def from_json(cls, values: Any) -> "Verdict":
        """Check a verdict and return it; control characters in texts become spaces.

        Raises:
            UsageError: A value is missing, unknown or illegal; it is named, not quoted.
        """
        if not isinstance(values, Mapping) or set(values) != set(COLUMNS):
            raise UsageError("a verdict does not have these values and no others.", ", ".join(COLUMNS))
        checked = dict(values)
        for name in ("probability", "threshold"):
            value = values[name]
            if value is None and name == "probability":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise UsageError(f"a verdict's {name} is not a number from 0 to 1.")
            checked[name] = float(value)
        for name in set(COLUMNS) - {"probability", "threshold"}:
            value = values[name]
            if not isinstance(value, str) or (name in _FORMS and not _FORMS[name].fullmatch(value)):
                raise UsageError(f"a verdict's {name} is not valid.")
            if len(value) > _LENGTHS.get(name, 100):
                raise UsageError(f"a verdict's {name} has more than {_LENGTHS[name]} characters.")
            text = "".join(c if c.isprintable() else " " for c in value)
            checked[name] = text.encode("utf-8", "replace").decode()
        try:
            datetime.fromisoformat(checked["time"])
        except ValueError:
            raise UsageError("a verdict's time is not valid.") from None
        return cls(**checked)

    def to_json(self) -> dict[str, Any]:
        """Return the values in the order of the columns."""
        return {name: getattr(self, name) for name in COLUMNS}

    def to_line(self) -> str:
        """Return one line of a CSV file; a text that a spreadsheet would take for a formula gets an apostrophe before it."""
        numbers = {
            "probability": "" if self.probability is None else decimals(self.probability, 6),
            "threshold": decimals(self.threshold, 2),
        }
        texts = {name: text for name, text in self.to_json().items() if name not in numbers}
        safe = {name: f"'{text}" if _FORMULA.match(text) else text for name, text in texts.items()}
        return _csv_line((safe | numbers)[name] for name in COLUMNS)

    @classmethod
    def from_cells(cls, cells: Mapping[str, str]) -> "Verdict":
        """Return the verdict of a line of a CSV file; raises as `from_json`."""
        values: dict[str, Any] = {name: _FORMULA_MARK.sub("", cells[name]) for name in COLUMNS}
        try:
            values["probability"] = float(cells["probability"]) if cells["probability"] else None
            values["threshold"] = float(cells["threshold"])
        except ValueError:
            raise UsageError("a verdict's probability or threshold is no number.") from None
        return cls.from_json(values)


COLUMNS = tuple(field.name for field in fields(Verdict))
_HEADER = ",".join(COLUMNS) + "\n"


def _csv_line(cells: Iterable[str]) -> str:
    buffer = StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(list(cells))
    return buffer.getvalue()


def last_of(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return the verdict that counts for each film and reader: the last one in the order given, without those taken back."""
    last = {(one.reader, one.sha256): one for one in verdicts}
    return [one for one in last.values() if one.verdict != NONE]


class VerdictFile:
    """A CSV file of verdicts with the columns `COLUMNS`; several processes may append to it.

    Args:
        path: Created with its header if it is absent.

    Raises:
        UsageError: It is no such file.
        DataDamagedError: A line cannot be read.
        NotWritableError, DiskFullError: It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = threading.Lock()
        self._seen: dict[str, Verdict] = {}
        self._read_to = 0
        self._inode = -1
        with self._opened():
            pass

    def all(self) -> list[Verdict]:
        """Return all verdicts in the order in which they came; raises as the class."""
        with self._opened():
            return list(self._seen.values())

    def add(self, verdict: Verdict) -> bool:
        """Append a verdict and flush it to the disk; return False if one with its identifier is there already.

        Raises as the class. A verdict is either in the file as a whole or not at all.
        """
        with self._opened() as descriptor:
            if verdict.id in self._seen:
                return False
            self._append(descriptor, verdict.to_line())
            self._seen[verdict.id] = verdict
            return True

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """Open and lock the file, and read what is new in it."""
        with self._turn, write_problems(self.path, creating=True):
            descriptor = os.open(
                self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600
            )
            try:
                lock(descriptor, wait=True)
                self._read_on(descriptor)
                yield descriptor
            finally:
                os.close(descriptor)

    def _append(self, descriptor: int, text: str) -> None:
        before = os.fstat(descriptor).st_size
        data = text.encode()
        try:
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, before)
            raise
        self._read_to = os.fstat(descriptor).st_size

    def _read_on(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        if status.st_ino != self._inode or status.st_size < self._read_to:
            # Another file lies there now, or somebody took lines out.
            self._seen, self._read_to, self._inode = {}, 0, status.st_ino
        os.lseek(descriptor, self._read_to, os.SEEK_SET)
        data = b""
        while piece := os.read(descriptor, 1 << 20):
            data += piece
        if not data and not self._read_to:
            self._append(descriptor, _HEADER)
            return
        lines = data.split(b"\n")
        cut_off = lines.pop()
        at = self._read_to
        for line in lines:
            self._take(line, first=at == 0)
            at += len(line) + 1
        self._read_to = at
        if cut_off:
            self._settle(descriptor, cut_off)

    def _take(self, line: bytes, *, first: bool) -> None:
        try:
            text = line.decode("utf-8-sig" if first else "utf-8").rstrip("\r")
            cells = next(csv.reader([text], strict=True), [])
        except (UnicodeDecodeError, csv.Error):
            cells = []
        if first and cells != list(COLUMNS):
            raise UsageError(
                f"{self.path} is no file of verdicts: its first line is not {','.join(COLUMNS)}.",
                "Name a new file.",
            )
        if first or not line.strip():
            return
        try:
            verdict = Verdict.from_cells(dict(zip(COLUMNS, cells, strict=True)))
        except (UsageError, ValueError):
            raise DataDamagedError(
                f"{self.path}, line {len(self._seen) + 2}: it is no verdict.",
                "Correct the line, or name a new file.",
            ) from None
        self._seen[verdict.id] = verdict

    def _settle(self, descriptor: int, cut_off: bytes) -> None:
        """End a last line without line end if it is whole, as an editor may leave it; take it out if a crash cut it off."""
        if not self._read_to and _HEADER.encode().startswith(cut_off):
            os.ftruncate(descriptor, 0)
            self._append(descriptor, _HEADER)
            return
        try:
            self._take(cut_off, first=self._read_to == 0)
        except DataDamagedError:
            os.ftruncate(descriptor, self._read_to)
        else:
            self._append(descriptor, "\n")
