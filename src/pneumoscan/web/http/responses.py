"""Responses, sent in pieces, so that unsent data do not accumulate for slow clients."""

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from pneumoscan.web.http.body.admission import Share

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
JSON, PNG = "application/json", "image/png"
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
    share: Share | None = None,
) -> None:
    """Send a whole response; `share` counts its bytes until nearly all are sent.

    Raises:
        Refused: `http.busy`: there is not enough memory; nothing was sent.
    """
    if share is not None:
        share.hold(len(body))
    await begin(send, status, media_type, (("content-length", str(len(body))), *headers))
    view = memoryview(body)
    for start in range(0, max(1, len(body)), _PIECE):
        end = start + _PIECE
        piece = bytes(view[start:end])
        await send({"type": "http.response.body", "body": piece, "more_body": end < len(body)})


def json_bytes(value: object) -> bytes:
    """Return compact JSON in ASCII; NaN is an error."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
