"""One trial: a plain function of config, seed and films, resumable in its folder; and the message that asks for it.

A task and its answer are short texts of JSON, so that it does not matter whether the process that does the work is this
one, its child or another machine's: see `launchers`.
"""

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors.torch import save

from pneumoscan.data.layouts import as_words
from pneumoscan.errors import (
    CheckpointError,
    DataDamagedError,
    EnvironmentProblemError,
    TrainingDivergedError,
)
from pneumoscan.files import locked, make_folder, write_atomic
from pneumoscan.models.registry import build, count_parameters
from pneumoscan.study.evaluation import evaluate_network
from pneumoscan.study.films import StudyFilms, open_films
from pneumoscan.study.records import (
    Status,
    StudyFolder,
    TrialRecord,
    plain_history,
    write_record,
)
from pneumoscan.study.trials import Trial
from pneumoscan.training.checkpoint import read_checkpoint
from pneumoscan.training.config import DataConfig, TrainingConfig, validate
from pneumoscan.training.engine import Fit, fit
from pneumoscan.training.observer import Observer, Silence
from pneumoscan.training.run import origin
from pneumoscan.training.state import EpochRecord

PROGRESS = "progress.json"
SECONDS_BETWEEN_PROGRESS = 1.0


@dataclass(frozen=True)
class Task:
    """What a worker needs to do a trial; paths must mean the same wherever it runs.

    Attributes:
        key: Of the trial.
        seed: Of the trial.
        config: The trial's config as a nested mapping.
        data: The films.
        cache: Folder of the film cache; empty for the usual one.
        out: The study's folder, for the record.
        work: Folder for checkpoints and weights.
        data_sha256: The films must be these.
        held_out_sha256: And the hold-out this one.
    """

    key: str
    seed: int
    config: Mapping[str, Any]
    data: tuple[str, ...]
    cache: str
    out: str
    work: str
    data_sha256: str
    held_out_sha256: str

    @property
    def name(self) -> str:
        """Name of the trial's folder."""
        return f"{self.key}-seed{self.seed}"

    def to_text(self) -> str:
        """Return the task as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Task":
        """Return what `to_text` wrote."""
        fields = json.loads(text)
        return cls(**fields | {"data": tuple(fields["data"])})


@dataclass(frozen=True)
class Answer:
    """What became of a task: the trial's name, its status, and why if it is not done."""

    name: str
    status: Status
    reason: str = ""

    def to_text(self) -> str:
        """Return the answer as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Answer":
        """Return what `to_text` wrote."""
        return cls(**json.loads(text))


def run_trial(trial: Trial, films: StudyFilms, folder: Path, observer: Observer | None = None) -> TrialRecord:
    """Train and judge one trial; one that was interrupted goes on from its last checkpoint.

    Whatever goes wrong with the trial itself is in the record; only what concerns every trial is raised.

    Args:
        trial: Config and seed.
        films: Films of the config's size, and their hold-out.
        folder: Of this trial alone, for `checkpoints/` and `model.safetensors`.
        observer: Who is told how the training goes.

    Raises:
        EnvironmentProblemError: The machine lacks something: space, a package, a permission.
        KeyboardInterrupt, Terminated: A checkpoint was written.
    """
    checkpoints = make_folder(folder / "checkpoints")
    parameters = count_parameters(build(trial.config.model, trial.config.data.size))
    try:
        finished = _fit(trial.config, films, checkpoints, observer or Silence())
        started = time.perf_counter()
        judged = evaluate_network(trial.config, finished.weights, films)
    except EnvironmentProblemError:
        raise
    except TrainingDivergedError as problem:
        return _without_figures(trial, checkpoints, "diverged", problem.message, parameters)
    except Exception as problem:  # noqa: BLE001 - a trial that breaks must not end the study
        words = f"{type(problem).__name__}: {problem}"
        return _without_figures(trial, checkpoints, "failed", words, parameters)
    write_atomic(folder / "model.safetensors", save({k: v.contiguous() for k, v in finished.weights.items()}))
    return TrialRecord(
        key=trial.key,
        seed=trial.seed,
        status="done",
        facts={
            "parameters": parameters,
            "epochs": len(finished.history),
            "kept_epoch": finished.kept_epoch,
            "stopped_early": finished.stopped_early,
        },
        figures=judged.figures,
        history=plain_history(finished.history),
        logits=judged.logits,
        stress_draws=judged.stress_draws,
        origin=_origin(trial.config, finished.history, time.perf_counter() - started),
    )


def perform(task: Task) -> Answer:
    """Do a task: open its films, run the trial, write its record, and clear its checkpoints away.

    A trial that has ended is left as it is. Another process that works on the same trial is waited for.

    Raises:
        DataDamagedError: The films or the hold-out are not those of the study.
        EnvironmentProblemError, KeyboardInterrupt, Terminated: See `run_trial`.
    """
    config = validate(task.config)
    folder, place = StudyFolder(Path(task.out)), Path(task.work) / task.name
    with locked(place / ".lock", wait=True):
        if folder.is_ended(task.name):
            return Answer(task.name, "done")
        films = _films(task.data, task.cache, config.data)
        if (films.data_sha256, films.held_out_sha256) != (task.data_sha256, task.held_out_sha256):
            raise DataDamagedError(
                f"the films in {as_words(task.data)} are not those that the study was begun with.",
                "Put the same films there, or begin another study.",
            )
        record = run_trial(Trial(task.key, task.seed, config), films, place, _ProgressFile(place, config))
        write_record(folder, record, config)
        shutil.rmtree(place / "checkpoints", ignore_errors=True)
        (place / PROGRESS).unlink(missing_ok=True)
    return Answer(task.name, record.status, record.reason)


def read_progress(work: Path, name: str) -> dict[str, Any]:
    """Return how far a running trial is: `epoch`, `epochs`, `step`, `steps`, `loss`, `films_per_second`; or nothing."""
    try:
        progress: dict[str, Any] = json.loads((work / name / PROGRESS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return progress


class _ProgressFile:
    """Leaves in the trial's folder how far it is, for whoever shows it."""

    def __init__(self, place: Path, config: TrainingConfig) -> None:
        self._path, self._epochs = place / PROGRESS, config.loop.epochs
        self._last = 0.0

    def step(self, epoch: int, step: int, steps: int, loss: float, films_per_second: float) -> None:
        if time.monotonic() - self._last < SECONDS_BETWEEN_PROGRESS:
            return
        self._last = time.monotonic()
        told = {
            "epoch": epoch, "epochs": self._epochs, "step": step, "steps": steps,
            "loss": loss, "films_per_second": films_per_second,
        }  # fmt: skip
        # Nobody needs it after a power cut, so it is not flushed to the disk as records are.
        beside = self._path.with_suffix(".tmp")
        beside.write_text(json.dumps(told), encoding="utf-8")
        beside.replace(self._path)

    def epoch(self, record: EpochRecord, history: list[EpochRecord]) -> None:
        del record, history

    def note(self, text: str) -> None:
        del text


