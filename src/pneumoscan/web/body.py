"""The body of a request: how many arrive at once, its media type, limits of size and time, and its film. Nothing is written to disk."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from io import BytesIO
from types import TracebackType
from typing import Any, Self

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from pneumoscan.errors import FilmTooLargeError, UsageError
from pneumoscan.web.limits import Settings
from pneumoscan.web.responses import Refused, refused, refused_for

_FRESH_SECONDS = 2.0


class Budget:
    """A limit on the bytes of all requests together."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0

    def share(self) -> "BodyShare":
        """Return an empty share. As a context manager it releases its bytes at the end."""
        return BodyShare(self)


class BodyShare:
    """The bytes of one request in the budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.held = 0

    def hold(self, count: int) -> None:
        """Set the number of bytes to `count`.

        Raises:
            Refused: `http.busy`: other requests hold too many bytes; the number does not change.
        """
        if count > self.held and self._budget.used - self.held + count > self._budget.total:
            raise refused("http.busy", "All requests together hold too much memory.", "Try again soon.")
        self._budget.used += count - self.held
        self.held = count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hold(0)


class Admission:
    """Limits the number of bodies at the same time. Slow bodies do not count, so that slow clients do not block others.

    Args:
        places: Maximum number of bodies that began within `_FRESH_SECONDS`.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._taken = 0
        self._arriving: set[asyncio.Task[Any]] = set()

    def shut(self) -> None:
        """Cancel the requests whose bodies are incomplete; their films were not accepted yet."""
        for task in self._arriving:
            task.cancel()

    def enter(self) -> Callable[[], None]:
        """Take a place, and return the function that releases it when the body has arrived.

        Raises:
            Refused: `http.busy`.
        """
        if self._taken >= self._places:
            raise refused("http.busy", "Too many films are arriving at once.", "Try again soon.")
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


Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class ClientGoneError(Exception):
    """The client closed the connection before it had a response."""


@dataclass(frozen=True)
class BodyLimits:
    """Limits on size and time of a body.

    Attributes:
        film_bytes: Maximum size of a film.
        idle_seconds: Maximum time between two pieces of a body.
        body_seconds: Maximum time for a whole body.
        what: What the body holds: a film, or a verdict on one.
    """

    film_bytes: int
    idle_seconds: float = 10.0
    body_seconds: float = 120.0
    what: str = "film"

    @classmethod
    def of(cls, settings: Settings) -> "BodyLimits":
        """Return the limits from the settings of a service."""
        return cls(settings.film_bytes, settings.idle_seconds, settings.body_seconds)

    def too_large(self) -> Refused:
        """Return the error for a body that is larger than a film, or a verdict, may be."""
        if self.what != "film":
            return refused_for(
                UsageError(f"The {self.what} has more than {self.film_bytes} bytes.", "Shorten its texts.")
            )
        return refused_for(
            FilmTooLargeError(
                f"The film has more than {self.film_bytes >> 20} MiB.",
                "Send the film itself, not an archive or a series; --max-film-mb raises the limit.",
            )
        )


async def pieces(receive: Receive, limits: BodyLimits) -> AsyncIterator[bytes]:
    """Yield the pieces of a body as they arrive.

    Raises:
        Refused: `http.timeout`.
        ClientGoneError: The client closed the connection.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + limits.body_seconds
    more = True
    while more:
        message = await message_in_time(receive, min(limits.idle_seconds, end - loop.time()))
        more = message.get("more_body", False)
        if message["body"]:
            yield message["body"]


async def message_in_time(receive: Receive, seconds: float) -> MutableMapping[str, Any]:
    """Return the next message of a body.

    Raises:
        Refused: `http.timeout`: it did not arrive in time.
        ClientGoneError: The client closed the connection.
    """
    try:
        async with asyncio.timeout(seconds):
            message = await receive()
    except TimeoutError:
        raise refused(
            "http.timeout", "The body of the request arrived too slowly.", "Send it without pauses."
        ) from None
    if message["type"] != "http.request":
        raise ClientGoneError
    return message


async def read_body(receive: Receive, limits: BodyLimits, share: BodyShare) -> bytes:
    """Return a body of at most `limits.film_bytes`; `share` counts its bytes.

    Raises:
        Refused: `film.too_large`, `http.timeout`, `http.busy`.
        ClientGoneError: The client closed the connection.
    """
    body, size = BytesIO(), 0
    async for piece in pieces(receive, limits):
        size += len(piece)
        if size > limits.film_bytes:
            raise limits.too_large()
        share.hold(size)
        body.write(piece)
    return body.getvalue()


FORM_FIELD = "film"
FORM_OVERHEAD = 64 * 1024
"""Bytes that a form may have besides its film."""
_EXTENDED = re.compile(rb""";\s*filename\*(?:0\*?)?\s*=""", re.IGNORECASE)  # RFC 5987, RFC 2231
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")  # RFC 2046, section 5.1.1


class _Parser(MultiPartParser):
    """Starlette's parser, without its writing of large files to the disk."""

    spool_max_size = 0

    def on_headers_finished(self) -> None:
        """Take a part that has its file name in the extended form only, `filename*`, for a file."""
        part = self._current_part
        _, options = parse_options_header(part.content_disposition)
        if b"filename" not in options and _EXTENDED.search(part.content_disposition or b""):
            part.content_disposition = (part.content_disposition or b"") + b"; filename=film"
        super().on_headers_finished()


async def read_form(receive: Receive, boundary: bytes, limits: BodyLimits, share: BodyShare) -> bytes:
    """Return the film of a form whose only field is the file `film`; its file name is ignored.

    Raises:
        Refused: `usage`: the form has other fields; `film.too_large`, `http.timeout`, `http.busy`.
        ClientGoneError: The client closed the connection.
    """
    if not _BOUNDARY.fullmatch(boundary):
        raise bad_form("The form has no valid boundary.")
    # The `charset` of the client is left out, because Python keeps every name that was looked up.
    kind = Headers({"content-type": f'multipart/form-data; boundary="{boundary.decode()}"'})
    body = _counted(receive, limits, share)
    try:
        fields = await _Parser(kind, body, max_files=1, max_fields=0).parse()
    except MultiPartException:
        raise bad_form("The body is not a complete form with one file.") from None
    try:
        file = fields.get(FORM_FIELD)
        if not isinstance(file, UploadFile):
            raise bad_form(f"The form has no complete file in a field `{FORM_FIELD}`.")
        film = await file.read()
    finally:
        await fields.close()
    if len(film) > limits.film_bytes:
        raise limits.too_large()
    return film


async def _counted(receive: Receive, limits: BodyLimits, share: BodyShare) -> AsyncGenerator[bytes]:
    """Yield the body, and count its bytes."""
    size = 0
    async for piece in pieces(receive, limits):
        size += len(piece)
        if size > limits.film_bytes + FORM_OVERHEAD:
            raise limits.too_large()
        share.hold(size)
        yield piece
        # The parser is slow Python code: let other requests run between the pieces.
        await asyncio.sleep(0)


def bad_form(detail: str) -> Refused:
    """Return the error for an invalid form."""
    return refused_for(
        UsageError(detail, f"Send multipart/form-data with one file field, `{FORM_FIELD}`, and nothing else.")
    )
