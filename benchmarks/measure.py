"""What every benchmark shares: options, facts of the machine, persistent workers, rounds in turn, bars and records.

Only the standard library is imported here, for the competitor's interpreter imports this module too.
"""

import argparse
import json
import os
import platform
import re
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results" / "benchmarks"
SCHEMA_VERSION = 1
FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_tile", "amx_bf16")
PACKAGES = ("pneumoscan", "torch", "onnxruntime", "numpy", "pillow", "click")
NO_KERAS = "no --keras-python and no KERAS_PYTHON"


@dataclass(frozen=True)
class Options:
    """What the command line asks for.

    Attributes:
        keras_python: Interpreter that has Keras on TensorFlow; empty: that column is not measured.
        films: Folder of real films; None: phantom films.
        work: Where bundle and films are made and kept.
        out: Folder of the records.
        rounds: How often every contender is measured; 0: what the benchmark thinks right.
        quick: Do little, to see that it works; the numbers mean nothing.
    """

    keras_python: str
    films: Path | None
    work: Path
    out: Path
    rounds: int
    quick: bool

    def round_count(self, usual: int) -> int:
        """Return how many rounds to measure."""
        return self.rounds or (2 if self.quick else usual)


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser of the options that every benchmark has."""
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
    """Return what the numbers depend on: processor, cores, memory, kernel, and how busy the machine is now."""
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
    """A number and what it must reach.

    Attributes:
        what: What was measured, with its unit.
        measured: The number; None if it could not be measured.
        limit: What it is held against.
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
        """Whether it is reached; None if it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.sense == ">=" else self.measured < self.limit

    def to_json(self) -> dict[str, Any]:
        """Return the bar, the measured number and the verdict as JSON types."""
        verdict = {"measured": self.measured, "passed": self.passed, "note": self.note}
        return {"what": self.what, "bar": f"{self.sense} {self.limit:g}", **verdict}


@dataclass
class Record:
    """What one benchmark found; written whole to NAME.json.

    Attributes:
        name: Of the benchmark.
        bars: The numbers that are held against something.
        raw: Every repetition, by contender.
        medians: By contender.
        ratios: Between contenders.
        facts: Whatever else a reader needs to understand the numbers.
        versions: Of the competitor's packages; ours are added when the record is written.
    """

    name: str
    bars: list[Bar] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)
    medians: dict[str, Any] = field(default_factory=dict)
    ratios: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def to_json(self, *, quick: bool) -> dict[str, Any]:
        """Return the record with the machine, the date and the command that made it."""
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": shlex.join(["python", *sys.argv]),
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
    """Be the command line of one benchmark: measure, print, write the record."""
    finish(name, measure, options_of(parser(description).parse_args()))


def finish(name: str, measure: Callable[[Options], Record], options: Options) -> Record:
    """Measure with the load of the machine noted before and after, print the table and write NAME.json."""
    before = os.getloadavg()
    record = measure(options)
    record.facts["load_before_and_after"] = [round(load[0], 2) for load in (before, os.getloadavg())]
    print_record(record)
    write(options.out / f"{name}.json", record.to_json(quick=options.quick))
    return record


def write(path: Path, value: Mapping[str, Any]) -> None:
    """Write a record, whole or not at all."""
    from pneumoscan.files import make_folder, write_json

    make_folder(path.parent)
    write_json(path, dict(value))
    print(f"written: {path}", file=sys.stderr)


def print_record(record: Record) -> None:
    """Print medians, ratios and bars."""
    print(f"\n{record.name}")
    for title, values in (("median", record.medians), ("ratio", record.ratios), ("fact", record.facts)):
        for key, value in values.items():
            print(f"  {title:<7} {key:<58} {shown(value)}")
    print_bars(record.bars)


def print_bars(bars: Sequence[Bar]) -> None:
    """Print each bar with its verdict."""
    words = {True: "passed", False: "NOT PASSED", None: "not measured"}
    for bar in bars:
        note = f"  ({bar.note})" if bar.note else ""
        limit = f"{bar.sense} {bar.limit:g}"
        print(f"  bar     {bar.what:<58} {shown(bar.measured):>10}   {limit:<8} {words[bar.passed]}{note}")


def shown(value: object) -> str:
    """Return a number with four digits, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)


def ratio(upper: float | None, lower: float | None) -> float | None:
    """Return upper / lower; None if one of them was not measured."""
    return None if upper is None or not lower else upper / lower


def in_turn(
    contenders: Mapping[str, Callable[[], Any]], rounds: int, *, pause: float = 0.1
) -> dict[str, list[Any]]:
    """Measure A B C A B C …, so that whatever else the machine does meets all alike.

    Args:
        contenders: What to call, by name; each call is one measurement.
        rounds: How many of each.
        pause: Seconds before each call, in which the threads of the one before fall asleep.

    Returns:
        What the calls returned, by name.
    """
    results: dict[str, list[Any]] = {name: [] for name in contenders}
    for number in range(1, rounds + 1):
        for name, call in contenders.items():
            time.sleep(pause)
            results[name].append(call())
        print(f"  round {number} of {rounds}", file=sys.stderr, flush=True)
    return results


def medians_of(results: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the median by name."""
    return {name: float(median(values)) for name, values in results.items()}


def seconds_of(command: Sequence[str], *, stdin: bytes | None = None) -> float:
    """Return the wall time of a whole process that must succeed; its output goes nowhere."""
    started = time.perf_counter()
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, env=quiet_environment())
    elapsed = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(
            f"{shlex.join(command)} ended with {done.returncode}: {done.stderr.decode()[-800:]}"
        )
    return elapsed


def quiet_environment() -> dict[str, str]:
    """Return the environment of a measured process."""
    return {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",
    }


class Closing:
    """What a `with` block closes at its end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back what is held."""
        raise NotImplementedError


class Worker(Closing):
    """A process that is started once, warms up, and then measures when it is asked; else it sleeps on its stdin."""

    def __init__(self, command: Sequence[str], *, core: int | None = None) -> None:
        # A name in the file system is not needed; the text is only read when the worker dies.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        before = os.sched_getaffinity(0)
        if core is not None:
            os.sched_setaffinity(0, {core})  # the child inherits it
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=quiet_environment(),
            )
        finally:
            os.sched_setaffinity(0, before)
        try:
            self.facts = self._receive()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let the worker end, by force if it does not."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps(request) + "\n").encode())
        self._process.stdin.flush()
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._errors.seek(0)
            raise RuntimeError(f"a worker ended with {code}: {self._errors.read().decode()[-800:].strip()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Wire:
    """The worker's end: requests come in on stdin, answers go out on what stdout was at the start."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)  # whatever a library prints must not stand between the answers

    def send(self, **answer: Any) -> None:
        """Send an answer; the first one says that the worker is warm."""
        self._out.write(json.dumps(answer) + "\n")
        self._out.flush()

    def requests(self) -> Iterator[dict[str, Any]]:
        """Yield the requests until the other end closes."""
        while line := sys.stdin.readline():
            yield json.loads(line)


class Stopwatch:
    """Wall and processor seconds, and pages that the kernel had to hand out, since it was made."""

    def __init__(self) -> None:
        self._faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Return `seconds` (wall), `cpu_seconds` and `page_faults` (of all threads of this process)."""
        return {
            "seconds": time.perf_counter() - self._wall,
            "cpu_seconds": time.process_time() - self._cpu,
            "page_faults": resource.getrusage(resource.RUSAGE_SELF).ru_minflt - self._faults,
        }
