"""Finding new films, again and again: every few seconds the last days, every night the last weeks.

Every PACS is asked by QIDO-RS, page after page of the studies of a few days, for a query has no "since". What was seen before
costs one look into the queue. A study whose date the header does not tell, or tells wrongly, is not found by its date; a
longer window, or C-STORE, finds it.

Orthanc is asked for its list of changes: every object that arrives, whatever its date, by a number that only grows. The number
up to which the list was read is kept in the transaction that makes the rows. Orthanc's events (`OnStableStudy`) live in its
memory and are lost with it; the list is not.
"""

import logging
import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from pneumoscan.errors import EnvironmentProblemError, PacsAnswerError, PacsError
from pneumoscan.node.audit import Audit
from pneumoscan.node.client import Backoff
from pneumoscan.node.header import Header
from pneumoscan.node.pacs import Pacs, header_of
from pneumoscan.node.queue import Arrival, Queue
from pneumoscan.node.settings import Config

log = logging.getLogger("pneumoscan.node")
LAST_SEARCH, LAST_PROBLEM, LAST_SWEEP = "find.last", "find.problem", "find.swept"
# A search that took long is followed by a pause of four times as long: the PACS has others to answer.
_PAUSE_PER_SECOND = 4.0
_DISK_SECONDS = 30.0


@dataclass(frozen=True)
class Found:
    """What one search has found: objects that the PACS listed, those not known before, and our own results, which are left alone."""

    seen: int = 0
    new: int = 0
    own: int = 0

    def __add__(self, other: "Found") -> "Found":
        return Found(self.seen + other.seen, self.new + other.new, self.own + other.own)


def search_days(
    pacs: Pacs, queue: Queue, config: Config, *, since: date, until: date, reading: str = ""
) -> Found:
    """Put every radiograph of these days into the queue that is not there yet.

    Args:
        pacs: The PACS.
        queue: The queue; each page is one transaction.
        config: Modalities, page and mode.
        since: First date of the studies.
        until: Last date of the studies.
        reading: Empty, or what identifies the model for another reading of films that were read before.

    Raises:
        PacsAwayError, PacsAnswerError: What was found before is in the queue.
    """
    total = Found()
    for modality in config.find.modalities:
        days = f"{since:%Y%m%d}-{until:%Y%m%d}"
        for page in pacs.pages({"StudyDate": days, "Modality": modality}, config.find.page):
            total += enqueue(queue, page, config, source="qido", reading=reading)
    return total


def enqueue(
    queue: Queue,
    page: Iterable[Header],
    config: Config,
    *,
    source: str,
    reading: str = "",
    mark: tuple[str, str] | None = None,
) -> Found:
    """Put the objects of one answer into the queue; our own results stay out."""
    headers = [header for header in page if header.sop_instance_uid]
    films = [header for header in headers if not header.is_own_result]
    new = queue.add(arrivals_of(films, source, config.node.mode, reading), mark)
    return Found(len(headers), new, len(headers) - len(films))


def arrivals_of(headers: Iterable[Header], source: str, mode: str, reading: str = "") -> Iterator[Arrival]:
    """Yield what the queue keeps of each object."""
    for header in headers:
        yield Arrival(
            sop_instance_uid=header.sop_instance_uid,
            study_instance_uid=header.study_instance_uid,
            series_instance_uid=header.series_instance_uid,
            source=source,
            mode=mode,
            reading=reading,
            study_date=header.study_date,
            accession_number=header.accession_number,
            device=header.device,
        )


_CHANGES_READ = "orthanc.seq"
_IDENTIFIER = re.compile(r"[0-9a-f-]{20,64}")


def follow_changes(pacs: Pacs, queue: Queue, config: Config) -> Found:
    """Put every radiograph into the queue that arrived since the last call.

    Raises:
        PacsAwayError, PacsAnswerError: What was found before is in the queue, and the next call goes on from there.
    """
    total, done = Found(), False
    while not done:
        last = int(queue.mark(_CHANGES_READ) or 0)
        answer = _changes(pacs, config, last)
        if answer["Last"] < last:  # another Orthanc, or one whose database was made anew
            queue.set_mark(_CHANGES_READ, "0")
            continue
        found = [
            _header_of_change(pacs, config, change)
            for change in answer["Changes"]
            if change.get("ChangeType") == "NewInstance"
        ]
        page = [one for one in found if one is not None and one.modality in config.find.modalities]
        total += enqueue(queue, page, config, source="orthanc", mark=(_CHANGES_READ, str(answer["Last"])))
        # A list that does not go on, though it says that it is not at its end, would be asked for without a pause.
        done = bool(answer["Done"]) or answer["Last"] == last
    return total


