"""Films a second of `pneumoscan predict DIR` beside what the cores could do if they did nothing but decode and compute."""

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import mean, median

from benchmarks.record import Bar, Options, Record, run_one
from benchmarks.speed.material import bundle, large_films, pneumoscan
from benchmarks.timing import in_turn, ratio, seconds_of
from benchmarks.workers import Worker

NAME = "batch_predict"


def bound(cores: int, *, decode: float, network: float) -> float:
    """Return the films a second of so many cores if each film costs `decode` + `network` milliseconds and no more."""
    return cores * 1e3 / (decode + network)


def steady_rate(few: int, few_seconds: float, many: int, many_seconds: float) -> float:
    """Return the films a second without what the process costs before its first film and after its last."""
    return (many - few) / (many_seconds - few_seconds)


def measure(options: Options) -> Record:
    """Time the whole command over few and many films, and decoder and network on one core, in turn."""
    many, few = (60, 20) if options.quick else (500, 100)
    folder, model = large_films(options, many), bundle(options)
    films = sorted(folder.glob("*.jpeg"))
    reader = [
        sys.executable,
        "-m",
        "benchmarks.speed.reader_worker",
        str(model),
        *map(str, films[:: max(1, many // 100)]),
    ]
    listed = "\n".join(map(str, films[:few])).encode()
    with Worker(reader, core=max(os.sched_getaffinity(0))) as worker:
        answers = in_turn(
            {
                "decode": partial(worker.ask, what="decode", films=few),
                "network": partial(worker.ask, what="network", films=few),
                "few": partial(seconds_of, pneumoscan("predict", "-", "--model", model), stdin=listed),
                "many": partial(seconds_of, pneumoscan("predict", folder, "--model", model)),
            },
            options.round_count(7),
        )
    return summary(answers, few, many, films)


def summary(answers: dict[str, list], few: int, many: int, films: Sequence[Path]) -> Record:
    """Make the record of the rounds; the bound of a round is held against the command of the same round."""
    cores = len(os.sched_getaffinity(0))
    # The mean and not the median, for every film of a batch has to be decoded, the large ones too.
    parts = {
        what: [mean(answer["milliseconds"]) for answer in answers[what]] for what in ("decode", "network")
    }
    bounds = [bound(cores, decode=d, network=n) for d, n in zip(*parts.values(), strict=True)]
    steady = [steady_rate(few, a, many, b) for a, b in zip(answers["few"], answers["many"], strict=True)]
    whole = [many / seconds for seconds in answers["many"]]
    record = Record(NAME)
    record.raw = {"milliseconds": parts, "bound": bounds, "steady": steady, "whole_command": whole}
    record.medians = {f"{what}, ms a film on one core": float(median(times)) for what, times in parts.items()}
    rates = {"bound": bounds, "steady state": steady, "whole command": whole}
    record.medians |= {f"{name}, films/s": float(median(values)) for name, values in rates.items()}
    shares = [rate / limit for rate, limit in zip(steady, bounds, strict=True)]
    record.ratios = {
        "steady state / bound": float(median(shares)),
        "whole command / bound": ratio(
            record.medians["whole command, films/s"], record.medians["bound, films/s"]
        ),
    }
    size = mean(path.stat().st_size for path in films) / 1e3
    record.facts = {
        "cores": cores,
        "films": many,
        "mean_kilobytes": round(size, 1),
        "folder": films[0].parent.name,
    }
    record.bars = [Bar("batch: steady films/s / bound of the cores", float(median(shares)), 0.8)]
    return record


if __name__ == "__main__":
    run_one(NAME, __doc__ or "", measure)
