"""The rows for the hospital's own statistics: a CSV file of them, and how the answers agree with final diagnoses."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pneumoscan.bundle.spec import CLASS_NAMES
from pneumoscan.classifier import NOT_A_CHEST_FILM, UNSURE
from pneumoscan.data.layouts.table import open_rows
from pneumoscan.errors import LayoutError, NothingUsableError
from pneumoscan.evaluate.films import Answers, Share
from pneumoscan.node.desk import NodeVerdict, counting
from pneumoscan.node.queue import WAITING, Job
from pneumoscan.node.watch import watched, week_of
from pneumoscan.verdicts import AGREE, CANNOT_SAY, DISAGREE

_YES = frozenset(("1", "yes", "true", "pneumonia", "positive"))
_NO = frozenset(("0", "no", "false", "normal", "negative"))


@dataclass(frozen=True)
class Agreement:
    """What the table says of the answers; a study counts once, with the film of its highest probability.

    Attributes:
        studies: In the table, and with a film that the node has brought to an end.
        not_found: In the table, but the node has found no film of theirs, or not read one yet.
        unsure: Studies that were not answered, because their film is UNSURE.
        not_a_chest_film: Because every film of theirs is NOT_A_CHEST_FILM.
        not_read: Because every film of theirs was refused or could not be read.
        sensitivity: Answered PNEUMONIA, of all studies with pneumonia: one that was not answered counts as missed.
        specificity: Answered NORMAL, of all studies without: one that was not answered counts as wrong.
        answered_sensitivity: The same of the studies that were answered PNEUMONIA or NORMAL.
        answered_specificity: The same.
        answers: What was answered, and how often wrongly, of all studies.
    """

    studies: int
    not_found: int
    unsure: int
    not_a_chest_film: int
    not_read: int
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
            f"{self.studies} studies of the table came to the node; of {self.not_found} no film was found or read yet.",
            f"Sensitivity {_told(self.sensitivity)}, specificity {_told(self.specificity)}: of all these studies. "
            "A study that was not answered counts as wrong.",
            f"Not answered: {self.answers.not_answered.count} of {self.studies} ({self.unsure} UNSURE, "
            f"{self.not_a_chest_film} NOT_A_CHEST_FILM, {self.not_read} refused or not readable).",
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
    _, rows = open_rows(path)
    found: dict[str, int] = {}
    for row in rows:
        accession, said = (row.cells.get(name, "") for name in ("accession_number", "diagnosis"))
        if not accession or said.casefold() not in _YES | _NO:
            raise LayoutError(f"{row.place} has no accession number or no known diagnosis.", remedy)
        diagnosis = int(said.casefold() in _YES)
        if found.setdefault(accession, diagnosis) != diagnosis:
            raise LayoutError(f"{row.place} contradicts an earlier line on the same study.", remedy)
    return found


def agreement_of(jobs: Iterable[Job], diagnoses: Mapping[str, int]) -> Agreement:
    """Compare answers with diagnoses.

    Args:
        jobs: All rows of the queue; first readings count.
        diagnoses: 1 or 0 by accession number.

    Raises:
        NothingUsableError: No study of the table came to the node.
    """
    by_study: dict[str, list[Job]] = defaultdict(list)
    for job in watched(jobs):
        if job.state not in WAITING and job.accession_number in diagnoses:
            by_study[job.accession_number].append(job)
    if not by_study:
        raise NothingUsableError("no study of the table was read.", "Look at the accession numbers of both.")
    judged = [(diagnoses[number], max(films, key=_rank)) for number, films in by_study.items()]
    answered = [(truth, job) for truth, job in judged if job.label in CLASS_NAMES]
    labels = [job.label for _, job in judged]
    return Agreement(
        studies=len(judged),
        not_found=len(set(diagnoses) - set(by_study)),
        unsure=labels.count(UNSURE),
        not_a_chest_film=labels.count(NOT_A_CHEST_FILM),
        not_read=labels.count(""),
        sensitivity=_share(judged, 1),
        specificity=_share(judged, 0),
        answered_sensitivity=_share(answered, 1),
        answered_specificity=_share(answered, 0),
        answers=Answers.from_labels(
            [truth for truth, _ in judged], labels, [bool(job.warnings) for _, job in judged]
        ),
    )


@dataclass(frozen=True)
class WeekOfVerdicts:
    """What readers said of the answers for the films of one week.

    Attributes:
        week: ISO week; empty for all weeks together.
        agree: Verdicts that count (the last of each reader on each object), of those that agree or disagree.
    """

    week: str
    agree: Share
    disagree: int
    cannot_say: int

    def to_json(self) -> dict[str, Any]:
        """Return the JSON types."""
        return asdict(self)

    def sentence(self) -> str:
        """Return it in words."""
        when = self.week or "All weeks"
        return f"{when}: readers agree in {_told(self.agree)}; {self.cannot_say} times they cannot say."


def verdicts_by_week(jobs: Iterable[Job], verdicts: Iterable[NodeVerdict]) -> list[WeekOfVerdicts]:
    """Return how often readers agree, by week of the study, and of all weeks together at the end; empty without a verdict."""
    weeks = {job.id: week_of(job) for job in jobs}
    words: dict[str, list[str]] = defaultdict(list)
    for one in counting(verdicts):
        if one.object in weeks:
            words[weeks[one.object]].append(one.said.verdict)
    every = [word for week in words.values() for word in week]
    return [_week_of_verdicts(*item) for item in [*sorted(words.items()), ("", every)] if item[1]]


def _week_of_verdicts(week: str, words: list[str]) -> WeekOfVerdicts:
    agree, disagree = words.count(AGREE), words.count(DISAGREE)
    return WeekOfVerdicts(week, Share.from_count(agree, agree + disagree), disagree, words.count(CANNOT_SAY))


def _rank(job: Job) -> tuple[bool, bool, float]:
    """Rank the films of a study: those with a probability first, and those that were read before others."""
    chest = bool(job.label) and job.label != NOT_A_CHEST_FILM
    return chest, bool(job.label), job.probability or 0.0


def _share(pairs: list[tuple[int, Job]], diagnosis: int) -> Share:
    """Return the share of studies with a diagnosis that were answered so."""
    right = [job.label == CLASS_NAMES[diagnosis] for truth, job in pairs if truth == diagnosis]
    return Share.from_count(sum(right), len(right))


def _told(share: Share) -> str:
    if share.share is None or share.ci95 is None:
        return "undefined (no study)"
    low, high = share.ci95
    return f"{100 * share.share:.1f}% (95% CI {100 * low:.1f}–{100 * high:.1f}%, {share.count} of {share.of})"


COLUMNS = (
    "sop_instance_uid", "study_instance_uid", "accession_number", "study_date", "device", "mode", "reading", "state",
    "code", "found_at", "done_at", "seconds", "label", "probability", "threshold", "operating_point", "warnings",
    "model", "report_uid", "picture_uid",
)  # fmt: skip
# What a spreadsheet takes for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_of(jobs: Iterable[Job]) -> Iterable[str]:
    """Yield a CSV file line by line: `COLUMNS`, then one row for each job.

    Times are ISO 8601 in UTC; `seconds` is the time from arrival to the end. Probabilities have all their digits. Texts from
    outside that a spreadsheet would take for a formula get an apostrophe before them.
    """
    yield _line(COLUMNS)
    for job in jobs:
        yield _line([_value(job, name) for name in COLUMNS])


def _line(values: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


def _value(job: Job, name: str) -> str:
    if name == "seconds":
        return "" if job.done_at is None else f"{job.done_at - job.found_at:.3f}"
    value = getattr(job, name)
    if value is None:
        return ""
    if name in {"found_at", "done_at"}:
        return datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds")
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text
