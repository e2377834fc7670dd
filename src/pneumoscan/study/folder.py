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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pneumoscan.errors import DataDamagedError
from pneumoscan.files import write_atomic

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


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as CSV; paths may contain bytes that are not UTF-8."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows((header, *rows))
    write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"))


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table that `write_rows` wrote.

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
