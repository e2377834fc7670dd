"""From what a user names — files, folders, patterns, a list on stdin — to the paths of the films, in order."""

import glob
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO


def expand(names: Iterable[str], *, recursive: bool = True, stdin: BinaryIO | None = None) -> Iterator[str]:
    """Yield the path of every input, in the order of the names.

    A folder gives its files, sorted by name, and those of its folders; hidden ones, links to folders and the DICOMDIR
    of a medium are passed over. A pattern (`*`, `?`, `[…]`, `**`) gives what it matches, sorted. What does not exist is given as it is, for
    it must show up as refused.

    Args:
        names: Files, folders, patterns; `-` for the list on `stdin`.
        recursive: Look into the folders of a folder too.
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
    """Return the paths of a list, taken literally: separated by NUL if there is one in it, else one a line."""
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
        # As an input the folder itself is refused, so that its films do not go missing unseen.
        yield path
        return
    for entry in entries:
        # A medium's table of contents, where its films are listed that are found anyway.
        if entry.name.startswith(".") or entry.name == "DICOMDIR":
            continue
        if not entry.is_dir():
            yield entry.path
        elif recursive and not entry.is_symlink():
            yield from _files(entry.path, recursive)
