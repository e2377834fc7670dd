"""Shared by all benchmarks: options, facts about the machine, targets, and the record."""

import argparse
import os
import platform
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.timing import ROOT

RESULTS = ROOT / "results" / "benchmarks"
SCHEMA_VERSION = 1
FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_tile", "amx_bf16")
PACKAGES = ("pneumoscan", "torch", "onnxruntime", "numpy", "pillow", "click")
NO_KERAS = "no --keras-python and no KERAS_PYTHON"


@dataclass(frozen=True)
class Options:
    """Options of the command line.

    Attributes:
        keras_python: Interpreter with Keras on TensorFlow; empty: Keras is not measured.
        films: Folder of real films; None: phantom films.
        work: Folder of generated bundles and films.
        out: Folder of the records.
        rounds: Number of measurements per contender; 0: the default of the benchmark.
        quick: A short check; its figures are meaningless.
    """

    keras_python: str
    films: Path | None
    work: Path
    out: Path
    rounds: int
    quick: bool

    def round_count(self, usual: int) -> int:
        """Return the number of rounds."""
        return self.rounds or (2 if self.quick else usual)


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser of the options of all benchmarks."""
    line = argparse.ArgumentParser(description=description)
    line.add_argument("--keras-python", default=os.environ.get("KERAS_PYTHON", ""), metavar="PATH")
    line.add_argument("--films", type=Path, help="folder of real films (default: phantom films)")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    line.add_argument("--work", type=Path, default=cache / "pneumoscan" / "benchmarks")
    line.add_argument("--out", type=Path, default=RESULTS, help="folder of the records")
    line.add_argument("--rounds", type=int, default=0)
    line.add_argument("--quick", action="store_true", help="little work; the numbers mean nothing")
    return line


def options_of(arguments: argparse.Namespace) -> Options:
    """Return the options of a parsed command line."""
    return Options(
        arguments.keras_python,
        arguments.films,
        arguments.work,
        arguments.out,
        arguments.rounds,
        arguments.quick,
    )


def machine_facts() -> dict[str, Any]:
    """Return facts about the machine: processor, cores, memory, kernel, and current load."""
    processor = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    names = re.findall(r"^model name\s*:\s*(.+)$", processor, re.MULTILINE)
    known = set((re.findall(r"^flags\s*:\s*(.+)$", processor, re.MULTILINE) or [""])[0].split())
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": names[0] if names else platform.processor(),
        "family": re.findall(r"^cpu family\s*:\s*(\d+)$", processor, re.MULTILINE)[:1],
        "cores": len(os.sched_getaffinity(0)),
        "flags": [flag for flag in FLAGS if flag in known],
        "memory_gib": round(pages / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def command() -> str:
    """Return the command line of this run; paths are cut to their last part, because they belong to one machine."""
    spec = sys.modules["__main__"].__spec__
    names = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return shlex.join(["python", "-m", spec.name if spec else Path(sys.argv[0]).stem, *names])


def versions() -> dict[str, str]:
    """Return the versions of the packages that are measured."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


@dataclass(frozen=True)
class Bar:
    """A figure and its target.

    Attributes:
        what: What is measured, with its unit.
        measured: The figure; None if it could not be measured.
        limit: The target.
        sense: `>=` or `<`.
        note: Why it was not measured.
    """

    what: str
    measured: float | None
    limit: float
    sense: str = ">="
    note: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether the target is reached; None if the figure was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.sense == ">=" else self.measured < self.limit

    def to_json(self) -> dict[str, Any]:
        """Return target, figure and result as JSON types."""
        verdict = {"measured": self.measured, "passed": self.passed, "note": self.note}
        return {"what": self.what, "bar": f"{self.sense} {self.limit:g}", **verdict}


@dataclass
class Record:
    """The result of a benchmark, written to NAME.json.

    Attributes:
        name: Name of the benchmark.
        bars: The figures with targets.
        raw: All repetitions, by contender.
        medians: Medians by contender.
        ratios: Ratios between contenders.
        facts: Further facts that a reader needs.
        versions: Versions of the packages of Keras; ours are added when the record is written.
    """

    name: str
    bars: list[Bar] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)
    medians: dict[str, Any] = field(default_factory=dict)
    ratios: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def to_json(self, *, quick: bool) -> dict[str, Any]:
        """Return the record with machine, date and command."""
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": command(),
            "quick": quick,
            "machine": machine_facts(),
            "versions": {**versions(), **self.versions},
            "bars": [bar.to_json() for bar in self.bars],
            "medians": self.medians,
            "ratios": self.ratios,
            "facts": self.facts,
            "raw": self.raw,
        }


def run_one(name: str, description: str, measure: Callable[[Options], Record]) -> None:
    """Run one benchmark as a command: measure, print, write the record."""
    finish(name, measure, options_of(parser(description).parse_args()))


def finish(name: str, measure: Callable[[Options], Record], options: Options) -> Record:
    """Measure, note the load of the machine before and after, print the table, and write NAME.json."""
    before = os.getloadavg()
    record = measure(options)
    record.facts["load_before_and_after"] = [round(load[0], 2) for load in (before, os.getloadavg())]
    print_record(record)
    write(options.out / f"{name}.json", record.to_json(quick=options.quick))
    return record


def write(path: Path, value: Mapping[str, Any]) -> None:
    """Write a record atomically."""
    from pneumoscan.files import make_folder, write_json

    make_folder(path.parent)
    write_json(path, dict(value))
    print(f"written: {path}", file=sys.stderr)


def print_record(record: Record) -> None:
    """Print medians, ratios and targets."""
    print(f"\n{record.name}")
    for title, values in (("median", record.medians), ("ratio", record.ratios), ("fact", record.facts)):
        for key, value in values.items():
            print(f"  {title:<7} {key:<58} {shown(value)}")
    print_bars(record.bars)


def print_bars(bars: Sequence[Bar]) -> None:
    """Print each target and whether it is reached."""
    words = {True: "passed", False: "NOT PASSED", None: "not measured"}
    for bar in bars:
        note = f"  ({bar.note})" if bar.note else ""
        limit = f"{bar.sense} {bar.limit:g}"
        print(f"  bar     {bar.what:<58} {shown(bar.measured):>10}   {limit:<8} {words[bar.passed]}{note}")


def shown(value: object) -> str:
    """Return a number with four digits, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)
