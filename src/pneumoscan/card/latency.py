"""Milliseconds of one film on one thread: the network with all its outputs, and each step before it."""

import time
from collections.abc import Callable
from io import BytesIO
from statistics import median
from typing import Any

from PIL import Image

from pneumoscan.bundle.load import Bundle
from pneumoscan.imaging import preprocess, read
from pneumoscan.phantom.rendering import draw_film

ROUNDS, FILMS = 9, 100


def measure(bundle: Bundle, *, rounds: int = ROUNDS, films: int = FILMS) -> dict[str, Any]:
    """Measure each step, one film at a time; the result of a round is its median.

    Args:
        bundle: A bundle, loaded with one thread.
        rounds: Number of rounds for each step.
        films: Number of films per round.
    """
    pixels, picture = draw_film(0, 0, label=1, size=(1000, 1300)), BytesIO()
    Image.fromarray(pixels).save(picture, "JPEG", quality=92)
    data, film = picture.getvalue(), read(pixels)
    batch = preprocess(film, bundle.spec.preprocessing)[None, None]
    steps: dict[str, Callable[[], object]] = {
        "network with all its outputs, ms": lambda: bundle.run(batch),
        "shrinking and normalising 1300×1000, ms": lambda: preprocess(film, bundle.spec.preprocessing),
        "reading and decoding a JPEG of 1300×1000, ms": lambda: read(data),
    }
    raw = {name: [_median(step, films) for _ in range(rounds)] for name, step in steps.items()}
    return {
        "medians": {name: round(median(found), 3) for name, found in raw.items()},
        "raw": raw,
        "films_a_round": films,
    }


def _median(step: Callable[[], object], count: int) -> float:
    step()
    times = []
    for _ in range(count):
        started = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - started))
    return median(times)
