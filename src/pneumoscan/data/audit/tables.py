"""Counts: films by split and class, sizes and modes, films per patient, and patients in more than one split."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pneumoscan.data.audit.scan import FilmFacts, Scan
from pneumoscan.data.manifest import CLASS_NAMES, SPLITS, FilmRecord, Manifest


@dataclass(frozen=True)
class SplitCounts:
    """Figures of one split.

    Attributes:
        split: `train`, `val` or `test`.
        n_films: Rows of the table, including unreadable films.
        n_readable: Films that can be used.
        n_patients: Patients of these films.
        films: Rows by class name.
        patients: Patients by class name.
        causes: Rows by cause (`bacteria`, `virus`); empty if file names contain none.
        pneumonia_share: Share of PNEUMONIA among the rows, in [0, 1].
    """

    split: str
    n_films: int
    n_readable: int
    n_patients: int
    films: dict[str, int]
    patients: dict[str, int]
    causes: dict[str, int]
    pneumonia_share: float


@dataclass(frozen=True)
class Range:
    """Minimum, median and maximum."""

    min: float
    median: float
    max: float


@dataclass(frozen=True)
class Sizes:
    """Sizes, modes and formats of the readable films of one class, or of all.

    Attributes:
        name: Class name, or `all`.
        width: Width in pixels.
        height: Height in pixels.
        aspect: Width divided by height.
        n_bytes: Size of the file; zeros without files.
        brightness: Mean grey value in [0, 255].
        most_common: Up to five (`WIDTHxHEIGHT`, films).
        n_sizes: Number of different sizes.
        modes: Films by Pillow mode or dtype.
        formats: Films by format.
    """

    name: str
    width: Range
    height: Range
    aspect: Range
    n_bytes: Range
    brightness: Range
    most_common: tuple[tuple[str, int], ...]
    n_sizes: int
    modes: dict[str, int]
    formats: dict[str, int]


@dataclass(frozen=True)
class SharedPatient:
    """A patient number that occurs in more than one split, with the number of films in each."""

    patient_id: str
    films: dict[str, int]


@dataclass(frozen=True)
class Patients:
    """Films per patient (a patient number within a split), and numbers in several splits or classes.

    Attributes:
        n_patients: Different patient numbers.
        films_per_patient: Distribution over the patients of each split.
        histogram: Patients by number of films: `1`, `2`, `3`, `4`, `5-9`, `10+`.
        largest: Up to five (patient, films).
        across_splits: Numbers in more than one split, most films first.
        n_with_both_classes: Numbers with films of both classes.
    """

    n_patients: int
    films_per_patient: Range
    histogram: dict[str, int]
    largest: tuple[tuple[str, int], ...]
    across_splits: tuple[SharedPatient, ...]
    n_with_both_classes: int


def count_splits(manifest: Manifest, scan: Scan) -> tuple[SplitCounts, ...]:
    """Count the films of each split with films, in the order train, val, test."""
    readable = Counter[str](manifest.films[facts.index].split for facts in scan.facts)
    groups = [(split, [film for film in manifest.films if film.split == split]) for split in SPLITS]
    return tuple(_count(split, films, readable[split]) for split, films in groups if films)


def _count(split: str, films: Sequence[FilmRecord], n_readable: int) -> SplitCounts:
    of_class = {name: [f for f in films if f.label == label] for label, name in enumerate(CLASS_NAMES)}
    return SplitCounts(
        split=split,
        n_films=len(films),
        n_readable=n_readable,
        n_patients=_patients(films),
        films={name: len(rows) for name, rows in of_class.items()},
        patients={name: _patients(rows) for name, rows in of_class.items()},
        causes=dict(sorted(Counter(film.cause for film in films if film.cause).items())),
        pneumonia_share=len(of_class["PNEUMONIA"]) / len(films),
    )


def _patients(films: Iterable[FilmRecord]) -> int:
    return len({film.patient_id for film in films})


def measure_sizes(manifest: Manifest, scan: Scan) -> tuple[Sizes, ...]:
    """Measure all readable films, then each class separately."""
    groups = {"all": list(scan.facts)}
    for label, name in enumerate(CLASS_NAMES):
        groups[name] = [facts for facts in scan.facts if manifest.films[facts.index].label == label]
    return tuple(_sizes(name, facts) for name, facts in groups.items() if facts)


def _sizes(name: str, facts: Sequence[FilmFacts]) -> Sizes:
    def over(value: Callable[[FilmFacts], float]) -> Range:
        return _range([value(fact) for fact in facts])

    shapes = Counter(f"{fact.width}x{fact.height}" for fact in facts)
    return Sizes(
        name=name,
        width=over(lambda fact: fact.width),
        height=over(lambda fact: fact.height),
        aspect=over(lambda fact: fact.width / fact.height),
        n_bytes=over(lambda fact: fact.n_bytes),
        brightness=over(lambda fact: fact.brightness),
        most_common=tuple(shapes.most_common(5)),
        n_sizes=len(shapes),
        modes=dict(Counter(fact.mode for fact in facts).most_common()),
        formats=dict(Counter(fact.format for fact in facts).most_common()),
    )


def range_of(values: Sequence[float]) -> Range | None:
    """Return minimum, median and maximum; None without values."""
    return _range(values) if len(values) else None


def _range(values: Sequence[float]) -> Range:
    return Range(float(min(values)), float(np.median(values)), float(max(values)))


def count_patients(manifest: Manifest) -> Patients:
    """Count films per patient, and find the numbers in more than one split or class."""
    in_split = Counter[tuple[str, str]]((film.split, film.patient_id) for film in manifest.films)
    totals = Counter(film.patient_id for film in manifest.films)
    labels: dict[str, set[int]] = defaultdict(set)
    for film in manifest.films:
        labels[film.patient_id].add(film.label)
    return Patients(
        n_patients=len(totals),
        films_per_patient=_range(list(in_split.values())),
        histogram=_histogram(in_split.values()),
        largest=tuple(totals.most_common(5)),
        across_splits=_across_splits(in_split),
        n_with_both_classes=sum(len(found) > 1 for found in labels.values()),
    )


def _histogram(counts: Iterable[int]) -> dict[str, int]:
    bins = {"1": 0, "2": 0, "3": 0, "4": 0, "5-9": 0, "10+": 0}
    for count in counts:
        bins[str(count) if count < 5 else "5-9" if count < 10 else "10+"] += 1
    return bins


def _across_splits(in_split: Counter[tuple[str, str]]) -> tuple[SharedPatient, ...]:
    films: dict[str, dict[str, int]] = defaultdict(dict)
    for split in SPLITS:
        for (found, patient_id), count in in_split.items():
            if found == split:
                films[patient_id][split] = count
    shared = [SharedPatient(patient_id, counts) for patient_id, counts in films.items() if len(counts) > 1]
    return tuple(sorted(shared, key=lambda patient: (-sum(patient.films.values()), patient.patient_id)))
