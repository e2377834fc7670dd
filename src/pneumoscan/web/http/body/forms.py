"""A form with a film, read by Starlette in memory, whatever its size."""

import asyncio
import re
from collections.abc import AsyncGenerator

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from pneumoscan.errors import UsageError
from pneumoscan.web.http.body.admission import Share
from pneumoscan.web.http.body.stream import BodyLimits, Receive, pieces
from pneumoscan.web.http.problems import Refused, refused_for

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


async def read_form(receive: Receive, boundary: bytes, limits: BodyLimits, share: Share) -> bytes:
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


async def _counted(receive: Receive, limits: BodyLimits, share: Share) -> AsyncGenerator[bytes]:
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
