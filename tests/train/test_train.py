"""The whole way, by the command line: folder of films → run folder → bundle, killed and gone on with."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from synthetic_films import write_film_folder

from pneumoscan.errors import ConfigError, DataDamagedError, LockedError, NothingUsableError, UsageError
from pneumoscan.evaluate import evaluate
from pneumoscan.files import locked
from pneumoscan.train.config import load_config
from pneumoscan.train.export import export_run, report_val
from pneumoscan.train.run import train

SMALL = (
    "data.size=48", "loop.batch_size=8", "loop.micro_batch=4", "loop.worker_threads=2", "loop.precision=float32",
    "data.val_fraction=0.3",
)  # fmt: skip


def small(*assignments: str):
    return load_config("baseline-quick", None, [*SMALL, "loop.epochs=2", *assignments])


def command(data: Path, out: Path, *extra: str) -> list[str]:
    settings = [part for setting in (*SMALL, *extra) for part in ("--set", setting)]
    return [
        sys.executable,
        "-m",
        "pneumoscan",
        "train",
        "--data",
        str(data),
        "--out",
        str(out),
        "--no-bundle",
        *settings,
    ]


def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "PNEUMOSCAN_CACHE": str(tmp_path / "cache")}


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Films, and the folder of a run that was trained on them. Tests copy both before they change them."""
    root = tmp_path_factory.mktemp("finished")
    films = write_film_folder(root / "films")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PNEUMOSCAN_CACHE", str(root / "cache"))
        train(small(), films, root / "run")
    return films, root / "run"


