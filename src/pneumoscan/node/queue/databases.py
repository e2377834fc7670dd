"""Where the queue's tables lie: in a SQLite file, for one machine, or in PostgreSQL, for several.

SQLite has `synchronous=FULL`: what is committed is on the disk, also after a power cut. That takes milliseconds each time, so the
transactions of threads that come at once are committed together; each thread goes on when its own is on the disk. The file
holds UIDs and accession numbers, so it is for its owner alone.

PostgreSQL needs the extra `node-postgres`. Claims skip the rows that others are claiming (`FOR UPDATE SKIP LOCKED`), so machines
never wait for one another.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pneumoscan.errors import (
    DataDamagedError,
    DiskFullError,
    EnvironmentProblemError,
    LockedError,
    NotWritableError,
    importing,
)
from pneumoscan.files import write_problems
from pneumoscan.node.queue.jobs import Execute, Rows, push_schema, schema
from pneumoscan.node.queue.sql import Queue

_BUSY_SECONDS = 30.0
_MOST_TOGETHER = 64
_LATE_SECONDS = 1.0
# Key of the lock under which PostgreSQL makes the tables.
_TABLES_LOCK = 0x706E65756D6F


def _tables(identity: str, real: str) -> tuple[str, ...]:
    return (*schema(identity, real), *push_schema(identity, real))


class _Group:
    """Transactions that are committed together.

    Attributes:
        settled: Set when they are on the disk, or will never be.
        problem: Why they are not; None if they are.
    """

    def __init__(self) -> None:
        self.count = 0
        self.settled = threading.Event()
        self.problem: BaseException | None = None


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
        self._turn, self._counting = threading.Lock(), threading.Lock()
        self._coming = 0
        self._group: _Group | None = None
        with write_problems(path, creating=True):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        with self._problems():
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            # The number of a row that was discarded is not given again.
            for statement in _tables("INTEGER PRIMARY KEY AUTOINCREMENT", "REAL"):
                self._connection.execute(statement)

    @contextmanager
    def transaction(self) -> Iterator[Execute]:
        """See `Database.transaction`."""
        with self._problems():
            with self._my_turn():
                group = self._joined()
                try:
                    yield self._execute
                    self._connection.execute("RELEASE one")
                except BaseException as problem:
                    self._undo(group, problem)
                    raise
                finally:
                    # The last of those that came meanwhile commits for all.
                    if self._group is group and (not self._coming or group.count >= _MOST_TOGETHER):
                        self._commit(group)
            while not group.settled.wait(_LATE_SECONDS):
                with self._turn:
                    if self._group is group:
                        self._commit(group)
            if group.problem is not None:
                raise group.problem

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        with self._counting:
            self._coming += 1
        try:
            self._turn.acquire()
        finally:
            with self._counting:
                self._coming -= 1
        try:
            yield
        finally:
            self._turn.release()

    def _joined(self) -> _Group:
        """Join the open transaction, or begin one."""
        if self._group is None:
            self._connection.execute("BEGIN IMMEDIATE")
            self._group = _Group()
        self._connection.execute("SAVEPOINT one")
        self._group.count += 1
        return self._group

    def _undo(self, group: _Group, problem: BaseException) -> None:
        """Take back what one thread has done, and nothing of the others'."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK TO one")
            self._connection.execute("RELEASE one")
        else:  # SQLite has taken back everything, as where the disk is full
            self._settle(group, problem)

    def _commit(self, group: _Group) -> None:
        problem: BaseException | None = None
        try:
            self._connection.execute("COMMIT")
        except BaseException as failed:  # noqa: BLE001 - raised by every transaction of the group
            problem = failed
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
        self._settle(group, problem)

    def _settle(self, group: _Group, problem: BaseException | None) -> None:
        self._group, group.problem = None, problem
        group.settled.set()

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


class PostgresDatabase:
    """One connection, which threads take in turns; opened anew after it was lost."""

    clock = "extract(epoch FROM clock_timestamp())::float8"
    skip_locked = "FOR UPDATE SKIP LOCKED"

    def __init__(self, address: str) -> None:
        """Connect and make the tables.

        Args:
            address: What libpq takes (`host=… dbname=… user=…`); the password comes from PGPASSFILE or PGPASSWORD.

        Raises:
            MissingDependencyError: psycopg is not installed.
            EnvironmentProblemError: The database does not answer or refuses the login.
        """
        with importing():
            import psycopg
        self._psycopg = psycopg
        self._address = address
        self._turn = threading.RLock()
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        with self.transaction() as execute:
            # Two nodes that start at once must not both make the tables.
            execute(f"SELECT pg_advisory_xact_lock({_TABLES_LOCK})")
            identity = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
            for statement in _tables(identity, "DOUBLE PRECISION"):
                execute(statement)

    @contextmanager
    def transaction(self) -> Iterator[Execute]:
        """See `Database.transaction`."""
        with self._turn:
            try:
                connection = self._open()
                with connection.transaction():
                    yield self._execute
            except self._psycopg.errors.DiskFull as problem:
                raise DiskFullError(
                    "no space left for the queue's database.", "Free some space."
                ) from problem
            except (self._psycopg.OperationalError, self._psycopg.InterfaceError) as problem:
                self.close()
                raise EnvironmentProblemError(
                    f"the queue's database does not answer ({type(problem).__name__}).",
                    "See that PostgreSQL runs, and that the address and the login in node.toml are right.",
                ) from problem

    def integrity(self) -> str:
        """Return `ok`: PostgreSQL checks its own pages."""
        with self.transaction() as execute:
            execute("SELECT COUNT(*) FROM job")
        return "ok"

    def close(self) -> None:
        """Close the connection."""
        with self._turn:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _open(self) -> Any:
        if self._connection is None or self._connection.closed:
            self._connection = self._psycopg.connect(self._address, autocommit=True, connect_timeout=10)
        return self._connection

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> Rows:
        assert self._connection is not None
        cursor = self._connection.execute(statement.replace("?", "%s"), tuple(values))
        return cursor.fetchall() if cursor.description else []


def open_queue(folder: Path, postgres: str = "") -> Queue:
    """Open the queue, which is made where it is absent.

    Args:
        folder: Of the node's own files; `queue.sqlite` in it is the queue, unless `postgres` names one.
        postgres: Address of a PostgreSQL database; see `PostgresDatabase`.

    Raises:
        EnvironmentProblemError: It cannot be opened.
        DataDamagedError: It is damaged.
    """
    return Queue(PostgresDatabase(postgres) if postgres else SqliteDatabase(folder / "queue.sqlite"))
