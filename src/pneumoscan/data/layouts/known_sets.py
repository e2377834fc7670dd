"""Published sets in their original form, recognised by a file that only they have.

NIH ChestX-ray14: 112,120 frontal films of adults, with findings mined from their reports. X. Wang et al., "ChestX-ray8:
Hospital-scale Chest X-ray Database", CVPR 2017. The table is `Data_Entry_2017.csv`, in its later edition
`Data_Entry_2017_v2020.csv`; the films are in `images/` or in `images_001/images/` to `images_012/images/`.

RSNA Pneumonia Detection Challenge (2018): frontal DICOM films of adults, labelled by radiologists. G. Shih et al., "Augmenting
the National Institutes of Health Chest Radiograph Dataset with Expert Annotations of Possible Pneumonia", Radiology:
Artificial Intelligence 1 (2019) e180041. The films are a part of NIH ChestX-ray14.

CheXpert: 224,316 films of adults of one hospital, with findings mined from their reports. J. Irvin et al., "CheXpert: A Large
Chest Radiograph Dataset with Uncertainty Labels", AAAI 2019. The tables are `train.csv` and `valid.csv`; 1.0 means that a
finding is present, 0.0 that it is absent, -1.0 that the report is uncertain.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pneumoscan.data.layouts.table import Row, about_of, check_columns, names_columns, open_rows
from pneumoscan.data.manifest import Box, FilmRecord, Manifest, Reading, Split
from pneumoscan.errors import LayoutError, UsageError

_NO_FINDING, _PNEUMONIA = "No Finding", "Pneumonia"


def _chosen(asked: tuple[str, ...], there: Iterable[str]) -> tuple[str, ...]:
    """Return the findings that count as PNEUMONIA in the spelling of the set; `Pneumonia` if none is chosen.

    Raises:
        UsageError: The set has no such finding.
    """
    spelled = {name.lower(): name for name in there if name != _NO_FINDING}
    unknown = [name for name in asked if name.lower() not in spelled]
    if unknown:
        raise UsageError(
            f"the set has no finding {unknown[0]!r}.", f"Choose from {', '.join(sorted(spelled.values()))}."
        )
    return tuple(spelled[name.lower()] for name in asked) or (_PNEUMONIA,)


def _left_out(count: int, what: str) -> list[str]:
    """Return the note about films that were left out; none if there are none."""
    return [f"{count:,} film{'' if count == 1 else 's'} {what} left out."] if count else []


def _in_words(findings: tuple[str, ...]) -> str:
    """Return the findings as text for a note."""
    return " or ".join(findings)


# NIH ChestX-ray14


_NIH_TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
_NIH_TEST_LIST = "test_list.txt"
_NIH_COLUMNS = ("image index", "finding labels", "patient id")
_NIH_ABOUT = ("view position", "patient age", "patient gender")


def is_nih(folder: Path) -> bool:
    """Return whether a folder contains the table of the set."""
    return any((folder / name).is_file() for name in _NIH_TABLES)


def load_nih(folder: Path, findings: tuple[str, ...] = ()) -> Manifest:
    """Read the set: films with a chosen finding are PNEUMONIA, films with `No Finding` NORMAL.

    The films in `test_list.txt` are test, all others train.

    Args:
        folder: Folder of the table.
        findings: Findings that count as PNEUMONIA; by default `Pneumonia`.

    Raises:
        LayoutError: The table has other columns, or there are no films.
        UsageError: The set has no such finding.
    """
    table = next(folder / name for name in _NIH_TABLES if (folder / name).is_file())
    header, found = open_rows(table)
    check_columns(table, header, _NIH_COLUMNS)
    rows = list(found)
    positive = _chosen(findings, {name for row in rows for name in _nih_findings(row)} | {_PNEUMONIA})
    places, tests = _nih_places(folder), _nih_listed(folder / _NIH_TEST_LIST)
    passed, films = Counter[str](), []
    for row in rows:
        label, place = _nih_label(row, positive), places.get(row.cells["image index"])
        if label is None:
            passed[f"with other findings than {_in_words(positive)}"] += 1
        elif place is None:
            passed["of the table without a file"] += 1
        else:
            films.append(_nih_film(row, place, label, is_test=row.cells["image index"] in tests))
    notes = [note for what, count in sorted(passed.items()) for note in _left_out(count, what)]
    return Manifest(folder, "nih-chestxray14", tuple(films), tuple(notes)).in_order()


def _nih_findings(row: Row) -> list[str]:
    return [name.strip() for name in row.cells["finding labels"].split("|")]


def _nih_label(row: Row, positive: tuple[str, ...]) -> int | None:
    names = _nih_findings(row)
    if any(name in positive for name in names):
        return 1
    return 0 if names == [_NO_FINDING] else None


def _nih_film(row: Row, place: str, label: int, *, is_test: bool) -> FilmRecord:
    return FilmRecord(
        path=place,
        label=label,
        split="test" if is_test else "train",
        patient_id=row.cells["patient id"] or row.cells["image index"].split("_")[0],
        **about_of(row, _NIH_ABOUT, known=_NIH_COLUMNS[::2]),
    )


def _nih_places(folder: Path) -> dict[str, str]:
    """Return the paths of the films by file name, relative to the folder."""
    parts = [folder / "images", *sorted(folder.glob("images_*/images"))]
    places = {
        path.name: path.relative_to(folder).as_posix()
        for part in parts
        if part.is_dir()
        for path in part.iterdir()
        if path.suffix.lower() == ".png" and not path.name.startswith(".")
    }
    if not places:
        raise LayoutError(
            f"{folder} has no films in images/ or images_001/images/ to images_012/images/.",
            "Unpack the archives of the set there.",
        )
    return places


def _nih_listed(path: Path) -> set[str]:
    return set(path.read_text(encoding="utf-8").split()) if path.is_file() else set()


# RSNA Pneumonia Detection Challenge


_RSNA_LABELS = "stage_2_train_labels.csv"
_RSNA_CLASSES = "stage_2_detailed_class_info.csv"
_RSNA_FILMS = "stage_2_train_images"
_RSNA_READING = "reading"
_RSNA_READING_OF: dict[str, Reading] = {
    "normal": "NORMAL",
    "lung opacity": "OPACITY",
    "no lung opacity / not normal": "ABNORMAL",
}

_RSNA_OVERLAP = (
    "the films are part of NIH ChestX-ray14 under other names: the two sets are not independent sites, and a film may be in "
    "both without being an exact copy."
)
_RSNA_PATIENTS = "the set numbers films, not patients: every film counts as one patient."


def is_rsna(folder: Path) -> bool:
    """Return whether a folder contains the labels of the set."""
    return (folder / _RSNA_LABELS).is_file()


def load_rsna(folder: Path, findings: tuple[str, ...] = ()) -> Manifest:
    """Read the labelled films with their readings and boxes; all are train.

    With `stage_2_detailed_class_info.csv` the class Normal is NORMAL and Lung Opacity is PNEUMONIA. Films that are not normal
    but have no opacity are left out, or NORMAL if `findings` is `reading`. Without the file `Target` is the label.

    Raises:
        LayoutError: A table has other columns or values, or there are no films.
        UsageError: `findings` are given other than `reading`, or the file with the readings is missing.
    """
    if findings not in {(), (_RSNA_READING,)}:
        raise UsageError(
            f"the RSNA set has no finding {findings[0]!r}.",
            f"Give the folder alone, or FOLDER#{_RSNA_READING}.",
        )
    if findings and not (folder / _RSNA_CLASSES).is_file():
        raise UsageError(
            f"{folder} has no {_RSNA_CLASSES}, which holds the readings.", "Put the publisher's file there."
        )
    labels, boxes = _rsna_targets(folder / _RSNA_LABELS)
    readings = _rsna_readings(folder / _RSNA_CLASSES) if (folder / _RSNA_CLASSES).is_file() else {}
    named = readings or labels
    there = _rsna_film_names(folder)
    kept = [name for name in named if findings or readings.get(name) != "ABNORMAL"]
    films = [
        FilmRecord(
            f"{_RSNA_FILMS}/{name}.dcm",
            int(readings[name] == "OPACITY") if readings else labels[name],
            "train",
            name,
            reading=readings.get(name),
            boxes=boxes.get(name, ()),
        )
        for name in kept
        if name in there
    ]
    notes = [
        *_left_out(len(named) - len(kept), "without opacity, yet not normal,"),
        *_left_out(len(kept) - len(films), "of the table without a file"),
    ]
    return Manifest(
        folder, "rsna-pneumonia", tuple(films), (*notes, _RSNA_PATIENTS, _RSNA_OVERLAP)
    ).in_order()


def _rsna_readings(path: Path) -> dict[str, Reading]:
    header, rows = open_rows(path)
    check_columns(path, header, ("patientid", "class"))
    readings: dict[str, Reading] = {}
    for row in rows:
        named = row.cells.get("class", "").lower()
        if named not in _RSNA_READING_OF:
            raise LayoutError(
                f"{row.place}, column class: {named!r}.", "Use the original file of the publisher."
            )
        readings[row.cells["patientid"]] = _RSNA_READING_OF[named]
    return readings


def _rsna_targets(path: Path) -> tuple[dict[str, int], dict[str, tuple[Box, ...]]]:
    """Return the label and the boxes of each film; a film has a row for each box."""
    header, rows = open_rows(path)
    check_columns(path, header, ("patientid", "target"))
    labels: dict[str, int] = {}
    boxes: dict[str, tuple[Box, ...]] = {}
    for row in rows:
        target, name = row.cells.get("target", ""), row.cells["patientid"]
        if target not in {"0", "1"}:
            raise LayoutError(f"{row.place}, column Target: {target!r}.", "A target is 0 or 1.")
        labels[name] = int(target)
        sides = [row.cells.get(side, "") for side in ("x", "y", "width", "height")]
        if target == "1" and all(sides):
            try:
                left, top, width, height = map(float, sides)
            except ValueError:
                raise LayoutError(
                    f"{row.place}: a box is not four numbers.", "Use the original file of the publisher."
                ) from None
            boxes[name] = (*boxes.get(name, ()), (left, top, width, height))
    return labels, boxes


def _rsna_film_names(folder: Path) -> set[str]:
    films = folder / _RSNA_FILMS
    names = {path.stem for path in films.glob("*.dcm")} if films.is_dir() else set()
    if not names:
        raise LayoutError(f"{folder} has no films in {_RSNA_FILMS}/.", f"Unpack {_RSNA_FILMS}.zip there.")
    return names


# CheXpert


_CHEXPERT_TABLES: dict[str, Split] = {"train.csv": "train", "valid.csv": "val"}
_CHEXPERT_COLUMNS = ("path", "frontal/lateral", "no finding")
# The columns before the findings.
_CHEXPERT_ABOUT = ("path", "sex", "age", "frontal/lateral", "ap/pa")
_CHEXPERT_PATIENT = re.compile(r"patient\d+")
_CHEXPERT_TRIED = 50


def is_chexpert(folder: Path) -> bool:
    """Return whether a folder contains a table with the columns of the set."""
    return any(
        (folder / name).is_file() and names_columns(folder / name, _CHEXPERT_COLUMNS)
        for name in _CHEXPERT_TABLES
    )


def load_chexpert(folder: Path, findings: tuple[str, ...] = ()) -> Manifest:
    """Read the frontal films: those with a chosen finding are PNEUMONIA, those with `No Finding` NORMAL.

    Films whose chosen findings are uncertain, and films with neither, are left out. `valid.csv` is the split val.

    Args:
        folder: Folder of the tables.
        findings: Findings that count as PNEUMONIA; by default `Pneumonia`.

    Raises:
        LayoutError: A table has other columns, or its films are missing.
        UsageError: The set has no such finding.
    """
    passed, films = Counter[str](), list[FilmRecord]()
    for name, split in _CHEXPERT_TABLES.items():
        if (folder / name).is_file():
            films += _chexpert_films(folder, folder / name, split, findings, passed)
    notes = [note for what, count in sorted(passed.items()) for note in _left_out(count, what)]
    return Manifest(folder, "chexpert", tuple(films), tuple(notes)).in_order()


def _chexpert_films(
    folder: Path, table: Path, split: Split, findings: tuple[str, ...], passed: Counter[str]
) -> Iterator[FilmRecord]:
    header, found = open_rows(table)
    check_columns(table, header, _CHEXPERT_COLUMNS)
    positive = _chosen(findings, [name.title() for name in header if name and name not in _CHEXPERT_ABOUT])
    check_columns(table, header, [name.lower() for name in positive])
    rows = list(found)
    base = _chexpert_base(folder, table, rows)
    for row in rows:
        label = _chexpert_label(row, positive)
        path = base + _chexpert_inner(row)
        if isinstance(label, str):
            passed[label] += 1
        elif not (folder / path).is_file():
            passed["of the tables without a file"] += 1
        else:
            yield _chexpert_film(row, path, label, split)


def _chexpert_label(row: Row, positive: tuple[str, ...]) -> int | str:
    """Return the label, or the reason why the film has none."""
    if row.cells["frontal/lateral"].lower() != "frontal":
        return "of another view than frontal"
    marks = {_chexpert_mark(row, name) for name in positive}
    if 1.0 in marks:
        return 1
    if -1.0 in marks:
        return f"of uncertain {_in_words(positive)}"
    if _chexpert_mark(row, _NO_FINDING) == 1.0:
        return 0
    return f"with other findings than {_in_words(positive)}"


def _chexpert_mark(row: Row, finding: str) -> float:
    cell = row.cells.get(finding.lower(), "")
    try:
        return float(cell or 0)
    except ValueError:
        raise LayoutError(
            f"{row.place}, column {finding}: {cell!r}.", "A finding is 1.0, 0.0, -1.0 or empty."
        ) from None


def _chexpert_film(row: Row, path: str, label: int, split: Split) -> FilmRecord:
    patient = _CHEXPERT_PATIENT.search(path)
    return FilmRecord(
        path=path,
        label=label,
        split=split,
        patient_id=patient[0] if patient else path,
        **about_of(row, ("ap/pa", "age", "sex"), known=_CHEXPERT_ABOUT),
    )


def _chexpert_inner(row: Row) -> str:
    """Return the path relative to the folder of the set: `train/patient00001/…`."""
    first, _, rest = row.cells["path"].partition("/")
    return rest if first.lower().startswith("chexpert") else row.cells["path"]


def _chexpert_base(folder: Path, table: Path, rows: list[Row]) -> str:
    """Return the prefix between the folder and that of the set: empty, or the first part of the paths in the table."""
    for row in rows[:_CHEXPERT_TRIED]:
        outer = row.cells["path"].removesuffix(_chexpert_inner(row))
        for base in dict.fromkeys(("", outer)):
            if (folder / (base + _chexpert_inner(row))).is_file():
                return base
    raise LayoutError(
        f"none of the first films of {table} is in {folder}.", "Unpack the set's archive there."
    )


# Which of them is in a folder


@dataclass(frozen=True)
class KnownSet:
    """A published set: how it is recognised and read.

    Attributes:
        name: Name of the layout, and of the site of its films unless the user gives another.
        is_at: Returns whether a folder contains the set.
        load: Reads a folder; the findings count as PNEUMONIA, by default `Pneumonia`.
    """

    name: str
    is_at: Callable[[Path], bool]
    load: Callable[[Path, tuple[str, ...]], Manifest]


KNOWN_SETS = (
    KnownSet("nih-chestxray14", is_nih, load_nih),
    KnownSet("rsna-pneumonia", is_rsna, load_rsna),
    KnownSet("chexpert", is_chexpert, load_chexpert),
)


def known_set_at(folder: Path) -> KnownSet | None:
    """Return the published set in a folder, or None."""
    return next((known for known in KNOWN_SETS if known.is_at(folder)), None)
