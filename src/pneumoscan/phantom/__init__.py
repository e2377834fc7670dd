"""Synthetic chest films from a model of a child's chest, to run the whole workflow without films of patients.

canvas.py     the projection plane, its shapes, and trees of vessels and bronchi
patient.py    the body, the position on a film, and the pneumonia
anatomy.py    the chest as path lengths: soft parts, lungs, bones
rendering.py  from path lengths to the pixels and the file of a film
foreign_pictures.py  pictures that are no upright frontal chest film, to try a detector on

The plan of a set and its folder are here.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np

from pneumoscan.data.manifest import SYNTHETIC_NOTICE
from pneumoscan.errors import UsageError, require
from pneumoscan.files import make_folder, write_atomic, write_problems
from pneumoscan.phantom.rendering import (
    COMMENT,
    DEFAULT_SIDE,
    SYNTHETIC_TEXT,
    Pixels,
    cause_of,
    draw_film,
    encode,
    encode_dicom,
    film_size,
)

__all__ = [
    "SYNTHETIC_TEXT",
    "PhantomFilm",
    "PlannedFilm",
    "cause_of",
    "draw_film",
    "film_size",
    "plan_phantom_set",
    "write_new_films",
    "write_phantom_set",
]


_VAL_FILMS = 16
_TEST_SHARE = 0.24
_POSITIVE_SHARE = {"train": 0.68, "val": 0.5, "test": 0.62}


@dataclass(frozen=True)
class PhantomFilm:
    """A synthetic film with its label and patient.

    Attributes:
        pixels: uint8 array (height, width).
        label: 1 is PNEUMONIA, 0 is NORMAL.
        patient_id: The patient in the film's name: `IM-0115` or `person12`.
        cause: `bacteria` or `virus`; None for a normal film.
        path: Path relative to the folder of the set, such as `train/NORMAL/IM-0115-0001.jpeg`.
    """

    pixels: Pixels
    label: int
    patient_id: str
    cause: str | None
    path: str


@dataclass(frozen=True)
class PlannedFilm:
    """A planned film.

    Attributes:
        path: Path relative to the folder of the set.
        patient_seed: Number of the patient.
        film_number: Number of the film of this patient.
        label: 1 is PNEUMONIA, 0 is NORMAL.
        patient_id: The patient in the film's name.
        cause: `bacteria` or `virus`; None for a normal film.
        seed: Seed of the set.
        side: Approximate longer side in pixels.
        colour: Whether it is saved as RGB although it is grey.
    """

    path: str
    patient_seed: int
    film_number: int
    label: int
    patient_id: str
    cause: str | None
    seed: int
    side: int
    colour: bool = False

    def draw(self) -> PhantomFilm:
        """Draw it."""
        size = film_size(self.patient_seed, self.film_number, side=self.side, seed=self.seed)
        pixels = draw_film(self.patient_seed, self.film_number, label=self.label, size=size, seed=self.seed)
        return PhantomFilm(pixels, self.label, self.patient_id, self.cause, self.path)


def plan_phantom_set(
    *, patients: int = 400, seed: int = 0, side: int = DEFAULT_SIDE
) -> tuple[PlannedFilm, ...]:
    """Return the films of a set in the order train, val, test, for `write_phantom_set`.

    Each split has its own patients. Train contains deliberate faults for an audit: films that occur twice under two names,
    one of them under another patient, and films saved in colour.

    Raises:
        UsageError: There are fewer than 24 patients, or films would be smaller than 64 pixels.
    """
    if patients < 24 or side < 64:
        raise UsageError(
            f"a synthetic set of {patients} patients and {side} pixels is too small.",
            "Ask for at least 24 patients and 64 pixels.",
        )
    rng = np.random.default_rng(np.random.SeedSequence([seed, 1]))
    numbers = rng.permutation(patients)
    test = round(patients * _TEST_SHARE)
    val = min(_VAL_FILMS, patients // 6)
    train_films = _plan_split(rng, "train", numbers[val + test :].tolist(), seed, side)
    return (
        *_with_traps(rng, train_films, patients),
        *_plan_split(rng, "val", numbers[:val].tolist(), seed, side, one_film=True),
        *_plan_split(rng, "test", numbers[val : val + test].tolist(), seed, side),
    )


def _plan_split(
    rng: np.random.Generator,
    split: str,
    numbers: Sequence[int],
    seed: int,
    side: int,
    *,
    one_film: bool = False,
) -> list[PlannedFilm]:
    sick = round(len(numbers) * _POSITIVE_SHARE[split])
    return [
        _plan_film(split, number, film, int(place < sick), seed, side)
        for place, number in enumerate(numbers)
        for film in range(1 if one_film else _film_count(rng))
    ]


def _film_count(rng: np.random.Generator) -> int:
    return int(rng.choice([1, 2, 3, 4], p=[0.32, 0.32, 0.22, 0.14]))


def _plan_film(split: str, number: int, film: int, label: int, seed: int, side: int) -> PlannedFilm:
    """Name a film as the Kaggle set does; `person12_bacteria_45` counts films through, so 4 numbers a patient."""
    cause = cause_of(number, seed=seed) if label else None
    patient_id = f"person{number + 1}" if label else f"IM-{number + 1:04d}"
    name = f"{patient_id}_{cause}_{4 * number + film + 1}" if label else f"{patient_id}-{film + 1:04d}"
    folder = "PNEUMONIA" if label else "NORMAL"
    return PlannedFilm(f"{split}/{folder}/{name}.jpeg", number, film, label, patient_id, cause, seed, side)


def _with_traps(rng: np.random.Generator, films: list[PlannedFilm], patients: int) -> list[PlannedFilm]:
    coloured, doubled = np.split(rng.permutation(len(films))[:6], 2)
    for place in coloured.tolist():
        films[place] = replace(films[place], colour=True)
    copies = [
        _copy_of(films[place], patients, other=turn == 0) for turn, place in enumerate(doubled.tolist())
    ]
    return films + copies


def _copy_of(film: PlannedFilm, patients: int, *, other: bool) -> PlannedFilm:
    """Return the same film with an unused film number, or with an unused patient."""
    number = patients if other else film.patient_seed
    number_of_film = 0 if other else 4 * (patients + 1)
    named = _plan_film("train", number, number_of_film, film.label, film.seed, film.side)
    path = named.path if film.cause is None else named.path.replace(f"_{named.cause}_", f"_{film.cause}_")
    return replace(film, path=path, patient_id=named.patient_id)


# The folder


NOTICE = SYNTHETIC_NOTICE
# Increase this when the drawing changes, so that a folder of an older version is not completed with newer films.
DRAWING = 1
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
    identity = f"seed={film.seed} side={film.side} {film.path}"
    content = encode_dicom(
        pixels, identity=identity, patient_id=film.patient_id, study_date=study_date, comment=COMMENT
    )
    write_atomic(folder / film.path, content)
