"""Patient and cause of the pneumonia from the file names of the Kaggle and Mendeley sets."""

import re
from pathlib import PurePosixPath
from typing import NamedTuple

from pneumoscan.data.manifest import Split

# person1946_bacteria_4874, person124_virus_249, person63_virus_123_1
_PERSON = re.compile(r"(person\d+)_(bacteria|virus)_\d", re.IGNORECASE)
# IM-0115-0001, NORMAL2-IM-1427-0001, IM-0429-0001-0002
_NORMAL = re.compile(r"((?:NORMAL\d*-)?IM-\d+)-\d", re.IGNORECASE)
# BACTERIA-1008087-0001, VIRUS-1980593-0002, NORMAL-1003233-0001: the three share one numbering of patients
_MENDELEY = re.compile(r"(NORMAL|BACTERIA|BAC|VIRUS)-(\d+)-\d+$", re.IGNORECASE)


class NameFacts(NamedTuple):
    """Information from the file name of a film.

    Attributes:
        patient_id: The patient part of the name; the whole stem if the name follows no known rule.
        cause: `bacteria`, `virus`, or None if unknown.
    """

    patient_id: str
    cause: str | None


_SPLITS: dict[str, Split] = {"train": "train", "val": "val", "test": "test"}


def split_named(name: str) -> Split | None:
    """Return the split with a name, in upper or lower case; None if there is none."""
    return _SPLITS.get(name.strip().lower())


def facts_of(path: str) -> NameFacts:
    """Return patient and cause from the last part of a path (with `/`).

    Numbers may start again in the `test` folder of the Kaggle set. The same `patient_id` in `train` and `test` is therefore
    an indication, not a proof, of the same patient.
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
