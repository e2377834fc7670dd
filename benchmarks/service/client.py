"""A service for the benchmarks, and a client with little overhead: raw sockets and prepared requests.

It uses only the standard library. The client shares the cores with the service. A request is one `sendmsg` of prepared
pieces, a response mostly one `recv`, and only the length is read from its header.
"""

import json
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.workers import Closing

BOUNDARY = b"--------pneumoscan-load"
_TIMEOUT = 60.0


@dataclass(frozen=True)
class Answer:
    """A response.

    Attributes:
        status: The HTTP status.
        head: Status line and headers, unchanged.
        body: The body without chunking.
        seconds: From the first byte sent to the last one received.
    """

    status: int
    head: bytes
    body: bytes
    seconds: float

    def header(self, name: str) -> str:
        """Return a header's value; empty if there is none."""
        found = re.search(
            rb"\r\n" + re.escape(name.encode()) + rb":[ \t]*([^\r\n]*)", self.head, re.IGNORECASE
        )
        return found[1].decode("latin-1") if found else ""

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


class BrokenError(Exception):
    """The connection ended or timed out before the response was complete."""


def head(method: str, target: str, headers: Mapping[str, object], *, host: str = "127.0.0.1") -> bytes:
    """Return the head of a request; a header with the value None is left out."""
    given = {"Host": host, **headers}
    lines = [f"{name}: {value}" for name, value in given.items() if value is not None]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1")


def put(film: bytes, target: str = "/v1/classify", *, kind: str = "application/octet-stream") -> list[bytes]:
    """Return the pieces of a request that sends a film as the body."""
    return [head("PUT", target, {"Content-Type": kind, "Content-Length": len(film)}), film]


def form(film: bytes, target: str = "/v1/classify", *, filename: str = "film.jpeg") -> list[bytes]:
    """Return the pieces of a request that sends a film as a browser's form does."""
    before = (
        b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="film"; filename="' + filename.encode()
    ) + b'"\r\nContent-Type: application/octet-stream\r\n\r\n'
    after = b"\r\n--" + BOUNDARY + b"--\r\n"
    headers = {
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY.decode()}",
        "Content-Length": len(before) + len(film) + len(after),
    }
    return [head("POST", target, headers), before, film, after]


def get(target: str) -> list[bytes]:
    """Return the pieces of a GET."""
    return [head("GET", target, {})]


