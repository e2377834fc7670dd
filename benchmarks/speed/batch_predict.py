"""Films a second of `pneumoscan predict DIR`, by file format, beside what the cores could do if they only decoded and computed."""

import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import mean, median

from benchmarks.record import Bar, Options, Record, run_one
from benchmarks.speed.film_formats import FORMATS, films_of
from benchmarks.speed.material import bundle, pneumoscan
from benchmarks.timing import in_turn, seconds_of
from benchmarks.workers import Worker

NAME = "batch_predict"
BARRED = "JPEG"
# Films per round; JPEG 2000 takes twenty times as long as JPEG.
COUNTS = {"JPEG": 500, "PNG": 300, "DICOM": 300, "DICOM, JPEG 2000": 60}

Rounds = Mapping[str, list[dict[str, list[float]] | float]]


def bound(cores: int, *, decode: float, network: float) -> float:
    """Return the films a second of so many cores if each film costs `decode` + `network` milliseconds and no more."""
    return cores * 1e3 / (decode + network)


def steady_rate(few: int, few_seconds: float, many: int, many_seconds: float) -> float:
    """Return the films a second without what the process costs before its first film and after its last."""
    return (many - few) / (many_seconds - few_seconds)


def measure(options: Options) -> Record:
    """Time each format in turn. The first format has the bar and the most rounds."""
    record, model = Record(NAME), bundle(options)
    record.facts = {"cores": len(os.sched_getaffinity(0)), "films": {}, "mean_kilobytes": {}, "folder": {}}
    for name in FORMATS:
        many = 20 if options.quick else COUNTS[name]
        films = films_of(options, name, many)
        answers = _rounds(films, many // 5, model, options.round_count(7 if name == BARRED else 3))
        _add(record, name, answers, films)
    return record


def _rounds(films: list[Path], few: int, model: Path, rounds: int) -> Rounds:
    """Time the whole command over few and all films, and decoder and network on one core, in turn."""
    reader = [sys.executable, "-m", "benchmarks.speed.reader_worker", str(model)]
    reader += map(str, films[:: max(1, len(films) // 100)])
    listed = "\n".join(map(str, films[:few])).encode()
    with Worker(reader, core=max(os.sched_getaffinity(0))) as worker:
        return in_turn(
            {
                "decode": partial(worker.ask, what="decode", films=few),
                "network": partial(worker.ask, what="network", films=few),
                "few": partial(seconds_of, pneumoscan("predict", "-", "--model", model), stdin=listed),
                "many": partial(seconds_of, pneumoscan("predict", films[0].parent, "--model", model)),
            },
            rounds,
        )


def _add(record: Record, name: str, answers: Rounds, films: list[Path]) -> None:
    """Add the rounds of a format; the bound of a round is compared with the command of the same round."""
    cores, many = len(os.sched_getaffinity(0)), len(films)
    # The mean and not the median, because every film of a batch has to be decoded, the large ones too.
    parts = {
        what: [mean(answer["milliseconds"]) for answer in answers[what]] for what in ("decode", "network")
    }
    bounds = [bound(cores, decode=d, network=n) for d, n in zip(*parts.values(), strict=True)]
    steady = [
        steady_rate(many // 5, few, many, all_)
        for few, all_ in zip(answers["few"], answers["many"], strict=True)
    ]
    whole = [many / seconds for seconds in answers["many"]]
    record.raw[name] = {"milliseconds": parts, "bound": bounds, "steady": steady, "whole_command": whole}
    for what, times in parts.items():
        record.medians[f"{name}: {what}, ms a film on one core"] = float(median(times))
    for what, rates in (("bound", bounds), ("steady state", steady), ("whole command", whole)):
        record.medians[f"{name}: {what}, films/s"] = float(median(rates))
    share = float(median(rate / limit for rate, limit in zip(steady, bounds, strict=True)))
    record.ratios[f"{name}: steady state / bound"] = share
    record.facts["films"][name] = many
    record.facts["mean_kilobytes"][name] = round(mean(path.stat().st_size for path in films) / 1e3, 1)
    record.facts["folder"][name] = films[0].parent.name
    if name == BARRED:
        record.bars = [Bar("batch: steady films/s / bound of the cores", share, 0.8)]


if __name__ == "__main__":
    run_one(NAME, __doc__ or "", measure)
