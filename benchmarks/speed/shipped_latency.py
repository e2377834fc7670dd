"""Milliseconds of one film on one core with the model in the box: the network with all its outputs, and each step before it.

python -m benchmarks.speed.shipped_latency --out results/flagship-2
"""

import os
import time
from collections.abc import Callable
from io import BytesIO
from statistics import median

from PIL import Image

from benchmarks.record import Bar, Options, Record, run_one
from pneumoscan.data.phantom.film import draw_film
from pneumoscan.imaging import preprocess, read
from pneumoscan.inference.bundle import load_bundle
from pneumoscan.inference.pretrained import pretrained_bundle

NAME = "latency"


def measure(options: Options) -> Record:
    """Measure every step in turn, a film at a time; a round's number is its median film."""
    record, films = Record(NAME), 10 if options.quick else 100
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    bundle = load_bundle(pretrained_bundle(), threads=1)
    picture = BytesIO()
    pixels = draw_film(0, 0, label=1, size=(1000, 1300))
    Image.fromarray(pixels).save(picture, "JPEG", quality=92)
    data, film = picture.getvalue(), read(pixels)
    batch = preprocess(film, bundle.spec.preprocessing)[None, None]
    steps: dict[str, Callable[[], object]] = {
        "network with map and distance, ms": lambda: bundle.run(batch),
        "shrinking and normalising 1300×1000, ms": lambda: preprocess(film, bundle.spec.preprocessing),
        "reading and decoding a JPEG of 1300×1000, ms": lambda: read(data),
    }
    rounds = options.round_count(9)
    record.raw = {name: [_median(step, films) for _ in range(rounds)] for name, step in steps.items()}
    record.medians = {name: round(median(found), 3) for name, found in record.raw.items()}
    network = record.medians["network with map and distance, ms"]
    record.bars = [Bar("the network, one film, one core, ms", network, 8, "<")]
    record.facts = {
        "model": f"{bundle.spec.name}@{bundle.spec.files['model.onnx'][:12]}",
        "bytes": sum(path.stat().st_size for path in pretrained_bundle().iterdir()),
        "films_a_round": films,
    }
    return record


def _median(step: Callable[[], object], count: int) -> float:
    step()
    times = []
    for _ in range(count):
        started = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - started))
    return median(times)


if __name__ == "__main__":
    run_one(NAME, __doc__ or "", measure)
