"""The queue's tables in PostgreSQL: for a node on several machines. Needs the extra `node-postgres`.

Claims skip the rows that others are claiming (`FOR UPDATE SKIP LOCKED`), so machines never wait for one another.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pneumoscan.apps.node.queue.statements import ADDED, Execute, Rows, SqlQueue, schema
from pneumoscan.errors import DiskFullError, EnvironmentProblemError, importing

_TABLES_LOCK = 0x706E65756D6F


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
            for statement in schema(identity, "DOUBLE PRECISION"):
                execute(statement)
            for name in ADDED:
                known = execute(
                    "SELECT 1 FROM information_schema.columns WHERE table_schema = current_schema() "
                    "AND table_name = 'job' AND column_name = ?",
                    (name,),
                )
                if not known:
                    execute(f"ALTER TABLE job ADD COLUMN IF NOT EXISTS {name} TEXT NOT NULL DEFAULT ''")

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


def open_postgres(address: str) -> SqlQueue:
    """Open the queue in PostgreSQL; raises as `PostgresDatabase`."""
    return SqlQueue(PostgresDatabase(address))
