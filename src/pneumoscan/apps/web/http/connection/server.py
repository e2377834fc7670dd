"""uvicorn, set up for the guarded protocol; it leaves signals to the caller."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import uvicorn

from pneumoscan.apps.web.http.connection.protocol import HEADER_BYTES, MAX_CONNECTIONS, GuardedProtocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 15
_LAST_WORDS_SECONDS = 0.5


class Server(uvicorn.Server):
    """uvicorn's server without its signal handlers, which end the process by the signal."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the caller."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, and let those whose time was over say so."""
        await super().shutdown(sockets)
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_LAST_WORDS_SECONDS)
            await asyncio.sleep(0)

    def drop(self) -> None:
        """Stop at once: drop every connection."""
        self.should_exit = self.force_exit = True
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def make_server(app: "ASGIApp", *, connections: int, grace_seconds: int) -> Server:
    """Set uvicorn up for the app.

    Args:
        app: What answers.
        connections: Most at once.
        grace_seconds: Once it is told to stop, for what it has accepted.
    """

    class Protocol(GuardedProtocol):
        max_connections = min(MAX_CONNECTIONS, connections)

    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=grace_seconds,
        h11_max_incomplete_event_size=HEADER_BYTES,
    )
    return Server(config)
