"""The errors of `/openapi.json`: a response for each status, and an example for each code."""

from collections.abc import Mapping

from pneumoscan.errors import (
    CodecMissingError,
    ConfigError,
    FilmCrashError,
    FilmFormatError,
    FilmTimeoutError,
    FilmTooLargeError,
    FilmTruncatedError,
    PneumoscanError,
    UsageError,
)
from pneumoscan.web.http.openapi.schemas import Table
from pneumoscan.web.http.problems import HTTP_CODES, MEDIA_TYPE, Refused, refused, refused_for

PROBLEMS: Mapping[int, str] = {
    400: "The request is not valid, or not well-formed.",
    401: "The token is missing or wrong.",
    403: "The request comes from a page of another site.",
    404: "This address does not exist.",
    405: "The address does not support the method.",
    408: "The body arrived too slowly.",
    411: "The length of the body is missing.",
    413: "The film is too large.",
    415: "The body, or the film in it, has a type that this service does not support.",
    421: "The Host header does not name this service.",
    422: "The film cannot be used; `code` gives the reason.",
    431: "The header is too large.",
    500: "An error of the service.",
    503: "Too many films are waiting, no worker is ready, or the service is stopping. Retry-After gives the time to wait.",
}


def problems_of(statuses: tuple[int, ...]) -> Table:
    """Return the error responses of a route with these statuses, and 500."""
    return {
        str(status): {"$ref": f"#/components/responses/Problem{status}"}
        for status in sorted({*statuses, 500})
    }


def problem_response(status: int) -> Table:
    """Return the response of a status, with an example of each of its codes."""
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": _problem_examples(status)}
    found: Table = {"description": PROBLEMS[status], "content": {MEDIA_TYPE: content}}
    fields = {401: "WWW-Authenticate", 405: "Allow", 503: "Retry-After"}
    if status in fields:
        found["headers"] = {fields[status]: {"required": True, "schema": {"type": "string"}}}
    return found


def _problem_examples(status: int) -> Table:
    return {
        problem.code: {"value": problem.to_json()} for problem in _every_problem() if problem.status == status
    }


def _every_problem() -> list[Refused]:
    films: tuple[PneumoscanError, ...] = (
        FilmTruncatedError("<bytes> ends before the image is complete.", "Copy it again from its source."),
        FilmFormatError("<bytes> is not a JPEG, PNG or DICOM file.", "Send the film itself."),
        FilmTooLargeError(
            "The film has more than 64 MiB.", "Send the film itself, not an archive or a series."
        ),
        FilmCrashError("the process that read <bytes> ended.", "Send it again."),
        FilmTimeoutError(
            "<bytes> took longer than 10 s to read.", "Save the film again with another program."
        ),
        CodecMissingError("<bytes> is compressed as JPEG 2000.", "pip install 'pneumoscan[dicom]'"),
        UsageError("threshold must be a number from 0 to 1.", "For example threshold=0.5."),
        ConfigError("The model has no operating point of that name.", "It has balanced, sensitivity_98."),
        PneumoscanError("An error."),
    )
    length = refused(
        "http.length", "The request does not give its length.", "Send Content-Length.", status=411
    )
    return [
        *(refused(code, title) for code, (_, title, _) in HTTP_CODES.items()),
        length,
        *map(refused_for, films),
    ]