def _fit(config: TrainingConfig, films: StudyFilms, checkpoints: Path, observer: Observer) -> Fit:
    told = films.films.sites
    config.sampling.check_left_out(() if told is None else set(told.tolist()))
    try:
        return fit(config, films.films, folder=checkpoints, observer=observer)
    except CheckpointError:
        # Both generations damaged: only time is lost.
        shutil.rmtree(checkpoints)
        return fit(config, films.films, folder=make_folder(checkpoints), observer=observer)


def _without_figures(
    trial: Trial, checkpoints: Path, status: Status, reason: str, parameters: int
) -> TrialRecord:
    """Return the record of a trial that came to no end, with the epochs that it did finish."""
    try:
        found, _ = read_checkpoint(checkpoints)
    except CheckpointError:
        found = None
    history: list[EpochRecord] = found.state["history"] if found else []
    return TrialRecord(
        key=trial.key,
        seed=trial.seed,
        status=status,
        reason=reason,
        facts={
            "parameters": parameters,
            "epochs": len(history),
            "kept_epoch": None,
            "stopped_early": False,
        },
        history=plain_history(history),
        origin=_origin(trial.config, history, 0.0),
    )


def _origin(config: TrainingConfig, history: list[EpochRecord], judging: float) -> dict[str, Any]:
    facts = origin(config)
    return {
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "process": os.getpid(),
        **{key: facts[key] for key in ("pneumoscan", "commit", "python", "packages", "machine")},
        "lanes": config.loop.worker_threads,
        "precision": config.loop.precision,
        "device": config.loop.device,
        "seconds": [row["seconds"] for row in history],
        "films_per_second": [row["films_per_second"] for row in history],
        "judging_seconds": round(judging, 3),
    }


@lru_cache(maxsize=4)
def _films(data: tuple[str, ...], cache: str, config: DataConfig) -> StudyFilms:
    return open_films(data, config, cache=Path(cache) if cache else None)
