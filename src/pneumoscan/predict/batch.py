"""Classify many films: rows in the order of the inputs, with several workers, in constant memory.

The workers are threads, because Pillow's decoder and ONNX Runtime release the interpreter lock. For 500 JPEGs of 1300×1000
and the baseline network, threads needed 5.7 ms of processor time per film, as much as a single worker. Processes needed
6.3 ms, because each loads the libraries and the model. On two busy cores the throughput differed by less than the noise,
and threads need the memory of one process.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from pneumoscan.bundle.load import Bundle
from pneumoscan.classifier import predict_one
from pneumoscan.errors import UsageError
from pneumoscan.imaging import FilmSource
from pneumoscan.rows import PredictionRow
from pneumoscan.system import Answer, Item, allowed_cores, in_threads

_MAX_DEFAULT_WORKERS = 8
_WINDOW = 4


def default_workers() -> int:
    """Return one more than the number of usable cores, at most 8.

    One more, because a thread sometimes waits for the disk or the interpreter.
    """
    return min(allowed_cores() + 1, _MAX_DEFAULT_WORKERS)


def predict_many(
    bundle: Bundle,
    sources: Iterable[FilmSource],
    *,
    workers: int | None = None,
    threshold: float | None = None,
    then: Callable[[FilmSource, PredictionRow], None] | None = None,
    regions: bool = False,
) -> Iterator[PredictionRow]:
    """Yield one row for every source in order, as soon as it and all rows before it are ready.

    Args:
        bundle: The model, loaded with `threads=1`.
        sources: Paths, bytes, Pillow images or arrays; taken one by one, at most `4 × workers` ahead.
        workers: Threads that decode and run the network; by default `default_workers()`.
        threshold: Threshold in [0, 1]; by default that of the default operating point.
        then: Called by the worker with each source and its row, before the row is yielded.
        regions: Whether the rows have the regions of the films.

    Raises:
        UsageError: `workers` is below 1, or `threshold` is outside [0, 1].
        BundleError: The network fails.
    """
    count = default_workers() if workers is None else workers
    cut_off = bundle.spec.threshold() if threshold is None else threshold
    if count < 1:
        raise UsageError(f"workers is {count}.", "It must be at least 1.")
    if not 0 <= cut_off <= 1:
        raise UsageError(f"threshold is {cut_off}.", "It must be from 0 to 1.")
    read = partial(_read, bundle, cut_off, then, regions)
    return map(read, sources) if count == 1 else in_threads(read, sources, count, ahead=_WINDOW * count)


def answers_of(
    work: Callable[[Item], Answer],
    items: Sequence[Item],
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Answer]:
    """Return the results of `work` for all items in order, computed in several threads.

    Args:
        work: Called in any thread. Its exceptions are raised here.
        items: The arguments of the calls.
        workers: Number of threads; by default `default_workers()`.
        progress: Called with the number of finished items and of all items.

    Raises:
        UsageError: `workers` is below 1.
    """
    count = default_workers() if workers is None else workers
    if count < 1:
        raise UsageError(f"workers is {count}.", "It must be at least 1.")
    answers: list[Answer] = []
    for answer in in_threads(work, items, count, ahead=_WINDOW * count):
        answers.append(answer)
        if progress is not None:
            progress(len(answers), len(items))
    return answers


def _read(
    bundle: Bundle,
    threshold: float,
    then: Callable[[FilmSource, PredictionRow], None] | None,
    regions: bool,
    source: FilmSource,
) -> PredictionRow:
    row = predict_one(bundle, source, threshold, regions=regions)
    if then is not None:
        then(source, row)
    return row
