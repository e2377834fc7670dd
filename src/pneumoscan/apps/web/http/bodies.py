"""Bodies of requests: counted while they stream, kept in memory, never on disk."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from io import BytesIO
from types import TracebackType
from typing import Any, Self

from pneumoscan.apps.web.http.problems import Refused, refused, refused_for
from pneumoscan.apps.web.settings import Settings
from pneumoscan.errors import FilmTooLargeError

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_FRESH_SECONDS = 2.0


class ClientGoneError(Exception):
    """The client closed the connection before it had an answer; nobody is left to tell."""


@dataclass(frozen=True)
class BodyLimits:
    """How large a film may be, and how slowly a body may come.

    Attributes:
        film_bytes: Of one film.
        idle_seconds: Between two pieces of a body.
        body_seconds: For a whole body; in a stream of lines, for one line.
    """

    film_bytes: int
    idle_seconds: float = 10.0
    body_seconds: float = 120.0

    @classmethod
    def of(cls, settings: Settings) -> "BodyLimits":
        """Return what a service's settings say of a body."""
        return cls(settings.film_bytes, settings.idle_seconds, settings.body_seconds)

    def too_large(self) -> Refused:
        """Return the refusal of a body that has more bytes than a film may have."""
        return refused_for(
            FilmTooLargeError(
                f"The film has more than {self.film_bytes >> 20} MiB.",
                "Send the film itself, not an archive or a series; --max-film-mb raises the limit.",
            )
        )


class Budget:
    """Bytes that all requests together may hold.

    Args:
        total: The most bytes at once.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0

    def share(self) -> "Share":
        """Return an empty share; as a context manager it gives back at the end what it still holds."""
        return Share(self)


class Share:
    """What one request holds of the budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.held = 0

    def hold(self, count: int) -> None:
        """Hold `count` bytes from now on, more or less than before.

        Raises:
            Refused: `http.busy`: the others hold too much; what was held stays held.
        """
        if count > self.held and self._budget.used - self.held + count > self._budget.total:
            raise refused(
                "http.busy", "The films of all requests together take too much memory.", "Try again soon."
            )
        self._budget.used += count - self.held
        self.held = count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hold(0)


class Door:
    """Lets so many bodies in at a time; one that takes long no longer counts, so that slow clients keep nobody out.

    Args:
        places: Bodies that begin within `_FRESH_SECONDS`.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._taken = 0
        self._arriving: set[asyncio.Task[Any]] = set()

    def shut(self) -> None:
        """Cancel the requests whose bodies have not wholly come: their films were not accepted yet."""
        for task in self._arriving:
            task.cancel()

    def enter(self) -> Callable[[], None]:
        """Take a place and return what gives it back, to be called when the body has come.

        Raises:
            Refused: `http.busy`.
        """
        if self._taken >= self._places:
            raise refused("http.busy", "Too many films arrive at once.", "Try again soon.")
        self._taken += 1
        task, fresh = asyncio.current_task(), True
        assert task is not None
        self._arriving.add(task)

        def age() -> None:
            nonlocal fresh
            if fresh:
                fresh = False
                self._taken -= 1

        def leave() -> None:
            self._arriving.discard(task)
            timer.cancel()
            age()

        timer = asyncio.get_running_loop().call_later(_FRESH_SECONDS, age)
        return leave


async def pieces(receive: Receive, limits: BodyLimits) -> AsyncIterator[bytes]:
    """Yield a body as it comes.

    Raises:
        Refused: `http.timeout`.
        ClientGoneError: The connection ended first.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + limits.body_seconds
    more = True
    while more:
        message = await _in_time(receive, min(limits.idle_seconds, end - loop.time()))
        more = message.get("more_body", False)
        if message["body"]:
            yield message["body"]


async def _in_time(receive: Receive, seconds: float) -> MutableMapping[str, Any]:
    try:
        async with asyncio.timeout(seconds):
            message = await receive()
    except TimeoutError:
        raise refused(
            "http.timeout", "The body of the request came too slowly.", "Send it without pauses."
        ) from None
    if message["type"] != "http.request":
        raise ClientGoneError
    return message


async def read_body(receive: Receive, limits: BodyLimits, share: Share) -> bytes:
    """Return a body of at most `limits.film_bytes`; `share` holds as many.

    Raises:
        Refused: `film.too_large`, `http.timeout`, `http.busy`.
        ClientGoneError: The connection ended first.
    """
    body, size = BytesIO(), 0
    async for piece in pieces(receive, limits):
        size += len(piece)
        if size > limits.film_bytes:
            raise limits.too_large()
        share.hold(size)
        body.write(piece)
    return body.getvalue()


async def read_lines(
    receive: Receive, limits: BodyLimits, most: int, share: Share
) -> AsyncGenerator[bytes | Refused]:
    """Yield the lines of a body without their ends, empty ones left out; a refusal in the place of one that is too long.

    A line is asked for when it is wanted: what the client sends sooner waits in the socket.

    Args:
        receive: Of the request.
        limits: `body_seconds` is for one line, and counts only while it is waited for.
        most: Bytes of a line.
        share: Holds what is read and not yet yielded.

    Raises:
        Refused: `http.timeout`.
        ClientGoneError: The connection ended first.
    """
    line, loop, more = _Line(limits, most, share), asyncio.get_running_loop(), True
    end = loop.time() + limits.body_seconds
    while more:
        message = await _in_time(receive, min(limits.idle_seconds, end - loop.time()))
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
    """The line that is being read; of one that is too long nothing is kept."""

    def __init__(self, limits: BodyLimits, most: int, share: Share) -> None:
        self._limits, self._most, self._share = limits, most, share
        self._bytes = bytearray()
        self._problem: Refused | None = None

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
            self._problem = problem
            self._bytes = bytearray()
            self._share.hold(0)

    def take(self) -> bytes | Refused | None:
        """Return the line and begin the next; None if it is empty."""
        taken = self._problem or bytes(self._bytes).strip() or None
        self._problem, self._bytes = None, bytearray()
        self._share.hold(0)
        return taken
