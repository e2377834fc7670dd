"""The running node: finding, receiving and working in one process, until a signal ends it."""

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING

from pneumoscan.errors import EnvironmentProblemError, LockedError, PneumoscanError, importing
from pneumoscan.files import locked
from pneumoscan.logs import logged
from pneumoscan.node.audit import Audit
from pneumoscan.node.config import check_roles
from pneumoscan.node.find import find
from pneumoscan.node.pacs import Pacs
from pneumoscan.node.queue import WAITING, Queue, State, open_queue
from pneumoscan.node.settings import Config
from pneumoscan.node.spool import Spool
from pneumoscan.node.status import started_mode

if TYPE_CHECKING:
    from pneumoscan.node.receive import Receiver

log = logging.getLogger("pneumoscan.node")
DRAIN = "drain"
_LOOK_SECONDS = 0.5
_GRACE_SECONDS = 20.0
_RECENT_BYTES = 64 << 20


def run(config: Config, roles: Sequence[str] = ()) -> None:
    """Run until SIGTERM or SIGINT, or until the node was drained.

    Args:
        config: The settings.
        roles: Some of `find`, `receive`, `work`; by default those of the settings.

    Raises:
        ConfigError: A role is unknown, or a setting is missing.
        LockedError: Another process does the same for the same folder.
        BundleError: The model does not load.
        EnvironmentProblemError, DataDamagedError: The queue or the spool cannot be used.
    """
    chosen = tuple(roles or config.roles)
    check_roles(chosen)
    with ExitStack() as stack:
        for role in chosen:
            stack.enter_context(
                locked(config.data / f"{role}.lock", what=f"the role {role} of {config.data}")
            )
        stack.enter_context(logged(log, _stderr()))
        recent = _RECENT_BYTES if "work" in chosen else 0
        spool = Spool(config.spool, min_free=config.node.min_free_mb << 20, recent=recent)
        queue = open_queue(config.data, config.queue.postgres)
        stack.callback(queue.close)
        if config.watch.metrics_port and "work" in chosen:
            stack.enter_context(_metrics(config, queue))
        audit = Audit(config.data / "audit.jsonl")
        pacs = stack.enter_context(Pacs(config))
        queue.set_mark(DRAIN, "")
        queue.set_mark(started_mode(config), config.node.mode)
        audit.write("start", roles=list(chosen), mode=config.node.mode)
        log.info("node %s: %s, mode %s", config.name, ", ".join(chosen), config.node.mode)
        try:
            asyncio.run(_Node(config, queue, spool, audit, pacs, chosen).run())
        finally:
            audit.write("stop")


def _metrics(config: Config, queue: Queue) -> AbstractContextManager[object]:
    with importing("node"):
        from pneumoscan.node.watch.prometheus import served_metrics
    return served_metrics(queue, config)


class _Node:
    """What runs at once in one process."""

    def __init__(
        self, config: Config, queue: Queue, spool: Spool, audit: Audit, pacs: Pacs, roles: Sequence[str]
    ) -> None:
        self._config, self._queue, self._spool, self._audit = config, queue, spool, audit
        self._pacs, self._roles = pacs, roles
        self._threads_stop, self._pushes_stop = threading.Event(), threading.Event()
        self._problem: PneumoscanError | None = None

    async def run(self) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        _stop_at_signals(loop, stop)
        pushes = self._pushes() if "work" in self._roles else []
        receiver = self._start_receiver() if "receive" in self._roles else None
        threads = []
        if "find" in self._roles:
            look = partial(find, self._pacs, self._queue, self._config, self._audit, self._threads_stop)
            threads.append(self._started(look, "find", loop, stop))
        threads += [self._started(push, "push", loop, stop) for push in pushes]
        watcher = asyncio.create_task(self._watch_for_drain(stop, receiver))
        try:
            await (self._work(stop) if "work" in self._roles else stop.wait())
        finally:
            stop.set()
            self._threads_stop.set()
            self._pushes_stop.set()
            watcher.cancel()
            if receiver is not None:
                await asyncio.to_thread(receiver.close)
            for thread in threads:
                await asyncio.to_thread(thread.join, _GRACE_SECONDS)
        if self._problem is not None:
            raise self._problem

    def _start_receiver(self) -> "Receiver":
        from pneumoscan.node.receive import Receiver

        receiver = Receiver(self._config, self._queue, self._spool, self._audit)
        log.info("receiving on %s, port %d", self._config.receive.host, receiver.port)
        return receiver

    def _pushes(self) -> list[Callable[[], None]]:
        """Return for each kind of message what pushes it until the threads are to stop."""
        from pneumoscan.node import push

        return [
            partial(
                push.push_messages,
                kind,
                push.sender_of(kind, self._config),
                self._queue,
                self._config,
                self._audit,
                self._pushes_stop,
            )
            for kind in self._config.pushes
        ]

    def _started(
        self, work: Callable[[], None], name: str, loop: asyncio.AbstractEventLoop, stop: asyncio.Event
    ) -> threading.Thread:
        """Start a thread; what ends it ends the node."""

        def run() -> None:
            try:
                work()
            except PneumoscanError as problem:
                self._problem = problem
                loop.call_soon_threadsafe(stop.set)

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread

    async def _work(self, stop: asyncio.Event) -> None:
        from pneumoscan.node import reader
        from pneumoscan.node.reader import load_model, writer_of
        from pneumoscan.node.steps import Tools
        from pneumoscan.node.work import Work
        from pneumoscan.workers.pool import FilmPool, Limits

        node = self._config.node
        bundle = await asyncio.to_thread(load_model, self._config)
        writer = writer_of(self._config, bundle)
        model = bundle.path
        del bundle
        await asyncio.to_thread(self._free_claims)
        limits = Limits(seconds=node.film_seconds, memory_mb=node.film_memory_mb)
        pool = FilmPool(
            model, workers=node.workers, waiting=4 * node.workers, limits=limits, command=reader.COMMAND
        )
        await pool.start()
        try:
            tools = Tools(self._config, self._queue, self._pacs, self._spool, pool, writer)
            await Work(tools, self._audit).run(stop)
        finally:
            await pool.stop(_GRACE_SECONDS)

    def _free_claims(self) -> None:
        """Free what this node's last process had claimed, and remove files that belong to no row.

        Its lock says that it has ended.
        """
        freed = self._queue.release(self._config.name)
        # A receiver in another process has files whose rows are not committed yet.
        with suppress(LockedError), ExitStack() as stack:
            if "receive" not in self._roles:
                stack.enter_context(locked(self._config.data / "receive.lock"))
            states = (*WAITING, State.PARKED)
            self._spool.clean(
                {job.spool for job in self._queue.jobs(states) if job.host == self._config.name}
            )
        if freed:
            log.info("%d films go on where they were", freed)

    async def _watch_for_drain(self, stop: asyncio.Event, receiver: "Receiver | None") -> None:
        """Stop when the node was drained: nothing more comes in, and what waits is brought to its end."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            with suppress(EnvironmentProblemError):
                if await asyncio.to_thread(self._queue.mark, DRAIN) != "yes":
                    continue
                self._threads_stop.set()
                if receiver is not None:
                    receiver.paused = True
                counts = await asyncio.to_thread(self._queue.counts)
                pushes = await asyncio.to_thread(self._queue.pushes.waiting, self._config.pushes)
                if not pushes and not any(counts[state] for state in WAITING):
                    log.info("drained")
                    stop.set()


def _stop_at_signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:
            # Windows: no handler of the loop, but one of the process that wakes it.
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))


def _stderr() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    return handler
