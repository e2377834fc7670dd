"""Kill the workers of an archive at random instants, and all else that belongs to it, and compare its rows with those of `predict`.

python -m benchmarks.archive.kills --work /tmp/archive --films 20000
"""

import argparse
import random
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from benchmarks.archive import scene
from benchmarks.record import Bar, Options, Record, finish
from benchmarks.timing import quiet_environment

_POLL = 0.05
_STILL = 600.0


def main() -> None:
    """Run it."""
    line = scene.parser(__doc__ or "", 20_000)
    line.add_argument(
        "--worker-kills", type=int, default=10, help="of each of two workers, and of each of their readers"
    )
    line.add_argument(
        "--other-kills", type=int, default=2, help="of the command, Ray's driver, the raylet and the GCS"
    )
    line.add_argument("--launcher", choices=["ray", "local"], default="ray")
    line.add_argument("--seed", type=int, default=0)
    options = line.parse_args()
    name = "archive_kills" if options.launcher == "ray" else "archive_kills_local"
    wanted = Options("", None, options.work, options.out, 1, options.films < 20_000)
    finish(name, lambda _: _measure(options), wanted)


def _measure(options: argparse.Namespace) -> Record:
    folder = scene.films(options)
    reference, seconds = scene.predicted(options, folder)
    out = options.work / "rows"
    shutil.rmtree(out, ignore_errors=True)
    harm = Harm(options, folder, out)
    begun = time.monotonic()
    code = harm.run()
    taken = time.monotonic() - begun
    rows = scene.rows_of(out)
    found = scene.compared(rows, reference)
    left = _left_over()
    bars = [
        Bar("lost rows", found["lost"], 1, "<"),
        Bar("double rows", found["double"], 1, "<"),
        Bar("rows that differ from predict", found["unequal"], 1, "<"),
        Bar("rows", found["rows"], options.films),
        Bar("all bytes are those of predict", float(rows == reference), 1),
        Bar("processes left behind", len(left), 1, "<"),
    ]
    told = scene.facts(options) | {
        "launcher": options.launcher,
        "kills": dict(harm.kills),
        "starts_of_the_command": harm.starts,
        "exit_code": code,
        "seconds": round(taken, 1),
        "seconds_of_predict": round(seconds, 1),
        "left_behind": left,
    }
    return Record("archive_kills", bars, facts=told, raw={"instants": harm.instants})


class Harm:
    """A command that is killed, as are its processes, at random instants of its work, and started again when it was killed itself."""

    def __init__(self, options: argparse.Namespace, folder: Path, out: Path) -> None:
        self._line = scene.command(
            "archive", folder, "--out", out, "--format", "csv", "--launcher", options.launcher,
            "--workers", 2, "--part-size", options.part_size,
        )  # fmt: skip
        self._rng = random.Random(options.seed)
        self._out, self._parts = out, -(-options.films // options.part_size)
        roles = [("reader", place) for place in (0, 1)] * options.worker_kills
        others = ["command"]
        if options.launcher == "ray":
            roles += [("actor", place) for place in (0, 1)] * options.worker_kills
            others += ["driver", "raylet", "gcs"]
        roles += [(role, 0) for role in others] * options.other_kills
        self._rng.shuffle(roles)
        # Before the last parts, so that every kill meets work.
        last = int(0.95 * self._parts)
        self._plan = sorted((self._rng.uniform(0, last), *role) for role in roles)
        self.kills: Counter[str] = Counter()
        self.instants: list[dict[str, Any]] = []
        self.starts = 0

    def run(self) -> int:
        """Return the exit code of the command that ended by itself."""
        process = self._start()
        for instant, role, place in self._plan:
            self._reach(instant)
            time.sleep(self._rng.uniform(0, 0.5))
            self._kill(process, role, place)
            if role == "command":
                process.wait()
                process = self._start()
        return process.wait()

    def _start(self) -> "subprocess.Popen[bytes]":
        self.starts += 1
        return subprocess.Popen(
            self._line, env=quiet_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def _reach(self, instant: float) -> None:
        """Wait until so many parts are written."""
        until = time.monotonic() + _STILL
        while self._done() < instant:
            if time.monotonic() > until:
                raise RuntimeError(f"no part was written for {_STILL:.0f} s")
            time.sleep(_POLL)

    def _kill(self, process: "subprocess.Popen[bytes]", role: str, place: int) -> None:
        """Kill the process with this role; wait for it if it is just being started."""
        until = time.monotonic() + _STILL
        while process.poll() is None and time.monotonic() < until:
            found = sorted(scene.processes(process.pid)[role], key=lambda each: each.pid)
            if found:
                victim = found[place % len(found)]
                victim.kill()
                self.kills[role] += 1
                self.instants.append({"role": role, "worker": place, "parts": self._done()})
                return
            time.sleep(_POLL)
        raise RuntimeError(f"there was no {role} to kill; the command ended with {process.poll()}")

    def _done(self) -> int:
        return sum(1 for _ in self._out.glob("part-*.csv"))


def _left_over() -> list[str]:
    """Return the processes of an archive or of Ray that are still there after some seconds."""
    time.sleep(5)
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if any(part in line for role, part in scene.ROLES.items() if role != "command"):
            found.append(line[:100])
    return found


if __name__ == "__main__":
    main()
