"""A file is whole or not there, also when the disk is full, the folder closed or the process killed."""

import errno
import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pneumoscan import files
from pneumoscan.errors import DiskFullError, LockedError, NotWritableError

OLD = b"what was there before"


@pytest.fixture
def target(tmp_path):
    """A file that is there already, in a folder of its own."""
    path = tmp_path / "folder" / "file.bin"
    path.parent.mkdir()
    path.write_bytes(OLD)
    return path


def alone(path):
    """Whether nothing else lies beside the file, such as what a failed write left."""
    return list(path.parent.iterdir()) == [path]


def fail_with(number):
    def fail(*_args, **_options):
        raise OSError(number, os.strerror(number))

    return fail


def test_bytes_text_and_json_are_written_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "film.txt"
    files.write_atomic(path, b"\0\xff")
    assert path.read_bytes() == b"\0\xff"
    files.write_atomic(path, "Röntgen\n")
    assert path.read_bytes() == "Röntgen\n".encode()
    files.write_json(path, {"ü": [1, None, 0.5]})
    assert json.loads(path.read_bytes()) == {"ü": [1, None, 0.5]}
    assert "ü" in path.read_text("utf-8")
    assert alone(path)
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"bytes"])
def test_what_json_cannot_hold_leaves_the_old_file(target, value):
    with pytest.raises((ValueError, TypeError)):
        files.write_json(target, {"value": value})
    assert target.read_bytes() == OLD
    assert alone(target)


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, DiskFullError),
        (errno.EDQUOT, DiskFullError),
        (errno.EROFS, NotWritableError),
        (errno.EACCES, NotWritableError),
    ],
)
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(target, monkeypatch, call, number, error):
    monkeypatch.setattr(os if call == "fsync" else Path, call, fail_with(number))
    with pytest.raises(error, match=r"file\.bin"):
        files.write_atomic(target, b"new")
    monkeypatch.undo()
    assert target.read_bytes() == OLD
    assert alone(target)


