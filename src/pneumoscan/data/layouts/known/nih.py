"""NIH ChestX-ray14: 112,120 frontal films of adults, with findings mined from their reports.

X. Wang et al., "ChestX-ray8: Hospital-scale Chest X-ray Database", CVPR 2017. The table is `Data_Entry_2017.csv`, in its
later edition `Data_Entry_2017_v2020.csv`; the films are in `images/` or in `images_001/images/` to
`images_012/images/`.
"""

from collections import Counter
from pathlib import Path

from pneumoscan.data.layouts.known.findings import NO_FINDING, chosen, in_words, passed_over
from pneumoscan.data.layouts.rows import Row, check_columns, open_rows
from pneumoscan.data.layouts.table import view_of, years_of
from pneumoscan.data.manifest import FilmRecord, Manifest
from pneumoscan.errors import LayoutError

TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
TEST_LIST = "test_list.txt"
COLUMNS = ("image index", "finding labels", "patient id")


def is_at(folder: Path) -> bool:
    """Return whether a folder contains the table of the set."""
    return any((folder / name).is_file() for name in TABLES)


def load(folder: Path, findings: tuple[str, ...] = ()) -> Manifest:
    """Read the set: films with a chosen finding are PNEUMONIA, films with `No Finding` NORMAL.

    The films in `test_list.txt` are test, all others train.

    Args:
        folder: Folder of the table.
        findings: Findings that count as PNEUMONIA; by default `Pneumonia`.

    Raises:
        LayoutError: The table has other columns, or there are no films.
        UsageError: The set has no such finding.
    """
    table = next(folder / name for name in TABLES if (folder / name).is_file())
    header, found = open_rows(table)
    check_columns(table, header, COLUMNS)
    rows = list(found)
    positive = chosen(findings, {name for row in rows for name in _findings(row)} | {"Pneumonia"})
    places, tests = _places(folder), _listed(folder / TEST_LIST)
    passed, films = Counter[str](), []
    for row in rows:
        label, place = _label(row, positive), places.get(row.cells["image index"])
        if label is None:
            passed[f"with other findings than {in_words(positive)}"] += 1
        elif place is None:
            passed["of the table without a file"] += 1
        else:
            films.append(_film(row, place, label, is_test=row.cells["image index"] in tests))
    notes = [note for what, count in sorted(passed.items()) for note in passed_over(count, what)]
    return Manifest(folder, "nih-chestxray14", tuple(films), tuple(notes)).in_order()


def _findings(row: Row) -> list[str]:
    return [name.strip() for name in row.cells["finding labels"].split("|")]


def _label(row: Row, positive: tuple[str, ...]) -> int | None:
    names = _findings(row)
    if any(name in positive for name in names):
        return 1
    return 0 if names == [NO_FINDING] else None


def _film(row: Row, place: str, label: int, *, is_test: bool) -> FilmRecord:
    return FilmRecord(
        path=place,
        label=label,
        split="test" if is_test else "train",
        patient_id=row.cells["patient id"] or row.cells["image index"].split("_")[0],
        view=view_of(row.cells.get("view position", "")),
        age=years_of(row.cells.get("patient age", "")),
    )


def _places(folder: Path) -> dict[str, str]:
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


def _listed(path: Path) -> set[str]:
    return set(path.read_text(encoding="utf-8").split()) if path.is_file() else set()
