"""Expand files, folders, patterns and a list on stdin to the paths of the films, in order."""

import codecs
import glob
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import IO, BinaryIO

from pneumoscan.files import encoding_of

_PIECE = 1 << 16


def expand(
    names: Iterable[str],
    *,
    recursive: bool = True,
    stdin: BinaryIO | None = None,
    note: Callable[[str], None] | None = None,
) -> Iterator[str]:
    """Yield the path of every input, in the order of the names.

    A folder gives its files, sorted by name, and those of its subfolders. A link to a folder is read like a folder, unless its
    films are read anyway or it leads back to a folder that contains it; no folder is read twice. Hidden files and DICOMDIR
    are ignored. A pattern (`*`, `?`, `[…]`, `**`) gives its matches, sorted. A path that does not exist is yielded unchanged,
    because it must appear as a refused row.

    Args:
        names: Files, folders, patterns; `-` for the list on `stdin`.
        recursive: Read subfolders too.
        stdin: See `listed`.
        note: Called with a sentence for each link that is not followed.
    """
    for name in names:
        if name == "-" and stdin is not None:
            yield from listed(stdin)
        elif os.path.lexists(name) or not glob.has_magic(name):
            yield from _files(name, recursive, _Walk(name, note))
        else:
            # A pattern without a match is shown as a file that does not exist.
            for match in sorted(glob.glob(name, recursive=True)) or [name]:  # noqa: PTH207 - Path.glob drops "./"
                yield from _files(match, recursive, _Walk(match, note))


def listed(stream: BinaryIO) -> Iterator[str]:
    """Yield the paths of a list: separated by NUL if there is one in its first 64 KiB, else one per line.

    The list may have a byte order mark or be UTF-16, as programs of Windows write it. Paths are taken literally; where there is
    none with backslashes, they are read as slashes.
    """
    rest = pieces(stream)
    start = next(rest, b"")
    encoding = encoding_of(start)
    start = start.removeprefix(codecs.BOM_UTF8)
    if encoding.startswith(("utf-16", "utf-32")):
        text = codecs.iterdecode(chain([start], rest), encoding, "replace")
        rest = (part.encode() for part in text)
        start = next(rest, b"")
    # A path has at most 4096 bytes, so the first separator is in the first piece.
    if b"\0" in start:
        found = records(chain([start], rest), b"\0")
    else:
        found = (line.removesuffix(b"\r") for line in records(chain([start], rest), b"\n"))
    return (_of_windows(os.fsdecode(part)) for part in found if part)


def _of_windows(path: str) -> str:
    if "\\" not in path or os.sep == "\\" or os.path.lexists(path):
        return path
    slashes = path.replace("\\", "/")
    return slashes if os.path.lexists(slashes) else path


class _Walk:
    """The folders that were read under one name, and which links are followed."""

    def __init__(self, name: str, note: Callable[[str], None] | None) -> None:
        self._root, self._note = os.path.realpath(name), note
        self._read: set[str] = set()

    def is_new(self, folder: str) -> bool:
        """Return whether a folder is to be read: it was not read before, and it is no link to what is read anyway."""
        target = os.path.realpath(folder)
        is_link = bool(self._read) and os.path.islink(folder)  # noqa: PTH114
        if target in self._read or (is_link and self._is_read_anyway(target)):
            if self._note is not None:
                self._note(
                    f"{folder} is a link to {target}, which is read without it or contains it: not followed."
                )
            return False
        self._read.add(target)
        return True

    def _is_read_anyway(self, target: str) -> bool:
        """Return whether a folder contains the one that is read, or is found in it without links."""
        if os.path.join(self._root, "").startswith(os.path.join(target, "")):  # noqa: PTH118
            return True
        inside = target.removeprefix(os.path.join(self._root, ""))  # noqa: PTH118
        return inside != target and not any(map(_is_hidden, inside.split(os.sep)))  # noqa: PTH206


def _files(path: str, recursive: bool, walk: _Walk) -> Iterator[str]:
    if not os.path.isdir(path):  # noqa: PTH112 - ten thousand paths stay plain strings
        yield path
        return
    try:
        if not walk.is_new(path):
            return
        names = sorted(_names(path), key=_without_mark)
    except OSError:
        # The folder itself becomes a refused input, so that missing films are noticed.
        yield path
        return
    for name in names:
        inside = os.path.join(path, _without_mark(name))  # noqa: PTH118
        if not name.endswith("/"):
            yield inside
        elif recursive:
            yield from _files(inside, recursive, walk)


def _names(folder: str) -> Iterator[str]:
    """Yield the names of what is read in a folder; those of folders end with a slash."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not _is_hidden(entry.name):
                yield f"{entry.name}/" if entry.is_dir() else entry.name


def _is_hidden(name: str) -> bool:
    # DICOMDIR is the table of contents of a medium; its films are found anyway.
    return name.startswith(".") or name == "DICOMDIR"


def _without_mark(name: str) -> str:
    return name.removesuffix("/")


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
