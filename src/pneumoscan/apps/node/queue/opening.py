"""Which database the queue lies in."""

from pathlib import Path

from pneumoscan.apps.node.queue.protocol import Queue


def open_queue(folder: Path, postgres: str = "") -> Queue:
    """Open the queue.

    Args:
        folder: Of the node's own files; `queue.sqlite` in it is the queue, unless `postgres` names one.
        postgres: Address of a PostgreSQL database; see `postgres.PostgresDatabase`.

    Raises:
        EnvironmentProblemError: It cannot be opened.
        DataDamagedError: It is damaged.
    """
    if postgres:
        from pneumoscan.apps.node.queue.postgres import open_postgres

        return open_postgres(postgres)
    from pneumoscan.apps.node.queue.sqlite import open_sqlite

    return open_sqlite(folder / "queue.sqlite")
