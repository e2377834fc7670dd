"""What the node has read, watched: is it quick enough, and are the films still like those of the first weeks?

Here are the counts by week and device; `drift` tests and says whether weeks differ from the reference weeks, for `node watch` and the web
page; `prometheus` is for Prometheus, `agreement` for the hospital's own statistics. All of it reads the queue and writes nothing.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from pneumoscan.classifier import NOT_A_CHEST_FILM, UNSURE
from pneumoscan.node.queue import Job, State

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
ALL_DEVICES = ""


@dataclass(frozen=True)
class WeekFigures:
    """One week, of one device or of all.

    Attributes:
        week: ISO 8601, such as `2026-W09`.
        device: Manufacturer and model; empty for all devices together.
        failed: Those that were parked, or were in conflict.
        score_quantiles: Of the probability at `QUANTILES`, of films that are chest films; None if there are none.
        seconds_median: From arrival to the end, of what was read; None if nothing was.
        seconds_95: The same for the slowest twentieth.
    """

    week: str
    device: str
    found: int
    read: int
    refused: int
    failed: int
    waiting: int
    labels: dict[str, int]
    score_quantiles: tuple[float, ...] | None
    seconds_median: float | None
    seconds_95: float | None

    @property
    def unsure_share(self) -> float | None:
        """Share of UNSURE among what was read."""
        return self.labels.get(UNSURE, 0) / self.read if self.read else None

    @property
    def not_a_chest_film_share(self) -> float | None:
        """Share of NOT_A_CHEST_FILM among what was read."""
        return self.labels.get(NOT_A_CHEST_FILM, 0) / self.read if self.read else None

    @property
    def refused_share(self) -> float | None:
        """Share of refusals among what was found."""
        return self.refused / self.found if self.found else None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON types."""
        shares = ("unsure_share", "not_a_chest_film_share", "refused_share")
        return asdict(self) | {name: getattr(self, name) for name in shares}


@dataclass
class Group:
    """The jobs of one week and device, in the order they were found."""

    jobs: list[Job] = field(default_factory=list)

    def scores(self) -> list[float]:
        """Return the probabilities of films that are chest films."""
        return [
            job.probability
            for job in self.jobs
            if job.probability is not None and job.label != NOT_A_CHEST_FILM
        ]

    def count(self, *states: State) -> int:
        """Return how many are in one of these states."""
        return sum(job.state in states for job in self.jobs)

    def labelled(self, label: str) -> int:
        """Return how many have a label."""
        return sum(job.label == label for job in self.jobs)

    def read(self) -> int:
        """Return how many have any label."""
        return sum(bool(job.label) for job in self.jobs)


def week_of(job: Job) -> str:
    """Return the ISO week of the study's date, or of the arrival where the header tells no date."""
    try:
        day = datetime.strptime(job.study_date, "%Y%m%d").date()
    except ValueError:
        day = datetime.fromtimestamp(job.found_at, UTC).date()
    return name_of_week(day)


def name_of_week(day: date) -> str:
    """Return the name of a day's ISO week, such as `2026-W09`; names sort as weeks do."""
    year, week, _ = day.isocalendar()
    return f"{year:04d}-W{week:02d}"


def watched(jobs: Iterable[Job]) -> Iterable[Job]:
    """Return first readings of objects alone: not those by a later model, what came twice with other pixels, or what rules leave out."""
    return (job for job in jobs if not (job.reading or job.variant or job.state is State.SKIPPED))


def grouped(jobs: Iterable[Job]) -> dict[tuple[str, str], Group]:
    """Group watched jobs by week and device, and by week alone (`ALL_DEVICES`), sorted by week and device."""
    groups: dict[tuple[str, str], Group] = defaultdict(Group)
    for job in watched(jobs):
        week = week_of(job)
        groups[week, ALL_DEVICES].jobs.append(job)
        groups[week, job.device or "not named"].jobs.append(job)
    return dict(sorted(groups.items()))


def figures_of(groups: dict[tuple[str, str], Group]) -> list[WeekFigures]:
    """Return the figures of each group, in their order."""
    return [_figures(week, device, group) for (week, device), group in groups.items()]


def _figures(week: str, device: str, group: Group) -> WeekFigures:
    scores = group.scores()
    seconds = [job.done_at - job.found_at for job in group.jobs if job.done_at is not None and job.label]
    labels = sorted({job.label for job in group.jobs if job.label})
    return WeekFigures(
        week=week,
        device=device,
        found=len(group.jobs),
        read=group.read(),
        refused=group.count(State.REFUSED),
        failed=group.count(State.PARKED, State.CONFLICT),
        waiting=group.count(State.FOUND, State.FETCHED, State.MADE, State.STORED),
        labels={label: group.labelled(label) for label in labels},
        score_quantiles=tuple(np.quantile(scores, QUANTILES).tolist()) if scores else None,
        seconds_median=float(np.median(seconds)) if seconds else None,
        seconds_95=float(np.quantile(seconds, 0.95)) if seconds else None,
    )
