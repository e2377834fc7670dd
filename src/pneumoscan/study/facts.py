"""The files that all trials of a study share: the facts about films and machine, and the held-out films."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import DataDamagedError
from pneumoscan.study.films import StudyFilms
from pneumoscan.study.folder import SCHEMA_VERSION, StudyFolder, read_json, read_rows, write_rows
from pneumoscan.study.trials import Conditions, Machine


@dataclass(frozen=True)
class StudyFacts:
    """Facts that all trials of a study share.

    Attributes:
        conditions: Films, hold-out and settings of the machine.
        train: Number of training films.
        held_out: Number of held-out films.
        patients: Number of patients of the held-out films.
        synthetic: Whether the films are synthetic.
    """

    conditions: Conditions
    train: int
    held_out: int
    patients: int
    synthetic: bool

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON types."""
        tree = asdict(self)
        conditions = tree.pop("conditions")
        machine = conditions["machine"]
        # The names `ground` and `lanes` are those of earlier versions, whose files are still read.
        ground = {**conditions, "machine": {"lanes": machine.pop("worker_threads"), **machine}}
        return {"schema_version": SCHEMA_VERSION, "ground": ground, **tree}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "StudyFacts":
        """Return the facts from the result of `to_json`."""
        conditions, machine = tree["ground"], tree["ground"]["machine"]
        return cls(
            Conditions(
                Machine(machine["lanes"], machine["precision"], machine["device"]),
                conditions["data_sha256"],
                conditions["held_out_sha256"],
            ),
            tree["train"],
            tree["held_out"],
            tree["patients"],
            tree["synthetic"],
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
    write_rows(folder.held_out, ("film", "path", "patient_id", "y_true"), rows)


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
