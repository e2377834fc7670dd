"""The steps of one film: each begins with a row in a state that is committed, and ends with one in the next.

    found ── fetch ──► fetched ── read ──► made ── send ──► stored ── confirm ──► done
                                     ├── in shadow mode ────────────────────────► done
                                     └── left out by the rules ─────────────────► skipped

A step that is done twice does no harm: fetching gives the same bytes, reading the same results (their time is kept before they
are made), sending begins with a query for what is there.
"""

import asyncio
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pneumoscan.errors import FilmError, FilmIdentityError, PacsAnswerError, PacsError
from pneumoscan.node import push, reader
from pneumoscan.node.desk import keep_picture
from pneumoscan.node.exams import reason_not_to_read
from pneumoscan.node.header import Header, read_header, read_source
from pneumoscan.node.pacs import FilmResults, Pacs, confirm_results, send_results
from pneumoscan.node.queue import WAITING, Job, LeaseLostError, Message, Queue, State
from pneumoscan.node.results import Finding, Writer, write_fhir
from pneumoscan.node.settings import Config
from pneumoscan.node.spool import PICTURE, REPORT, STATE, Spool
from pneumoscan.workers.pool import FilmPool
from pneumoscan.workers.protocol import Reading

OWN_RESULT = "own_result"
SPOOL_LOST = "spool_lost"
_TRIES_OF_HEADER = 2

Outcome = Job | PacsError | LeaseLostError
"""A row in its next state, or what went wrong."""


class SameFilmError(Exception):
    """The object is one that has a row already, in another coding; its own row is gone."""


class NotYetError(Exception):
    """It is too early: the object that came first with the same UID has not been read yet, or the study may not be complete."""

    def __init__(self, seconds: float = 1.0) -> None:
        super().__init__()
        self.seconds = seconds


@dataclass(frozen=True)
class Tools:
    """What the steps work with; the writer is what the results are made by."""

    config: Config
    queue: Queue
    pacs: Pacs
    spool: Spool
    pool: FilmPool
    writer: Writer


def fetch(tools: Tools, job: Job) -> Job:
    """Fetch the file of a found object.

    Raises:
        FilmIdentityError: It has no legal study or series UID.
        PacsAwayError, PacsAnswerError: It could not be fetched.
        DiskFullError, NotWritableError: It could not be kept.
        NotYetError: See `_wait_for_quiet`.
    """
    _wait_for_quiet(tools, job)
    tools.spool.check_room()
    place = _study_and_series(tools.pacs, job)
    content = tools.pacs.fetch(place.study_instance_uid, place.series_instance_uid, job.sop_instance_uid)
    try:
        header, stored, pixels = read_header(content)
    except FilmError as problem:
        # Once may be a fault of the transfer.
        if job.attempts < _TRIES_OF_HEADER:
            raise PacsAnswerError("the object that the PACS sent is damaged.", str(problem.remedy)) from None
        return tools.queue.advance(job, State.REFUSED, code=problem.code)
    if header.sop_instance_uid != job.sop_instance_uid:
        raise PacsAnswerError("the PACS sent another object than was asked for.", "Ask its administrator.")
    facts: dict[str, Any] = {
        "study_instance_uid": header.study_instance_uid or place.study_instance_uid,
        "series_instance_uid": header.series_instance_uid or place.series_instance_uid,
        "study_date": header.study_date,
        "accession_number": header.accession_number,
        "device": header.device,
        "stored_sha256": stored,
    }
    if pixels:
        facts["pixels_sha256"] = pixels
    if header.is_own_result:
        return tools.queue.advance(job, State.REFUSED, code=OWN_RESULT, **facts)
    if pixels and _has_other_pixels(tools.queue, job, pixels):
        return tools.queue.advance(job, State.CONFLICT, **facts)
    name = tools.spool.put(content)
    return tools.queue.advance(job, State.FETCHED, host=tools.config.name, spool=name, **facts)


def _wait_for_quiet(tools: Tools, job: Job) -> None:
    """Raise NotYetError while objects of the same study may still arrive; what the queue knows of them outlasts this process."""
    quiet = tools.config.exams.quiet_seconds
    if not quiet or not job.study_instance_uid:
        return
    passed = tools.queue.now() - tools.queue.last_arrival(job.study_instance_uid)
    if 0 <= passed < quiet:  # what was found in the future was found before the clock was set back
        raise NotYetError(quiet - passed)


def _study_and_series(pacs: Pacs, job: Job) -> Header:
    """Return study and series of an object, asking for them where they are not known."""
    if job.study_instance_uid and job.series_instance_uid:
        return Header(job.sop_instance_uid, job.study_instance_uid, job.series_instance_uid)
    for header in pacs.search({"SOPInstanceUID": job.sop_instance_uid}, limit=2):
        if header.sop_instance_uid == job.sop_instance_uid:
            if not (header.study_instance_uid and header.series_instance_uid):
                raise FilmIdentityError(
                    "the PACS lists the object with a study or series UID that is missing or no UID, so it cannot be fetched.",
                    "Have the header corrected.",
                )
            return header
    raise PacsAnswerError("the PACS no longer has an object that it listed.", "See whether it was deleted.")