@pytest.fixture
def finished_copy(finished: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """The films and the run of `finished`, to be changed."""
    return tuple(shutil.copytree(path, tmp_path / path.name) for path in finished)


def test_a_run_folder_has_what_is_promised(finished: tuple[Path, Path]) -> None:
    _, out = finished
    names = {path.name for path in out.iterdir()}
    assert {
        "config.toml", "history.jsonl", "convergence.svg", "convergence.png", "checkpoints", "model.safetensors",
        "split.csv", "manifest.json",
    } <= names  # fmt: skip
    lines = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert {
        "train_loss", "val_loss", "train_accuracy", "val_accuracy", "learning_rate", "seconds", "films_per_second",
    } <= set(lines[0])  # fmt: skip
    manifest = json.loads((out / "manifest.json").read_text())
    assert {"packages", "threads", "seed", "data_sha256", "commit", "films", "result"} <= set(manifest)
    assert tomllib.loads((out / "config.toml").read_text())["loop"]["worker_threads"] == 2
    rows = list(csv.DictReader((out / "split.csv").read_text().splitlines()))
    parts = {row["patient_id"]: set() for row in rows}
    for row in rows:
        parts[row["patient_id"]].add(row["part"])
        assert row["path"].startswith("train/")
    assert all(len(part) == 1 for part in parts.values())


def test_an_exported_bundle_reads_films_as_torch_does(finished_copy: tuple[Path, Path]) -> None:
    from pneumoscan.bundle.load import load_bundle

    films, out = finished_copy
    exported = export_run(out, films)
    assert exported.largest_difference < 1e-4
    bundle = load_bundle(out)
    assert set(bundle.spec.thresholds) == {"best_f1", "balanced", "sensitivity_98"}
    point = bundle.spec.thresholds["balanced"]
    assert "held-out training films (each as it is and augmented 4 times)" in point["source"]
    assert point["n"] == 5 * exported.films
    assert len(bundle.training_films()) > 0
    assert (
        bundle.spec.training["data_sha256"] == json.loads((out / "manifest.json").read_text())["data_sha256"]
    )
    # The split `val` is reported and changes nothing.
    before = (out / "bundle/model.json").read_bytes()
    right, read = report_val(out, films)
    assert 0 <= right <= read == len(list((films / "val").rglob("*.jpeg")))
    assert json.loads((out / "manifest.json").read_text())["val_split"] == {"right": right, "films": read}
    assert (out / "bundle/model.json").read_bytes() == before
    shutil.rmtree(films / "val")
    assert report_val(out, films) == (0, 0)


def test_films_that_cannot_be_read_are_left_out_and_told(film_folder: Path, tmp_path: Path) -> None:
    (film_folder / "train/NORMAL/IM-7777-0001.jpeg").write_bytes(b"not a film")
    (film_folder / "train/COVID").mkdir()

    class Notes(list):
        def step(self, *_): ...
        def epoch(self, *_): ...
        def note(self, text):
            self.append(text)

    notes = Notes()
    train(small("loop.epochs=1"), film_folder, tmp_path / "run", observer=notes)
    assert any("IM-7777-0001.jpeg" in note for note in notes)
    assert any("train/COVID" in note for note in notes)
    assert json.loads((tmp_path / "run/manifest.json").read_text())["films"]["refused"] == 1


def test_a_folder_of_other_files_is_no_run_folder(film_folder: Path, tmp_path: Path) -> None:
    before = sorted(film_folder.rglob("*"))
    for out in (film_folder, film_folder / "train", film_folder / "train" / "NORMAL"):
        with pytest.raises(UsageError, match="no run folder") as problem:
            train(small(), film_folder, out)
        assert str(out) in problem.value.message
    assert sorted(film_folder.rglob("*")) == before


def test_wrong_uses_are_refused_and_harm_nothing(finished_copy: tuple[Path, Path], tmp_path: Path) -> None:
    film_folder, out = finished_copy
    with pytest.raises(UsageError, match="contains no run"):
        train(None, film_folder, tmp_path / "empty", resume=True)
    before = (out / "model.safetensors").read_bytes()
    with pytest.raises(UsageError, match="already contains a run"):
        train(small(), film_folder, out)
    with pytest.raises(ConfigError, match="another config"):
        train(small("loop.seed=5"), film_folder, out, resume=True)
    with locked(out / ".lock"), pytest.raises(LockedError):
        train(small(), film_folder, out, resume=True)
    assert train(small(), film_folder, out, resume=True).kept_epoch in {1, 2}
    assert (out / "model.safetensors").read_bytes() == before
    next((film_folder / "train/NORMAL").iterdir()).unlink()
    with pytest.raises(DataDamagedError, match="not those"):
        train(None, film_folder, out, resume=True)
    with pytest.raises(NothingUsableError):
        train(small(), tmp_path / "cache", tmp_path / "other")


@pytest.mark.usefixtures("quick_graphs")
def test_films_of_several_places(film_folder: Path, tmp_path: Path) -> None:
    write_film_folder(tmp_path / "other", patients=10, seed=7)
    sources = [f"one={film_folder}", f"two={tmp_path / 'other'}"]
    out = tmp_path / "run"
    train(small("loop.epochs=1"), sources, out)
    held = [line for line in (out / "split.csv").read_text().splitlines() if line.endswith(",val")]
    assert {line.split("/")[0] for line in held} == {"one", "two"}
    assert export_run(out, sources).films == len(held)
    assert report_val(out, sources)[1] == 12
    metrics = evaluate(out, sources, split="held-out", out=tmp_path / "judged")
    assert metrics.n == len(held)
    with pytest.raises(DataDamagedError, match="not those"):
        export_run(out, film_folder)


def kill_once(data: Path, out: Path, tmp_path: Path, delay: float, number: int, *extra: str) -> int:
    """Start or go on with a run and kill it `delay` seconds after its first checkpoint moved; returns its exit code."""
    resume = ["--resume"] if (out / "config.toml").exists() else []
    before = {path.name for path in (out / "checkpoints").glob("*")} if out.exists() else set()
    process = subprocess.Popen(
        [*command(data, out, *extra), *resume],
        env=environment(tmp_path),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if {path.name for path in (out / "checkpoints").glob("*")} - before:
            break
        time.sleep(0.005)
    time.sleep(delay)
    process.send_signal(number)
    return process.wait()


# A checkpoint after every step: most instants lie inside a write.
OFTEN = ("loop.checkpoint_seconds=0.0001", "model.dropout=0.2", "loop.ema_decay=0.9")


def kills(count: int, epochs: int, film_folder: Path, tmp_path: Path) -> tuple[bytes, bytes, int]:
    often = (*OFTEN, f"loop.epochs={epochs}")
    train(load_config("baseline", None, [*SMALL, *often]), film_folder, tmp_path / "whole")
    whole = (tmp_path / "whole/model.safetensors").read_bytes()
    out, chance, struck = tmp_path / "killed", random.Random(20), 0
    for _ in range(count):
        code = kill_once(film_folder, out, tmp_path, chance.uniform(0, 0.12), signal.SIGKILL, *often)
        struck += code == -signal.SIGKILL
        if (out / "model.safetensors").exists():
            break
    done = subprocess.run(
        [*command(film_folder, out, *often), "--resume"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return whole, (out / "model.safetensors").read_bytes(), struck


def test_two_kills_change_nothing(film_folder: Path, tmp_path: Path) -> None:
    whole, resumed, struck = kills(2, 8, film_folder, tmp_path)
    assert struck == 2
    assert resumed == whole


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_change_nothing(film_folder: Path, tmp_path: Path) -> None:
    whole, resumed, struck = kills(20, 12, film_folder, tmp_path)
    assert struck == 20
    assert resumed == whole


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_with_their_code_after_a_checkpoint(
    number: int, code: int, film_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert kill_once(film_folder, out, tmp_path, 0.0, number, "loop.epochs=400") == code
    assert list((out / "checkpoints").glob("step-*.json"))
    assert not (out / "model.safetensors").exists()


def test_two_processes_are_one(film_folder: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    settings = (
        "loop.epochs=2", "model.dropout=0.2", "loop.worker_threads=1", "optimizer.name=sgd", "optimizer.learning_rate=0.05",
    )  # fmt: skip
    train(load_config("baseline", None, [*SMALL, *settings]), film_folder, tmp_path / "one")
    script = command(film_folder, tmp_path / "two", *settings)[1:]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *script]
    done = subprocess.run(
        launcher, env=environment(tmp_path), capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        assert abs(value - two[name]).max() < 1e-5
    assert len((tmp_path / "two/history.jsonl").read_text().splitlines()) == 2
