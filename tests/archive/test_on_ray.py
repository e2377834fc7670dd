"""The same archive on Ray Data: two workers on this machine, on its loopback address, killed with all that belongs to Ray."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pneumoscan.archive.on_ray import ShardsOnRay
from pneumoscan.archive.run import ArchiveOrder, run_archive
from pneumoscan.errors import EnvironmentProblemError
from pneumoscan.predict.batch import predict_many
from pneumoscan.predict.sources import expand
from pneumoscan.rows import header

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'pneumoscan[archive]'")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def rows(out: Path) -> bytes:
    parts = [path.read_bytes() for path in sorted(out.glob("part-*.csv"))]
    return b"".join(part.removeprefix(header("csv")) for part in parts)


def expected(bundle, films: Path) -> bytes:
    found = predict_many(bundle, expand([str(films)]), workers=1, threshold=0.5)
    return b"".join(row.to_line("csv") for row in found)


def of_this_run(name: str) -> list[int]:
    """Return the processes with this name that descend from this process."""
    import psutil

    found = psutil.Process().children(recursive=True)
    return [child.pid for child in found if name in " ".join(child.cmdline())]


def test_errors_that_concern_every_film_end_it(bundle, films, tmp_path) -> None:
    order = ArchiveOrder((str(films),), str(tmp_path / "out"), 0.5, "csv", part_size=3)
    with pytest.raises(EnvironmentProblemError, match=r"127\.0\.0\.1:9"):
        run_archive(order, bundle, ShardsOnRay(2, "127.0.0.1:9"), lambda *_: None)


@pytest.mark.parametrize(
    "victim", ["ShardActor", "raylet/raylet", "gcs/gcs_server", "pneumoscan.archive.on_ray"]
)
@pytest.mark.filterwarnings("ignore:Ray has ended")
def test_whatever_dies_no_row_is_lost(bundle, films, tmp_path, victim) -> None:
    pytest.importorskip("psutil")
    for number in range(200):
        (films / f"copy-{number:03d}.png").symlink_to(films / "0.png")
    out = tmp_path / "out"
    order = ArchiveOrder((str(films),), str(out), 0.5, "csv", part_size=2)
    killed: list[int] = []

    def report(step: str, done: int, _total: int) -> None:
        if step == "reading" and done > 20 * (1 + len(killed)) and len(killed) < 2:
            found = of_this_run(victim)
            assert found, f"no process {victim}"
            os.kill(found[0], signal.SIGKILL)
            killed.append(found[0])

    outcome = run_archive(order, bundle, ShardsOnRay(2, ""), report)
    assert len(killed) == 2
    assert (outcome.inputs, outcome.refused) == (212, 2)
    assert rows(out) == expected(bundle, films)
    assert not of_this_run("raylet/raylet")


def test_the_command_killed_and_started_again(bundle, films, tmp_path) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "pneumoscan",
        "archive",
        str(films),
        "--out",
        str(out),
        "--format",
        "csv",
    ]
    command += ["--model", str(bundle.path), "--threshold", "0.5", "--part-size", "1", "--workers", "2"]
    process = subprocess.Popen([*command, "--launcher", "ray"], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 200
    while not list(out.glob("part-*")) and time.monotonic() < until:
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert 0 < len(list(out.glob("part-*.csv"))) < 12
    done = subprocess.run([*command, "--launcher", "ray"], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert rows(out) == expected(bundle, films)
