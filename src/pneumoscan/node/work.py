"""The work: rows are claimed and brought to their ends, many at once, whatever fails on the way.

A row has a task of its own from its claim to its end, so the failure of one film is no other's. What costs by the call, such as
a request to the PACS or a commit, is done for several rows together: nothing waits for a batch to fill, but what comes while a
call is under way goes together in the next one.

An attempt counts when a row is claimed, so a film that kills this process is parked in the end and does not come first again.
It is given back where the PACS is away or the disk is full: that is not the film's fault.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Generic, TypeVar

from pneumoscan.errors import (
    BundleError,
    CodecMissingError,
    EnvironmentProblemError,
    FilmCrashError,
    FilmError,
    FilmIdentityError,
    FilmTimeoutError,
    PacsAnswerError,
    PacsAwayError,
    PacsError,
    PneumoscanError,
)
from pneumoscan.node import steps
from pneumoscan.node.audit import Audit
from pneumoscan.node.client import Backoff
from pneumoscan.node.queue import ENDS, Job, LeaseLostError, State
from pneumoscan.node.steps import Tools
from pneumoscan.workers.pool import PoolFullError, PoolStoppedError

Reply = TypeVar("Reply")
log = logging.getLogger("pneumoscan.node")
DIED = "died"
_IDLE_SECONDS = 0.2
_TRIES, _BETWEEN_TRIES = 3, 0.2
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0
_DISK_SECONDS = 30.0
# Of each worker process: rows under way, films being fetched, and films that are read or wait for it with all their bytes.
_UNDER_WAY, _FETCHED, _READ = 8, 1, 2
# Results of so many films make about a megabyte, which a web server before the PACS is likely to take.
_BATCH = 8


class Work:
    """Brings rows to their ends until it is stopped.

    Attributes:
        idle: Whether nothing was to be done when it was last looked.
    """

    def __init__(self, tools: Tools, audit: Audit) -> None:
        self.idle = False
        self._tools, self._audit = tools, audit
        self._backoff, self._rest_until = Backoff(), 0.0
        workers = tools.config.node.workers
        self._most, self._under_way = _UNDER_WAY * workers, 0
        self._freed = asyncio.Event()
        self._fetching = asyncio.Semaphore(_FETCHED * workers + 1)
        self._reading = asyncio.Semaphore(_READ * workers)
        self._threads = ThreadPoolExecutor(self._most + 4, thread_name_prefix="node")
        self._sent: Batches[Job, Job] = Batches(partial(self._in_thread, steps.send, tools), most=_BATCH)
        self._confirmed: Batches[Job, Job] = Batches(
            partial(self._in_thread, steps.confirm, tools), most=_BATCH
        )
        self._recorded: Batches[tuple[Job, float], None] = Batches(
            partial(self._in_thread, self._record_ends), most=_BATCH
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, and bring what was begun to its end.

        Raises:
            BundleError: No film can be read any more.
            DataDamagedError: The queue is damaged.
        """
        try:
            async with asyncio.TaskGroup() as group:
                while not stop.is_set():
                    for job in await self._claimed():
                        self._under_way += 1
                        group.create_task(self._process(job))
                    with suppress(TimeoutError):
                        self._freed.clear()
                        await asyncio.wait_for(self._freed.wait(), _IDLE_SECONDS)
        except* PneumoscanError as problems:
            raise problems.exceptions[0] from None
        finally:
            self._threads.shutdown()

    async def _claimed(self) -> list[Job]:
        """Claim as many rows as there is room for; none while the PACS or the disk has to be waited for."""
        free = self._most - self._under_way
        waits = self._backoff.remaining or time.monotonic() < self._rest_until
        if waits or free < max(1, self._most // 4):
            return []
        queue, node = self._tools.queue, self._tools.config
        try:
            jobs = await self._in_thread(queue.claim_several, node.name, node.node.lease_seconds, free)
            if not jobs and not self._under_way:
                alone = await self._in_thread(queue.claim, node.name, node.node.lease_seconds)
                jobs = [] if alone is None else [alone]
        except EnvironmentProblemError as problem:
            self._wait_for_disk(problem)
            return []
        self.idle = not jobs and not self._under_way
        return jobs

    def _wait_for_disk(self, problem: PneumoscanError) -> None:
        """Wait for a disk that is full, or a database that is away: what was claimed goes on when its lease is over."""
        self._rest_until = time.monotonic() + _DISK_SECONDS
        log.warning("working again in %.0f s: %s: %s", _DISK_SECONDS, problem.code, problem.message)

    async def _process(self, job: Job) -> None:
        """Bring a claimed row to its end, or give it back."""
        begun = time.monotonic()
        keeper = asyncio.create_task(self._renew_lease(job))
        try:
            if job.attempts > self._tools.config.node.max_attempts:
                job = await self._finish(job, State.PARKED, job.code or DIED)
            while job.state not in ENDS:
                job = await self._step(job)
            await self._recorded.add((job, time.monotonic() - begun))
        except (_GivenBack, LeaseLostError):
            pass
        except EnvironmentProblemError as problem:
            self._wait_for_disk(problem)
        finally:
            keeper.cancel()
            self._under_way -= 1
            self._freed.set()

    async def _step(self, job: Job) -> Job:
        """Bring it to its next state; what fails becomes an end, or gives the row back."""
        try:
            return await self._next(job)
        except PacsAwayError as problem:
            pause = self._backoff.failed(problem.seconds)
            # While the login must not be tried nothing is claimed; after a restart with another one the row need not wait.
            await self._give_back(job, problem, min(pause, _DISK_SECONDS), used=False)
        except (PacsError, FilmCrashError, FilmTimeoutError) as problem:
            await self._give_back(job, problem, _pause(job.attempts), used=True)
        except FilmError as problem:
            # A codec can be installed; what else is wrong with a film stays wrong.
            state = State.PARKED if isinstance(problem, CodecMissingError) else State.REFUSED
            if isinstance(problem, FilmIdentityError):
                log.warning("job %d: %s %s", job.id, problem.message, problem.remedy)
            return await self._finish(job, state, problem.code)
        except steps.SameFilmError:
            await self._in_thread(lambda: self._audit.write("same_film", job=job.id))
            log.info("job %d is a film that came before, in another coding", job.id)
        except steps.NotYetError as early:
            await self._give_back(job, None, early.seconds, used=False)
        except (PoolStoppedError, PoolFullError):
            await self._give_back(job, None, 0, used=False)
        except EnvironmentProblemError as problem:
            await self._give_back(job, problem, _DISK_SECONDS, used=False)
        except BundleError:
            await self._give_back(job, None, 0, used=False)
            raise
        raise _GivenBack

    async def _next(self, job: Job) -> Job:
        match job.state:
            case State.FOUND:
                async with self._fetching:
                    return await self._with_retries(partial(self._in_thread, steps.fetch, self._tools, job))
            case State.FETCHED:
                async with self._reading:
                    return await steps.read(self._tools, job)
            case State.MADE:
                return await self._with_retries(partial(self._sent.add, job))
            case _:
                return await self._with_retries(partial(self._confirmed.add, job))

    async def _with_retries(self, ask: Callable[[], Awaitable[Reply]]) -> Reply:
        """Ask something of the PACS, a few times if need be: most faults of a network are over at once."""
        for tries in range(1, _TRIES + 1):
            try:
                answer = await ask()
            except PacsError:
                if tries == _TRIES:
                    raise
                await asyncio.sleep(_BETWEEN_TRIES * tries)
            else:
                self._backoff.succeeded()
                return answer
        raise AssertionError

    async def _give_back(
        self, job: Job, problem: PneumoscanError | None, seconds: float, *, used: bool
    ) -> None:
        code = problem.code if problem is not None else job.code
        await self._in_thread(lambda: self._tools.queue.give_back(job, code=code, seconds=seconds, used=used))
        if problem is not None:
            log.warning("job %d waits %.0f s: %s: %s", job.id, seconds, code, problem.message)

    async def _finish(self, job: Job, state: State, code: str) -> Job:
        return await self._in_thread(lambda: self._tools.queue.advance(job, state, code=code))

    def _record_ends(self, ended: Sequence[tuple[Job, float]]) -> list[None]:
        """Write rows that came to their ends, each with the seconds that it took, to audit and log; remove their files from the spool."""
        for job, _ in ended:
            steps.drop_files(self._tools, job)
        self._audit.write_all((str(job.state), _facts(job)) for job, _ in ended)
        for job, seconds in ended:
            level = logging.ERROR if job.state in {State.CONFLICT, State.PARKED} else logging.INFO
            code = f"{job.code} " if job.code else ""
            log.log(level, "job %d is %s %s(%.1f s)", job.id, job.state, code, seconds)
        return [None] * len(ended)

    async def _renew_lease(self, job: Job) -> None:
        """Renew the lease of a row while it is worked on."""
        seconds = self._tools.config.node.lease_seconds
        with suppress(LeaseLostError):
            while True:
                await asyncio.sleep(seconds / 3)
                with suppress(EnvironmentProblemError):
                    await self._in_thread(self._tools.queue.extend, job, seconds)

    async def _in_thread(self, function: Callable[..., Reply], *words: object) -> Reply:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *words)


