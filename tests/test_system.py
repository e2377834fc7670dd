"""Only `system` knows the operating system, and the package works where what only Linux has is not there."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic_films import write_film_folder

import pneumoscan
from pneumoscan import system

PACKAGE = Path(pneumoscan.__file__).parent
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
MODULES = {"fcntl", "resource", "msvcrt", "ctypes", "winreg"}
NAMES = {
    "sched_getaffinity",
    "SIGKILL",
    "O_DIRECTORY",
    "O_NONBLOCK",
    "prctl",
    "geteuid",
    "fork",
    "setrlimit",
    "add_dll_directory",
}

WITHOUT = """
import ctypes, os, signal, sys
for name in ("fcntl", "resource"):
    sys.modules[name] = None
for name in ("sched_getaffinity", "O_DIRECTORY", "O_NONBLOCK", "O_CLOEXEC", "sync", "geteuid"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGHUP"):
    if hasattr(signal, name):
        delattr(signal, name)
import pathlib
read_text = pathlib.Path.read_text
def refuse(self, *args, **options):
    if str(self).startswith(("/proc", "/sys")):
        raise FileNotFoundError(str(self))
    return read_text(self, *args, **options)
pathlib.Path.read_text = refuse
class Library(ctypes.CDLL):
    def __getattr__(self, name):
        if name in ("prctl", "mallopt"):
            raise AttributeError(name)
        return super().__getattr__(name)
ctypes.CDLL = Library
"""
COMMANDS = """
import json
from pneumoscan.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["pneumoscan", *words]
    try:
        main()
    except SystemExit as end:
        if end.code:
            sys.exit(f"{words[0]} ended with {end.code}")
"""


def used(path: Path) -> set[str]:
    """Return the names of systems' modules and attributes that a module uses."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names} & MODULES
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module).split(".")[0]} & MODULES
        elif isinstance(node, ast.Attribute):
            found |= {node.attr} & NAMES
            if node.attr == "platform" and isinstance(node.value, ast.Name) and node.value.id == "sys":
                found.add("sys.platform")
    return found


def test_nothing_else_asks_for_the_operating_system():
    found = {
        str(path.relative_to(PACKAGE)): names
        for path in PACKAGE.rglob("*.py")
        if path.name != "system.py" and (names := used(path))
    }
    assert found == {}
    assert used(PACKAGE / "system.py") >= {"ctypes", "sched_getaffinity", "SIGKILL"}


def test_cores_are_counted_without_an_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert system.allowed_cores() == os.cpu_count()


def test_a_lock_is_exclusive(tmp_path):
    path = tmp_path / "lock"
    one, two = (os.open(path, system.lock_flags()) for _ in range(2))
    try:
        system.lock(one, wait=False)
        with pytest.raises(BlockingIOError):
            system.lock(two, wait=False)
    finally:
        os.close(one)
    system.lock(two, wait=False)
    os.close(two)


def test_without_a_way_to_lock_nothing_is_locked(monkeypatch, tmp_path):
    monkeypatch.setattr(system, "_fcntl", None)
    descriptor = os.open(tmp_path / "lock", system.lock_flags())
    system.lock(descriptor, wait=True)
    os.close(descriptor)


def test_a_worker_needs_nothing_of_linux_alone():
    """What a worker process calls when it starts has no effect where the system lacks it, and raises nothing."""
    calls = """
from pneumoscan import system
system.end_with_parent()
system.confine(memory=1 << 30, open_files=16)
assert not system.keep_freed_memory()
assert not system.give_freed_memory_back(1 << 20)
assert not system.has_process_limits()
"""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + calls], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(
    not HUGE_PAGES.exists() or "[never]" in HUGE_PAGES.read_text(), reason="the kernel gives no huge pages"
)
def test_arrays_of_a_training_lie_in_huge_pages():
    calls = """
import pathlib, sys
from pneumoscan import system
if not system.keep_freed_memory():
    sys.exit(77)
arrays = [b"x" * (32 << 20) for _ in range(4)]
rows = pathlib.Path("/proc/self/smaps").read_text().splitlines()
print(sum(int(row.split()[1]) for row in rows if row.startswith("AnonHugePages")) >> 10)
"""
    done = subprocess.run([sys.executable, "-c", calls], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("the C library is not glibc")
    assert done.returncode == 0, done.stderr
    # Fewer than all: the memory of a busy machine is fragmented.
    assert int(done.stdout) >= 32


@pytest.mark.timeout(240)
def test_training_evaluation_export_and_prediction_need_nothing_of_linux_alone(tmp_path):
    films, run = write_film_folder(tmp_path / "films"), tmp_path / "run"
    tiny = [
        "data.size=32",
        "data.val_fraction=0.3",
        "loop.epochs=1",
        "loop.batch_size=8",
        "loop.micro_batch=4",
    ]
    settings = [word for text in tiny for word in ("--set", text)]
    commands = (
        ["train", "--preset", "baseline-plain", "--data", films, "--out", run, *settings],
        ["export", run, "--data", films],
        ["evaluate", run, "--data", films, "--split", "test", "--out", tmp_path / "evaluation"],
        ["predict", films / "test", "--model", run / "bundle", "--out", tmp_path / "rows.csv"],
        ["predict", films / "test" / "NORMAL"],
    )
    environment = {**os.environ, "PNEUMOSCAN_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + COMMANDS, json.dumps(commands, default=str)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "evaluation" / "report.html").is_file()
    assert (tmp_path / "rows.csv").read_text().count("\n") > 5


CHILD = """
import subprocess, sys, time
from pneumoscan.system import dead_child
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read(); sys.exit(7)"], stdin=subprocess.PIPE)
assert dead_child() is None
child.stdin.close()
until = time.monotonic() + 60
while dead_child() is None and time.monotonic() < until:
    time.sleep(0.02)
assert dead_child() == dead_child() == child.pid
assert child.wait() == 7
assert dead_child() is None
"""


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="this system cannot say")
def test_a_dead_child_is_seen_and_left_to_be_waited_for() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
