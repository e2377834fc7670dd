"""All that is watched of a node, in one value: how it stands, its weeks, and what has changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pneumoscan.apps.node.queue import Queue, State
from pneumoscan.apps.node.watch.drift import Drift, drift_of
from pneumoscan.apps.node.watch.weeks import WeekFigures, figures_of, grouped, name_of_week


@dataclass(frozen=True)
class Watch:
    """What is watched.

    Attributes:
        at: When it was looked, ISO 8601 in UTC.
        counts: Objects in each state; their sum is all that was found.
        codes: Objects by state and code, of those that have a code.
        weeks: Figures of each week, of all devices (device empty) and of each; oldest first.
        drift: What has changed since the reference weeks.
    """

    at: str
    counts: dict[State, int]
    codes: dict[tuple[State, str], int]
    weeks: tuple[WeekFigures, ...]
    drift: Drift

    def to_json(self) -> dict[str, Any]:
        """Return the JSON types."""
        return {
            "at": self.at,
            "counts": {str(state): count for state, count in self.counts.items()},
            "codes": [
                {"state": str(state), "code": code, "count": n} for (state, code), n in self.codes.items()
            ],
            "weeks": [week.to_json() for week in self.weeks],
            "drift": self.drift.to_json(),
        }


def watch(queue: Queue, *, reference: Sequence[str] = ()) -> Watch:
    """Look at all rows of a queue.

    Args:
        queue: Of the node.
        reference: First and last of the reference weeks; by default the first eight that have objects.

    Raises:
        UsageError: The reference is no pair of weeks in order.
    """
    now = datetime.fromtimestamp(queue.now(), UTC)
    jobs = list(queue.jobs())
    return Watch(
        at=now.isoformat(timespec="seconds"),
        counts=queue.counts(),
        codes={pair: n for pair, n in queue.codes().items() if pair[1]},
        weeks=tuple(figures_of(grouped(jobs))),
        drift=drift_of(jobs, this_week=name_of_week(now.date()), reference=reference),
    )