class Connection(Closing):
    """One keep-alive connection. Not for several threads at once."""

    def __init__(self, port: int, *, timeout: float = _TIMEOUT) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def ended(self) -> bool:
        """Return whether the other end has closed an idle connection."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def ask(self, pieces: Sequence[bytes]) -> Answer:
        """Send a request and return its answer.

        Raises:
            BrokenError: The response is incomplete.
        """
        started = time.perf_counter()
        self.send(pieces)
        return self.answer(started)

    def send(self, pieces: Sequence[bytes]) -> None:
        """Send pieces; a response that arrives early ends the sending without an error."""
        try:
            sent = self.socket.sendmsg(pieces)
            for piece in pieces:
                if sent >= len(piece):
                    sent -= len(piece)
                else:
                    self.socket.sendall(memoryview(piece)[sent:])
                    sent = 0
        except (BrokenPipeError, ConnectionResetError):
            pass  # `answer` returns a response that arrived
        except OSError as problem:
            raise BrokenError(f"sending: {problem}") from None

    def answer(self, started: float | None = None) -> Answer:
        """Return the next answer.

        Raises:
            BrokenError: It is incomplete.
        """
        started = time.perf_counter() if started is None else started
        data = self._rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more(data)
        first, data = data[: end + 2], data[end + 4 :]
        if not re.match(rb"HTTP/1\.1 \d{3} ", first):
            raise BrokenError(f"no answer of HTTP: {first[:80]!r}")
        status = int(first[9:12])
        length = re.search(rb"\r\ncontent-length: *(\d+)\r\n", first, re.IGNORECASE)
        if status == 100:
            self._rest = data
            return self.answer(started)
        if length:
            body = self._exactly(data, int(length[1]))
        elif re.search(rb"\r\ntransfer-encoding: *chunked\r\n", first, re.IGNORECASE):
            body = self._chunks(data)
        else:
            body = b"" if status in {204, 304} else self._to_the_end(data)
        return Answer(status, first, body, time.perf_counter() - started)

    def _more(self, have: bytes) -> bytes:
        try:
            data = self.socket.recv(1 << 18)
        except OSError as problem:
            raise BrokenError(f"receiving: {problem or type(problem).__name__}; had {have[:80]!r}") from None
        if not data:
            raise BrokenError(f"closed; had {have[:80]!r}")
        return data

    def _exactly(self, data: bytes, length: int) -> bytes:
        pieces, have = [data], len(data)
        while have < length:
            pieces.append(self._more(b""))
            have += len(pieces[-1])
        whole = b"".join(pieces)
        self._rest = whole[length:]
        return whole[:length]

    def _chunks(self, data: bytes) -> bytes:
        body = []
        while True:
            while (end := data.find(b"\r\n")) < 0:
                data += self._more(data)
            length = int(data[:end].split(b";")[0], 16)
            piece = self._exactly(data[end + 2 :], length + 2)
            data = self._rest
            if not length:
                return b"".join(body)
            body.append(piece[:-2])

    def _to_the_end(self, data: bytes) -> bytes:
        pieces = [data]
        try:
            while more := self.socket.recv(1 << 18):
                pieces.append(more)
        except OSError as problem:
            raise BrokenError(f"receiving: {problem}") from None
        self._rest = b""
        return b"".join(pieces)


class Service(Closing):
    """`pneumoscan serve` on a free port of this machine, its log in a file.

    Attributes:
        port: Its port.
        pid: Process that listens; its children read the films.
        seconds: Time from the start of the process until it reports that it is ready.
        started: `time.perf_counter()` at the start of the process.
    """

    def __init__(self, *options: object, environment: Mapping[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "pneumoscan", "serve", "--port", 0, "--no-open", *options]
        self.command = shlex.join(map(str, command[1:]))
        # The file needs no name; the log is read at the end.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            list(map(str, command)),
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **(environment or {})},
        )
        self.pid = self.process.pid
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        self.seconds = time.perf_counter() - self.started
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        if not found:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"the service did not start: {line!r} {self.log()[-2000:]}")
        self.port = int(found[1])

    def close(self) -> None:
        """Stop it if it still runs, and delete its log."""
        if self.process.poll() is None:
            self.stop()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()

    def stop(self, patience: float = 30.0) -> tuple[int, float]:
        """Stop it; return its exit code and the time. It is killed after `patience` seconds."""
        asked = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return code, time.perf_counter() - asked

    def connect(self, *, timeout: float = _TIMEOUT) -> Connection:
        """Return a new connection."""
        return Connection(self.port, timeout=timeout)

    def ask(self, pieces: Sequence[bytes]) -> Answer:
        """Send one request on a new connection."""
        with self.connect() as connection:
            return connection.ask(pieces)

    def wait_until_ready(self, patience: float = 30.0) -> None:
        """Wait until it can read films."""
        end = time.perf_counter() + patience
        while self.ask(get("/readyz")).status != 200:
            if time.perf_counter() > end:
                raise RuntimeError(f"not ready in {patience} s: {self.log()[-2000:]}")
            time.sleep(0.02)

    def log(self) -> str:
        """Return its output on stderr so far."""
        return os.pread(self._log.fileno(), 1 << 30, 0).decode(errors="replace")

    def processes(self) -> list[int]:
        """Return the process that listens and its current children."""
        return [self.pid, *children_of(self.pid)]

    def megabytes(self) -> dict[str, float]:
        """Return the resident memory in MB (10⁶ bytes) of the process that listens and of all its children together."""
        sizes = [resident(process) for process in self.processes()]
        return {"server": sizes[0], "workers": sum(sizes[1:]), "all": sum(sizes)}

    def cpu_seconds(self) -> float:
        """Return the processor time of the process that listens and of its current children."""
        return sum(cpu_seconds_of(process) for process in self.processes())


def children_of(process: int) -> list[int]:
    """Return the children of a process."""
    found = []
    for task in Path(f"/proc/{process}/task").iterdir():
        try:
            found += (task / "children").read_text().split()
        except OSError:  # a thread that has ended
            continue
    return [int(child) for child in found]


def resident(process: int) -> float:
    """Return the resident set of a process in MB (10⁶ bytes); 0 if it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def cpu_seconds_of(process: int) -> float:
    """Return the processor time of a process, all its threads together; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return median, 95th and 99th percentile and the longest, in milliseconds (nearest rank)."""
    ordered = sorted(seconds)
    ranks = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "longest": 1.0}
    return {
        name: round(1e3 * ordered[max(0, -int(-rank * len(ordered) // 1) - 1)], 2)
        for name, rank in ranks.items()
    }