def _has_other_pixels(queue: Queue, job: Job, pixels: str) -> bool:
    """Tell whether the pixels are others than were seen before under that UID."""
    return bool({row.pixels_sha256 for row in _first_rows(queue, job) if row.pixels_sha256} - {pixels})


def _first_rows(queue: Queue, job: Job) -> Iterator[Job]:
    """Return the rows of the object that came first with that UID: one for each reading."""
    return queue.jobs(where={"sop_instance_uid": job.sop_instance_uid, "variant": ""})


def _compare_pixels(tools: Tools, job: Job, pixels: str) -> Job | None:
    """Compare a film that was read with what was seen before under its UID; None if it is what it should be.

    Returns:
        The row at its end if the object is another one than the one that came first.

    Raises:
        SameFilmError: It is the one that came first, in another coding; the row is gone.
        NotYetError: That one has not been read yet.
    """
    if not job.variant:
        if _has_other_pixels(tools.queue, job, pixels):
            return tools.queue.advance(job, State.CONFLICT, pixels_sha256=pixels)
        return None
    first = list(_first_rows(tools.queue, job))
    known = {row.pixels_sha256 for row in first if row.pixels_sha256}
    if pixels in known:
        raise _discarded(tools, job)
    unread = next((row for row in first if row.state in {State.PARKED, State.SKIPPED}), None)
    if not known and unread is not None:
        return tools.queue.advance(job, unread.state, code=unread.code, pixels_sha256=pixels)
    if not known and any(row.state in WAITING for row in first):
        raise NotYetError
    return tools.queue.advance(job, State.CONFLICT, pixels_sha256=pixels)


def _discarded(tools: Tools, job: Job) -> "SameFilmError":
    tools.queue.discard(job)
    tools.spool.drop(job.spool)
    return SameFilmError()


def _settle_refusal(tools: Tools, job: Job, code: str) -> None:
    """Discard an object that is refused or skipped as the one is that came first with its UID; or wait for that one."""
    first = list(_first_rows(tools.queue, job))
    if any(row.state in {State.REFUSED, State.SKIPPED, State.PARKED} and row.code == code for row in first):
        raise _discarded(tools, job)
    if any(row.state in WAITING for row in first):
        raise NotYetError


async def read(tools: Tools, job: Job) -> Job:
    """Read a film, and make its results unless the mode is `shadow`.

    Raises:
        FilmError, BundleError, EnvironmentProblemError, PoolStoppedError: See `FilmPool.read`.
        DiskFullError, NotWritableError: The results could not be kept.
        SameFilmError, NotYetError: See `_compare_pixels` and `_wait_for_quiet`.
    """
    job, content = await asyncio.to_thread(_film_and_time, tools, job)
    if content is None:
        return job
    made_at = None if job.made_at is None else datetime.fromtimestamp(job.made_at, UTC).astimezone()
    settings = tools.config.node
    asked = reader.request(
        tools.writer,
        made_at,
        settings.character_set,
        job.pixels_sha256,
        pictured=settings.pictures > 0,
        state=settings.outlines,
    )
    try:
        reading = await tools.pool.read(content, threshold=tools.writer.threshold, want=asked)
    except FilmError as problem:
        if job.variant:
            await asyncio.to_thread(_settle_refusal, tools, job, problem.code)
        raise
    return await asyncio.to_thread(_keep_results, tools, job, content, reading, made_at)


def _film_and_time(tools: Tools, job: Job) -> tuple[Job, bytes | None]:
    """Return a film's bytes, and keep the time of its results.

    Without its file it is fetched anew, or parked; if the rules leave it out, it is skipped. There are no bytes then.
    """
    _wait_for_quiet(tools, job)
    content = tools.spool.read(job.spool) if job.host == tools.config.name else None
    if content is None:
        return _fetch_anew(tools, job), None
    reason = reason_not_to_read(content, tools.config.exams.rules)
    if reason:
        if job.variant:
            _settle_refusal(tools, job, reason)
        return tools.queue.advance(job, State.SKIPPED, code=reason), None
    return (tools.queue.stamp(job) if job.mode == "live" else replace(job, made_at=None)), content


def _keep_results(tools: Tools, job: Job, film: bytes, reading: Reading, made_at: datetime | None) -> Job:
    """Keep what was found, and the results where there are any: in the spool, before anything is sent."""
    pixels = reading.row["pixels_sha256"]
    ended = _compare_pixels(tools, job, pixels)
    if ended is not None:
        return ended
    finding = _finding(reading.row, tools.writer) | {"pixels_sha256": pixels}
    if made_at is None:
        if reading.files:
            keep_picture(tools.config, job.id, reading.files[0])
        return tools.queue.advance(job, State.DONE, **finding)
    messages = _write_and_list_messages(tools, film, reading.row, made_at)
    files = {}
    columns = {"state_uid": "", "state_sha256": ""}
    for one, content in zip(reading.row["results"], reading.files, strict=True):
        files[job.spool + {"report": REPORT, "picture": PICTURE, "state": STATE}[one["kind"]]] = content
        columns[f"{one['kind']}_uid"] = one["sop_instance_uid"]
        columns[f"{one['kind']}_sha256"] = hashlib.sha256(content).hexdigest()
    tools.spool.write(files)
    return tools.queue.advance(job, State.MADE, messages=messages, **finding, **columns)


