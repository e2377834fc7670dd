"""uvicorn with `LimitedProtocol`; the caller handles signals."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import uvicorn

from pneumoscan.web.http.connection.protocol import HEADER_BYTES, MAX_CONNECTIONS, LimitedProtocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 15
_LAST_WORDS_SECONDS = 0.5


class Server(uvicorn.Server):
    """uvicorn's server without its signal handlers, which end the process by the signal."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: the caller handles signals."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop; requests whose time is over get an error."""
        await super().shutdown(sockets)
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_LAST_WORDS_SECONDS)
            await asyncio.sleep(0)

    def drop(self) -> None:
        """Stop at once, and drop all connections."""
        self.should_exit = self.force_exit = True
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def make_server(app: "ASGIApp", *, connections: int, grace_seconds: int) -> Server:
    """Return uvicorn for the app.

    Args:
        app: The ASGI application.
        connections: Maximum number of connections.
        grace_seconds: Time for accepted requests after the service is stopped.
    """

    class Protocol(LimitedProtocol):
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
