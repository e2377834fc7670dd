"""The queue, in SQLite and, where one is installed, in PostgreSQL."""

import os
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from pneumoscan.errors import DataDamagedError, DiskFullError, NotWritableError
from pneumoscan.node.queue import ENDS, Arrival, LeaseLostError, State, open_queue


def arrivals(count, **changes):
    return [replace(Arrival(f"1.2.{n}"), **changes) for n in range(count)]


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path):
    """What `open_queue` is given."""
    if request.param == "sqlite":
        return tmp_path, ""
    return tmp_path, request.getfixturevalue("postgres")


@pytest.fixture
def queue(place):
    opened = open_queue(*place)
    yield opened
    opened.close()


def test_an_object_is_found_once(queue):
    assert queue.add(arrivals(3)) == 3
    assert queue.add([*arrivals(4), *arrivals(4)]) == 1
    assert queue.counts()[State.FOUND] == sum(queue.counts().values()) == 4
    # Another reading by a new model is another row.
    assert queue.add(arrivals(2, reading="new")) == 2
    assert [job.sop_instance_uid for job in queue.jobs(where={"reading": "new"})] == ["1.2.0", "1.2.1"]


def test_a_mark_is_set_with_the_rows(queue):
    assert queue.mark("seq") == ""
    queue.add(arrivals(1), ("seq", "7"))
    queue.set_mark("seq", "8")
    assert queue.mark("seq") == "8"


def test_a_row_goes_through_its_states(queue):
    queue.add(arrivals(1))
    job = queue.claim("here", 60)
    assert (job.state, job.attempts, job.fetched_at) == (State.FOUND, 1, None)
    assert queue.claim("here", 60) is None
    job = queue.advance(job, State.FETCHED, spool="a.dcm", pixels_sha256="00")
    job = queue.advance(job, State.MADE, made_at=12.5, probability=0.1 + 0.2)
    assert (job.made_at, job.probability, job.spool) == (12.5, 0.1 + 0.2, "a.dcm")
    job = queue.advance(job, State.DONE)
    assert job.done_at >= job.fetched_at >= job.found_at
    assert abs(job.found_at - queue.now()) < 60
    assert (job.lease_until, job.state) == (None, State.DONE)
    assert queue.claim("here", 60) is None


def test_an_attempt_counts_at_the_claim_and_those_tried_least_come_first(queue):
    queue.add(arrivals(3))
    first = queue.claim("dies", 60)
    assert queue.release("another") == 0
    assert queue.release("dies") == 1
    order = [queue.claim("here", 60).id for _ in range(3)]
    assert order[-1] == first.id
    assert next(queue.jobs()).attempts == 2


def test_no_attempt_is_used_up_where_the_pacs_is_away(queue):
    queue.add(arrivals(1))
    for _ in range(20):
        queue.give_back(queue.claim("here", 60), code="pacs.away", seconds=0, used=False)
    assert queue.claim("here", 60).attempts == 1


def test_a_pause_is_kept(queue):
    queue.add(arrivals(1))
    queue.give_back(queue.claim("here", 60), code="pacs.answer", seconds=30, used=True)
    assert queue.claim("here", 60) is None


def test_a_lease_runs_out_and_what_its_holder_writes_then_is_refused(queue):
    queue.add(arrivals(1))
    slow = queue.claim("slow", -1)
    quick = queue.claim("quick", 60)
    assert quick.id == slow.id
    for late in (
        lambda: queue.advance(slow, State.DONE),
        lambda: queue.stamp(slow),
        lambda: queue.extend(slow, 60),
        lambda: queue.give_back(slow, code="", seconds=0, used=True),
    ):
        with pytest.raises(LeaseLostError):
            late()
    queue.extend(quick, 60)
    queue.advance(quick, State.DONE)
    with pytest.raises(LeaseLostError):
        queue.advance(quick, State.DONE)


def test_what_was_received_is_left_to_the_node_that_holds_it(queue):
    arrival = Arrival("1.2", source="c-store")
    assert queue.receive(arrival, host="a", spool="x", pixels_sha256="1") is State.FETCHED
    assert queue.claim("b", 60) is None
    assert queue.claim("a", 60).spool == "x"


