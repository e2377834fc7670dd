"""Throughput and latency of a service with eight clients, and of the batch command on the same films, in turn.

python -m benchmarks.service.throughput
"""

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from statistics import median
from typing import Any

from benchmarks.record import Bar, Options, Record, run_one
from benchmarks.service.client import Connection, Service, put, quantiles
from benchmarks.service.films import large_films, model
from benchmarks.timing import in_turn
from benchmarks.workers import Worker

NAME = "web_throughput"
CLIENTS, FILMS = 8, 40


class Crowd:
    """Clients that each keep one connection and send the next film after each response."""

    def __init__(
        self, service: Service, films: Sequence[bytes], probabilities: Sequence[float], count: int
    ) -> None:
        self._service, self._requests = service, [put(film, kind="image/jpeg") for film in films]
        self._right = probabilities
        self._connections = [service.connect() for _ in range(count)]
        self._threads = ThreadPoolExecutor(count)

    def close(self) -> None:
        """Close connections and threads."""
        self._threads.shutdown()
        for connection in self._connections:
            connection.close()

    def read(self, count: int) -> dict[str, Any]:
        """Send `count` films; return the rate, all latencies and the CPU times of both sides."""
        share = count // len(self._connections)
        for connection in self._connections:
            connection.close()  # it was idle for too long during the other measurements
        self._connections = [self._service.connect() for _ in self._connections]
        server, client, began = self._service.cpu_seconds(), time.process_time(), time.perf_counter()
        jobs = [
            self._threads.submit(self._send, connection, number * share, share)
            for number, connection in enumerate(self._connections)
        ]
        seconds = [latency for job in jobs for latency in job.result()]
        took, done = time.perf_counter() - began, share * len(self._connections)
        return {
            "rate": done / took,
            "latencies": seconds,
            "service_cpu_ms_a_film": 1e3 * (self._service.cpu_seconds() - server) / done,
            "client_cpu_ms_a_film": 1e3 * (time.process_time() - client) / done,
        }

    def _send(self, connection: Connection, first: int, count: int) -> list[float]:
        found = []
        for number in range(first, first + count):
            which = number % len(self._requests)
            answer = connection.ask(self._requests[which])
            if answer.status != 200 or answer.json()["probability"] != self._right[which]:
                raise RuntimeError(f"film {which}: {answer.status} {answer.body[:300]!r}")
            found.append(answer.seconds)
        return found


def measure(options: Options) -> Record:
    """Measure eight clients, one client, and the batch, in turn."""
    films = large_films(options.work, FILMS)
    right = [row.probability for row in _rows(films)]
    count = 80 if options.quick else 480
    paths = [str(options.work / "web-1300x1000" / f"film-{number:03d}.jpeg") for number in range(FILMS)]
    batch = [sys.executable, "-m", "benchmarks.service.batch_worker", *paths]
    with Service() as service, Worker(batch) as worker:
        service.wait_until_ready()
        crowd, alone = Crowd(service, films, right, CLIENTS), Crowd(service, films, right, 1)
        crowd.read(count // 2)
        answers = in_turn(
            {
                "service": partial(crowd.read, count),
                "batch": partial(worker.ask, films=count),
                "alone": partial(alone.read, FILMS),
            },
            options.round_count(9),
            pause=0.5,
        )
        crowd.close()
        alone.close()
    record = summary(answers)
    record.facts |= {
        "clients": CLIENTS,
        "films_a_round": count,
        "different_films": FILMS,
        "mean_kilobytes": round(sum(map(len, films)) / len(films) / 1e3, 1),
        "model": f"{model().spec.name}@{model().spec.files['model.onnx'][:12]}",
        "batch_workers": worker.facts["workers"],
    }
    return record


def _rows(films: Sequence[bytes]) -> list[Any]:
    from pneumoscan.predict.batch import predict_many

    return list(predict_many(model(), islice(cycle(films), len(films))))


def summary(answers: dict[str, list[dict[str, Any]]]) -> Record:
    """Return the record; a round of the service is compared with the batch of the same round."""
    record = Record(NAME)
    rates = {name: [answer["rate"] for answer in answers[name]] for name in ("service", "batch")}
    shares = [service / batch for service, batch in zip(rates["service"], rates["batch"], strict=True)]
    crowd = [latency for answer in answers["service"] for latency in answer["latencies"]]
    single = [latency for answer in answers["alone"] for latency in answer["latencies"]]
    tails = [quantiles(answer["latencies"])["p99"] / 1e3 for answer in answers["service"]]
    record.raw = {
        "films_a_second": rates,
        "p99_ms": [round(1e3 * tail, 2) for tail in tails],
        "single_ms": [round(1e3 * median(answer["latencies"]), 2) for answer in answers["alone"]],
        "service_cpu_ms_a_film": [answer["service_cpu_ms_a_film"] for answer in answers["service"]],
        "client_cpu_ms_a_film": [answer["client_cpu_ms_a_film"] for answer in answers["service"]],
        "batch_cpu_ms_a_film": [answer["cpu_ms_a_film"] for answer in answers["batch"]],
    }
    record.medians = {f"{name}, films/s": float(median(values)) for name, values in rates.items()}
    record.medians |= {f"eight clients, ms, {name}": value for name, value in quantiles(crowd).items()}
    record.medians |= {f"one client, ms, {name}": value for name, value in quantiles(single).items()}
    record.medians |= {name: float(median(record.raw[name])) for name in record.raw if "cpu" in name}
    slow = quantiles(crowd)["p99"] / quantiles(single)["p50"]
    record.ratios = {"service / batch": float(median(shares)), "p99 of eight / median of one": slow}
    record.bars = [
        Bar("service with 8 clients / batch command, films/s", float(median(shares)), 0.8),
        Bar("p99 of eight clients / median of one alone", slow, 10, "<"),
    ]
    return record


if __name__ == "__main__":
    run_one(NAME, __doc__ or "", measure)
