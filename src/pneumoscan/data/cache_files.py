"""The two files of a film cache on the disk. They are complete or built again, by one process at a time.

`KEY.u8` contains the rows of uint8 pixels. `KEY.json`, written last, describes the rows and contains the SHA-256 of the first.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import DiskFullError, LockedError, NotWritableError
from pneumoscan.files import locked, make_folder, sha256_of, write_atomic


@dataclass(frozen=True)
class Stored:
    """Content of the two files: the pixels, their rows in the table, and (row, code, message) of unreadable films."""

    images: npt.NDArray[np.uint8]
    index: list[int]
    refused: list[tuple[int, str, str]]


@dataclass(frozen=True)
class CacheFiles:
    """The two files of a cache: `n` films of the table, resized to `size`, with the name `key`; 0 `planes` are one without axis."""

    folder: Path
    key: str
    n: int
    size: int
    planes: int = 0

    @property
    def bytes_per_film(self) -> int:
        """Bytes of one film."""
        return max(1, self.planes) * self.size**2

    @property
    def pixels(self) -> Path:
        """The file of pixels."""
        return self.folder / f"{self.key}.u8"

    @property
    def sidecar(self) -> Path:
        """The file that describes the rows."""
        return self.folder / f"{self.key}.json"

    @property
    def lock(self) -> Path:
        """The file that a builder locks."""
        return self.folder / f"{self.key}.lock"

    def load(self) -> Stored | None:
        """Return the content if it matches its hashes, else None."""
        try:
            saved = json.loads(self.sidecar.read_bytes())
            body = saved["body"]
            index, refused = body["index"], [(int(i), str(c), str(m)) for i, c, m in body["refused"]]
            whole = (
                saved["body_sha256"] == _json_sha256(body)
                and sorted(index + [row for row, _, _ in refused]) == list(range(self.n))
                and self.pixels.stat().st_size == len(index) * self.bytes_per_film
                and (not index or sha256_of(self.pixels) == body["pixels_sha256"])
            )
            return Stored(self._map(len(index)), index, refused) if whole else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _map(self, rows: int) -> npt.NDArray[np.uint8]:
        shape = (rows, *((self.planes,) if self.planes else ()), self.size, self.size)
        if not rows:
            return np.empty(shape, dtype=np.uint8)
        return np.memmap(self.pixels, dtype=np.uint8, mode="r", shape=shape)

    def write_sidecar(
        self, stored_sha256: str, index: list[int], refused: list[tuple[int, str, str]]
    ) -> None:
        """Write the second file, which completes the pair."""
        body = {"pixels_sha256": stored_sha256, "size": self.size, "index": index, "refused": refused}
        # File names need not be UTF-8, hence ASCII with escapes.
        write_atomic(self.sidecar, json.dumps({"body_sha256": _json_sha256(body), "body": body}))


def _json_sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@contextmanager
def only_builder(pair: CacheFiles) -> Iterator[None]:
    """Hold the lock of the pair, and remove files of builders that were killed."""
    with ExitStack() as stack:
        try:
            make_folder(pair.folder)
            stack.enter_context(locked(pair.lock, wait=True, what="the film cache"))
        except (NotWritableError, FileExistsError) as problem:
            raise not_writable(pair.folder) from problem
        _sweep(pair)
        yield


def not_writable(folder: Path) -> NotWritableError:
    """Return the error for a cache folder that is not writable."""
    return NotWritableError(
        f"the film cache cannot be written in {folder}.",
        "Set PNEUMOSCAN_CACHE to a folder that you may write to.",
    )


def _sweep(pair: CacheFiles) -> None:
    """Remove temporary files without a builder: those of this key, and those whose lock is free."""
    for leftover in pair.folder.glob(".*.tmp"):
        key = leftover.name[1:].split(".", 1)[0]
        with suppress(LockedError, OSError, NotWritableError):
            if key == pair.key:
                leftover.unlink()
            elif len(key) == len(pair.key):
                with locked(pair.folder / f"{key}.lock"):
                    leftover.unlink()


def check_space(pair: CacheFiles) -> None:
    """Raise DiskFullError if the disk has less space than the pixels need."""
    needed, free = pair.n * pair.bytes_per_film, shutil.disk_usage(pair.folder).free
    if needed > free:
        raise DiskFullError(
            f"the film cache needs {needed >> 20} MiB in {pair.folder}, where {free >> 20} MiB are free.",
            "Free some space, or set PNEUMOSCAN_CACHE to a folder on a larger disk.",
        )
