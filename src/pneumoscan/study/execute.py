"""Run a study from the plan to the last record. If it is interrupted, the next call continues it."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pneumoscan.data.layouts import Sources, absolute
from pneumoscan.errors import ConfigError, DataDamagedError
from pneumoscan.files import locked, write_atomic, write_json
from pneumoscan.study.evaluation import StudyFilms, open_films
from pneumoscan.study.launchers import OneByOne, Processes, TrialLauncher, TrialsOnRay
from pneumoscan.study.plan import StudyPlan, read_plan
from pneumoscan.study.trial import Task, TrialAnswer
from pneumoscan.study.trial_records import (
    StudyFacts,
    StudyFolder,
    facts_of,
    read_facts,
    read_record,
    write_held_out,
)
from pneumoscan.study.trials import Machine, Planned, confirmations, first_trials, unique
from pneumoscan.system import usable_cores
from pneumoscan.train.backend import resolve

LAUNCHERS = ("local", "ray")
Decoding = Callable[[int, int], None]


class Watcher(Protocol):
    """Receives the progress of a study. Every method may do nothing. They are called from several threads."""

    def planned(self, trials: Sequence[Planned], ended: Sequence[str]) -> None:
        """Called with the trials in their order, and the names of those that have ended."""

    def begun(self, name: str) -> None:
        """Called when a trial begins or resumes."""

    def ended(self, answer: TrialAnswer) -> None:
        """Called when a trial has ended."""

    def note(self, text: str) -> None:
        """Called with a message."""


@dataclass(frozen=True)
class StudyOrder:
    """Options of a study run.

    Attributes:
        work: Folder for checkpoints and weights; None: `OUT/work`.
        jobs: Trials at the same time, on this machine.
        launcher: One of `LAUNCHERS`.
        only: Names of sections; empty: all.
        seeds: Minimum number of seeds of every variant; 0: as planned.
        cache: Folder of the film cache; None: the default.
    """

    data: Sources
    out: Path
    work: Path | None = None
    jobs: int = 1
    launcher: str = "local"
    only: tuple[str, ...] = ()
    seeds: int = 0
    cache: Path | None = None

    @property
    def work_folder(self) -> Path:
        """Folder for checkpoints and weights."""
        return (self.work or self.out / "work").absolute()


def run_study(
    plan_file: Path, order: StudyOrder, watcher: Watcher, *, decoding: Decoding | None = None
) -> list[TrialAnswer]:
    """Run the remaining trials of a study.

    Returns:
        The results of the trials of this call.

    Raises:
        ConfigError: The plan is invalid, or has no section with a given name.
        DataDamagedError: The films differ from those of the study.
        LockedError: Another process works on this study.
        PneumoscanError: See `trial.perform`, `open_films`.
        KeyboardInterrupt, Terminated: The running trials wrote a checkpoint.
    """
    plan, text = read_plan(plan_file)
    check_sections(plan, order.only)
    with locked(order.work_folder / ".lock", what=f"the study in {order.out}"):
        folder = StudyFolder(order.out)
        facts = _begin(folder, plan, text, order, watcher, decoding)
        first = unique(first_trials(plan, facts.conditions, seeds=order.seeds, only=order.only))
        answers = _run(folder, facts, first, [], order, watcher)
        scores = _scores(folder, first)
        further = confirmations(plan, facts.conditions, scores, seeds=order.seeds, only=order.only)
        done = {planned.trial.name for planned in first}
        second = [planned for planned in unique(further) if planned.trial.name not in done]
        return answers + _run(folder, facts, second, first, order, watcher)


def check_sections(plan: StudyPlan, only: Sequence[str]) -> None:
    """Raise ConfigError unless every name is the name of a section."""
    known = [section.name for section in plan.sections]
    for name in only:
        if name not in known:
            raise ConfigError(f"there is no section {name!r}.", f"The plan has {', '.join(known)}.")


def machine_of(plan: StudyPlan, jobs: int) -> Machine:
    """Return the settings of trials on this machine: each of `jobs` trials has its share of the cores."""
    config = plan.baseline_config()
    loop = resolve(config).loop
    threads = config.loop.worker_threads or (1 if loop.device == "cuda" else max(1, usable_cores() // jobs))
    return Machine(worker_threads=threads, precision=loop.precision, device=loop.device)


def _begin(
    folder: StudyFolder,
    plan: StudyPlan,
    text: bytes,
    order: StudyOrder,
    watcher: Watcher,
    decoding: Decoding | None,
) -> StudyFacts:
    """Open the films in every size of the plan, and write or check the facts that all trials share."""
    known = read_facts(folder)
    machine = known.conditions.machine if known else machine_of(plan, order.jobs)
    films = _open_all(plan, order, decoding)
    facts = facts_of(films, machine)
    if known and known != facts:
        raise DataDamagedError(
            f"the films or the hold-out differ from those of the study in {order.out}.",
            "Use the same films, data.val_fraction and data.split_seed, or choose another folder.",
        )
    if known and machine != machine_of(plan, order.jobs):
        watcher.note(
            f"trials use {machine.worker_threads} worker threads in {machine.precision} on {machine.device}, as in the first call of the study"
        )
    write_atomic(folder.plan, text)
    write_held_out(folder, films)
    write_json(folder.facts, facts.to_json())
    return facts


def _open_all(plan: StudyPlan, order: StudyOrder, decoding: Decoding | None) -> StudyFilms:
    """Decode the films in every size before the trials, and return those of the baseline."""
    base = plan.baseline_config().data
    others = {plan.config_of(s, variant).data for s in plan.sections for variant in s.variants} - {base}
    for data in sorted(others, key=lambda data: data.size):
        open_films(order.data, data, cache=order.cache, progress=decoding)
    return open_films(order.data, base, cache=order.cache, progress=decoding)


def _run(
    folder: StudyFolder,
    facts: StudyFacts,
    planned: Sequence[Planned],
    before: Sequence[Planned],
    order: StudyOrder,
    watcher: Watcher,
) -> list[TrialAnswer]:
    """Run the planned trials that have not ended; those in `before` are finished and only shown."""
    every = [*before, *planned]
    ended = [each.trial.name for each in every if folder.is_ended(each.trial.name)]
    watcher.planned(every, ended)
    tasks = [_task(each, facts, order) for each in planned if each.trial.name not in ended]
    answers = []
    with closing(_launcher(order).map(tasks, watcher.begun)) as stream:  # type: ignore[type-var]
        for answer in stream:
            watcher.ended(answer)
            answers.append(answer)
    return answers


def _task(planned: Planned, facts: StudyFacts, order: StudyOrder) -> Task:
    trial = planned.trial
    return Task(
        key=trial.key,
        seed=trial.seed,
        config=trial.config.model_dump(mode="json"),
        data=absolute(order.data),
        cache=str(order.cache.absolute()) if order.cache else "",
        out=str(order.out.absolute()),
        work=str(order.work_folder),
        data_sha256=facts.conditions.data_sha256,
        held_out_sha256=facts.conditions.held_out_sha256,
    )


def _launcher(order: StudyOrder) -> TrialLauncher:
    if order.launcher == "ray":
        return TrialsOnRay(order.jobs)
    return OneByOne() if order.jobs == 1 else Processes(order.jobs)


def _scores(folder: StudyFolder, planned: Sequence[Planned]) -> dict[str, float]:
    """Return the scores of finished trials, by which the best variants are chosen."""
    found = {}
    for each in planned:
        record = read_record(folder, each.trial.name)
        score = record.score() if record is not None else None
        if score is not None:
            found[each.trial.name] = score
    return found
