"""A trial: a function of configuration, seed and films, resumable in its folder; with its task and result.

A task and its result are short JSON texts, so a trial can run in this process, in another one, or on another machine: see
`launchers`.
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
from pneumoscan.networks.registry import build, count_parameters
from pneumoscan.study.evaluation import StudyFilms, evaluate_network, open_films
from pneumoscan.study.trial_records import Status, StudyFolder, TrialRecord, plain_history, write_record
from pneumoscan.study.trials import Trial
from pneumoscan.train.checkpoint import EpochRecord, read_checkpoint
from pneumoscan.train.config import DataConfig, TrainingConfig, validate
from pneumoscan.train.loop import Fit, Observer, Unobserved, fit
from pneumoscan.train.run import origin

PROGRESS = "progress.json"
SECONDS_BETWEEN_PROGRESS = 1.0


@dataclass(frozen=True)
class Task:
    """What a worker needs for a trial; paths must be valid wherever it runs.

    `out` is the folder of the study, for the record, `work` that for checkpoints and weights, `cache` empty for the default.
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
        """Name of the folder of the trial."""
        return f"{self.key}-seed{self.seed}"

    def to_text(self) -> str:
        """Return the task as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Task":
        """Return the object from the result of `to_text`."""
        fields = json.loads(text)
        return cls(**fields | {"data": tuple(fields["data"])})


@dataclass(frozen=True)
class TrialAnswer:
    """The result of a task: name of the trial, its status, and the reason if it is not done."""

    name: str
    status: Status
    reason: str = ""

    def to_text(self) -> str:
        """Return the result as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "TrialAnswer":
        """Return the object from the result of `to_text`."""
        return cls(**json.loads(text))


def run_trial(trial: Trial, films: StudyFilms, folder: Path, observer: Observer | None = None) -> TrialRecord:
    """Train and evaluate one trial, or resume it from its last checkpoint.

    Errors of the trial itself are recorded; only errors that concern every trial are raised.

    Args:
        trial: Configuration and seed.
        films: Films of the right size, with their hold-out.
        folder: Folder of this trial, for `checkpoints/` and `model.safetensors`.
        observer: Receives the progress of the training.

    Raises:
        EnvironmentProblemError: The machine lacks something: space, a package, a permission.
        KeyboardInterrupt, Terminated: A checkpoint was written.
    """
    checkpoints = make_folder(folder / "checkpoints")
    parameters = count_parameters(build(trial.config.model, trial.config.data.size))
    try:
        finished = _fit(trial.config, films, checkpoints, observer or Unobserved())
        started = time.perf_counter()
        evaluated = evaluate_network(trial.config, finished.weights, films)
    except EnvironmentProblemError:
        raise
    except TrainingDivergedError as problem:
        return _without_figures(trial, checkpoints, "diverged", problem.message, parameters)
    except Exception as problem:  # noqa: BLE001 - an error in a trial must not end the study
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
        figures=evaluated.figures,
        history=plain_history(finished.history),
        logits=evaluated.logits,
        stress_draws=evaluated.stress_draws,
        origin=_origin(trial.config, finished.history, time.perf_counter() - started),
    )


def perform(task: Task) -> TrialAnswer:
    """Execute a task: open its films, run the trial, write its record, and remove its checkpoints.

    A trial that has ended does not change. If another process works on the same trial, this call waits for it.

    Raises:
        DataDamagedError: Films or hold-out differ from those of the study.
        EnvironmentProblemError, KeyboardInterrupt, Terminated: See `run_trial`.
    """
    config = validate(task.config)
    folder, place = StudyFolder(Path(task.out)), Path(task.work) / task.name
    with locked(place / ".lock", wait=True):
        if folder.is_ended(task.name):
            return TrialAnswer(task.name, "done")
        films = _films(task.data, task.cache, config.data)
        if (films.data_sha256, films.held_out_sha256) != (task.data_sha256, task.held_out_sha256):
            raise DataDamagedError(
                f"the films in {as_words(task.data)} differ from those of the study.",
                "Use the same films, or start another study.",
            )
        record = run_trial(Trial(task.key, task.seed, config), films, place, _ProgressFile(place, config))
        write_record(folder, record, config)
        shutil.rmtree(place / "checkpoints", ignore_errors=True)
        (place / PROGRESS).unlink(missing_ok=True)
    return TrialAnswer(task.name, record.status, record.reason)


def read_progress(work: Path, name: str) -> dict[str, Any]:
    """Return the progress of a running trial: `epoch`, `epochs`, `step`, `steps`, `loss`, `films_per_second`; or nothing."""
    try:
        progress: dict[str, Any] = json.loads((work / name / PROGRESS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return progress


class _ProgressFile:
    """Writes the progress into the folder of the trial."""

    def __init__(self, place: Path, config: TrainingConfig) -> None:
        self._path, self._epochs = place / PROGRESS, config.loop.epochs
        self._last = 0.0

    def step(self, epoch: int, step: int, steps: int, loss: float, films_per_second: float) -> None:
        if time.monotonic() - self._last < SECONDS_BETWEEN_PROGRESS:
            return
        self._last = time.monotonic()
        progress = {
            "epoch": epoch, "epochs": self._epochs, "step": step, "steps": steps,
            "loss": loss, "films_per_second": films_per_second,
        }  # fmt: skip
        # It is not needed after a power failure, so it is not flushed to the disk like records.
        beside = self._path.with_suffix(".tmp")
        beside.write_text(json.dumps(progress), encoding="utf-8")
        beside.replace(self._path)

    def epoch(self, record: EpochRecord, history: list[EpochRecord]) -> None:
        del record, history

    def note(self, text: str) -> None:
        del text


def _fit(config: TrainingConfig, films: StudyFilms, checkpoints: Path, observer: Observer) -> Fit:
    sites = films.films.sites
    config.sampling.check_left_out(() if sites is None else set(sites.tolist()))
    try:
        return fit(config, films.films, folder=checkpoints, observer=observer)
    except CheckpointError:
        # Both generations are damaged, which costs only time.
        shutil.rmtree(checkpoints)
        return fit(config, films.films, folder=make_folder(checkpoints), observer=observer)


def _without_figures(
    trial: Trial, checkpoints: Path, status: Status, reason: str, parameters: int
) -> TrialRecord:
    """Return the record of a trial that failed or diverged, with its finished epochs."""
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
        "worker_threads": config.loop.worker_threads,
        "precision": config.loop.precision,
        "device": config.loop.device,
        "seconds": [row["seconds"] for row in history],
        "films_per_second": [row["films_per_second"] for row in history],
        "judging_seconds": round(judging, 3),
    }


@lru_cache(maxsize=4)
def _films(data: tuple[str, ...], cache: str, config: DataConfig) -> StudyFilms:
    return open_films(data, config, cache=Path(cache) if cache else None)