def _changes(pacs: Pacs, config: Config, since: int) -> dict[str, Any]:
    answer = pacs.get_json(
        f"{_orthanc(config)}/changes", {"since": str(since), "limit": str(config.find.page)}
    )
    legal = (
        isinstance(answer, dict)
        and isinstance(answer.get("Changes"), list)
        and isinstance(answer.get("Last"), int)
    )
    if not legal or "Done" not in answer:
        raise PacsAnswerError(
            "pacs.orthanc gives no list of changes.", "See that it is Orthanc's own address."
        )
    changes: dict[str, Any] = answer
    return changes


def _header_of_change(pacs: Pacs, config: Config, change: dict[str, Any]) -> Header | None:
    """Return the header of an instance; None where it was deleted meanwhile."""
    identifier = str(change.get("ID"))
    if not _IDENTIFIER.fullmatch(identifier):
        raise PacsAnswerError(
            "pacs.orthanc gives no list of changes.", "See that it is Orthanc's own address."
        )
    tags = pacs.get_json(f"{_orthanc(config)}/instances/{identifier}/tags", {"short": ""}, absent=True)
    if not isinstance(tags, dict):
        return None
    # Orthanc writes the tags as `0008,0018` and their values as plain text.
    return header_of({tag.replace(",", "").upper(): {"Value": [value]} for tag, value in tags.items()})


def _orthanc(config: Config) -> str:
    return config.pacs.orthanc.rstrip("/")


def find(pacs: Pacs, queue: Queue, config: Config, audit: Audit, stop: threading.Event) -> None:
    """Search for new films until `stop` is set.

    Raises:
        DataDamagedError: The queue is damaged.
    """
    backoff = Backoff()
    while not stop.is_set():
        begun = time.monotonic()
        try:
            found = search_once(pacs, queue, config)
            sweep_if_due(pacs, queue, config, audit)
            _record(queue, audit, found)
            backoff.succeeded()
            pause = max(config.find.every_seconds, _PAUSE_PER_SECOND * (time.monotonic() - begun))
        except PacsError as problem:
            pause = backoff.failed(problem.seconds)
            with suppress(EnvironmentProblemError):
                queue.set_mark(LAST_PROBLEM, problem.code)
            log.warning("looking again in %.0f s: %s: %s", pause, problem.code, problem.message)
        except EnvironmentProblemError as problem:
            pause = _DISK_SECONDS
            log.warning("looking again in %.0f s: %s: %s", pause, problem.code, problem.message)
        stop.wait(pause)


def _record(queue: Queue, audit: Audit, found: Found) -> None:
    queue.set_mark(LAST_PROBLEM, "")
    queue.set_mark(LAST_SEARCH, str(queue.now()))
    if found.new:
        audit.write("found", new=found.new)
        log.info("found %d new of %d", found.new, found.seen)


def search_once(pacs: Pacs, queue: Queue, config: Config) -> Found:
    """Search once; raises as `search_days` and `follow_changes`."""
    if config.pacs.orthanc:
        return follow_changes(pacs, queue, config)
    return search_days(pacs, queue, config, since=_days_ago(config.find.days - 1), until=_days_ago(-1))


def sweep_if_due(pacs: Pacs, queue: Queue, config: Config, audit: Audit, now: datetime | None = None) -> bool:
    """Search the last weeks, once a night; return whether that was done."""
    moment = now or datetime.now().astimezone()
    hour, minute = map(int, config.find.sweep_at.split(":"))
    due = moment.replace(hour=hour, minute=minute, second=0, microsecond=0)
    today = f"{moment:%Y%m%d}"
    if not config.find.sweep_days or moment < due or queue.mark(LAST_SWEEP) == today:
        return False
    found = search_days(pacs, queue, config, since=_days_ago(config.find.sweep_days), until=_days_ago(-1))
    queue.set_mark(LAST_SWEEP, today)
    audit.write("swept", new=found.new)
    return True


def _days_ago(days: int) -> date:
    """Return the date so many days ago; tomorrow is one where clocks differ."""
    return datetime.now().astimezone().date() - timedelta(days=days)
