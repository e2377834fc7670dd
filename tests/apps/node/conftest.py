"""What the node's tests share: databases and archives of their own, where they are installed."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import postgres_server
import pytest


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[str]:
    """The address of a PostgreSQL that was started for these tests."""
    pytest.importorskip("psycopg", reason="the extra `node-postgres` is not installed")
    if postgres_server.programs() is None:
        pytest.skip("PostgreSQL is not installed")
    # Outside pytest's own folder: the server has another user than root, who may not look into that.
    with tempfile.TemporaryDirectory(prefix="pneumoscan-postgres-", ignore_cleanup_errors=True) as folder:
        server = postgres_server.Server(Path(folder))
        yield server.address
        server.stop()


@pytest.fixture
def postgres(postgres_cluster: str) -> Iterator[str]:
    """The address of a PostgreSQL without the queue's tables."""
    import psycopg

    yield postgres_cluster
    with psycopg.connect(postgres_cluster, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS job, mark")
