"""How many bodies the service lets in at a time, and how many bytes they may hold together."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from pneumoscan.apps.web.http.problems import refused

_FRESH_SECONDS = 2.0


class Budget:
    """Bytes that all requests together may hold.

    Args:
        total: The most bytes at once.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0

    def share(self) -> "Share":
        """Return an empty share; as a context manager it gives back at the end what it still holds."""
        return Share(self)


class Share:
    """What one request holds of the budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.held = 0

    def hold(self, count: int) -> None:
        """Hold `count` bytes from now on, more or less than before.

        Raises:
            Refused: `http.busy`: the others hold too much; what was held stays held.
        """
        if count > self.held and self._budget.used - self.held + count > self._budget.total:
            raise refused("http.busy", "All requests together hold too much memory.", "Try again soon.")
        self._budget.used += count - self.held
        self.held = count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hold(0)


class Admission:
    """Lets so many bodies in at a time; one that takes long no longer counts, so that slow clients keep nobody out.

    Args:
        places: Bodies that begin within `_FRESH_SECONDS`.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._taken = 0
        self._arriving: set[asyncio.Task[Any]] = set()

    def shut(self) -> None:
        """Cancel the requests whose bodies have not wholly come: their films were not accepted yet."""
        for task in self._arriving:
            task.cancel()

    def enter(self) -> Callable[[], None]:
        """Take a place and return what gives it back, to be called when the body has come.

        Raises:
            Refused: `http.busy`.
        """
        if self._taken >= self._places:
            raise refused("http.busy", "Too many films are arriving at once.", "Try again soon.")
        self._taken += 1
        task, fresh = asyncio.current_task(), True
        assert task is not None
        self._arriving.add(task)

        def age() -> None:
            nonlocal fresh
            if fresh:
                fresh = False
                self._taken -= 1

        def leave() -> None:
            self._arriving.discard(task)
            timer.cancel()
            age()

        timer = asyncio.get_running_loop().call_later(_FRESH_SECONDS, age)
        return leave
