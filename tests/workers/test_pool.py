"""The pool: whatever a film does to its worker, it gets one answer, and the other films do not notice."""

import asyncio
import io
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumoscan.bundle.contents import pretrained_bundle
from pneumoscan.bundle.load import load_bundle
from pneumoscan.bundle.write import write_bundle
from pneumoscan.classifier import predict_one
from pneumoscan.errors import (
    BundleError,
    EnvironmentProblemError,
    FilmCrashError,
    FilmError,
    FilmFormatError,
    FilmTimeoutError,
    FilmTooLargeError,
    UsageError,
)
from pneumoscan.workers.pool import FilmPool, Limits, PoolFullError, PoolStoppedError, Want

# A worker in which some films do what only broken decoders do.
TROUBLE = """
import os, signal, sys, time
from pneumoscan.workers import worker

plain = worker.read_film

def read_film(bundle, film, threshold, want):
    kind, _, number = film.partition(b" ")
    if kind == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif kind == b"exit":
        os._exit(3)
    elif kind == b"hang":
        time.sleep(1000)
    elif kind == b"nap":
        time.sleep(float(number))
    elif kind == b"mistake":
        raise ZeroDivisionError("a patient's name")
    elif kind == b"memory":
        bytearray(1 << 40)
    elif kind == b"nonsense":
        os.write(int(sys.argv[1]), b"\\0" * 8 + b"HTTP/1.1 200 OK" * 100)
    elif kind == b"liar":
        os.write(int(sys.argv[1]), reading_of_another())
    elif kind == b"loud":
        os.write(1, b"x" * 100000)
        os.write(2, b"x" * 100000)
    elif kind == b"environment":
        raise worker.too_large().__class__(" ".join(sorted(os.environ)))
    else:
        return plain(bundle, film, threshold, want)
    return plain(bundle, open(FILM, "rb").read(), threshold, want)

def reading_of_another():
    from pneumoscan.workers import protocol
    return protocol.answer(12345, protocol.Reading({"status": "ok"}))

worker.read_film = read_film
sys.exit(worker.main(sys.argv[1:]))
"""


