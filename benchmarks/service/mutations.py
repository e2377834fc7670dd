"""Two thousand damaged films in a running service: no crash, no hang, an error code for each error, the same rows as the command line.

python -m benchmarks.service.mutations
"""

import argparse
import json
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.record import Bar, Options, Record, finish, options_of, parser
from benchmarks.service.attacks import outcome
from benchmarks.service.client import BrokenError, Service, put, quantiles
from benchmarks.service.films import damaged_films, small_films
from benchmarks.service.soak import STATUS_OF, Client, Tally, check_row
from benchmarks.speed.material import pneumoscan

NAME = "web_mutations"
CLIENTS = 4
SLOWEST = 10.0
Row = dict[str, Any]


def rows_of_the_command(films: Sequence[bytes]) -> list[Row | None]:
    """Return the rows of `pneumoscan predict` for the films in a folder; None if it crashed."""
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(films):
            (Path(folder) / f"{number:05d}").write_bytes(data)
        command = pneumoscan("predict", folder, "--format", "jsonl")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 3}:
        return [None] * len(films)
    return [json.loads(line) for line in done.stdout.splitlines()]


def differing(status: int, answer: Row, row: Row | None) -> str:
    """Return the difference of a response to the row of the command; empty if there is none."""
    if row is None:
        return ""
    if row["status"] == "ok":
        names = [
            name for name in ("probability", "label", "warnings", "model") if answer.get(name) != row[name]
        ]
        return f"{names} of {answer}, the command says {row}" if names or status != 200 else ""
    right = (STATUS_OF.get(row["error_code"], 422), row["error_code"])
    return (
        ""
        if (status, answer.get("code")) == right
        else f"{status} {answer.get('code')}, the command says {right}"
    )


def read_all(
    service: Service, films: Sequence[bytes], rows: Sequence[Row | None]
) -> tuple[Tally, list[float]]:
    """Send all films by a few clients; after every fifty, a good film must get its row."""
    tally, seconds, lock = Tally(), [], threading.Lock()
    good = small_films(8)

    def play(first: int) -> None:
        client = Client(service, tally)
        for number in range(first, len(films), CLIENTS):
            try:
                answer = client.ask(put(films[number]))
                said = answer.json()
                fine = answer.status == 200 or said.get("code", "").startswith(("film.", "environment.codec"))
                wrong = differing(answer.status, said, rows[number])
                tally.saw(
                    "damaged film", outcome(answer), fine=fine and not wrong, detail=f"film {number}: {wrong}"
                )
                with lock:
                    seconds.append(answer.seconds)
                if number % 50 < CLIENTS:
                    film = good[number % len(good)]
                    check_row(client.ask(put(film.data)).json(), film)
                    tally.saw("good film", "right", fine=True)
            except (AssertionError, BrokenError, ValueError) as problem:
                tally.saw("damaged film", "broken", fine=False, detail=f"film {number}: {problem!r}")
        client.close()

    with ThreadPoolExecutor(CLIENTS) as executor:
        list(executor.map(play, range(CLIENTS)))
    return tally, seconds


def run(options: Options, count: int, seed: int) -> Record:
    """Damage films, send them, and compare the responses."""
    films = damaged_films(150 if options.quick else count, seed)
    rows = rows_of_the_command(films)
    with Service() as service:
        service.wait_until_ready()
        pid, began = service.pid, time.perf_counter()
        tally, seconds = read_all(service, films, rows)
        took = time.perf_counter() - began
        alive = service.process.poll() is None and service.pid == pid
        code, _ = service.stop()
        log = service.log()
    record = Record(NAME, raw={"outcomes": dict(sorted(tally.outcomes.items())), "wrong": tally.wrong})
    record.medians = {f"a damaged film, ms, {name}": value for name, value in quantiles(seconds).items()}
    codes = Counter(row["error_code"] or "read" for row in rows if row is not None)
    record.facts = {
        "films": len(films),
        "seed": seed,
        "seconds": round(took, 1),
        "by_the_command_line": dict(codes),
        "the_command_line_crashed": None in rows,
        "exit_code": code,
        "log_has_a_traceback": "Traceback" in log,
    }
    record.bars = [
        Bar("crashes of the service", int(not alive), 1, "<"),
        Bar("untyped errors, and answers other than the command line's", len(tally.wrong), 1, "<"),
        Bar("the slowest answer, s", max(seconds), SLOWEST, "<"),
    ]
    return record


def main() -> None:
    """Run it."""
    line = parser(__doc__ or "")
    line.add_argument("--count", type=int, default=2000)
    line.add_argument("--seed", type=int, default=7)
    given: argparse.Namespace = line.parse_args()
    finish(NAME, lambda options: run(options, given.count, given.seed), options_of(given))


if __name__ == "__main__":
    main()
