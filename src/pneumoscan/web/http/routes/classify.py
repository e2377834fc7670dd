"""`/v1/classify`: one film in a request, read by a worker."""

import asyncio
import base64
import hashlib
import json
from collections.abc import MutableMapping
from typing import Any

from pneumoscan.errors import PneumoscanError
from pneumoscan.web.http.body.admission import Share
from pneumoscan.web.http.body.forms import FORM_OVERHEAD, read_form
from pneumoscan.web.http.body.stream import BodyLimits, ClientGoneError, Receive, read_body
from pneumoscan.web.http.middleware import NOTE, Note
from pneumoscan.web.http.problems import refused, refused_for
from pneumoscan.web.http.responses import JSON, PNG, Send, answer, json_bytes
from pneumoscan.web.http.routes.query import FILM_TYPES, Query, check_length, media_type_of, query_of
from pneumoscan.web.http.service import Service, queue_full
from pneumoscan.workers.pool import PoolFullError, PoolStoppedError, Reading

_ASIDE = 1 << 20
"""Bytes from which hashing is left to a thread."""


class Classify:
    """ASGI application: PUT a film, or POST a form with a film."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Respond with the row, and with pictures if they are requested."""
        form = scope["method"] == "POST"
        allowed = ("multipart/form-data",) if form else FILM_TYPES
        _, parameters = media_type_of(scope["headers"], allowed)
        limits = BodyLimits.of(self._service.settings)
        most = limits.film_bytes + (FORM_OVERHEAD if form else 0)
        check_length(scope["headers"], most, limits.too_large())
        leave = self._service.enter()
        with self._service.budget.share() as share:
            try:
                query = query_of(scope, await self._service.model())
                if form:
                    film = await read_form(receive, parameters.get(b"boundary", b""), limits, share)
                else:
                    film = await read_body(receive, limits, share)
            finally:
                leave()
            reading = await self._read(scope[NOTE], film, query, receive)
            del film
            await _respond(send, reading, query, share)

    async def _read(self, note: Note, film: bytes, query: Query, receive: Receive) -> Reading:
        try:
            reading: Reading = await while_connected(receive, read_film(self._service, note, film, query))
            return reading
        except PneumoscanError as problem:
            raise refused_for(problem) from None


async def read_film(service: Service, note: Note, film: bytes, query: Query) -> Reading:
    """Read a film in a worker, count it, and note its hash.

    Raises:
        PneumoscanError: See `FilmPool.read`.
        Refused: `http.busy`, `http.stopping`.
    """
    try:
        reading = await service.pool.read(film, threshold=query.threshold, want=query.want)
    except PoolFullError as problem:
        raise queue_full(problem.retry_after) from None
    except PoolStoppedError:
        raise refused("http.stopping", "The service is stopping.", "Try again later.") from None
    except PneumoscanError as problem:
        service.metrics.film("", problem.code)
        note.sha256 = await sha256_of(film)
        raise
    service.metrics.film(str(reading.row["label"]), "")
    note.sha256 = str(reading.row["sha256"])
    return reading


async def sha256_of(film: bytes) -> str:
    """Return the hash of a film without blocking other requests."""
    if len(film) < _ASIDE:
        return hashlib.sha256(film).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(film).hexdigest())


def row_of(reading: Reading, query: Query) -> dict[str, Any]:
    """Return the row with the requested pictures."""
    pictures = {
        "heatmap": (query.want.heatmap, reading.heatmap),
        "picture": (query.want.picture, reading.picture),
    }
    return reading.row | {name: _picture(data) for name, (wanted, data) in pictures.items() if wanted}


def _picture(data: bytes | None) -> dict[str, str] | None:
    return None if data is None else {"media_type": PNG, "data": base64.b64encode(data).decode("ascii")}


async def _respond(send: Send, reading: Reading, query: Query, share: Share) -> None:
    if query.as_png and reading.heatmap is not None:
        row = json.dumps(reading.row, allow_nan=False)
        await answer(send, 200, PNG, reading.heatmap, (("pneumoscan-row", row),), share)
    else:
        await answer(send, 200, JSON, json_bytes(row_of(reading, query)), (), share)


async def while_connected(receive: Receive, work: Any) -> Any:
    """Await `work`, and cancel it if the client closes the connection.

    Raises:
        ClientGoneError: The client closed the connection.
    """
    working, going = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((working, going), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGoneError
    finally:
        working.cancel()
        going.cancel()
        await asyncio.gather(working, going, return_exceptions=True)
        # The traceback of an error holds this frame, and the task holds the error. The film would stay in memory.
        del working, going


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
