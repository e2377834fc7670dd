"""Download the Kaggle set "Chest X-Ray Images (Pneumonia)" with kagglehub, or unpack it from a zip file.

D. Kermany, K. Zhang, M. Goldbaum, Mendeley Data, doi 10.17632/rscbjbr9sj; D. Kermany et al., Cell 172 (2018)
1122–1131. Licence CC BY 4.0.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pneumoscan.data.layouts import load_manifest
from pneumoscan.data.manifest import CLASS_NAMES, SPLITS, Manifest
from pneumoscan.data.unzip import extract, plan
from pneumoscan.errors import DataDamagedError, NoNetworkError, UsageError, importing
from pneumoscan.files import locked, make_folder, write_problems
from pneumoscan.system import sync_disks, sync_folder

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
