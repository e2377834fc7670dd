"""Download the Kaggle set "Chest X-Ray Images (Pneumonia)" with kagglehub, or unpack it from a zip file.

D. Kermany, K. Zhang, M. Goldbaum, Mendeley Data, doi 10.17632/rscbjbr9sj; D. Kermany et al., Cell 172 (2018)
1122–1131. Licence CC BY 4.0.

A zip file is not trusted: it is checked before a byte is written, and its bytes are counted while writing. The standard library
silently strips dangerous names and, in releases before 3.11.8, unpacks overlapping entries (D. Fifield, "A better zip bomb",
WOOT 2019). Here each of these is an error for the whole archive.
"""

import os
import re
import shutil
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pneumoscan.bundle.spec import CLASS_NAMES
from pneumoscan.data.layouts import load_manifest
from pneumoscan.data.layouts.folder import has_film_name, is_hidden
from pneumoscan.data.manifest import SPLITS, Manifest
from pneumoscan.errors import (
    ArchiveError,
    DataDamagedError,
    LayoutError,
    NoNetworkError,
    UsageError,
    importing,
)
from pneumoscan.files import locked, make_folder, write_problems
from pneumoscan.system import sync_disks, sync_folder

MAX_TOTAL = 8 * 1024**3
MAX_FILE = 256 * 1024**2
MAX_ENTRIES = 100_000
MAX_RATIO = 100
RATIO_FROM = 1024**2
"""Smaller files may have any compression ratio."""

CHUNK = 1024**2

_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


@dataclass(frozen=True)
class ArchivedFilm:
    """A film in an archive: `split/CLASS`, file name, and name in the archive."""

    folder: str
    name: str
    archived: str


def plan(zip_path: Path) -> list[ArchivedFilm]:
    """Check an archive and return the films to unpack.

    Raises:
        ArchiveError: The file is not a zip file, is damaged, or has a dangerous entry.
        LayoutError: The archive contains no set.
    """
    with _opened(zip_path) as archive:
        _check(zip_path, archive)
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
    entries = _films(names)
    if not entries:
        inner = next((name for name in names if name.lower().endswith(".zip")), "")
        raise LayoutError(
            f"{zip_path} has no folders train/NORMAL, train/PNEUMONIA and the like.",
            f"Unpack {inner} from it and name that." if inner else "Is it the right archive?",
        )
    return entries


