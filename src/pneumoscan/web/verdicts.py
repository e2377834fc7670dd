"""`/v1/verdicts`: what readers say of the answers, kept in a file of theirs if the service was started with one."""

import asyncio
import json
from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any

from pneumoscan.errors import PneumoscanError, UsageError
from pneumoscan.verdicts import MOST_BYTES, Verdict, VerdictFile
from pneumoscan.web.body import BodyLimits, Receive, read_body
from pneumoscan.web.classify import check_length, media_type_of
from pneumoscan.web.responses import JSON, Send, answer, json_bytes, refused_for
from pneumoscan.web.service import Service


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
        media_type_of(scope["headers"], (JSON,))
        limits = replace(BodyLimits.of(self._service.settings), film_bytes=MOST_BYTES, what="verdict")
        check_length(scope["headers"], limits.film_bytes, limits.too_large())
        leave = self._service.enter()
        with self._service.budget.share() as share:
            try:
                text = await read_body(receive, limits, share)
            finally:
                leave()
        if self._file is None:
            raise UsageError("This service keeps no verdicts.", "Start it with --verdicts FILE.csv.")
        try:
            given = json.loads(text)
        except (ValueError, RecursionError):
            raise UsageError("The body is not JSON.", "Send one verdict as a JSON object.") from None
        return {"kept": await asyncio.to_thread(self._file.add, Verdict.from_json(given))}
