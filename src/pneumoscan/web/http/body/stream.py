"""Bodies of requests: limited in size and time, and kept in memory, never on disk."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pneumoscan.errors import FilmTooLargeError
from pneumoscan.web.http.body.admission import Share
from pneumoscan.web.http.problems import Refused, refused, refused_for
from pneumoscan.web.settings import Settings

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
    """

    film_bytes: int
    idle_seconds: float = 10.0
    body_seconds: float = 120.0

    @classmethod
    def of(cls, settings: Settings) -> "BodyLimits":
        """Return the limits from the settings of a service."""
        return cls(settings.film_bytes, settings.idle_seconds, settings.body_seconds)

    def too_large(self) -> Refused:
        """Return the error for a body that is larger than a film may be."""
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


async def read_body(receive: Receive, limits: BodyLimits, share: Share) -> bytes:
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
