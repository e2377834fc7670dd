"""Launchers, which run trials in this process, in several processes of this machine, or on a cluster.

A launcher takes tasks and yields results as they end. All call the same `trial.perform`, and exchange text with other
processes.
"""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from typing import Protocol

from pneumoscan.error_values import error_from
from pneumoscan.errors import PneumoscanError
from pneumoscan.study.trial import Answer, Task, perform

Begun = Callable[[str], None]


class Launcher(Protocol):
    """Runs trials."""

    def map(self, tasks: Sequence[Task], begun: Begun) -> Iterator[Answer]:
        """Run every task and yield the results in the order in which they end.

        Args:
            tasks: Tasks in the order in which they begin.
            begun: Called with the name of a trial when it begins, if this is known.

        Raises:
            PneumoscanError: An error that concerns every trial; running ones are stopped after a checkpoint.
        """


class Here:
    """Runs one trial after the other in this process."""

    def map(self, tasks: Sequence[Task], begun: Begun) -> Iterator[Answer]:
        """Run the tasks; see `Launcher`."""
        for task in tasks:
            begun(task.name)
            yield perform(task)


class Processes:
    """Runs trials in several processes of this machine, each with one trial at a time.

    Args:
        jobs: Number of processes; each trial uses the worker threads of its configuration.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def map(self, tasks: Sequence[Task], begun: Begun) -> Iterator[Answer]:
        """Run the tasks; see `Launcher`."""
        workers = [_Worker() for _ in range(min(self._jobs, len(tasks)))]
        free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in workers:
            free.put(worker)

        def work(task: Task) -> Answer:
            worker = free.get()
            try:
                begun(task.name)
                return worker.ask(task)
            finally:
                free.put(worker)

        pool = ThreadPoolExecutor(max(1, len(workers)), "trial")
        try:
            for done in as_completed([pool.submit(work, task) for task in tasks]):
                yield done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.stop()
            for worker in workers:
                worker.wait()
            pool.shutdown()
            for worker in workers:
                worker.close()


class _Worker:
    """A process that executes the tasks on its stdin and ends with its parent."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def ask(self, task: Task) -> Answer:
        """Send a task and wait for its result; if the process dies, only its trial fails."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(task.to_text() + "\n")
            process.stdin.flush()
        line = process.stdout.readline()
        if line.startswith('{"error"'):
            raise error_from(json.loads(line))
        if line:
            return Answer.from_text(line)
        number = process.wait()
        self.close()
        if self._stopped:
            raise PneumoscanError("the study was stopped.")
        return Answer(task.name, "failed", f"its process ended with {number}")

    def stop(self) -> None:
        """Ask the process to end after a checkpoint; no further trial begins."""
        with self._lock:
            self._stopped = True
        if self._process is not None:
            self._process.terminate()

    def wait(self) -> None:
        """Wait for the process to end; kill it if it hangs."""
        if self._process is None:
            return
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Close the pipes of a process that has ended."""
        if self._process is None:
            return
        for pipe in (self._process.stdin, self._process.stdout):
            # Data for a process that died cannot be flushed.
            with suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()

    def _running(self) -> subprocess.Popen[str]:
        with self._lock:
            if self._stopped:
                raise PneumoscanError("the study was stopped.")
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "pneumoscan.study.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    # Ctrl-C is for the process of the study, which then asks this one to end.
                    start_new_session=True,
                )
            return self._process
