"""Worker processes behind asyncio: films go in, readings or typed errors come out.

    read(film) ──▶ queue, bounded ──▶ worker 1  ⇄ socket ⇄  process: decode, network, pictures
                                 └──▶ worker 2  ⇄ socket ⇄  process

A task for each worker (`_keep`) starts its process, sends it one film after the other, and replaces it when it ends, hangs or sends
an invalid answer. The film that it had gets an error; other films and workers are not affected. No lock is needed, because
nothing else runs between two `await`s.
"""

import asyncio
import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pneumoscan.errors import (
    EnvironmentProblemError,
    FilmCrashError,
    FilmTimeoutError,
    PneumoscanError,
    UsageError,
)
from pneumoscan.system import allowed_cores
from pneumoscan.workers.process import COMMAND, FilmJob, JobQueue, WorkerProcess
from pneumoscan.workers.protocol import ProtocolError, Reading, Want

__all__ = ["FilmPool", "Limits", "PoolFullError", "PoolStoppedError", "Reading", "Want"]

_START_SECONDS = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 15.0
_YOUNG_SECONDS = 1.0
_FIRST_GUESS_SECONDS = 0.05
_LONGEST_RETRY = 60


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


@dataclass(frozen=True)
class Limits:
    """Limits for one film.

    Attributes:
        seconds: Maximum time from sending the film to its answer; then the worker is killed.
        memory_mb: Maximum memory in addition to that of the loaded model, in MiB of address space.
    """

    seconds: float = 10.0
    memory_mb: int = 1024


