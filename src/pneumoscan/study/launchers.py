"""Launchers, which run trials in this process, in several processes of this machine, or on a cluster.

A launcher takes tasks and yields results as they end. All call the same `trial.perform`, and exchange text with other
processes.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn, Protocol, TextIO

from pneumoscan.cluster import start_ray
from pneumoscan.error_values import error_from, error_values
from pneumoscan.errors import PneumoscanError, Terminated
from pneumoscan.study.trial import Task, TrialAnswer, perform
from pneumoscan.system import ask_self_to_end

Begun = Callable[[str], None]


class TrialLauncher(Protocol):
    """Runs trials."""

    def map(self, tasks: Sequence[Task], begun: Begun) -> Iterator[TrialAnswer]:
        """Run every task and yield the results in the order in which they end.

        Args:
            tasks: Tasks in the order in which they begin.
            begun: Called with the name of a trial when it begins, if this is known.

        Raises:
            PneumoscanError: An error that concerns every trial; running ones are stopped after a checkpoint.
        """


class OneByOne:
    """Runs one trial after the other in this process."""

    def map(self, tasks: Sequence[Task], begun: Begun) -> Iterator[TrialAnswer]:
        """Run the tasks; see `TrialLauncher`."""
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

    def map(self, tasks: Sequence[Task], begun: Begun) -> Iterator[TrialAnswer]:
        """Run the tasks; see `TrialLauncher`."""
        workers = [_Worker() for _ in range(min(self._jobs, len(tasks)))]
        free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in workers:
            free.put(worker)

        def work(task: Task) -> TrialAnswer:
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

    def ask(self, task: Task) -> TrialAnswer:
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
            return TrialAnswer.from_text(line)
        number = process.wait()
        self.close()
        if self._stopped:
            raise PneumoscanError("the study was stopped.")
        return TrialAnswer(task.name, "failed", f"its process ended with {number}")

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
                    [sys.executable, "-m", "pneumoscan.study.launchers"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    # Ctrl-C is for the process of the study, which then asks this one to end.
                    start_new_session=True,
                )
            return self._process


# A worker process: each line on stdin is a task, each line on stdout a result


def main() -> int:
    """Execute tasks until stdin closes; return the exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    # Output of libraries must not mix with the results.
    answers, sys.stdout = sys.stdout, sys.stderr
    tasks: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read_tasks, args=(tasks,), daemon=True).start()
    try:
        while (text := tasks.get()) is not None:
            _perform_line(text, answers)
    except Terminated:
        return 143
    return 0


def _perform_line(text: str, answers: TextIO) -> None:
    try:
        answer = perform(Task.from_text(text)).to_text()
    except PneumoscanError as problem:
        answer = json.dumps(error_values(problem))
    print(answer, file=answers, flush=True)


def _read_tasks(tasks: "queue.SimpleQueue[str | None]") -> None:
    for line in sys.stdin:
        tasks.put(line)
    tasks.put(None)
    # The process of the study has ended: a running trial writes a checkpoint and ends.
    ask_self_to_end()


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


# A cluster


class TrialsOnRay:
    """Runs trials as tasks of Ray, each with as many CPUs as the trial has worker threads.

    If the environment variable RAY_ADDRESS names a cluster, its machines run the trials. The folder of the study and the films
    must be at the same paths on all of them. Otherwise Ray is started on this machine.

    Args:
        jobs: Number of trials at the same time, if Ray is started on this machine.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def map(self, tasks: Sequence[Task], begun: Begun) -> Iterator[TrialAnswer]:
        """Run the tasks, as many at the same time as the cluster allows; see `TrialLauncher`."""
        if not tasks:
            return
        threads = int(tasks[0].config["loop"]["worker_threads"])
        gpus = int(tasks[0].config["loop"]["device"] == "cuda")
        ray = start_ray(os.environ.get("RAY_ADDRESS", ""), cpus=self._jobs * threads)
        try:
            remote = ray.remote(max_retries=1)(_perform_on_ray).options(num_cpus=threads, num_gpus=gpus)
            left = list(tasks)
            running: dict[Any, Task] = {}
            while left or running:
                while left and len(running) < _places(ray, threads, gpus):
                    task = left.pop(0)
                    begun(task.name)
                    running[remote.remote(task.to_text())] = task
                (handle, *_), _ = ray.wait(list(running), num_returns=1)
                yield _result(ray, handle, running.pop(handle))
        finally:
            ray.shutdown()


def _places(ray: Any, threads: int, gpus: int) -> int:
    """Return how many trials the machines of the cluster can run now; this may increase."""
    there = ray.cluster_resources()
    return max(1, int(there.get("GPU", 0)) if gpus else int(there.get("CPU", 0) // threads))


def _perform_on_ray(text: str) -> str:
    """Execute a task in a worker of Ray; an error that concerns every trial is returned as text too."""
    try:
        return perform(Task.from_text(text)).to_text()
    except PneumoscanError as problem:
        return json.dumps(error_values(problem))


def _result(ray: Any, handle: Any, task: Task) -> TrialAnswer:
    try:
        line: str = ray.get(handle)
    except ray.exceptions.RayError as problem:
        return TrialAnswer(task.name, "failed", f"{type(problem).__name__}: {str(problem).splitlines()[0]}")
    if line.startswith('{"error"'):
        raise error_from(json.loads(line))
    return TrialAnswer.from_text(line)


if __name__ == "__main__":
    sys.exit(main())
