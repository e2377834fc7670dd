"""`POST /v1/classify/batch`: films and rows as lines of JSON, in order, as fast as films are classified."""

import asyncio
import binascii
import json
import re
from collections import deque
from collections.abc import AsyncIterator, MutableMapping
from dataclasses import dataclass
from typing import Any

from pneumoscan.apps.web.http.body.lines import read_lines
from pneumoscan.apps.web.http.body.stream import BodyLimits, Receive
from pneumoscan.apps.web.http.middleware import Note
from pneumoscan.apps.web.http.problems import Refused, refused, refused_for
from pneumoscan.apps.web.http.responses import NDJSON, Send, begin, json_bytes
from pneumoscan.apps.web.http.routes.classify import read_film, row_of
from pneumoscan.apps.web.http.routes.query import Query, media_type_of, query_of
from pneumoscan.apps.web.http.service import Service
from pneumoscan.errors import PneumoscanError, UsageError

MAX_ID = 200
_LINE_OVERHEAD = 16 * 1024
_LONG_LINE = 64 * 1024
_PIECE = 1 << 20
# Maximum size before the text of the film; an id of 200 letters has at most 2,400 bytes, if each letter is escaped as a surrogate pair.
_BEFORE_FILM = re.compile(
    rb'\{[ \t]{0,99}(?:"id"[ \t]{0,99}:[ \t]{0,99}"(?:[^"\\]|\\.){0,2400}"[ \t]{0,99},[ \t]{0,99})?'
    rb'"film"[ \t]{0,99}:[ \t]{0,99}"'
)
_BUSY_PAUSE, _BUSY_SECONDS = 0.1, 60.0
_FACTS = ("sha256", "logit", "distance", "width", "height", "format")


@dataclass(frozen=True)
class _Film:
    """A valid line: the film and its id."""

    name: str
    film: bytes


