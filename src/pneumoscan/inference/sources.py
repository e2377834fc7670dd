"""Expand files, folders, patterns and a list on stdin to the paths of the films, in order."""

import glob
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO


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


def listed(stream: BinaryIO) -> list[str]:
    """Return the paths of a list, taken literally: separated by NUL if there is one, else one per line."""
    data = stream.read()
    parts = data.split(b"\0") if b"\0" in data else (line.removesuffix(b"\r") for line in data.split(b"\n"))
    return [os.fsdecode(part) for part in parts if part]


def _files(path: str, recursive: bool) -> Iterator[str]:
    if not os.path.isdir(path):  # noqa: PTH112 - ten thousand paths stay plain strings
        yield path
        return
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError:
        # The folder itself becomes a refused input, so that missing films are noticed.
        yield path
        return
    for entry in entries:
        # The table of contents of a medium; its films are found anyway.
        if entry.name.startswith(".") or entry.name == "DICOMDIR":
            continue
        if not entry.is_dir():
            yield entry.path
        elif recursive and not entry.is_symlink():
            yield from _files(entry.path, recursive)
