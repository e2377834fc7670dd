"""Read the shards of an archive on Ray, on a cluster or on this machine alone.

Ray runs in a process of its own, the driver (`ray_driver`). Ray restarts workers and moves their shards when they die. If a part
of Ray dies without which Ray cannot go on, the driver ends; then another one is started for the shards that are left.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pneumoscan.archive.work import Done, Job
from pneumoscan.error_values import error_from
from pneumoscan.errors import EnvironmentProblemError, LockedError, require
from pneumoscan.files import locked
from pneumoscan.system import spawn_options

COMMAND = (sys.executable, "-P", "-m", "pneumoscan.archive.ray_driver")
# Short, because the paths of Ray's sockets have at most 107 characters.
_SESSION = "pneumoscan-ray-"
# Ends in a row without a new part: of its own accord, and by SIGKILL, which says less of Ray.
_MOST_FAILURES, _MOST_KILLS = 5, 25
_LONGEST_PAUSE = 20.0
_LAST_LINES = 3


class OnRay:
    """Runs `ShardWorker`s as actors of Ray Data; see `work.Launcher`.

    Args:
        workers: Actors, each with one CPU; None for as many as the cluster has CPUs.
        address: Of a cluster; empty to start Ray on this machine, on its loopback address only.

    Raises:
        MissingDependencyError: Ray is not installed.
    """

    def __init__(self, workers: int | None, address: str) -> None:
        require("ray", "pyarrow", extra="archive", otherwise="Or leave out --launcher and --address.")
        self._workers, self._address = workers, address

    def map(self, job: Job, shards: Sequence[int]) -> Iterator[Done]:
        """Write the parts of the shards; see `work.Launcher`."""
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

    def _order(self, job: Job, shards: list[int], session: Path) -> dict[str, Any]:
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
