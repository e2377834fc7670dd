"""Refusals as `application/problem+json` (RFC 9457), with the codes of `pneumoscan.errors`.

A code of HTTP itself begins with `http.`; all of them stand in `HTTP_CODES`.
"""

import json
from collections.abc import Mapping
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

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 1
HTTP_CODES: Mapping[str, tuple[int, str]] = {
    "http.malformed": (400, "The request is not well-formed HTTP."),
    "http.length": (400, "The length of the body is missing or wrong."),
    "http.token": (401, "A token is needed."),
    "http.origin": (403, "Pages of other sites may not use this service."),
    "http.not_found": (404, "This address does not exist."),
    "http.method": (405, "This address does not take that method."),
    "http.timeout": (408, "The request arrived too slowly."),
    "http.media_type": (415, "The body has a type that this service does not read."),
    "http.content_encoding": (415, "The body is encoded."),
    "http.host": (421, "This service does not answer under that name."),
    "http.header": (431, "The header is too large."),
    "http.busy": (503, "Too many films are waiting."),
    "http.stopping": (503, "The service is stopping."),
}
_FILM_STATUS: tuple[tuple[type[PneumoscanError], int, str], ...] = (
    (FilmTooLargeError, 413, "The film is too large."),
    (FilmFormatError, 415, "The film has a format that this service does not read."),
    (CodecMissingError, 415, "There is no codec for this film."),
    (FilmError, 422, "The film cannot be used."),
    (UsageError, 400, "The request is not valid."),
)


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """A request that gets a problem for an answer.

    Args:
        status: Of the answer.
        code: `pneumoscan.errors`, or one of `HTTP_CODES`.
        title: What kind of problem, the same for each of its code and status.
        detail: What is wrong with this request.
        remedy: What the client can do; may be empty.
        headers: Further header fields of the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str,
        remedy: str = "",
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
    """Make the refusal of one of `HTTP_CODES`; one of status 503 says when to come again."""
    default, title = HTTP_CODES[code]
    if default == HTTPStatus.SERVICE_UNAVAILABLE and not headers:
        headers = (("Retry-After", str(RETRY_SECONDS)),)
    return Refused(status or default, code, title, detail, remedy, headers)


def refused_for(error: PneumoscanError) -> Refused:
    """Make the refusal that says what an error says; one that is no client's fault tells no more than its code."""
    for kind, status, title in _FILM_STATUS:
        if isinstance(error, kind):
            return Refused(status, error.code, title, error.message, error.remedy)
    return Refused(500, error.code, "The service failed.", "The service failed. Its log has the details.")


def internal() -> Refused:
    """Return the response to an error of the service itself."""
    return Refused(
        500, "internal", "The service failed.", "This is an error of the service. Its log has the details."
    )
