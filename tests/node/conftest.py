"""What the node's tests share: databases and archives of their own, where they are installed."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import orthanc_server
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
        connection.execute("DROP TABLE IF EXISTS job, mark, push")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model."""
    from tiny_bundle import write_tiny_bundle

    folder: Path = tmp_path_factory.mktemp("model") / "bundle"
    write_tiny_bundle(folder)
    return folder


@pytest.fixture
def orthanc(tmp_path: Path) -> "Iterator[orthanc_server.Orthanc]":
    """An empty PACS that was started for this test."""
    for name in ("highdicom", "urllib3", "pynetdicom"):
        pytest.importorskip(name, reason="the extra `node` is not installed")
    if not orthanc_server.installed():
        pytest.skip("Orthanc with its DICOMweb plugin is not installed")
    server = orthanc_server.Orthanc(tmp_path / "orthanc")
    yield server
    server.stop(kill=True)
