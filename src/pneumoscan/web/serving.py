"""Run the service: socket, uvicorn, workers, and shutdown.

The page is available before the workers are ready: the socket listens at once, and `readyz` reports when films can be read. SIGTERM and
SIGINT stop the service gracefully, a second signal at once.
"""

import asyncio
import contextlib
import ipaddress
import logging
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscan.errors import EnvironmentProblemError, UsageError
from pneumoscan.logs import logged
from pneumoscan.system import give_freed_memory_back, open_file_limit
from pneumoscan.web.responses import log, where
from pneumoscan.workers.pool import FilmPool, PoolStoppedError

if TYPE_CHECKING:
    from pneumoscan.verdicts import VerdictFile
    from pneumoscan.web.app import NodeView, VerdictDesk
    from pneumoscan.web.connection import LimitedServer
    from pneumoscan.web.limits import Settings
    from pneumoscan.web.service import Service

GRACE_SECONDS = 7
_LATE_SECONDS = 2
"""How long bodies that still arrive are waited for once the service stops."""
_POOL_SECONDS = 1.0
_FILES = 4096
_OTHER_FILES = 200
_LINES_WAITING = 10_000
_GATHER_SECONDS = 0.02
_MAPPED_BYTES = 4 << 20


@dataclass(frozen=True)
class Address:
    """The address of the service.

    Attributes:
        socket: Bound socket that does not listen yet.
        loopback: Whether only this machine can reach it.
        any_address: Whether it is bound to all addresses of this machine.
    """

    socket: socket.socket
    url: str
    loopback: bool
    any_address: bool


def bind(host: str, port: int) -> Address:
    """Bind a socket; port 0 takes a free one.

    Raises:
        UsageError: `host` is not a name or address of this machine, or the port is used or not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise UsageError(
            f"there is no address with the name {host!r}.", "Give --host 127.0.0.1, or an address."
        ) from None
    family, kind, protocol, _, place = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
    except OSError as problem:
        listener.close()
        raise UsageError(
            f"{host} port {port} cannot be bound: {problem.strerror}.",
            "Choose another --port (0 takes a free one), or stop the program that has it.",
        ) from None
    address = ipaddress.ip_address(str(place[0]).partition("%")[0])
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{listener.getsockname()[1]}/"
    return Address(listener, url, address.is_loopback, address.is_unspecified)


def serve(
    settings: "Settings",
    address: Address,
    model: Path,
    *,
    announce: Callable[[str], None],
    node: "NodeView | None" = None,
    verdicts: "VerdictFile | None" = None,
    desk: "VerdictDesk | None" = None,
) -> None:
    """Run the service until a signal ends it.

    Args:
        settings: Limits of the service.
        address: Its address; the socket is closed at the end.
        model: A bundle folder, or a run folder with `bundle/` in it.
        announce: Called with the address of the page when films can be read.
        node: Returns the state of a hospital node for its tab; None without a node.
        verdicts: Keeps what readers say of the answers; None if the page alone keeps it.
        desk: What people judge of that node, and their verdicts; None without a node.

    Raises:
        BundleError: The model does not load.
        EnvironmentProblemError: No worker starts.
    """
    give_freed_memory_back(_MAPPED_BYTES)
    for name in ("uvicorn", "asyncio"):
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
    # Lines are written by a thread: a reader of stderr that does not read holds up no request.
    with logged(log, _Lines()), contextlib.closing(address.socket):
        asyncio.run(_serve(settings, address, model, announce, node, verdicts, desk))


async def _serve(
    settings: "Settings",
    address: Address,
    model: Path,
    announce: Callable[[str], None],
    node: "NodeView | None",
    verdicts: "VerdictFile | None",
    desk: "VerdictDesk | None",
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_fault)
    pool = FilmPool(model, workers=settings.workers, waiting=settings.queue)
    # The workers take the longest to start, so they start while the rest is imported.
    starting = asyncio.create_task(pool.start())
    await asyncio.sleep(0)
    from pneumoscan.web.app import make_app
    from pneumoscan.web.connection import make_server

    app = make_app(settings, pool, None, node, verdicts, desk)
    service: Service = app.state.service
    server = make_server(app, connections=_raised_limit() - _OTHER_FILES, grace_seconds=GRACE_SECONDS)
    _stop_at_signals(loop, server, service)
    serving = asyncio.create_task(server.serve(sockets=[address.socket]))
    opening = asyncio.create_task(_open(service, model, starting, announce, address.url))
    try:
        await asyncio.wait((serving, opening), return_when=asyncio.FIRST_COMPLETED)
        if opening.done() and opening.exception() is not None:
            server.drop()
        await serving
    finally:
        service.state.stopping = True
        await pool.stop(0 if server.force_exit else _POOL_SECONDS)
        with contextlib.suppress(PoolStoppedError):
            await opening


async def _open(
    service: "Service", model: Path, starting: "asyncio.Task[None]", announce: Callable[[str], None], url: str
) -> None:
    """Load the facts about the model, and announce when films can be read."""
    service.about = await asyncio.to_thread(describe, model)
    await starting
    announce(url)


def describe(model: Path) -> dict[str, Any]:
    """Return the facts about a bundle without loading its network; the workers load and verify it.

    Raises:
        UsageError: `model` does not exist.
        BundleError: It is not a bundle.
    """
    from pneumoscan.bundle.contents import SPEC, find_bundle, read_spec
    from pneumoscan.bundle.load import Bundle
    from pneumoscan.web.about import about

    folder = find_bundle(model)
    return about(Bundle(read_spec(folder / SPEC), None, folder))


def _raised_limit() -> int:
    """Raise the limit of open files as far as needed and allowed, and return it."""
    limit = open_file_limit(_FILES)
    if limit is not None and limit < 2 * _OTHER_FILES:
        raise EnvironmentProblemError(
            f"only {limit} files may be open at once.",
            f"Allow at least {2 * _OTHER_FILES}: ulimit -n {_FILES}.",
        )
    return _FILES if limit is None else limit


def _stop_at_signals(loop: asyncio.AbstractEventLoop, server: "LimitedServer", service: "Service") -> None:
    def stop() -> None:
        if server.should_exit:
            server.drop()
        elif not service.state.stopping:
            loop.call_later(_LATE_SECONDS, service.admission.shut)
        server.should_exit = service.state.stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:
            # Windows has no handlers of the loop, so a handler of the process wakes it.
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))


def _fault(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log the type of an error outside of requests, without its message."""
    fault = context.get("exception")
    log.error("fault %s", where(fault) if fault is not None else "in the loop")


class _Lines(logging.Handler):
    """Passes lines to a thread; lines are dropped if its queue is full."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self._queue: queue.Queue[bytes | None] = queue.Queue(_LINES_WAITING)
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(f"{self.format(record)}\n".encode("ascii", "backslashreplace"))

    def close(self) -> None:
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(1.0)
        super().close()

    def _write(self) -> None:
        while (line := self._queue.get()) is not None:
            # Waking this thread for every line would interrupt the event loop at every request.
            time.sleep(_GATHER_SECONDS)
            lines = [line]
            with contextlib.suppress(queue.Empty):
                while (line := self._queue.get_nowait()) is not None:
                    lines.append(line)
            try:
                os.write(2, b"".join(lines))
            except OSError:
                return
            if line is None:
                return
