"""A film on its way through the pool, and the errors that the pool has for it."""

import asyncio
from dataclasses import dataclass

from pneumoscan.apps.workers.protocol import Reading, Want
from pneumoscan.errors import FilmCrashError, FilmTimeoutError


class PoolFullError(Exception):
    """As many films wait as may.

    Attributes:
        retry_after: Seconds until there is likely to be room again, at least 1.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the queue is full; there may be room in {retry_after} s")
        self.retry_after = retry_after


class PoolStoppedError(Exception):
    """The pool takes no more films, or was stopped before this one had its turn."""


# No repr: it would write out the film wherever something goes wrong.
@dataclass(eq=False, repr=False)
class Job:
    """One film that waits, or is being read.

    Attributes:
        film: Its bytes.
        threshold: Cut-off in [0, 1].
        want: Which pictures are wanted.
        answer: Becomes the reading or the error; cancelled if nobody waits for it any more.
        given_back: Whether a worker had gone before it had the film; that happens to a film once.
    """

    film: bytes
    threshold: float
    want: Want
    answer: "asyncio.Future[Reading]"
    given_back: bool = False

    @property
    def settled(self) -> bool:
        """Whether it has its answer, or nobody waits for one any more."""
        return self.answer.done()

    def settle(self, reading: Reading) -> None:
        """Settle it with its reading."""
        if not self.settled:
            self.answer.set_result(reading)

    def fail(self, problem: Exception) -> None:
        """Settle it with an error."""
        if not self.settled:
            self.answer.set_exception(problem)


def too_slow(seconds: float) -> FilmTimeoutError:
    """Return the error for a film whose time is over."""
    return FilmTimeoutError(
        f"<bytes> took longer than {seconds:g} s to read.",
        "Save the film anew in another program, or leave it out.",
    )


def crashed(how: str) -> FilmCrashError:
    """Return the error for a film whose worker ended, or went mad; `how` says it after the word process."""
    return FilmCrashError(
        f"the process that read <bytes> {how}.",
        "Send it once more; if it happens again, save the film anew in another program, or leave it out.",
    )
