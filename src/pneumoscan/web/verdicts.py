"""`/v1/verdicts` and `/v1/node/verdicts`: what readers say of the answers, kept in a file of theirs, or beside the queue of a node."""

import asyncio
import json
from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any, Protocol

from pneumoscan.errors import PneumoscanError, UsageError
from pneumoscan.verdicts import MOST_BYTES, Verdict, VerdictFile
from pneumoscan.web.body import BodyLimits, Receive, read_body
from pneumoscan.web.classify import check_length, media_type_of
from pneumoscan.web.responses import JSON, Send, answer, json_bytes, refused_for
from pneumoscan.web.service import Service


class VerdictDesk(Protocol):
    """What people judge of a hospital node, and their verdicts; `add` raises UsageError for what is no verdict."""

    def films(self) -> list[dict[str, Any]]:
        """Return the latest films, as JSON types."""

    def picture(self, number: int) -> bytes | None:
        """Return the picture of a film as JPEG; None if there is none."""

    def add(self, given: Any) -> bool:
        """Keep a verdict; return False if it is there already."""


class NodeVerdicts:
    """ASGI application: GET the films of a node with their verdicts, POST one."""

    def __init__(self, service: Service, desk: VerdictDesk | None) -> None:
        self._service, self._desk = service, desk

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Respond with the films, or whether a new verdict is kept."""
        try:
            body = await (self._keep(scope, receive) if scope["method"] == "POST" else self._films())
        except PneumoscanError as problem:
            raise refused_for(problem) from None
        await answer(send, 200, JSON, json_bytes(body))

    async def _films(self) -> dict[str, Any]:
        return {"films": [] if self._desk is None else await asyncio.to_thread(self._desk.films)}

    async def _keep(self, scope: MutableMapping[str, Any], receive: Receive) -> dict[str, Any]:
        given = await _given(self._service, scope, receive)
        if self._desk is None:
            raise UsageError("This service watches no node.", "Start it with --node NODE.TOML.")
        return {"kept": await asyncio.to_thread(self._desk.add, given)}


class Verdicts:
    """ASGI application: GET all verdicts, POST one."""

    def __init__(self, service: Service, file: VerdictFile | None) -> None:
        self._service, self._file = service, file

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Respond with all verdicts, or whether a new one is kept."""
        try:
            body = await (self._keep(scope, receive) if scope["method"] == "POST" else self._all())
        except PneumoscanError as problem:
            raise refused_for(problem) from None
        await answer(send, 200, JSON, json_bytes(body))

    async def _all(self) -> dict[str, Any]:
        if self._file is None:
            return {"file": None, "verdicts": []}
        verdicts = await asyncio.to_thread(self._file.all)
        return {"file": self._file.path.name, "verdicts": [one.to_json() for one in verdicts]}

    async def _keep(self, scope: MutableMapping[str, Any], receive: Receive) -> dict[str, Any]:
        given = await _given(self._service, scope, receive)
        if self._file is None:
            raise UsageError("This service keeps no verdicts.", "Start it with --verdicts FILE.csv.")
        return {"kept": await asyncio.to_thread(self._file.add, Verdict.from_json(given))}


async def _given(service: Service, scope: MutableMapping[str, Any], receive: Receive) -> Any:
    """Return the JSON of a body.

    Raises:
        UsageError: It is no JSON.
        Refused: See `read_body`.
    """
    media_type_of(scope["headers"], (JSON,))
    limits = replace(BodyLimits.of(service.settings), film_bytes=MOST_BYTES, what="verdict")
    check_length(scope["headers"], limits.film_bytes, limits.too_large())
    leave = service.enter()
    with service.budget.share() as share:
        try:
            text = await read_body(receive, limits, share)
        finally:
            leave()
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise UsageError("The body is not JSON.", "Send one verdict as a JSON object.") from None
