"""HTTP/1.1 on one connection: uvicorn's protocol by h11, with the limits that it lacks.

    first byte ─► header whole       10 s, else 408; 16 KiB, else 431; what is no HTTP gets 400
    answer ─► next request           15 s of silence (uvicorn's own)
    body in crumbs                   400 after 2,000 pieces of less than 256 bytes on average
    answer not taken                 the client must take 1 KiB a second, else the connection is dropped
    early refusal                    the answer, then what the client still sends is thrown away for 2 s or 8 MiB
    too many connections             503 before anything is read

Why a refused body is thrown away and not left: a socket that is closed with bytes unread answers them with a reset, and the
reset can overtake the answer.
"""

import asyncio
import sys
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from pneumoscan.apps.web.http.problems import MEDIA_TYPE, Refused, refused

MAX_CONNECTIONS = 1200
HEADER_BYTES = 16 * 1024
HEADER_SECONDS = 10.0
LINGER_SECONDS, LINGER_BYTES = 2.0, 8 << 20
_STALL_SECONDS, _LEAST_TAKEN = 10.0, 10 * 1024
_READ_BYTES = 64 * 1024
_MAX_CRUMBS, _CRUMB_BYTES = 2000, 256


class GuardedConnection(h11.Connection):
    """A parser that refuses bodies in crumbs: each costs as much as a piece of any size."""

    _crumbs = _bytes = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return what comes next.

        Raises:
            RemoteProtocolError: It is no HTTP, or the pieces of the body are too small.
        """
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._crumbs += 1
            self._bytes += len(event.data)
            if self._crumbs > _MAX_CRUMBS and self._bytes < _CRUMB_BYTES * self._crumbs:
                raise h11.RemoteProtocolError("the body comes in crumbs")
        elif isinstance(event, h11.Request):
            self._crumbs = self._bytes = 0
        return event


class GuardedTransport(asyncio.Transport):
    """A transport whose `close` lets a client that still sends read the answer first."""

    def __init__(self, inner: asyncio.Transport, protocol: "GuardedProtocol") -> None:
        super().__init__()
        self._inner, self._protocol = inner, protocol
        self.write = inner.write  # type: ignore[method-assign]  # one call less for every piece
        self.pause_reading = inner.pause_reading  # type: ignore[method-assign]
        self.resume_reading = inner.resume_reading  # type: ignore[method-assign]
        self.get_extra_info = inner.get_extra_info  # type: ignore[method-assign]
        self.set_protocol = inner.set_protocol  # type: ignore[method-assign]
        self.get_write_buffer_size = inner.get_write_buffer_size  # type: ignore[method-assign]

    def is_closing(self) -> bool:
        """Tell whether no more is sent."""
        return self._protocol.lingers or self._inner.is_closing()

    def close(self) -> None:
        """Close once everything is sent, and what the client still sends has had its time."""
        self._protocol.close()

    def abort(self) -> None:
        """Close at once."""
        self._inner.abort()


class GuardedProtocol(H11Protocol):
    """One connection.

    Attributes:
        max_connections: Most at once, of this class.
        lingers: The answer is sent; what comes is thrown away until the client closes or its time is over.
    """

    max_connections = MAX_CONNECTIONS
    lingers = False
    _refused = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = GuardedConnection(h11.SERVER, HEADER_BYTES)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first header, or refuse the connection."""
        self._raw = transport
        self._timer: asyncio.TimerHandle | None = None
        self._closer: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._drained = 0
        if hasattr(transport, "max_size"):
            # A piece is parsed in one go: a smaller one lets the others have their turn sooner.
            transport.max_size = _READ_BYTES
        super().connection_made(GuardedTransport(transport, self))
        if len(self.connections) > self.max_connections:
            self._refuse_connection()
        else:
            self._timer = self.loop.call_later(HEADER_SECONDS, self._header_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        for timer in (self._timer, self._closer, self._stall):
            if timer is not None:
                timer.cancel()
        self._timer = self._closer = self._stall = None
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; a header is given to the parser in no more than its allowed size."""
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
        """Close: the client sends no more."""
        if self.lingers:
            self._raw.close()

    def handle_events(self) -> None:
        """Parse what came, and watch how long the next header takes."""
        super().handle_events()
        if self._raw.is_closing() or self.lingers or not self._awaits_header():
            self._unset_timer()
        elif self._timer is None and self.conn.trailing_data[0]:
            self._timer = self.loop.call_later(HEADER_SECONDS, self._header_late)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Refuse what is no HTTP; an answer that has begun stays unfinished."""
        hint = getattr(sys.exc_info()[1], "error_status_hint", 400)
        if hint == 431:
            self._refuse(refused("http.header", f"The header has more than {HEADER_BYTES >> 10} KiB."))
        else:
            self._refuse(refused("http.malformed", "The request is not well-formed HTTP/1.1."))

    def pause_writing(self) -> None:
        """Watch whether the client takes what it is sent."""
        super().pause_writing()
        self._watch_taking()

    def resume_writing(self) -> None:
        """Watch no longer, unless the connection is about to close."""
        if self._stall is not None and self._closer is None:
            self._stall.cancel()
            self._stall = None
        super().resume_writing()

    def close(self) -> None:
        """Send what is to be sent, then linger if the client may still be sending."""
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
        """Answer before anything is read; above twice the limit there is not even that."""
        if len(self.connections) > 2 * self.max_connections:
            self._raw.abort()
        else:
            self._refused = True
            self._refuse(refused("http.busy", "Too many connections are open.", "Try again soon."))

    def _refuse(self, problem: Refused) -> None:
        """Answer without the application, and close."""
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
        "Content-Type": MEDIA_TYPE,
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
