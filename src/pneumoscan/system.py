"""What differs between operating systems: cores, locks, flushes, limits of processes, signals. Nothing else in the package asks.

Every function works everywhere; where a system lacks something, the docstring says what happens instead.
"""

import ctypes
import errno
import importlib
import math
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38  # linux/prctl.h
_LOCK_PAUSE = 0.1
_BUSY = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}

# Absent, or without these names, on some systems: `Any`, so that the types hold on all of them.
_OS: Any = os
_SIGNAL: Any = signal
_SUBPROCESS: Any = subprocess


def _module(name: str) -> Any:
    """Return a module of the standard library that not every system has; None if this one has not."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_fcntl, _resource, _msvcrt = _module("fcntl"), _module("resource"), _module("msvcrt")

# Cores


def allowed_cores() -> int:
    """Return how many cores this process may use: its affinity where the system knows one, else all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(_OS.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_cores() -> int:
    """Return how many cores this process may use: `allowed_cores`, and on Linux a container's quota."""
    cores = allowed_cores()
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, math.ceil(int(quota) / int(period)))) if quota != "max" else cores
    except (OSError, ValueError):
        return cores


def cpu_info() -> str:
    """Return what Linux tells of the processors in `/proc/cpuinfo`; empty elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


# Files


def read_flags() -> int:
    """Return the flags to open a film with: a FIFO among the films must not hold the batch, no byte is translated."""
    return os.O_RDONLY | _flags("O_NONBLOCK", "O_CLOEXEC", "O_BINARY")


def lock_flags() -> int:
    """Return the flags to open a lock file with."""
    return os.O_RDWR | os.O_CREAT | _flags("O_CLOEXEC", "O_BINARY")


def _flags(*names: str) -> int:
    found = 0
    for name in names:
        found |= getattr(os, name, 0)
    return found


def lock(descriptor: int, *, wait: bool) -> None:
    """Take an exclusive lock on an open file; the system drops it when the process ends.

    By flock, or on Windows on the file's first byte. Where there is neither, nothing is locked.

    Raises:
        BlockingIOError: Another process holds it and `wait` is False.
    """
    if _fcntl is not None:
        _fcntl.flock(descriptor, _fcntl.LOCK_EX | (0 if wait else _fcntl.LOCK_NB))
        return
    while _msvcrt is not None:
        try:
            os.lseek(descriptor, 0, os.SEEK_SET)
            _msvcrt.locking(descriptor, _msvcrt.LK_NBLCK, 1)
            return
        except OSError as problem:
            if problem.errno not in _BUSY:
                raise
            if not wait:
                raise BlockingIOError(problem.errno, "the file is locked") from None
            time.sleep(_LOCK_PAUSE)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, so that a rename in it survives a power cut; Windows knows no such thing."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | _OS.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_disks() -> None:
    """Flush everything that was written to the disks, where the system can be asked to."""
    if hasattr(os, "sync"):
        _OS.sync()


# Memory


def keep_freed_memory() -> bool:
    """Tell the C library to keep large freed blocks for the next array instead of giving them back to the kernel.

    By default every array of some megabytes is mapped anew and the kernel clears each of its pages on first touch, which
    costs up to 40% of a training step. Threads share one heap, for the heaps of their own that the C library would give
    them are unmapped whenever they empty. The process keeps its peak memory until it ends. It holds for the whole
    process and for threads begun afterwards, so the training loop asks for it, and no import does. Reading films gains
    nothing from it.

    Returns:
        Whether it took; False where the C library is not glibc, and nothing else changes there.
    """
    return _set_malloc({M_MMAP_THRESHOLD: 1 << 30, M_TRIM_THRESHOLD: (1 << 31) - 1, M_ARENA_MAX: 1})


def give_freed_memory_back(least: int) -> bool:
    """Tell the C library to give freed blocks of `least` bytes or more back to the kernel; returns whether it took.

    Glibc would raise its bound with the first large film.
    """
    return _set_malloc({M_MMAP_THRESHOLD: least, M_TRIM_THRESHOLD: least})


def _set_malloc(settings: dict[int, int]) -> bool:
    try:
        library = ctypes.CDLL(None)
        return all(library.mallopt(name, value) for name, value in settings.items())
    except (OSError, AttributeError, TypeError):
        return False


# Processes


def has_process_limits() -> bool:
    """Say whether a process can be held to limits of memory, files and processes; Windows cannot."""
    return _resource is not None


def open_file_limit(wanted: int) -> int | None:
    """Raise the number of files that may be open at once to `wanted`, as far as is allowed.

    Returns:
        The limit now; None where there is none.
    """
    if _resource is None:
        return None
    soft, hard = _resource.getrlimit(_resource.RLIMIT_NOFILE)
    most = wanted if hard == _resource.RLIM_INFINITY else min(wanted, hard)
    if soft != _resource.RLIM_INFINITY and soft < most:
        _resource.setrlimit(_resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return None if soft == _resource.RLIM_INFINITY else int(soft)


def end_with_parent() -> None:
    """Have this process end with its parent and by no signal of a terminal, gain no privilege, and dump no core.

    The end with the parent and the ban on privileges are of Linux alone.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "SIGKILL"):
        _prctl(_PR_SET_PDEATHSIG, int(_SIGNAL.SIGKILL))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    # Where cores go to a program, RLIMIT_CORE does not hold them back.
    _prctl(_PR_SET_DUMPABLE, 0)
    if _resource is not None:
        _resource.setrlimit(_resource.RLIMIT_CORE, (0, 0))


def confine(*, memory: int, open_files: int) -> None:
    """Hold this process to `memory` more bytes than it has, to `open_files`, to no written file and no child.

    On Linux all four; on macOS the last three (memory in use is not told there); on Windows none.
    """
    if _resource is None:
        return
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _limit("RLIMIT_AS", pages * _resource.getpagesize() + memory)
    except OSError:
        pass
    _limit("RLIMIT_FSIZE", 0)
    _limit("RLIMIT_NOFILE", open_files)
    _limit("RLIMIT_NPROC", 0)


def _limit(name: str, most: int) -> None:
    what = getattr(_resource, name, None)
    if what is None:
        return
    hard = _resource.getrlimit(what)[1]
    least = most if hard == _resource.RLIM_INFINITY else min(most, hard)
    _resource.setrlimit(what, (least, least))


def _prctl(option: int, value: int) -> None:
    try:
        call = ctypes.CDLL(None).prctl
    except (OSError, AttributeError, TypeError):
        return
    call(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def spawn_options(*handles: int) -> dict[str, Any]:
    """Return the options of `subprocess.Popen` for a child that inherits handles of sockets and no Ctrl-C of the terminal."""
    if hasattr(os, "set_handle_inheritable"):
        for handle in handles:
            _OS.set_handle_inheritable(handle, True)
        return {"close_fds": False, "creationflags": _SUBPROCESS.CREATE_NEW_PROCESS_GROUP}
    return {"pass_fds": handles, "process_group": 0}


def ask_self_to_end() -> None:
    """Send SIGTERM to this process, so that its handler runs; on Windows `os.kill` would end it without one."""
    if _msvcrt is not None:
        signal.raise_signal(signal.SIGTERM)
    else:
        os.kill(os.getpid(), signal.SIGTERM)
