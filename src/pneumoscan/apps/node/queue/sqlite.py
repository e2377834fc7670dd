"""The queue's tables in one SQLite file: for one machine.

`synchronous=FULL`: what is committed is on the disk, also after a power cut. The file holds UIDs and accession numbers, so it
is for its owner alone.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pneumoscan.apps.node.queue.statements import Execute, Rows, SqlQueue, schema
from pneumoscan.errors import DataDamagedError, DiskFullError, LockedError, NotWritableError
from pneumoscan.files import write_problems

_BUSY_SECONDS = 30.0


class SqliteDatabase:
    """One file and one connection to it, which threads take in turns."""

    clock = "((julianday('now') - 2440587.5) * 86400.0)"
    skip_locked = ""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            DataDamagedError: It is no SQLite database.
            NotWritableError, DiskFullError: It cannot be made or written.
        """
        self._path = path
        self._turn = threading.RLock()
        with write_problems(path, creating=True):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        with self._problems():
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            for statement in schema("INTEGER PRIMARY KEY", "REAL"):
                self._connection.execute(statement)

    @contextmanager
    def transaction(self) -> Iterator[Execute]:
        """See `Database.transaction`."""
        with self._turn, self._problems():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._execute
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def integrity(self) -> str:
        """Return what SQLite's own check says: `ok`, or the first fault."""
        with self._turn, self._problems():
            return str(self._connection.execute("PRAGMA integrity_check").fetchone()[0])

    def close(self) -> None:
        """Close the connection."""
        with self._turn:
            self._connection.close()

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> Rows:
        return self._connection.execute(statement, tuple(values)).fetchall()

    @contextmanager
    def _problems(self) -> Iterator[None]:
        """Turn what SQLite says of the file into typed errors."""
        try:
            yield
        except sqlite3.DatabaseError as problem:
            kind = getattr(problem, "sqlite_errorcode", 0) & 0xFF
            if kind == sqlite3.SQLITE_FULL:
                raise DiskFullError(f"no space left to write {self._path}.", "Free some space.") from problem
            if kind in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR}:
                raise NotWritableError(
                    f"cannot write {self._path}: {problem}.", "See that its folder can be written."
                ) from problem
            if kind in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
                raise DataDamagedError(
                    f"{self._path} is no whole database: {problem}.",
                    "Put it aside and start anew: what is stored in the PACS is found there and not stored again.",
                ) from problem
            if kind == sqlite3.SQLITE_BUSY:
                raise LockedError(f"{self._path} is in use by another process.", "Try again.") from problem
            raise


def open_sqlite(path: Path) -> SqlQueue:
    """Open the queue in a file, which is made where it is absent; raises as `SqliteDatabase`."""
    return SqlQueue(SqliteDatabase(path))
