"""The labelled films of a hospital with the outputs of the model: logits, labels, patients, and what was left out."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from pneumoscan.bundle.load import Bundle
from pneumoscan.bundle.spec import CLASS_NAMES
from pneumoscan.data.manifest import FilmRecord, Manifest
from pneumoscan.errors import FilmError, NothingUsableError
from pneumoscan.evaluate.arrays import Floats, Labelled, Labels, check_patients
from pneumoscan.predict.batch import answers_of

Progress = Callable[[int, int], None]
LEAST_FILMS, LEAST_OF_A_CLASS, LEAST_PATIENTS = 20, 10, 5
FEW_FILMS = 50
COMPARED = 300


@dataclass(frozen=True)
class HospitalFilms(Labelled):
    """The films without copies, and the outputs of the model.

    Attributes:
        logits: float64 (n,), before the temperature.
        y_true: int64 (n,), 1 is PNEUMONIA.
        patients: int64 (n,), from 0.
        sha256: n hashes of the bytes of the films.
        inputs: float32 (m, channels, size, size), the inputs of the network for the first films, at most `COMPARED`.
        distances: float64 (n,), distances from the training films; None if the model has none.
        poor_lungs: bool (n,), whether the model labels the film UNSURE or NOT_A_CHEST_FILM for its lungs.
        unknown_patients: Films without a known patient; each counts as one patient.
        rows: int64 (n,), rows of the films in the manifest.
        refused: Films that could not be read: path, error code, message.
        notes: Sentences about what was left out, without names.
    """

    logits: Floats
    y_true: Labels
    patients: Labels
    sha256: tuple[str, ...]
    inputs: npt.NDArray[np.float32]
    distances: Floats | None
    poor_lungs: npt.NDArray[np.bool_]
    unknown_patients: int
    rows: Labels
    refused: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...]

    @property
    def n_patients(self) -> int:
        """Number of patients."""
        return int(self.patients.max()) + 1


@dataclass(frozen=True)
class _ReadFilm:
    """The result for one film."""

    film: FilmRecord
    row: int
    sha256: str = ""
    logit: float = float("nan")
    distance: float | None = None
    poor_lungs: bool = False
    batch: npt.NDArray[np.float32] | None = None
    error: FilmError | None = None


def read_films(
    bundle: Bundle, manifest: Manifest, *, workers: int | None = None, progress: Progress | None = None
) -> HospitalFilms:
    """Classify every film of a manifest, of all splits.

    Films that cannot be read, that the model was trained or selected on, and copies are left out. One of each group of
    copies stays, unless their labels differ.

    Args:
        bundle: The model, loaded with one thread.
        manifest: The labelled films.
        workers: Threads that decode and run the network; by default one more than cores, at most 8.
        progress: Called with films done and films in all.

    Raises:
        UsageError: `workers` is below 1.
        NothingUsableError: Too few films are left.
        BundleError: The network fails.
    """
    numbered = list(enumerate(manifest.films))
    answers = answers_of(partial(_read_one, bundle, manifest), numbered, workers=workers, progress=progress)
    refused = tuple((a.film.path, a.error.code, str(a.error)) for a in answers if a.error)
    kept, notes = _each_once([a for a in answers if not a.error], bundle.training_films())
    if refused:
        notes = [f"{_films(len(refused))} could not be read; `refused.csv` lists them.", *notes]
    _check_enough(kept, notes)
    unknown = sum(a.film.patient_id == PurePosixPath(a.film.path).stem for a in kept)
    if unknown:
        notes.append(f"{_films(unknown)} without a known patient: each counts as one patient.")
    return HospitalFilms(
        logits=np.array([a.logit for a in kept], np.float64),
        y_true=np.array([a.film.label for a in kept], np.int64),
        patients=check_patients([a.film.patient_id for a in kept], len(kept)),
        sha256=tuple(a.sha256 for a in kept),
        inputs=np.concatenate([a.batch for a in kept[:COMPARED] if a.batch is not None]),
        distances=_distances(kept),
        poor_lungs=np.array([a.poor_lungs for a in kept], np.bool_),
        unknown_patients=unknown,
        rows=np.array([a.row for a in kept], np.int64),
        refused=refused,
        notes=tuple(notes),
    )


def _read_one(bundle: Bundle, manifest: Manifest, numbered: tuple[int, FilmRecord]) -> _ReadFilm:
    index, record = numbered
    try:
        data = manifest.bytes_of(record)
        film = manifest.read(record)
    except FilmError as problem:
        return _ReadFilm(record, index, error=problem)
    batch, lungs = bundle.input_of(film)
    outputs = bundle.run(batch)
    distance = None if outputs.distance is None else float(outputs.distance[0])
    # More than are compared, because films may be left out later; not all, because there may be thousands.
    kept = batch if index < 2 * COMPARED else None
    poor = bool(bundle.spec.lungs and lungs and bundle.spec.lungs.judge(lungs)[1])
    digest = hashlib.sha256(data).hexdigest()
    return _ReadFilm(record, index, digest, float(outputs.logit[0]), distance, poor, kept)


def _distances(answers: Sequence[_ReadFilm]) -> Floats | None:
    known = [answer.distance for answer in answers if answer.distance is not None]
    return np.array(known, np.float64) if len(known) == len(answers) else None


def _each_once(answers: Sequence[_ReadFilm], used: frozenset[str]) -> tuple[list[_ReadFilm], list[str]]:
    """Leave out films that the model was trained or selected on, and copies."""
    notes = []
    fresh = [answer for answer in answers if answer.sha256 not in used]
    if len(fresh) < len(answers):
        notes.append(
            f"{_films(len(answers) - len(fresh))} left out: the model was trained or selected on them, so its figures would be too good."
        )
    if not used:
        notes.append("The model does not list its training films: it may have seen some of these.")
    labels: dict[str, set[int]] = {}
    for answer in fresh:
        labels.setdefault(answer.sha256, set()).add(answer.film.label)
    first: dict[str, _ReadFilm] = {}
    for answer in fresh:
        if len(labels[answer.sha256]) == 1:
            first.setdefault(answer.sha256, answer)
    torn = sum(len(labels[answer.sha256]) > 1 for answer in fresh)
    copies = len(fresh) - torn - len(first)
    if copies:
        notes.append(f"{_films(copies)} left out: exact copies of others.")
    if torn:
        notes.append(f"{_films(torn)} left out: the same image is labelled NORMAL and PNEUMONIA.")
    return list(first.values()), notes


def _check_enough(kept: Sequence[_ReadFilm], notes: Sequence[str]) -> None:
    films = Counter(answer.film.label for answer in kept)
    patients = {label: len({a.film.patient_id for a in kept if a.film.label == label}) for label in (0, 1)}
    counted = ", ".join(
        f"{films[label]} {name} of {patients[label]} patients" for label, name in enumerate(CLASS_NAMES)
    )
    if (
        len(kept) < LEAST_FILMS
        or min(films[0], films[1]) < LEAST_OF_A_CLASS
        or min(patients.values()) < LEAST_PATIENTS
    ):
        raise NothingUsableError(
            f"too few labelled films to adapt with: {counted}. {' '.join(notes)}".strip(),
            f"At least {LEAST_FILMS} films are needed, {LEAST_OF_A_CLASS} of each class, of {LEAST_PATIENTS} patients per "
            "class; 100 or more are better.",
        )


def _films(count: int) -> str:
    return "1 film" if count == 1 else f"{count:,} films"
