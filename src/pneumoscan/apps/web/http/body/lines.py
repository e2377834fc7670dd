"""Bodies of many lines, read one by one, so that a stream of films is never in memory as a whole."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from pneumoscan.apps.web.http.body.admission import Share
from pneumoscan.apps.web.http.body.stream import BodyLimits, Receive, message_in_time
from pneumoscan.apps.web.http.problems import Refused

_START = 4096


@dataclass(frozen=True)
class BadLine:
    """A line that was not kept.

    Attributes:
        problem: The reason.
        start: Its first bytes.
    """

    problem: Refused
    start: bytes


async def read_lines(
    receive: Receive, limits: BodyLimits, most: int, share: Share
) -> AsyncGenerator[bytes | BadLine]:
    """Yield the lines of a body without their ends and without empty lines; for a line that is too long, its start.

    A line is read when it is needed. Until then the data wait in the socket.

    Args:
        receive: The `receive` of the ASGI request.
        limits: `body_seconds` applies to one line, and only while it is read.
        most: Maximum number of bytes of a line.
        share: Counts the bytes that were read and not yet yielded.

    Raises:
        Refused: `http.timeout`.
        ClientGoneError: The client closed the connection.
    """
    line, loop, more = _Line(limits, most, share), asyncio.get_running_loop(), True
    end = loop.time() + limits.body_seconds
    while more:
        message = await message_in_time(receive, min(limits.idle_seconds, end - loop.time()))
        more = message.get("more_body", False)
        *whole, rest = message["body"].split(b"\n")
        for part in whole:
            if not part and line.empty:
                continue
            line.add(part)
            if (ended := line.take()) is not None:
                yield ended
        if whole:
            end = loop.time() + limits.body_seconds
        line.add(rest)
    if (ended := line.take()) is not None:
        yield ended


class _Line:
    """The line that is being read; a line that is too long is discarded."""

    def __init__(self, limits: BodyLimits, most: int, share: Share) -> None:
        self._limits, self._most, self._share = limits, most, share
        self._bytes = bytearray()
        self._problem: BadLine | None = None

    @property
    def empty(self) -> bool:
        return not self._bytes and self._problem is None

    def add(self, part: bytes) -> None:
        if self._problem is not None or not part:
            return
        size = len(self._bytes) + len(part)
        try:
            if size > self._most:
                raise self._limits.too_large()
            self._share.hold(size)
            self._bytes += part
        except Refused as problem:
            self._problem = BadLine(problem, bytes((self._bytes[:_START] + part[:_START])[:_START]))
            self._bytes = bytearray()
            self._share.hold(0)

    def take(self) -> bytes | BadLine | None:
        """Return the line, and begin the next; None if it is empty."""
        taken = self._problem or bytes(self._bytes).strip() or None
        self._problem, self._bytes = None, bytearray()
        self._share.hold(0)
        return taken
