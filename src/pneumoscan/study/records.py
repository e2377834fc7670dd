"""The record of a trial: figures, history and predictions, without weights. `study.folder` lists the files."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import DataDamagedError
from pneumoscan.files import write_atomic, write_json
from pneumoscan.study.folder import SCHEMA_VERSION, StudyFolder, read_json, read_rows, write_rows
from pneumoscan.train.config import TrainingConfig, to_toml

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
        write_rows(place / "predictions.csv", ("film", "logit"), rows)
        write_rows(
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
