"""Films per second in training: our engine, plain PyTorch and Keras, and our share of the peak of the processor.

The baseline network (720,545 parameters) at 200×200, batch 32, Adam, no augmentation, films in memory. Each contender is
a process that is started once and warmed up. They then work in turn while the others wait.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Any

from benchmarks.record import NO_KERAS, Bar, Options, Record, finish, options_of, parser
from benchmarks.timing import in_turn, ratio
from benchmarks.workers import Worker

NAME = "training_speed"
BATCH, SIZE = 32, 200
KERAS = ("default", "jit", "bfloat16")


def multiply_adds(
    channels: Sequence[int], dense: Sequence[int], size: int, *, kernel: int = 3
) -> dict[str, int]:
    """Count the multiply-adds of one film in a network of convolution + 2×2 max-pool blocks, dense layers and a logit.

    A layer's backward pass is two products of the size of the forward one: for the weights and for its input. The first
    layer needs none for its input. Bias, ReLU, pooling and the optimizer are left out, as is usual.

    Returns:
        `forward`, `backward` and `training` (their sum).
    """
    products, before, side = [], 1, size
    for width in channels:
        products.append(side * side * kernel * kernel * before * width)
        before, side = width, (side + 1) // 2
    units = [before * side * side, *dense, 1]
    products += [a * b for a, b in pairwise(units)]
    forward = sum(products)
    backward = 2 * forward - products[0]
    return {"forward": forward, "backward": backward, "training": forward + backward}


def commands(options: Options, steps: int, also: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return the command of each contender's worker, in the order in which they take turns."""
    worker = [sys.executable, "-m", "benchmarks.speed.step_worker"]
    found = {"ours": [*worker, "ours", str(steps)], "plain PyTorch": [*worker, "plain", str(steps)]}
    found |= {f"ours {text}": [*worker, "ours", str(steps), *text.split()] for text in also}
    if options.keras_python:
        peer = [options.keras_python, "-m", "benchmarks.speed.peer_keras", "train", str(steps)]
        found |= {f"Keras {variant}": [*peer, variant] for variant in KERAS}
    return {**found, "peak": [*worker, "peak", str(steps)]}


def measure(options: Options, also: Sequence[str] = ()) -> Record:
    """Measure all contenders in turn; see the module."""
    steps, record = (4 if options.quick else 20), Record(NAME)
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(Worker(command))
            for name, command in commands(options, steps, also).items()
        }
        calls: dict[str, Callable[[], Any]] = {
            name: partial(worker.ask, steps=steps) for name, worker in workers.items()
        }
        answers = in_turn(calls, options.round_count(5))
        record.facts["workers"] = {name: worker.facts for name, worker in workers.items()}
    peaks = answers.pop("peak")
    films = {name: [steps * BATCH / answer["seconds"] for answer in found] for name, found in answers.items()}
    record.raw = {"films_per_second": films, "answers": answers, "peak_giga_multiply_adds": peaks}
    record.medians = {name: float(median(values)) for name, values in films.items()}
    summarise(record, peaks, answers, steps)
    return record


def summarise(
    record: Record,
    peaks: Sequence[Mapping[str, float]],
    answers: Mapping[str, Sequence[Mapping[str, float]]],
    steps: int,
) -> None:
    """Add ratios, share of the peak, CPU time and targets to the record."""
    rates = record.medians
    # The target refers to the faster of the two float32 ways of Keras.
    keras = max(
        (rates[f"Keras {name}"] for name in ("default", "jit") if f"Keras {name}" in rates), default=None
    )
    record.ratios = {f"ours / {name}": rates["ours"] / rate for name, rate in rates.items() if name != "ours"}
    work = multiply_adds((32,) * 4, (128,), SIZE)
    achieved = rates["ours"] * work["training"] / 1e9
    for kind in ("bfloat16", "float32"):
        peak = float(median(entry[kind] for entry in peaks))
        record.medians[f"peak {kind}, 10⁹ multiply-adds/s"] = peak
        record.ratios[f"ours / peak {kind}"] = achieved / peak
    record.facts |= {
        "multiply_adds_a_film": work,
        "ours, 10⁹ multiply-adds/s": achieved,
        "steps_a_round": steps,
    }
    record.facts["cpu_milliseconds_a_film"] = {
        name: round(1e3 * median(answer["cpu_seconds"] for answer in found) / (steps * BATCH), 3)
        for name, found in answers.items()
    }
    record.versions = {
        key: facts[key]
        for name, facts in record.facts["workers"].items()
        for key in ("keras", "tensorflow")
        if key in facts and name.startswith("Keras")
    }
    note = "" if keras else f"not measured: {NO_KERAS}"
    record.bars = [
        Bar(
            "training: ours / Keras model.fit (the faster of its float32 ways)",
            ratio(rates["ours"], keras),
            2,
            note=note,
        ),
        Bar(
            "training: ours / Keras with bfloat16",
            ratio(rates["ours"], rates.get("Keras bfloat16")),
            1.5,
            note=note,
        ),
        Bar("training: ours / plain PyTorch", ratio(rates["ours"], rates["plain PyTorch"]), 6),
    ]


def main() -> None:
    """Run the command."""
    line = parser((__doc__ or "").splitlines()[0])
    line.add_argument(
        "--also", action="append", default=[], metavar="SETTINGS", help="ours again, like loop.micro_batch=4"
    )
    arguments = line.parse_args()
    finish(NAME, partial(measure, also=arguments.also), options_of(arguments))


if __name__ == "__main__":
    main()
