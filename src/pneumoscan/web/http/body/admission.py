"""Limits on the number of bodies that arrive at the same time, and on their bytes."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from pneumoscan.web.http.problems import refused

_FRESH_SECONDS = 2.0


class Budget:
    """A limit on the bytes of all requests together.

    Args:
        total: Maximum number of bytes.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0

    def share(self) -> "Share":
        """Return an empty share. As a context manager it releases its bytes at the end."""
        return Share(self)


class Share:
    """The bytes of one request in the budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.held = 0

    def hold(self, count: int) -> None:
        """Set the number of bytes to `count`.

        Raises:
            Refused: `http.busy`: other requests hold too many bytes; the number does not change.
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
    """Limits the number of bodies at the same time. Slow bodies do not count, so that slow clients do not block others.

    Args:
        places: Maximum number of bodies that began within `_FRESH_SECONDS`.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._taken = 0
        self._arriving: set[asyncio.Task[Any]] = set()

    def shut(self) -> None:
        """Cancel the requests whose bodies are incomplete; their films were not accepted yet."""
        for task in self._arriving:
            task.cancel()

    def enter(self) -> Callable[[], None]:
        """Take a place, and return the function that releases it when the body has arrived.

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
