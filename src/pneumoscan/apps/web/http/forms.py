"""A form with a film: parsed in memory, whatever its size."""

import asyncio
from typing import Any

from pneumoscan.apps.web.http.bodies import BodyLimits, Receive, Share, pieces
from pneumoscan.apps.web.http.problems import Refused, refused_for
from pneumoscan.errors import UsageError

FORM_FIELD = "film"
FORM_OVERHEAD = 64 * 1024
"""Bytes that a form may have besides its film."""
_MAX_PART_HEADER = 4096


async def read_form(receive: Receive, boundary: bytes, limits: BodyLimits, share: Share) -> bytes:
    """Return the film of a form whose only field is the file `film`; its name is not looked at.

    Raises:
        Refused: `usage`: the form is otherwise; or as `read_body`.
        ClientGoneError: The connection ended first.
    """
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser

    form = _Form(limits, share)
    try:
        parser = MultipartParser(
            boundary, form.callbacks(), max_header_count=8, max_header_size=_MAX_PART_HEADER
        )
        count = 0
        async for piece in pieces(receive, limits):
            count += len(piece)
            if count > limits.film_bytes + FORM_OVERHEAD:
                raise limits.too_large()
            parser.write(piece)
            # The parser is Python: let others have their turn between the pieces.
            await asyncio.sleep(0)
    except FormParserError:
        raise bad_form("The body is not a whole multipart form.") from None
    if not form.ended or form.parts != 1:
        raise bad_form("The form has no file, or ends before its end.")
    return bytes(form.film)


def bad_form(detail: str) -> Refused:
    """Return the refusal of a form that is not as it should be."""
    return refused_for(
        UsageError(detail, f"Send multipart/form-data with one file field, `{FORM_FIELD}`, and nothing else.")
    )


class _Form:
    """What the parser of a form has seen."""

    def __init__(self, limits: BodyLimits, share: Share) -> None:
        self._limits, self._share = limits, share
        self._field, self._value = bytearray(), bytearray()
        self._named = False
        self.film = bytearray()
        self.parts = 0
        self.ended = False

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._part,
            "on_header_field": self._take_field,
            "on_header_value": self._take_value,
            "on_header_end": self._header,
            "on_headers_finished": self._headers,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def _part(self) -> None:
        self.parts += 1
        if self.parts > 1:
            raise bad_form("The form has more than one field.")

    def _take_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header(self) -> None:
        from python_multipart.multipart import parse_options_header

        field, value = bytes(self._field).lower(), bytes(self._value)
        if field == b"content-disposition":
            kind, options = parse_options_header(value.decode("latin-1"))
            self._named = kind == b"form-data" and options.get(b"name") == FORM_FIELD.encode()
        if field == b"content-transfer-encoding" and value.lower() not in {b"binary", b"8bit"}:
            raise bad_form("The part of the form is encoded.")
        self._field.clear()
        self._value.clear()

    def _headers(self) -> None:
        if not self._named:
            raise bad_form(f"The form's field is not named `{FORM_FIELD}`.")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if len(self.film) + end - start > self._limits.film_bytes:
            raise self._limits.too_large()
        self._share.hold(len(self.film) + end - start)
        self.film += memoryview(data)[start:end]

    def _end(self) -> None:
        self.ended = True
