"""What the file names of the Kaggle and Mendeley sets tell: whose film it is, and what caused the pneumonia."""

import re
from pathlib import PurePosixPath
from typing import NamedTuple

from pneumoscan.data.manifest import Split

# person1946_bacteria_4874, person124_virus_249, person63_virus_123_1
_PERSON = re.compile(r"(person\d+)_(bacteria|virus)_\d", re.IGNORECASE)
# IM-0115-0001, NORMAL2-IM-1427-0001, IM-0429-0001-0002
_NORMAL = re.compile(r"((?:NORMAL\d*-)?IM-\d+)-\d", re.IGNORECASE)
# BACTERIA-1008087-0001, VIRUS-1980593-0002, NORMAL-1003233-0001: one numbering of patients for the three
_MENDELEY = re.compile(r"(NORMAL|BACTERIA|BAC|VIRUS)-(\d+)-\d+$", re.IGNORECASE)


class NameFacts(NamedTuple):
    """What a film's file name tells.

    Attributes:
        patient_id: The patient part of the name; the whole stem where the name follows no known rule.
        cause: `bacteria`, `virus`, or None where the name does not tell.
    """

    patient_id: str
    cause: str | None


_SPLITS: dict[str, Split] = {"train": "train", "val": "val", "test": "test"}


def split_named(name: str) -> Split | None:
    """Return the split that a folder or a cell names, in whatever case; None if it names none."""
    return _SPLITS.get(name.strip().lower())


def facts_of(path: str) -> NameFacts:
    """Read the patient and the cause from a film's path (with `/`); only the last part is looked at.

    Numbers may start anew in the `test` folder of the Kaggle set, so the same `patient_id` in `train` and `test` is
    a hint, not a proof, of the same patient.
    """
    stem = PurePosixPath(path).stem or path
    if match := _PERSON.match(stem):
        return NameFacts(match[1], match[2].lower())
    if match := _NORMAL.match(stem):
        return NameFacts(match[1], None)
    if match := _MENDELEY.match(stem):
        cause = {"b": "bacteria", "v": "virus"}.get(match[1][0].lower())
        return NameFacts(match[2], cause)
    return NameFacts(stem, None)
