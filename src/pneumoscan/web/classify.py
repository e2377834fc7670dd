"""`/v1/classify`: one film in a request, its query, and its response."""

import asyncio
import base64
import hashlib
import json
import math
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qsl, unquote

from pneumoscan.errors import ConfigError, PneumoscanError, UsageError
from pneumoscan.web.body import (
    FORM_OVERHEAD,
    BodyLimits,
    BodyShare,
    ClientGoneError,
    Receive,
    read_body,
    read_form,
)
from pneumoscan.web.middleware import NOTE, Note
from pneumoscan.web.responses import JSON, PDF, PNG, Refused, Send, answer, json_bytes, refused, refused_for
from pneumoscan.web.service import Service, queue_full
from pneumoscan.workers.pool import PoolFullError, PoolStoppedError, Reading
from pneumoscan.workers.protocol import Want

FILM_TYPES = ("image/jpeg", "image/png", "application/dicom", "application/octet-stream")
EXTRAS = ("heatmap", "picture", "lungs")
TITLE = "pneumoscan-title"
"""Header with the name of the film for its PDF, percent-encoded: queries stand in the logs of proxies."""


@dataclass(frozen=True)
class Query:
    """What is requested for a film.

    Attributes:
        threshold: Threshold in [0, 1].
        as_png: Whether the response is the heatmap, with the row in its header.
        as_pdf: Whether the response is the result as a PDF, with the row in its header.
    """

    threshold: float
    want: Want
    as_png: bool
    as_pdf: bool = False


def query_of(scope: MutableMapping[str, Any], about: Mapping[str, Any]) -> Query:
    """Read the query.

    Raises:
        Refused: `usage` or `config`: a parameter is unknown, repeated, or has an illegal value.
    """
    given = _query(scope["query_string"], {"operating_point", "threshold", "include", "heatmap", "document"})
    as_png = "heatmap" in given
    if as_png and given["heatmap"] != "png":
        raise _usage("heatmap can only be png.", "Query heatmap=png, or include=heatmap.")
    if as_png and "include" in given:
        raise _usage("heatmap and include cannot both be given.", "Give one of them.")
    included = given["include"].split(",") if "include" in given else []
    if not set(included) <= set(EXTRAS) or len(set(included)) < len(included):
        raise _usage(
            "include must be a list of heatmap, picture and lungs.",
            "Give one or more of them, joined by commas.",
        )
    if as_png and not about.get("has_heatmap"):
        raise _usage("This model has no map.", "Query without heatmap=png.")
    if "document" in given:
        return Query(_threshold(given, about), Want(more=_document(scope, given, about)), False, True)
    want = Want(as_png or "heatmap" in included, "picture" in included, "lungs" in included)
    return Query(_threshold(given, about), want, as_png)


def _document(
    scope: MutableMapping[str, Any], given: Mapping[str, str], about: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the worker needs for a PDF besides the film."""
    if given["document"] != "pdf" or "include" in given or "heatmap" in given:
        raise _usage("document can only be pdf, without include and heatmap.", "Query document=pdf.")
    if find_spec("reportlab") is None:
        raise _usage("This service makes no PDF.", "Install pneumoscan[pdf] on its machine.")
    title = dict(scope["headers"]).get(TITLE.encode(), b"").decode("latin-1")
    point = "" if "threshold" in given else given.get("operating_point", about["default_operating_point"])
    return {"document": {"title": unquote(title, errors="replace")[:300], "operating_point": point}}


def _query(raw: bytes, known: set[str]) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(raw),
            max_num_fields=8,
            errors="strict",
        )
    except ValueError:
        raise _usage("The query cannot be read.", "Send name=value, joined by &.") from None
    given = dict(pairs)
    if len(given) < len(pairs) or not set(given) <= known:
        raise _usage(
            "The query has an unknown name, or a name twice.", f"Known are {', '.join(sorted(known))}."
        )
    return given


def _threshold(given: Mapping[str, str], about: Mapping[str, Any]) -> float:
    points = about["operating_points"]
    if "threshold" not in given:
        name = given.get("operating_point", about["default_operating_point"])
        if name not in points:
            raise refused_for(
                ConfigError(
                    "The model has no operating point of that name.", f"It has {', '.join(sorted(points))}."
                )
            )
        return float(points[name]["threshold"])
    if "operating_point" in given:
        raise _usage("threshold and operating_point cannot both be given.", "Give one of them.")
    return _number(given["threshold"])


def _number(text: str) -> float:
    try:
        # float() accepts more than JSON numbers: 1_0, infinity, digits of other scripts.
        value = float(text) if text.isascii() and "_" not in text and text == text.strip() else math.nan
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise _usage("threshold must be a number from 0 to 1.", "For example threshold=0.5.")
    return value


def check_length(headers: list[tuple[bytes, bytes]], most: int, too_large: Refused) -> None:
    """Check the length of a body in its header.

    Raises:
        Refused: `http.length` (411): there is none; `too_large`: it is more than `most`.
    """
    fields = dict(headers)
    if b"content-length" in fields:
        if int(fields[b"content-length"]) > most:
            raise too_large
    elif b"transfer-encoding" not in fields:
        raise refused(
            "http.length", "The request does not give its length.", "Send Content-Length.", status=411
        )


def media_type_of(
    headers: list[tuple[bytes, bytes]], allowed: tuple[str, ...]
) -> tuple[str, dict[bytes, bytes]]:
    """Return the media type of the body and its parameters.

    Raises:
        Refused: `http.media_type`: it is not one of `allowed`, or is given more than once.
    """
    given = [value for name, value in headers if name == b"content-type"]
    text = given[0].decode("latin-1") if len(given) == 1 else ""
    kind = text.partition(";")[0].strip(" \t").lower()
    if kind not in allowed:
        raise refused(
            "http.media_type",
            "The body has a media type that this service does not support.",
            f"Send {', '.join(allowed)}.",
        )
    if kind != "multipart/form-data":
        return kind, {}
    from python_multipart.multipart import parse_options_header

    return kind, parse_options_header(text)[1]


def _usage(detail: str, remedy: str) -> Refused:
    return refused_for(UsageError(detail, remedy))


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


async def _respond(send: Send, reading: Reading, query: Query, share: BodyShare) -> None:
    if query.as_pdf:
        row = json.dumps(reading.row, allow_nan=False)
        await answer(send, 200, PDF, reading.files[0], (("pneumoscan-row", row),), share.hold)
    elif query.as_png and reading.heatmap is not None:
        row = json.dumps(reading.row, allow_nan=False)
        await answer(send, 200, PNG, reading.heatmap, (("pneumoscan-row", row),), share.hold)
    else:
        await answer(send, 200, JSON, json_bytes(row_of(reading, query)), (), share.hold)


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
