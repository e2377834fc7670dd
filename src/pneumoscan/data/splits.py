"""The hold-out of the split `train`: by patient and exact copy, stratified by label, cause and site, reproducible."""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pneumoscan.bundle.spec import CLASS_NAMES
from pneumoscan.data.manifest import FilmRecord, Manifest
from pneumoscan.errors import ConfigError, DataDamagedError, NothingUsableError
from pneumoscan.files import write_table

COLUMNS = ("path", "label", "patient_id", "part")

Stratum = tuple[int, str | None, str]
"""Label, cause and site."""


@dataclass(frozen=True)
class HoldOut:
    """Two parts of a table without common patients or exact copies.

    Attributes:
        train: Indices of the training films, ascending.
        val: Indices of the held-out films, ascending.
        seed: Seed of the hold-out; -1 if it was read from a file.
        fraction: The requested share of `val`; the actual share if it was read from a file.
    """

    train: tuple[int, ...]
    val: tuple[int, ...]
    seed: int
    fraction: float


@dataclass(frozen=True)
class _PatientGroup:
    """Films that stay together: their indices, their number in each stratum, and a random number from seed and name."""

    members: tuple[int, ...]
    counts: Counter[Stratum]
    draw: bytes

    def has(self, label: int) -> bool:
        return any(stratum[0] == label for stratum in self.counts)

    @property
    def sites(self) -> set[str]:
        return {site for _, _, site in self.counts}


