"""Time of the network for one film on one core: our bundle and Keras, both in warm processes."""

import os
import sys
from contextlib import ExitStack
from functools import partial
from statistics import median

from benchmarks.record import NO_KERAS, Bar, Options, Record, run_one
from benchmarks.speed.material import bundle, keras_file
from benchmarks.timing import in_turn, medians_of, ratio
from benchmarks.workers import Worker

NAME = "network_latency"


def measure(options: Options) -> Record:
    """Measure in turn on the same core; the result of a round is its median."""
    record, films = Record(NAME), 20 if options.quick else 200
    core = max(os.sched_getaffinity(0))
    with ExitStack() as stack:
        ours = [sys.executable, "-m", "benchmarks.speed.reader_worker", str(bundle(options))]
        calls = {
            "ours": partial(stack.enter_context(Worker(ours, core=core)).ask, what="network", films=films)
        }
        if options.keras_python:
            peer = [
                options.keras_python,
                "-m",
                "benchmarks.speed.peer_keras",
                "latency",
                str(keras_file(options)),
            ]
            worker = stack.enter_context(Worker(peer, core=core))
            record.versions = worker.facts
            calls["Keras model.predict"] = partial(worker.ask, way="predict", films=films // 4)
            calls["Keras model(x)"] = partial(worker.ask, way="call", films=films // 4)
        answers = in_turn(calls, options.round_count(7))
    record.raw = {
        "milliseconds": {
            name: [median(answer["milliseconds"]) for answer in found] for name, found in answers.items()
        }
    }
    record.medians = {f"{name}, ms": value for name, value in medians_of(record.raw["milliseconds"]).items()}
    record.facts["films_a_round"] = films
    judge(record)
    return record


def judge(record: Record) -> None:
    """Add ratios and the target."""
    ours, peer = record.medians["ours, ms"], record.medians.get("Keras model.predict, ms")
    record.ratios = {
        "Keras model.predict / ours": ratio(peer, ours),
        "Keras model(x) / ours": ratio(record.medians.get("Keras model(x), ms"), ours),
    }
    note = "" if peer else f"not measured: {NO_KERAS}"
    record.bars = [
        Bar("latency: Keras model.predict / ours, one film, one core", ratio(peer, ours), 10, note=note)
    ]


if __name__ == "__main__":
    run_one(NAME, __doc__ or "", measure)
