"""Everything that depends on the operating system: cores, locks, flushes, process limits, signals.

No other module depends on it. Every function works on every system. If a system lacks something, the docstring says what
happens instead.
"""

import ctypes
import errno
import importlib
import math
import mmap
import os
import platform
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

Item = TypeVar("Item")
Answer = TypeVar("Answer")

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h
_MADV_HUGEPAGE = 14  # linux/mman.h
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38  # linux/prctl.h
_LOCK_PAUSE = 0.1
_MAPPED = 1 << 30
_BUSY = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}

# On some systems these modules or their attributes are missing. `Any` lets the types hold everywhere.
_OS: Any = os
_SIGNAL: Any = signal
_SUBPROCESS: Any = subprocess


def _module(name: str) -> Any:
    """Return a module of the standard library, or None if this system does not have it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_fcntl, _resource, _msvcrt = _module("fcntl"), _module("resource"), _module("msvcrt")

# Cores


def allowed_cores() -> int:
    """Return how many cores this process may use: its affinity if the system has one, else all cores."""
    if hasattr(os, "sched_getaffinity"):
        return len(_OS.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_cores() -> int:
    """Return how many cores this process may use: `allowed_cores`, limited on Linux by the quota of the container."""
    cores = allowed_cores()
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, math.ceil(int(quota) / int(period)))) if quota != "max" else cores
    except (OSError, ValueError):
        return cores


def in_threads(
    work: Callable[[Item], Answer], items: Iterable[Item], workers: int, *, ahead: int
) -> Iterator[Answer]:
    """Yield the results of `work` for all items, in their order. Every loop over films is this one.

    Args:
        work: Called in any thread. Its exceptions are raised here.
        items: Taken one by one, at most `ahead` before the result that is yielded, so the memory is bounded.
        workers: Number of threads.
        ahead: Number of results that may wait.
    """
    from concurrent.futures import ThreadPoolExecutor  # here, because a single film does not need it

    waiting: deque[Future[Answer]] = deque()
    executor = ThreadPoolExecutor(workers, thread_name_prefix="film")
    try:
        for item in items:
            waiting.append(executor.submit(work, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def cpu_info() -> str:
    """Return the content of `/proc/cpuinfo` on Linux, and an empty string elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def processor() -> str:
    """Return the name of the processor."""
    lines = cpu_info().splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


# Files


def read_flags() -> int:
    """Return the flags for opening a film: a FIFO does not block the batch, and no byte is translated."""
    return os.O_RDONLY | _flags("O_NONBLOCK", "O_CLOEXEC", "O_BINARY")


def lock_flags() -> int:
    """Return the flags for opening a lock file."""
    return os.O_RDWR | os.O_CREAT | _flags("O_CLOEXEC", "O_BINARY")


def _flags(*names: str) -> int:
    found = 0
    for name in names:
        found |= getattr(os, name, 0)
    return found


def lock(descriptor: int, *, wait: bool) -> None:
    """Take an exclusive lock on an open file. The lock ends with the process.

    It uses flock, or on Windows a lock on the first byte of the file. If there is neither, nothing is locked.

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
    """Flush the entries of a folder to the disk, so that a rename survives a power failure. Does nothing on Windows."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | _OS.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_disks() -> None:
    """Flush all written data to the disks, if the system offers this."""
    if hasattr(os, "sync"):
        _OS.sync()


# Memory


def keep_freed_memory() -> bool:
    """Let the C library keep large freed blocks for the next array instead of returning them to the kernel.

    By default every array of some megabytes is mapped again, and the kernel clears each of its pages on first access. This
    costs up to 40% of a training step. Threads share one heap, because separate heaps are unmapped whenever they become
    empty. Pages of 2 MB, where the kernel gives them, save another 5%. The process keeps its peak memory until it ends. The
    setting applies to the whole process and to threads that start later. Therefore the training loop calls this function, and
    no import does. Prediction does not become faster by it.

    Returns:
        Whether the setting was accepted; False, without any effect, if the C library is not glibc.
    """
    accepted = _set_malloc({M_MMAP_THRESHOLD: _MAPPED, M_TRIM_THRESHOLD: (1 << 31) - 1, M_ARENA_MAX: 1})
    if accepted:
        _ask_for_huge_pages(_MAPPED - (1 << 20))
    return accepted


