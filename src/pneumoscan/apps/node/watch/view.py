"""What the web page shows of a node: a small part of the watch."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from pneumoscan.apps.node.queue import Queue
from pneumoscan.apps.node.watch.watching import Watch, watch

_WEEKS = 26
_FRESH_SECONDS = 10.0


def view_of(
    opened: Callable[[], AbstractContextManager[Queue]], reference: Sequence[str] = ()
) -> Callable[[], dict[str, Any]]:
    """Return a function that tells how the node stands; it looks at the queue every 10 seconds at most.

    Args:
        opened: Opens the node's queue.
        reference: First and last of the reference weeks; by default the first eight.
    """
    lock, kept = threading.Lock(), [(-_FRESH_SECONDS, dict[str, Any]())]

    def look() -> dict[str, Any]:
        with lock:
            at, watched = kept[0]
            if time.monotonic() - at >= _FRESH_SECONDS:
                with opened() as queue:
                    watched = shown(watch(queue, reference=reference))
                kept[0] = time.monotonic(), watched
            return watched

    return look


def shown(watched: Watch) -> dict[str, Any]:
    """Return what the page shows, as JSON types: the last 26 weeks, and what differs in them."""
    values = watched.to_json()
    weeks = sorted({week.week for week in watched.weeks})[-_WEEKS:]
    return {
        "at": values["at"],
        "counts": values["counts"],
        "codes": values["codes"],
        "weeks": [week for week in reversed(values["weeks"]) if week["week"] in weeks],
        "differs": any(one.differs and one.week in weeks for one in watched.drift.comparisons),
        "sentences": list(watched.drift.sentences),
    }
