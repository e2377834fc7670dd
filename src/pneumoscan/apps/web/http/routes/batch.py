"""`POST /v1/classify/batch`: films and rows as lines of JSON, in order, as fast as films are classified."""

import asyncio
import binascii
import json
import re
from collections import deque
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

from pneumoscan.apps.web.http.body.lines import BadLine, read_lines
from pneumoscan.apps.web.http.body.stream import BodyLimits, Receive
from pneumoscan.apps.web.http.middleware import Note
from pneumoscan.apps.web.http.problems import Refused, refused, refused_for
from pneumoscan.apps.web.http.responses import NDJSON, Send, begin, json_bytes
from pneumoscan.apps.web.http.routes.classify import read_film, row_of
from pneumoscan.apps.web.http.routes.query import EXTRAS, Query, media_type_of, query_of
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
_ID_BYTES = 4096
_ID_FIRST = re.compile(rb'[ \t]*\{[ \t]*"id"[ \t]*:[ \t]*("(?:[^"\\]|\\.){0,2400}")')
# JSON may write these characters of base64 as escapes, and some programs do.
_ESCAPES = {
    rb"\/": b"/",
    rb"\u002f": b"/",
    rb"\u002F": b"/",
    rb"\u002b": b"+",
    rb"\u002B": b"+",
    rb"\u003d": b"=",
    rb"\u003D": b"=",
}
_FORM = f'Send {{"id": "up to {MAX_ID} letters", "film": "base64"}}, one per line.'
_BASE64 = "Send the base64 of RFC 4648, section 4, with its padding, without line breaks and without data: before it."
_BUSY_PAUSE, _BUSY_SECONDS = 0.1, 60.0
_FACTS = ("sha256", "logit", "distance", "width", "height", "format")


class _LineError(ValueError):
    """A line that is not a film with an id.

    Args:
        reason: What is wrong, as a sentence.
        remedy: What to send.
        name: The id of the line, if it has a valid one.
    """

    def __init__(self, reason: str, remedy: str, name: str | None = None) -> None:
        super().__init__(reason)
        self.remedy, self.name = remedy, name

    def refused(self) -> Refused:
        """Return the error for the row."""
        return refused_for(UsageError(str(self), self.remedy))


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
            coming: asyncio.Task[bytes | BadLine | None] = asyncio.ensure_future(_next(lines))
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

    async def _row(self, line: bytes | BadLine, query: Query) -> dict[str, Any]:
        """Return the row for a line, also for an invalid one."""
        name = None
        try:
            if isinstance(line, BadLine):
                name = _id_at_start(line.start)
                raise line.problem
            with self._service.budget.share() as share:
                # The line, its text without escapes, and the film.
                share.hold((3 if b"\\" in line else 2) * len(line))
                name, text = _id_and_text(line)
                film = await _decoded(text)
                del line, text
                if len(film) > self._service.settings.film_bytes:
                    raise BodyLimits.of(self._service.settings).too_large()
                share.hold(len(film))
                return {"id": name, **await self._read(film, query)}
        except _LineError as problem:
            return self._refused(problem.name if name is None else name, query, problem.refused())
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
        extras = [kind for kind in EXTRAS if getattr(query.want, kind)]
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
            **dict.fromkeys((*_FACTS, *extras)),
        }


async def _next(lines: AsyncIterator[bytes | BadLine]) -> bytes | BadLine | None:
    return await anext(lines, None)


async def _drop(*tasks: "asyncio.Task[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _id_and_text(line: bytes) -> tuple[str, memoryview]:
    """Read `{"id": text, "film": base64}`: the id, and the text of the film.

    Of a long line, only the text around the film is parsed as JSON. Parsing the whole line could take thirty times its memory and
    block other requests for seconds.

    Raises:
        _LineError: The line has another form.
    """
    try:
        start, end = _text_of_the_film(line)
        values = json.loads(line[:start] + line[end:])
    except (ValueError, RecursionError):
        raise _LineError(
            "The line is not a JSON object with the film as text.", _FORM, _id_at_start(line)
        ) from None
    name = _legal_id(values.get("id")) if isinstance(values, dict) else None
    film = values.get("film") if isinstance(values, dict) else None
    if name is None or not isinstance(film, str) or len(values) > 2:
        raise _LineError("The line does not have exactly an id and a film, both text.", _FORM, name)
    if end:
        text = memoryview(line)[start:end]
        return name, memoryview(_unescaped(bytes(text))) if b"\\" in line else text
    try:
        return name, memoryview(film.encode("ascii"))
    except UnicodeEncodeError:
        raise _LineError("The film is not valid base64: it has other characters.", _BASE64, name) from None


def _unescaped(text: bytes) -> bytes:
    for escape, character in _ESCAPES.items():
        text = text.replace(escape, character)
    return text


def _legal_id(value: object) -> str | None:
    return value if isinstance(value, str) and len(value) <= MAX_ID else None


def _id_at_start(line: bytes) -> str | None:
    """Return the id of a line that cannot be parsed, if it stands before everything else; otherwise None."""
    found = _ID_FIRST.match(line[:_ID_BYTES])
    try:
        return _legal_id(json.loads(found[1])) if found else None
    except ValueError:
        return None


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
        _LineError: It is not valid base64.
    """
    pieces = []
    for at in range(0, len(text), _PIECE):
        piece = text[at : at + _PIECE]
        try:
            pieces.append(binascii.a2b_base64(piece, strict_mode=True))
        except ValueError as problem:
            raise _LineError(f"The film is not valid base64: {problem}.", _BASE64) from None
        if at + _PIECE < len(text):
            if len(pieces[-1]) != _PIECE // 4 * 3:
                raise _LineError("The film is not valid base64: it has padding inside.", _BASE64)
            await asyncio.sleep(0)
    return b"".join(pieces)
