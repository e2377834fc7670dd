"""Timing: contenders in turn, whole processes, and the clocks of one process.

This module uses only the standard library, because the interpreter of Keras imports it too.
"""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

try:
    import resource
except ImportError:  # Windows
    resource = None

ROOT = Path(__file__).resolve().parents[1]


def ratio(upper: float | None, lower: float | None) -> float | None:
    """Return upper / lower; None if one of them was not measured."""
    return None if upper is None or not lower else upper / lower


def in_turn(
    contenders: Mapping[str, Callable[[], Any]], rounds: int, *, pause: float = 0.1
) -> dict[str, list[Any]]:
    """Measure A B C A B C …, so that other work on the machine affects all alike.

    Args:
        contenders: Functions by name; each call is one measurement.
        rounds: Number of calls of each.
        pause: Seconds before each call, so that the threads of the previous one become idle.

    Returns:
        Results of the calls, by name.
    """
    results: dict[str, list[Any]] = {name: [] for name in contenders}
    for number in range(1, rounds + 1):
        for name, call in contenders.items():
            time.sleep(pause)
            results[name].append(call())
        print(f"  round {number} of {rounds}", file=sys.stderr, flush=True)
    return results


def medians_of(results: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the medians by name."""
    return {name: float(median(values)) for name, values in results.items()}


def seconds_of(command: Sequence[str], *, stdin: bytes | None = None) -> float:
    """Return the wall time of a process that must succeed; its output is discarded."""
    started = time.perf_counter()
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, env=quiet_environment())
    elapsed = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(
            f"{shlex.join(command)} ended with {done.returncode}: {done.stderr.decode()[-800:]}"
        )
    return elapsed


def quiet_environment(*, gpu: bool = False) -> dict[str, str]:
    """Return the environment of a measured process, which can import this package."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": "tensorflow",
        **({} if gpu else {"CUDA_VISIBLE_DEVICES": "-1"}),
    }


def _page_faults() -> int:
    return 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_minflt


class Stopwatch:
    """Wall time, CPU time and page faults since its creation."""

    def __init__(self) -> None:
        self._faults = _page_faults()
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Return `seconds` (wall), `cpu_seconds` and `page_faults` (of all threads of this process)."""
        return {
            "seconds": time.perf_counter() - self._wall,
            "cpu_seconds": time.process_time() - self._cpu,
            "page_faults": _page_faults() - self._faults,
        }
