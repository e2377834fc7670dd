"""The folder of a study: small text files without weights.

OUT/study.toml                  the plan as given
OUT/study.json                  the films, the hold-out, and the settings of the machine
OUT/held_out.csv                film, path, patient_id, y_true: the films on which every trial is evaluated
OUT/trials/KEY-seedN/
config.toml                 every setting
history.jsonl               a line an epoch
predictions.csv             film, logit: float32 values, written so that they read back exactly
stress_resamples.csv        mean area under ROC of the changed views in each resample of patients
origin.json                 when, where, with which software and how fast; the one file that differs between
two machines or two calls
trial.json                  the figures; written last: a trial without it is not done
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import DataDamagedError
from pneumoscan.files import write_atomic, write_json, write_table
from pneumoscan.study.evaluation import StudyFilms
from pneumoscan.study.trials import Conditions, Machine
from pneumoscan.train.config import TrainingConfig, to_toml

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class StudyFolder:
    """The paths in the folder of a study."""

    path: Path

    @property
    def plan(self) -> Path:
        """`study.toml`, the plan."""
        return self.path / "study.toml"

    @property
    def facts(self) -> Path:
        """`study.json`, the facts that all trials share."""
        return self.path / "study.json"

    @property
    def held_out(self) -> Path:
        """`held_out.csv`, the films of the evaluation."""
        return self.path / "held_out.csv"

    def trial(self, name: str) -> Path:
        """Return the folder of the record of a trial."""
        return self.path / "trials" / name

    def is_ended(self, name: str) -> bool:
        """Return whether a trial is done or has diverged; a failed one is repeated."""
        marker = self.trial(name) / "trial.json"
        return marker.exists() and read_json(marker).get("status") != "failed"


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table that `files.write_table` wrote as it was.

    Raises:
        DataDamagedError: The file cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as problem:
        raise DataDamagedError(
            f"{path} cannot be read: {problem.strerror}.", "Run the study again."
        ) from None
    return list(csv.DictReader(io.StringIO(text, newline="")))


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file of the study.

    Raises:
        DataDamagedError: The file cannot be read, or is not JSON.
    """
    try:
        tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise DataDamagedError(
            f"{path} is damaged: {problem}.", "Delete its folder and run the study again."
        ) from None
    return tree


# What all trials share


@dataclass(frozen=True)
class StudyFacts:
    """What all trials of a study share: the conditions, and the numbers of training films, held-out films and their patients."""

    conditions: Conditions
    train: int
    held_out: int
    patients: int
    synthetic: bool

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON types."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "StudyFacts":
        """Return the facts from the result of `to_json`."""
        conditions = tree["conditions"]
        return cls(
            Conditions(
                Machine(**conditions["machine"]), conditions["data_sha256"], conditions["held_out_sha256"]
            ),
            **{name: tree[name] for name in ("train", "held_out", "patients", "synthetic")},
        )


def facts_of(films: StudyFilms, machine: Machine) -> StudyFacts:
    """Return the facts of a study on these films."""
    return StudyFacts(
        conditions=Conditions(machine, films.data_sha256, films.held_out_sha256),
        train=len(films.films.train),
        held_out=len(films.films.val),
        patients=len(set(films.held_out_patients)),
        synthetic=films.synthetic,
    )


def read_facts(folder: StudyFolder) -> StudyFacts | None:
    """Return the content of `study.json`; None if there is no study.

    Raises:
        DataDamagedError: The file is damaged.
    """
    if not folder.facts.exists():
        return None
    try:
        return StudyFacts.from_json(read_json(folder.facts))
    except (KeyError, TypeError) as problem:
        raise DataDamagedError(
            f"{folder.facts} is damaged: {problem!r}.", "Restore it, or choose another folder."
        ) from None


def write_held_out(folder: StudyFolder, films: StudyFilms) -> None:
    """Write `held_out.csv`."""
    columns = zip(films.held_out_paths, films.held_out_patients, films.held_out_labels.tolist(), strict=True)
    rows = [(film, *row) for film, row in enumerate(columns)]
    write_table(folder.held_out, ("film", "path", "patient_id", "y_true"), rows, as_it_was=True)