def _fetch_anew(tools: Tools, job: Job) -> Job:
    """Fetch an object anew whose file, or the results made of it, are not here; an object that the PACS never had cannot be."""
    if job.source == "c-store":
        return tools.queue.advance(job, State.PARKED, code=SPOOL_LOST)
    return tools.queue.advance(job, State.FOUND, host="", spool="")


def _finding(row: Mapping[str, Any], writer: Writer) -> dict[str, Any]:
    taken = {name: row[name] for name in ("label", "probability", "threshold", "model")}
    return taken | {"warnings": ";".join(row["warnings"]), "operating_point": writer.operating_point}


def _write_and_list_messages(
    tools: Tools, film: bytes, row: Mapping[str, Any], made_at: datetime
) -> list[Message]:
    """Write what was found as FHIR where the settings name a folder, and return what is to be pushed; done again, both are the same."""
    folder = tools.config.path(tools.config.node.fhir)
    if folder is None and not tools.config.pushes:
        return []
    answer = {name: row[name] for name in ("label", "probability", "threshold")}
    found = Finding(**answer, operating_point=tools.writer.operating_point, warnings=tuple(row["warnings"]))
    character_set = tools.config.node.character_set
    pixels = row["pixels_sha256"]
    if folder is not None:
        write_fhir(
            folder, film, found, tools.writer, made_at=made_at, undeclared=character_set, pixels_sha256=pixels
        )
    source = read_source(film, undeclared=character_set, pixels_sha256=pixels)
    return list(push.messages(tools.config, source, found, tools.writer, made_at=made_at))


def send(tools: Tools, jobs: Sequence[Job]) -> list[Outcome]:
    """Store the results for several films; return for each its row in the next state, or what went wrong.

    Raises:
        PacsAwayError, PacsAnswerError: It is not known of any whether it is stored.
    """
    results = [_results_of(tools, job) for job in jobs]
    here = [one for one in results if one is not None]
    problems = iter(send_results(tools.pacs, here) if here else ())
    outcomes = [
        _outcome_without_files(tools, job) if one is None else next(problems)
        for job, one in zip(jobs, results, strict=True)
    ]
    return _advanced(tools, jobs, outcomes, State.STORED)


def confirm(tools: Tools, jobs: Sequence[Job]) -> list[Outcome]:
    """See that queries find the results for several films; returns and raises as `send`."""
    problems = confirm_results(tools.pacs, [_studies(job) for job in jobs])
    return _advanced(tools, jobs, problems, State.DONE)


def _advanced(
    tools: Tools, jobs: Sequence[Job], outcomes: Sequence[Outcome | None], state: State
) -> list[Outcome]:
    """Bring the rows without an outcome to a state, in one transaction."""
    without = [job for job, outcome in zip(jobs, outcomes, strict=True) if outcome is None]
    advanced = iter(tools.queue.advance_all(without, state))
    return [next(advanced) if outcome is None else outcome for outcome in outcomes]


def _results_of(tools: Tools, job: Job) -> FilmResults | None:
    """Return the results of a film from the spool; None if they are not here."""
    if job.host != tools.config.name:
        return None
    endings = {job.report_uid: REPORT, job.picture_uid: PICTURE} | (
        {job.state_uid: STATE} if job.state_uid else {}
    )
    results = {uid: tools.spool.read(job.spool + ending) for uid, ending in endings.items()}
    here = {uid: content for uid, content in results.items() if content is not None}
    return FilmResults(job.study_instance_uid, here) if len(here) == len(results) else None


def _outcome_without_files(tools: Tools, job: Job) -> Outcome | None:
    """Return what becomes of a row whose results are not here: None if the PACS has them; if not, they are made again."""
    try:
        return _fetch_anew(tools, job) if tools.pacs.missing(_studies(job)) else None
    except (PacsError, LeaseLostError) as problem:
        return problem


def _studies(job: Job) -> dict[str, str]:
    """Return the study instance UID of each result, by the result's SOP instance UID."""
    uids = (job.report_uid, job.picture_uid, job.state_uid)
    return dict.fromkeys(filter(None, uids), job.study_instance_uid)


def drop_files(tools: Tools, job: Job) -> None:
    """Empty the spool of a row that came to its end; what is parked may begin again, and keeps its file."""
    if job.spool and job.host == tools.config.name and job.state is not State.PARKED:
        with suppress(OSError):
            tools.spool.drop(job.spool)
