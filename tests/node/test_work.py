"""The loops that must not end: what is wrong for a while is waited for."""

import asyncio
import threading
from dataclasses import replace
from datetime import datetime

import pytest

from pneumoscan.errors import DiskFullError, PacsAnswerError, PacsAwayError, PacsLoginError
from pneumoscan.node import find
from pneumoscan.node.audit import Audit
from pneumoscan.node.client import Backoff
from pneumoscan.node.header import Header
from pneumoscan.node.queue import Arrival, State, open_queue
from pneumoscan.node.settings import Config, FindSettings, NodeSettings
from pneumoscan.node.steps import Tools
from pneumoscan.node.work import Work


@pytest.fixture
def queue(tmp_path):
    opened = open_queue(tmp_path)
    yield opened
    opened.close()


class Page:
    """A PACS with one page of films, that may raise first."""

    def __init__(self, *problems):
        self.problems, self.keys = list(problems), []

    def pages(self, keys, page):
        self.keys.append(keys)
        if self.problems:
            raise self.problems.pop(0)
        yield [Header("1.2", "1.3", "1.4"), Header("1.5", series_description="pneumoscan: report"), Header()]


def test_a_full_disk_does_not_end_the_work(tmp_path, queue, monkeypatch):
    monkeypatch.setattr("pneumoscan.node.work._DISK_SECONDS", 0.01)
    claims = []

    def claim(host, seconds, limit):
        claims.append(host)
        if len(claims) < 6:
            raise DiskFullError("no space left.")
        return []

    monkeypatch.setattr(queue, "claim_several", claim)
    config = Config(node=NodeSettings(name="here"), folder=tmp_path)
    doing = Work(Tools(config, queue, None, None, None, None), Audit(tmp_path / "audit.jsonl"))

    async def run():
        stop = asyncio.Event()
        task = asyncio.create_task(doing.run(stop))
        while not doing.idle:
            await asyncio.sleep(0.01)
        stop.set()
        await task

    asyncio.run(run())
    assert len(claims) >= 6


def test_a_film_that_failed_too_often_is_parked_and_its_code_kept(tmp_path, queue):
    queue.add([Arrival("1.2")])
    for _ in range(2):
        queue.give_back(queue.claim("here", 60), code="film.crash", seconds=0, used=True)
    config = Config(node=NodeSettings(name="here", max_attempts=2), folder=tmp_path)
    doing = Work(Tools(config, queue, None, None, None, None), Audit(tmp_path / "audit.jsonl"))

    async def run():
        stop = asyncio.Event()
        task = asyncio.create_task(doing.run(stop))
        while not queue.counts()[State.PARKED]:
            await asyncio.sleep(0.01)
        stop.set()
        await task

    asyncio.run(run())
    assert queue.codes()[State.PARKED, "film.crash"] == 1


def test_looking_goes_on_whatever_the_pacs_says(tmp_path, queue, monkeypatch):
    monkeypatch.setattr(find, "_DISK_SECONDS", 0.01)
    monkeypatch.setattr("pneumoscan.node.client._FIRST_WAIT", 0.01)
    config = Config(find=FindSettings(every_seconds=0.1, modalities=("DX",), sweep_days=0), folder=tmp_path)
    pacs, stop = (
        Page(PacsAwayError("away"), DiskFullError("full"), PacsAnswerError("what")),
        threading.Event(),
    )
    thread = threading.Thread(
        target=find.find, args=(pacs, queue, config, Audit(tmp_path / "audit.jsonl"), stop)
    )
    thread.start()
    while not queue.mark(find.LAST_SEARCH):
        stop.wait(0.01)
    stop.set()
    thread.join()
    assert [job.sop_instance_uid for job in queue.jobs()] == ["1.2"]
    assert queue.mark(find.LAST_PROBLEM) == ""
    assert (tmp_path / "audit.jsonl").read_text().count('"found"') == 1


def test_looking_pauses_as_long_as_the_login_must_not_be_tried(tmp_path, queue):
    config = Config(find=FindSettings(every_seconds=0.01, modalities=("DX",), sweep_days=0), folder=tmp_path)
    pauses = []

    class Stop:
        def is_set(self):
            return len(pauses) > 1

        def wait(self, seconds):
            pauses.append(seconds)

    pacs = Page(PacsLoginError("refused", seconds=1800), PacsLoginError("refused", seconds=3600))
    find.find(pacs, queue, config, Audit(tmp_path / "audit.jsonl"), Stop())
    assert [round(pause) for pause in pauses] == [1800, 3600]
    assert queue.mark(find.LAST_PROBLEM) == "pacs.login"


def test_a_sweep_is_done_once_a_night(tmp_path, queue):
    config = Config(find=FindSettings(modalities=("CR",), sweep_days=30, sweep_at="03:00"), folder=tmp_path)
    pacs, audit = Page(), Audit(tmp_path / "audit.jsonl")
    night = datetime(2026, 1, 5, 2, 59).astimezone()
    done = [
        find.sweep_if_due(pacs, queue, config, audit, moment)
        for moment in (night, night.replace(hour=3), night.replace(hour=4), night.replace(day=6, hour=3))
    ]
    assert done == [False, True, False, True]
    assert len(pacs.keys) == 2
    assert not find.sweep_if_due(
        pacs, queue, replace(config, find=FindSettings(sweep_days=0)), audit, night.replace(day=9, hour=5)
    )


def test_the_wait_doubles_until_the_pacs_answers(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("pneumoscan.node.client.time.monotonic", lambda: now[0])
    backoff = Backoff()
    pauses = []
    for _ in range(7):
        pauses.append(backoff.failed())
        assert backoff.failed() == pauses[-1]
        now[0] += pauses[-1]
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert backoff.away
    backoff.succeeded()
    assert (backoff.remaining, backoff.failed(), backoff.away) == (0, 1, True)
