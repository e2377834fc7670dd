"""A thousand clients at once: only 200, 429 and 503, no broken connections, and soon the normal speed.

python -m benchmarks.service.stampede
"""

import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.record import Bar, Options, Record, run_one
from benchmarks.service.attacks import outcome
from benchmarks.service.client import Answer, BrokenError, Service, head, put, quantiles
from benchmarks.service.films import GoodFilm, small_films
from benchmarks.service.soak import check_row

NAME = "web_stampede"
CLIENTS, PATIENCE = 1000, 60.0
ALLOWED = {"200", "429 http.busy", "503 http.busy"}
# Normal speed: at most 1.5 times the median of the idle service, three times in a row.
SLACK, RUNNING, QUIET = 1.5, 3, 30


@dataclass
class Caller:
    """One client of the thousand.

    Attributes:
        film: Its film.
        pieces: Pieces of its request.
        connection: Its connection.
        started: Time when it began to connect.
        sent: Bytes that were sent.
        received: Bytes that were received.
        seconds: Time from its start to its response.
        result: `STATUS code`, or the error.
    """

    film: GoodFilm
    pieces: bytes
    connection: socket.socket
    started: float
    sent: int = 0
    received: bytearray = field(default_factory=bytearray)
    seconds: float = 0.0
    result: str = ""

    def write(self) -> None:
        """Send the next piece."""
        self.sent += self.connection.send(memoryview(self.pieces)[self.sent :])

    def read(self) -> bool:
        """Receive data; return whether the response is complete."""
        data = self.connection.recv(1 << 18)
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        if end >= 0:
            first = bytes(self.received[: end + 2])
            answer = Answer(int(first[9:12]), first, bytes(self.received[end + 4 :]), 0.0)
            if len(answer.body) >= int(answer.header("content-length") or 0):
                self._judge(answer)
                return True
        if not data:
            self.result = f"closed after {len(self.received)} bytes"
        return not data

    def _judge(self, answer: Answer) -> None:
        self.seconds = time.perf_counter() - self.started
        self.result = outcome(answer)
        try:
            if answer.status == 200:
                check_row(answer.json(), self.film)
        except AssertionError as problem:
            self.result = f"wrong: {problem}"
        if answer.status in {429, 503} and not answer.header("retry-after"):
            self.result += " without Retry-After"


def stampede(port: int, films: Sequence[GoodFilm], count: int) -> list[Caller]:
    """Let `count` clients connect and send at once, from one thread; return them with their results."""
    requests = [b"".join(put(film.data)) for film in films]
    callers = []
    with selectors.DefaultSelector() as selector:
        for number in range(count):
            connection = socket.socket()
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", port))
            which = number % len(films)
            callers.append(Caller(films[which], requests[which], connection, time.perf_counter()))
            selector.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE, callers[-1])
        ended = time.perf_counter() + PATIENCE
        while selector.get_map() and time.perf_counter() < ended:
            for key, events in selector.select(1.0):
                if _step(key.data, events):
                    selector.unregister(key.data.connection)
                    key.data.connection.close()
                elif key.data.sent == len(key.data.pieces) and key.events & selectors.EVENT_WRITE:
                    selector.modify(key.data.connection, selectors.EVENT_READ, key.data)
    for caller in callers:
        caller.connection.close()
        caller.result = caller.result or f"no answer in {PATIENCE:.0f} s"
    return callers


def _step(caller: Caller, events: int) -> bool:
    """Read or write as far as the socket is ready; return whether this client is done."""
    try:
        # Read first, because an early error ends the sending.
        if events & selectors.EVENT_READ and caller.read():
            return True
        if events & selectors.EVENT_WRITE and caller.sent < len(caller.pieces):
            caller.write()
    except BlockingIOError:
        return False
    except OSError as problem:
        caller.result = f"broken: {problem}"
        return True
    return False


