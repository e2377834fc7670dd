"""Unpack an untrusted zip file. It is checked before a byte is written, and its bytes are counted while writing.

The standard library silently strips dangerous names and, in releases before 3.11.8, unpacks overlapping entries
(D. Fifield, "A better zip bomb", WOOT 2019). Here each of these is an error for the whole archive.
"""

import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pneumoscan.data.layouts.folder import has_film_name, is_hidden
from pneumoscan.data.manifest import CLASS_NAMES, SPLITS
from pneumoscan.errors import ArchiveError, LayoutError

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
