"""HTTP/1.1 on one connection: uvicorn's protocol (h11) with further limits.

    first byte ─► complete header    10 s, else 408; 16 KiB, else 431; invalid HTTP gets 400
    response ─► next request         15 s of silence (uvicorn's own limit)
    body in tiny chunks              400 after 2,000 chunks of less than 256 bytes on average
    slow reading                     the client must read 1 KiB per second, else the connection is dropped
    early error                      the response; then the rest of the body is discarded for 2 s or 8 MiB
    too many connections             503 before anything is read

The body of a refused request is read and discarded. If a socket is closed with unread bytes, the system sends a reset, which can
arrive before the response.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pneumoscan.web.responses import PROBLEM, Refused, refused

if TYPE_CHECKING:
    from starlette.types import ASGIApp

MAX_CONNECTIONS = 1200
HEADER_BYTES = 16 * 1024
HEADER_SECONDS = 10.0
LINGER_SECONDS, LINGER_BYTES = 2.0, 8 << 20
_STALL_SECONDS, _LEAST_TAKEN = 10.0, 10 * 1024
_READ_BYTES = 64 * 1024
_MAX_CRUMBS, _CRUMB_BYTES = 2000, 256


class BodyProtocolError(h11.RemoteProtocolError):
    """The body does not have the form that the header announced."""


class LimitedConnection(h11.Connection):
    """A parser that refuses bodies in tiny chunks, because the time per chunk does not depend on its size."""

    _crumbs = _bytes = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return the next event.

        Raises:
            RemoteProtocolError: The data are not valid HTTP, or the chunks of the body are too small.
        """
        in_body = self.their_state is h11.SEND_BODY
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as problem:
            if not in_body:
                raise
            # h11 takes whatever it cannot parse for a header that is too large.
            raise BodyProtocolError(str(problem)) from None
        if isinstance(event, h11.Data):
            self._crumbs += 1
            self._bytes += len(event.data)
            if self._crumbs > _MAX_CRUMBS and self._bytes < _CRUMB_BYTES * self._crumbs:
                raise BodyProtocolError("its chunks are too small")
        elif isinstance(event, h11.Request):
            self._crumbs = self._bytes = 0
        return event


class LingeringTransport(asyncio.Transport):
    """A transport whose `close` lets a client that is still sending read the response first."""

    def __init__(self, inner: asyncio.Transport, protocol: "LimitedProtocol") -> None:
        super().__init__()
        self._inner, self._protocol = inner, protocol
        self.write = inner.write  # type: ignore[method-assign]  # saves a call per piece
        self.pause_reading = inner.pause_reading  # type: ignore[method-assign]
        self.resume_reading = inner.resume_reading  # type: ignore[method-assign]
        self.get_extra_info = inner.get_extra_info  # type: ignore[method-assign]
        self.set_protocol = inner.set_protocol  # type: ignore[method-assign]
        self.get_write_buffer_size = inner.get_write_buffer_size  # type: ignore[method-assign]

    def is_closing(self) -> bool:
        """Return whether the transport is closing."""
        return self._protocol.lingers or self._inner.is_closing()

    def close(self) -> None:
        """Close after everything is sent and the client has had time to finish."""
        self._protocol.close()

    def abort(self) -> None:
        """Close at once."""
        self._inner.abort()


