"""The remaining trials of a study and their estimated duration, for the dry run and the progress."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pneumoscan.data.layouts import Sources, load_sites
from pneumoscan.study.estimate import PUBLIC_SET, Pace, Sizes, mean_seconds, pace_of, seconds_of
from pneumoscan.study.execute import check_sections, machine_of
from pneumoscan.study.facts import StudyFacts, read_facts
from pneumoscan.study.folder import StudyFolder
from pneumoscan.study.plan import Plan, read_plan
from pneumoscan.study.records import TrialRecord, read_record
from pneumoscan.study.trials import Conditions, Planned, first_trials, slots, unique


@dataclass(frozen=True)
class Entry:
    """A line of the dry run.

    Attributes:
        title: Title of the trial.
        seconds: Estimated duration; the actual one if it has ended.
        status: `done`, `diverged`, `failed`, or empty.
        places: Names of the sections that contain it.
    """

    title: str
    seconds: float
    status: str
    places: tuple[str, ...]


@dataclass(frozen=True)
class Forecast:
    """A dry run.

    Attributes:
        entries: One for each trial, in order.
        jobs: Trials at the same time.
        pace: Basis of the estimates.
        sizes: Numbers of training films and held-out films.
        assumed: Whether the numbers of the public set are assumed, because no films were given.
    """

    entries: tuple[Entry, ...]
    jobs: int
    pace: Pace
    sizes: Sizes
    assumed: bool

    @property
    def left(self) -> tuple[Entry, ...]:
        """The entries that remain to be trained."""
        return tuple(entry for entry in self.entries if entry.status in {"", "failed"})

    @property
    def seconds_left(self) -> float:
        """Their estimated duration, with several at the same time."""
        return sum(entry.seconds for entry in self.left) / self.jobs


def forecast_of(
    plan_file: Path,
    *,
    data: Sources | None = None,
    out: Path | None = None,
    jobs: int = 1,
    only: Sequence[str] = (),
    seeds: int = 0,
) -> Forecast:
    """Return what `execute.run_study` would do, without decoding films or writing files.

    Raises:
        ConfigError: The plan is invalid, or has no section with a given name.
        LayoutError: `data` has no known layout.
        DataDamagedError: A record in `out` is damaged.
    """
    plan, _ = read_plan(plan_file)
    check_sections(plan, only)
    folder = None if out is None else StudyFolder(out)
    facts = read_facts(folder) if folder is not None else None
    sizes = _sizes(plan, data, facts)
    conditions = facts.conditions if facts else Conditions(machine_of(plan, jobs), "", "")
    every = first_trials(plan, conditions, seeds=seeds, only=only)
    planned = unique(every)
    records = _records(folder, planned)
    pace = pace_of(planned, records.values(), sizes)
    entries = [_entry(each, every, records.get(each.trial.name), pace, sizes) for each in planned]
    confirming = _confirming(plan, conditions, pace, sizes, seeds, only)
    return Forecast((*entries, *confirming), jobs, pace, sizes, assumed=data is None and facts is None)


def seconds_left(
    folder: StudyFolder, facts: StudyFacts, planned: Sequence[Planned], ended: Sequence[str], jobs: int
) -> float:
    """Return the estimated duration of the planned trials that have not ended."""
    sizes = Sizes(facts.train, facts.held_out)
    records = [record for name in ended if (record := read_record(folder, name)) is not None]
    pace = pace_of(planned, records, sizes)
    left = [each for each in unique(planned) if each.trial.name not in set(ended)]
    return sum(seconds_of(each.trial, pace, sizes) for each in left) / jobs


def _sizes(plan: Plan, data: Sources | None, facts: StudyFacts | None) -> Sizes:
    if facts is not None:
        return Sizes(facts.train, facts.held_out)
    if data is None:
        return PUBLIC_SET
    count = len(load_sites(data).of_split("train"))
    held_out = round(count * plan.baseline_config().data.val_fraction)
    return Sizes(count - held_out, held_out)


def _records(folder: StudyFolder | None, planned: Sequence[Planned]) -> dict[str, TrialRecord]:
    if folder is None:
        return {}
    found = ((each.trial.name, read_record(folder, each.trial.name)) for each in planned)
    return {name: record for name, record in found if record is not None}


def _entry(
    planned: Planned, every: Sequence[Planned], record: TrialRecord | None, pace: Pace, sizes: Sizes
) -> Entry:
    name = planned.trial.name
    places = dict.fromkeys(each.section for each in every if each.trial.name == name)
    if record is not None and record.status != "failed":
        spent = sum(record.origin.get("seconds", ())) + record.origin.get("judging_seconds", 0.0)
        return Entry(planned.title, spent, record.status, tuple(places))
    seconds = seconds_of(planned.trial, pace, sizes)
    return Entry(planned.title, seconds, "" if record is None else "failed", tuple(places))


def _confirming(
    plan: Plan, conditions: Conditions, pace: Pace, sizes: Sizes, seeds: int, only: Sequence[str]
) -> Iterator[Entry]:
    for slot in slots(plan, conditions, seeds=seeds, only=only):
        best = f"the best of {slot.group}" if slot.group else "the best"
        seconds = mean_seconds(slot.trials, pace, sizes)
        for number in range(slot.seeds):
            title = f"{slot.section} / {best}, further seed {number + 1} of {slot.seeds}"
            yield Entry(title, seconds, "", (slot.section,))
