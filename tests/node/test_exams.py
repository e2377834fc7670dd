"""The rules of `[exams]`: which films are read, when, and that what they leave out is kept with its reason."""

import asyncio
import json
from dataclasses import replace
from types import SimpleNamespace

import hospital_films
import pytest
from hospital_films import hospital_film

from pneumoscan.errors import ConfigError
from pneumoscan.node.audit import Audit
from pneumoscan.node.config import load_config
from pneumoscan.node.exams import age_in_years, reason_not_to_read
from pneumoscan.node.header import read_header
from pneumoscan.node.queue import Arrival, State, open_queue
from pneumoscan.node.settings import Config, ExamRule, ExamsSettings, NodeSettings
from pneumoscan.node.spool import Spool
from pneumoscan.node.steps import Tools
from pneumoscan.node.work import Work

STATION, AGE, BODY_PART, MODALITY, BORN = 0x00081010, 0x00101010, 0x00180015, 0x00080060, 0x00100030


def exam(station=b"XR-ER-1", age=b"045Y", body_part=b"CHEST", modality=b"DX", **more):
    changes = {STATION: (b"SH", station), AGE: (b"AS", age), BODY_PART: (b"CS", body_part)}
    return hospital_film(changes | {MODALITY: (b"CS", modality)} | more.get("changes", {}))


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ([], ""),
        ([{}], ""),
        ([{"modalities": ("CR",)}], "exams.modality"),
        ([{"modalities": ("CR", "DX")}], ""),
        ([{"stations": ("XR-ER-*",)}], ""),
        ([{"stations": ("xr-er-?",)}], ""),
        ([{"stations": ("XR-ER",)}], "exams.station"),
        ([{"stations": ("XR.ER.1", "[X]*")}], "exams.station"),
        ([{"body_parts": ("THORAX",)}], "exams.body_part"),
        ([{"min_age": 45, "max_age": 45}], ""),
        ([{"min_age": 46}], "exams.age"),
        ([{"max_age": 44}], "exams.age"),
        # All conditions of a rule must hold.
        ([{"stations": ("XR-ER-1",), "min_age": 60}], "exams.age"),
        # The first rule that fits decides.
        ([{"action": "skip", "stations": ("XR-ER-1",)}, {}], "exams.skip.rule0"),
        ([{"stations": ("XR-ER-1",)}, {"action": "skip"}], ""),
        ([{"action": "skip", "stations": ("XR-ICU",)}, {}], ""),
        # What is told is the condition of the rule that came closest.
        ([{"min_age": 60}, {"modalities": ("CR",)}], "exams.age"),
        ([{"modalities": ("CR",)}, {"min_age": 60}], "exams.age"),
    ],
)
def test_the_first_rule_that_fits_decides(rules, reason):
    told = [ExamRule(**{"name": f"rule{number}"} | rule) for number, rule in enumerate(rules)]
    assert reason_not_to_read(exam(), told) == reason


def test_a_condition_on_what_the_header_lacks_does_not_hold():
    bare = exam(station=b"", age=b"", body_part=b"", changes={BORN: (b"DA", b"")})
    for condition in ({"stations": ("*ER*",)}, {"body_parts": ("CHEST",)}, {"min_age": 1}, {"max_age": 149}):
        assert reason_not_to_read(bare, [ExamRule("one", **condition)]) != ""
        assert reason_not_to_read(bare, [ExamRule("none", "skip", **condition), ExamRule("rest")]) == ""
    # An empty text is a header without it.
    assert reason_not_to_read(bare, [ExamRule("one", stations=("",), body_parts=("CHEST", ""))]) == ""


