"""How the model's answers agree with final diagnoses: a table of accession numbers and diagnoses beside the queue."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pneumoscan.apps.node.queue import Job
from pneumoscan.apps.node.watch.weeks import watched
from pneumoscan.errors import LayoutError, NothingUsableError
from pneumoscan.evaluation.answers import CLASSES, Answers, Share
from pneumoscan.inference.abstention import NOT_A_CHEST_FILM

_YES = frozenset(("1", "yes", "true", "pneumonia", "positive"))
_NO = frozenset(("0", "no", "false", "normal", "negative"))


@dataclass(frozen=True)
class Agreement:
    """What the table says of the answers; a study counts once, with the film of its highest probability.

    Attributes:
        studies: In the table and read by the model, with a probability.
        not_read: In the table, but not read by the model.
        not_a_chest_film: In the table, and every film of theirs is NOT_A_CHEST_FILM.
        sensitivity: Probability at or above the threshold, of the studies with pneumonia; UNSURE counts by its probability.
        specificity: Probability below the threshold, of the studies without.
        answered_sensitivity: The same of the studies that were answered PNEUMONIA or NORMAL.
        answered_specificity: The same.
        answers: What was answered, and how often wrongly.
    """

    studies: int
    not_read: int
    not_a_chest_film: int
    sensitivity: Share
    specificity: Share
    answered_sensitivity: Share
    answered_specificity: Share
    answers: Answers

    def to_json(self) -> dict[str, Any]:
        """Return the JSON types."""
        return asdict(self)

    def sentences(self) -> list[str]:
        """Return it in words."""
        return [
            f"{self.studies} studies have a diagnosis and a reading; {self.not_read} have a diagnosis alone, and of "
            f"{self.not_a_chest_film} no film was a chest film to the model.",
            f"Sensitivity {_told(self.sensitivity)}, specificity {_told(self.specificity)}: every study by its probability.",
            f"Where the model answered ({_told(self.answers.answered)}): sensitivity {_told(self.answered_sensitivity)}, "
            f"specificity {_told(self.answered_specificity)}.",
            f"Answered wrongly without a warning: {_told(self.answers.confident_and_wrong)}.",
        ]


def read_diagnoses(path: Path) -> dict[str, int]:
    """Read a CSV file with the columns `accession_number` and `diagnosis`.

    A diagnosis is 1, yes, true, positive or PNEUMONIA; or 0, no, false, negative or NORMAL.

    Returns:
        1 or 0 by accession number.

    Raises:
        LayoutError: The file cannot be read, lacks a column, or has a diagnosis that is none or contradicts another; the line
            is named, not the accession number.
    """
    remedy = "Give a CSV file with the columns accession_number and diagnosis (PNEUMONIA or NORMAL)."
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error):
        raise LayoutError(f"{path} cannot be read as CSV.", remedy) from None
    found: dict[str, int] = {}
    for line, row in enumerate(rows, start=2):
        accession, said = ((row.get(name) or "").strip() for name in ("accession_number", "diagnosis"))
        if not accession or said.casefold() not in _YES | _NO:
            raise LayoutError(f"line {line} of {path} has no accession number or no known diagnosis.", remedy)
        diagnosis = int(said.casefold() in _YES)
        if found.setdefault(accession, diagnosis) != diagnosis:
            raise LayoutError(f"line {line} of {path} contradicts an earlier line on the same study.", remedy)
    return found


def agreement_of(jobs: Iterable[Job], diagnoses: Mapping[str, int]) -> Agreement:
    """Compare answers with diagnoses.

    Args:
        jobs: All rows of the queue; first readings count.
        diagnoses: 1 or 0 by accession number.

    Raises:
        NothingUsableError: No study of the table was read.
    """
    by_study: dict[str, list[Job]] = defaultdict(list)
    for job in watched(jobs):
        if job.label and job.accession_number in diagnoses:
            by_study[job.accession_number].append(job)
    judged = {
        number: max(films, key=lambda job: job.probability or 0.0)
        for number, films in ((n, _chest_films(found)) for n, found in by_study.items())
        if films
    }
    if not judged:
        raise NothingUsableError("no study of the table was read.", "Look at the accession numbers of both.")
    pairs = [(diagnoses[number], job) for number, job in judged.items()]
    answered = [(truth, job) for truth, job in pairs if job.label in CLASSES]
    return Agreement(
        studies=len(pairs),
        not_read=len(set(diagnoses) - set(by_study)),
        not_a_chest_film=len(by_study) - len(judged),
        sensitivity=_share(pairs, 1),
        specificity=_share(pairs, 0),
        answered_sensitivity=_share(answered, 1),
        answered_specificity=_share(answered, 0),
        answers=Answers.from_labels(
            [truth for truth, _ in pairs],
            [job.label for _, job in pairs],
            [bool(job.warnings) for _, job in pairs],
        ),
    )


def _chest_films(jobs: list[Job]) -> list[Job]:
    return [job for job in jobs if job.label != NOT_A_CHEST_FILM and job.probability is not None]


def _share(pairs: list[tuple[int, Job]], diagnosis: int) -> Share:
    """Return the share of studies with a diagnosis whose probability says the same."""
    called = [
        int((job.probability or 0.0) >= (job.threshold or 0.0)) for truth, job in pairs if truth == diagnosis
    ]
    return Share.from_count(sum(call == diagnosis for call in called), len(called))


def _told(share: Share) -> str:
    if share.share is None or share.ci95 is None:
        return "undefined (no study)"
    low, high = share.ci95
    return f"{100 * share.share:.1f}% (95% CI {100 * low:.1f}–{100 * high:.1f}%, {share.count} of {share.of})"
