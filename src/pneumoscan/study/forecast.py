"""The remaining trials of a study and their duration, for the dry run and the progress: from finished trials, or else from a cost model."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median

import torch
from torch import nn

from pneumoscan.data.layouts import Sources, load_sites
from pneumoscan.imaging.perturbation import PERTURBATIONS
from pneumoscan.networks.baseline import BaselineConfig
from pneumoscan.networks.registry import ModelConfig, build
from pneumoscan.study.execute import check_sections, machine_of
from pneumoscan.study.plan import StudyPlan, read_plan
from pneumoscan.study.trial_records import StudyFacts, StudyFolder, TrialRecord, read_facts, read_record
from pneumoscan.study.trials import Conditions, Planned, Trial, first_trials, slots, unique

# Core-milliseconds of the baseline network at 200×200 in bfloat16 per training film, including augmentation
# (measured: 14 s an epoch of 4,433 + 783 films on two cores).
BASELINE_CORE_MS = 5.9
# A film of the validation costs this fraction: no backward pass, no augmentation.
READING = 1 / 2.8
# Share of the time in proportion to the multiplications; the rest is in proportion to the values of the feature maps, which
# are written to memory and read back. Fitted to eleven networks and sizes like the baseline, each within 20%.
ARITHMETIC = 0.3


@dataclass(frozen=True)
class FilmCounts:
    """Numbers of training films and of held-out films of a trial."""

    train: int
    held_out: int


# The split train of the public set with the default hold-out.
PUBLIC_SET = FilmCounts(train=4433, held_out=783)


@dataclass(frozen=True)
class Pace:
    """Core-milliseconds for one film of the baseline network, in general and by measured configuration.

    `measured` is the number of measured trials; 0: the built-in value.
    """

    core_ms: float
    by_key: dict[str, float]
    measured: int


def pace_of(planned: Iterable[Planned], records: Iterable[TrialRecord], sizes: FilmCounts) -> Pace:
    """Return the pace of finished trials."""
    configs = {each.trial.key: each.trial for each in planned}
    by_key: dict[str, list[float]] = {}
    for record in records:
        trial = configs.get(record.key)
        if trial is None or record.status != "done":
            continue
        epochs = [float(value) for value in record.origin.get("seconds", [])]
        if not epochs:
            continue
        # The median, so that an interrupted or disturbed epoch has no influence.
        spent = median(epochs) * 1000 * trial.config.loop.worker_threads
        by_key.setdefault(record.key, []).append(spent / (sizes.train * relative_cost(trial)))
    paces = {key: median(values) for key, values in by_key.items()}
    if not paces:
        return Pace(BASELINE_CORE_MS, {}, 0)
    return Pace(median(paces.values()), paces, sum(map(len, by_key.values())))


def seconds_of(trial: Trial, pace: Pace, sizes: FilmCounts) -> float:
    """Return the duration of a trial in seconds with the cores of its worker threads."""
    core_ms = pace.by_key.get(trial.key, pace.core_ms)
    epochs = trial.config.loop.epochs
    films = epochs * (sizes.train + READING * sizes.held_out)
    films += READING * sizes.held_out * (1 + len(PERTURBATIONS))
    return relative_cost(trial) * films * core_ms / 1000 / trial.config.loop.worker_threads


def relative_cost(trial: Trial) -> float:
    """Return the cost of a film in training relative to the baseline network at 200×200."""
    multiplications, values = _work(trial.config.model, trial.config.data.size)
    base_multiplications, base_values = _work(BaselineConfig(), 200)
    return ARITHMETIC * multiplications / base_multiplications + (1 - ARITHMETIC) * values / base_values


def in_words(seconds: float) -> str:
    """Return a duration as text."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def mean_seconds(trials: Sequence[Trial], pace: Pace, sizes: FilmCounts) -> float:
    """Return the mean duration of several trials, for one of them that is not chosen yet."""
    return sum(seconds_of(trial, pace, sizes) for trial in trials) / len(trials)


@lru_cache(maxsize=256)
def _work(config: ModelConfig, size: int) -> tuple[int, int]:
    """Return the multiplications and the output values of all layers in the forward pass of one film."""
    with torch.random.fork_rng(devices=[]):
        network = build(config, size).eval()
    counts = [0, 0]

    def count(layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        each = layer.weight[0].numel()
        counts[0] += output.numel() * each
        counts[1] += output.numel()

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        network(torch.zeros(1, getattr(config, "inputs", 1), size, size))
    return counts[0], counts[1]


# The dry run


@dataclass(frozen=True)
class ForecastTrial:
    """A line of the dry run, with its estimated duration, or the actual one if it has ended (`done`, `diverged`, `failed`).

    `places` are the sections that contain it.
    """

    title: str
    seconds: float
    status: str
    places: tuple[str, ...]


@dataclass(frozen=True)
class Forecast:
    """A dry run: one entry for each trial, in order. `assumed`: the numbers of films are those of the public set, because none were given."""

    entries: tuple[ForecastTrial, ...]
    jobs: int
    pace: Pace
    sizes: FilmCounts
    assumed: bool

    @property
    def left(self) -> tuple[ForecastTrial, ...]:
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
    sizes = FilmCounts(facts.train, facts.held_out)
    records = [record for name in ended if (record := read_record(folder, name)) is not None]
    pace = pace_of(planned, records, sizes)
    left = [each for each in unique(planned) if each.trial.name not in set(ended)]
    return sum(seconds_of(each.trial, pace, sizes) for each in left) / jobs


def _sizes(plan: StudyPlan, data: Sources | None, facts: StudyFacts | None) -> FilmCounts:
    if facts is not None:
        return FilmCounts(facts.train, facts.held_out)
    if data is None:
        return PUBLIC_SET
    count = len(load_sites(data).of_split("train"))
    held_out = round(count * plan.baseline_config().data.val_fraction)
    return FilmCounts(count - held_out, held_out)


def _records(folder: StudyFolder | None, planned: Sequence[Planned]) -> dict[str, TrialRecord]:
    if folder is None:
        return {}
    found = ((each.trial.name, read_record(folder, each.trial.name)) for each in planned)
    return {name: record for name, record in found if record is not None}


def _entry(
    planned: Planned, every: Sequence[Planned], record: TrialRecord | None, pace: Pace, sizes: FilmCounts
) -> ForecastTrial:
    name = planned.trial.name
    places = dict.fromkeys(each.section for each in every if each.trial.name == name)
    if record is not None and record.status != "failed":
        spent = sum(record.origin.get("seconds", ())) + record.origin.get("judging_seconds", 0.0)
        return ForecastTrial(planned.title, spent, record.status, tuple(places))
    seconds = seconds_of(planned.trial, pace, sizes)
    return ForecastTrial(planned.title, seconds, "" if record is None else "failed", tuple(places))


def _confirming(
    plan: StudyPlan, conditions: Conditions, pace: Pace, sizes: FilmCounts, seeds: int, only: Sequence[str]
) -> Iterator[ForecastTrial]:
    for slot in slots(plan, conditions, seeds=seeds, only=only):
        best = f"the best of {slot.group}" if slot.group else "the best"
        seconds = mean_seconds(slot.trials, pace, sizes)
        for number in range(slot.seeds):
            title = f"{slot.section} / {best}, further seed {number + 1} of {slot.seeds}"
            yield ForecastTrial(title, seconds, "", (slot.section,))
