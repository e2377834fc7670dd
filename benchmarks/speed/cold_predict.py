"""Time of a whole process that classifies one film, with files in the page cache, and of a script with Keras."""

import sys
from collections.abc import Callable
from functools import partial

from benchmarks.record import NO_KERAS, Bar, Options, Record, run_one
from benchmarks.speed.material import bundle, keras_file, large_films, pneumoscan
from benchmarks.timing import in_turn, medians_of, ratio, seconds_of

NAME = "cold_predict"
FLOOR = "import numpy, PIL.Image, onnxruntime, click"


def measure(options: Options) -> Record:
    """Time new processes in turn; the first of each fills the page cache and is not counted."""
    record = Record(NAME)
    model, film = bundle(options), large_films(options, 4) / "film-0000.jpeg"
    processes = {
        "predict": pneumoscan("predict", film, "--model", model),
        "help": pneumoscan("--help"),
        "imports alone": [sys.executable, "-c", FLOOR],
        "interpreter alone": [sys.executable, "-c", "pass"],
    }
    if options.keras_python:
        script = [options.keras_python, "-m", "benchmarks.speed.peer_keras", "predict"]
        processes["Keras script"] = [*script, str(keras_file(options)), str(film)]
    calls: dict[str, Callable[[], float]] = {
        name: partial(seconds_of, command) for name, command in processes.items()
    }
    for call in calls.values():
        call()
    record.raw = {"seconds": in_turn(calls, options.round_count(15))}
    record.medians = medians_of(record.raw["seconds"])
    record.facts["imports"] = FLOOR
    judge(record)
    return record


def judge(record: Record) -> None:
    """Add ratios and targets."""
    seconds = record.medians
    peer = ratio(seconds.get("Keras script"), seconds["predict"])
    record.ratios = {
        "Keras script / predict": peer,
        "predict / imports alone": ratio(seconds["predict"], seconds["imports alone"]),
    }
    note = "" if peer else f"not measured: {NO_KERAS}"
    record.bars = [
        Bar("cold: pneumoscan predict ONE, s", seconds["predict"], 0.4, "<"),
        Bar("cold: Keras script / pneumoscan predict", peer, 8, note=note),
        Bar("cold: pneumoscan --help, s", seconds["help"], 0.3, "<"),
    ]


if __name__ == "__main__":
    run_one(NAME, __doc__ or "", measure)
