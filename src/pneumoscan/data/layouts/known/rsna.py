"""RSNA Pneumonia Detection Challenge (2018): frontal DICOM films of adults, labelled by radiologists.

G. Shih et al., "Augmenting the National Institutes of Health Chest Radiograph Dataset with Expert Annotations of Possible
Pneumonia", Radiology: Artificial Intelligence 1 (2019) e180041. The films are a part of NIH ChestX-ray14.
"""

from pathlib import Path

from pneumoscan.data.layouts.known.findings import passed_over
from pneumoscan.data.layouts.rows import check_columns, open_rows
from pneumoscan.data.manifest import Box, FilmRecord, Manifest, Reading
from pneumoscan.errors import LayoutError, UsageError

LABELS = "stage_2_train_labels.csv"
CLASSES = "stage_2_detailed_class_info.csv"
FILMS = "stage_2_train_images"
READING = "reading"
_READING_OF: dict[str, Reading] = {
    "normal": "NORMAL",
    "lung opacity": "OPACITY",
    "no lung opacity / not normal": "ABNORMAL",
}

_OVERLAP = (
    "the films are part of NIH ChestX-ray14 under other names: the two sets are not independent sites, and a film may be in "
    "both without being an exact copy."
)
_PATIENTS = "the set numbers films, not patients: every film counts as one patient."


def is_at(folder: Path) -> bool:
    """Return whether a folder contains the labels of the set."""
    return (folder / LABELS).is_file()


def load(folder: Path, findings: tuple[str, ...] = ()) -> Manifest:
    """Read the labelled films with their readings and boxes; all are train.

    With `stage_2_detailed_class_info.csv` the class Normal is NORMAL and Lung Opacity is PNEUMONIA. Films that are not normal
    but have no opacity are left out, or NORMAL if `findings` is `reading`. Without the file `Target` is the label.

    Raises:
        LayoutError: A table has other columns or values, or there are no films.
        UsageError: `findings` are given other than `reading`, or the file with the readings is missing.
    """
    if findings not in {(), (READING,)}:
        raise UsageError(
            f"the RSNA set has no finding {findings[0]!r}.", f"Give the folder alone, or FOLDER#{READING}."
        )
    if findings and not (folder / CLASSES).is_file():
        raise UsageError(
            f"{folder} has no {CLASSES}, which holds the readings.", "Put the publisher's file there."
        )
    labels, boxes = _targets(folder / LABELS)
    readings = _readings(folder / CLASSES) if (folder / CLASSES).is_file() else {}
    named = readings or labels
    there = _film_names(folder)
    kept = [name for name in named if findings or readings.get(name) != "ABNORMAL"]
    films = [
        FilmRecord(
            f"{FILMS}/{name}.dcm",
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
        *passed_over(len(named) - len(kept), "without opacity, yet not normal,"),
        *passed_over(len(kept) - len(films), "of the table without a file"),
    ]
    return Manifest(folder, "rsna-pneumonia", tuple(films), (*notes, _PATIENTS, _OVERLAP)).in_order()


def _readings(path: Path) -> dict[str, Reading]:
    header, rows = open_rows(path)
    check_columns(path, header, ("patientid", "class"))
    readings: dict[str, Reading] = {}
    for row in rows:
        named = row.cells.get("class", "").lower()
        if named not in _READING_OF:
            raise LayoutError(
                f"{row.place}, column class: {named!r}.", "Use the original file of the publisher."
            )
        readings[row.cells["patientid"]] = _READING_OF[named]
    return readings


def _targets(path: Path) -> tuple[dict[str, int], dict[str, tuple[Box, ...]]]:
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


def _film_names(folder: Path) -> set[str]:
    films = folder / FILMS
    names = {path.stem for path in films.glob("*.dcm")} if films.is_dir() else set()
    if not names:
        raise LayoutError(f"{folder} has no films in {FILMS}/.", f"Unpack {FILMS}.zip there.")
    return names
