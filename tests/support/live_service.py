"""Services to ask: `pneumoscan serve` in a process of its own, or the app with a pool that stands in, in a thread."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pneumoscan.errors import FilmDamagedError
from pneumoscan.verdicts import VerdictFile
from pneumoscan.web.app import make_app
from pneumoscan.web.connection import make_server
from pneumoscan.web.limits import Settings
from pneumoscan.workers.pool import PoolFullError, Reading, Want

ABOUT = {
    "name": "stand-in",
    "model": "stand-in@0",
    "default_operating_point": "balanced",
    "operating_points": {"balanced": {"name": "balanced", "threshold": 0.5}},
    "has_heatmap": True,
}


def jpeg(pixels: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=92)
    return file.getvalue()


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    closed: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Raw:
    """A connection on which a test says exactly what it wants to say."""

    def __init__(self, port: int, timeout: float = 15) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.left = b""

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self, *, head: bool = False) -> Answer:
        """Read one answer; chunked bodies to their end."""
        while b"\r\n\r\n" not in self.left:
            more = self.socket.recv(65536)
            assert more, f"the connection ended after {self.left!r}"
            self.left += more
        top, _, self.left = self.left.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        status = int(first.split()[1])
        if status == 100:
            return self.read(head=head)
        if head or status == 304:
            return Answer(status, headers, b"", self._closed(headers))
        while len(self.left) < int(headers["content-length"]):
            more = self.socket.recv(65536)
            assert more
            self.left += more
        size = int(headers["content-length"])
        body, self.left = self.left[:size], self.left[size:]
        return Answer(status, headers, body, self._closed(headers))

    def ended(self) -> bool:
        """Wait for the end of the connection; False if more comes."""
        try:
            return self.left == b"" and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _closed(self, headers: dict[str, str]) -> bool:
        return headers.get("connection") == "close"


def ask(
    port: int,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    *,
    timeout: float = 30,
) -> Answer:
    """Ask once, on a connection of its own."""
    with Raw(port, timeout) as raw:
        raw.send(request(port, method, target, body, headers))
        return raw.read(head=method == "HEAD")


def request(
    port: int, method: str, target: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> bytes:
    fields = {"Host": f"127.0.0.1:{port}"}
    if body is not None:
        fields["Content-Length"] = str(len(body))
    fields.update(headers or {})
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + (body or b"")


def put(port: int, film: bytes, query: str = "", **headers: str) -> Answer:
    """PUT a film."""
    fields = {
        "Content-Type": "image/jpeg",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return ask(port, "PUT", f"/v1/classify{query}", film, fields)


@dataclass
class Live:
    """A service in a process of its own."""

    process: "subprocess.Popen[str]"
    port: int
    log: Path

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@contextmanager
def live(folder: Path, *options: str, wait: bool = True, env: dict[str, str] | None = None) -> Iterator[Live]:
    """Run `pneumoscan serve` on a free port; its stderr goes to a file."""
    log = folder / f"serve-{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "pneumoscan", "serve", "--port", "0", "--no-open", *options]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **(env or {})}
        )
    try:
        port = 0
        if wait:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("pneumoscan is reading films at http://"), line + log.read_text()
            port = int(line.rstrip("/\n").rpartition(":")[2])
        yield Live(process, port, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def wait_for(condition: Callable[[], object], seconds: float = 10) -> bool:
    """Wait until something holds; False if it does not in that time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(condition())


class StandIn:
    """A pool that answers as it is told; films that begin with `bad` are damaged."""

    def __init__(self, places: int = 2, waiting: int = 4) -> None:
        self.ready = True
        self.restarts = 0
        self.seen: list[bytes] = []
        self.given_up = 0
        self.open = threading.Event()
        self.open.set()
        self._places, self._most = places, waiting
        self.inside = 0

    @property
    def busy(self) -> int:
        return min(self.inside, self._places)

    @property
    def waiting(self) -> int:
        return max(0, self.inside - self._places)

    async def read(self, film: bytes, *, threshold: float, want: Want) -> Reading:
        if self.waiting >= self._most:
            raise PoolFullError(3)
        self.inside += 1
        try:
            while not self.open.is_set():
                await asyncio.sleep(0.005)
            self.seen.append(film)
            if film.startswith(b"bad"):
                raise FilmDamagedError("<bytes> does not decode.", "Copy it again.")
            return _reading(film, threshold, want)
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        finally:
            self.inside -= 1


def _reading(film: bytes, threshold: float, want: Want) -> Reading:
    row = {
        "path": "<bytes>",
        "status": "ok",
        "probability": 0.75,
        "label": "PNEUMONIA",
        "threshold": threshold,
        "warnings": [],
        "error_code": "",
        "error": "",
        "model": "stand-in@0",
        "sha256": "ab" * 32,
        "logit": 1.0,
        "distance": None,
        "width": 10,
        "height": 10,
        "format": "JPEG",
    }
    return Reading(row, b"map" if want.heatmap else None, film if want.picture else None)


@dataclass
class Threaded:
    """A service in a thread of the test."""

    port: int
    pool: StandIn
    app: Any
    server: Any
    call: Callable[[Callable[[], None]], None]


@contextmanager
def threaded(
    settings: Settings | None = None,
    pool: StandIn | None = None,
    *,
    connections: int = 1000,
    grace: int = 2,
    verdicts: VerdictFile | None = None,
) -> Iterator[Threaded]:
    """Serve the app with a pool that stands in."""
    pool = pool or StandIn()
    app = make_app(settings or Settings(), pool, ABOUT, None, verdicts)  # type: ignore[arg-type]
    server = make_server(app, connections=connections, grace_seconds=grace)
    listener = socket.create_server(("127.0.0.1", 0))
    loop = asyncio.new_event_loop()
    faults: list[str] = []
    loop.set_exception_handler(lambda _, context: faults.append(str(context)))
    thread = threading.Thread(target=loop.run_until_complete, args=(server.serve(sockets=[listener]),))
    thread.start()
    try:
        yield Threaded(listener.getsockname()[1], pool, app, server, loop.call_soon_threadsafe)
    finally:
        pool.open.set()
        server.should_exit = True
        thread.join(10)
        alive = thread.is_alive()
        if not alive:
            loop.close()
        listener.close()
    assert not alive
    assert not faults, faults
