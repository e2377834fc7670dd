"""The folder that an archive is written to, on a disk or in an object store through fsspec; films that are fetched from there.

A file appears in one step in both: on a disk by a rename, in an object store by a single PUT. Writing a file again with the same
bytes does no harm.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pneumoscan.errors import (
    EnvironmentProblemError,
    FilmError,
    FilmNotFoundError,
    FilmTooLargeError,
    FilmUnreadableError,
    MissingDependencyError,
    NotWritableError,
    PneumoscanError,
    importing,
)
from pneumoscan.files import check_writable, locked, write_atomic
from pneumoscan.imaging.film import MAX_BYTES

_TRIES = 5
_FIRST_PAUSE = 0.5

Answer = TypeVar("Answer")


class Folder(Protocol):
    """A folder of files, named by paths with slashes that are relative to it.

    Attributes:
        where: Its path or URL, for messages.
    """

    where: str

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file; None if there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file in one step. Raises NotWritableError, DiskFullError or EnvironmentProblemError."""

    def names(self, inside: str = "") -> set[str]:
        """Return the names of the files in one of its folders."""

    def remove(self, name: str) -> None:
        """Remove a file."""


class LocalFolder:
    """A folder on a disk; see `Folder`."""

    def __init__(self, path: Path) -> None:
        self.where, self._path = str(path), path

    def read(self, name: str) -> bytes | None:
        """See `Folder`."""
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """See `Folder`."""
        write_atomic(self._path / name, data)

    def names(self, inside: str = "") -> set[str]:
        """See `Folder`."""
        with suppress(FileNotFoundError):
            return {path.name for path in (self._path / inside).iterdir()}
        return set()

    def remove(self, name: str) -> None:
        """See `Folder`."""
        (self._path / name).unlink(missing_ok=True)


class ObjectFolder:
    """A prefix in an object store, or any other file system that fsspec knows; see `Folder`."""

    def __init__(self, url: str) -> None:
        self.where = url
        self._files, self._root = file_system(url)

    def read(self, name: str) -> bytes | None:
        """See `Folder`."""
        with suppress(FileNotFoundError):
            data: bytes = tried(
                lambda: self._files.cat_file(f"{self._root}/{name}"), f"read {self.where}/{name}"
            )
            return data
        return None

    def write(self, name: str, data: bytes) -> None:
        """See `Folder`."""
        try:
            tried(lambda: self._files.pipe_file(f"{self._root}/{name}", data), f"write {self.where}/{name}")
        except FileNotFoundError as problem:
            raise _not_writable(self.where, problem) from problem

    def names(self, inside: str = "") -> set[str]:
        """See `Folder`."""
        place = f"{self._root}/{inside}".rstrip("/")
        with suppress(FileNotFoundError):
            self._files.invalidate_cache(place)
            found = tried(lambda: self._files.ls(place, detail=False), f"list {self.where}/{inside}")
            return {name.rstrip("/").rpartition("/")[2] for name in found}
        return set()

    def remove(self, name: str) -> None:
        """See `Folder`."""
        with suppress(FileNotFoundError):
            tried(lambda: self._files.rm_file(f"{self._root}/{name}"), f"remove {self.where}/{name}")


def open_folder(where: str) -> Folder:
    """Return the folder at a path or URL; nothing is created.

    Raises:
        MissingDependencyError: fsspec, or its package for this kind of URL, is not installed.
        NotWritableError: A folder on a disk that cannot be written to.
    """
    if is_url(where):
        return ObjectFolder(where.rstrip("/"))
    path = Path(where.removeprefix("file://")).absolute()
    check_writable(path)
    return LocalFolder(path)


@contextmanager
def held(folder: Folder, lock: str) -> Iterator[None]:
    """Keep other processes of this machine from writing to the same folder; an object store knows no locks.

    Raises:
        LockedError: Another process writes to it.
    """
    if isinstance(folder, LocalFolder):
        with locked(Path(folder.where) / lock, what=folder.where):
            yield
    else:
        yield


