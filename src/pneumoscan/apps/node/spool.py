"""The files of objects under way: in a folder for its owner alone, whole or not there, and gone when they are done.

Their names are random: nothing from outside becomes a path.
"""

import os
import re
import secrets
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from pneumoscan.errors import DiskFullError
from pneumoscan.files import write_problems
from pneumoscan.system import sync_folder

_NAME = re.compile(r"[0-9a-f]{32}(\.report|\.picture)?")
REPORT, PICTURE = ".report", ".picture"


class Spool:
    """A folder of files, each written and flushed before its name is told."""

    def __init__(self, folder: Path, *, min_free: int) -> None:
        """Make the folder.

        Args:
            folder: With mode 0700.
            min_free: Bytes that must be left on its disk.

        Raises:
            NotWritableError, DiskFullError: It cannot be made.
        """
        self.folder, self._min_free = folder, min_free
        with write_problems(folder):
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
        self.write(name, content)
        return name

    def write(self, name: str, content: bytes) -> None:
        """Write a file of a known name, in the place of an older one; raises as `put`."""
        self.check_room(len(content))
        path = self._path(name)
        temporary = path.with_name(f".{path.name}.tmp")
        with write_problems(path):
            try:
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
                sync_folder(self.folder)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                raise

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes; None if there is no such file."""
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            return None

    def drop(self, name: str) -> None:
        """Remove a file and the results that were made of it; absent ones do no harm."""
        for ending in ("", REPORT, PICTURE):
            with suppress(FileNotFoundError):
                self._path(name + ending).unlink()

    def clean(self, kept: Collection[str]) -> int:
        """Remove files that belong to no row; return how many.

        Args:
            kept: Names of those that do.
        """
        removed = 0
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