def read_held_out(folder: StudyFolder) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Return labels int64 (n,) and patients (n,) of the held-out films. Raises the errors of `read_record`."""
    rows = read_rows(folder.held_out)
    try:
        labels = np.array([int(row["y_true"]) for row in rows], dtype=np.int64)
        return labels, tuple(row["patient_id"] for row in rows)
    except (KeyError, ValueError) as problem:
        raise DataDamagedError(
            f"{folder.held_out} is damaged: {problem!r}.", "Run the study again."
        ) from None


# The record of a trial


Status = Literal["done", "diverged", "failed"]
TIMES = ("seconds", "films_per_second")
EPOCH_FIGURES = (
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "val_auc",
    "learning_rate",
)


@dataclass(frozen=True)
class TrialRecord:
    """The record of an ended trial.

    Attributes:
        key: Identifies configuration, films and hold-out.
        seed: Its seed.
        status: `done`; `diverged`: the loss was no longer finite, which is a result; `failed`: an error occurred.
        reason: Reason of the last two, one sentence.
        facts: `parameters`, `epochs`, `kept_epoch`, `stopped_early` if known.
        figures: See `evaluation.NetworkEvaluation`; empty unless done.
        history: One mapping per epoch: `epoch` and `EPOCH_FIGURES`; None if a figure is not finite.
        logits: float32 (n,), of the held-out films; empty unless done.
        stress_draws: float64 (b,); empty unless done.
        origin: Content of `origin.json`: times, machine, software.
    """

    key: str
    seed: int
    status: Status
    reason: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    logits: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    stress_draws: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0, np.float64))
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.key}-seed{self.seed}"

    def score(self) -> float | None:
        """Return the score by which the best variant is chosen: the mean area under ROC of the stress test."""
        value = self.figures.get("stress", {}).get("mean", {}).get("roc_auc")
        return None if value is None else float(value)


def write_record(folder: StudyFolder, record: TrialRecord, config: TrainingConfig) -> None:
    """Write the files of a trial, `trial.json` last."""
    place = folder.trial(record.name)
    write_atomic(place / "config.toml", to_toml(config))
    write_atomic(place / "history.jsonl", "".join(json.dumps(dict(row)) + "\n" for row in record.history))
    if record.status == "done":
        rows = [(film, str(logit)) for film, logit in enumerate(record.logits)]
        write_table(place / "predictions.csv", ("film", "logit"), rows)
        write_table(
            place / "stress_resamples.csv",
            ("mean_roc_auc",),
            [(f"{value:.6f}",) for value in record.stress_draws],
        )
    write_json(place / "origin.json", dict(record.origin))
    write_json(
        place / "trial.json",
        {
            "schema_version": SCHEMA_VERSION,
            "key": record.key,
            "seed": record.seed,
            "status": record.status,
            "reason": record.reason,
            **record.facts,
            **record.figures,
        },
    )


def read_record(folder: StudyFolder, name: str) -> TrialRecord | None:
    """Return the record of a trial; None if it has not ended.

    Raises:
        DataDamagedError: Its files are damaged or incomplete.
    """
    place = folder.trial(name)
    if not (place / "trial.json").exists():
        return None
    tree = read_json(place / "trial.json")
    try:
        facts = {key: tree.pop(key) for key in ("parameters", "epochs", "kept_epoch", "stopped_early")}
        done = tree["status"] == "done"
        lines = (place / "history.jsonl").read_text(encoding="utf-8").splitlines()
        return TrialRecord(
            key=tree.pop("key"),
            seed=tree.pop("seed"),
            status=tree.pop("status"),
            reason=tree.pop("reason"),
            facts=facts,
            figures={key: value for key, value in tree.items() if key != "schema_version"},
            history=[json.loads(line) for line in lines],
            logits=_column(place / "predictions.csv", "logit", done=done).astype(np.float32),
            stress_draws=_column(place / "stress_resamples.csv", "mean_roc_auc", done=done),
            origin=read_json(place / "origin.json"),
        )
    except (OSError, KeyError, ValueError) as problem:
        raise DataDamagedError(
            f"the record in {place} is damaged: {problem!r}.", "Delete that folder and run the study again."
        ) from None


def plain_history(history: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a training history without times, with None for figures that are not finite."""
    return [{"epoch": row["epoch"], **{key: _finite(row[key]) for key in EPOCH_FIGURES}} for row in history]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _column(path: Path, name: str, *, done: bool) -> npt.NDArray[np.float64]:
    if not done:
        return np.empty(0)
    return np.array([float(row[name]) for row in read_rows(path)], dtype=np.float64)
