"""What the archive's benchmarks share: films, the command, the processes that belong to it, and the count of its rows."""

import argparse
import csv
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import synthetic_films
from PIL import Image

from benchmarks.record import RESULTS
from benchmarks.timing import quiet_environment
from pneumoscan.bundle.contents import pretrained_bundle
from pneumoscan.rows import header

DRAWN = 200
# One input in fifty is no film.
EVERY = 50
# Roles of processes, by a part of their command line; the first that fits counts.
ROLES = {
    "reader": "pneumoscan.archive.film_readers",
    "actor": "ShardActor",
    "raylet": "raylet/raylet",
    "gcs": "gcs/gcs_server",
    "driver": "pneumoscan.archive.on_ray",
    "command": "pneumoscan archive",
}


def parser(description: str, films: int) -> argparse.ArgumentParser:
    """Return the options that each has."""
    line = argparse.ArgumentParser(description=description)
    line.add_argument("--films", type=int, default=films)
    line.add_argument("--side", type=int, default=512, help="longer side of a film in pixels")
    line.add_argument("--part-size", type=int, default=100)
    line.add_argument("--work", type=Path, required=True, help="a folder for films and rows")
    line.add_argument("--out", type=Path, default=RESULTS)
    return line


def small_model() -> Path:
    """Return the baseline of the package: what is measured is not the network."""
    return pretrained_bundle() / "baseline"


def films(options: argparse.Namespace) -> Path:
    """Return a folder with that many inputs: links to drawn films under names of their own, and some that are no films."""
    folder = options.work / f"films-{options.films}-{options.side}"
    if folder.is_dir():
        return folder
    making = folder.with_suffix(".making")
    shutil.rmtree(making, ignore_errors=True)
    drawn = options.work / f"drawn-{options.side}"
    drawn.mkdir(parents=True, exist_ok=True)
    for number in range(DRAWN):
        shape = (options.side, options.side - number % 60)
        film = synthetic_films.draw_film(np.random.default_rng(number), shape)
        Image.fromarray(film).save(drawn / f"{number}.jpeg", quality=90)
    for number in range(options.films):
        place = making / f"{number // 5000:03d}" / f"{number:06d}.jpeg"
        place.parent.mkdir(parents=True, exist_ok=True)
        if number % EVERY == EVERY - 1:
            place.write_bytes(b"" if number % 2 else b"no film")
        else:
            os.link(drawn / f"{number % DRAWN}.jpeg", place)
    making.rename(folder)
    return folder


def command(name: str, *arguments: object) -> list[str]:
    """Return a command line of the program."""
    return [sys.executable, "-m", "pneumoscan", name, *map(str, arguments), "--model", str(small_model())]


def predicted(options: argparse.Namespace, folder: Path) -> tuple[bytes, float]:
    """Return the rows of one `predict` process without the header, and its seconds."""
    out = options.work / "predict.csv"
    begun = time.monotonic()
    line = command("predict", folder, "--out", out)
    subprocess.run(line, env=quiet_environment(), stderr=subprocess.DEVNULL, check=False)
    return out.read_bytes().removeprefix(header("csv")), time.monotonic() - begun


def rows_of(out: Path) -> bytes:
    """Return the rows of all CSV parts in order, without their headers."""
    return b"".join(part.read_bytes().removeprefix(header("csv")) for part in sorted(out.glob("part-*.csv")))


def compared(rows: bytes, reference: bytes) -> dict[str, int]:
    """Return how rows differ from those of `predict`: lost, double, unequal."""
    told, expected = _by_path(rows), _by_path(reference)
    return {
        "rows": sum(map(len, told.values())),
        "lost": sum(path not in told for path in expected),
        "double": sum(len(found) > 1 for found in told.values()),
        "unequal": sum(told[path][0] != row[0] for path, row in expected.items() if path in told),
    }


def _by_path(rows: bytes) -> dict[str, list[list[str]]]:
    found: dict[str, list[list[str]]] = defaultdict(list)
    for row in csv.reader(rows.decode().splitlines()):
        found[row[0]].append(row)
    return found


def processes(root: int) -> dict[str, list[psutil.Process]]:
    """Return the live processes of a command by role."""
    found: dict[str, list[psutil.Process]] = defaultdict(list)
    try:
        family = [psutil.Process(root), *psutil.Process(root).children(recursive=True)]
    except psutil.NoSuchProcess:
        return found
    for process in family:
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        role = next((role for role, part in ROLES.items() if part in line), "")
        found[role].append(process)
    return found


class Memory(threading.Thread):
    """Samples the resident memory of each role, in MB, while a command runs."""

    def __init__(self, root: int, seconds: float = 1.0) -> None:
        super().__init__(daemon=True)
        self._root, self._seconds, self._over = root, seconds, threading.Event()
        self._samples: dict[str, list[float]] = defaultdict(list)
        self.start()

    def run(self) -> None:
        """Sample until `stop`."""
        while not self._over.wait(self._seconds):
            for role, found in processes(self._root).items():
                sizes = [size for process in found if (size := _resident(process))]
                if role and sizes:
                    self._samples[role].append(max(sizes))

    def stop(self) -> dict[str, dict[str, float]]:
        """Return the medians of the second and the last quarter of the samples, and the peak, of the largest process of each role."""
        self._over.set()
        self.join()
        told = {}
        for role, sizes in self._samples.items():
            quarter = max(1, len(sizes) // 4)
            second, last = sizes[quarter : 2 * quarter] or sizes, sizes[-quarter:]
            told[role] = {
                "second_quarter_mb": round(median(second), 1),
                "last_quarter_mb": round(median(last), 1),
                "peak_mb": round(max(sizes), 1),
            }
        return told


def _resident(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / 1e6
    except psutil.Error:
        return 0.0


def facts(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the numbers depend on."""
    return {
        "films": options.films,
        "side": options.side,
        "part_size": options.part_size,
        "model": small_model().name,
    }
