"""Atomic writes, hashes and locks: a file is either complete or absent.

Data are written to a new file beside the target and flushed to the disk. Then the file is renamed to the target in one
step, and the folder is flushed. Readers see either the old or the new file, also after a power failure.
"""

import codecs
import csv
import errno
import hashlib
import json
import os
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import Any, BinaryIO

from pneumoscan.errors import ConfigError, DiskFullError, LockedError, NotWritableError
from pneumoscan.system import lock, lock_flags, sync_folder

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_WRITABLE = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
}


@contextmanager
def write_problems(path: Path, *, creating: bool = False) -> Iterator[None]:
    """Convert errors of the operating system while `path` is written into errors of pneumoscan.

    Args:
        path: What is written.
        creating: Whether the block only creates files or folders. A missing one then means that the system creates none
            there, as in `/proc`.

    Raises:
        DiskFullError: The disk or the quota is full.
        NotWritableError: Missing permission, a read-only file system, or a file in place of a folder.
    """
    try:
        yield
    except OSError as problem:
        if problem.errno in _DISK_FULL:
            raise DiskFullError(
                f"no space left to write {path}.", "Free some space and run again."
            ) from problem
        if problem.errno in _NOT_WRITABLE or (creating and problem.errno == errno.ENOENT):
            raise NotWritableError(
                f"cannot write {path}: {problem.strerror}.", "Choose a folder that you may write to."
            ) from problem
        raise


@contextmanager
def open_atomic(path: Path, *, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Open `path` for binary writing. The file appears when the block ends without an exception.

    Args:
        path: Of the file; its folder is made if it is absent.
        mode: Permissions of the file.

    Raises:
        DiskFullError, NotWritableError: See `write_problems`. An older file of that name is intact.
    """
    with write_problems(path):
        with write_problems(path, creating=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(mode)
            temporary.replace(path)
            sync_folder(path.parent)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


def write_atomic(path: Path, data: bytes | str, *, mode: int = 0o644) -> None:
    r"""Write bytes, or text as UTF-8, to `path` in one step. Raises the errors of `open_atomic`.

    In text, the bytes of a file name that are not UTF-8 become visible escapes, `\udcXX`.
    """
    with open_atomic(path, mode=mode) as file:
        file.write(data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON in one step. NaN and infinity raise a ValueError.

    Beside a name that is not UTF-8, all other letters are escaped too, so that the name is read again as it was.
    """
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        text = json.dumps(value, indent=2, allow_nan=False)
    write_atomic(path, text + "\n")


def write_table(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], *, as_it_was: bool = False
) -> None:
    """Write a table as CSV in one step; None is an empty cell.

    Args:
        path: The file.
        header: Names of the columns.
        rows: Cells by row.
        as_it_was: Write the bytes of a file name that are not UTF-8 as they are, instead of visible escapes.

    Raises:
        DiskFullError, NotWritableError: See `open_atomic`.
    """
    text = StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows((header, *rows))
    data = text.getvalue()
    write_atomic(path, data.encode("utf-8", "surrogateescape") if as_it_was else data)


def check_writable(path: Path) -> None:
    """Raise NotWritableError if no file or folder can be created at `path`. Nothing is left there."""
    if "\0" in str(path):
        raise NotWritableError(f"{str(path)!r} is not a valid file name.", "Choose another name.")
    with write_problems(path):
        place = path.absolute()
        while not _is_there(place):
            place = place.parent
        if place != path.absolute() and not place.is_dir():
            raise NotWritableError(
                f"{place} is a file, so {path} cannot be created.", "Choose another folder."
            )
    if not os.access(place, os.W_OK):
        raise NotWritableError(f"{place} is read-only.", "Choose another place.")
    if place.is_dir():
        # Some file systems let nothing be made where the mode says so.
        with write_problems(path, creating=True):
            Path(tempfile.mkdtemp(dir=place, prefix=".check.")).rmdir()


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def make_folder(path: Path) -> Path:
    """Create the folder `path` with its parents and return it. Raises the errors of `write_problems`."""
    with write_problems(path, creating=True):
        path.mkdir(parents=True, exist_ok=True)
    return path


def identity_of_path(path: str) -> str:
    """Return 64 digits that identify a path without revealing it."""
    return hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()  # noqa: PTH100 - paths stay strings


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path, *, wait: bool = False, what: str = "") -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, which is created if absent. The lock ends with the process.

    Args:
        path: The lock file. It remains, empty.
        wait: Wait for the other process instead of raising an error.
        what: Name of the locked object in the message.

    Raises:
        LockedError: Another process holds it and `wait` is False.
    """
    make_folder(path.parent)
    with write_problems(path, creating=True):
        descriptor = os.open(path, lock_flags(), 0o644)
    try:
        try:
            lock(descriptor, wait=wait)
        except BlockingIOError as problem:
            raise LockedError(
                f"{what or path} is in use by another process.",
                "Wait until it ends, or choose another folder.",
            ) from problem
        yield
    finally:
        os.close(descriptor)


_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def encoding_of(start: bytes) -> str:
    """Return the encoding of a text that somebody wrote: UTF-8, or what programs of Windows write.

    Those begin with a byte order mark, or write UTF-16 without one. Such a text has zeros in every second place only, and
    line ends of two bytes.

    Args:
        start: The first bytes.
    """
    for mark, name in _MARKS.items():
        if start.startswith(mark):
            return name
    for name, line_end, first in (("utf-16-le", b"\n\0", 0), ("utf-16-be", b"\0\n", 1)):
        if b"\0" not in start[first::2] and start.find(line_end) % 2 == 0:
            return name
    return "utf-8"


def as_text(data: bytes) -> str:
    """Return the content of a text file that somebody wrote, in an encoding of `encoding_of`.

    Raises:
        UnicodeDecodeError: It is in another one.
    """
    return data.decode(encoding_of(data))


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file of settings.

    Raises:
        ConfigError: The file cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(as_text(path.read_bytes()))
    except OSError as problem:
        raise ConfigError(f"cannot read {path}: {problem.strerror}.", "Check the path.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path} is not TOML: {problem}.") from None
