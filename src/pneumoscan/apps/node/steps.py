"""The steps of one film: each begins with a row in a state that is committed, and ends with one in the next.

    found ── fetch ──► fetched ── read ──► made ── send ──► stored ── look ──► done
                                     └── in shadow mode ─────────────────────► done

A step that is done twice does no harm: fetching gives the same bytes, reading the same results (their time is kept before they
are made), sending begins with a look at what is there.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pneumoscan.apps.node import reader, store
from pneumoscan.apps.node.config import Config
from pneumoscan.apps.node.header import Header, read_header
from pneumoscan.apps.node.pacs import Pacs
from pneumoscan.apps.node.queue import Job, Queue, State
from pneumoscan.apps.node.results import Finding, Writer, is_own_result, write_fhir
from pneumoscan.apps.node.spool import PICTURE, REPORT, Spool
from pneumoscan.apps.workers.pool import FilmPool
from pneumoscan.apps.workers.protocol import Reading
from pneumoscan.errors import FilmError, PacsAnswerError

OWN_RESULT = "own_result"
SPOOL_LOST = "spool_lost"
_TRIES_OF_HEADER = 2


@dataclass(frozen=True)
class Tools:
    """What the steps work with.

    Attributes:
        config: The node's settings.
        queue: The rows.
        pacs: The PACS.
        spool: The files under way.
        pool: Reads films and makes results.
        writer: What the results are made by.
    """

    config: Config
    queue: Queue
    pacs: Pacs
    spool: Spool
    pool: FilmPool
    writer: Writer


def fetch(tools: Tools, job: Job) -> Job:
    """Bring a found object here.

    Raises:
        PacsAwayError, PacsAnswerError: It could not be fetched.
        DiskFullError, NotWritableError: It could not be kept.
    """
    tools.spool.check_room()
    place = _place(tools.pacs, job)
    content = tools.pacs.fetch(place.study_instance_uid, place.series_instance_uid, job.sop_instance_uid)
    try:
        header, pixels = read_header(content)
    except FilmError as problem:
        # Once may be a fault of the transfer.
        if job.attempts < _TRIES_OF_HEADER:
            raise PacsAnswerError("the object that the PACS sent is damaged.", str(problem.remedy)) from None
        return tools.queue.advance(job, State.REFUSED, code=problem.code)
    if header.sop_instance_uid != job.sop_instance_uid:
        raise PacsAnswerError("the PACS sent another object than was asked for.", "Ask its administrator.")
    facts = {
        "study_instance_uid": header.study_instance_uid or place.study_instance_uid,
        "series_instance_uid": header.series_instance_uid or place.series_instance_uid,
        "study_date": header.study_date,
        "accession_number": header.accession_number,
        "device": header.device,
        "pixels_sha256": pixels,
    }
    if is_own_result(header.identity):
        return tools.queue.advance(job, State.REFUSED, code=OWN_RESULT, **facts)
    if _differs(tools.queue, job, pixels):
        return tools.queue.advance(job, State.CONFLICT, **facts)
    name = tools.spool.put(content)
    return tools.queue.advance(job, State.FETCHED, host=tools.config.name, spool=name, **facts)


def _place(pacs: Pacs, job: Job) -> Header:
    """Return study and series of an object, asking for them where they were not told."""
    if job.study_instance_uid and job.series_instance_uid:
        return Header(job.sop_instance_uid, job.study_instance_uid, job.series_instance_uid)
    for header in pacs.search({"SOPInstanceUID": job.sop_instance_uid}, limit=2):
        if header.sop_instance_uid == job.sop_instance_uid:
            return header
    raise PacsAnswerError("the PACS no longer has an object that it told of.", "See whether it was deleted.")


def _differs(queue: Queue, job: Job, pixels: str) -> bool:
    """Tell whether the pixels are others than were seen before under that UID."""
    known = {
        row.pixels_sha256
        for row in queue.jobs(where={"sop_instance_uid": job.sop_instance_uid, "variant": ""})
    }
    return bool(known - {"", pixels})


async def read(tools: Tools, job: Job) -> Job:
    """Read a film, and make its results unless the mode is `shadow`.

    Raises:
        FilmError, BundleError, EnvironmentProblemError, PoolStoppedError: See `FilmPool.read`.
        DiskFullError, NotWritableError: The results could not be kept.
    """
    content = None if job.host != tools.config.name else tools.spool.read(job.spool)
    if content is None:
        return _begin_again(tools, job)
    live = job.mode == "live"
    if live and job.made_at is None:
        job = tools.queue.record(job, made_at=tools.queue.now())
    moment = (
        None if job.made_at is None or not live else datetime.fromtimestamp(job.made_at, UTC).astimezone()
    )
    asked = reader.request(tools.writer, moment, tools.config.node.character_set)
    reading = await tools.pool.read(content, threshold=tools.writer.threshold, want=asked)
    finding = _finding(reading.row, tools.writer)
    if moment is None:
        return tools.queue.advance(job, State.DONE, **finding)
    _tell_fhir(tools, content, reading.row, moment)
    del content
    made = _keep(tools.spool, job.spool, reading)
    return tools.queue.advance(job, State.MADE, **finding, **made)


def _begin_again(tools: Tools, job: Job) -> Job:
    """Fetch an object anew whose file, or the results made of it, are not here; an object that the PACS never had cannot be."""
    if job.source == "c-store":
        return tools.queue.advance(job, State.PARKED, code=SPOOL_LOST)
    return tools.queue.advance(job, State.FOUND, host="", spool="")


def _finding(row: Mapping[str, Any], writer: Writer) -> dict[str, Any]:
    taken = {name: row[name] for name in ("label", "probability", "threshold", "site", "model")}
    return taken | {"warnings": ";".join(row["warnings"]), "operating_point": writer.operating_point}


def _tell_fhir(tools: Tools, film: bytes, row: Mapping[str, Any], made_at: datetime) -> None:
    """Write what was found as FHIR where the settings name a folder for it; done again, it is the same file."""
    folder = tools.config.path(tools.config.node.fhir)
    if folder is None:
        return
    told = {name: row[name] for name in ("label", "probability", "threshold", "site")}
    found = Finding(**told, operating_point=tools.writer.operating_point, warnings=tuple(row["warnings"]))
    character_set = tools.config.node.character_set
    write_fhir(folder, film, found, tools.writer, made_at=made_at, undeclared=character_set)


def _keep(spool: Spool, name: str, reading: Reading) -> dict[str, str]:
    """Spool the results before anything is sent; return their columns."""
    columns: dict[str, str] = {}
    for told, content in zip(reading.row["results"], reading.files, strict=True):
        spool.write(name + {"report": REPORT, "picture": PICTURE}[told["kind"]], content)
        columns[f"{told['kind']}_uid"] = told["sop_instance_uid"]
        columns[f"{told['kind']}_sha256"] = hashlib.sha256(content).hexdigest()
    return columns


def send(tools: Tools, job: Job) -> Job:
    """Store the results in the PACS, unless they are there.

    Raises:
        PacsAwayError, PacsAnswerError: Something is not stored yet, as far as the PACS tells.
    """
    results = _spooled(tools, job)
    if results is None:
        uids = (job.report_uid, job.picture_uid)
        if store.absent(tools.pacs, job.study_instance_uid, uids):
            return _begin_again(tools, job)
    else:
        store.send(tools.pacs, job.study_instance_uid, results)
    return tools.queue.advance(job, State.STORED)


def _spooled(tools: Tools, job: Job) -> dict[str, bytes] | None:
    """Return the results by UID; None if they are not here."""
    if job.host != tools.config.name:
        return None
    report, picture = (tools.spool.read(job.spool + ending) for ending in (REPORT, PICTURE))
    if report is None or picture is None:
        return None
    return {job.report_uid: report, job.picture_uid: picture}


def confirm(tools: Tools, job: Job) -> Job:
    """See that a query finds both results.

    Raises:
        PacsAwayError, PacsAnswerError: It does not.
    """
    if store.absent(tools.pacs, job.study_instance_uid, (job.report_uid, job.picture_uid)):
        raise PacsAnswerError("a result that was stored is not found in the PACS.", "Ask its administrator.")
    return tools.queue.advance(job, State.DONE)


def drop_files(tools: Tools, job: Job) -> None:
    """Empty the spool of a row that came to its end; what is parked may begin again, and keeps its file."""
    if job.spool and job.host == tools.config.name and job.state is not State.PARKED:
        with suppress(OSError):
            tools.spool.drop(job.spool)
