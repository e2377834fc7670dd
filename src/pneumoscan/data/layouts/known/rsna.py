"""RSNA Pneumonia Detection Challenge (2018): frontal DICOM films of adults, labelled by radiologists.

G. Shih et al., "Augmenting the National Institutes of Health Chest Radiograph Dataset with Expert Annotations of Possible
Pneumonia", Radiology: Artificial Intelligence 1 (2019) e180041. The films are a part of NIH ChestX-ray14.
"""

from pathlib import Path

from pneumoscan.data.layouts.known.findings import passed_over
from pneumoscan.data.layouts.rows import check_columns, open_rows
from pneumoscan.data.manifest import FilmRecord, Manifest
from pneumoscan.errors import LayoutError, UsageError

LABELS = "stage_2_train_labels.csv"
CLASSES = "stage_2_detailed_class_info.csv"
FILMS = "stage_2_train_images"
_LABEL_OF = {"normal": 0, "lung opacity": 1, "no lung opacity / not normal": None}

_OVERLAP = (
    "the films are part of NIH ChestX-ray14 under other names: the two sets are not independent sites, and a film may be in "
    "both without being an exact copy."
)
_PATIENTS = "the set numbers films, not patients: every film counts as one patient."


def is_at(folder: Path) -> bool:
    """Return whether a folder contains the labels of the set."""
    return (folder / LABELS).is_file()


def load(folder: Path, findings: tuple[str, ...] = ()) -> Manifest:
    """Read the labelled films; all are train.

    With `stage_2_detailed_class_info.csv` the class Normal is NORMAL, Lung Opacity is PNEUMONIA, and other films are left
    out. Without it `Target` is the label.

    Raises:
        LayoutError: A table has other columns or values, or there are no films.
        UsageError: `findings` are given; the set has none.
    """
    if findings:
        raise UsageError("the RSNA set has no findings to choose from.", "Give the folder alone.")
    labels = _by_class(folder / CLASSES) if (folder / CLASSES).is_file() else _by_target(folder / LABELS)
    there = _film_names(folder)
    films = [
        FilmRecord(f"{FILMS}/{name}.dcm", label, "train", name)
        for name, label in labels.items()
        if label is not None and name in there
    ]
    notes = [
        *passed_over(sum(label is None for label in labels.values()), "without opacity, yet not normal,"),
        *passed_over(
            sum(label is not None and name not in there for name, label in labels.items()),
            "of the table without a file",
        ),
    ]
    return Manifest(folder, "rsna-pneumonia", tuple(films), (*notes, _PATIENTS, _OVERLAP)).in_order()


def _by_class(path: Path) -> dict[str, int | None]:
    header, rows = open_rows(path)
    check_columns(path, header, ("patientid", "class"))
    labels: dict[str, int | None] = {}
    for row in rows:
        named = row.cells.get("class", "").lower()
        if named not in _LABEL_OF:
            raise LayoutError(
                f"{row.place}, column class: {named!r}.", "Use the original file of the publisher."
            )
        labels[row.cells["patientid"]] = _LABEL_OF[named]
    return labels


def _by_target(path: Path) -> dict[str, int | None]:
    """Read the labels; a film has one for each box."""
    header, rows = open_rows(path)
    check_columns(path, header, ("patientid", "target"))
    labels: dict[str, int | None] = {}
    for row in rows:
        target = row.cells.get("target", "")
        if target not in {"0", "1"}:
            raise LayoutError(f"{row.place}, column Target: {target!r}.", "A target is 0 or 1.")
        labels[row.cells["patientid"]] = int(target)
    return labels


def _film_names(folder: Path) -> set[str]:
    films = folder / FILMS
    names = {path.stem for path in films.glob("*.dcm")} if films.is_dir() else set()
    if not names:
        raise LayoutError(f"{folder} has no films in {FILMS}/.", f"Unpack {FILMS}.zip there.")
    return names
