"""The metrics of the service in the text format of Prometheus. Clients cannot choose the value of a label."""

from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pneumoscan.workers.pool import FilmPool

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The counters of one service, in a separate registry."""

    def __init__(self, version: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "pneumoscan_requests",
            "Requests by route, method, status and code.",
            ("route", "method", "status", "code"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "pneumoscan_request_seconds",
            "From the request's header to the end of the answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._films = Counter(
            "pneumoscan_films",
            "Films by label, or by the code of what is wrong with them.",
            ("label", "code"),
            registry=self.registry,
        )
        Gauge("pneumoscan_build_info", "Of this release.", ("version",), registry=self.registry).labels(
            version
        ).set(1)

    def request(self, route: str, method: str, status: int, code: str, seconds: float) -> None:
        """Count an answered request."""
        self._requests.labels(route, method, str(status), code).inc()
        self._seconds.labels(route).observe(seconds)

    def film(self, label: str, code: str) -> None:
        """Count a film that was read (its label) or refused (its code)."""
        self._films.labels(label, code).inc()

    def watch(self, pool: "FilmPool", bytes_held: "Callable[[], int]") -> None:
        """Read these figures whenever the metrics are requested."""
        gauges: tuple[tuple[str, str, Callable[[], float]], ...] = (
            ("ready", "1 if films can be read.", lambda: float(pool.ready)),
            ("films_waiting", "Films that wait for a worker.", lambda: float(pool.waiting)),
            ("workers_busy", "Workers that read a film.", lambda: float(pool.busy)),
            ("body_bytes", "Bytes of bodies and answers held in memory.", lambda: float(bytes_held())),
        )
        for name, description, value in gauges:
            Gauge(f"pneumoscan_{name}", description, registry=self.registry).set_function(value)
        self._restarts = Counter(
            "pneumoscan_worker_restarts", "Workers that were replaced.", registry=self.registry
        )
        self._pool, self._restarts_seen = pool, 0

    def page(self) -> bytes:
        """Return the metrics as text."""
        self._restarts.inc(max(0, self._pool.restarts - self._restarts_seen))
        self._restarts_seen = max(self._restarts_seen, self._pool.restarts)
        return generate_latest(self.registry)