class _GivenBack(Exception):  # noqa: N818 - no fault: the row was given back
    """The row was given back."""


def _facts(job: Job) -> dict[str, object]:
    """Return what the audit says of a row."""
    facts: dict[str, object] = {"job": job.id, "mode": job.mode}
    return (
        facts
        | ({"code": job.code} if job.code else {})
        | ({"label": job.label, "model": job.model} if job.label else {})
    )


def _pause(attempts: int) -> float:
    """Return for how many seconds a row rests after so many attempts."""
    return float(min(_FIRST_PAUSE * 4 ** (attempts - 1), _LONGEST_PAUSE))


Item = TypeVar("Item")


class Batches(Generic[Item, Reply]):
    """Collects the items of many tasks; belongs to one event loop."""

    def __init__(
        self, call: Callable[[Sequence[Item]], Awaitable[Sequence[Reply | Exception]]], *, most: int
    ) -> None:
        """Set it up.

        Args:
            call: Is given items, and returns for each its answer or what went wrong. What it raises is raised for all.
            most: Items of one call.
        """
        self._in_thread, self._most = call, most
        self._waiting: list[tuple[Item, asyncio.Future[Reply]]] = []
        self._under_way: asyncio.Task[None] | None = None

    async def add(self, item: Item) -> Reply:
        """Wait until the call was done for an item, and return its answer; raises what went wrong with it."""
        done: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._under_way is None:
            self._under_way = asyncio.create_task(self._empty())
        return await done

    async def _empty(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                answers = await self._done([item for item, _ in batch])
                for (_, done), answer in zip(batch, answers, strict=True):
                    _settle(done, answer)
        finally:
            self._under_way = None

    async def _done(self, items: Sequence[Item]) -> Sequence[Reply | Exception]:
        try:
            answers = await self._in_thread(items)
            return [answer for _, answer in zip(items, answers, strict=True)]
        except PacsAnswerError as problem:
            if len(items) == 1:
                return [problem]
            # One of them may be the reason, and must not hold up the others.
            return [answer for item in items for answer in await self._done([item])]
        except Exception as problem:  # noqa: BLE001 - raised by `add`
            return [problem] * len(items)


def _settle(done: "asyncio.Future[Reply]", answer: Reply | Exception) -> None:
    if done.done():  # whoever waited was cancelled
        return
    if isinstance(answer, Exception):
        done.set_exception(answer)
    else:
        done.set_result(answer)