def hold_out(
    manifest: Manifest, *, fraction: float = 0.15, seed: int = 0, duplicates: Mapping[str, str] | None = None
) -> HoldOut:
    """Hold out whole patients of a table, with the same proportions of labels, causes and sites.

    Groups are visited in random order. A group goes to `val` if this brings the numbers of its strata (label, cause and site)
    closer to their targets. Every site with two or more patients is in both parts. The result depends on the rows and the
    seed, not on the order of the rows.

    Args:
        manifest: The table; usually `of_split("train")`.
        fraction: Share of the films to hold out, above 0 and below 1.
        seed: A different seed gives other patients.
        duplicates: Content hash by path; films with the same hash stay together.

    Raises:
        ConfigError: `fraction` is not between 0 and 1.
        NothingUsableError: A class has too few patients for two parts.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"the fraction to hold out is {fraction!r}.", "It must lie between 0 and 1.")
    groups = _groups(manifest, seed, duplicates or {})
    _check_enough(groups)
    groups.sort(key=lambda group: group.draw)
    chosen = _draw(groups, fraction)
    _mend_sites(groups, chosen)
    _mend(groups, chosen)
    val = {index for group, taken in zip(groups, chosen, strict=True) if taken for index in group.members}
    train = tuple(index for index in range(len(manifest)) if index not in val)
    return HoldOut(train=train, val=tuple(sorted(val)), seed=seed, fraction=fraction)


def _groups(manifest: Manifest, seed: int, duplicates: Mapping[str, str]) -> list[_PatientGroup]:
    """Join films that share a patient or a hash, directly or indirectly (union-find)."""
    parent = list(range(len(manifest)))

    def find(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[tuple[str, str], int] = {}
    for index, film in enumerate(manifest.films):
        keys = [("patient", film.patient_id)]
        if film.path in duplicates:
            keys.append(("content", duplicates[film.path]))
        for key in keys:
            parent[find(index)] = find(first.setdefault(key, index))
    members: dict[int, list[int]] = {}
    for index in range(len(manifest)):
        members.setdefault(find(index), []).append(index)
    return [_group(manifest.films, indices, seed) for indices in members.values()]


def _group(films: tuple[FilmRecord, ...], members: list[int], seed: int) -> _PatientGroup:
    counts = Counter((films[index].label, films[index].cause, films[index].site) for index in members)
    name = min(films[index].path for index in members)
    draw = hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()
    return _PatientGroup(tuple(members), counts, draw)


def _check_enough(groups: list[_PatientGroup]) -> None:
    for label, name in enumerate(CLASS_NAMES):
        number = sum(group.has(label) for group in groups)
        if number < 2:
            raise NothingUsableError(
                f"{name} has {number} patient{'' if number == 1 else 's'}, too few to hold some out.",
                "Both classes need at least 2 patients (files named by the Kaggle rules, or a patient_id column).",
            )


def _draw(groups: list[_PatientGroup], fraction: float) -> list[bool]:
    """Return for every group whether it goes to `val`.

    A pass moves each group in turn, in or out, if this reduces the sum over the strata of the squared distance from the
    target. The first pass fills `val`; later ones correct the effect of groups with several strata. It terminates, because
    every move reduces a sum that has a minimum.
    """
    total = sum((group.counts for group in groups), Counter[Stratum]())
    missing = {stratum: fraction * count for stratum, count in total.items()}
    chosen, moved = [False] * len(groups), True
    while moved:
        moved = False
        for index, group in enumerate(groups):
            way = -1 if chosen[index] else 1
            gain = sum(
                count * (2 * way * missing[stratum] - count) for stratum, count in group.counts.items()
            )
            # Above the rounding of the sums; otherwise a move could be repeated for ever.
            if gain > 1e-6:
                chosen[index], moved = not chosen[index], True
                missing = {stratum: left - way * group.counts[stratum] for stratum, left in missing.items()}
    return chosen


def _mend_sites(groups: list[_PatientGroup], chosen: list[bool]) -> None:
    """Give a site that is in one part only to the other too, by moving its smallest group."""
    sites = sorted(set[str]().union(*(group.sites for group in groups)))
    for site in sites if len(sites) > 1 else ():
        able = [index for index, group in enumerate(groups) if site in group.sites]
        if len(able) > 1 and len({chosen[index] for index in able}) == 1:
            moved = min(able, key=lambda index: (len(groups[index].members), groups[index].draw))
            chosen[moved] = not chosen[moved]


def _mend(groups: list[_PatientGroup], chosen: list[bool]) -> None:
    """See to it that each part has each class, by moving the smallest group that serves."""
    for label in range(len(CLASS_NAMES)):
        for part in (True, False):
            if any(taken == part and group.has(label) for group, taken in zip(groups, chosen, strict=True)):
                continue
            able = [index for index, group in enumerate(groups) if group.has(label)]
            chosen[min(able, key=lambda index: (len(groups[index].members), groups[index].draw))] = part
    for label, name in enumerate(CLASS_NAMES):
        parts = {taken for group, taken in zip(groups, chosen, strict=True) if group.has(label)}
        if len(parts) < 2:
            raise NothingUsableError(
                f"the patients cannot be divided so that both parts have {name}.", "Label more patients."
            )


def write_split_csv(path: Path, manifest: Manifest, hold: HoldOut) -> None:
    """Write which film is in which part: `path,label,patient_id,part` with part `train` or `val`.

    Raises:
        DiskFullError, NotWritableError: See `files.open_atomic`.
    """
    held = set(hold.val)
    films = [(manifest.films[index], index in held) for index in sorted((*hold.train, *hold.val))]
    rows = [(film.path, film.label, film.patient_id, "val" if val else "train") for film, val in films]
    write_table(path, COLUMNS, rows, as_it_was=True)


def read_split_csv(path: Path, manifest: Manifest) -> HoldOut:
    """Read what `write_split_csv` wrote, and check it against the table.

    Every row must be in the table with the same label and patient, and no patient may be in both parts. Films of
    the table that the file does not name are in neither part.

    Raises:
        DataDamagedError: The file is missing, is no such table, or belongs to other films.
    """
    at = {film.path: index for index, film in enumerate(manifest.films)}
    parts: dict[int, str] = {}
    sides: dict[str, str] = {}
    for line, row in _split_rows(path):
        index = at.get(row["path"])
        if index is None:
            raise _mismatch(path, line, f"{row['path']!r} is not among the films")
        film = manifest.films[index]
        if index in parts or row["part"] not in {"train", "val"}:
            raise _mismatch(path, line, f"{row['path']!r} is listed twice or its part is {row['part']!r}")
        if (row["label"], row["patient_id"]) != (str(film.label), film.patient_id):
            raise _mismatch(path, line, f"{row['path']!r} has another label or patient now")
        if sides.setdefault(film.patient_id, row["part"]) != row["part"]:
            raise _mismatch(path, line, f"patient {film.patient_id!r} is in both parts")
        parts[index] = row["part"]
    if len(set(parts.values())) < 2:
        raise _mismatch(path, 1, "a part is empty")
    train, val = (tuple(sorted(i for i, part in parts.items() if part == name)) for name in ("train", "val"))
    return HoldOut(train=train, val=val, seed=-1, fraction=len(val) / len(parts))


def _split_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        if tuple(next(reader, ())) != COLUMNS:
            raise _mismatch(path, 1, f"the columns are not {','.join(COLUMNS)}")
        for cells in reader:
            if len(cells) != len(COLUMNS):
                raise _mismatch(path, reader.line_num, f"{len(cells)} cells")
            yield reader.line_num, dict(zip(COLUMNS, cells, strict=True))
    except OSError as problem:
        raise DataDamagedError(
            f"{path} cannot be read: {problem.strerror}.", "Create the split again."
        ) from problem
    except csv.Error as problem:
        raise DataDamagedError(f"{path} is not a table: {problem}.", "Create the split again.") from problem


def _mismatch(path: Path, line: int, what: str) -> DataDamagedError:
    return DataDamagedError(
        f"{path} line {line}: {what}.", "The split belongs to other films; create it again."
    )
