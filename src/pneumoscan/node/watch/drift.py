"""Whether the weeks since differ from the reference weeks, tested and said in words; and all that is watched, in one value.

Each complete week after the reference is compared with the reference weeks: the scores by Kolmogorov–Smirnov, the shares of
UNSURE, NOT_A_CHEST_FILM and refusals by Fisher's exact test, for all devices together and for each. One object a study
counts, for films of one study look alike. The tests of a week are adjusted by Holm's method, and a week may give a false
alarm with probability 0.05 / 52 at most: about one year in twenty has any, however often it is looked at.
"""

import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from pneumoscan.classifier import NOT_A_CHEST_FILM, UNSURE
from pneumoscan.errors import UsageError
from pneumoscan.node.queue import Job, Queue, State
from pneumoscan.node.watch import (
    ALL_DEVICES,
    Group,
    WeekFigures,
    figures_of,
    grouped,
    name_of_week,
    watched,
    week_of,
)

ALPHA, LOOKS_PER_YEAR = 0.05, 52
REFERENCE_WEEKS = 8
# Below so many studies a week says nothing, whatever a test says.
LEAST = 20
Measure = Literal["scores", "UNSURE", "NOT_A_CHEST_FILM", "refused"]


@dataclass(frozen=True)
class WeekComparison:
    """One measure of one week and device beside the reference weeks.

    Attributes:
        device: Empty for all devices together.
        measure: `scores`, or whose share: `UNSURE`, `NOT_A_CHEST_FILM`, `refused`.
        reference: Median score, or share, in the reference weeks.
        now: The same in the week.
        p: Of the test, adjusted for the tests of the week.
        differs: Whether `p` is below 0.05 / 52.
    """

    week: str
    device: str
    measure: Measure
    reference: float
    now: float
    reference_n: int
    n: int
    p: float
    differs: bool

    def sentence(self) -> str:
        """Return the comparison in words."""
        where = f"on {self.device}" if self.device else "on all devices together"
        named = "refusals" if self.measure == "refused" else self.measure
        what = "median score" if self.measure == "scores" else f"share of {named}"
        text_of = _score if self.measure == "scores" else _percent
        numbers = f"{text_of(self.reference)} in the reference weeks ({self.reference_n} studies), {text_of(self.now)} in {self.week} ({self.n})"
        if not self.differs:
            return f"The {what} {where} does not differ more than chance allows: {numbers}."
        moved = {1: "is higher", -1: "is lower"}.get(int(np.sign(self.now - self.reference)), "is the same")
        also = ", but the scores are spread otherwise" if moved == "is the same" else ""
        return f"The {what} {where} {moved}{also}: {numbers}; p = {self.p:.1g}."


@dataclass(frozen=True)
class Drift:
    """What the comparisons say.

    Attributes:
        sentences: What has changed; or that nothing has, or why nothing can be said.
    """

    reference: tuple[str, ...]
    weeks: tuple[str, ...]
    comparisons: tuple[WeekComparison, ...]
    sentences: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether anything has changed."""
        return any(one.differs for one in self.comparisons)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON types."""
        return asdict(self) | {"differs": self.differs}


def drift_of(jobs: Iterable[Job], *, this_week: str, reference: Sequence[str] = ()) -> Drift:
    """Compare the weeks after the reference with it.

    Args:
        jobs: All rows of the queue.
        this_week: The week that is not over; it and later ones are not compared.
        reference: First and last of the reference weeks; by default the first eight that have objects.

    Raises:
        UsageError: The reference is no pair of weeks in order.
    """
    if reference and (len(reference) != 2 or reference[0] > reference[1]):
        raise UsageError(
            "the reference weeks are no pair in order.", "Give the first and the last: 2026-W01 2026-W08"
        )
    by_week = _one_a_study(jobs)
    whole = sorted(week for week in by_week if week < this_week)
    chosen = [w for w in whole if reference[0] <= w <= reference[1]] if reference else whole[:REFERENCE_WEEKS]
    later = [week for week in whole if chosen and week > chosen[-1]]
    base = [job for week in chosen for job in by_week[week]]
    comparisons, notes = [], []
    for week in later:
        found, said = _compare_week(week, base, by_week[week])
        comparisons += found
        notes += said
    return Drift(
        tuple(chosen), tuple(later), tuple(comparisons), tuple(_sentences(chosen, later, comparisons, notes))
    )


def _one_a_study(jobs: Iterable[Job]) -> dict[str, list[Job]]:
    by_week: dict[str, list[Job]] = defaultdict(list)
    seen: set[tuple[str, bool]] = set()
    for job in watched(jobs):
        ended = bool(job.label) or job.state is State.REFUSED
        # A study's refused objects (a lateral view) and its film are two things.
        key = (job.study_instance_uid or job.sop_instance_uid, bool(job.label))
        if ended and key not in seen:
            seen.add(key)
            by_week[week_of(job)].append(job)
    return by_week


