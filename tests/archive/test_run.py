"""An archive from its listing to its end, interrupted everywhere."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from stored import assert_as_stored, digest

from pneumoscan.archive.run import MANIFEST, SUCCESS, ArchiveOrder, run_archive
from pneumoscan.archive.shard import LocalWorkers
from pneumoscan.errors import (
    DataDamagedError,
    EnvironmentProblemError,
    LockedError,
    NothingUsableError,
    UsageError,
)
from pneumoscan.files import locked
from pneumoscan.predict.batch import predict_many
from pneumoscan.predict.sources import expand
from pneumoscan.rows import header


def silent(_step: str, _done: int, _total: int) -> None: ...


@pytest.fixture
def order(films: Path, tmp_path: Path) -> ArchiveOrder:
    return ArchiveOrder((str(films),), str(tmp_path / "out"), 0.5, "csv", part_size=5)


def expected(bundle, films: Path) -> bytes:
    rows = predict_many(bundle, expand([str(films)]), workers=1, threshold=0.5)
    return b"".join(row.to_line("csv") for row in rows)


def lines(out: Path) -> bytes:
    """Return the rows of all parts in order."""
    parts = [path.read_bytes() for path in sorted(out.glob("part-*.csv"))]
    assert all(part.startswith(header("csv")) for part in parts)
    return b"".join(part.removeprefix(header("csv")) for part in parts)


class Fails:
    """A launcher that writes some parts and then fails."""

    def __init__(self, after: int) -> None:
        self.after = after

    def map(self, job, shards):
        yield from LocalWorkers(1).map(job, shards[: self.after])
        raise KeyboardInterrupt


class Never:
    """A launcher that must not be asked for anything."""

    def map(self, job, shards):
        assert not shards
        yield from ()


def test_one_row_for_each_input_and_the_same_as_predict(bundle, order, films) -> None:
    outcome = run_archive(order, bundle, LocalWorkers(2), silent)
    assert (outcome.inputs, outcome.ok, outcome.refused, outcome.parts) == (12, 10, 2, 3)
    assert not outcome.was_finished
    out = Path(order.out)
    assert lines(out) == expected(bundle, films)
    manifest = json.loads((out / MANIFEST).read_text())
    assert [part["rows"] for part in manifest["parts"]] == [5, 5, 2]
    assert manifest["plan"]["inputs"] == 12
    assert {path.name for path in out.iterdir()} == {
        *(f"part-00000{number}.csv" for number in range(3)), MANIFEST, SUCCESS, "_pneumoscan",
    }  # fmt: skip


def test_an_interrupted_archive_goes_on(bundle, order, films) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_archive(order, bundle, Fails(after=2), silent)
    first = (Path(order.out) / "part-000000.csv").stat().st_mtime_ns
    assert not (Path(order.out) / SUCCESS).exists()
    incomplete = Path(order.out) / ".part-000002.csv.x1.tmp"
    incomplete.write_bytes(b"path,")
    outcome = run_archive(order, bundle, LocalWorkers(1), silent)
    assert not incomplete.exists()
    assert (outcome.parts_before, outcome.parts) == (2, 3)
    assert (Path(order.out) / "part-000000.csv").stat().st_mtime_ns == first
    assert lines(Path(order.out)) == expected(bundle, films)


def test_a_finished_archive_is_left_alone(bundle, order) -> None:
    before = run_archive(order, bundle, LocalWorkers(2), silent)
    times = {path: path.stat().st_mtime_ns for path in Path(order.out).rglob("*") if path.name != "lock"}
    again = run_archive(order, bundle, Never(), silent)
    assert again.was_finished
    assert (again.ok, again.refused) == (before.ok, before.refused)
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_other_settings_and_inputs_are_refused(bundle, order, films) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_archive(order, bundle, Fails(after=1), silent)
    for changed, named in (
        (replace(order, threshold=0.4), "threshold 0.5, not 0.4"),
        (replace(order, part_size=6), "part size 5, not 6"),
        (replace(order, sources=(str(films / "ward"),)), "12 inputs, now there are 3"),
    ):
        with pytest.raises(UsageError, match=named):
            run_archive(changed, bundle, Never(), silent)
    (films / "0.png").rename(films / "00.png")
    with pytest.raises(UsageError, match=r"other inputs \(also 12\).*--listed"):
        run_archive(order, bundle, Never(), silent)
    outcome = run_archive(replace(order, listed=True), bundle, LocalWorkers(2), silent)
    assert (outcome.inputs, outcome.refused) == (12, 2)  # 0.png had been read before it was renamed


def test_a_folder_of_something_else_is_refused(bundle, order) -> None:
    Path(order.out).mkdir()
    (Path(order.out) / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        run_archive(order, bundle, Never(), silent)
    (Path(order.out) / "thesis.tex").unlink()
    with pytest.raises(NothingUsableError):
        run_archive(replace(order, sources=(order.out,), out=f"{order.out}2"), bundle, Never(), silent)


def test_two_calls_at_once_are_refused(bundle, order) -> None:
    lock = Path(order.out) / "_pneumoscan" / "lock"
    with locked(lock), pytest.raises(LockedError):
        run_archive(order, bundle, Never(), silent)


@pytest.mark.parametrize("damage", [b"", b"path,status\n", None])
def test_a_damaged_part_is_read_again(bundle, order, films, damage) -> None:
    run_archive(order, bundle, LocalWorkers(2), silent)
    part, success = Path(order.out) / "part-000001.csv", Path(order.out) / SUCCESS
    rows = part.read_bytes()
    # With None, a row is missing.
    part.write_bytes(rows[: rows.rstrip().rfind(b"\n") + 1] if damage is None else damage)
    success.unlink()
    run_archive(order, bundle, LocalWorkers(1), silent)
    assert part.read_bytes() == rows
    assert success.exists()


def test_parts_that_cannot_be_mended_are_an_error(bundle, order) -> None:
    class Liar:
        def map(self, job, shards):
            for shard in shards:
                (Path(order.out) / f"part-00000{shard}.csv").write_bytes(header("csv"))
            yield from ()

    with pytest.raises(DataDamagedError, match=r"part-000000\.csv"):
        run_archive(order, bundle, Liar(), silent)
    assert not (Path(order.out) / SUCCESS).exists()


def test_a_worker_without_the_films_ends_the_archive(bundle, order, films) -> None:
    class Elsewhere:
        """A launcher whose workers have an empty disk."""

        def map(self, job, shards):
            hidden = films.rename(films.with_name("unmounted"))
            found = list(LocalWorkers(1).map(job, shards))
            hidden.rename(films)
            yield from found

    with pytest.raises(EnvironmentProblemError, match="does not find"):
        run_archive(order, bundle, Elsewhere(), silent)
    outcome = run_archive(order, bundle, LocalWorkers(1), silent)
    assert (outcome.ok, outcome.refused) == (10, 2)
    assert lines(Path(order.out)) == expected(bundle, films)


def test_an_error_that_concerns_every_film_ends_the_archive(bundle, order) -> None:
    (bundle.path / "model.onnx").write_bytes(b"other bytes")
    from pneumoscan.errors import BundleError

    with pytest.raises(BundleError):
        run_archive(order, bundle, LocalWorkers(2), silent)


def test_films_and_answers_in_object_stores(bundle, order, films) -> None:
    fsspec = pytest.importorskip("fsspec", reason="the extra `archive` is not installed")
    store = fsspec.filesystem("memory")
    # `local://` is a store of fsspec that the reader processes see, too.
    remote = replace(
        order, sources=(f"local://{films}", f"local://{films}/gone.png"), out="memory://run/rows"
    )
    with pytest.raises(KeyboardInterrupt):
        run_archive(remote, bundle, Fails(after=1), silent)
    outcome = run_archive(remote, bundle, LocalWorkers(2), silent)
    assert (outcome.inputs, outcome.ok, outcome.refused, outcome.parts_before) == (13, 10, 3, 1)
    parts = sorted(name for name in store.ls("/run/rows", detail=False) if "part-" in name)
    rows = b"".join(store.cat_file(name).removeprefix(header("csv")) for name in parts)
    gone = rows.splitlines()[-1].decode()
    assert gone.startswith(f"local://{films}/gone.png,refused,,,0.50,,film.not_found,")
    there = rows.replace(b"local://", b"").splitlines()[:-1]
    assert there == expected(bundle, films).splitlines()
    assert run_archive(remote, bundle, Never(), silent).was_finished


@pytest.mark.parametrize("step", [0.5, pytest.param(0.1, marks=pytest.mark.slow)])
def test_killed_at_any_time_the_same_command_ends_with_the_same_rows(bundle, order, films, step) -> None:
    command = [
        sys.executable,
        "-m",
        "pneumoscan",
        "archive",
        str(films),
        "--out",
        order.out,
        "--format",
        "csv",
    ]
    command += ["--model", str(bundle.path), "--threshold", "0.5", "--part-size", "1", "--workers", "2"]
    kills = 0
    for number in range(40):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.6 + step * number)
        os.kill(process.pid, signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            break
        kills += 1
    assert kills
    assert process.returncode == 3  # two inputs are no films
    assert lines(Path(order.out)) == expected(bundle, films)


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_the_rows_of_an_archive_are_the_stored_ones(bundle, order, films, file_format) -> None:
    order = replace(order, format=file_format)
    run_archive(order, bundle, LocalWorkers(2), silent)
    rows = []
    for path in sorted(Path(order.out).glob(f"part-*.{file_format}")):
        if file_format == "csv":
            with path.open(newline="") as file:
                rows += list(csv.DictReader(file))
        else:
            parquet = pytest.importorskip("pyarrow.parquet")
            rows += parquet.read_table(path).to_pylist()
    for row in rows:
        del row["model"]
        row["path"], row["error"] = (row[key].replace(str(films), "") for key in ("path", "error"))
    manifest = json.loads((Path(order.out) / MANIFEST).read_text())
    assert_as_stored(f"archive, {file_format}", [digest(rows), sorted(manifest), sorted(manifest["plan"])])