@pytest.mark.parametrize(
    ("told", "born", "day", "age"),
    [
        ("045Y", "", "", 45),
        ("045Y", "20200101", "20260101", 45),
        ("011M", "", "", 0),
        ("030M", "", "", 2),
        ("100W", "", "", 1),
        ("400D", "", "", 1),
        ("", "20080304", "20260304", 18),
        ("", "20080305", "20260304", 17),
        ("45", "20000229", "20260228", 25),
        ("", "", "20260304", None),
        ("", "20300101", "20260304", None),
        ("", "17000101", "20260304", None),
        ("", "2008", "20260304", None),
    ],
)
def test_the_age_is_that_of_the_day_of_the_study(told, born, day, age):
    assert age_in_years(told, born, day) == age


RULE = '[[exams.rules]]\nname = "one"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[exams]\nquiet_seconds = -1", "exams.quiet_seconds is -1"),
        ("[exams]\nquiet = 5", "no setting exams.quiet"),
        ("[exams]\nrules = 5", "exams.rules is no list"),
        ("[[exams.rules]]", "rule 1 has the name ''"),
        ('[[exams.rules]]\nname = "No Good"', "'No Good'"),
        (RULE + "min_age = 1\n" + RULE, "rule 2 has the name one"),
        (RULE + 'action = "drop"', "one of read, skip"),
        (RULE + 'station = ["A"]', "no setting exams.rules.station"),
        (RULE + 'stations = "A"', "exams.rules.stations is no list"),
        (RULE + "min_age = -1", "rule one: min_age is -1"),
        (RULE + "max_age = 151", "rule one: max_age is 151"),
        (RULE + "min_age = 65\nmax_age = 18", "min_age 65 is above max_age 18"),
        (RULE + "min_age = 1.5", "min_age is 1.5"),
        (RULE + 'modalities = ["MR"]', "modalities has 'MR'"),
        (RULE + 'modalities = ["dx"]', "modalities has 'dx'"),
        ('[find]\nmodalities = ["DX"]\n' + RULE + 'modalities = ["CR"]', "find.modalities has not"),
        (RULE + 'action = "skip"\nstations = ["A"]', "no rule with action read"),
        (RULE + '[[exams.rules]]\nname = "two"', "rule one has no condition"),
    ],
)
def test_a_rule_that_is_wrong_or_can_never_apply_is_refused(tmp_path, text, said):
    path = tmp_path / "node.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert said in str(caught.value)
    assert caught.value.remedy


@pytest.fixture
def node(tmp_path):
    """Returns a node with rules, whose PACS holds films, and which answers the same of each film; `read` are the films that it read."""
    opened = []

    def make(exams, films=()):
        class Pool:
            async def read(self, film, *, threshold, want):
                made.read.append(read_header(film)[0].sop_instance_uid)
                row = {"label": "NORMAL", "probability": 0.25, "threshold": 0.5, "model": "m",
                       "warnings": (), "pixels_sha256": read_header(film)[2]}  # fmt: skip
                return SimpleNamespace(row=row, files=())

        class Pacs:
            def fetch(self, study, series, instance):
                return made.held[instance]

        config = Config(node=NodeSettings(name="here", min_free_mb=1), exams=exams, folder=tmp_path)
        queue, spool = open_queue(config.data), Spool(config.spool, min_free=1)
        opened.append(queue)
        made = SimpleNamespace(read=[], queue=queue, spool=spool, audit=config.data / "audit.jsonl")
        made.held = {read_header(film)[0].sop_instance_uid: film for film in films}
        made.tools = Tools(config, queue, Pacs(), spool, Pool(), hospital_films.writer())
        return made

    yield make
    for queue in opened:
        queue.close()


def find(node, *films):
    for film in films:
        header = read_header(film)[0]
        found = Arrival(header.sop_instance_uid, header.study_instance_uid, header.series_instance_uid)
        node.held[header.sop_instance_uid] = film
        node.queue.add([found])


def receive(node, film):
    header, stored, pixels = read_header(film)
    found = Arrival(header.sop_instance_uid, header.study_instance_uid, header.series_instance_uid, "c-store")
    name = node.spool.put(film)
    return node.queue.receive(found, host="here", spool=name, stored_sha256=stored, pixels_sha256=pixels)