def is_url(name: str) -> bool:
    """Return whether a name is a URL for fsspec rather than a path. `file://` names a path."""
    scheme, mark, _ = name.partition("://")
    return bool(mark) and scheme.isalnum() and scheme != "file"


def file_system(url: str) -> tuple[Any, str]:
    """Return the file system of a URL and the URL's path in it.

    Raises:
        MissingDependencyError: fsspec, or its package for this kind of URL, is not installed.
        EnvironmentProblemError: There is no access.
    """
    with importing():
        from fsspec.core import url_to_fs
    try:
        # Remembered listings of ten million objects would fill the memory.
        files, path = url_to_fs(url, use_listings_cache=False)
    except ImportError as problem:
        raise MissingDependencyError(f"{url} needs another package.", f"{problem}.") from None
    except ValueError as problem:
        raise MissingDependencyError(f"{url} cannot be opened: {problem}.", "Give a path or a URL.") from None
    return files, str(path).rstrip("/")


def tried(call: Callable[[], Answer], what: str) -> Answer:
    """Call, and call again after a pause if a store or its network fails for the moment.

    Args:
        call: May run several times.
        what: What is done, after "cannot".

    Raises:
        FileNotFoundError: There is nothing at this place.
        NotWritableError: There is no permission.
        EnvironmentProblemError: It fails five times.
    """
    for number in range(_TRIES):
        try:
            return call()
        except (FileNotFoundError, PneumoscanError):
            raise
        except PermissionError as problem:
            raise _not_writable(what, problem) from problem
        except Exception as problem:  # noqa: BLE001 - each file system has exceptions of its own
            last = problem
        if number < _TRIES - 1:
            time.sleep(_FIRST_PAUSE * 2**number)
    raise EnvironmentProblemError(
        f"cannot {what}: {type(last).__name__}: {last}.",
        "Check the connection and the login, then run the same command again.",
    ) from last


def _not_writable(what: str, problem: Exception) -> NotWritableError:
    return NotWritableError(f"cannot {what}: {problem}.", "Check the permissions of this login.")


# Films in object stores, some of them fetched ahead of the one that is read


_AHEAD = 8

Fetched = tuple[str, bytes | FilmError]


def fetched(urls: Iterable[str]) -> Iterator[Fetched]:
    """Yield every URL with its bytes, or with the error that its row has. At most eight films are in memory.

    Raises:
        EnvironmentProblemError: A store cannot be reached, which says nothing of a film.
    """
    waiting: deque[Future[Fetched]] = deque()
    executor = ThreadPoolExecutor(_AHEAD, thread_name_prefix="fetch")
    try:
        for url in urls:
            waiting.append(executor.submit(_fetch, url))
            if len(waiting) == _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


def _fetch(url: str) -> Fetched:
    files, path = file_system(url)
    try:
        data = tried(lambda: _bytes(files, path), f"read {url}")
    except FileNotFoundError:
        return url, FilmNotFoundError(f"{url} does not exist.", "Check the path.")
    except NotWritableError:
        return url, FilmUnreadableError(
            f"{url} cannot be opened: permission denied.", "Check its permissions."
        )
    if len(data) > MAX_BYTES:
        return url, FilmTooLargeError(
            f"{url} has more than {MAX_BYTES >> 20} MiB.", "A film has a few; check the file."
        )
    return url, data


def _bytes(files: Any, path: str) -> bytes:
    try:
        # One byte more than is allowed, so that a large file is noticed and not fetched.
        data: bytes = files.cat_file(path, start=0, end=MAX_BYTES + 1)
        return data
    except (FileNotFoundError, PermissionError):
        raise
    except Exception:
        # S3 has no range of an empty object.
        if files.info(path)["size"] == 0:
            return b""
        raise