def test_the_same_object_is_received_once_and_another_with_its_uid_is_a_conflict(queue):
    arrival = Arrival("1.2", source="c-store")
    held = {"host": "a", "spool": "x"}
    assert queue.receive(arrival, pixels_sha256="1", **held) is State.FETCHED
    assert queue.receive(arrival, pixels_sha256="1", **held) is None
    assert queue.receive(arrival, pixels_sha256="2", **held) is State.CONFLICT
    assert queue.receive(arrival, pixels_sha256="2", **held) is None
    assert queue.receive(Arrival("1.3"), pixels_sha256="3", code="film.view", **held) is State.REFUSED
    counts = queue.counts()
    assert (counts[State.FETCHED], counts[State.CONFLICT], counts[State.REFUSED]) == (1, 1, 1)
    assert queue.codes()[State.REFUSED, "film.view"] == 1


def test_rows_are_parked_and_begin_again_where_they_were(queue):
    queue.add(arrivals(3))
    job = queue.advance(queue.claim("here", 60), State.FETCHED, spool="a.dcm")
    queue.advance(job, State.PARKED, code="film.crash")
    held = queue.claim("here", 60)
    assert queue.park([held.id, held.id + 1], "by.hand") == 1
    assert queue.counts()[State.PARKED] == 2
    assert queue.retry([]) == 0
    assert queue.retry([job.id]) == 1
    assert queue.retry(None) == 1
    again = {row.id: row for row in queue.jobs()}
    assert (again[job.id].state, again[job.id].attempts, again[job.id].done_at) == (State.FETCHED, 0, None)
    assert again[held.id + 1].state is State.FOUND


def test_rows_are_read_page_by_page(queue, monkeypatch):
    monkeypatch.setattr("pneumoscan.node.queue.sql._PAGE", 4)
    queue.add(arrivals(11))
    assert [job.sop_instance_uid for job in queue.jobs()] == [f"1.2.{n}" for n in range(11)]
    assert len(list(queue.jobs(limit=5))) == 5
    assert list(queue.jobs([State.DONE])) == []
    with pytest.raises(ValueError, match="no such columns"):
        list(queue.jobs(where={"1=1; --": 0}))


def test_many_threads_and_connections_claim_each_row_once(place, queue):
    queue.add(arrivals(60))
    seen, queues = [], [open_queue(*place) for _ in range(3)]

    def work(mine):
        while (job := mine.claim("here", 60)) is not None:
            seen.append(job.id)
            mine.advance(job, State.DONE)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in (*queues, *queues, queue)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for mine in queues:
        mine.close()
    assert len(seen) == len(set(seen)) == 60
    assert queue.counts()[State.DONE] == 60


def test_the_sum_of_the_states_is_what_was_found(queue):
    queue.add(arrivals(len(State)))
    for state in State:
        queue.advance(queue.claim("here", 60), state)
    assert queue.counts() == dict.fromkeys(State, 1)
    assert set(ENDS) < set(State)


def test_a_clock_that_was_set_back_holds_nothing_up(tmp_path):
    queue = open_queue(tmp_path)
    queue.add(arrivals(2))
    with sqlite3.connect(tmp_path / "queue.sqlite") as raw:
        raw.execute("UPDATE job SET lease_until = 4e9 WHERE id = 1")
        raw.execute("UPDATE job SET not_before = 4e9 WHERE id = 2")
    raw.close()
    assert {queue.claim("here", 60).id, queue.claim("here", 60).id} == {1, 2}
    queue.close()


