"""Worker of network_latency and batch_predict, on one core: `BUNDLE [FILM …]`; milliseconds of the network and of decoding."""

import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.workers import Wire
from pneumoscan.bundle.load import load_bundle


def timed(work: Callable[[int], object], count: int) -> list[float]:
    """Return the milliseconds of `count` calls, each with its number."""
    times = []
    for number in range(count):
        started = time.perf_counter()
        work(number)
        times.append(1e3 * (time.perf_counter() - started))
    return times


def decode(data: bytes) -> np.ndarray:
    """Decode a file in memory to its pixels, with Pillow, pydicom or imagecodecs and nothing else."""
    if data[128:132] != b"DICM":
        return np.asarray(Image.open(BytesIO(data)).convert("L"))
    from pydicom import dcmread  # here, because most runs do not need it
    from pydicom.encaps import generate_frames

    dataset = dcmread(BytesIO(data))
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return dataset.pixel_array
    import imagecodecs

    return imagecodecs.jpeg2k_decode(
        next(generate_frames(dataset.PixelData, number_of_frames=1)), numthreads=1
    )


def main() -> None:
    """Serve `{"what": "network" | "decode", "films": n}`."""
    wire = Wire()
    loaded = load_bundle(Path(sys.argv[1]), threads=1)
    films = [Path(name).read_bytes() for name in sys.argv[2:]]
    size = loaded.spec.preprocessing.size
    batch = np.random.default_rng(0).random((1, 1, size, size), np.float32)
    ways: dict[str, Callable[[int], object]] = {
        "network": lambda _number: loaded.session.run(["logit"], {"film": batch}),
        "decode": lambda number: decode(films[number % len(films)]),
    }
    timed(ways["network"], 20)
    wire.send(films=len(films))
    for request in wire.requests():
        wire.send(milliseconds=timed(ways[request["what"]], request["films"]))


if __name__ == "__main__":
    main()
