"""Run trials on a cluster with Ray: the same tasks and results as on this machine.

If the environment variable RAY_ADDRESS names a cluster, its machines run the trials. The folder of the study and the films
must be at the same paths on all of them. Otherwise Ray is started on this machine, on its loopback address only.
"""

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from pneumoscan.error_values import error_from, error_values
from pneumoscan.errors import PneumoscanError, importing
from pneumoscan.study.launchers import Begun
from pneumoscan.study.trial import Answer, Task


class OnRay:
    """Runs trials as tasks of Ray, each with as many CPUs as the trial has worker threads.

    Args:
        jobs: Number of trials at the same time, if Ray is started on this machine.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def map(self, tasks: Sequence[Task], begun: Begun) -> Iterator[Answer]:
        """Run the tasks, as many at the same time as the cluster allows; see `launchers.Launcher`."""
        if not tasks:
            return
        ray = _ray()
        threads = int(tasks[0].config["loop"]["worker_threads"])
        gpus = int(tasks[0].config["loop"]["device"] == "cuda")
        _start(ray, cpus=self._jobs * threads)
        try:
            remote = ray.remote(max_retries=1)(_perform).options(num_cpus=threads, num_gpus=gpus)
            left = list(tasks)
            running: dict[Any, Task] = {}
            while left or running:
                while left and len(running) < _places(ray, threads, gpus):
                    task = left.pop(0)
                    begun(task.name)
                    running[remote.remote(task.to_text())] = task
                (handle, *_), _ = ray.wait(list(running), num_returns=1)
                yield _answer(ray, handle, running.pop(handle))
        finally:
            ray.shutdown()


def _places(ray: Any, threads: int, gpus: int) -> int:
    """Return how many trials the machines of the cluster can run now; this may increase."""
    there = ray.cluster_resources()
    return max(1, int(there.get("GPU", 0)) if gpus else int(there.get("CPU", 0) // threads))


def _perform(text: str) -> str:
    """Execute a task in a worker of Ray; an error that concerns every trial is returned as text too."""
    from pneumoscan.study.trial import Task, perform

    try:
        return perform(Task.from_text(text)).to_text()
    except PneumoscanError as problem:
        return json.dumps(error_values(problem))


def _answer(ray: Any, handle: Any, task: Task) -> Answer:
    try:
        line: str = ray.get(handle)
    except ray.exceptions.RayError as problem:
        return Answer(task.name, "failed", f"{type(problem).__name__}: {str(problem).splitlines()[0]}")
    if line.startswith('{"error"'):
        raise error_from(json.loads(line))
    return Answer.from_text(line)


def _ray() -> Any:
    """Import Ray, configured so that it reports no usage and, if started here, listens to this machine only."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not os.environ.get("RAY_ADDRESS"):
        # The default on Windows and macOS; otherwise Ray listens on every address of the machine.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    with importing(otherwise="Or leave out --launcher."):
        import ray
    return ray


def _start(ray: Any, *, cpus: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
        return
    ray.init(num_cpus=cpus, include_dashboard=False, **quiet)
