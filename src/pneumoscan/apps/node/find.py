"""Looking for new films, again and again: every few seconds the last days, every night the last weeks."""

import logging
import threading
import time
from contextlib import suppress
from datetime import date, datetime, timedelta

from pneumoscan.apps.node.audit import Audit
from pneumoscan.apps.node.config import Config
from pneumoscan.apps.node.pacs import Pacs
from pneumoscan.apps.node.pacs.backoff import Backoff
from pneumoscan.apps.node.queue import Queue
from pneumoscan.apps.node.sources.orthanc import follow
from pneumoscan.apps.node.sources.qido import Looked, look
from pneumoscan.errors import EnvironmentProblemError, PacsError

log = logging.getLogger("pneumoscan.node")
LAST_LOOK, LAST_PROBLEM, LAST_SWEEP = "find.last", "find.problem", "find.swept"
# A look that took long rests as long: the PACS has others to answer.
_SHARE = 4.0
_DISK_SECONDS = 30.0


def find(pacs: Pacs, queue: Queue, config: Config, audit: Audit, stop: threading.Event) -> None:
    """Look for new films until `stop` is set.

    Raises:
        DataDamagedError: The queue is damaged.
    """
    backoff = Backoff()
    while not stop.is_set():
        begun = time.monotonic()
        try:
            found = look_once(pacs, queue, config)
            sweep_if_due(pacs, queue, config, audit)
            _note(queue, audit, found)
            backoff.succeeded()
            pause = max(config.find.every_seconds, _SHARE * (time.monotonic() - begun))
        except PacsError as problem:
            pause = backoff.failed(problem.seconds)
            with suppress(EnvironmentProblemError):
                queue.set_mark(LAST_PROBLEM, problem.code)
            log.warning("looking again in %.0f s: %s: %s", pause, problem.code, problem.message)
        except EnvironmentProblemError as problem:
            pause = _DISK_SECONDS
            log.warning("looking again in %.0f s: %s: %s", pause, problem.code, problem.message)
        stop.wait(pause)


def _note(queue: Queue, audit: Audit, found: Looked) -> None:
    queue.set_mark(LAST_PROBLEM, "")
    queue.set_mark(LAST_LOOK, str(queue.now()))
    if found.new:
        audit.write("found", new=found.new)
        log.info("found %d new of %d", found.new, found.seen)


def look_once(pacs: Pacs, queue: Queue, config: Config) -> Looked:
    """Look once; raises as `sources.qido.look` and `sources.orthanc.follow`."""
    if config.pacs.orthanc:
        return follow(pacs, queue, config)
    return look(pacs, queue, config, since=_back(config.find.days - 1), until=_back(-1))


def sweep_if_due(pacs: Pacs, queue: Queue, config: Config, audit: Audit, now: datetime | None = None) -> bool:
    """Look through the last weeks, once a night; return whether that was done."""
    moment = now or datetime.now().astimezone()
    hour, minute = map(int, config.find.sweep_at.split(":"))
    due = moment.replace(hour=hour, minute=minute, second=0, microsecond=0)
    today = f"{moment:%Y%m%d}"
    if not config.find.sweep_days or moment < due or queue.mark(LAST_SWEEP) == today:
        return False
    found = look(pacs, queue, config, since=_back(config.find.sweep_days), until=_back(-1))
    queue.set_mark(LAST_SWEEP, today)
    audit.write("swept", new=found.new)
    return True


def _back(days: int) -> date:
    """Return the date so many days ago; tomorrow is one where clocks differ."""
    return datetime.now().astimezone().date() - timedelta(days=days)
