"""Counts: films by split and class, sizes and modes, films per patient, patients in more than one split, and the sites.

A network that recognises the site of a film can learn the prevalence at the site instead of the disease (Zech et al., PLoS
Medicine 15 (2018) e1002683).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pneumoscan.audit.scan import FilmFacts, Scan
from pneumoscan.audit.shortcuts import Features, Probe, guess, limited
from pneumoscan.bundle.spec import CLASS_NAMES
from pneumoscan.data.manifest import SPLITS, FilmRecord, Manifest


@dataclass(frozen=True)
class SplitCounts:
    """Figures of one split: rows of the table (`n_films`, unreadable ones too) and their patients, by class name and by cause."""

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
    """Sizes, modes and formats of the readable films of one class, or of `all`; `most_common` are up to five (`WIDTHxHEIGHT`, films)."""

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

    `histogram` has the bins `1`, `2`, `3`, `4`, `5-9`, `10+`; `largest` are up to five (patient, films).
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


# Sites


NO_SITE = "(not told)"
MAX_PROBED = 8


@dataclass(frozen=True)
class SiteFacts:
    """Figures of one site, `(not told)` for films without one. Rows count unreadable films too; sizes and grey values are of the others.

    Contrast is the standard deviation of the grey values of a film at 64×64, border the mean grey value of the outer frame.
    """

    site: str
    n_films: int
    n_readable: int
    n_patients: int
    pneumonia_share: float
    width: Range | None
    height: Range | None
    brightness: Range | None
    contrast: Range | None
    border: Range | None
    views: dict[str, int]
    age: Range | None


@dataclass(frozen=True)
class Sites:
    """Several sites, and the association of site and label.

    Attributes:
        sites: The sites in alphabetical order.
        split: Films of the measurements: `train`, or `all` if train has only one site.
        n_films: Films used.
        probes: For each of the largest sites, how well a thumbnail distinguishes its films from all others, if both groups
            have two patients. Of two sites only one is listed, because both have the same result.
        label_probe: How well the site alone predicts the label; None if it cannot be measured.
        cramers_v: Cramér's V between site and label, from 0 (no association) to 1 (one determines the other).
        note: A note if films were sampled; else empty.
        means: Mean thumbnail of each site, uint8 (64, 64); not in the JSON.
    """

    sites: tuple[SiteFacts, ...]
    split: str
    n_films: int
    probes: tuple[Probe, ...]
    label_probe: Probe | None
    cramers_v: float
    note: str
    means: dict[str, npt.NDArray[np.uint8]] = field(repr=False, compare=False)

    @property
    def best_seen(self) -> Probe | None:
        """The site that a thumbnail predicts best."""
        return max(self.probes, key=lambda probe: probe.roc_auc, default=None)


def compare_sites(scan: Scan, manifest: Manifest) -> Sites | None:
    """Compare the sites of a table; None if there is only one.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    names = manifest.site_names
    if len(names) < 2:
        return None
    sites, patients = manifest.sites[scan.index], manifest.patient_ids[scan.index]
    y_true = manifest.labels[scan.index]
    split, rows, note = _rows(manifest, scan, sites, patients)
    means = {
        name or NO_SITE: np.rint(scan.detail[sites == name].mean(axis=0)).astype(np.uint8)
        for name in names
        if (sites == name).any()
    }
    return Sites(
        sites=tuple(_facts(manifest, scan, name) for name in names),
        split=split,
        n_films=len(rows),
        probes=_seen(scan.coarse[rows], sites[rows], patients[rows]),
        label_probe=_label_probe(sites[rows], y_true[rows], patients[rows]),
        cramers_v=cramers_v(sites[rows], y_true[rows]),
        note=note,
        means=means,
    )


def cramers_v(one: npt.NDArray[np.generic], other: npt.NDArray[np.generic]) -> float:
    """Return Cramér's V of two columns of names, in [0, 1]; 0 if a column has only one name."""
    rows, columns = (np.unique(each, return_inverse=True)[1] for each in (one, other))
    table = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(table, (rows, columns), 1)
    if min(table.shape) < 2:
        return 0.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    chi_squared = ((table - expected) ** 2 / expected).sum()
    return float(np.sqrt(chi_squared / (table.sum() * (min(table.shape) - 1))))


def _rows(
    manifest: Manifest, scan: Scan, sites: npt.NDArray[np.str_], patients: npt.NDArray[np.str_]
) -> tuple[str, npt.NDArray[np.int64], str]:
    """Choose the films for the measurements: train, if it has several sites."""
    train = np.flatnonzero([manifest.films[index].split == "train" for index in scan.index])
    if len(np.unique(sites[train])) > 1:
        return "train", *limited(train, patients)
    return "all", *limited(np.arange(len(sites)), patients)


def _seen(
    thumbnails: Features, sites: npt.NDArray[np.str_], patients: npt.NDArray[np.str_]
) -> tuple[Probe, ...]:
    """Predict each of the larger sites from thumbnails."""
    names = [name for name, _ in Counter(sites.tolist()).most_common(MAX_PROBED)]
    found = []
    for name in sorted(names)[: 1 if len(names) == 2 else None]:
        sees = "the film at 20×20 pixels"
        probe = guess("site", name or NO_SITE, sees, thumbnails, (sites == name).astype(np.int64), patients)
        found += [probe] if probe else []
    return tuple(found)


def _label_probe(
    sites: npt.NDArray[np.str_], y_true: npt.NDArray[np.int64], patients: npt.NDArray[np.str_]
) -> Probe | None:
    one_hot = np.asarray(sites[:, None] == np.unique(sites)[None], dtype=np.float32)
    return guess("label", "Site", "where the film comes from; no pixel", one_hot, y_true, patients)


def _facts(manifest: Manifest, scan: Scan, site: str) -> SiteFacts:
    films = [film for film in manifest.films if film.site == site]
    rows = [row for row, facts in enumerate(scan.facts) if manifest.films[facts.index].site == site]
    facts: Sequence[FilmFacts] = [scan.facts[row] for row in rows]
    ages = [film.age for film in films if film.age is not None]
    return SiteFacts(
        site=site or NO_SITE,
        n_films=len(films),
        n_readable=len(rows),
        n_patients=len({film.patient_id for film in films}),
        pneumonia_share=sum(film.label for film in films) / len(films),
        width=range_of([fact.width for fact in facts]),
        height=range_of([fact.height for fact in facts]),
        brightness=range_of([fact.brightness for fact in facts]),
        contrast=range_of([float(scan.detail[row].std()) for row in rows]),
        border=range_of([float(scan.border[row].mean()) for row in rows]),
        views=dict(sorted(Counter(film.view for film in films if film.view).items())),
        age=range_of(ages),
    )


def one_class_of(facts: SiteFacts) -> str | None:
    """Return the class that all films of a site have, or None."""
    return CLASS_NAMES[round(facts.pneumonia_share)] if facts.pneumonia_share in {0.0, 1.0} else None
