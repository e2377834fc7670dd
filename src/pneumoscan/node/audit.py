"""The audit: what the node did, one JSON line for each event, each with the SHA-256 of the line before.

A line that is changed, or taken out, breaks the chain from there on; `verify` finds the place. Objects are named by the number of
their row in the queue, which says nothing about a patient to whoever has no access to it.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pneumoscan.errors import DataDamagedError
from pneumoscan.files import write_problems
from pneumoscan.system import lock

_TAIL = 1 << 13


class Audit:
    """A file that is only ever appended to; several processes may write to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = threading.Lock()
        with write_problems(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, event: str, **facts: Any) -> None:
        """Append an event, and flush it to the disk.

        Args:
            event: What happened.
            facts: More about it: numbers of rows, states, codes; nothing of a patient.

        Raises:
            NotWritableError, DiskFullError: It cannot be written.
        """
        self.write_all([(event, facts)])

    def write_all(self, events: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Append events, and flush them to the disk together; see `write`."""
        with self._turn, write_problems(self._path), self._opened() as descriptor:
            _append(descriptor, events)

    def write_once(self, event: str, facts: Mapping[str, Any], *, key: str) -> bool:
        """Append an event whose facts have an `id`, the key, unless one is there already; see `write`.

        Returns:
            Whether it was appended.
        """
        with self._turn, write_problems(self._path), self._opened() as descriptor:
            if f'"id": {json.dumps(key)}'.encode() in self._path.read_bytes():
                return False
            _append(descriptor, [(event, facts)])
            return True

    @contextmanager
    def _opened(self) -> Iterator[int]:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            lock(descriptor, wait=True)
            yield descriptor
        finally:
            os.close(descriptor)


def _append(descriptor: int, events: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    before, data = _last_line(descriptor), b""
    for event, facts in events:
        line = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event": event,
            **facts,
            "before": hashlib.sha256(before).hexdigest(),
        }
        before = json.dumps(line, ensure_ascii=False).encode()
        data += before + b"\n"
    while data:
        data = data[os.write(descriptor, data) :]
    os.fdatasync(descriptor) if hasattr(os, "fdatasync") else os.fsync(descriptor)


def _last_line(descriptor: int) -> bytes:
    """Return the last line, without its end; a line that a crash cut off is ended first, so that it stands for itself."""
    size = os.lseek(descriptor, 0, os.SEEK_END)
    start = max(0, size - _TAIL)
    os.lseek(descriptor, start, os.SEEK_SET)
    tail = os.read(descriptor, size - start)
    if tail and not tail.endswith(b"\n"):
        os.write(descriptor, b"\n")
        tail += b"\n"
    return tail.rstrip(b"\n").rpartition(b"\n")[2]


def verify(path: Path) -> int:
    """Check the chain of a file; return how many lines it has.

    Raises:
        DataDamagedError: A line does not have the hash of the one before.
    """
    before, count = b"", 0
    with path.open("rb") as file:
        for line in file:
            text = line.rstrip(b"\n")
            try:
                recorded = json.loads(text)["before"]
            except (ValueError, KeyError, TypeError):
                recorded = None
            # What a crash cut off is no line of JSON, and the next one tells its hash.
            if recorded is not None and recorded != hashlib.sha256(before).hexdigest():
                raise DataDamagedError(
                    f"{path}, line {count + 1}: the line before was changed or taken out.",
                    "Compare it with a copy.",
                )
            before, count = text, count + 1
    return count
