"""Write a folder of synthetic films in the Kaggle layout, as JPEG or DICOM files, in several processes.

The plan depends only on the arguments of the set, and each film on its position in the plan. An interrupted run is therefore
completed by running it again: complete films stay, and the others are created.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from datetime import date
from io import BytesIO
from pathlib import Path

from PIL import Image

from pneumoscan.data.manifest import SYNTHETIC_NOTICE
from pneumoscan.data.phantom.film import DEFAULT_SIDE, Pixels
from pneumoscan.data.phantom.plan import PlannedFilm, plan_phantom_set
from pneumoscan.errors import UsageError, require
from pneumoscan.files import make_folder, write_atomic, write_problems

COMMENT = "pneumoscan phantom: synthetic, not a patient"
NOTICE = SYNTHETIC_NOTICE
# Increase this when the drawing changes, so that a folder of an older version is not completed with newer films.
DRAWING = 1
_IMAGE_DESCRIPTION = 270
# New films are of patients with numbers that no set reaches.
_NEW_PATIENTS = 1_000_000
_BATCH = 8


def write_phantom_set(
    folder: Path,
    *,
    patients: int = 400,
    seed: int = 0,
    side: int = DEFAULT_SIDE,
    workers: int | None = None,
    study_date: date | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write a set of synthetic films in the Kaggle layout, or complete one of an interrupted run.

    The films are created in new processes, so a script that calls this needs `if __name__ == "__main__"`.

    Args:
        folder: A new or empty folder, or a synthetic set with the same arguments.
        patients: Number of patients; each has one to four films.
        seed: Seed of the set; the same seed gives the same films.
        side: Approximate longer side of a film in pixels.
        workers: Number of processes; by default one per core.
        study_date: Makes DICOM files with this date of the study instead of JPEG files. An interrupted run may be completed with
            another date.
        progress: Called with (films done, all films).

    Returns:
        The number of films in the set.

    Raises:
        UsageError: The folder contains other files or another synthetic set, or the set would be too small.
        MissingDependencyError: DICOM files are wanted, and pydicom is not installed.
        DiskFullError, NotWritableError: See `files.write_atomic`.
    """
    plan = plan_phantom_set(patients=patients, seed=seed, side=side)
    made_with = f"patients={patients} seed={seed} side={side} drawing={DRAWING}"
    if study_date is not None:
        require("pydicom")
        made_with += " dicom"
        plan = tuple(replace(film, path=film.path.removesuffix(".jpeg") + ".dcm") for film in plan)
    _claim(folder, made_with)
    missing = [film for film in plan if not _is_whole(folder / film.path)]
    for parent in {(folder / film.path).parent for film in plan}:
        make_folder(parent)
    done = len(plan) - len(missing)
    if progress:
        progress(done, len(plan))
    for count in _write_all(folder, missing, workers, study_date):
        done += count
        if progress:
            progress(done, len(plan))
    return len(plan)


def write_new_films(folder: Path, *, count: int = 6, seed: int = 1, side: int = DEFAULT_SIDE) -> list[Path]:
    """Write films of new patients, alternately without and with pneumonia; their names do not reveal it.

    Args:
        folder: A new or empty folder, or one that this function wrote with the same arguments.
        count: Number of films.
        seed: Seed of the films.
        side: Approximate longer side of a film in pixels.

    Returns:
        The paths of the films.

    Raises:
        UsageError: The folder contains other files.
        DiskFullError, NotWritableError: See `files.write_atomic`.
    """
    _claim(folder, f"new films={count} seed={seed} side={side} drawing={DRAWING}")
    plan = [
        PlannedFilm(f"film-{n + 1:02d}.jpeg", _NEW_PATIENTS + n, 0, n % 2, f"new{n + 1}", None, seed, side)
        for n in range(count)
    ]
    for film in plan:
        if not _is_whole(folder / film.path):
            _write(folder, film, None)
    return [folder / film.path for film in plan]


def _claim(folder: Path, made_with: str) -> None:
    """Write the notice into a new folder; raise an error if the folder contains anything but the same set."""
    notice = folder / NOTICE
    text = (
        "SYNTHETIC: every film in this folder was drawn by pneumoscan from a model of a chest.\n"
        "None shows a patient. Never use them, or a model trained on them, to judge a real film.\n"
        f"{made_with}\n"
    )
    make_folder(folder)
    with write_problems(notice):
        if notice.is_file():
            found = notice.read_text(encoding="utf-8", errors="replace")
            if found == text:
                return
            raise UsageError(
                f"{folder} contains another synthetic set ({found.strip().splitlines()[-1:]}).",
                "Choose a new folder.",
            )
        # A killed run may leave a temporary file of the notice.
        if any(not entry.name.startswith(f".{NOTICE}.") for entry in folder.iterdir()):
            raise UsageError(
                f"{folder} is not empty and contains no synthetic set.", "Choose a new or empty folder."
            )
    write_atomic(notice, text)


def _is_whole(path: Path) -> bool:
    """Return whether a file is complete."""
    try:
        if path.suffix == ".dcm":  # written at once
            return path.stat().st_size > 0
        with path.open("rb") as file:
            file.seek(-2, os.SEEK_END)
            return file.read() == b"\xff\xd9"
    except OSError:
        return False


def _write_all(
    folder: Path, films: list[PlannedFilm], workers: int | None, study_date: date | None
) -> Iterator[int]:
    """Create films in separate processes; yield the number of new films after each batch."""
    batches = [films[start : start + _BATCH] for start in range(0, len(films), _BATCH)]
    processes = min(workers or os.cpu_count() or 1, len(batches))
    if processes <= 1:
        yield from (_write_batch(folder, batch, study_date) for batch in batches)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_ignore_interrupt) as pool:
        try:
            futures = [pool.submit(_write_batch, folder, batch, study_date) for batch in batches]
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _ignore_interrupt() -> None:
    """Ignore Ctrl-C, which the main process handles; it stops the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _write_batch(folder: Path, films: list[PlannedFilm], study_date: date | None) -> int:
    for film in films:
        _write(folder, film, study_date)
    return len(films)


def _write(folder: Path, film: PlannedFilm, study_date: date | None) -> None:
    pixels = film.draw().pixels
    if study_date is None:
        write_atomic(folder / film.path, encode(pixels, colour=film.colour))
        return
    from pneumoscan.data.phantom.dicom import encode_dicom  # pydicom is optional

    identity = f"seed={film.seed} side={film.side} {film.path}"
    content = encode_dicom(
        pixels, identity=identity, patient_id=film.patient_id, study_date=study_date, comment=COMMENT
    )
    write_atomic(folder / film.path, content)


def encode(pixels: Pixels, *, colour: bool = False) -> bytes:
    """Return a film as JPEG bytes whose comment and EXIF description mark it as synthetic."""
    exif = Image.Exif()
    exif[_IMAGE_DESCRIPTION] = COMMENT
    image = Image.fromarray(pixels).convert("RGB" if colour else "L")
    file = BytesIO()
    image.save(file, "JPEG", quality=92, comment=COMMENT, exif=exif)
    return file.getvalue()