def give_freed_memory_back(least: int) -> bool:
    """Let the C library return freed blocks of `least` bytes or more to the kernel; returns whether it was accepted.

    Otherwise glibc raises its threshold with the first large film.
    """
    return _set_malloc({M_MMAP_THRESHOLD: least, M_TRIM_THRESHOLD: least})


def _ask_for_huge_pages(size: int) -> None:
    """Let the kernel back the next `size` bytes of the heap with huge pages. Only addresses are reserved, no memory."""
    library = ctypes.CDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    block = library.malloc(size)
    if block:
        start = -(-block // mmap.PAGESIZE) * mmap.PAGESIZE
        library.madvise(start, size - mmap.PAGESIZE, _MADV_HUGEPAGE)
        library.free(block)


def _set_malloc(settings: dict[int, int]) -> bool:
    try:
        library = ctypes.CDLL(None)
        return all(library.mallopt(name, value) for name, value in settings.items())
    except (OSError, AttributeError, TypeError):
        return False


# Processes


def has_process_limits() -> bool:
    """Return whether a process can have limits of memory, files and processes. Windows has none."""
    return _resource is not None


def open_file_limit(wanted: int) -> int | None:
    """Raise the limit of open files to `wanted`, as far as the system allows.

    Returns:
        The new limit; None if there is none.
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
    """Let this process end with its parent, ignore signals of the terminal, gain no privileges, and write no core dump.

    Ending with the parent and the ban on privileges exist on Linux only.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "SIGKILL"):
        _prctl(_PR_SET_PDEATHSIG, int(_SIGNAL.SIGKILL))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    # If core dumps are piped to a program, RLIMIT_CORE does not prevent them.
    _prctl(_PR_SET_DUMPABLE, 0)
    if _resource is not None:
        _resource.setrlimit(_resource.RLIMIT_CORE, (0, 0))


def confine(*, memory: int, open_files: int) -> None:
    """Limit this process to `memory` more bytes than it uses now, to `open_files`, to no written file and no child process.

    Linux has all four limits, macOS the last three (it does not report the memory in use), Windows none.
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


def dead_child() -> int | None:
    """Return a child process that has ended and for which nobody has waited; None if there is none, or the system cannot say."""
    if not hasattr(os, "waitid"):
        return None
    try:
        found = _OS.waitid(_OS.P_ALL, 0, _OS.WEXITED | _OS.WNOHANG | _OS.WNOWAIT)
    except ChildProcessError:
        return None
    return None if found is None else int(found.si_pid)


def _prctl(option: int, value: int) -> None:
    try:
        call = ctypes.CDLL(None).prctl
    except (OSError, AttributeError, TypeError):
        return
    call(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def spawn_options(*handles: int) -> dict[str, Any]:
    """Return the options of `subprocess.Popen` for a child that inherits socket handles and does not receive Ctrl-C."""
    if hasattr(os, "set_handle_inheritable"):
        for handle in handles:
            _OS.set_handle_inheritable(handle, True)
        return {"close_fds": False, "creationflags": _SUBPROCESS.CREATE_NEW_PROCESS_GROUP}
    return {"pass_fds": handles, "process_group": 0}


def ask_self_to_end() -> None:
    """Send SIGTERM to this process so that its handler runs. On Windows, `os.kill` would end it without the handler."""
    if _msvcrt is not None:
        signal.raise_signal(signal.SIGTERM)
    else:
        os.kill(os.getpid(), signal.SIGTERM)
