"""Films on their way through the pool: one of them, their queue, and the errors that the pool has for them."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pneumoscan.apps.workers.protocol import Reading, Want
from pneumoscan.errors import FilmCrashError, FilmTimeoutError

if TYPE_CHECKING:
    from pneumoscan.apps.workers.process import WorkerProcess


class PoolFullError(Exception):
    """The queue of films is full.

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
    def answered(self) -> bool:
        """Whether it has its answer, or nobody waits for one any more."""
        return self.answer.done()

    def succeed(self, reading: Reading) -> None:
        """Answer the job with its reading."""
        if not self.answered:
            self.answer.set_result(reading)

    def fail(self, problem: Exception) -> None:
        """Answer the job with an error."""
        if not self.answered:
            self.answer.set_exception(problem)


class JobQueue:
    """Films that wait for a worker, idle workers that wait for a film, and films that workers have.

    Args:
        most_waiting: Films that may wait at once, at least 0.

    Attributes:
        busy: Films that workers have.
    """

    def __init__(self, most_waiting: int) -> None:
        self.busy: set[Job] = set()
        self._most_waiting = most_waiting
        self._waiting: deque[Job] = deque()
        self._idle: list[asyncio.Future[Job | None]] = []

    @property
    def waiting(self) -> int:
        """How many films wait."""
        return len(self._waiting)

    @property
    def idle(self) -> int:
        """How many workers wait."""
        return len(self._idle)

    @property
    def unanswered(self) -> bool:
        """Whether anybody still waits for a film's answer."""
        return any(not job.answered for job in (*self.busy, *self._waiting))

    def put(self, job: Job) -> bool:
        """Give the film to an idle worker, or let it wait; False where as many wait as may."""
        if self._hand_over(job):
            return True
        if len(self._waiting) >= self._most_waiting:
            return False
        self._waiting.append(job)
        return True

    def put_back(self, job: Job) -> None:
        """Give a film that no worker has looked at to another one, before those that came later."""
        if not self._hand_over(job):
            self._waiting.appendleft(job)

    def withdraw(self, job: Job) -> None:
        """Let the film wait no longer, if it still does."""
        if job in self._waiting:
            self._waiting.remove(job)

    def take_waiting(self) -> list[Job]:
        """Return all films that wait, which are in the queue no longer."""
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting

    async def next(self, worker: "WorkerProcess") -> Job | None:
        """Wait for a film for this worker; None if it ends, or speaks unasked, while it has none."""
        if self._waiting:
            job = self._waiting.popleft()
            self.busy.add(job)
            return job
        turn: asyncio.Future[Job | None] = asyncio.get_running_loop().create_future()

        def lost() -> None:
            if not turn.done():
                self._idle.remove(turn)
                turn.set_result(None)

        self._idle.append(turn)
        worker.watch(lost)
        try:
            return await turn
        finally:
            worker.unwatch()
            if turn in self._idle:
                self._idle.remove(turn)

    def _hand_over(self, job: Job) -> bool:
        if not self._idle:
            return False
        self.busy.add(job)
        self._idle.pop().set_result(job)
        return True


def too_slow(seconds: float) -> FilmTimeoutError:
    """Return the error for a film whose time is over."""
    return FilmTimeoutError(
        f"<bytes> took longer than {seconds:g} s to read.",
        "Save the film with another program, or leave it out.",
    )


def crashed(how: str) -> FilmCrashError:
    """Return the error for a film whose worker ended or sent an invalid answer; `how` says which, after "the process that read it"."""
    return FilmCrashError(
        f"the process that read <bytes> {how}.",
        "Send it again. If it fails again, save the film with another program, or leave it out.",
    )