def test_a_process_that_is_killed_leaves_a_whole_queue(tmp_path):
    script = f"""
from pathlib import Path
from pneumoscan.node.queue import Arrival, open_queue
queue = open_queue(Path({str(tmp_path)!r}))
n = 0
while True:
    queue.add([Arrival(f"1.{{n}}")])
    print(n, flush=True)
    n += 1
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if int(line) >= 20:
            break
    process.kill()
    said = [int(line), *map(int, process.communicate()[0].splitlines())]
    queue = open_queue(tmp_path)
    assert queue.counts()[State.FOUND] >= max(said) + 1
    assert queue.integrity() == "ok"
    queue.close()


def test_the_file_is_for_its_owner_alone_and_committed_to_the_disk(tmp_path):
    queue = open_queue(tmp_path / "new")
    assert (tmp_path / "new" / "queue.sqlite").stat().st_mode & 0o777 == 0o600
    connection = queue._database._connection
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
    queue.close()


def test_what_is_no_database_is_said_so(tmp_path):
    (tmp_path / "queue.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(DataDamagedError, match=r"queue\.sqlite is no whole database"):
        open_queue(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_is_said_so(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(NotWritableError):
        open_queue(Path(tmp_path))


def test_several_rows_are_claimed_at_once_and_those_tried_least_first(queue):
    queue.add(arrivals(5))
    first = queue.claim("dies", 60)
    queue.release("dies")
    claimed = queue.claim_several("here", 60, 4)
    assert [job.id for job in claimed] == [2, 3, 4, 5]
    assert [job.id for job in queue.claim_several("here", 60, 4)] == [first.id]


def test_a_row_that_may_have_killed_its_process_is_not_claimed_with_others(queue):
    queue.add(arrivals(3))
    for _ in range(2):
        queue.claim("dies", 60)
        queue.release("dies")
        with pytest.raises(LeaseLostError):
            queue.advance(next(queue.jobs()), State.DONE)
    twice = queue.claim("dies", 60)
    queue.release("dies")
    assert twice.id == 3
    queue.claim_several("dies", 60, 3)
    queue.release("dies")
    # All were claimed twice by processes that said nothing, so each is claimed alone.
    assert queue.claim_several("here", 60, 3) == []
    job = queue.claim("here", 60)
    # One whose failure is known is no such row.
    queue.give_back(job, code="pacs.answer", seconds=0, used=True)
    assert [one.id for one in queue.claim_several("here", 60, 3)] == [job.id]


def test_several_rows_are_advanced_at_once_except_those_of_others(queue):
    queue.add(arrivals(3))
    mine = queue.claim_several("here", 60, 3)
    queue.release("here")
    theirs = queue.claim("there", 60)
    moved = queue.advance_all([theirs, mine[1]], State.STORED)
    assert moved[0].state is State.STORED
    assert moved[0].stored_at is not None
    assert isinstance(moved[1], LeaseLostError)
    assert queue.advance_all([], State.DONE) == []


def test_the_time_of_results_is_kept_once(queue):
    queue.add(arrivals(1))
    job = queue.stamp(queue.claim("here", 60))
    assert abs(job.made_at - queue.now()) < 60
    assert queue.stamp(job).made_at == job.made_at


# SQLite: transactions that are committed together


def together(queue, works):
    """Run each in a thread, all held up until the last has come; return what each raised."""
    database, raised = queue._database, [None] * len(works)

    def run(number):
        try:
            works[number]()
        except Exception as problem:  # noqa: BLE001
            raised[number] = problem

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(works))]
    with database._turn:
        for thread in threads:
            thread.start()
        while database._coming < len(threads):
            pass
    for thread in threads:
        thread.join()
    return raised


def test_transactions_that_come_at_once_are_committed_once(tmp_path):
    queue = open_queue(tmp_path)
    said = []
    queue._database._connection.set_trace_callback(said.append)
    works = [lambda n=n: queue.add([Arrival(f"1.{n}")]) for n in range(5)]
    assert together(queue, works) == [None] * 5
    assert said.count("COMMIT") == 1
    queue._database._connection.set_trace_callback(None)
    other = open_queue(tmp_path)
    assert other.counts()[State.FOUND] == 5
    other.close()
    queue.close()


def test_one_that_fails_takes_back_its_own_work_alone(tmp_path):
    queue = open_queue(tmp_path)

    def fail():
        with queue._database.transaction() as execute:
            execute("INSERT INTO mark (name, value) VALUES ('a', 'b')")
            raise ZeroDivisionError

    raised = together(queue, [fail, lambda: queue.add(arrivals(1)), fail, lambda: queue.add(arrivals(2))])
    assert [type(one) for one in raised].count(ZeroDivisionError) == 2
    assert (queue.counts()[State.FOUND], queue.mark("a")) == (2, "")
    queue.close()


def test_a_commit_that_fails_is_told_to_all(tmp_path):
    queue = open_queue(tmp_path)
    # As a full disk does: no page can be added.
    connection = queue._database._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    works = [lambda n=n: queue.set_mark(str(n), "x" * 100_000) for n in range(3)]
    raised = together(queue, works)
    assert all(isinstance(one, DiskFullError) for one in raised)
    connection.execute("PRAGMA max_page_count = 1000000")
    queue.set_mark("after", "yes")
    assert [queue.mark(str(n)) for n in range(3)] == ["", "", ""]
    assert queue.mark("after") == "yes"
    queue.close()
