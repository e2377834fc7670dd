"""Expand files, folders, patterns and a list on stdin to the paths of the films, in order."""

import glob
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from pneumoscan.inference.sorted_names import records, sorted_names

# A path has at most 4096 bytes, so the first separator is among these.
_FIRST_BYTES = 1 << 16


def expand(names: Iterable[str], *, recursive: bool = True, stdin: BinaryIO | None = None) -> Iterator[str]:
    """Yield the path of every input, in the order of the names.

    A folder gives its files, sorted by name, and those of its subfolders. Hidden files, links to folders and DICOMDIR are
    ignored. A pattern (`*`, `?`, `[…]`, `**`) gives its matches, sorted. A path that does not exist is yielded unchanged,
    because it must appear as a refused row.

    Args:
        names: Files, folders, patterns; `-` for the list on `stdin`.
        recursive: Read subfolders too.
        stdin: See `listed`.
    """
    for name in names:
        if name == "-" and stdin is not None:
            yield from listed(stdin)
        elif os.path.lexists(name) or not glob.has_magic(name):
            yield from _files(name, recursive)
        else:
            # A pattern without a match is shown as a file that does not exist.
            for match in sorted(glob.glob(name, recursive=True)) or [name]:  # noqa: PTH207 - Path.glob drops "./"
                yield from _files(match, recursive)


def listed(stream: BinaryIO) -> Iterator[str]:
    """Yield the paths of a list, taken literally: separated by NUL if there is one in its first 64 KiB, else one per line."""
    start = stream.read(_FIRST_BYTES)
    if b"\0" in start:
        found = records(stream, b"\0", start)
    else:
        found = (line.removesuffix(b"\r") for line in records(stream, b"\n", start))
    return (os.fsdecode(part) for part in found if part)


def _files(path: str, recursive: bool) -> Iterator[str]:
    if not os.path.isdir(path):  # noqa: PTH112 - ten thousand paths stay plain strings
        yield path
        return
    try:
        names = sorted_names(_names(path), key=_without_mark)
    except OSError:
        # The folder itself becomes a refused input, so that missing films are noticed.
        yield path
        return
    for name in names:
        inside = os.path.join(path, _without_mark(name))  # noqa: PTH118
        if not name.endswith("/"):
            yield inside
        elif recursive:
            yield from _files(inside, recursive)


def _names(folder: str) -> Iterator[str]:
    """Yield the names of what is read in a folder; those of folders end with a slash."""
    with os.scandir(folder) as entries:
        for entry in entries:
            # DICOMDIR is the table of contents of a medium; its films are found anyway.
            if entry.name.startswith(".") or entry.name == "DICOMDIR":
                continue
            if not entry.is_dir():
                yield entry.name
            elif not entry.is_symlink():
                yield f"{entry.name}/"


def _without_mark(name: str) -> str:
    return name.removesuffix("/")
