"""`/v1/classify`: one film in a request, read by a worker."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pneumoscan.apps.web.http.bodies import (
    BodyLimits,
    Budget,
    ClientGoneError,
    Door,
    Receive,
    Share,
    read_body,
)
from pneumoscan.apps.web.http.forms import FORM_OVERHEAD, read_form
from pneumoscan.apps.web.http.gate import NOTE, Note, State
from pneumoscan.apps.web.http.problems import Refused, refused, refused_for
from pneumoscan.apps.web.http.query import FILM_TYPES, Ask, ask_of, check_length, media_type_of
from pneumoscan.apps.web.http.responses import JSON, PNG, Send, answer, json_bytes
from pneumoscan.apps.workers.pool import FilmPool, PoolFullError, PoolStoppedError, Reading
from pneumoscan.errors import PneumoscanError

if TYPE_CHECKING:
    from pneumoscan.apps.web.http.metrics import Metrics
    from pneumoscan.apps.web.settings import Settings

_READY_STEP = 0.02
_ASIDE = 1 << 20
"""Bytes from which hashing is left to a thread."""


@dataclass
class Service:
    """One running service: what its routes share.

    Attributes:
        settings: What it allows.
        pool: Who reads the films.
        metrics: What it counts.
        about: What the model tells of itself; None until that is known.
        state: Whether it is stopping.
        budget: Of the bytes in memory.
        door: Of bodies that arrive.
    """

    settings: "Settings"
    pool: FilmPool
    metrics: "Metrics"
    about: dict[str, Any] | None = None
    state: State = field(default_factory=State)
    budget: Budget = field(init=False)
    door: Door = field(init=False)

    def __post_init__(self) -> None:
        self.budget = Budget(self.settings.memory_bytes)
        self.door = Door(max(64, 2 * self.settings.queue))
        self.metrics.watch(self.pool, lambda: self.budget.used)

    @property
    def ready(self) -> bool:
        """Whether a film would be read now."""
        return self.about is not None and self.pool.ready and not self.state.stopping

    async def model(self) -> dict[str, Any]:
        """Return what the model tells of itself, waiting for a service that has just begun.

        Raises:
            Refused: `http.busy`: no worker is ready yet; `http.stopping`.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self.settings.ready_seconds
        while not self.ready or self.about is None:
            if self.state.stopping:
                raise refused("http.stopping", "The service is stopping.", "Try again later.")
            if loop.time() > end:
                raise refused("http.busy", "No worker is ready.", "Try again soon.")
            await asyncio.sleep(_READY_STEP)
        return self.about

    def enter(self) -> Callable[[], None]:
        """Let a body in if a film would find a place; return what gives the place at the door back.

        Raises:
            Refused: `http.busy`.
        """
        if self.pool.waiting >= max(1, self.settings.queue):
            raise full(1)
        return self.door.enter()


class Classify:
    """ASGI: PUT a film's bytes, or POST a form with it."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer with the row, and pictures if they are asked for."""
        form = scope["method"] == "POST"
        allowed = ("multipart/form-data",) if form else FILM_TYPES
        _, parameters = media_type_of(scope["headers"], allowed)
        limits = BodyLimits.of(self._service.settings)
        most = limits.film_bytes + (FORM_OVERHEAD if form else 0)
        check_length(scope["headers"], most, limits.too_large())
        leave = self._service.enter()
        with self._service.budget.share() as share:
            try:
                ask = ask_of(scope, await self._service.model(), png=True)
                if form:
                    film = await read_form(receive, parameters.get(b"boundary", b""), limits, share)
                else:
                    film = await read_body(receive, limits, share)
            finally:
                leave()
            reading = await self._read(scope[NOTE], film, ask, receive)
            del film
            await _tell(send, reading, ask, share)

    async def _read(self, note: Note, film: bytes, ask: Ask, receive: Receive) -> Reading:
        try:
            reading: Reading = await while_there(receive, read_film(self._service, note, film, ask))
            return reading
        except PneumoscanError as problem:
            raise refused_for(problem) from None


async def read_film(service: Service, note: Note, film: bytes, ask: Ask) -> Reading:
    """Have a film read; count it, and note its hash.

    Raises:
        PneumoscanError: As `FilmPool.read`.
        Refused: `http.busy`, `http.stopping`.
    """
    try:
        reading = await service.pool.read(film, threshold=ask.threshold, want=ask.want)
    except PoolFullError as problem:
        raise full(problem.retry_after) from None
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
    """Return the hash of a film without holding the others up."""
    if len(film) < _ASIDE:
        return hashlib.sha256(film).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(film).hexdigest())


def full(seconds: int) -> Refused:
    """Return the refusal where as many films wait as may."""
    return refused(
        "http.busy", "As many films wait as may.", "Try again soon.", headers=(("Retry-After", str(seconds)),)
    )


def row_of(reading: Reading, ask: Ask) -> dict[str, Any]:
    """Return the row with the pictures that were asked for in it."""
    pictures = {
        "heatmap": (ask.want.heatmap, reading.heatmap),
        "picture": (ask.want.picture, reading.picture),
    }
    return reading.row | {name: _picture(data) for name, (wanted, data) in pictures.items() if wanted}


def _picture(data: bytes | None) -> dict[str, str] | None:
    return None if data is None else {"media_type": PNG, "data": base64.b64encode(data).decode("ascii")}


async def _tell(send: Send, reading: Reading, ask: Ask, share: Share) -> None:
    if ask.as_png and reading.heatmap is not None:
        row = json.dumps(reading.row, allow_nan=False)
        await answer(send, 200, PNG, reading.heatmap, (("pneumoscan-row", row),), share)
    else:
        await answer(send, 200, JSON, json_bytes(row_of(reading, ask)), (), share)


async def while_there(receive: Receive, work: Any) -> Any:
    """Await `work`, and give it up when the client goes.

    Raises:
        ClientGoneError: It went first.
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
        # An error's traceback holds this frame, and the task the error: the film would hang on the two of them.
        del working, going


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
