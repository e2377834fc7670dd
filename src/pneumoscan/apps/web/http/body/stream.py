"""Bodies of requests: counted while they stream, kept in memory, never on disk."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pneumoscan.apps.web.http.body.admission import Share
from pneumoscan.apps.web.http.problems import Refused, refused, refused_for
from pneumoscan.apps.web.settings import Settings
from pneumoscan.errors import FilmTooLargeError

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


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
        """Return the limits that a service's settings set for a body."""
        return cls(settings.film_bytes, settings.idle_seconds, settings.body_seconds)

    def too_large(self) -> Refused:
        """Return the refusal of a body that has more bytes than a film may have."""
        return refused_for(
            FilmTooLargeError(
                f"The film has more than {self.film_bytes >> 20} MiB.",
                "Send the film itself, not an archive or a series; --max-film-mb raises the limit.",
            )
        )


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
        message = await message_in_time(receive, min(limits.idle_seconds, end - loop.time()))
        more = message.get("more_body", False)
        if message["body"]:
            yield message["body"]


async def message_in_time(receive: Receive, seconds: float) -> MutableMapping[str, Any]:
    """Return the next message of a body.

    Raises:
        Refused: `http.timeout`: it did not come within so many seconds.
        ClientGoneError: The connection ended first.
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
