"""Films in the pool: jobs, their queue, and the errors of the pool."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pneumoscan.errors import FilmCrashError, FilmTimeoutError
from pneumoscan.workers.protocol import Reading, Want

if TYPE_CHECKING:
    from pneumoscan.workers.process import WorkerProcess


class PoolFullError(Exception):
    """The queue of films is full.

    Attributes:
        retry_after: Estimated seconds until the queue has a free place, at least 1.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the queue is full; there may be room in {retry_after} s")
        self.retry_after = retry_after


class PoolStoppedError(Exception):
    """The pool accepts no more films, or was stopped before it read this one."""


# No repr, because it would contain the bytes of the film.
@dataclass(eq=False, repr=False)
class FilmJob:
    """One film that waits or is being read.

    Attributes:
        film: Its bytes.
        threshold: Threshold in [0, 1].
        want: The requested pictures.
        answer: The reading or the error; cancelled if it is no longer needed.
        given_back: Whether a worker ended before it received the film. The film is then sent to another worker, once.
    """

    film: bytes
    threshold: float
    want: Want
    answer: "asyncio.Future[Reading]"
    given_back: bool = False

    @property
    def answered(self) -> bool:
        """Whether the job has its answer, or no longer needs one."""
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
    """Waiting films, idle workers, and films that are being read.

    Args:
        most_waiting: Maximum number of waiting films, at least 0.

    Attributes:
        busy: Films that are being read.
    """

    def __init__(self, most_waiting: int) -> None:
        self.busy: set[FilmJob] = set()
        self._most_waiting = most_waiting
        self._waiting: deque[FilmJob] = deque()
        self._idle: list[asyncio.Future[FilmJob | None]] = []

    @property
    def waiting(self) -> int:
        """Number of waiting films."""
        return len(self._waiting)

    @property
    def idle(self) -> int:
        """Number of idle workers."""
        return len(self._idle)

    @property
    def unanswered(self) -> bool:
        """Whether a film still needs an answer."""
        return any(not job.answered for job in (*self.busy, *self._waiting))

    def put(self, job: FilmJob) -> bool:
        """Give the film to an idle worker, or add it to the queue; return False if the queue is full."""
        if self._hand_over(job):
            return True
        if len(self._waiting) >= self._most_waiting:
            return False
        self._waiting.append(job)
        return True

    def put_back(self, job: FilmJob) -> None:
        """Put a film that no worker received at the head of the queue."""
        if not self._hand_over(job):
            self._waiting.appendleft(job)

    def withdraw(self, job: FilmJob) -> None:
        """Remove the film from the queue, if it is still there."""
        if job in self._waiting:
            self._waiting.remove(job)

    def take_waiting(self) -> list[FilmJob]:
        """Remove and return all waiting films."""
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting

    async def next(self, worker: "WorkerProcess") -> FilmJob | None:
        """Wait for a film for this worker; None if the worker ends or sends data in the meantime."""
        if self._waiting:
            job = self._waiting.popleft()
            self.busy.add(job)
            return job
        turn: asyncio.Future[FilmJob | None] = asyncio.get_running_loop().create_future()

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

    def _hand_over(self, job: FilmJob) -> bool:
        if not self._idle:
            return False
        self.busy.add(job)
        self._idle.pop().set_result(job)
        return True


def too_slow(seconds: float) -> FilmTimeoutError:
    """Return the error for a film that took too long."""
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