def extract(
    zip_path: Path,
    entries: list[ArchivedFilm],
    into: Path,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the planned films to `into/split/CLASS/name`, counting the actual bytes.

    Raises:
        ArchiveError: An entry is damaged or expands beyond a limit.
        DiskFullError, NotWritableError: If the caller converts the errors of the system.
    """
    total = 0
    with _opened(zip_path) as archive:
        for done, entry in enumerate(entries, start=1):
            target = into / entry.folder / entry.name
            target.parent.mkdir(parents=True, exist_ok=True)
            info = archive.getinfo(entry.archived)
            with target.open("xb") as file:
                total += _copy(zip_path, archive, info, file, MAX_TOTAL - total)
            if progress is not None:
                progress(done, len(entries))


@contextmanager
def _opened(zip_path: Path) -> Iterator[zipfile.ZipFile]:
    if not zip_path.is_file():
        raise ArchiveError(f"there is no file {zip_path}.", "Check the path.")
    try:
        archive = zipfile.ZipFile(zip_path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError) as problem:
        raise ArchiveError(
            f"{zip_path} is not a complete zip file: {problem}.", "Download it again."
        ) from problem
    with archive:
        yield archive


def _check(zip_path: Path, archive: zipfile.ZipFile) -> None:
    infos = archive.infolist()
    if len(infos) > MAX_ENTRIES:
        raise ArchiveError(f"{zip_path} has {len(infos)} entries.", f"At most {MAX_ENTRIES} are unpacked.")
    for info in infos:
        if problem := _problem(info):
            raise _harmful(zip_path, info, problem)
    seen: Counter[str] = Counter(_plain(info.filename).rstrip("/") for info in infos if _plain(info.filename))
    if (name := seen.most_common(1)[0] if seen else ("", 0))[1] > 1:
        raise ArchiveError(f"{zip_path} has {name[0]!r} {name[1]} times.", "It is not unpacked.")
    if sum(info.file_size for info in infos) > MAX_TOTAL:
        raise ArchiveError(f"{zip_path} declares more than {MAX_TOTAL >> 30} GiB.", "It is not unpacked.")
    _check_overlaps(zip_path, archive)


def _problem(info: zipfile.ZipInfo) -> str:
    """Return what is dangerous about an entry according to its header; an empty string if nothing is."""
    name = info.orig_filename
    kind = stat.S_IFMT(info.external_attr >> 16)
    findings = {
        "has no name": not name.strip("/"),
        "has control characters in its name": any(ord(character) < 32 for character in name),
        "has an absolute path": name.startswith("/"),
        "has a drive letter": re.match(r"[A-Za-z]:", name) is not None,
        "has a backslash in its path": "\\" in name,
        "has '..' in its path": ".." in name.split("/"),
        "has an overlong name": len(name.encode("utf-8", "surrogateescape")) > 1024,
        "is a link or a special file": kind not in {0, stat.S_IFREG, stat.S_IFDIR},
        "is encrypted": bool(info.flag_bits & 0x41),
        "is compressed in an unusual way": info.compress_type not in _METHODS,
        f"declares more than {MAX_FILE >> 20} MiB": info.file_size > MAX_FILE,
        f"declares a compression ratio above {MAX_RATIO}": _grows_too_much(
            info.file_size, info.compress_size
        ),
    }
    return next((finding for finding, true in findings.items() if true), "")


def _grows_too_much(size: int, compressed: int) -> bool:
    return size > RATIO_FROM and size > MAX_RATIO * compressed


def _check_overlaps(zip_path: Path, archive: zipfile.ZipFile) -> None:
    """Raise an error if entries overlap: by the local headers, each must end before the next begins."""
    infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    ends_at = 0
    with zip_path.open("rb") as file:
        for info in infos:
            if info.header_offset < ends_at:
                raise _harmful(zip_path, info, "overlaps another entry")
            file.seek(info.header_offset)
            header = file.read(30)
            if len(header) < 30 or header[:4] != b"PK\3\4":
                raise _harmful(zip_path, info, "has no local header where it should be")
            lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
            ends_at = info.header_offset + 30 + lengths + info.compress_size
            if ends_at > archive.start_dir:
                raise _harmful(zip_path, info, "overlaps the archive's directory")


def _films(names: list[str]) -> list[ArchivedFilm]:
    """Choose the shallowest data set in the archive; a deeper one is a second copy."""
    sets: dict[tuple[str, ...], list[ArchivedFilm]] = {}
    for name in names:
        *parts, file = _plain(name).split("/")
        if (
            len(parts) < 2
            or is_hidden(file)
            or any(is_hidden(part) for part in parts)
            or not has_film_name(file)
        ):
            continue
        split, label = parts[-2].lower(), parts[-1].upper()
        if split in SPLITS and label in CLASS_NAMES:
            sets.setdefault(tuple(parts[:-2]), []).append(ArchivedFilm(f"{split}/{label}", file, name))
    if not sets:
        return []
    shallowest = min(sets, key=lambda prefix: (len(prefix), -len(sets[prefix]), prefix))
    return sets[shallowest]


def _plain(name: str) -> str:
    """Return a name without the parts `.` and the empty parts, which mean nothing: `./a//b` is `a/b`."""
    return "/".join(part for part in name.split("/") if part not in {"", "."})


def _copy(zip_path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: BinaryIO, room: int) -> int:
    """Copy one entry and return its number of bytes, independent of its header."""
    written = 0
    for chunk in _chunks(zip_path, archive, info):
        written += len(chunk)
        if written > min(room, MAX_FILE) or _grows_too_much(written, info.compress_size):
            raise _harmful(zip_path, info, "expands beyond the limits")
        file.write(chunk)
    return written


def _chunks(zip_path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with archive.open(info) as source:
            while chunk := source.read(CHUNK):
                yield chunk
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as problem:
        raise ArchiveError(
            f"{zip_path}: {info.filename!r} is damaged: {problem}.", "Download the archive again."
        ) from problem


def _harmful(zip_path: Path, info: zipfile.ZipInfo, what: str) -> ArchiveError:
    return ArchiveError(f"{zip_path}: entry {info.orig_filename!r} {what}.", "The archive is not unpacked.")


Progress = Callable[[int, int], None]

KNOWN_COUNTS: dict[str, dict[str, int]] = {
    "Kaggle": {
        "train/NORMAL": 1341,
        "train/PNEUMONIA": 3875,
        "val/NORMAL": 8,
        "val/PNEUMONIA": 8,
        "test/NORMAL": 234,
        "test/PNEUMONIA": 390,
    },
    "Mendeley": {"train/NORMAL": 1349, "train/PNEUMONIA": 3883, "test/NORMAL": 234, "test/PNEUMONIA": 390},
}
"""Films by folder in the two editions of the set; that of Mendeley has the 16 films of val in train."""

__all__ = ["KNOWN_COUNTS", "Fetched", "fetch", "unpack"]


@dataclass(frozen=True)
class Fetched:
    """The downloaded set.

    Attributes:
        folder: The folder of the set, with `train` and `test` in it.
        counts: Films by `split/CLASS`, without empty folders.
        edition: `Kaggle` or `Mendeley` if the counts match, else an empty string.
    """

    folder: Path
    counts: dict[str, int]
    edition: str


def fetch(
    folder: Path, *, zip_path: Path | None = None, verify: bool = True, progress: Progress | None = None
) -> Fetched:
    """Write the set to `folder`, from a zip file or else from Kaggle.

    Args:
        folder: The target, absent or empty. It appears under its name when it is complete.
        zip_path: A zip file with the set, from Kaggle or Mendeley Data.
        verify: Require the numbers of films of a known edition.
        progress: Called with (films done, all films).

    Raises:
        UsageError: `folder` is not empty.
        ArchiveError: The zip file is damaged, or unpacking it would be dangerous.
        DataDamagedError: The numbers of films differ from the known editions.
        MissingDependencyError, NoNetworkError: Without a zip file: kagglehub is not installed, or the download failed.
        DiskFullError, NotWritableError, LockedError: The folder cannot be written.
    """
    if zip_path is not None:
        return unpack(zip_path, folder, verify=verify, progress=progress)
    _check_target(folder)
    manifest = load_manifest(download())
    counts = _count(f"{film.split}/{CLASS_NAMES[film.label]}" for film in manifest.films)
    edition = _check_counts(counts, verify)
    _lay_down(folder, lambda into: copy_films(manifest, into, progress))
    return Fetched(folder, counts, edition)


def unpack(zip_path: Path, folder: Path, *, verify: bool = True, progress: Progress | None = None) -> Fetched:
    """Unpack the films of a zip file into `folder`; see `fetch` for arguments and errors.

    Other entries are ignored: `__MACOSX`, hidden files, and the second copy of the set inside the Kaggle archive.
    """
    _check_target(folder)
    entries = plan(zip_path)
    counts = _count(entry.folder for entry in entries)
    edition = _check_counts(counts, verify)
    _lay_down(folder, lambda into: extract(zip_path, entries, into, progress))
    return Fetched(folder, counts, edition)


def _count(folders: Iterable[str]) -> dict[str, int]:
    found = Counter(folders)
    order = [f"{split}/{name}" for split in SPLITS for name in CLASS_NAMES]
    return {name: found[name] for name in order if found[name]}


def _check_counts(counts: Mapping[str, int], verify: bool) -> str:
    for edition, expected in KNOWN_COUNTS.items():
        if counts == expected:
            return edition
    if verify:
        expected = KNOWN_COUNTS["Kaggle"]
        counted = ", ".join(
            f"{name}: {counts.get(name, 0)} instead of {expected[name]}"
            for name in expected
            if counts.get(name, 0) != expected[name]
        )
        raise DataDamagedError(
            f"the set is not complete, or not the one expected: {counted}.",
            "Download it again, or add --no-verify to accept it. Nothing was written.",
        )
    return ""


def _check_target(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty.", "Give a new folder, or empty this one.")
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise UsageError(f"{place} is a file.", "Give a new folder.")


def _lay_down(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write to a folder beside the target, which is renamed to the target when it is complete."""
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - a link that is the target stays one
    make_folder(folder.parent)
    partial, lock = folder.parent / f".{folder.name}.partial", folder.parent / f".{folder.name}.lock"
    with locked(lock, what=str(folder)), write_problems(folder):
        _check_target(folder)
        # Left by a run that was killed: the lock shows that no process uses it.
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            fill(partial)
            # One flush for thousands of files, before the folder gets its name.
            sync_disks()
            partial.replace(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        finally:
            lock.unlink(missing_ok=True)
        sync_folder(folder.parent)


# Kaggle


DATASET = "paultimothymooney/chest-xray-pneumonia"

BY_HAND = (
    f"Download the zip file yourself, from https://www.kaggle.com/datasets/{DATASET} or from Mendeley Data "
    "(doi 10.17632/rscbjbr9sj, ChestXRay2017.zip), and run `pneumoscan data fetch DIR --zip FILE`."
)


def download() -> Path:
    """Download the set with kagglehub, about 2.3 GB, and return the folder in its cache.

    Raises:
        MissingDependencyError: kagglehub is not installed.
        NoNetworkError: The download failed.
    """
    with importing(otherwise=f"Or: {BY_HAND}"):
        import kagglehub
    try:
        return Path(kagglehub.dataset_download(DATASET))
    except Exception as problem:
        # kagglehub passes on errors of requests, urllib3 and its own code; users need only one.
        reason = str(problem).splitlines()[0][:200] if str(problem) else type(problem).__name__
        raise NoNetworkError(f"the download from Kaggle failed: {reason}", BY_HAND) from problem


def copy_films(manifest: Manifest, into: Path, progress: Callable[[int, int], None] | None) -> None:
    """Copy the films of a table to `into/split/CLASS/name`."""
    for done, film in enumerate(manifest.films, start=1):
        target = into / film.split / CLASS_NAMES[film.label] / Path(film.path).name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(manifest.root / film.path, target)
        if progress is not None:
            progress(done, len(manifest))