def _compare_week(week: str, base: list[Job], now: list[Job]) -> tuple[list[WeekComparison], list[str]]:
    notes = []
    before, after = _models(base), _models(now)
    if before and after and before != after:
        return [], [
            f"In {week} films were read by another model than in the reference weeks: choose new reference weeks."
        ]
    pairs = {ALL_DEVICES: (base, now)}
    for device in sorted({job.device for job in now if job.device}):
        pairs[device] = tuple([job for job in side if job.device == device] for side in (base, now))  # type: ignore[assignment]
    tested: list[tuple[str, Measure, float, float, int, int, float]] = []
    for device, (then, here) in pairs.items():
        if device and not then and len(here) >= LEAST:
            notes.append(
                f"In {week} {len(here)} studies came from {device}, of which the reference weeks have none."
            )
        tested += [(device, *one) for one in _tests(Group(then), Group(here))]
    if not tested:
        notes.append(f"{week} has too few studies to be compared ({len(now)}; {LEAST} are needed).")
    adjusted = holm([one[-1] for one in tested])
    made = [
        WeekComparison(week, *one[:-1], p=p, differs=p < ALPHA / LOOKS_PER_YEAR)
        for one, p in zip(tested, adjusted, strict=True)
    ]
    return made, notes


def _tests(then: Group, now: Group) -> list[tuple[Measure, float, float, int, int, float]]:
    """Return measure, reference, present, both sizes and p of each test that has enough studies."""
    found: list[tuple[Measure, float, float, int, int, float]] = []
    before, after = then.scores(), now.scores()
    if min(len(before), len(after)) >= LEAST:
        p = kolmogorov_smirnov(before, after).p
        found.append(
            ("scores", float(np.median(before)), float(np.median(after)), len(before), len(after), p)
        )
    sizes = {
        "UNSURE": (then.labelled(UNSURE), then.read(), now.labelled(UNSURE), now.read()),
        "NOT_A_CHEST_FILM": (
            then.labelled(NOT_A_CHEST_FILM),
            then.read(),
            now.labelled(NOT_A_CHEST_FILM),
            now.read(),
        ),
        "refused": (then.count(State.REFUSED), len(then.jobs), now.count(State.REFUSED), len(now.jobs)),
    }
    for measure, (a, n, b, m) in sizes.items():
        if min(n, m) >= LEAST:
            found.append((measure, a / n, b / m, n, m, fisher(a, n, b, m)))  # type: ignore[arg-type]
    return found


def _models(jobs: list[Job]) -> set[str]:
    return {job.model for job in jobs if job.model}


def _sentences(
    chosen: list[str], later: list[str], comparisons: list[WeekComparison], notes: list[str]
) -> Iterable[str]:
    if not chosen:
        return ["No week is over yet, so there is nothing to compare."]
    if not later:
        return [f"No week after the reference weeks ({chosen[0]} to {chosen[-1]}) is over yet."]
    changed = [one.sentence() for one in comparisons if one.differs]
    if comparisons and not changed:
        changed = [
            f"No difference between {later[0]} to {later[-1]} and the reference weeks ({chosen[0]} to {chosen[-1]}) was found "
            f"in {len(comparisons)} comparisons."
        ]
    return [*changed, *notes]


def _score(value: float) -> str:
    return f"{value:.3f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"


Floats = npt.NDArray[np.float64]


class Distance(NamedTuple):
    """The largest difference of two distribution functions, in [0, 1], and the probability of as much by chance."""

    distance: float
    p: float


def kolmogorov_smirnov(one: npt.ArrayLike, other: npt.ArrayLike) -> Distance:
    """Compare two samples of a continuous quantity, two-sided.

    The asymptotic distribution with the correction for small samples of M. A. Stephens, J. R. Statist. Soc. B 32 (1970)
    115–122. Ties make the probability too large, never too small.

    Args:
        one: (n,) of finite numbers, n at least 1.
        other: (m,) of finite numbers, m at least 1.
    """
    a, b = np.sort(np.asarray(one, np.float64)), np.sort(np.asarray(other, np.float64))
    places = np.concatenate([a, b])
    apart = np.searchsorted(a, places, "right") / a.size - np.searchsorted(b, places, "right") / b.size
    distance = float(np.abs(apart).max())
    root = math.sqrt(a.size * b.size / (a.size + b.size))
    return Distance(distance, _kolmogorov_tail((root + 0.12 + 0.11 / root) * distance))


def _kolmogorov_tail(value: float) -> float:
    if value < 0.2:
        return 1.0
    k = np.arange(1, 101)
    terms = np.where(k % 2 == 1, 1.0, -1.0) * np.exp(-2 * k**2 * value**2)
    return float(np.clip(2 * terms.sum(), 0, 1))


def fisher(count: int, of: int, other_count: int, other_of: int) -> float:
    """Compare two shares by Fisher's exact test, two-sided: the probability of tables no likelier than this one.

    Args:
        count: Hits in the first sample.
        of: Its size.
        other_count: Hits in the second sample.
        other_of: Its size.
    """
    hits, total = count + other_count, of + other_of
    fewest, most = max(0, hits - other_of), min(hits, of)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])

    def log_choose(n: int, k: npt.NDArray[np.int64]) -> Floats:
        chosen: Floats = log_factorial[n] - log_factorial[k] - log_factorial[n - k]
        return chosen

    k = np.arange(fewest, most + 1)
    log_p = log_choose(of, k) + log_choose(other_of, hits - k) - log_choose(total, np.array([hits]))
    # Tables as likely as this one count; rounding must not leave them out.
    as_rare = log_p <= log_p[count - fewest] + 1e-7
    return float(min(1.0, np.exp(log_p[as_rare]).sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for being several, in their order (S. Holm, Scand. J. Statist. 6 (1979) 65–70)."""
    order = np.argsort(p_values, kind="stable")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


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
    """Count and compare all rows of a queue.

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
