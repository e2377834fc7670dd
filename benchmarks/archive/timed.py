"""One archive in this process and its workers, on some cores; prints as JSON when each step ended. Started by `scaling`.

python -m benchmarks.archive.timed LAUNCHER CORES PART_SIZE MODEL FILMS OUT
"""

import json
import os
import sys
import time
from pathlib import Path

from pneumoscan.archive.on_ray import ShardsOnRay
from pneumoscan.archive.run import ArchiveOrder, run_archive
from pneumoscan.archive.shard import LocalWorkers
from pneumoscan.bundle.load import load_bundle


def main() -> None:
    """Run it."""
    name, cores, part_size, model, films, out = sys.argv[1:]
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: int(cores)]))
    launcher = LocalWorkers(int(cores)) if name == "local" else ShardsOnRay(int(cores), "")
    order = ArchiveOrder((films,), out, 0.5, "parquet", int(part_size))
    begun, instants = time.monotonic(), []

    def report(step: str, done: int, _total: int) -> None:
        instants.append((step, done, time.monotonic() - begun))

    outcome = run_archive(order, load_bundle(Path(model)), launcher, report)
    reading = [(done, seconds) for step, done, seconds in instants if step == "reading"]
    # From the second round of parts on: then every worker has loaded its model.
    (first, begin), (last, end) = reading[1 + int(cores)], reading[-1]
    told = {
        "listed": reading[0][1],
        "first_part": reading[1][1],
        "read": end,
        "verified": time.monotonic() - begun,
        "films_per_second": (last - first) / (end - begin),
        "parts_per_second": (len(reading) - 2 - int(cores)) / (end - begin),
        "inputs": outcome.inputs,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
