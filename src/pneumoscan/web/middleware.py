"""Middleware for all requests: access control, security headers, log and metrics."""

import asyncio
import hmac
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pneumoscan.web.body import ClientGoneError, Receive
from pneumoscan.web.responses import PROBLEM, Refused, Send, answer, internal, log, refused, where

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from pneumoscan.web.limits import Settings
    from pneumoscan.web.service import ServiceMetrics, ServiceState

MAX_HEADER_BYTES = 16 * 1024
CLIENT_GONE = 499
NOTE = "pneumoscan.note"

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SECURITY_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", _CSP.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
_ROUTES = frozenset(
    {
        "/", "/favicon.ico", "/healthz", "/readyz", "/metrics", "/openapi.json", "/v1/model", "/v1/node", "/v1/node/verdicts", "/v1/verdicts",
        "/v1/classify",
    }
)  # fmt: skip
_METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "OPTIONS", "DELETE", "PATCH"})
_ALWAYS_OPEN = frozenset({"/healthz", "/readyz"})


@dataclass
class Note:
    """Facts about a request for log and metrics, besides its route and status.

    Attributes:
        sha256: SHA-256 of the film; empty if there is none.
    """

    code: str = "ok"
    sha256: str = ""


def route_of(path: str) -> str:
    """Return the route of a path for the metrics, one of a fixed set."""
    if path in _ROUTES:
        return path
    if path.startswith("/v1/node/pictures/"):
        return "/v1/node/pictures/{number}"
    return "/page/{name}" if path.startswith("/page/") else "other"


class AccessMiddleware:
    """ASGI middleware around all routes."""

    def __init__(
        self, app: "ASGIApp", settings: "Settings", metrics: "ServiceMetrics", state: "ServiceState"
    ) -> None:
        self._app, self._settings, self._metrics, self._state = app, settings, metrics, state

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Accept or refuse a request, and respond to all errors of the routes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        exchange = _Exchange(scope, receive, send)
        try:
            self._admit(scope, exchange.fields)
            await self._app(scope, exchange.receive, exchange.send)
        except ClientGoneError:
            exchange.status, exchange.note.code = CLIENT_GONE, "client_gone"
        except Refused as problem:
            await exchange.refuse(problem)
        except asyncio.CancelledError:
            if not self._state.stopping:
                raise
            await exchange.refuse(_stopping())
        except Exception as fault:  # noqa: BLE001 - every error gets a response
            log.error("fault %s", where(fault))
            await exchange.refuse(internal())
        finally:
            self._count(exchange, time.perf_counter() - began)

    def _admit(self, scope: MutableMapping[str, Any], fields: dict[bytes, list[bytes]]) -> None:
        size = len(scope["raw_path"]) + len(scope["query_string"])
        size += sum(len(name) + len(value) + 4 for name, value in scope["headers"])
        if size > MAX_HEADER_BYTES:
            raise refused("http.header", f"The header has more than {MAX_HEADER_BYTES >> 10} KiB.")
        if not scope["http_version"].startswith("1."):
            raise refused(
                "http.malformed",
                "The request has a version of HTTP that this service does not support.",
                headers=(("Connection", "close"),),
            )
        if scope["path"] in _ALWAYS_OPEN:
            # A probe names the address of its container, or sends HTTP/1.0 without a host. The responses contain no data.
            return
        if self._state.stopping:
            raise _stopping()
        hosts = fields.get(b"host", [])
        host = hosts[0].decode("latin-1") if len(hosts) == 1 else ""
        if not self._settings.knows(host):
            raise refused(
                "http.host",
                "The Host header does not name this service.",
                "Use the address that the service is bound to, or start it with --allow-host NAME.",
            )
        if route_of(scope["path"]) in {"/", "/favicon.ico", "/page/{name}"}:
            return
        _check_origin(fields, host)
        self._check_token(fields)
        _check_framing(fields)

    def _check_token(self, fields: dict[bytes, list[bytes]]) -> None:
        if self._settings.token is None:
            return
        given = fields.get(b"authorization", [])
        kind, _, token = (given[0] if len(given) == 1 else b"").partition(b" ")
        wanted = self._settings.token.encode()
        if not hmac.compare_digest(token.strip(b" "), wanted) or kind.lower() != b"bearer":
            raise refused(
                "http.token",
                "The request has no token, or a wrong one.",
                "Send Authorization: Bearer TOKEN with the token that the service was started with.",
                headers=(("WWW-Authenticate", 'Bearer realm="pneumoscan"'),),
            )

    def _count(self, exchange: "_Exchange", seconds: float) -> None:
        scope, note = exchange.scope, exchange.note
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        route = route_of(scope["path"])
        self._metrics.request(route, method, exchange.status, note.code, seconds)
        log.info(
            "%s %s %d %s %.1fms %s",
            method,
            route,
            exchange.status,
            note.code,
            1000 * seconds,
            note.sha256[:12],
        )


class _Exchange:
    """A request and its response."""

    def __init__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self.note = scope[NOTE] = Note()
        self.fields: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            self.fields.setdefault(name, []).append(value)
        self.status = 0
        length = self.fields.get(b"content-length", [b"0"])[0]
        self._unread = b"transfer-encoding" in self.fields or length.strip(b"0") != b""

    async def receive(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = message.get("headers", [])
            names = {name for name, _ in given}
            message["headers"] = [*given, *(field for field in _SECURITY_HEADERS if field[0] not in names)]
            # The rest of the body is not needed.
            if self._unread:
                message["headers"].append((b"connection", b"close"))
        await self._send(message)

    async def refuse(self, problem: Refused) -> None:
        """Respond with the problem; a response that has begun stays incomplete."""
        self.note.code = problem.code
        if not self.status:
            await answer(self.send, problem.status, PROBLEM, problem.body(), problem.headers)


def _check_origin(fields: dict[bytes, list[bytes]], host: str) -> None:
    """Refuse requests from pages of other web sites. Programs send neither of the two headers."""
    site = fields.get(b"sec-fetch-site", [b"none"])
    origin = fields.get(b"origin", [])
    same = all(_authority(value) == host.lower() for value in origin)
    if not same or any(value not in {b"same-origin", b"none"} for value in site):
        raise refused(
            "http.origin", "The request comes from a page of another site.", "Use the service's own page."
        )


def _authority(origin: bytes) -> str:
    try:
        return urlsplit(origin.decode("latin-1")).netloc.lower()
    except ValueError:
        return ""


def _check_framing(fields: dict[bytes, list[bytes]]) -> None:
    """Refuse bodies with two lengths, and encoded bodies."""
    if b"transfer-encoding" in fields and b"content-length" in fields:
        raise refused(
            "http.length", "The request gives its length in two ways.", "Send one of the two headers."
        )
    for value in fields.get(b"content-encoding", []):
        if value.strip().lower() not in {b"", b"identity"}:
            raise refused(
                "http.content_encoding",
                "The body is encoded.",
                "Send the bytes of the film without compression.",
            )


def _stopping() -> Refused:
    return refused("http.stopping", "The service is stopping and accepts no more films.", "Try again later.")
