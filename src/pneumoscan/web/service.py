"""The shared state of the routes, and its metrics in the text format of Prometheus."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from pneumoscan.web.body import Admission, Budget
from pneumoscan.web.responses import Refused, refused

if TYPE_CHECKING:
    from pneumoscan.web.limits import Settings
    from pneumoscan.workers.pool import FilmPool

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class ServiceMetrics:
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


_READY_STEP = 0.02


class ServiceState:
    """The state of a running service.

    Attributes:
        stopping: Whether new requests are refused.
    """

    def __init__(self) -> None:
        self.stopping = False


@dataclass
class Service:
    """One running service: the shared state of its routes.

    Attributes:
        about: Facts about the model; None until they are loaded.
    """

    settings: "Settings"
    pool: "FilmPool"
    metrics: "ServiceMetrics"
    about: dict[str, Any] | None = None
    state: ServiceState = field(default_factory=ServiceState)
    budget: Budget = field(init=False)
    admission: Admission = field(init=False)

    def __post_init__(self) -> None:
        self.budget = Budget(self.settings.memory_bytes)
        self.admission = Admission(max(64, 2 * self.settings.queue))
        self.metrics.watch(self.pool, lambda: self.budget.used)

    @property
    def ready(self) -> bool:
        """Whether a film can be read now."""
        return self.about is not None and self.pool.ready and not self.state.stopping

    async def model(self) -> dict[str, Any]:
        """Return the facts about the model; wait for them shortly after the start.

        Raises:
            Refused: `http.busy`: no worker is ready yet; `http.stopping`.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self.settings.ready_seconds
        while not self.ready or self.about is None:
            if self.state.stopping:
                raise refused("http.stopping", "The service is stopping.", "Try again later.")
            if loop.time() > end:
                raise refused("http.busy", "No worker is ready.", "Try again soon.")
            await asyncio.sleep(_READY_STEP)
        return self.about

    def enter(self) -> Callable[[], None]:
        """Admit a body if the queue has a place for its film.

        Returns:
            A function to call when the body has arrived.

        Raises:
            Refused: `http.busy`.
        """
        if self.pool.waiting >= max(1, self.settings.queue):
            raise queue_full(1)
        return self.admission.enter()


def queue_full(seconds: int) -> Refused:
    """Return the error for a full queue."""
    return refused(
        "http.busy",
        "The queue of films is full.",
        "Try again soon.",
        headers=(("Retry-After", str(seconds)),),
    )
