"""One archive in this process and its workers, on some cores; prints as JSON when each step ended. Started by `scaling`.

python -m benchmarks.archive.timed LAUNCHER CORES PART_SIZE MODEL FILMS OUT
"""

import json
import os
import sys
import time
from pathlib import Path

from benchmarks.archive import scene
from pneumoscan.archive.local import Here
from pneumoscan.archive.on_ray import OnRay
from pneumoscan.archive.run import Order, run_archive
from pneumoscan.inference.bundle import load_bundle


def main() -> None:
    """Run it."""
    name, cores, part_size, model, films, out = sys.argv[1:]
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: int(cores)]))
    launcher = Here(int(cores)) if name == "local" else OnRay(int(cores), "")
    order = Order((films,), out, 0.5, "parquet", int(part_size))
    begun, instants = time.monotonic(), []
    used: list[dict[str, float]] = []

    def report(step: str, done: int, total: int) -> None:
        # From the second round of parts on: then every worker has loaded its model.
        if step == "reading" and (len(instants) == 1 + int(cores) or done == total):
            used.append(_cpu_seconds())
        instants.append((step, done, time.monotonic() - begun))

    outcome = run_archive(order, load_bundle(Path(model)), launcher, report)
    reading = [(done, seconds) for step, done, seconds in instants if step == "reading"]
    (first, begin), (last, end) = reading[1 + int(cores)], reading[-1]
    told = {
        "listed": reading[0][1],
        "first_part": reading[1][1],
        "read": end,
        "verified": time.monotonic() - begun,
        "films_per_second": (last - first) / (end - begin),
        "parts_per_second": (len(reading) - 2 - int(cores)) / (end - begin),
        "cpu_milliseconds_per_film": {
            role: 1000 * (used[-1][role] - used[0].get(role, 0.0)) / (last - first) for role in used[-1]
        },
        "inputs": outcome.inputs,
    }
    print(json.dumps(told))


def _cpu_seconds() -> dict[str, float]:
    """Return the seconds of processor time of this process and its descendants so far, by role."""
    found: dict[str, float] = {}
    for role, processes in scene.processes(os.getpid()).items():
        for process in processes:
            times = process.cpu_times()
            found[role or "other"] = found.get(role or "other", 0.0) + times.user + times.system
    return found


if __name__ == "__main__":
    main()