def work(node, holds):
    """Work until something holds; return the counts of the states that have rows."""
    doing = Work(node.tools, Audit(node.audit))

    async def run():
        stop = asyncio.Event()
        task = asyncio.create_task(doing.run(stop))
        async with asyncio.timeout(60):
            while not holds():
                await asyncio.sleep(0.02)
        stop.set()
        await task

    asyncio.run(run())
    return {str(state): count for state, count in node.queue.counts().items() if count}


def settled(node):
    return lambda: all(job.done_at is not None and job.lease_until is None for job in node.queue.jobs())


def numbered(number, **words):
    return exam(changes={0x00080018: (b"UI", f"1.2.3.{number}".encode())}, **words)


ADULTS = ExamsSettings(rules=(ExamRule("adults", min_age=18),))


def test_what_the_rules_leave_out_is_kept_with_its_reason_and_judged_again_by_others(node):
    one = node(ADULTS)
    find(one, numbered(1, age=b"017Y"), numbered(2))
    assert work(one, settled(one)) == {"done": 1, "skipped": 1}
    assert one.read == ["1.2.3.2"]
    assert one.queue.codes()[State.SKIPPED, "exams.age"] == 1
    assert len(one.spool) == 0
    events = [json.loads(line) for line in one.audit.read_text().splitlines()]
    assert {(event["event"], event.get("code")) for event in events} == {
        ("skipped", "exams.age"),
        ("done", None),
    }
    # Found again, it stays what it is; with other rules it is read.
    find(one, numbered(1, age=b"017Y"))
    assert one.queue.counts()[State.SKIPPED] == 1
    other = node(ExamsSettings(), [numbered(1, age=b"017Y")])
    assert other.queue.judge_again() == 1
    assert work(other, settled(other)) == {"done": 2}
    assert other.read == ["1.2.3.1"]
    assert other.queue.judge_again() == 0


def test_what_was_received_and_left_out_is_judged_again_when_it_is_sent_again(node):
    one, child = node(ADULTS), numbered(1, age=b"017Y")
    assert receive(one, child) is State.FETCHED
    assert work(one, settled(one)) == {"skipped": 1}
    assert one.queue.judge_again() == 0
    other = node(ExamsSettings())
    assert receive(other, child) is State.FETCHED
    assert work(other, settled(other)) == {"done": 1}
    assert other.read == ["1.2.3.1"]


def test_a_study_is_read_when_nothing_was_added_for_a_while(node, monkeypatch):
    one = node(ExamsSettings(quiet_seconds=1.0))
    find(one, numbered(1))
    begun = one.queue.now()
    later = []

    def add_another():
        if not later and one.queue.now() - begun > 0.6:
            later.append(one.queue.now())
            find(one, numbered(2))
        return later and settled(one)()

    assert work(one, add_another) == {"done": 2}
    jobs = list(one.queue.jobs())
    assert min(job.fetched_at for job in jobs) >= later[0] + 0.99
    assert all(job.attempts <= 1 for job in jobs)


def test_quiet_is_counted_for_what_was_received_too_and_not_from_the_future(node):
    one = node(ExamsSettings(quiet_seconds=0.5))
    receive(one, numbered(1))
    assert work(one, settled(one)) == {"done": 1}
    (job,) = one.queue.jobs()
    assert job.done_at >= job.found_at + 0.5
    # The clock was set back by a day.
    held = node(ExamsSettings(quiet_seconds=3000))
    find(held, numbered(2))
    now = held.queue.now
    held.tools = replace(held.tools, queue=SetBack(held.queue, lambda: now() - 86400))
    assert work(held, settled(held)) == {"done": 2}


class SetBack:
    """A queue with another clock."""

    def __init__(self, queue, now):
        self._queue, self.now = queue, now

    def __getattr__(self, name):
        return getattr(self._queue, name)
