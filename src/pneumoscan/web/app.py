"""The routes of the service: the files of the page, the OpenAPI description, and the verdicts of readers."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pneumoscan import __version__
from pneumoscan.errors import PneumoscanError, UsageError
from pneumoscan.verdicts import MOST_BYTES, Verdict, VerdictFile
from pneumoscan.web.body import BodyLimits, Receive, read_body
from pneumoscan.web.classify import Classify, check_length, media_type_of
from pneumoscan.web.limits import Settings
from pneumoscan.web.middleware import NOTE, AccessMiddleware
from pneumoscan.web.responses import JSON, PROBLEM, Refused, Send, answer, json_bytes, refused, refused_for
from pneumoscan.web.service import METRICS_TYPE, Service, ServiceMetrics
from pneumoscan.workers.pool import FilmPool

PAGE = Path(__file__).with_name("page")
OPENAPI = Path(__file__).with_name("openapi.json")
INDEX, ICON = "index.html", "favicon.svg"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True)
class PageFile:
    """One file of the page.

    Attributes:
        etag: Entity tag of its content, in quotes.
    """

    data: bytes
    media_type: str
    etag: str


def page_files(folder: Path = PAGE) -> dict[str, PageFile]:
    """Return the files of the page by their paths relative to its folder, without files of unknown types."""
    return {
        path.relative_to(folder).as_posix(): _file(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in _TYPES and path.is_file()
    }


def _file(path: Path) -> PageFile:
    data = path.read_bytes()
    return PageFile(data, _TYPES[path.suffix], f'"{hashlib.sha256(data).hexdigest()[:32]}"')


class VerdictDesk(Protocol):
    """What people judge of a hospital node, and their verdicts; `add` raises UsageError for what is no verdict."""

    def films(self) -> list[dict[str, Any]]:
        """Return the latest films, as JSON types."""

    def picture(self, number: int) -> bytes | None:
        """Return the picture of a film as JPEG; None if there is none."""

    def add(self, given: Any) -> bool:
        """Keep a verdict; return False if it is there already."""


NodeView = Callable[[], Mapping[str, Any]]
"""What a hospital node tells of itself, as JSON types; may take a second."""


def make_app(
    settings: Settings,
    pool: FilmPool,
    about: Mapping[str, Any] | None,
    node: NodeView | None = None,
    verdicts: VerdictFile | None = None,
    desk: VerdictDesk | None = None,
) -> Starlette:
    """Return the ASGI application.

    Args:
        settings: Limits of the service.
        pool: The pool that reads films; the caller starts and stops it.
        about: Facts about the model; None if they are set later, as `app.state.service.about`.
        node: Returns the state of a hospital node; None without a node.
        verdicts: Keeps what readers say of the answers; None if the page alone keeps it.
        desk: What people judge of that node, and their verdicts; None without a node.
    """
    service = Service(settings, pool, ServiceMetrics(__version__), None if about is None else dict(about))
    views = _Views(service, page_files(), node, desk)
    app = Starlette(
        routes=[
            Route("/", views.index),
            Route("/page/{name:path}", views.page),
            Route("/favicon.ico", views.icon),
            Route("/healthz", views.healthz),
            Route("/readyz", views.readyz),
            Route("/metrics", views.metrics),
            Route("/openapi.json", views.openapi),
            Route("/v1/model", views.model),
            Route("/v1/node", views.node),
            Route("/v1/node/verdicts", _NodeVerdicts(service, desk), methods=["GET", "POST"], name="judging"),
            Route("/v1/node/pictures/{number:int}", views.picture),
            Route("/v1/verdicts", _Verdicts(service, verdicts), methods=["GET", "POST"], name="verdicts"),
            Route("/v1/classify", Classify(service), methods=["PUT", "POST"], name="classify"),
        ],
        middleware=[
            Middleware(AccessMiddleware, settings=settings, metrics=service.metrics, state=service.state)
        ],
        exception_handlers={HTTPException: _no_route},
    )
    app.router.redirect_slashes = False
    app.state.service = service
    return app


class _Views:
    """The responses to requests without a film."""

    def __init__(
        self, service: Service, files: Mapping[str, PageFile], node: NodeView | None, desk: VerdictDesk | None
    ) -> None:
        self._service, self._files, self._node, self._desk = service, files, node, desk
        self._openapi = json_bytes(openapi())

    async def index(self, request: Request) -> Response:
        return self._page(request, INDEX)

    async def page(self, request: Request) -> Response:
        return self._page(request, request.path_params["name"])

    async def icon(self, request: Request) -> Response:
        return self._page(request, ICON)

    async def healthz(self, _: Request) -> Response:
        return _json({"status": "ok"})

    async def readyz(self, _: Request) -> Response:
        if self._service.state.stopping:
            raise refused("http.stopping", "The service is stopping.", "Try again later.")
        if not self._service.ready:
            raise refused("http.busy", "No worker is ready.", "Try again soon.")
        return _json({"status": "ready"})

    async def metrics(self, _: Request) -> Response:
        return Response(self._service.metrics.page(), headers={"content-type": METRICS_TYPE})

    async def openapi(self, _: Request) -> Response:
        return Response(self._openapi, media_type=JSON)

    async def model(self, _: Request) -> Response:
        return _json(await self._service.model())

    async def node(self, _: Request) -> Response:
        return _json({"node": None if self._node is None else await asyncio.to_thread(self._node)})

    async def picture(self, request: Request) -> Response:
        found = None
        if self._desk is not None:
            found = await asyncio.to_thread(self._desk.picture, request.path_params["number"])
        if found is None:
            raise _not_found()
        return Response(found, media_type="image/jpeg")

    def _page(self, request: Request, name: str) -> Response:
        file = self._files.get(name)
        if file is None:
            raise _not_found()
        headers = {"etag": file.etag, "cache-control": "no-cache"}
        known = [
            value.strip().removeprefix("W/") for value in request.headers.get("if-none-match", "").split(",")
        ]
        if file.etag in known:
            return Response(status_code=304, headers=headers)
        return Response(file.data, headers={**headers, "content-type": file.media_type})


class _NodeVerdicts:
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


class _Verdicts:
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


def openapi() -> dict[str, Any]:
    """Return the content of `/openapi.json` for this release."""
    document: dict[str, Any] = json.loads(OPENAPI.read_text(encoding="utf-8"))
    document["info"]["version"] = __version__
    return document


def _json(value: object) -> Response:
    return Response(json_bytes(value), media_type=JSON)


def _not_found() -> Refused:
    return refused("http.not_found", "This address does not exist.", "GET /openapi.json lists the addresses.")


async def _no_route(request: Request, error: Exception) -> Response:
    """Convert the errors of the router, 404 and 405, into problems."""
    problem = _not_found()
    if isinstance(error, HTTPException) and error.status_code == 405:
        allowed = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
        problem = refused(
            "http.method",
            "This address does not support this method.",
            f"Use {allowed}.",
            headers=(("Allow", allowed),),
        )
    request.scope[NOTE].code = problem.code
    return Response(problem.body(), problem.status, dict(problem.headers), PROBLEM)
