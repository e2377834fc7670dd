"""The node's figures in Prometheus' text format: from the queue, at the moment they are asked for.

No label has a value that came from outside: states, codes and labels are pneumoscan's own words.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pneumoscan.classifier import NOT_A_CHEST_FILM
from pneumoscan.errors import EnvironmentProblemError
from pneumoscan.node.desk import VerdictBook, counting
from pneumoscan.node.queue import WAITING, Job, Queue
from pneumoscan.node.settings import Config
from pneumoscan.node.watch import watched
from pneumoscan.verdicts import AGREE, CANNOT_SAY, DISAGREE

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

_DAY = 86_400.0
_QUANTILES = (0.5, 0.95)


class NodeCollector(Collector):
    """The figures of a queue."""

    def __init__(self, queue: Queue, book: VerdictBook | None = None) -> None:
        self._queue, self._book = queue, book

    def collect(self) -> Iterable[Metric]:
        """Return the figures as they are now."""
        queue, now = self._queue, self._queue.now()
        states = GaugeMetricFamily(
            "pneumoscan_node_objects", "Objects in each state; their sum is all.", labels=["state"]
        )
        for state, count in queue.counts().items():
            states.add_metric([str(state)], count)
        codes = GaugeMetricFamily(
            "pneumoscan_node_codes", "Objects by state and code.", labels=["state", "code"]
        )
        for (state, code), count in queue.codes().items():
            if code:
                codes.add_metric([str(state), code], count)
        oldest = next(queue.jobs(WAITING, limit=1), None)
        waiting = 0.0 if oldest is None else max(0.0, now - oldest.found_at)
        yield from (states, codes)
        yield GaugeMetricFamily(
            "pneumoscan_node_oldest_waiting_seconds", "Since the oldest was found.", value=waiting
        )
        if self._book is not None:
            yield _verdicts(self._book)
        yield from _of_a_day([job for job in watched(queue.jobs(since=now - _DAY)) if job.label])


def _verdicts(book: VerdictBook) -> Metric:
    family = GaugeMetricFamily(
        "pneumoscan_node_verdicts", "Verdicts of readers that count.", labels=["verdict"]
    )
    said = Counter(one.said.verdict for one in counting(book.all()))
    for word in (AGREE, DISAGREE, CANNOT_SAY):
        family.add_metric([word], said[word])
    return family


def _of_a_day(read: list[Job]) -> Iterable[Metric]:
    """Return labels, seconds and scores of the objects that were found within a day and read."""
    labels = GaugeMetricFamily("pneumoscan_node_day_labels", "Films of 24 hours by label.", labels=["label"])
    for label, count in sorted(Counter(job.label for job in read).items()):
        labels.add_metric([label], count)
    seconds = [job.done_at - job.found_at for job in read if job.done_at is not None]
    scores = [
        job.probability for job in read if job.probability is not None and job.label != NOT_A_CHEST_FILM
    ]
    yield labels
    yield _quantiles("pneumoscan_node_day_seconds", "From arrival to the end, of 24 hours.", seconds)
    yield _quantiles("pneumoscan_node_day_scores", "Probability of pneumonia, of 24 hours.", scores)


def _quantiles(name: str, description: str, values: list[float]) -> Metric:
    family = GaugeMetricFamily(name, description, labels=["quantile"])
    for at, value in zip(_QUANTILES, np.quantile(values, _QUANTILES), strict=True) if values else ():
        family.add_metric([str(at)], float(value))
    return family


def metrics_page(queue: Queue, book: VerdictBook | None = None) -> bytes:
    """Return the text that Prometheus reads, or that a file for its node exporter holds."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(NodeCollector(queue, book))
    return generate_latest(registry)


@contextmanager
def served_metrics(queue: Queue, config: Config) -> "Iterator[WSGIServer]":
    """Answer Prometheus at `/metrics` from a thread, for the length of a block.

    Raises:
        EnvironmentProblemError: The address is in use, or the certificate cannot be read.
    """
    from prometheus_client import start_http_server

    watch = config.watch
    certificate, key = (config.path(name) for name in (watch.metrics_certificate, watch.metrics_key))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(NodeCollector(queue, VerdictBook(config)))
    try:
        server, thread = start_http_server(
            watch.metrics_port,
            watch.metrics_host,
            registry,
            certfile=None if certificate is None else str(certificate),
            keyfile=None if key is None else str(key),
        )
    except OSError as problem:  # ssl.SSLError is one
        raise EnvironmentProblemError(
            f"metrics cannot be served on {watch.metrics_host}, port {watch.metrics_port}: {problem.strerror}.",
            "See watch.metrics_port, and that certificate and key can be read.",
        ) from None
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
