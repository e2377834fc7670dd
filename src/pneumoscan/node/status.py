"""How a node stands (`node status`), and whether it would work with its settings (`node check`)."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pneumoscan.errors import (
    EnvironmentProblemError,
    LockedError,
    NotWritableError,
    PacsAnswerError,
    PacsAwayError,
    PneumoscanError,
    require,
)
from pneumoscan.files import locked
from pneumoscan.node.config import ROLES
from pneumoscan.node.find import LAST_PROBLEM, LAST_SEARCH
from pneumoscan.node.queue import WAITING, Queue, State
from pneumoscan.node.settings import Config


@dataclass(frozen=True)
class NodeStatus:
    """How a node stands.

    Attributes:
        counts: Rows in each state; their sum is all that was found.
        codes: Rows by `state(code)` of those that have a code.
        oldest_seconds: How long the oldest row waits; None if none does.
        looked_seconds: How long ago new films were last looked for with success; None if that was never.
        problem: Code of what keeps it from looking; empty if nothing does.
        mode: Of the settings: `shadow` or `live`.
        running_mode: That the node was last started in; empty if it never was.
        running: Roles that processes on this machine have now; empty if the node does not run here.
        pushes: Messages by kind and `state`, or `state(code)`.
    """

    counts: dict[State, int]
    codes: dict[str, int]
    oldest_seconds: float | None
    looked_seconds: float | None
    problem: str
    mode: str
    running_mode: str
    running: tuple[str, ...]
    pushes: dict[str, dict[str, int]]

    @property
    def found(self) -> int:
        """All that was found."""
        return sum(self.counts.values())

    @property
    def waiting(self) -> int:
        """What is still to be done."""
        return sum(self.counts[state] for state in WAITING)

    def to_json(self) -> dict[str, object]:
        """Return the JSON types."""
        return {
            "found": self.found,
            "waiting": self.waiting,
            "counts": {str(state): count for state, count in self.counts.items()},
            "codes": self.codes,
            "oldest_seconds": self.oldest_seconds,
            "looked_seconds": self.looked_seconds,
            "problem": self.problem,
            "mode": self.mode,
            "running_mode": self.running_mode,
            "running": list(self.running),
            "pushes": self.pushes,
        }


def started_mode(config: Config) -> str:
    """Return the name of the mark with the mode that this node was last started in."""
    return f"mode {config.name}"


def running_roles(config: Config) -> tuple[str, ...]:
    """Return the roles that processes on this machine have now, for the data folder of these settings."""
    running = []
    for role in ROLES:
        path = config.data / f"{role}.lock"
        try:
            if path.exists():
                with locked(path):
                    pass
        except LockedError:
            running.append(role)
    return tuple(running)


def status_of(queue: Queue, config: Config) -> NodeStatus:
    """Return how the node of a queue stands."""
    now = queue.now()
    codes = {f"{state}({code})": count for (state, code), count in queue.codes().items() if code}
    pushes: dict[str, dict[str, int]] = {}
    for (kind, state, code), count in queue.pushes.counts().items():
        pushes.setdefault(kind, {})[f"{state}({code})" if code else state] = count
    oldest = next(queue.jobs(WAITING, limit=1), None)
    last = queue.mark(LAST_SEARCH)
    return NodeStatus(
        queue.counts(),
        codes,
        None if oldest is None else max(0.0, now - oldest.found_at),
        max(0.0, now - float(last)) if last else None,
        queue.mark(LAST_PROBLEM),
        config.node.mode,
        queue.mark(started_mode(config)),
        running_roles(config),
        pushes,
    )


_REPORT_CLASS, _PICTURE_CLASS = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.7"
_STATE_CLASS = "1.2.840.10008.5.1.4.1.1.11.1"
_ECHO_SECONDS = 10


@dataclass(frozen=True)
class Tried:
    """What one check tried, what it found in words, and what is wrong; no problem if it works."""

    what: str
    said: str
    problem: PneumoscanError | None = None


def check(config: Config) -> Iterator[Tried]:
    """Try one thing after another; a failure stops none of the others."""
    checks: list[tuple[str, Callable[[Config], str]]] = [
        ("software", _software),
        ("disk", _disk),
        ("queue", _queue),
        ("audit", _audit),
        ("model", _model),
        ("query", _query),
    ]
    if config.pacs.orthanc:
        checks.append(("changes", _changes))
    if config.pacs.dicom:
        checks.append(("echo", _echo))
        checks.append(("classes", _classes))
    if config.fhir.url:
        checks.append(("fhir", _fhir))
    if config.hl7.address:
        checks.append(("hl7", _hl7))
    for what, one in checks:
        try:
            yield Tried(what, one(config))
        except PneumoscanError as problem:
            yield Tried(what, problem.message, problem)
        except OSError as failed:
            folder = NotWritableError(
                f"{config.data} cannot be used: {failed.strerror}.", "See node.data, and who may write there."
            )
            yield Tried(what, folder.message, folder)


def _software(_config: Config) -> str:
    require("highdicom", "prometheus_client", "pydicom", "pynetdicom", "urllib3", extra="node")
    return "the packages of the node are installed"


def _disk(config: Config) -> str:
    from pneumoscan.node.spool import Spool

    spool = Spool(config.spool, min_free=config.node.min_free_mb << 20)
    spool.drop(spool.put(b"check"))
    return f"{shutil.disk_usage(config.spool).free >> 30} GiB are free"


def _queue(config: Config) -> str:
    from pneumoscan.node.queue import open_queue

    queue = open_queue(config.data, config.queue.postgres)
    try:
        said = queue.integrity()
        if said != "ok":
            raise EnvironmentProblemError(f"the queue is damaged: {said}.", "Put it aside and start anew.")
        return f"{sum(queue.counts().values())} objects, whole"
    finally:
        queue.close()


def _audit(config: Config) -> str:
    from pneumoscan.node.audit import verify
    from pneumoscan.node.desk import NAME as VERDICTS

    found = [
        f"{verify(path)} {what}"
        for what, path in (("lines", config.data / "audit.jsonl"), ("verdicts", config.data / VERDICTS))
        if path.exists()
    ]
    return f"{' and '.join(found)}, each with the hash of the one before" if found else "none yet"


def _model(config: Config) -> str:
    from pneumoscan.node.reader import load_model, writer_of

    bundle = load_model(config)
    writer = writer_of(config, bundle)
    return f"{writer.model_name} gives its known answers; {writer.operating_point}, threshold {writer.threshold:g}"


def _query(config: Config) -> str:
    from pneumoscan.node.pacs import Pacs

    today = datetime.now().astimezone().date()
    days = f"{today - timedelta(days=config.find.days - 1):%Y%m%d}-{today:%Y%m%d}"
    with Pacs(config) as pacs:
        counts = [
            f"{len(pacs.search({'StudyDate': days, 'Modality': modality}, limit=config.find.page))} {modality}"
            for modality in config.find.modalities
        ]
    return f"the PACS answers; in the last {config.find.days} days: {', '.join(counts)} (first page)"


def _changes(config: Config) -> str:
    from pneumoscan.node.pacs import Pacs

    with Pacs(config) as pacs:
        answer = pacs.get_json(f"{config.pacs.orthanc.rstrip('/')}/changes", {"since": "0", "limit": "1"})
    if not isinstance(answer, dict) or "Changes" not in answer:
        raise PacsAnswerError(
            "pacs.orthanc gives no list of changes.", "See that it is Orthanc's own address."
        )
    return "Orthanc gives its list of changes"


def _echo(config: Config) -> str:
    with _Association(config, ["1.2.840.10008.1.1"]) as association:
        status = association.send_c_echo()
    if not status or status.Status != 0:
        raise PacsAnswerError("the PACS does not answer an echo with success.", "Ask its administrator.")
    return "the PACS answers an echo"


def _classes(config: Config) -> str:
    names = {_REPORT_CLASS: "structured reports", _PICTURE_CLASS: "secondary captures"}
    if config.node.outlines:
        names[_STATE_CLASS] = "presentation states"
    with _Association(config, list(names)) as association:
        accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
    refused = [name for uid, name in names.items() if uid not in accepted]
    if refused:
        raise PacsAnswerError(f"the PACS does not accept {' and '.join(refused)}.", "Ask its administrator.")
    accepted_too = ", and presentation states" if config.node.outlines else ""
    return f"the PACS accepts reports (Comprehensive 3D SR) and pictures (Secondary Capture){accepted_too}"


def _fhir(config: Config) -> str:
    from pneumoscan.node.push import FhirSender

    return FhirSender(config).check()


def _hl7(config: Config) -> str:
    from pneumoscan.node.push import MllpSender

    return MllpSender(config).check()


class _Association:
    """An association with the PACS's application entity, for the length of a block."""

    def __init__(self, config: Config, classes: list[str]) -> None:
        import logging

        from pynetdicom import AE

        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
        title, _, place = config.pacs.dicom.partition("@")
        host, _, port = place.rpartition(":")
        entity = AE(config.receive.ae_title)
        entity.acse_timeout = entity.dimse_timeout = entity.connection_timeout = _ECHO_SECONDS
        for uid in classes:
            entity.add_requested_context(uid)
        self._association = entity.associate(host, int(port), ae_title=title)

    def __enter__(self) -> Any:
        if self._association.is_rejected:
            raise PacsAnswerError("the PACS rejects this node's AE title.", "Have it entered there.")
        if not self._association.is_established:
            raise PacsAwayError("the PACS does not answer at pacs.dicom.", "See that the address is right.")
        return self._association

    def __exit__(self, *_: object) -> None:
        self._association.release()