def quiet_seconds(service: Service, film: GoodFilm, count: int) -> list[float]:
    """Return the times of single films in turn, after a warm-up."""
    with service.connect() as connection:
        return [connection.ask(put(film.data)).seconds for _ in range(count + 5)][5:]


def seconds_to_calm(service: Service, film: GoodFilm, usual: float) -> float:
    """Return the time until a single film is as fast as usual three times in a row; 60 if never."""
    began, calm = time.perf_counter(), 0
    first = began
    while calm < RUNNING and time.perf_counter() - began < PATIENCE:
        try:
            answer = service.ask(put(film.data))
        except (BrokenError, OSError):
            calm = 0
            continue
        if answer.status == 200 and answer.seconds <= SLACK * usual + 0.005:
            first = time.perf_counter() if not calm else first
            calm += 1
        else:
            calm = 0
    return first - began if calm else PATIENCE


def idlers(port: int, count: int) -> list[socket.socket]:
    """Open connections that send half a header and then nothing."""
    found = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        connection.sendall(head("PUT", "/v1/classify", {"Content-Length": 1000})[:50])
        found.append(connection)
    return found


def among_idlers(service: Service, film: GoodFilm, count: int) -> Counter[str]:
    """Return the results of 20 films while many connections are silent."""
    silent, results = idlers(service.port, count), Counter()
    try:
        for _ in range(20):
            results[_result(lambda: service.ask(put(film.data)))] += 1
            time.sleep(0.05)
    finally:
        for connection in silent:
            connection.close()
    return results


def _result(ask: Callable[[], Answer]) -> str:
    try:
        return outcome(ask())
    except (BrokenError, OSError) as problem:
        return f"broken: {problem}"


def measure(options: Options) -> Record:
    """Run three stampedes; measure the idle service before and after."""
    count, record = (200 if options.quick else CLIENTS), Record(NAME)
    films = small_films(16)
    runs = []
    with Service() as service:
        service.wait_until_ready()
        usual = median(quiet_seconds(service, films[0], QUIET))
        before = service.megabytes()["all"]
        for _ in range(options.round_count(3)):
            began = time.perf_counter()
            callers = stampede(service.port, films, count)
            took = time.perf_counter() - began
            calm = seconds_to_calm(service, films[0], usual)
            runs.append(_told(callers, took, calm))
            time.sleep(1.0)
        silent = among_idlers(service, films[0], count)
        calm_after_idlers = seconds_to_calm(service, films[0], usual)
        after = service.megabytes()["all"]
        code, _ = service.stop()
    other = sum(number for run in runs for name, number in run["results"].items() if name not in ALLOWED)
    record.raw = {"runs": runs, "among_silent_connections": dict(silent)}
    record.medians = {"a single film on the quiet service, ms": 1e3 * usual}
    record.facts = {
        "clients": count,
        "megabytes_before_and_after": [round(before, 1), round(after, 1)],
        "seconds_to_calm_after_silent_connections": calm_after_idlers,
        "exit_code": code,
    }
    record.bars = [
        Bar("clients that got something other than 200, 429 or 503", other, 1, "<"),
        Bar("seconds until a single film is as quick as before", max(run["calm"] for run in runs), 5, "<"),
        Bar("films among silent connections without a right answer", 20 - silent["200"], 1, "<"),
    ]
    return record


def _told(callers: Sequence[Caller], took: float, calm: float) -> dict[str, object]:
    """Return the result of one stampede."""
    by_result: dict[str, list[float]] = {}
    for caller in callers:
        by_result.setdefault(caller.result, []).append(caller.seconds)
    return {
        "results": {name: len(seconds) for name, seconds in by_result.items()},
        "seconds": round(took, 3),
        "calm": round(calm, 3),
        "milliseconds": {name: quantiles(seconds) for name, seconds in by_result.items() if name in ALLOWED},
    }


if __name__ == "__main__":
    run_one(NAME, __doc__ or "", measure)