def test_other_troubles_of_the_system_are_not_renamed(target, monkeypatch):
    monkeypatch.setattr(os, "fsync", fail_with(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        files.write_atomic(target, b"new")
    monkeypatch.undo()
    assert target.read_bytes() == OLD
    assert alone(target)


FULL = """
import resource, signal, sys
from pathlib import Path
from pneumoscan.errors import DiskFullError
from pneumoscan.files import write_atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    write_atomic(Path(sys.argv[1]), bytes(1_000_000))
except DiskFullError as problem:
    print(problem.exit_code)
"""


def test_a_file_that_really_gets_no_more_room_is_told_as_a_full_disk(target):
    resource = pytest.importorskip("resource", reason="this system has no limits of processes")
    run = subprocess.run(
        [sys.executable, "-c", FULL, target], capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout.strip() == "6"
    assert target.read_bytes() == OLD
    assert alone(target)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 50_000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device_is_told(monkeypatch, target):
    with pytest.raises(DiskFullError), files.write_problems(target), Path("/dev/full").open("wb") as full:
        full.write(bytes(100_000))


def _write_half(path, trouble):
    with files.open_atomic(path) as file:
        file.write(b"half")
        raise trouble


@pytest.mark.parametrize("trouble", [RuntimeError, KeyboardInterrupt])
def test_an_exception_in_the_block_leaves_the_old_file(target, trouble):
    with pytest.raises(trouble):
        _write_half(target, trouble)
    assert target.read_bytes() == OLD
    assert alone(target)


def test_readers_see_the_old_file_until_the_new_one_is_whole(target):
    with files.open_atomic(target) as file:
        file.write(b"new" * 100_000)
        file.flush()
        assert target.read_bytes() == OLD
    assert target.read_bytes() == b"new" * 100_000


KILLED = """
import sys, time
from pathlib import Path
from pneumoscan.files import open_atomic
with open_atomic(Path(sys.argv[1])) as file:
    file.write(b"half"); file.flush()
    print("writing", flush=True)
    time.sleep(60)
"""


def start(code, path):
    """Start a process and wait for its first word."""
    process = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline()
    return process


def end(process, how=signal.SIGKILL):
    process.send_signal(how)
    process.wait(20)
    process.stdout.close()


def test_a_killed_writer_leaves_the_old_file(target):
    end(start(KILLED, target))
    assert target.read_bytes() == OLD
    files.write_atomic(target, b"new")
    assert target.read_bytes() == b"new"


def test_file_and_folder_are_flushed_to_the_disk_in_that_order(target, monkeypatch):
    flushed = []
    real = os.fsync

    def note(descriptor):
        flushed.append(Path(f"/proc/self/fd/{descriptor}").resolve().is_dir())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    files.write_atomic(target, b"new")
    assert flushed == [False, True]


def test_a_folder_that_may_not_be_written_is_told(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everything")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(NotWritableError, match="Permission denied"):
            files.write_atomic(tmp_path / "file", b"")
    finally:
        tmp_path.chmod(0o700)


def test_a_file_in_the_way_of_a_folder_is_told(target):
    for work in (lambda path: files.write_atomic(path, b""), lambda path: files.make_folder(path.parent)):
        with pytest.raises(NotWritableError):
            work(target / "inside" / "file")
    (target.parent / "taken").mkdir()
    with pytest.raises(NotWritableError):
        files.write_atomic(target.parent / "taken", b"")


def test_a_file_where_the_folder_should_be_is_told(target):
    with pytest.raises(NotWritableError):
        files.make_folder(target)


def test_make_folder_makes_its_parents_and_gives_it_back(tmp_path):
    folder = tmp_path / "a" / "b"
    assert files.make_folder(folder) == folder
    assert files.make_folder(folder).is_dir()


def test_long_names_can_be_written(tmp_path):
    path = tmp_path / ("x" * 240)
    files.write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


def test_the_hash_is_that_of_the_bytes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 100_000)
    assert files.sha256_of(path) == hashlib.sha256(b"abc" * 100_000).hexdigest()


HOLDING = """
import sys, time
from pathlib import Path
from pneumoscan.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path):
    lock = tmp_path / "run" / "lock"
    holder = start(HOLDING, lock)
    with (
        pytest.raises(LockedError, match="the run folder is in use"),
        files.locked(lock, what="the run folder"),
    ):
        pass
    end(holder)
    with files.locked(lock):
        pass


def test_a_lock_is_free_again_after_the_block_also_after_an_exception(tmp_path):
    with pytest.raises(ZeroDivisionError), files.locked(tmp_path / "lock"):
        _ = 1 / 0
    with files.locked(tmp_path / "lock"), pytest.raises(LockedError), files.locked(tmp_path / "lock"):
        pass


def _hold_shortly(path, held):
    with files.locked(path):
        held.set()
        time.sleep(0.4)


def test_whoever_waits_gets_the_lock_in_the_end(tmp_path):
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold_shortly, args=(tmp_path / "lock", held))
    process.start()
    assert held.wait(30)
    began = time.monotonic()
    with files.locked(tmp_path / "lock", wait=True):
        assert time.monotonic() - began > 0.1
    process.join(20)
    assert process.exitcode == 0


def test_a_child_process_does_not_keep_the_lock(tmp_path):
    with files.locked(tmp_path / "lock"):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        with files.locked(tmp_path / "lock"):
            pass
    finally:
        child.kill()
        child.wait()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="this system has no /proc")
@pytest.mark.parametrize(
    "make",
    [
        files.make_folder,
        files.check_writable,
        lambda path: files.write_atomic(path, b"x"),
        lambda path: files.write_json(path / "deep" / "x.json", {}),
    ],
)
def test_a_place_where_the_system_makes_no_files_is_told(make):
    with pytest.raises(NotWritableError, match="/proc"):
        make(Path("/proc/x"))


def test_another_file_that_is_missing_is_not_taken_for_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError), files.open_atomic(tmp_path / "out"):
        (tmp_path / "elsewhere" / "film").read_bytes()
    assert list(tmp_path.iterdir()) == []


def test_the_check_leaves_nothing_behind(tmp_path):
    files.check_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
