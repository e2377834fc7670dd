"""Time from the start of the service to its page, to its first result, and to the first paint in a browser.

python -m benchmarks.service.cold_start
"""

import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.record import Bar, Options, Record, run_one
from benchmarks.service.client import Answer, BrokenError, Connection, Service, get, put
from benchmarks.service.films import large_films
from benchmarks.speed.material import pneumoscan
from benchmarks.timing import in_turn, medians_of

NAME = "web_cold_start"
PAGE, ANSWER, PAINT = (
    "GET / after the start, s",
    "first film's answer after the start, s",
    "first paint after navigation, s",
)
BROWSER = Path("/usr/bin/chromium")
PAINTED = """() => performance.getEntriesByName("first-contentful-paint").map(entry => entry.startTime)[0] ?? null"""


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def first(port: int, pieces: Sequence[bytes]) -> Answer:
    """Repeat the request until the response is not 503."""
    while True:
        try:
            with Connection(port) as connection:
                answer = connection.ask(pieces)
        except (BrokenError, OSError):
            time.sleep(0.005)
            continue
        if answer.status == 200:
            return answer
        if answer.status != 503:
            raise RuntimeError(f"{answer.status} {answer.body[:300]!r}")
        time.sleep(0.005)


def seconds_to(pieces: Sequence[bytes]) -> float:
    """Start the service and send requests at once; return the time to the first response."""
    port = free_port()
    command = pneumoscan("serve", "--port", port, "--no-open")
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            first(port, pieces)
            return time.perf_counter() - started
        finally:
            process.send_signal(signal.SIGTERM)


def milliseconds_to_paint() -> float:
    """Return the first contentful paint of the page of a new service in a new browser, after its navigation began."""
    from playwright.sync_api import sync_playwright

    with Service() as service, sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=str(BROWSER), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{service.port}/")
        for _ in range(100):
            painted = page.evaluate(PAINTED)
            if painted is not None:
                break
            page.wait_for_timeout(20)
        browser.close()
    return float(painted)


def measure(options: Options) -> Record:
    """Measure all in turn; the first of each fills the page cache and is not counted."""
    film, rounds = large_films(options.work, 1)[0], options.round_count(7)
    record = Record(NAME)
    asked = {PAGE: get("/"), ANSWER: put(film)}
    for pieces in asked.values():
        seconds_to(pieces)
    record.raw = in_turn({name: partial(seconds_to, pieces) for name, pieces in asked.items()}, rounds)
    paint, note = _paints(rounds)
    if paint:
        record.raw[PAINT] = paint
    record.medians = medians_of(record.raw)
    painted = record.medians.get(PAINT)
    record.bars = [
        Bar(
            "cold: GET / after the start of the process, s",
            record.medians[PAGE],
            1,
            "<",
        ),
        Bar("cold: first paint of the page in a browser, s", painted, 1, "<", note),
        Bar(
            "cold: first answer after the start, s",
            record.medians[ANSWER],
            2,
            "<",
        ),
    ]
    return record


def _paints(rounds: int) -> tuple[list[float], str]:
    try:
        import playwright  # noqa: F401
    except ImportError:
        return [], "not measured: no playwright"
    if not BROWSER.exists():
        return [], f"not measured: no {BROWSER}"
    milliseconds_to_paint()
    return [milliseconds_to_paint() / 1e3 for _ in range(rounds)], ""


if __name__ == "__main__":
    run_one(NAME, __doc__ or "", measure)
