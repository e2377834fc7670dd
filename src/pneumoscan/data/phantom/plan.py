"""The plan of a folder of synthetic films: patients, splits, labels and names. It depends only on its arguments."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pneumoscan.data.phantom.film import DEFAULT_SIDE, Pixels, cause_of, draw_film, film_size
from pneumoscan.errors import UsageError

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
