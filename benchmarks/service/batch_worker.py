"""A process that classifies films from files like the batch command, on request: `batch_worker.py FILM…`."""

import sys
import time
from itertools import cycle, islice

from benchmarks.workers import Wire
from pneumoscan.bundle.contents import pretrained_bundle
from pneumoscan.bundle.load import load_bundle
from pneumoscan.predict.batch import default_workers, predict_many


def main() -> None:
    """Warm up, then answer each `films` with the rate and the CPU time."""
    wire, paths = Wire(), sys.argv[1:]
    bundle = load_bundle(pretrained_bundle(), threads=1)
    list(predict_many(bundle, paths))
    wire.send(workers=default_workers())
    for request in wire.requests():
        began, cpu = time.perf_counter(), time.process_time()
        for row in predict_many(bundle, islice(cycle(paths), request["films"])):
            # The command writes each row.
            row.to_line("csv")
        took, used = time.perf_counter() - began, time.process_time() - cpu
        wire.send(rate=request["films"] / took, cpu_ms_a_film=1e3 * used / request["films"])


if __name__ == "__main__":
    main()
