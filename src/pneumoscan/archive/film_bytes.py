"""Fetch films from object stores, some of them ahead of the one that is read."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pneumoscan.archive.storage import file_system, tried
from pneumoscan.errors import (
    FilmError,
    FilmNotFoundError,
    FilmTooLargeError,
    FilmUnreadableError,
    NotWritableError,
)
from pneumoscan.imaging.film import MAX_BYTES

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
