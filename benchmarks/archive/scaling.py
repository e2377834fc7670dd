"""Read an archive on one core and on two, here and on Ray, and reckon from that what ten million films cost on 100 cores.

python -m benchmarks.archive.serial --work /tmp/archive                  # first: its record is used
python -m benchmarks.archive.scaling --work /tmp/archive --films 3000
"""

import argparse
import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.archive import scene
from benchmarks.record import RESULTS, Bar, Options, Record, finish
from benchmarks.timing import in_turn, medians_of, quiet_environment
from pneumoscan.bundle.contents import pretrained_bundle

INPUTS, CORES, PART = 10_000_000, 100, 500


def main() -> None:
    """Run it."""
    line = scene.parser(__doc__ or "", 3000)
    line.add_argument("--rounds", type=int, default=3)
    options = line.parse_args()
    wanted = Options("", None, options.work, options.out, options.rounds, options.films < 3000)
    finish("archive_scaling", lambda _: _measure(options), wanted)


def _measure(options: argparse.Namespace) -> Record:
    folder, model = scene.films(options), scene.small_model()
    large = copy.copy(options)
    large.films, large.side = max(100, options.films // 5), 1300
    nothing = options.work / "nothing"
    nothing.mkdir(exist_ok=True)
    for number in range(max(100, options.films // 10)):
        (nothing / f"{number}.png").touch()

    def run(launcher: str, cores: int, part: int, model: Path, films: Path) -> Any:
        return lambda: _timed(options.work, launcher, cores, part, model, films)

    part = options.part_size
    contenders = {
        "local, 1 core": run("local", 1, part, model, folder),
        "local, 2 cores": run("local", 2, part, model, folder),
        "ray, 1 core": run("ray", 1, part, model, folder),
        "ray, 2 cores": run("ray", 2, part, model, folder),
        "shipped model, 1300 pixels, local, 2 cores": run(
            "local", 2, part // 4, pretrained_bundle(), scene.films(large)
        ),
        "parts of one empty file, ray, 2 cores": run("ray", 2, 1, model, nothing),
    }
    raw = in_turn(contenders, options.rounds)
    rates = medians_of({name: [one["films_per_second"] for one in found] for name, found in raw.items()})
    steps = {
        step: medians_of({name: [one[step] for one in found] for name, found in raw.items()})
        for step in ("listed", "first_part", "read", "verified")
    }
    return _record(options, raw, rates, steps)


def _record(
    options: argparse.Namespace,
    raw: dict[str, Any],
    rates: dict[str, float],
    steps: dict[str, dict[str, float]],
) -> Record:
    scaling = {name: rates[f"{name}, 2 cores"] / rates[f"{name}, 1 core"] for name in ("local", "ray")}
    serial = json.loads((RESULTS / "archive_serial.json").read_text())["medians"]
    parts_per_second = rates["parts of one empty file, ray, 2 cores"]
    start = steps["first_part"]["ray, 2 cores"] - options.part_size / rates["ray, 1 core"]
    # What the model says of two cores, with the rate of one core, beside what was measured.
    read_two = options.films / (2 * rates["ray, 1 core"]) + start
    large = rates["shipped model, 1300 pixels, local, 2 cores"] / 2
    model = {
        "start_seconds": start,
        "listing_seconds_per_input": serial["listing"]["microseconds_each"] / 1e6,
        "verifying_seconds_per_row": serial["verifying"]["microseconds_each"] / 1e6,
        "parts_per_second_of_one_driver": parts_per_second,
        "films_per_second_and_core": {
            "baseline, 512 pixels": rates["ray, 1 core"],
            "shipped model, 1300 pixels": large,
        },
        "two_cores": {"modelled_seconds": read_two, "measured_seconds": steps["read"]["ray, 2 cores"]},
    }
    model["ten_million_on_100_cores"] = {
        name: _cost(rate, min(1.0, scaling["ray"] / 2), model)
        for name, rate in model["films_per_second_and_core"].items()
    }
    agreement = read_two / steps["read"]["ray, 2 cores"]
    return Record(
        "archive_scaling",
        [Bar("model ÷ measured seconds on two cores, not above", agreement, 1.15, "<"),
         Bar("model ÷ measured seconds on two cores, not below", agreement, 0.85)],
        raw=raw,
        medians=rates,
        ratios={f"{name}: 2 cores ÷ 1 core": ratio for name, ratio in scaling.items()},
        facts=scene.facts(options) | {"cost_model": model},
    )  # fmt: skip


def _cost(rate: float, efficiency: float, model: dict[str, Any]) -> dict[str, float]:
    """Return what ten million films take on 100 cores, in seconds by step, and in core hours."""
    reading = INPUTS / (rate * CORES * efficiency)
    driver = INPUTS / PART / model["parts_per_second_of_one_driver"]
    last = PART / rate
    told = {
        "listing": INPUTS * model["listing_seconds_per_input"],
        "start": model["start_seconds"],
        "reading": max(reading, driver) + last,
        "verifying": INPUTS * model["verifying_seconds_per_row"],
    }
    return {
        **told,
        "hours": sum(told.values()) / 3600,
        "core_hours": INPUTS / rate / efficiency / 3600,
        "driver_busy": driver / max(reading, driver),
    }


def _timed(work: Path, launcher: str, cores: int, part: int, model: Path, films: Path) -> dict[str, float]:
    out = work / "rows-scaling"
    shutil.rmtree(out, ignore_errors=True)
    line = [sys.executable, "-m", "benchmarks.archive.timed", launcher, str(cores), str(part), str(model)]
    done = subprocess.run(
        [*line, str(films), str(out)], capture_output=True, text=True, check=False, env=quiet_environment()
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


if __name__ == "__main__":
    main()
