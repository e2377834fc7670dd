"""Responses, and errors as `application/problem+json` (RFC 9457) with the codes of `pneumoscan.errors`.

Codes of HTTP itself begin with `http.` and are listed in `HTTP_CODES`.
"""

import json
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any

from pneumoscan.errors import (
    CodecMissingError,
    FilmError,
    FilmFormatError,
    FilmTooLargeError,
    PneumoscanError,
    UsageError,
)

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
log = logging.getLogger("pneumoscan.web")

JSON, PNG, PDF = "application/json", "image/png", "application/pdf"
_PIECE = 128 * 1024


async def begin(send: Send, status: int, media_type: str, headers: Iterable[tuple[str, str]] = ()) -> None:
    """Send status and header; the values are ASCII."""
    fields = [("content-type", media_type), *headers]
    raw = [(name.lower().encode(), value.encode("ascii")) for name, value in fields]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def answer(
    send: Send,
    status: int,
    media_type: str,
    body: bytes,
    headers: Iterable[tuple[str, str]] = (),
    hold: Callable[[int], None] = lambda _: None,
) -> None:
    """Send a whole response; `hold` is told the number of bytes that are kept until nearly all are sent.

    Raises:
        Refused: `http.busy`: there is not enough memory; nothing was sent.
    """
    hold(len(body))
    await begin(send, status, media_type, (("content-length", str(len(body))), *headers))
    view = memoryview(body)
    for start in range(0, max(1, len(body)), _PIECE):
        end = start + _PIECE
        piece = bytes(view[start:end])
        await send({"type": "http.response.body", "body": piece, "more_body": end < len(body)})


def json_bytes(value: object) -> bytes:
    """Return compact JSON in ASCII; NaN is an error."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


PROBLEM = "application/problem+json"
RETRY_SECONDS = 1
_FAILED = "Its log has the details: please report them."
HTTP_CODES: Mapping[str, tuple[int, str, str]] = {
    "http.malformed": (
        400,
        "The request is not well-formed HTTP.",
        "Send valid HTTP/1.1, for example with curl.",
    ),
    "http.length": (
        400,
        "The length of the body is missing or wrong.",
        "Send Content-Length, or send the body in chunks.",
    ),
    "http.token": (401, "A token is required.", "Send Authorization: Bearer TOKEN."),
    "http.origin": (403, "Pages of other sites may not use this service.", "Use the service's own page."),
    "http.not_found": (404, "This address does not exist.", "GET /openapi.json lists the addresses."),
    "http.method": (
        405,
        "This address does not support this method.",
        "Use a method that the header Allow lists.",
    ),
    "http.timeout": (408, "The request arrived too slowly.", "Send header and body without pauses."),
    "http.media_type": (
        415,
        "The body has a media type that this service does not support.",
        "Send a JPEG, PNG or DICOM film.",
    ),
    "http.content_encoding": (415, "The body is encoded.", "Send the bytes of the film without compression."),
    "http.host": (
        421,
        "This service does not accept this host name.",
        "Start the service with --allow-host NAME.",
    ),
    "http.header": (
        431,
        "The header is too large.",
        "Send fewer or shorter header fields, or a shorter address.",
    ),
    "http.busy": (503, "Too many films are waiting.", "Try again after the seconds of Retry-After."),
    "http.stopping": (503, "The service is stopping.", "Try again later."),
}
_FILM_STATUS: tuple[tuple[type[PneumoscanError], int, str], ...] = (
    (FilmTooLargeError, 413, "The film is too large."),
    (FilmFormatError, 415, "The film has a format that this service does not support."),
    (CodecMissingError, 415, "There is no codec for this film."),
    (FilmError, 422, "The film cannot be used."),
    (UsageError, 400, "The request is not valid."),
)


class Refused(Exception):  # noqa: N818 - a response, not a fault
    """A request whose response is a problem.

    Args:
        code: A code of `pneumoscan.errors` or of `HTTP_CODES`.
        title: The kind of problem, the same for each code and status.
        remedy: What the client can do.
        headers: Further header fields of the response.
    """

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str,
        remedy: str,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.title = status, code, title
        self.detail, self.remedy, self.headers = detail, remedy, headers

    def body(self) -> bytes:
        """Return the problem as JSON, in ASCII."""
        return json.dumps(self.to_json()).encode()

    def to_json(self) -> dict[str, Any]:
        """Return the members of the problem."""
        return {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "remedy": self.remedy,
            "code": self.code,
        }


def refused(
    code: str,
    detail: str,
    remedy: str = "",
    *,
    status: int | None = None,
    headers: tuple[tuple[str, str], ...] = (),
) -> Refused:
    """Return the error of one of `HTTP_CODES`; with status 503 it has `Retry-After`. Without a remedy, it has that of its code."""
    default, title, usual = HTTP_CODES[code]
    if default == HTTPStatus.SERVICE_UNAVAILABLE and not headers:
        headers = (("Retry-After", str(RETRY_SECONDS)),)
    return Refused(status or default, code, title, detail, remedy or usual, headers)


def refused_for(error: PneumoscanError) -> Refused:
    """Return the response to an error. If the client did not cause it, only its code is sent."""
    for kind, status, title in _FILM_STATUS:
        if isinstance(error, kind):
            return Refused(status, error.code, title, error.message, error.remedy)
    return Refused(500, error.code, "The service failed.", "The service failed.", _FAILED)


def internal() -> Refused:
    """Return the response to an error of the service itself."""
    return Refused(500, "internal", "The service failed.", "This is an error of the service.", _FAILED)


def where(fault: BaseException) -> str:
    """Return the type and place of an error, without its message, which may contain data of a client."""
    frames = traceback.extract_tb(fault.__traceback__)[-4:]
    places = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(fault).__name__} at {places}"
