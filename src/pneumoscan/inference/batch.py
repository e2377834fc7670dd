"""Read many films: rows in the order of the inputs, with several workers, in constant memory.

The workers are threads: Pillow's decoder and ONNX Runtime let go of the interpreter while they work. For 500 JPEGs of
1300×1000 and the baseline network, threads spent 5.7 ms of processor time a film, as much as one worker alone;
processes spent 6.3 ms, for each loads the libraries and the model first. On two busy cores their throughput differed by
less than the noise, and threads need the memory of one.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from pneumoscan.errors import UsageError
from pneumoscan.imaging import FilmSource
from pneumoscan.inference.bundle import Bundle
from pneumoscan.inference.rows import PredictionRow, predict_one

_MAX_DEFAULT_WORKERS = 8
_WINDOW = 4


def default_workers() -> int:
    """Return one more than the cores this process may use, at most 8.

    One more, for a thread now and then waits for the disk or the interpreter.
    """
    return min(len(os.sched_getaffinity(0)) + 1, _MAX_DEFAULT_WORKERS)


def predict_many(
    bundle: Bundle,
    sources: Iterable[FilmSource],
    *,
    workers: int | None = None,
    threshold: float | None = None,
    then: Callable[[FilmSource, PredictionRow], None] | None = None,
) -> Iterator[PredictionRow]:
    """Yield one row for every source, in their order, as soon as it and those before it are known.

    Args:
        bundle: The model, loaded with `threads=1`.
        sources: Paths, bytes, Pillow images or arrays; taken one by one, never more than `4 × workers` ahead.
        workers: Threads that decode and run the network; by default `default_workers()`.
        threshold: Cut-off in [0, 1]; by default that of the bundle's default operating point.
        then: Called with each source and its row, by the worker, before the row is yielded.

    Raises:
        UsageError: `workers` is below 1, or `threshold` is outside [0, 1].
        BundleError: The network does not run.
    """
    count = default_workers() if workers is None else workers
    cut_off = bundle.spec.threshold() if threshold is None else threshold
    if count < 1:
        raise UsageError(f"workers is {count}.", "It must be at least 1.")
    if not 0 <= cut_off <= 1:
        raise UsageError(f"threshold is {cut_off}.", "It must be from 0 to 1.")
    read = partial(_read, bundle, cut_off, then)
    return map(read, sources) if count == 1 else _in_threads(read, sources, count)


def _read(
    bundle: Bundle,
    threshold: float,
    then: Callable[[FilmSource, PredictionRow], None] | None,
    source: FilmSource,
) -> PredictionRow:
    row = predict_one(bundle, source, threshold)
    if then is not None:
        then(source, row)
    return row


def _in_threads(
    read: Callable[[FilmSource], PredictionRow], sources: Iterable[FilmSource], workers: int
) -> Iterator[PredictionRow]:
    from concurrent.futures import Future, ThreadPoolExecutor  # here, for a single film does without

    waiting: deque[Future[PredictionRow]] = deque()
    executor = ThreadPoolExecutor(workers, thread_name_prefix="film")
    try:
        for source in sources:
            waiting.append(executor.submit(read, source))
            if len(waiting) >= _WINDOW * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