class FilmPool:
    """Reads films in worker processes; belongs to one event loop.

    The thread of that loop must exist as long as the pool, because workers end with the thread that started them.

    Attributes:
        restarts: Number of workers that were replaced.
    """

    def __init__(
        self,
        model: Path,
        *,
        workers: int,
        waiting: int,
        limits: Limits = Limits(),
        command: Sequence[str] = COMMAND,
    ) -> None:
        """Create the pool; `start` starts its workers.

        Args:
            model: A bundle folder, or a run folder with `bundle/` in it.
            workers: Number of processes, at least 1.
            waiting: Maximum number of films that wait for a worker, at least 0.
            limits: Limits for each film.
            command: Command that starts a worker; by default that of the service (`worker`).

        Raises:
            UsageError: A number is too small.
        """
        if workers < 1 or waiting < 0 or limits.seconds <= 0 or limits.memory_mb < 1:
            raise UsageError(
                f"{workers} workers, {waiting} films waiting, {limits} make no pool.",
                "Have at least one worker, a time and memory above 0, and a queue of 0 or more.",
            )
        self.restarts = 0
        self._model, self._limits, self._command = model.absolute(), limits, tuple(command)
        self._workers, self._jobs = workers, JobQueue(waiting)
        self._keepers: list[asyncio.Task[None]] = []
        self._live = self._starting = 0
        self._broken: PneumoscanError | None = None
        self._known = asyncio.Event()
        self._stopping = False
        self._seconds_a_film = _FIRST_GUESS_SECONDS

    @property
    def ready(self) -> bool:
        """Whether a film can be read now: at least one worker has loaded the model."""
        return self._live > 0 and not self._stopping

    @property
    def busy(self) -> int:
        """Number of films that are being read."""
        return len(self._jobs.busy)

    @property
    def waiting(self) -> int:
        """Number of films that wait for a worker."""
        return self._jobs.waiting

    async def start(self) -> None:
        """Start all workers, and wait until the first is ready.

        Raises:
            BundleError, UsageError: The model does not load, or is not there.
            EnvironmentProblemError: No worker starts.
            PoolStoppedError: The pool was stopped meanwhile.
        """
        self._keepers += [asyncio.create_task(self._keep(place)) for place in range(self._workers)]
        await self._known.wait()
        if self._stopping:
            raise PoolStoppedError("the pool was stopped before it was ready")
        if not self._live and self._broken is not None:
            problem = self._broken
            await self.stop(0)
            raise problem

    async def read(self, film: bytes, *, threshold: float, want: Want = Want()) -> Reading:  # noqa: B008 - frozen
        """Read one film in a worker.

        If this is cancelled while the film waits, the film is dropped. If it is cancelled later, the result is discarded.

        Args:
            film: The bytes of a file: JPEG, PNG or DICOM.
            threshold: Threshold in [0, 1].
            want: The requested pictures.

        Raises:
            FilmError: The film is refused: the error of `imaging.read`, FilmCrashError or FilmTimeoutError.
            UsageError: `threshold` is outside [0, 1].
            BundleError: The network does not run, or the model was removed and no worker is left.
            EnvironmentProblemError: No worker is left and none can be started.
            PoolFullError: The queue of films is full.
            PoolStoppedError: The pool is stopping, or stopped before the film was read.
        """
        if not 0 <= threshold <= 1:
            raise UsageError(f"threshold is {threshold}.", "It must be from 0 to 1.")
        if self._stopping:
            raise PoolStoppedError("the pool takes no more films")
        if self._broken is not None:
            raise _again(self._broken)
        job = FilmJob(film, threshold, want, asyncio.get_running_loop().create_future())
        del film
        if not self._jobs.put(job):
            raise PoolFullError(self._seconds_until_room())
        try:
            return await job.answer
        finally:
            self._jobs.withdraw(job)
            # The traceback of an error holds this frame. With the job in it, the film would stay in memory.
            del job

    async def stop(self, grace: float) -> None:
        """Accept no more films, wait up to `grace` seconds for the accepted ones, and end the workers.

        Unfinished films get PoolStoppedError. A second call has no effect.
        """
        self._stopping = True
        self._known.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._jobs.unanswered:
                    await asyncio.sleep(0.005)
        left = [*self._jobs.busy, *self._jobs.take_waiting()]
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for job in left:
            job.fail(PoolStoppedError("the pool was stopped before this film was read"))
        self._jobs.busy.clear()

    def _seconds_until_room(self) -> int:
        """Return the estimated seconds until the full queue has a free place."""
        seconds = self._seconds_a_film * (self._jobs.waiting + 1) / self._workers
        return min(max(1, math.ceil(seconds)), _LONGEST_RETRY)

    async def _keep(self, place: int) -> None:
        """Keep one worker alive until cancelled."""
        if place >= allowed_cores():
            # The first worker is ready earliest if no more workers start at the same time than there are cores.
            await self._known.wait()
        failures = 0
        while True:
            worker = await self._begun()
            if worker is None:
                failures += 1
            else:
                failures = 0 if await self._employ(worker) else failures + 1
                self.restarts += 1
            if failures:
                await asyncio.sleep(min(_FIRST_PAUSE * 2 ** (failures - 1), _LONGEST_PAUSE))

    async def _begun(self) -> WorkerProcess | None:
        """Start a worker, and wait until it is ready; return None if it fails."""
        worker, begun = None, False
        self._starting += 1
        try:
            worker = WorkerProcess(self._model, self._limits.memory_mb, self._command)
            async with asyncio.timeout(_START_SECONDS):
                await worker.ready()
            begun = True
        except (PneumoscanError, ProtocolError, EOFError, OSError) as problem:  # TimeoutError is an OSError
            why = await _why(worker, problem)
        finally:
            self._starting -= 1
            if worker is not None and not begun:
                await worker.end()
        if not begun:
            self._not_begun(why)
            return None
        self._live += 1
        self._broken = None
        self._known.set()
        return worker

    def _not_begun(self, problem: PneumoscanError) -> None:
        """Fail the waiting films if no other worker lives or starts."""
        if self._live or self._starting:
            return
        self._broken = problem
        self._known.set()
        for job in self._jobs.take_waiting():
            job.fail(_again(problem))

    async def _employ(self, worker: WorkerProcess) -> bool:
        """Give a worker films until it has to be replaced; return whether it read any, or lived long enough."""
        loop = asyncio.get_running_loop()
        until, used = loop.time() + _YOUNG_SECONDS, False
        try:
            while (job := await self._jobs.next(worker)) is not None:
                used = True
                try:
                    goes_on = job.answered or await self._read(worker, job)
                finally:
                    self._jobs.busy.discard(job)
                if not goes_on:
                    if not job.answered:
                        self._jobs.put_back(job)
                    break
                job.film = b""  # so that it is not in memory while the worker waits
        finally:
            self._live -= 1
            await worker.end()
        return used or loop.time() > until

    async def _read(self, worker: WorkerProcess, job: FilmJob) -> bool:
        """Read one film and answer its job; return whether the worker can continue."""
        loop = asyncio.get_running_loop()
        began, given = loop.time(), False
        try:
            async with asyncio.timeout(self._limits.seconds):
                await worker.give(job.film, job.threshold, job.want)
                given = True
                job.succeed(await worker.answer())
        except PneumoscanError as problem:
            # Without the traceback, which holds this frame and the job.
            job.fail(problem.with_traceback(None))
        except TimeoutError:
            job.fail(
                FilmTimeoutError(
                    f"<bytes> took longer than {self._limits.seconds:g} s to read.",
                    "Save the film with another program, or leave it out.",
                )
            )
            return False
        except (EOFError, OSError):
            how = await worker.last_word()
            if given or job.given_back:
                job.fail(_crashed(how))
            else:  # the worker ended before it received the film
                job.given_back = True
            return False
        except Exception:  # noqa: BLE001 - whatever it said, the film gets an answer and the worker is replaced
            job.fail(_crashed("sent an invalid answer"))
            return False
        self._seconds_a_film += 0.1 * (loop.time() - began - self._seconds_a_film)
        return True


async def _why(worker: WorkerProcess | None, problem: Exception) -> PneumoscanError:
    """Return the error of a worker that did not become ready."""
    if isinstance(problem, PneumoscanError):
        return problem
    if worker is None:
        return EnvironmentProblemError(
            f"no worker can be started: {problem}.", "Check the limits of processes and memory."
        )
    if isinstance(problem, TimeoutError):
        how = f"was not ready after {_START_SECONDS:g} s"
    else:
        how = "sent an invalid answer" if isinstance(problem, ProtocolError) else await worker.last_word()
    return EnvironmentProblemError(
        f"a worker {how} before it had loaded the model.",
        "Check whether memory is short, or install pneumoscan again.",
    )


def _again(problem: PneumoscanError) -> PneumoscanError:
    """Return a copy of the error, because an error that is raised twice accumulates tracebacks."""
    return type(problem)(problem.message, problem.remedy)


def _crashed(how: str) -> FilmCrashError:
    """Return the error for a film whose worker ended or sent an invalid answer; `how` says which, after "the process that read it"."""
    return FilmCrashError(
        f"the process that read <bytes> {how}.",
        "Send it again. If it fails again, save the film with another program, or leave it out.",
    )