def jpeg(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The folder of a bundle whose logit is the film's mean, so that no two films have the same answer."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from pneumoscan.bundle.load import BundleSpec, self_check_inputs, self_check_of
    from pneumoscan.imaging import Preprocessing

    shapes = {"probability": ["N"], "logit": ["N"]}
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["film", "axes"], ["logit"], keepdims=0),
            helper.make_node("Sigmoid", ["logit"], ["probability"]),
        ],
        "tiny",
        [info("film", TensorProto.FLOAT, ["N", 1, 32, 32])],
        [info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(np.array([1, 2, 3]), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    preprocessing = Preprocessing(size=32)
    logits = self_check_inputs(preprocessing).astype(np.float64).mean((1, 2, 3))
    shipped = load_bundle(pretrained_bundle(), self_check=False).spec
    values = {field.name: getattr(shipped, field.name) for field in fields(shipped)} | {
        "name": "tiny", "preprocessing": preprocessing, "temperature": 1.0, "outputs": ("probability", "logit"),
        "guard": None, "lungs": None, "left_out": None, "training": {}, "parameters": 1, "self_check": self_check_of(logits, 1.0), "files": {},
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("tiny") / "bundle"
    write_bundle(folder, onnx=model.SerializeToString(), spec=BundleSpec(**values), readme="# tiny\n")
    return folder


@pytest.fixture(scope="session")
def films(tmp_path_factory):
    """Films by number, each with an answer of its own."""
    rng = np.random.default_rng(0)
    return [jpeg((rng.integers(0, 60, (60, 70)) + 8 * number).astype(np.uint8)) for number in range(24)]


@pytest.fixture(scope="session")
def command(tmp_path_factory, films):
    """How to start a worker that has troubles."""
    folder = tmp_path_factory.mktemp("trouble")
    (folder / "film.jpeg").write_bytes(films[0])
    (folder / "trouble.py").write_text(f"FILM = {str(folder / 'film.jpeg')!r}\n{TROUBLE}")
    return [sys.executable, str(folder / "trouble.py")]


@asynccontextmanager
async def opened(model, command=None, workers=1, waiting=100, **limits):
    options = {} if command is None else {"command": command}
    pool = FilmPool(model, workers=workers, waiting=waiting, limits=Limits(**limits), **options)
    await pool.start()
    try:
        yield pool
    finally:
        await pool.stop(0)
        assert pool.busy == pool.waiting == 0
        assert not pool.ready


def pids(pool):
    """The workers that belong to this process now."""
    children = Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children").read_text().split()
    return [int(pid) for pid in children if "worker" in _line(pid) or "trouble.py" in _line(pid)]


def _line(pid):
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


async def until(holds, seconds=20.0):
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        await asyncio.sleep(0.01)


def told(bundle, film, threshold=0.5):
    return predict_one(bundle, film, threshold).to_json()


def columns(reading):
    extra = {"sha256", "logit", "distance", "width", "height", "format"}
    return {name: value for name, value in reading.row.items() if name not in extra}


def test_the_shipped_model_answers_as_predict_does(draw_film):
    bundle = load_bundle(pretrained_bundle())
    film = jpeg(draw_film(size=(400, 500)))

    async def scenario():
        async with opened(pretrained_bundle(), workers=2) as pool:
            assert pool.ready
            readings = await asyncio.gather(
                *(pool.read(film, threshold=t, want=Want(heatmap=True)) for t in (0.1, 0.5, 0.9))
            )
            for threshold, reading in zip((0.1, 0.5, 0.9), readings, strict=True):
                assert columns(reading) == told(bundle, film, threshold)
                assert reading.heatmap.startswith(b"\x89PNG")
                assert reading.picture is None
            with pytest.raises(FilmFormatError, match="<bytes>"):
                await pool.read(b"not a film", threshold=0.5)
            assert pool.restarts == 0

    asyncio.run(scenario())


def test_films_and_answers_are_never_mixed_up(tiny, films):
    bundle = load_bundle(tiny)
    expected = [told(bundle, film) for film in films]
    assert len({row["probability"] for row in expected}) == len(films)

    async def scenario():
        async with opened(tiny, workers=3) as pool:
            numbers = [n % len(films) for n in range(90)]
            readings = await asyncio.gather(*(pool.read(films[n], threshold=0.5) for n in numbers))
            assert [columns(reading) for reading in readings] == [expected[n] for n in numbers]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("film", "kind", "words", "restarts"),
    [
        (b"crash", FilmCrashError, "SIGSEGV", 1), (b"exit", FilmCrashError, "exit code 3", 1),
        (b"nonsense", FilmCrashError, "invalid answer", 1), (b"liar", FilmCrashError, "invalid answer", 1),
        (b"mistake", FilmCrashError, "ZeroDivisionError", 0), (b"memory", FilmTooLargeError, "memory", 0),
        (b"hang", FilmTimeoutError, "0.6 s", 1), (b"nap 0.1", None, "", 0), (b"loud", None, "", 0),
    ],
)  # fmt: skip
def test_a_bad_film_costs_one_typed_answer(tiny, command, films, film, kind, words, restarts):
    bundle = load_bundle(tiny)

    async def scenario():
        async with opened(tiny, command, seconds=0.6) as pool:
            before, bad, after = await asyncio.gather(
                pool.read(films[1], threshold=0.5), pool.read(film, threshold=0.5),
                pool.read(films[2], threshold=0.5), return_exceptions=True,
            )  # fmt: skip
            assert columns(before) == told(bundle, films[1])
            assert columns(after) == told(bundle, films[2])
            if kind is None:
                assert columns(bad) == told(bundle, films[0])
            else:
                assert type(bad) is kind
                with pytest.raises(kind, match=words):
                    raise bad
                assert "patient" not in str(bad)
            assert pool.restarts == restarts
            assert pool.ready

    asyncio.run(scenario())


def test_others_go_on_beside_a_film_that_hangs(tiny, command, films):
    async def scenario():
        async with opened(tiny, command, workers=2, seconds=1.5) as pool:
            await until(lambda: pool._live == 2)
            hanging = asyncio.create_task(pool.read(b"hang", threshold=0.5))
            await until(lambda: pool.busy == 1)
            for film in films[:20]:
                await pool.read(film, threshold=0.5)
            assert not hanging.done()
            with pytest.raises(FilmTimeoutError):
                await hanging

    asyncio.run(scenario())


def test_a_worker_that_ends_while_it_has_no_film_is_replaced(tiny, command, films):
    async def scenario():
        async with opened(tiny, command) as pool:
            (first,) = pids(pool)
            os.kill(first, signal.SIGKILL)
            await until(lambda: not pool.ready)
            await pool.read(films[0], threshold=0.5)
            (second,) = pids(pool)
            assert second != first
            assert pool.restarts == 1

    asyncio.run(scenario())


def test_a_film_that_no_worker_has_seen_goes_to_another(tiny, films, monkeypatch):
    from pneumoscan.workers.process import WorkerProcess

    plain, broken = WorkerProcess.give, []

    async def give(self, film, threshold, want):
        if len(broken) < 2 and film not in broken:
            broken.append(film)
            raise BrokenPipeError
        await plain(self, film, threshold, want)

    monkeypatch.setattr(WorkerProcess, "give", give)
    bundle = load_bundle(tiny)

    async def scenario():
        async with opened(tiny, workers=2) as pool:
            await until(lambda: pool._jobs.idle == 2)
            readings = await asyncio.gather(*(pool.read(film, threshold=0.5) for film in films[:5]))
            assert [columns(reading) for reading in readings] == [told(bundle, film) for film in films[:5]]
            assert pool.busy == 0
            await until(lambda: pool.restarts == 2)

    asyncio.run(scenario())


def test_a_full_queue_refuses_and_says_when_to_come_again(tiny, command, films):
    async def scenario():
        async with opened(tiny, command, waiting=2) as pool:
            first = asyncio.create_task(pool.read(b"nap 0.5", threshold=0.5))
            await until(lambda: pool.busy == 1)
            others = [asyncio.create_task(pool.read(film, threshold=0.5)) for film in films[:2]]
            await until(lambda: pool.waiting == 2)
            with pytest.raises(PoolFullError) as refused:
                await pool.read(films[3], threshold=0.5)
            assert 1 <= refused.value.retry_after <= 60
            assert pool.waiting == 2
            await asyncio.gather(first, *others)
            await pool.read(films[3], threshold=0.5)

    asyncio.run(scenario())


def test_without_a_queue_an_idle_worker_still_takes_films(tiny, films):
    async def scenario():
        async with opened(tiny, waiting=0) as pool:
            await until(lambda: pool._jobs.idle)
            await pool.read(films[0], threshold=0.5)
            await until(lambda: pool._jobs.idle)
            results = await asyncio.gather(
                *(pool.read(film, threshold=0.5) for film in films[:3]), return_exceptions=True
            )
            assert [type(result) for result in results[1:]] == [PoolFullError] * 2
            assert columns(results[0])["status"] == "ok"

    asyncio.run(scenario())


def test_a_reader_that_goes_leaves_the_pool_in_order(tiny, command, films):
    bundle = load_bundle(tiny)

    async def scenario():
        async with opened(tiny, command) as pool:
            begun = asyncio.create_task(pool.read(b"nap 0.3", threshold=0.5))
            await until(lambda: pool.busy == 1)
            waiting = asyncio.create_task(pool.read(b"crash", threshold=0.5))
            await until(lambda: pool.waiting == 1)
            begun.cancel()
            waiting.cancel()
            await asyncio.gather(begun, waiting, return_exceptions=True)
            # The one that waited is dropped, the other still has the worker.
            assert (pool.busy, pool.waiting) == (1, 0)
            reading = await pool.read(films[4], threshold=0.5)
            assert columns(reading) == told(bundle, films[4])
            await until(lambda: pool._jobs.idle)
            # Handed over, and gone before the worker's task had its turn.
            handed = asyncio.create_task(pool.read(b"crash", threshold=0.5))
            await asyncio.sleep(0)
            handed.cancel()
            assert columns(await pool.read(films[5], threshold=0.5)) == told(bundle, films[5])
            assert pool.restarts == 0

    asyncio.run(scenario())


def test_stopping_finishes_what_was_accepted(tiny, command, films):
    async def scenario():
        async with opened(tiny, command) as pool:
            reads = [asyncio.create_task(pool.read(film, threshold=0.5)) for film in (b"nap 0.3", *films[:5])]
            await until(lambda: pool.busy == 1)
            stopping = asyncio.create_task(pool.stop(10))
            await asyncio.sleep(0)
            assert not pool.ready
            with pytest.raises(PoolStoppedError):
                await pool.read(films[0], threshold=0.5)
            assert [reading.row["status"] for reading in await asyncio.gather(*reads)] == ["ok"] * 6
            await stopping
            assert pids(pool) == []
            await pool.stop(1)

    asyncio.run(scenario())


def test_stopping_does_not_wait_longer_than_its_grace(tiny, command, films):
    async def scenario():
        async with opened(tiny, command, seconds=30) as pool:
            reads = [asyncio.create_task(pool.read(film, threshold=0.5)) for film in (b"hang", films[0])]
            await until(lambda: pool.busy == 1)
            began = time.monotonic()
            await pool.stop(0.2)
            assert time.monotonic() - began < 2
            results = await asyncio.gather(*reads, return_exceptions=True)
            assert [type(result) for result in results] == [PoolStoppedError] * 2
            assert pids(pool) == []

    asyncio.run(scenario())


def test_a_start_that_is_given_up_leaves_nothing_behind(tiny):
    async def scenario():
        pool = FilmPool(tiny, workers=2, waiting=1)
        starting = asyncio.create_task(pool.start())
        await until(lambda: pids(pool))
        await pool.stop(0)
        with pytest.raises(PoolStoppedError):
            await starting
        assert pids(pool) == []

    asyncio.run(scenario())


@pytest.mark.parametrize("workers", [1, 4])
def test_a_model_that_does_not_load_is_told_at_once(tmp_path, workers):
    async def scenario(model, kind):
        pool = FilmPool(model, workers=workers, waiting=1)
        with pytest.raises(kind, match=str(model)):
            await pool.start()
        assert not pool.ready
        assert pids(pool) == []

    asyncio.run(scenario(tmp_path, BundleError))
    asyncio.run(scenario(tmp_path / "none", UsageError))


@pytest.mark.parametrize("what", [["/nowhere/python"], ["/bin/false"]])
def test_workers_that_do_not_start_are_told(tiny, what):
    async def scenario():
        with pytest.raises(EnvironmentProblemError, match="worker"):
            await FilmPool(tiny, workers=2, waiting=1, command=what).start()

    asyncio.run(scenario())


def test_a_model_that_goes_away_fails_reads_and_does_not_spin(tiny, films, tmp_path, monkeypatch):
    import shutil

    from pneumoscan.workers import pool as module

    model = tmp_path / "bundle"
    shutil.copytree(tiny, model)
    started = []
    plain = module.WorkerProcess
    monkeypatch.setattr(module, "WorkerProcess", lambda *rest: (started.append(1), plain(*rest))[1])
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 1.0)

    async def scenario():
        async with opened(model) as pool:
            await pool.read(films[0], threshold=0.5)
            model.rename(tmp_path / "elsewhere")
            os.kill(pids(pool)[0], signal.SIGKILL)
            await until(lambda: not pool.ready)
            with pytest.raises(UsageError, match="no model"):  # waits, for the new worker might have come up
                await pool.read(films[0], threshold=0.5)
            with pytest.raises(UsageError, match="no model"):  # at once
                await asyncio.wait_for(pool.read(films[0], threshold=0.5), 0.05)
            assert not pool.ready
            await asyncio.sleep(2)
            assert 3 <= len(started) <= 6
            (tmp_path / "elsewhere").rename(model)
            await until(lambda: pool.ready)
            await pool.read(films[0], threshold=0.5)

    asyncio.run(scenario())


def test_every_film_has_one_answer_while_workers_are_killed(tiny, films):
    bundle = load_bundle(tiny)
    expected = [told(bundle, film) for film in films]

    async def kill(pool, rng):
        while True:
            # Never the last one: that no worker at all is left has its own test.
            if pool._live > 1:
                with suppress(ProcessLookupError):
                    os.kill(int(rng.choice(pids(pool))), signal.SIGKILL)
            await asyncio.sleep(float(rng.uniform(0.01, 0.1)))

    async def client(pool, numbers, results):
        for n in numbers:
            try:
                results[n] = (await pool.read(films[n % len(films)], threshold=0.5)).row
            except FilmError as problem:
                results[n] = problem
            if n >= 100 and pool.restarts >= 6:
                return

    async def scenario():
        async with opened(tiny, workers=3) as pool:
            results, numbers = {}, itertools.count()
            killer = asyncio.create_task(kill(pool, np.random.default_rng(1)))
            async with asyncio.timeout(60):
                await asyncio.gather(*(client(pool, numbers, results) for _ in range(6)))
            killer.cancel()
            assert sorted(results) == list(range(len(results)))
            crashed = [result for result in results.values() if isinstance(result, Exception)]
            assert all(type(problem) is FilmCrashError for problem in crashed)
            assert 0 < len(crashed) <= pool.restarts + 3
            for n, result in results.items():
                if isinstance(result, dict):
                    assert result["probability"] == expected[n % len(films)]["probability"], n

    asyncio.run(scenario())


def test_a_worker_learns_nothing_of_the_services_surroundings(tiny, command, monkeypatch):
    monkeypatch.setenv("PNEUMOSCAN_TOKEN", "secret")
    monkeypatch.setenv("SOMETHING_PRIVATE", "secret")

    async def scenario():
        async with opened(tiny, command) as pool:
            with pytest.raises(FilmTooLargeError) as names:
                await pool.read(b"environment", threshold=0.5)
            assert "PATH" in names.value.message
            assert "TOKEN" not in names.value.message
            assert "PRIVATE" not in names.value.message

    asyncio.run(scenario())


def test_no_orphan_is_left_when_the_service_is_killed(tiny):
    script = (
        "import asyncio, os, pathlib, sys\n"
        "from pneumoscan.workers.pool import FilmPool\n"
        "async def main():\n"
        f"    pool = FilmPool(pathlib.Path({str(tiny)!r}), workers=2, waiting=1)\n"
        "    await pool.start()\n"
        "    while pool._live < 2: await asyncio.sleep(0.01)\n"
        "    task = pathlib.Path(f'/proc/{os.getpid()}/task/{os.getpid()}/children')\n"
        "    print(task.read_text(), flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as service:
        children = [int(pid) for pid in service.stdout.readline().split()]
        assert len(children) == 2
        service.kill()
    end = time.monotonic() + 5
    while any("worker" in _line(pid) for pid in children):
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"waiting": -1}, {"limits": Limits(seconds=0)}])
def test_a_pool_that_cannot_be_is_refused(tiny, wrong):
    with pytest.raises(UsageError):
        FilmPool(tiny, **({"workers": 1, "waiting": 1} | wrong))


def test_a_threshold_that_is_none_is_refused(tiny):
    async def scenario():
        pool = FilmPool(tiny, workers=1, waiting=1)
        for threshold in (-0.1, 1.1, float("nan")):
            with pytest.raises(UsageError, match="threshold"):
                await pool.read(b"", threshold=threshold)

    asyncio.run(scenario())


def test_the_service_itself_stays_light():
    code = "import sys, pneumoscan.workers.pool; print(*sys.modules)"
    loaded = set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )
    assert not loaded & {"numpy", "PIL", "onnxruntime", "starlette", "torch"}
