"""The pure parts of the benchmarks: arithmetic, taking turns, bars and records. No timing is asserted."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(
    not (ROOT / "benchmarks").is_dir(), reason="the benchmarks are not part of this distribution"
)


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))

    def load_module(name: str) -> ModuleType:
        return importlib.import_module(f"benchmarks.{name}")

    return load_module


def test_multiply_adds_of_a_tiny_network_by_hand(load):
    work = load("speed.training_speed").multiply_adds((2,), (3,), 4)
    # conv 4·4·9·1·2 = 288; pooled to 2·2·2 = 8 values; dense 8·3 = 24; logit 3
    assert work["forward"] == 288 + 24 + 3
    assert work["backward"] == 2 * work["forward"] - 288
    assert work["training"] == work["forward"] + work["backward"]


def test_multiply_adds_agree_with_torch_on_the_baseline(load):
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    network, counter = load("speed.step_worker").plain_network(), FlopCounterMode(display=False)
    with counter:
        network(torch.zeros(1, 1, 200, 200)).sum().backward()
    assert (
        counter.get_total_flops()
        == 2 * load("speed.training_speed").multiply_adds((32,) * 4, (128,), 200)["training"]
    )


def test_the_study_is_timed_once_for_each_network_and_step(load):
    pytest.importorskip("torch")
    from pneumoscan.study.plan import read_plan

    script = load("speed.study_speed")
    found = script.variants(read_plan(script.PLAN)[0])
    # Another rate or more epochs take no other step; another optimizer, size or network does.
    assert {"baseline", "widths / doubled", "input-size / 100", "optimizers / sgd-0.01"} <= set(found)
    assert not {"optimizers / sgd-0.03", "early-stopping / as-the-baseline", "batch-size / 32"} & set(found)


def test_the_timer_leaves_the_warm_up_out_and_ends_the_run(load, monkeypatch):
    pytest.importorskip("torch")
    script, clock = load("speed.study_speed"), iter([10.0, 14.0])
    monkeypatch.setattr(script.time, "perf_counter", lambda: next(clock))
    timer = script.Timer(2)
    for number in range(script.WARM_UP + 1):
        timer.step(1, number + 1, 9, 0.0, 0.0)
    with pytest.raises(script.EnoughError):
        timer.step(1, 9, 9, 0.0, 0.0)
    assert timer.seconds == 4.0


def test_bound_and_steady_rate(load):
    batch = load("speed.batch_predict")
    assert batch.bound(2, decode=3.0, network=5.0) == 250.0
    # One second of start-up and 10 ms a film.
    assert batch.steady_rate(100, 2.0, 500, 6.0) == 100.0


@pytest.mark.parametrize("name", ["PNG", "DICOM", "DICOM, JPEG 2000"])
def test_every_format_of_the_reading_benchmark_holds_the_film(load, name):
    import numpy as np

    from pneumoscan.imaging import read

    if "2000" in name:
        pytest.importorskip("imagecodecs")
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80)).astype(np.uint8)
    _, encode = load("speed.film_formats").FORMATS[name]
    # The window is one stored value narrower than the range.
    assert np.abs(read(encode(pixels)).pixels.astype(int) - pixels).max() <= 1


def test_the_table_has_a_row_for_each_record_with_its_peer(load, tmp_path):
    table = load("speed.table")
    record = {
        "medians": {"predict": 0.25, "Keras script": 4.0},
        "ratios": {"Keras script / predict": 16.0},
        "bars": [{"what": "cold: pneumoscan predict ONE, s", "bar": "< 0.4", "passed": True}],
    }
    (tmp_path / "cold_predict.json").write_text(json.dumps(record))
    row = table.table(tmp_path).splitlines()[-1]
    assert row == (
        "| `predict` of one film, whole process | 0.25 s | a script with Keras: 4.00 s, 16.00 × | < 0.4 | `cold_predict.json` |"
    )
    record["medians"]["Keras script"], record["bars"][0]["passed"] = None, False
    (tmp_path / "cold_predict.json").write_text(json.dumps(record))
    row = table.table(tmp_path).splitlines()[-1]
    assert "a script with Keras: not measured | < 0.4, **missed** |" in row


def test_the_page_on_speed_has_the_table_of_the_records(load):
    table = load("speed.table")
    page = table.PAGE.read_text(encoding="utf-8")
    assert table.with_table(page, table.table()) == page, "run python -m benchmarks.speed.table"


def test_memory_slope_is_in_megabytes_a_thousand_rows(load):
    memory = load("speed.predict_memory")
    assert memory.slope([1000, 2000, 3000], [100.0, 102.0, 104.0]) == pytest.approx(2.0)
    assert memory.slope([1000, 2000, 3000], [100.0, 100.0, 100.0]) == 0


def test_resident_memory_of_this_process(load):
    memory = load("speed.predict_memory")
    assert 1 < memory.resident_megabytes(os.getpid()) <= memory.resident_megabytes(os.getpid(), "VmHWM")


def test_the_command_of_a_record_names_no_folder_of_the_machine(load, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "--films", "/somewhere/chest_xray", "--rounds", "3"])
    assert load("record").command().endswith(" --films chest_xray --rounds 3")


def test_contenders_take_turns(load):
    order = []
    found = load("timing").in_turn(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, pause=0
    )
    assert order == ["a", "b"] * 3
    assert {name: len(values) for name, values in found.items()} == {"a": 3, "b": 3}


def test_a_bar_is_passed_missed_or_not_measured(load):
    bar = load("record").Bar
    assert bar("x", 2.0, 2).passed is True
    assert bar("x", 1.99, 2).passed is False
    assert bar("x", 0.4, 0.4, "<").passed is False
    assert bar("x", None, 2, note="not measured: why").to_json() == {
        "what": "x",
        "bar": ">= 2",
        "measured": None,
        "passed": None,
        "note": "not measured: why",
    }


def test_a_record_is_json_and_names_machine_versions_and_command(load, tmp_path, capsys):
    measure = load("record")
    options = measure.Options("", None, tmp_path, tmp_path / "out", 0, quick=True)
    bars = [measure.Bar("speed", 3.0, 2), measure.Bar("peer", None, 2, note="not measured: absent")]
    measure.finish("mine", lambda _: measure.Record("mine", bars=bars, raw={"s": [1.0, 2.0]}), options)
    record = json.loads((tmp_path / "out" / "mine.json").read_text())
    assert {
        "schema_version",
        "date",
        "command",
        "machine",
        "versions",
        "bars",
        "medians",
        "ratios",
        "raw",
    } <= set(record)
    assert record["machine"]["cores"] >= 1
    assert record["versions"]["numpy"]
    assert [bar["passed"] for bar in record["bars"]] == [True, None]
    assert "not measured" in capsys.readouterr().out


def test_the_summary_does_not_call_an_unmeasured_bar_passed(load, tmp_path):
    measure, run = load("record"), load("speed.run")
    bars = [measure.Bar("speed", 3.0, 2), measure.Bar("peer", None, 2)]
    for kept, passed in ((bars, False), (bars[:1], True)):
        body = {
            "name": "cold_predict",
            "date": "2026-01-01",
            "quick": False,
            "bars": [bar.to_json() for bar in kept],
        }
        (tmp_path / "cold_predict.json").write_text(json.dumps(body))
        found = run.summary(tmp_path)
        assert found["all_passed"] is passed
        assert len(found["bars"]) == len(kept)


def test_without_keras_its_columns_are_left_out(load):
    measure, speed = load("record"), load("speed.training_speed")
    without = measure.Options("", None, Path(), Path(), 0, quick=True)
    assert list(speed.commands(without, 4)) == ["ours", "plain PyTorch", "peak"]
    with_keras = measure.Options("/k/python", None, Path(), Path(), 0, quick=True)
    assert "Keras default" in speed.commands(with_keras, 4)


def test_a_worker_answers_and_one_that_dies_says_why(load):
    workers = load("workers")
    path = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from benchmarks.workers import Wire; wire = Wire()\n"
    )
    echo = (
        path + "print('noise')\nwire.send(ready=True)\nfor r in wire.requests(): wire.send(twice=2 * r['n'])"
    )
    with workers.Worker([sys.executable, "-c", echo]) as worker:
        assert worker.facts == {"ready": True}
        assert worker.ask(n=21) == {"twice": 42}
    with pytest.raises(RuntimeError, match="no such thing"):
        workers.Worker([sys.executable, "-c", "raise SystemExit('no such thing')"])


def test_an_enlarged_film_is_a_grey_jpeg_of_the_size_that_is_promised(load, film_folder):
    from io import BytesIO

    from PIL import Image

    material = load("speed.material")
    source = material.film_files(film_folder)[0]
    picture = Image.open(BytesIO(material.enlarged(source, mirror=True)))
    assert (picture.size, picture.mode, picture.format) == ((1300, 1000), "L", "JPEG")


@pytest.fixture
def gpu_job(load, tmp_path):
    measure, run = load("record"), load("gpu.run")
    return run.Job(measure.Options("", None, tmp_path / "work", tmp_path / "out", 0, quick=True), "cpu")


def test_finished_parts_of_the_gpu_run_are_not_repeated_and_failed_ones_are(load, gpu_job, monkeypatch):
    run, calls = load("gpu.run"), []

    def works(_job):
        calls.append("works")
        return {"films_per_second": 2.0}

    def fails(_job):
        calls.append("fails")
        raise RuntimeError("out of memory")

    monkeypatch.setattr(run, "PARTS", {"works": works, "fails": fails})
    gpu_job.options.work.mkdir()
    for _ in range(2):
        found = run.run_parts(gpu_job, ["works", "fails"])
        assert found["works"]["films_per_second"] == 2.0
        assert found["fails"] == {"error": "out of memory"}
    assert calls == ["works", "fails", "fails"]


def test_a_training_of_the_gpu_run_is_started_once_and_then_resumed(load, gpu_job, tmp_path, monkeypatch):
    run, out = load("gpu.run"), tmp_path / "baseline"
    monkeypatch.setattr(run, "phantom_films", lambda _: Path("films"))
    first = run.train_command(gpu_job, "baseline", out)
    assert first[first.index("--preset") + 1] == "baseline"
    assert {"loop.device=cpu", "loop.epochs=1"} <= set(first)
    out.mkdir()
    (out / "config.toml").touch()
    assert run.train_command(gpu_job, "baseline", out)[-1] == "--resume"


def test_failed_tests_of_the_gpu_run_are_named(load, tmp_path):
    report = tmp_path / "tests.xml"
    report.write_text(
        '<testsuites><testsuite tests="3" skipped="1"><testcase classname="a" name="b"/>'
        '<testcase classname="c" name="d"><failure/></testcase></testsuite></testsuites>'
    )
    assert load("gpu.run").test_counts(report) == {"tests": 3, "skipped": 1, "failed": ["c.d"]}


def test_the_share_of_the_gpus_peak_is_multiply_adds_by_arithmetic(load):
    run = load("gpu.run")
    rates = {"ours, batch 32": [2000.0], "AMP, batch 32": [1000.0], "AMP + compile, batch 32": [1600.0]}
    speed = {"films_per_second": rates, "peak_giga_multiply_adds": [7759.94112]}
    record = run.summarise({"speed": speed, "tests": {"failed": ["x"]}}, {})
    assert record.ratios["ours, batch 32 / peak"] == pytest.approx(0.1)  # 2000 films of 387,997,056
    assert [bar.measured for bar in record.bars] == [1.0, 1.25]
    assert [bar.passed for bar in record.bars] == [False, True]
    assert [bar.measured for bar in run.summarise({}, {}).bars] == [None, None]
    del rates["AMP + compile, batch 32"]  # it could not be compiled
    assert run.summarise({"speed": speed}, {}).bars[1].measured == 2.0


def test_plain_pytorch_with_amp_takes_steps(load):
    torch = pytest.importorskip("torch")
    worker = load("gpu.step_worker")
    worker.amp_steps(torch.device("cpu"), 4, compiled=False)(2)
    assert worker.product_rate(torch.device("cpu"), 64, repetitions=3) > 0


@pytest.mark.slow
def test_the_gpu_run_works_on_a_cpu(gpu_job):
    pytest.importorskip("torch")
    options = gpu_job.options
    parts = [word for name in ("several", "train-baseline", "train-flagship") for word in ("--only", name)]
    command = [sys.executable, "-m", "benchmarks.gpu.run", "--device", "cpu", "--quick", *parts]
    folders = ["--work", str(options.work), "--out", str(options.out)]
    done = subprocess.run([*command, *folders], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((options.out / "gpu.json").read_text())["facts"]["parts"]
    assert found["several"]["collective"] | {"milliseconds": 0} == {
        "processes": 2,
        "backend": "gloo",
        "right": True,
        "milliseconds": 0,
    }
    assert all(found[name]["films_per_second"] > 0 for name in ("train-baseline", "train-flagship"))
