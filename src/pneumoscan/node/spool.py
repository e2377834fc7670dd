"""The files of objects under way: in a folder for its owner alone, whole or not there, and gone when they are done.

Their names are random: nothing from outside becomes a path.
"""

import os
import re
import secrets
import shutil
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from pneumoscan.errors import DiskFullError
from pneumoscan.files import write_problems
from pneumoscan.system import sync_folder

_NAME = re.compile(r"[0-9a-f]{32}(\.report|\.picture|\.state)?")
REPORT, PICTURE, STATE = ".report", ".picture", ".state"


class Spool:
    """A folder of files, each written and flushed before its name is returned."""

    def __init__(self, folder: Path, *, min_free: int, recent: int = 0) -> None:
        """Make the folder.

        Args:
            folder: With mode 0700.
            min_free: Bytes that must be left on its disk.
            recent: Bytes of films that are kept in memory until they are read for the first time.

        Raises:
            NotWritableError, DiskFullError: It cannot be made.
        """
        self.folder, self._min_free, self._most_recent = folder, min_free, recent
        self._recent: dict[str, bytes] = {}
        self._turn = threading.Lock()
        with write_problems(folder, creating=True):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)

    def check_room(self, size: int = 0) -> None:
        """Raise DiskFullError where a file of that size would leave too little space."""
        with write_problems(self.folder):
            free = shutil.disk_usage(self.folder).free
        if free - size < self._min_free:
            raise DiskFullError(
                f"less than {self._min_free >> 20} MiB would be left in {self.folder}.",
                "Free some space, or see node.min_free_mb.",
            )

    def put(self, content: bytes) -> str:
        """Write a new file, to the disk, and return its name.

        Raises:
            NotWritableError, DiskFullError: It cannot be written, and nothing is left of it.
        """
        name = secrets.token_hex(16)
        self.write({name: content})
        with self._turn:
            self._recent[name] = content
            while sum(map(len, self._recent.values())) > self._most_recent:
                del self._recent[next(iter(self._recent))]
        return name

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files of known names, in the place of older ones; raises as `put`."""
        self.check_room(sum(map(len, files.values())))
        for name, content in files.items():
            self._write(self._path(name), content)
        with write_problems(self.folder):
            sync_folder(self.folder)

    def _write(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(f".{path.name}.tmp")
        with write_problems(path):
            try:
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "wb", buffering=0) as file:
                    left = memoryview(content)
                    while left:
                        left = left[file.write(left) :]
                    os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                raise

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes; None if there is no such file."""
        path = self._path(name)
        with self._turn:
            recent = self._recent.pop(name, None)
        try:
            return path.read_bytes() if recent is None else recent
        except FileNotFoundError:
            return None

    def drop(self, name: str) -> None:
        """Remove a file and the results that were made of it; absent ones do no harm."""
        with self._turn:
            self._recent.pop(name, None)
        for ending in ("", REPORT, PICTURE, STATE):
            with suppress(FileNotFoundError):
                self._path(name + ending).unlink()

    def clean(self, kept: Collection[str]) -> int:
        """Remove files that belong to no row; return how many.

        Args:
            kept: Names of those that do.
        """
        removed = 0
        with self._turn:
            self._recent = {name: content for name, content in self._recent.items() if name in kept}
        for path in self.folder.iterdir():
            if path.name.partition(".")[0] not in kept:
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def __len__(self) -> int:
        """How many files there are."""
        return sum(1 for _ in self.folder.iterdir())

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError("no name of a file in the spool")
        return self.folder / name
