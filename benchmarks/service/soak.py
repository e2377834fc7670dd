"""Ten thousand requests, one in ten bad: correct responses, error codes, constant memory, and a responsive service.

python -m benchmarks.service.soak
"""

import argparse
import base64
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from benchmarks.record import Bar, Options, Record, finish, options_of, parser
from benchmarks.service.attacks import Attack, attacks, dripping, outcome
from benchmarks.service.client import Answer, BrokenError, Connection, Service, form, get, put, quantiles
from benchmarks.service.films import GoodFilm, bad_films, model, small_films
from pneumoscan.classifier import predict_one
from pneumoscan.rows import COLUMNS

NAME = "web_soak"
CLIENTS, BLOCK, WARM = 12, 500, 3000
OTHER_THRESHOLD = 0.3
PNG = b"\x89PNG\r\n\x1a\n"
STATUS_OF = {"film.too_large": 413, "film.format": 415, "environment.codec": 415}
BUSY = {429, 503}


@dataclass
class Tally:
    """Results so far; several threads write to it.

    Attributes:
        outcomes: Number of each `kind: STATUS code`.
        wrong: Descriptions of the first fifty errors.
        busy: Number of responses 429 and 503, after which the request was sent again.
        seconds: Times of the responses to good films.
        health: Times of the responses of `/healthz`.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    busy: int = 0
    seconds: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def saw(self, kind: str, result: str, *, fine: bool, detail: object = "") -> None:
        """Record a result."""
        with self.lock:
            self.outcomes[f"{kind}: {result}"] += 1
            if not fine and len(self.wrong) < 50:
                self.wrong.append(f"{kind}: {result} {detail}"[:600])


class Client:
    """A client with a persistent connection; a new one after an error that ends it."""

    def __init__(self, service: Service, tally: Tally) -> None:
        self.service, self.tally = service, tally
        self._connection: Connection | None = None

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def ask(self, pieces: Sequence[bytes]) -> Answer:
        """Return the response to a request; it is sent again if the service is busy."""
        for _ in range(100):
            if self._connection is not None and self._connection.ended():
                self.close()  # it was idle for too long
            if self._connection is None:
                self._connection = self.service.connect()
            try:
                answer = self._connection.ask(pieces)
            except BrokenError:
                self.close()
                raise
            if answer.header("connection").lower() == "close":
                self.close()
            if answer.status not in BUSY:
                return answer
            with self.tally.lock:
                self.tally.busy += 1
            time.sleep(min(float(answer.header("retry-after") or 1), 1.0))
        raise BrokenError("a hundred times busy")

    def ask_twice(self, pieces: Sequence[bytes], others: Sequence[bytes]) -> list[Answer]:
        """Send two requests before the first answer is read."""
        self.close()
        with self.service.connect() as connection:
            connection.send([*pieces, *others])
            return [connection.answer(), connection.answer()]


# Good requests: each compares its response to the last digit.

Good = Callable[[Client, GoodFilm, GoodFilm], None]


def check_row(row: dict[str, Any], film: GoodFilm, expected: dict[str, Any] | None = None) -> None:
    """Compare a row with the expected one.

    Raises:
        AssertionError: They differ.
    """
    expected = film.row if expected is None else expected
    differing = [name for name in COLUMNS if row.get(name) != expected[name]]
    assert not differing, f"{film.name}: {differing} of {row} should be {expected}"


def plain(client: Client, film: GoodFilm, _other: GoodFilm) -> None:
    """A film as the body."""
    answer = client.ask(put(film.data, kind=film.kind))
    assert answer.status == 200, f"{film.name}: {outcome(answer)}"
    check_row(answer.json(), film)
    client.tally.seconds.append(answer.seconds)


def in_a_form(client: Client, film: GoodFilm, _other: GoodFilm) -> None:
    """A film in a form, with a file name that contains a foreign path."""
    answer = client.ask(form(film.data, filename="../<b>Doe^Jane</b>.jpeg"))
    assert answer.status == 200, f"{film.name}: {outcome(answer)}"
    assert b"Doe" not in answer.body
    check_row(answer.json(), film)


def with_pictures(client: Client, film: GoodFilm, _other: GoodFilm) -> None:
    """A film with its map and its picture."""
    answer = client.ask(put(film.data, "/v1/classify?include=heatmap,picture"))
    assert answer.status == 200, f"{film.name}: {outcome(answer)}"
    row = answer.json()
    check_row(row, film)
    for name in ("heatmap", "picture"):
        assert row[name]["media_type"] == "image/png"
        assert base64.b64decode(row[name]["data"], validate=True).startswith(PNG)


def as_a_map(client: Client, film: GoodFilm, _other: GoodFilm) -> None:
    """The map alone, with its row in a header."""
    answer = client.ask(put(film.data, "/v1/classify?heatmap=png"))
    assert answer.status == 200, f"{film.name}: {outcome(answer)}"
    assert answer.header("content-type") == "image/png"
    assert answer.body.startswith(PNG)
    check_row(json.loads(answer.header("pneumoscan-row")), film)


def elsewhere_cut(client: Client, film: GoodFilm, _other: GoodFilm) -> None:
    """A film at another threshold."""
    answer = client.ask(put(film.data, f"/v1/classify?threshold={OTHER_THRESHOLD}"))
    assert answer.status == 200, f"{film.name}: {outcome(answer)}"
    check_row(answer.json(), film, predict_one(model(), film.data, OTHER_THRESHOLD).to_json())


def pipelined(client: Client, film: GoodFilm, other: GoodFilm) -> None:
    """Two films sent before the first answer is read."""
    for answer, asked in zip(client.ask_twice(put(film.data), put(other.data)), (film, other), strict=True):
        if answer.status not in BUSY:
            assert answer.status == 200, f"{asked.name}: {outcome(answer)}"
            check_row(answer.json(), asked)


# Number of each, of 32.
GOOD: tuple[Good, ...] = (
    *[plain] * 23, *[in_a_form] * 3, *[with_pictures] * 2, *[as_a_map] * 2, elsewhere_cut, pipelined,
)  # fmt: skip


# Bad requests


@dataclass(frozen=True)
class BadFilm:
    """A film that must be refused, with the expected response: `STATUS code`."""

    name: str
    data: bytes
    right: str


@cache
def refused_films() -> tuple[BadFilm, ...]:
    """Return the bad films with their expected errors."""
    found = []
    for name, data in bad_films().items():
        code = predict_one(model(), data, 0.5).error_code
        assert code, f"{name} is a good film"
        found.append(BadFilm(name, data, f"{STATUS_OF.get(code, 422)} {code}"))
    return tuple(found)


class Soak:
    """A run: the films, the attacks, and the results."""

    def __init__(self, service: Service, *, seed: int = 0, films: int = 48) -> None:
        self.service, self.tally, self.random = service, Tally(), random.Random(seed)
        self.films, self.refused = small_films(films), refused_films()
        self.attacks = attacks()
        self.clients = [Client(service, self.tally) for _ in range(CLIENTS)]
        self._slow = ThreadPoolExecutor(16, thread_name_prefix="slow")
        self._waiting: list[Future[None]] = []
        self._bad = 0

    def block(self, requests: int) -> None:
        """Send requests with all clients; one in ten is bad, alternately a film and an attack."""
        plan = [self._next(number) for number in range(requests)]
        shares = [plan[first :: len(self.clients)] for first in range(len(self.clients))]
        with ThreadPoolExecutor(len(self.clients)) as executor:
            for done in [
                executor.submit(self._play, *pair) for pair in zip(self.clients, shares, strict=True)
            ]:
                done.result()

    def in_the_background(self, attack: Attack) -> None:
        """Begin an attack that waits for a time limit."""
        self._waiting.append(self._slow.submit(self._attack, attack, self.films[0].data))

    def finish(self) -> None:
        """Wait for the slow attacks and close the connections."""
        for future in self._waiting:
            future.result()
        self._slow.shutdown()
        for client in self.clients:
            client.close()

    def _next(self, number: int) -> Callable[[Client], None]:
        film, other = self.random.sample(self.films, 2)
        if number % 10 != 9:
            good = self.random.choice(GOOD)
            return lambda client: self._good(client, good, film, other)
        self._bad += 1
        turn = self._bad // 2
        if self._bad % 2:
            bad = self.refused[turn % len(self.refused)]
            return lambda client: self._refused(client, bad)
        attack = self.attacks[turn % len(self.attacks)]
        if attack.slow:
            return lambda _client: self.in_the_background(attack)
        return lambda _client: self._attack(attack, film.data)

    def _play(self, client: Client, plan: Sequence[Callable[[Client], None]]) -> None:
        for step in plan:
            step(client)

    def _good(self, client: Client, good: Good, film: GoodFilm, other: GoodFilm) -> None:
        kind = f"good, {good.__name__}"
        try:
            good(client, film, other)
        except (AssertionError, BrokenError, KeyError, TypeError, ValueError) as problem:
            self.tally.saw(kind, "wrong", fine=False, detail=repr(problem))
        else:
            self.tally.saw(kind, "right", fine=True)

    def _refused(self, client: Client, bad: BadFilm) -> None:
        try:
            answer = client.ask(put(bad.data))
            self.tally.saw(
                "bad film", outcome(answer), fine=outcome(answer) == bad.right, detail=(bad.name, bad.right)
            )
        except BrokenError as problem:
            self.tally.saw("bad film", "broken", fine=False, detail=(bad.name, problem))

    def _attack(self, attack: Attack, film: bytes) -> None:
        for _ in range(100):
            try:
                result = outcome(attack.play(self.service, film))
            except (AssertionError, BrokenError, OSError, ValueError, KeyError) as problem:
                self.tally.saw(attack.name, "broken", fine=False, detail=repr(problem))
                return
            if not result.startswith(("503 ", "429 ")):
                self.tally.saw(
                    attack.name, result, fine=result in attack.allowed, detail=sorted(attack.allowed)
                )
                return
            with self.tally.lock:
                self.tally.busy += 1
            time.sleep(0.2)
        self.tally.saw(attack.name, "busy", fine=False)


class Watch:
    """Requests `/healthz` on a separate connection ten times a second, until it is closed."""

    def __init__(self, service: Service, tally: Tally, *, pause: float = 0.1) -> None:
        self._service, self._tally, self._pause = service, tally, pause
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        connection: Connection | None = None
        while not self._end.wait(self._pause):
            began = time.perf_counter()
            try:
                # The time to connect counts.
                connection = connection or self._service.connect()
                answer = connection.ask(get("/healthz"))
                fine = answer.status == 200
                self._tally.saw("/healthz", str(answer.status), fine=fine)
                if not fine or answer.header("connection") == "close":
                    connection = connection.close()
            except (BrokenError, OSError) as problem:
                self._tally.saw("/healthz", "broken", fine=False, detail=problem)
                connection = None
            self._tally.health.append(time.perf_counter() - began)
        if connection:
            connection.close()


def run(options: Options, requests: int) -> Record:
    """Send the requests, in blocks; between them, the memory of the idle service is measured."""
    block = min(BLOCK, requests // 10)
    samples: list[dict[str, float]] = []
    with Service() as service:
        service.wait_until_ready()
        soak = Soak(service)
        if not options.quick:
            soak.in_the_background(dripping())
        began = time.perf_counter()
        with Watch(service, soak.tally):
            for done in range(block, requests + 1, block):
                soak.block(block)
                time.sleep(1.0)
                samples.append({"requests": done, **service.megabytes()})
                print(f"  {done} requests, {samples[-1]['all']:.0f} MB", flush=True)
            soak.finish()
        seconds = time.perf_counter() - began
        restarts = _metric(service, "restart")
        code, stopping = service.stop()
        log = service.log()
    record = summary(soak.tally, samples, requests)
    record.facts |= {
        "requests": requests,
        "seconds": round(seconds, 1),
        "clients": CLIENTS,
        "worker_restarts": restarts,
        "exit_code": code,
        "seconds_to_stop": round(stopping, 2),
        "log_has_a_traceback": "Traceback" in log,
    }
    return record


def _metric(service: Service, word: str) -> dict[str, float]:
    with suppress(BrokenError, OSError):
        lines = service.ask(get("/metrics")).body.decode().splitlines()
        found = [line.rpartition(" ") for line in lines if word in line and not line.startswith("#")]
        return {name: float(value) for name, _, value in found}
    return {}


def summary(tally: Tally, samples: Sequence[dict[str, float]], requests: int) -> Record:
    """Return the record."""
    warm = [sample["all"] for sample in samples if sample["requests"] >= min(WARM, requests // 3)]
    record = Record(NAME)
    record.raw = {
        "memory_at_rest": samples,
        "outcomes": dict(sorted(tally.outcomes.items())),
        "wrong": tally.wrong,
    }
    worst = sum(count for name, count in tally.outcomes.items() if _fault(name))
    record.medians = {
        **{f"a good film, ms, {name}": value for name, value in quantiles(tally.seconds).items()},
        **{f"/healthz, ms, {name}": value for name, value in quantiles(tally.health).items()},
    }
    record.facts = {"answered_busy_and_sent_again": tally.busy, "signs_of_life": len(tally.health)}
    record.bars = [
        Bar("wrong answers, untyped errors, unforeseen ends", len(tally.wrong), 1, "<"),
        Bar("5xx other than 503", worst, 1, "<"),
        Bar("memory at rest after warm-up: most − least, MB", max(warm) - min(warm), 20, "<"),
        Bar("/healthz, slowest, s", max(tally.health), 1, "<"),
    ]
    return record


def _fault(name: str) -> bool:
    status = name.rpartition(": ")[2][:3]
    return status.startswith("5") and status != "503"


def main() -> None:
    """Run it."""
    line = parser(__doc__ or "")
    line.add_argument("--requests", type=int, default=10_000)
    arguments: argparse.Namespace = line.parse_args()
    options = options_of(arguments)
    requests = 400 if options.quick else arguments.requests
    finish(NAME, lambda given: run(given, requests), options)


if __name__ == "__main__":
    main()
