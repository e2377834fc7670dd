"""The service under load and attack, in small; `benchmarks/service` does the same in full."""

import importlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
Load = Callable[[str], ModuleType]

pytest.importorskip("starlette", reason="the extra `web` is not installed")
pytest.importorskip("uvicorn", reason="the extra `web` is not installed")
pytestmark = pytest.mark.skipif(
    not (ROOT / "benchmarks").is_dir(), reason="the benchmarks are not part of this distribution"
)


@pytest.fixture(scope="module")
def load() -> Iterator[Load]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        yield lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.fixture(scope="module")
def service(load):
    with load("service.client").Service() as service:
        service.wait_until_ready()
        yield service
        code, seconds = service.stop()
        log = service.log()
    assert (code, seconds < 10) == (0, True)
    assert "Traceback" not in log
    assert "Doe" not in log, "the name of an upload is in the log"


def test_percentiles_are_by_nearest_rank(load):
    thousand = [number / 1000 for number in range(1000, 0, -1)]
    assert load("service.client").quantiles(thousand) == {"p50": 500, "p95": 950, "p99": 990, "longest": 1000}
    assert load("service.client").quantiles([0.002])["p99"] == 2


@pytest.fixture(scope="module", autouse=True)
def slow_ones(load, service):
    """Attacks that wait for a time limit of ten seconds: begun before the first test, looked at by the last."""
    soak = load("service.soak").Soak(service, films=1)
    for attack in soak.attacks:
        if attack.slow:
            soak.in_the_background(attack)
    yield soak
    soak.finish()


def test_two_hundred_requests_one_in_ten_bad(load, service):
    soak_module = load("service.soak")
    soak = soak_module.Soak(service, films=32)
    soak.attacks = [attack for attack in soak.attacks if not attack.slow]
    with soak_module.Watch(service, soak.tally):
        soak.block(200)
    soak.finish()
    assert not soak.tally.wrong
    assert soak.tally.outcomes["good, plain: right"] > 75
    assert max(soak.tally.health) < 1


def test_every_attack_gets_an_answer_that_is_foreseen(load, service):
    attacks, films = load("service.attacks"), load("service.films")
    film = films.small_films(1)[0].data
    found = {
        attack.name: (result, sorted(attack.allowed))
        for attack in attacks.attacks()
        if not attack.slow and (result := attacks.outcome(attack.play(service, film))) not in attack.allowed
    }
    assert not found
    assert attacks.health(service).status == 200


def test_damaged_films_get_the_answers_of_the_command_line(load, service):
    mutations = load("service.mutations")
    films = load("service.films").damaged_films(80, seed=3)
    rows = mutations.rows_of_the_command(films)
    assert None not in rows, "the command line crashed"
    tally, seconds = mutations.read_all(service, films, rows)
    assert not tally.wrong
    assert max(seconds) < mutations.SLOWEST
    assert tally.outcomes["damaged film: 200"] > 5


def test_two_hundred_clients_at_once(load, service):
    stampede, films = load("service.stampede"), load("service.films").small_films(16)
    usual = max(stampede.quiet_seconds(service, films[0], 10))
    callers = stampede.stampede(service.port, films, 200)
    results = {caller.result for caller in callers}
    assert results <= stampede.ALLOWED
    assert "200" in results
    assert stampede.seconds_to_calm(service, films[0], usual) < 5


def test_silent_connections_do_not_shut_others_out(load, service):
    stampede, films = load("service.stampede"), load("service.films").small_films(1)
    assert stampede.among_idlers(service, films[0], 100) == {"200": 20}


def test_memory_is_flat_over_many_films(load, service):
    soak = load("service.soak").Soak(service, seed=1, films=16)
    soak.attacks = [attack for attack in soak.attacks if not attack.slow]
    soak.block(80)
    before = service.megabytes()["all"]
    soak.block(160)
    soak.finish()
    assert not soak.tally.wrong
    assert service.megabytes()["all"] - before < 20


def test_an_answered_film_is_not_kept(load, service):
    client, films = load("service.client"), load("service.films")
    noise = np.random.default_rng(0).integers(0, 256, (3000, 4000), dtype=np.uint8)
    read, refused = films.encoded(noise, "PNG"), b"A" * (20 << 20)
    for film in (read, refused, read, refused):
        service.ask(client.put(film))
    before = service.megabytes()["server"]
    for _ in range(5):
        assert service.ask(client.put(read)).status == 200
        assert service.ask(client.put(refused)).status == 415
    time.sleep(0.2)
    assert service.megabytes()["server"] - before < 25


def test_workers_that_are_killed_cost_a_film_each(load, service):
    soak = load("service.soak").Soak(service, seed=2, films=16)
    soak.attacks = [attack for attack in soak.attacks if not attack.slow]
    ended, killed, before = threading.Event(), [], len(service.processes())

    def kill() -> None:
        while not ended.wait(0.3) and len(killed) < 3:
            killed.append(service.processes()[-1])
            os.kill(killed[-1], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    soak.block(150)
    ended.set()
    thread.join()
    soak.finish()
    assert killed
    # Only the film that the worker had is lost, and its answer says so.
    assert len(soak.tally.wrong) <= len(killed)
    assert all("film.crash" in wrong for wrong in soak.tally.wrong)
    end = time.monotonic() + 10
    while len(service.processes()) < before and time.monotonic() < end:
        time.sleep(0.05)
    assert len(service.processes()) == before


def test_it_stops_soon_whatever_clients_do(load):
    client, film = load("service.client"), load("service.films").small_films(1)[0]
    attacks = load("service.attacks")
    with client.Service() as service:
        service.wait_until_ready()
        # Idle, half a head, half a body, a whole film whose answer nobody reads.
        open_ones = [service.connect() for _ in range(4)]
        open_ones[1].send([client.put(film.data)[0][:40]])
        open_ones[2].send([client.put(film.data)[0], film.data[:100]])
        open_ones[3].send(client.put(film.data))
        assert attacks.health(service).status == 200
        code, seconds = service.stop()
        half = open_ones[2].answer()
        for connection in open_ones:
            connection.close()
    assert (half.status, half.json()["code"]) == (503, "http.stopping")
    # Two seconds for bodies that still arrive; of the ten that may pass, the rest is for films.
    assert (code, seconds < 6) == (0, True)


def test_slow_requests_were_ended(slow_ones):
    names = {attack.name for attack in slow_ones.attacks if attack.slow}
    slow_ones.finish()
    assert not slow_ones.tally.wrong
    assert {name.rpartition(":")[0] for name in slow_ones.tally.outcomes} == names
