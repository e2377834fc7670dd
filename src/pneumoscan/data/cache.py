"""The film cache: decoded films, grey and resized to N×N, in one memory-mapped file that is identified by its content.

A cache consists of two files: `KEY.u8`, the rows of uint8 pixels, and `KEY.json`, which is written last and contains the
SHA-256 of the first. KEY is a hash of the content of every film, the size and the version of the preprocessing. A changed
film gives another key, and a moved folder the same key. A pair that does not match its hash is built again.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.data.manifest import FilmRecord, Manifest
from pneumoscan.errors import (
    ConfigError,
    DataDamagedError,
    DiskFullError,
    FilmError,
    LockedError,
    NothingUsableError,
    NotWritableError,
)
from pneumoscan.files import locked, make_folder, open_atomic, sha256_of, write_atomic
from pneumoscan.imaging.film import Film, read, read_bytes
from pneumoscan.imaging.preprocessing import VERSION, squash
from pneumoscan.system import allowed_cores, in_threads

FORMAT = 1
"""Version of the format of the two files; another version gives another key."""

MAX_WORKERS = 16

_NAME = "<this film>"
"""Placeholder of the path in stored messages, because the folder may have another name later."""

Progress = Callable[[int, int], None]


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


@dataclass(frozen=True)
class Preparation:
    """What a cache keeps of each film, if it is not the squashed film.

    Attributes:
        key: Identifies the preparation: its version, its settings, and the content of what it reads beside the films.
        planes: Number of planes of size×size pixels.
        facts: Text that changes with everything in the table, and beside the film, that the preparation uses.
        prepare: Film and record → uint8 (planes, size, size).
    """

    key: str
    planes: int
    facts: Callable[[FilmRecord], str]
    prepare: Callable[[Film, FilmRecord], npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class RefusedFilm:
    """A film that cannot be used.

    Attributes:
        path: Path in the table.
        code: Code of the error, such as `film.truncated`.
        message: What is wrong, and what to do.
    """

    path: str
    code: str
    message: str


@dataclass(frozen=True)
class FilmCache:
    """The readable films of a table, resized.

    Attributes:
        images: uint8 memory map (n, size, size), or (n, planes, size, size) with a preparation, read-only; 0 is black. Rows
            in the order of the table.
        index: int64 (n,): row → index into the films of the table.
        refused: The films that have no row.
        content_sha256: SHA-256 of the bytes of each film by path; only of files that could be opened.
        data_sha256: Identifies the data set: SHA-256 over the sorted (path, label, content hash) of all films.
    """

    images: npt.NDArray[np.uint8]
    index: npt.NDArray[np.int64]
    refused: tuple[RefusedFilm, ...]
    content_sha256: dict[str, str]
    data_sha256: str


def cache_folder() -> Path:
    """Return the folder of caches: `$PNEUMOSCAN_CACHE`, else `$XDG_CACHE_HOME/pneumoscan`, else `~/.cache/pneumoscan`."""
    if given := os.environ.get("PNEUMOSCAN_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME", "")
    # According to the XDG specification, relative paths are ignored.
    return (Path(base) if Path(base).is_absolute() else Path("~/.cache").expanduser()) / "pneumoscan"


def open_cache(
    manifest: Manifest,
    *,
    size: int,
    preparation: Preparation | None = None,
    folder: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> FilmCache:
    """Return the films of a table, resized to `size`, from the cache or by decoding them.

    Every film is hashed on each call, so a changed film is noticed. Films are decoded only if there is no cache. If several
    processes call at the same time, one builds the cache and the others wait.

    Args:
        manifest: The table.
        size: Side of the square in pixels, 16 to 1024.
        preparation: What is kept of each film; by default the film squashed to the square.
        folder: Folder of the cache; by default `cache_folder()`.
        workers: Threads that read and decode; by default the number of cores.
        progress: Called with (films done, all films) while decoding.

    Raises:
        ConfigError: `size` or `workers` is outside its range.
        NothingUsableError: No film is readable.
        DataDamagedError: A film changed while it was read.
        DiskFullError: The disk has no space for the cache; no incomplete file remains.
        NotWritableError: The folder cannot be written to.
    """
    if not 16 <= size <= 1024:
        raise ConfigError(f"the films' size is {size!r}.", "It must be a whole number from 16 to 1024.")
    if workers is not None and workers < 1:
        raise ConfigError(f"workers is {workers!r}.", "It must be at least 1.")
    workers = workers or min(MAX_WORKERS, allowed_cores())
    place = Path(folder) if folder is not None else cache_folder()
    hashes = _hash_all(manifest, workers)
    key, planes = _key(manifest, hashes, size, preparation), preparation.planes if preparation else 0
    pair = CacheFiles(place, key, len(manifest), size, planes)
    stored = pair.load()
    if stored is None:
        with only_builder(pair):
            # Another process may have built the cache while this one waited.
            stored = pair.load() or _build(pair, manifest, hashes, workers, progress, preparation)
    return _as_cache(manifest, hashes, stored)


def _key(manifest: Manifest, hashes: list[str], size: int, preparation: Preparation | None) -> str:
    lines = [f"format {FORMAT}", f"preprocessing {VERSION}", f"size {size}", *hashes]
    if preparation is not None:
        lines += [preparation.key, *map(preparation.facts, manifest.films)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:40]


def _hash_all(manifest: Manifest, workers: int) -> list[str]:
    """Return the content hash of every film, or the code of the error if it cannot be opened."""

    def hash_one(record: FilmRecord) -> str:
        try:
            return hashlib.sha256(manifest.bytes_of(record)).hexdigest()
        except FilmError as refusal:
            return refusal.code

    return list(in_threads(hash_one, manifest.films, workers, ahead=workers * 16))


def _build(
    pair: CacheFiles,
    manifest: Manifest,
    hashes: list[str],
    workers: int,
    progress: Progress | None,
    preparation: Preparation | None,
) -> Stored:
    check_space(pair)
    index: list[int] = []
    refused: list[tuple[int, str, str]] = []
    digest = hashlib.sha256()
    try:
        with open_atomic(pair.pixels) as file:
            for row, result in enumerate(_decode_all(manifest, hashes, pair.size, workers, preparation)):
                if isinstance(result, FilmError):
                    refused.append((row, result.code, str(result)))
                else:
                    index.append(row)
                    digest.update(result)
                    file.write(result)
                if progress is not None:
                    progress(row + 1, len(manifest))
        pair.write_sidecar(digest.hexdigest(), index, refused)
    except NotWritableError as problem:
        raise not_writable(pair.folder) from problem
    stored = pair.load()
    if stored is None:
        raise DataDamagedError(
            f"{pair.pixels} does not read back as written.", "Check the disk, then run again."
        )
    return stored


def _decode_all(
    manifest: Manifest, hashes: list[str], size: int, workers: int, preparation: Preparation | None
) -> Iterator[bytes | FilmError]:
    """Yield the bytes that are kept of every film, or its error, in the order of the table."""

    def decode(item: tuple[FilmRecord, str]) -> bytes | FilmError:
        return _decode(manifest, *item, size, preparation)

    # The reader silences Pillow's warnings for each film, and threads would disturb each other's filters.
    with warnings.catch_warnings():
        yield from in_threads(decode, zip(manifest.films, hashes, strict=True), workers, ahead=workers * 8)


def _decode(
    manifest: Manifest, record: FilmRecord, expected: str, size: int, preparation: Preparation | None
) -> bytes | FilmError:
    try:
        source = manifest.source(record)
        if isinstance(source, np.ndarray):
            film = read(source, min_side=1, name=_NAME)
        else:
            data = read_bytes(source)
            if hashlib.sha256(data).hexdigest() != expected:
                raise DataDamagedError(
                    f"{source} changed while it was read.", "Run again when copying is finished."
                )
            film = read(data, name=_NAME)
        kept = squash(film, size) if preparation is None else preparation.prepare(film, record)
        return kept.tobytes()
    except FilmError as refusal:
        return refusal


def _as_cache(manifest: Manifest, hashes: list[str], stored: Stored) -> FilmCache:
    refused = tuple(
        RefusedFilm(manifest.films[row].path, code, message.replace(_NAME, manifest.films[row].path))
        for row, code, message in stored.refused
    )
    if not stored.index:
        first = f" The first: {refused[0].message}" if refused else ""
        raise NothingUsableError(
            f"none of the {len(manifest)} films in {manifest.root} can be read.", first.strip()
        )
    content = {
        film.path: value for film, value in zip(manifest.films, hashes, strict=True) if len(value) == 64
    }
    return FilmCache(
        images=stored.images,
        index=np.array(stored.index, dtype=np.int64),
        refused=refused,
        content_sha256=content,
        data_sha256=_data_sha256(manifest, hashes),
    )


def _data_sha256(manifest: Manifest, hashes: list[str]) -> str:
    rows = sorted((film.path, film.label, value) for film, value in zip(manifest.films, hashes, strict=True))
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
