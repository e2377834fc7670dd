"""Read the shards of an archive on Ray, on a cluster or on this machine alone.

Ray runs in a process of its own, the driver. Ray restarts workers and moves their shards when they die. If a part of Ray dies
without which Ray cannot go on, the driver ends; then another one is started for the shards that are left.

    python -P -m pneumoscan.archive.on_ray

is the driver: one line on stdin says what to read, each line on stdout is a shard whose part is written. The shards' numbers are
a data set of Ray Data, with a block for each. A pool of actors maps them to numbers of rows; films and rows never pass through
Ray's object store. The driver ends when its stdin closes.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pneumoscan.archive.shard import Done, ShardActor, ShardJob
from pneumoscan.cluster import start_ray
from pneumoscan.error_values import error_from, error_values
from pneumoscan.errors import EnvironmentProblemError, LockedError, PneumoscanError, require
from pneumoscan.files import locked
from pneumoscan.system import dead_child, spawn_options

COMMAND = (sys.executable, "-P", "-m", "pneumoscan.archive.on_ray")
# Short, because the paths of Ray's sockets have at most 107 characters.
_SESSION = "pneumoscan-ray-"
# Ends in a row without a new part: of its own accord, and by SIGKILL, which says less of Ray.
_MOST_FAILURES, _MOST_KILLS = 5, 25
_LONGEST_PAUSE = 20.0
_LAST_LINES = 3


class ShardsOnRay:
    """Runs `ShardWorker`s as actors of Ray Data; see `shard.ShardLauncher`.

    Args:
        workers: Actors, each with one CPU; None for as many as the cluster has CPUs.
        address: Of a cluster; empty to start Ray on this machine, on its loopback address only.

    Raises:
        MissingDependencyError: Ray is not installed.
    """

    def __init__(self, workers: int | None, address: str) -> None:
        require("ray", "pyarrow", extra="archive", otherwise="Or leave out --launcher and --address.")
        self._workers, self._address = workers, address

    def map(self, job: ShardJob, shards: Sequence[int]) -> Iterator[Done]:
        """Write the parts of the shards; see `shard.ShardLauncher`."""
        left, failures, kills = set(shards), 0, 0
        while left:
            before = len(left)
            with _session() as session:
                driver = _Driver(self._order(job, sorted(left), session), session / "stderr")
                try:
                    for done in driver.answers():
                        if done.shard in left:
                            left.discard(done.shard)
                            yield done
                finally:
                    how = driver.end()
            if len(left) < before:
                failures = kills = 0
            elif driver.was_killed:
                kills += 1
            else:
                failures += 1
            if failures == _MOST_FAILURES or kills == _MOST_KILLS:
                raise EnvironmentProblemError(
                    f"Ray ended {failures + kills} times without reading a film: {how}",
                    "Check memory and disk; then run the same command again.",
                )
            if left:
                warnings.warn(f"Ray has ended and is started again: {how}", stacklevel=2)
                time.sleep(min(2.0**failures, _LONGEST_PAUSE) - 1)

    def _order(self, job: ShardJob, shards: list[int], session: Path) -> dict[str, Any]:
        return {
            "job": job.to_text(),
            "shards": shards,
            "workers": self._workers,
            "address": self._address,
            "session": str(session),
        }


class _Driver:
    """The process in which Ray's driver runs. It ends when its stdin closes, so never outlives this process."""

    def __init__(self, order: dict[str, Any], errors: Path) -> None:
        self._errors = errors
        with errors.open("wb") as file:
            self._process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                # Ctrl-C is for this process, which then ends the other one.
                **spawn_options(),
            )
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.write((json.dumps(order) + "\n").encode())
            self._process.stdin.flush()

    def answers(self) -> Iterator[Done]:
        """Yield the shards as their parts are written, until the driver ends.

        Raises:
            PneumoscanError: What concerns every film.
        """
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.endswith(b"\n"):
                return
            told = json.loads(line)
            if "error" in told:
                raise error_from(told)
            yield Done(**told)

    @property
    def was_killed(self) -> bool:
        """Whether it was ended by a signal."""
        return (self._process.returncode or 0) < 0

    def end(self) -> str:
        """End it and say how it ended."""
        with suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]
        try:
            code = self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        with suppress(OSError):
            self._process.stdout.close()  # type: ignore[union-attr]
        lines = self._errors.read_text(errors="replace").strip().splitlines()[-_LAST_LINES:]
        return f"exit code {code}. {' '.join(lines)}".strip()


@contextmanager
def _session() -> Iterator[Path]:
    """Yield a folder for Ray's files, and remove it, as well as those that killed processes have left."""
    place = Path(tempfile.gettempdir())
    for old in place.glob(f"{_SESSION}*"):
        with suppress(LockedError, OSError), locked(old / "lock"):
            shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_SESSION))
    with locked(folder / "lock"):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


# The driver


_SECONDS_BETWEEN_LOOKS = 2.0


def main() -> int:
    """Read the shards; returns the exit code."""
    answers, sys.stdout = sys.stdout, sys.stderr
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        ray = start_ray(order["address"], cpus=order["workers"], folder=order["session"])
        threading.Thread(target=_end_with_cluster, args=(ray, order["address"]), daemon=True).start()
        for line in _lines(order):
            print(line, file=answers, flush=True)
    except PneumoscanError as problem:
        print(json.dumps(error_values(problem)), file=answers, flush=True)
        return 1
    ray.shutdown()
    return 0


def _lines(order: dict[str, Any]) -> Iterator[str]:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    workers = order["workers"] or max(1, int(ray.cluster_resources().get("CPU", 1)))
    # A cluster may grow while it works.
    most = workers if order["workers"] else None
    shards = [{"shard": shard} for shard in order["shards"]]
    rows = ray.data.from_items(shards, override_num_blocks=len(shards)).map_batches(
        ShardActor,
        fn_constructor_args=(order["job"],),
        batch_size=1,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(min_size=workers, max_size=most, max_tasks_in_flight_per_actor=2),
    )
    for row in rows.iter_rows():
        yield row["line"]


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


def _end_with_cluster(ray: Any, address: str) -> None:
    """End when no machine of the cluster is left, or a part of Ray that was started here has died.

    The driver itself would wait for it, for minutes or without end.
    """
    dead: int | None = None
    while True:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        before, dead = dead, None if address else dead_child()
        # Twice, because a child that ends in good order is waited for a moment later.
        if dead is not None and dead == before:
            _give_up(f"process {dead} of Ray has died")
        if address and not any(node["Alive"] for node in ray.nodes()):
            _give_up("no machine of the cluster is alive")


def _give_up(why: str) -> None:
    sys.stderr.write(f"{why}\n")
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
