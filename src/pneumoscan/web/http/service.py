"""The shared state of the routes."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pneumoscan.web.http.body.admission import Admission, Budget
from pneumoscan.web.http.middleware import State
from pneumoscan.web.http.problems import Refused, refused

if TYPE_CHECKING:
    from pneumoscan.web.http.metrics import Metrics
    from pneumoscan.web.settings import Settings
    from pneumoscan.workers.pool import FilmPool

_READY_STEP = 0.02


@dataclass
class Service:
    """One running service: the shared state of its routes.

    Attributes:
        settings: Limits of the service.
        pool: The pool that reads films.
        metrics: The metrics of the service.
        about: Facts about the model; None until they are loaded.
        state: Whether the service is stopping.
        budget: Limit of the bytes in memory.
        admission: Limit of the bodies that arrive.
    """

    settings: "Settings"
    pool: "FilmPool"
    metrics: "Metrics"
    about: dict[str, Any] | None = None
    state: State = field(default_factory=State)
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
