"""The folder layout: DIR/SPLIT/CLASS/film, as in the Kaggle set "Chest X-Ray Images (Pneumonia)", and what its names tell."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pneumoscan.bundle.spec import CLASS_NAMES
from pneumoscan.data.manifest import FilmRecord, Manifest, Split
from pneumoscan.errors import LayoutError

# person1946_bacteria_4874, person124_virus_249, person63_virus_123_1
_PERSON = re.compile(r"(person\d+)_(bacteria|virus)_\d", re.IGNORECASE)
# IM-0115-0001, NORMAL2-IM-1427-0001, IM-0429-0001-0002
_NORMAL = re.compile(r"((?:NORMAL\d*-)?IM-\d+)-\d", re.IGNORECASE)
# BACTERIA-1008087-0001, VIRUS-1980593-0002, NORMAL-1003233-0001: the three share one numbering of patients
_MENDELEY = re.compile(r"(NORMAL|BACTERIA|BAC|VIRUS)-(\d+)-\d+$", re.IGNORECASE)


class NameFacts(NamedTuple):
    """Information from the file name of a film.

    Attributes:
        patient_id: The patient part of the name; the whole stem if the name follows no known rule.
        cause: `bacteria`, `virus`, or None if unknown.
    """

    patient_id: str
    cause: str | None


_SPLITS: dict[str, Split] = {"train": "train", "val": "val", "test": "test"}


def split_named(name: str) -> Split | None:
    """Return the split with a name, in upper or lower case; None if there is none."""
    return _SPLITS.get(name.strip().lower())


def facts_of(path: str) -> NameFacts:
    """Return patient and cause from the last part of a path (with `/`).

    Numbers may start again in the `test` folder of the Kaggle set. The same `patient_id` in `train` and `test` is therefore
    an indication, not a proof, of the same patient.
    """
    stem = PurePosixPath(path).stem or path
    if match := _PERSON.match(stem):
        return NameFacts(match[1], match[2].lower())
    if match := _NORMAL.match(stem):
        return NameFacts(match[1], None)
    if match := _MENDELEY.match(stem):
        cause = {"b": "bacteria", "v": "virus"}.get(match[1][0].lower())
        return NameFacts(match[2], cause)
    return NameFacts(stem, None)


# Folders


# The reader recognises formats by content; it refuses other formats in this list with a reason.
FILM_SUFFIXES = frozenset(
    (
        "jpeg",
        "jpg",
        "jpe",
        "jfif",
        "png",
        "tif",
        "tiff",
        "bmp",
        "gif",
        "webp",
        "jp2",
        "heic",
        "avif",
        "dcm",
        "dicom",
    )
)
MAX_DEPTH = 3
_MOST_NAMED = 8


@dataclass
class _Place:
    """A folder that may be the root of a data set: its class folders by (split, label), and its other content."""

    root: Path
    depth: int
    classes: list[tuple[Split, int, Path]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Return whether a split has both classes."""
        labels = Counter(split for split, _ in {(split, label) for split, label, _ in self.classes})
        return max(labels.values(), default=0) == 2

    @property
    def rank(self) -> tuple[int, int]:
        """Lower is better: complete sets first, then shallower ones."""
        return (0 if self.is_whole else 1, self.depth)


def is_hidden(name: str) -> bool:
    """Return whether a file or folder name is a hidden one of the operating system."""
    return name.startswith(".") or name in {"__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir"}


def has_film_name(name: str) -> bool:
    """Return whether a name may be that of a film: the extension of an image, an extension of digits, or none."""
    suffix = os.path.splitext(name)[1][1:].lower()  # noqa: PTH122 - names, not paths
    return not suffix or suffix.isdigit() or suffix in FILM_SUFFIXES


def load_folder(path: Path, *, labelled: bool = True) -> Manifest | None:
    """Read a folder layout; None if there is none.

    Args:
        path: The folder, or one at most three levels above it.
        labelled: False reads the films in `path` itself, without class folders; their label is -1.

    Raises:
        LayoutError: There are two data sets, or a folder cannot be listed.
    """
    if not labelled:
        place = _Place(path, 0, [("test", -1, path)])
    else:
        found = _choose(path, list(_places(path)))
        if found is None:
            return None
        place = found
        if beside := _beside(path, place.root):
            place.notes.append(
                f"folders beside {place.root.relative_to(path).as_posix()} ignored: {_some(beside)}."
            )
    return _manifest(place)


