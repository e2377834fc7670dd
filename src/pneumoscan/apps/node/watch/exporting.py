"""The rows of the queue as a CSV file, for the hospital's own statistics."""

import csv
import io
from collections.abc import Iterable
from datetime import UTC, datetime

from pneumoscan.apps.node.queue import Job

COLUMNS = (
    "sop_instance_uid", "study_instance_uid", "accession_number", "study_date", "device", "mode", "reading", "state",
    "code", "found_at", "done_at", "seconds", "label", "probability", "threshold", "operating_point", "warnings", "site",
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