class Batch:
    """ASGI: lines in, rows out."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Respond with a row for each line."""
        media_type_of(scope["headers"], (NDJSON,))
        self._service.enter()()
        query = query_of(scope, await self._service.model(), png=False)
        began = False
        async for row in self._rows(receive, query):
            if not began:
                await begin(send, 200, NDJSON)
                began = True
            await send({"type": "http.response.body", "body": json_bytes(row) + b"\n", "more_body": True})
        if not began:
            await begin(send, 200, NDJSON)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _rows(self, receive: Receive, query: Query) -> AsyncIterator[dict[str, Any]]:
        """Yield the rows in order. Some films are read ahead, so that all workers have work."""
        ahead: deque[asyncio.Task[dict[str, Any]]] = deque()
        with self._service.budget.share() as share:
            lines = read_lines(receive, BodyLimits.of(self._service.settings), self._most(), share)
            coming: asyncio.Task[bytes | Refused | None] = asyncio.ensure_future(_next(lines))
            problem: Refused | None = None
            try:
                while problem is None:
                    await asyncio.wait((coming, *list(ahead)[:1]), return_when=asyncio.FIRST_COMPLETED)
                    while ahead and ahead[0].done():
                        yield ahead.popleft().result()
                    if coming.done() and len(ahead) <= self._service.settings.workers:
                        try:
                            line = coming.result()
                        except Refused as error:
                            problem = error
                            break
                        if line is None:
                            break
                        ahead.append(asyncio.ensure_future(self._row(line, query)))
                        coming = asyncio.ensure_future(_next(lines))
                        del line
                    elif coming.done():
                        await asyncio.wait((ahead[0],))
                while ahead:
                    yield await ahead.popleft()
                if problem is not None:
                    raise problem
            finally:
                await _drop(coming, *ahead)
                await lines.aclose()

    def _most(self) -> int:
        return -(-self._service.settings.film_bytes // 3) * 4 + _LINE_OVERHEAD

    async def _row(self, line: bytes | Refused, query: Query) -> dict[str, Any]:
        """Return the row for a line, also for an invalid one."""
        name = None
        try:
            if isinstance(line, Refused):
                raise line
            with self._service.budget.share() as share:
                share.hold(2 * len(line))
                given = await _film_of(line)
                del line
                name = given.name
                if len(given.film) > self._service.settings.film_bytes:
                    raise BodyLimits.of(self._service.settings).too_large()
                share.hold(len(given.film))
                return {"id": name, **await self._read(given.film, query)}
        except Refused as problem:
            return self._refused(name, query, problem)

    async def _read(self, film: bytes, query: Query) -> dict[str, Any]:
        """Return the row of a film; wait if the queue is full."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _BUSY_SECONDS
        while True:
            if self._service.state.stopping:
                raise refused("http.stopping", "The service is stopping.", "Send this line again later.")
            try:
                return row_of(await read_film(self._service, Note(), film, query), query)
            except Refused as problem:
                if problem.code != "http.busy" or loop.time() > end:
                    raise
            except PneumoscanError as problem:
                raise refused_for(problem) from None
            await asyncio.sleep(_BUSY_PAUSE)

    def _refused(self, name: str | None, query: Query, problem: Refused) -> dict[str, Any]:
        pictures = [kind for kind in ("heatmap", "picture") if getattr(query.want, kind)]
        return {
            "id": name,
            "path": "<bytes>",
            "status": "refused",
            "probability": None,
            "label": "",
            "threshold": query.threshold,
            "warnings": [],
            "error_code": problem.code,
            "error": f"{problem.detail} {problem.remedy}".strip(),
            "model": (self._service.about or {}).get("model", ""),
            "site": "",
            **dict.fromkeys((*_FACTS, *pictures)),
        }


async def _next(lines: AsyncIterator[bytes | Refused]) -> bytes | Refused | None:
    return await anext(lines, None)


async def _drop(*tasks: "asyncio.Task[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _film_of(line: bytes) -> _Film:
    """Read `{"id": text, "film": base64}`.

    Of a long line, only the text around the film is parsed as JSON. Parsing the whole line could take thirty times its memory and
    block other requests for seconds.

    Raises:
        Refused: `usage`: the line has another form.
    """
    try:
        start, end = _text_of_the_film(line)
        name, film = _id_and_film(json.loads(line[:start] + line[end:]))
        text = memoryview(line)[start:end] if end else memoryview(film.encode("ascii"))
        return _Film(name, await _decoded(text))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise refused_for(
            UsageError(
                "The line is not a film with an id.",
                f'Send {{"id": "up to {MAX_ID} letters", "film": "base64"}}, one per line.',
            )
        ) from None


def _id_and_film(values: Any) -> tuple[str, str]:
    """Return the two members of a line.

    Raises:
        TypeError, KeyError: There are other members, or they are not text.
    """
    name, film = values["id"], values["film"]
    if len(values) > 2 or not (isinstance(name, str) and isinstance(film, str)) or len(name) > MAX_ID:
        raise TypeError
    return name, film


def _text_of_the_film(line: bytes) -> tuple[int, int]:
    """Return the start and end of the text of the film in a long line; 0, 0 for a short line.

    Raises:
        ValueError: The text was not found, or the rest of the line is too long.
    """
    if len(line) <= _LONG_LINE:
        return 0, 0
    found = _BEFORE_FILM.match(line)
    start = found.end() if found else -1
    end = line.find(b'"', start)
    if found is None or end < 0 or start + len(line) - end > _LONG_LINE:
        raise ValueError
    return start, end


async def _decoded(text: memoryview) -> bytes:
    """Decode base64 in pieces, so that other requests can run.

    Raises:
        ValueError: It is not valid base64.
    """
    pieces = []
    for at in range(0, len(text), _PIECE):
        piece = text[at : at + _PIECE]
        pieces.append(binascii.a2b_base64(piece, strict_mode=True))
        if at + _PIECE < len(text):
            if len(pieces[-1]) != _PIECE // 4 * 3:
                raise ValueError
            await asyncio.sleep(0)
    return b"".join(pieces)