def _beside(path: Path, root: Path) -> list[str]:
    """Return the folders from `path` down to the data set that it is not in, relative to `path`."""
    way = [folder for folder in root.parents if folder == path or path in folder.parents]
    return sorted(
        each.relative_to(path).as_posix()
        for folder in way
        for each in _folders_if_listable(folder)
        if each not in {root, *way}
    )


def _some(names: list[str]) -> str:
    """Return the first names in words, and how many more there are."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _places(path: Path) -> Iterator[_Place]:
    """Search at most `MAX_DEPTH` levels down, breadth first, each real folder once, until a complete set is found."""
    level, seen, whole = [path], set[Path](), False
    for depth in range(MAX_DEPTH + 1):
        below: list[Path] = []
        for folder in level:
            # A link to a folder above would otherwise be searched again under another name.
            if folder.resolve() in seen:
                continue
            seen.add(folder.resolve())
            subfolders = _folders_if_listable(folder) if depth else _folders(folder)
            below += subfolders
            for place in (_by_split(folder, subfolders, depth), _by_class(folder, subfolders, depth)):
                if place.classes:
                    whole = whole or place.is_whole
                    yield place
        if whole:
            return
        level = below


def _by_split(folder: Path, subfolders: list[Path], depth: int) -> _Place:
    place = _Place(folder, depth)
    for subfolder in subfolders:
        split = split_named(subfolder.name)
        if split is None:
            place.others.append(subfolder.name)
            continue
        _add_classes(place, split, _folders(subfolder))
    return place


def _by_class(folder: Path, subfolders: list[Path], depth: int) -> _Place:
    """Treat the folder as one split: the one with its name, else train."""
    place = _Place(folder, depth)
    split = split_named(folder.name) or "train"
    _add_classes(place, split, subfolders)
    place.notes.append(f"{folder.name} has no split folders: all films count as {split}.")
    # A folder with split folders of the same rank takes precedence.
    place.depth += 1
    return place


def _add_classes(place: _Place, split: Split, subfolders: list[Path]) -> None:
    for subfolder in subfolders:
        name = subfolder.name.upper()
        if name not in CLASS_NAMES:
            place.others.append(subfolder.relative_to(place.root).as_posix())
        elif any(has_film_name(entry.name) and not is_hidden(entry.name) for entry in _entries(subfolder)):
            place.classes.append((split, CLASS_NAMES.index(name), subfolder))
        else:
            place.notes.append(f"{subfolder.relative_to(place.root).as_posix()} has no films.")


def _choose(path: Path, places: list[_Place]) -> _Place | None:
    """Return the shallowest complete data set; a deeper one is a copy, as in the Kaggle archive."""
    best = sorted(places, key=lambda place: (place.rank, str(place.root)))
    if not best:
        return None
    rivals = [place for place in best if place.rank == best[0].rank]
    if len(rivals) > 1:
        names = ", ".join(place.root.relative_to(path).as_posix() for place in rivals[:4])
        raise LayoutError(f"{path} contains several data sets: {names}.", "Give the folder of one of them.")
    return best[0]


def _manifest(place: _Place) -> Manifest:
    films: list[FilmRecord] = []
    passed: Counter[str] = Counter()
    for split, label, folder in place.classes:
        films += _films(place.root, folder, split, label, passed)
    notes = list(place.notes)
    if place.others:
        notes.append(f"folders ignored: {_some(sorted(place.others))}.")
    notes += [f"{count} {what} ignored." for what, count in sorted(passed.items())]
    return Manifest(root=place.root, layout="folder", films=tuple(films), notes=tuple(notes)).in_order()


def _films(root: Path, folder: Path, split: Split, label: int, passed: Counter[str]) -> Iterator[FilmRecord]:
    for entry in _entries(folder):
        if is_hidden(entry.name):
            passed["hidden files (.DS_Store, ._*)"] += 1
        elif entry.is_dir():
            passed["folders inside class folders"] += 1
        elif not has_film_name(entry.name):
            passed[f"files ending in {os.path.splitext(entry.name)[1].lower()}"] += 1  # noqa: PTH122
        else:
            path = (folder / entry.name).relative_to(root).as_posix()
            facts = facts_of(path)
            yield FilmRecord(path, label, split, facts.patient_id, facts.cause if label == 1 else None)


def _folders(folder: Path) -> list[Path]:
    return sorted(
        folder / entry.name for entry in _entries(folder) if entry.is_dir() and not is_hidden(entry.name)
    )


def _folders_if_listable(folder: Path) -> list[Path]:
    try:
        return _folders(folder)
    except LayoutError:
        return []


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as problem:
        raise LayoutError(
            f"{folder} cannot be listed: {problem.strerror}.", "Check its permissions."
        ) from problem
