"""Sort the names of a folder in bounded memory, however many there are."""

import heapq
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO

MOST_IN_MEMORY = 200_000
_PIECE = 1 << 16


def sorted_names(
    names: Iterable[str], key: Callable[[str], str], *, most: int = MOST_IN_MEMORY
) -> Iterator[str]:
    """Return names in order. All are taken from `names` before the function returns.

    Up to `most` names are sorted in memory. More are sorted in pieces of that number, which are written to temporary files
    and merged.

    Args:
        names: Without NUL characters.
        key: What a name is sorted by.
        most: Names that are held in memory.
    """
    files: list[IO[bytes]] = []
    held: list[str] = []
    for name in names:
        held.append(name)
        if len(held) == most:
            files.append(_written(sorted(held, key=key)))
            held.clear()
    held.sort(key=key)
    return heapq.merge(*map(_read, files), held, key=key)


def _written(names: list[str]) -> IO[bytes]:
    file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed where it has been read
    for name in names:
        file.write(os.fsencode(name) + b"\0")
    file.seek(0)
    return file


def _read(file: IO[bytes]) -> Iterator[str]:
    with file:
        yield from map(os.fsdecode, records(pieces(file), b"\0"))


def pieces(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the content of a stream, in pieces of 64 KiB."""
    while piece := stream.read(_PIECE):
        yield piece


def records(parts: Iterable[bytes], separator: bytes) -> Iterator[bytes]:
    """Yield the records of a text without their separators, in constant memory; the last may lack its separator.

    Args:
        parts: The text, in pieces.
        separator: One byte.
    """
    rest = b""
    for part in parts:
        *whole, rest = (rest + part).split(separator)
        yield from whole
    if rest:
        yield rest