class LimitedProtocol(H11Protocol):
    """One connection.

    Attributes:
        max_connections: Maximum number of connections of this class.
        lingers: Whether the response is sent, and further data are discarded until the client closes or its time is over.
    """

    max_connections = MAX_CONNECTIONS
    lingers = False
    _refused = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = LimitedConnection(h11.SERVER, HEADER_BYTES)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first header, or refuse the connection."""
        self._raw = transport
        self._timer: asyncio.TimerHandle | None = None
        self._closer: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._drained = 0
        if hasattr(transport, "max_size"):
            # A piece is parsed at once. Smaller pieces let other connections run earlier.
            transport.max_size = _READ_BYTES
        super().connection_made(LingeringTransport(transport, self))
        if len(self.connections) > self.max_connections:
            self._refuse_connection()
        else:
            self._timer = self.loop.call_later(HEADER_SECONDS, self._header_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        for timer in (self._timer, self._closer, self._stall):
            if timer is not None:
                timer.cancel()
        self._timer = self._closer = self._stall = None
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received data; a header is parsed up to its maximum size."""
        if self.lingers:
            self._drained += len(data)
            if self._drained > LINGER_BYTES:
                self._raw.abort()
            return
        if self._awaits_header():
            room = HEADER_BYTES - len(self.conn.trailing_data[0])
            if 0 < room < len(data):
                super().data_received(data[:room])
                data = data[room:]
                if self._raw.is_closing() or self.lingers:
                    return
        super().data_received(data)

    def eof_received(self) -> None:
        """Close the connection, because the client sends no more."""
        if self.lingers:
            self._raw.close()

    def handle_events(self) -> None:
        """Parse received data, and limit the time of the next header."""
        super().handle_events()
        if self._raw.is_closing() or self.lingers or not self._awaits_header():
            self._unset_timer()
        elif self._timer is None and self.conn.trailing_data[0]:
            self._timer = self.loop.call_later(HEADER_SECONDS, self._header_late)

    def send_400_response(self, msg: str) -> None:
        """Refuse invalid HTTP; a response that has begun stays incomplete."""
        fault = sys.exc_info()[1]
        if isinstance(fault, BodyProtocolError):
            self._refuse(
                refused(
                    "http.malformed",
                    "The body does not have the form that the header announces.",
                    "With Transfer-Encoding: chunked, send each piece with its size, as RFC 9112 describes, in pieces of "
                    "some KiB; otherwise send Content-Length and as many bytes.",
                )
            )
        elif getattr(fault, "error_status_hint", 400) == 431:
            self._refuse(refused("http.header", f"The header has more than {HEADER_BYTES >> 10} KiB."))
        else:
            reason = ascii(str(fault))[1:-1][:200] if isinstance(fault, h11.RemoteProtocolError) else msg
            self._refuse(refused("http.malformed", f"The request is not well-formed HTTP/1.1: {reason}."))

    def pause_writing(self) -> None:
        """Begin to check that the client reads."""
        super().pause_writing()
        self._watch_taking()

    def resume_writing(self) -> None:
        """Stop checking, unless the connection is about to close."""
        if self._stall is not None and self._closer is None:
            self._stall.cancel()
            self._stall = None
        super().resume_writing()

    def close(self) -> None:
        """Send the rest, then linger if the client may still be sending."""
        if self.lingers or self._raw.is_closing():
            return
        self._unset_timer()
        if self._raw.get_write_buffer_size():
            self._watch_taking()
        unread = self.conn.their_state in {h11.SEND_BODY, h11.ERROR} or self._refused
        if not unread or not self._raw.can_write_eof():
            self._raw.close()
            return
        self.lingers = True
        self._raw.write_eof()
        self.flow.resume_reading()
        self._closer = self.loop.call_later(LINGER_SECONDS, self._raw.abort)

    def _awaits_header(self) -> bool:
        return self.conn.their_state is h11.IDLE

    def _unset_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _header_late(self) -> None:
        self._timer = None
        if self._raw.is_closing() or self.lingers or not self._awaits_header():
            return
        if self.conn.trailing_data[0]:
            self._refuse(refused("http.timeout", f"The header took longer than {HEADER_SECONDS:g} s."))
        else:
            self._raw.close()

    def _refuse_connection(self) -> None:
        """Respond before anything is read; above twice the limit, close without a response."""
        if len(self.connections) > 2 * self.max_connections:
            self._raw.abort()
        else:
            self._refused = True
            self._refuse(refused("http.busy", "Too many connections are open.", "Try again soon."))

    def _refuse(self, problem: Refused) -> None:
        """Respond without the application, and close."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            begun = cycle.response_started
            cycle.disconnected = True
            cycle.message_event.set()
            if begun:
                self._raw.close()
                return
        self._raw.write(_raw_answer(problem))
        self.close()

    def _watch_taking(self) -> None:
        if self._stall is None:
            size = self._raw.get_write_buffer_size()
            self._stall = self.loop.call_later(_STALL_SECONDS, self._check_taking, size)

    def _check_taking(self, before: int) -> None:
        self._stall = None
        size = self._raw.get_write_buffer_size()
        if size > max(0, before - _LEAST_TAKEN):
            self._raw.abort()
        elif size:
            self._watch_taking()


def _raw_answer(problem: Refused) -> bytes:
    body = problem.body()
    fields = {
        "Content-Type": PROBLEM,
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
        **dict(problem.headers),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return (
        f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n{head}\r\n".encode("ascii") + body
    )


BACKLOG = 2048
KEEP_ALIVE_SECONDS = 15
_LAST_WORDS_SECONDS = 0.5


class LimitedServer(uvicorn.Server):
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


def make_server(app: "ASGIApp", *, connections: int, grace_seconds: int) -> LimitedServer:
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
    return LimitedServer(config)
