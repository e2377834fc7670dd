"""The work: rows are claimed and brought to their end, several at once, whatever fails on the way.

An attempt counts when a row is claimed, so a film that kills this process is parked in the end and does not come first again.
It is given back where the PACS is away or the disk is full: that is not the film's fault.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from pneumoscan.apps.node import steps
from pneumoscan.apps.node.audit import Audit
from pneumoscan.apps.node.patience import Patience
from pneumoscan.apps.node.queue import ENDS, Job, LeaseLostError, State
from pneumoscan.apps.node.steps import Tools
from pneumoscan.apps.workers.pool import PoolFullError, PoolStoppedError
from pneumoscan.errors import (
    BundleError,
    CodecMissingError,
    EnvironmentProblemError,
    FilmCrashError,
    FilmError,
    FilmTimeoutError,
    PacsAwayError,
    PacsError,
    PneumoscanError,
)

Answer = TypeVar("Answer")
log = logging.getLogger("pneumoscan.node")
DIED = "died"
_IDLE_SECONDS = 0.2
_TRIES, _BETWEEN_TRIES = 3, 0.2
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0
_DISK_SECONDS = 30.0
# Twice as many films as are read: one is fetched or stored while another is read.
_UNDER_WAY = 2


class Work:
    """Brings rows to their ends until it is told to stop.

    Attributes:
        idle: Whether nothing was to be done when it was last looked.
    """

    def __init__(self, tools: Tools, audit: Audit) -> None:
        self.idle = False
        self._tools, self._audit = tools, audit
        self._patience = Patience()
        self._count = _UNDER_WAY * tools.config.node.workers
        self._threads = ThreadPoolExecutor(self._count + 2, thread_name_prefix="node")

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, and bring what was begun to its end.

        Raises:
            BundleError: No film can be read any more.
            DataDamagedError: The queue is damaged.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._count):
                    group.create_task(self._one_after_another(stop))
        except* PneumoscanError as problems:
            raise problems.exceptions[0] from None
        finally:
            self._threads.shutdown()

    async def _one_after_another(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            pause = 0.0
            try:
                job = None if self._patience.left else await self._claim()
                if job is None:
                    pause = max(_IDLE_SECONDS, self._patience.left)
                else:
                    await self._bring(job)
            except LeaseLostError:
                continue
            except EnvironmentProblemError as problem:
                # A full disk, or a database that is away: what was claimed goes on when its lease is over.
                pause = _DISK_SECONDS
                log.warning("working again in %.0f s: %s: %s", pause, problem.code, problem.message)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)

    async def _claim(self) -> Job | None:
        seconds = self._tools.config.node.lease_seconds
        job = await self._call(self._tools.queue.claim, self._tools.config.name, seconds)
        self.idle = job is None
        return job

    async def _bring(self, job: Job) -> None:
        """Bring a claimed row as far as it goes."""
        begun = time.monotonic()
        keeper = asyncio.create_task(self._keep(job))
        try:
            if job.attempts > self._tools.config.node.max_attempts:
                job = await self._end(job, State.PARKED, job.code or DIED)
            while job.state not in ENDS:
                job = await self._step(job)
            await self._call(self._tell, job, time.monotonic() - begun)
        except _Back:
            pass
        finally:
            keeper.cancel()

    async def _step(self, job: Job) -> Job:
        """Bring it to its next state; what fails becomes an end, or gives the row back."""
        try:
            return await self._next(job)
        except PacsAwayError as problem:
            await self._give_back(job, problem, self._patience.lose(), used=False)
        except (PacsError, FilmCrashError, FilmTimeoutError) as problem:
            await self._give_back(job, problem, _pause(job.attempts), used=True)
        except FilmError as problem:
            # A codec can be installed; what else is wrong with a film stays wrong.
            state = State.PARKED if isinstance(problem, CodecMissingError) else State.REFUSED
            return await self._end(job, state, problem.code)
        except (PoolStoppedError, PoolFullError):
            await self._give_back(job, None, 0, used=False)
        except EnvironmentProblemError as problem:
            await self._give_back(job, problem, _DISK_SECONDS, used=False)
        except BundleError:
            await self._give_back(job, None, 0, used=False)
            raise
        raise _Back

    async def _next(self, job: Job) -> Job:
        match job.state:
            case State.FOUND:
                return await self._patiently(steps.fetch, job)
            case State.FETCHED:
                return await steps.read(self._tools, job)
            case State.MADE:
                return await self._patiently(steps.send, job)
            case _:
                return await self._patiently(steps.confirm, job)

    async def _patiently(self, step: Callable[[Tools, Job], Job], job: Job) -> Job:
        """Do a step that asks the PACS, a few times if need be: most faults of a network are over at once."""
        for tries in range(1, _TRIES + 1):
            try:
                done = await self._call(step, self._tools, job)
            except PacsError:
                if tries == _TRIES:
                    raise
                await asyncio.sleep(_BETWEEN_TRIES * tries)
            else:
                self._patience.regain()
                return done
        raise AssertionError

    async def _give_back(
        self, job: Job, problem: PneumoscanError | None, seconds: float, *, used: bool
    ) -> None:
        code = problem.code if problem is not None else job.code
        await self._call(lambda: self._tools.queue.give_back(job, code=code, seconds=seconds, used=used))
        if problem is not None:
            log.warning("job %d waits %.0f s: %s: %s", job.id, seconds, code, problem.message)

    async def _end(self, job: Job, state: State, code: str) -> Job:
        return await self._call(lambda: self._tools.queue.advance(job, state, code=code))

    def _tell(self, job: Job, seconds: float) -> None:
        steps.drop_files(self._tools, job)
        facts = {"job": job.id, "mode": job.mode} | ({"code": job.code} if job.code else {})
        facts |= {"label": job.label, "model": job.model} if job.label else {}
        self._audit.write(str(job.state), **facts)
        level = logging.ERROR if job.state in {State.CONFLICT, State.PARKED} else logging.INFO
        log.log(
            level, "job %d is %s %s(%.1f s)", job.id, job.state, f"{job.code} " if job.code else "", seconds
        )

    async def _keep(self, job: Job) -> None:
        """Keep the row while it is worked on."""
        seconds = self._tools.config.node.lease_seconds
        with suppress(LeaseLostError):
            while True:
                await asyncio.sleep(seconds / 3)
                await self._call(self._tools.queue.extend, job, seconds)

    async def _call(self, function: Callable[..., Answer], *words: object) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *words)


class _Back(Exception):  # noqa: N818 - no fault: the row was given back
    """The row was given back."""


def _pause(attempts: int) -> float:
    """Return for how many seconds a row rests after so many attempts."""
    return float(min(_FIRST_PAUSE * 4 ** (attempts - 1), _LONGEST_PAUSE))
