"""Recognise the layout at a path: a folder by split and class, a table, arrays in an `.npz` file, or a published set."""

import posixpath
from dataclasses import replace
from pathlib import Path

from pneumoscan.data.layouts.arrays import load_npz
from pneumoscan.data.layouts.folder import load_folder
from pneumoscan.data.layouts.known import KnownSet, known_set_at
from pneumoscan.data.layouts.rows import names_columns
from pneumoscan.data.layouts.table import REQUIRED, load_csv
from pneumoscan.data.manifest import Manifest
from pneumoscan.data.sites import with_site
from pneumoscan.errors import LayoutError, UsageError

TABLE_NAMES = ("films.csv", "manifest.csv", "labels.csv")

LAYOUTS = """These layouts are supported:
    DIR/train/NORMAL/*.jpeg, DIR/train/PNEUMONIA/*.jpeg, and the same for val and test
        (also up to three folders further down, as in DIR/chest_xray/train/...)
    DIR/NORMAL/*.jpeg, DIR/PNEUMONIA/*.jpeg (all films are train)
    FILE.csv with the columns path,label and optionally patient_id,split,site,view,age,sex,
        reading,mask,aerated; or DIR/films.csv
    FILE.npz in the form of PneumoniaMNIST: train_images, train_labels, val_images, ...
    Published sets in their original form: NIH ChestX-ray14 (DIR/Data_Entry_2017.csv), RSNA Pneumonia Detection Challenge
        (DIR/stage_2_train_labels.csv), CheXpert (DIR/train.csv)"""


def load_manifest(
    path: Path, *, labels_required: bool = True, site: str = "", findings: tuple[str, ...] = ()
) -> Manifest:
    """Read the table of films at `path`, without opening an image.

    Args:
        path: A folder, a `.csv` file or an `.npz` file; see `LAYOUTS`.
        labels_required: False also accepts a CSV without labels and a folder of films without class folders; their films
            get the label -1 and, without a split column, the split `test`.
        site: Site of films whose own table gives none; by default the name of a published set, else unknown.
        findings: Findings of a published set that count as PNEUMONIA, by default `Pneumonia`; for a table the column of the
            labels and the values that count, see `load_csv`.

    Raises:
        LayoutError: `path` does not exist, its layout is unknown, or a table has an error.
        DataDamagedError: An `.npz` file is damaged.
        UsageError: `findings` are given, but the set has no findings or not these.
    """
    path = Path(path)
    known = _published_set_at(path)
    is_table = path.suffix.lower() in {".csv", ".tsv"} and not path.is_dir()
    if findings and known is None and not is_table:
        raise UsageError(
            f"there are no findings to choose from at {path}.",
            "Tables have columns to choose from, NIH ChestX-ray14 and CheXpert in their published form have findings.",
        )
    if known is not None:
        manifest = known.load(path, findings)
    elif path.is_dir():
        manifest = _load_directory(path, labels_required)
    elif not path.exists():
        raise LayoutError(f"there is nothing at {path}.", "Check the path.\n" + LAYOUTS)
    elif path.suffix.lower() == ".npz":
        manifest = load_npz(path)
    elif is_table:
        manifest = load_csv(path, labels_required=labels_required, truth=findings)
    else:
        raise LayoutError(f"{path} is neither a folder nor a .csv or .npz file.", LAYOUTS)
    if not manifest.films:
        raise LayoutError(f"no films at {path}.", LAYOUTS)
    site = site or (known.name if known else "")
    return with_site(manifest, site) if site else manifest


def _published_set_at(path: Path) -> KnownSet | None:
    """Return the published set at a path, unless a table of the user is beside it."""
    if not path.is_dir() or ((own := _table_in(path)) and names_columns(own, REQUIRED)):
        return None
    return known_set_at(path)


def _load_directory(path: Path, labels_required: bool) -> Manifest:
    folder = load_folder(path)
    table = _table_in(path) or (_table_in(folder.root) if folder else None)
    if table is not None and (folder is None or names_columns(table, REQUIRED)):
        return _load_table(table, folder, labels_required)
    if folder is not None:
        note = f"{table.name} passed over: it has no columns path and label." if table else None
        return folder if note is None else replace(folder, notes=(*folder.notes, note))
    if not labels_required and (manifest := load_folder(path, labelled=False)) is not None:
        return manifest
    raise LayoutError(f"no films in a known layout in {path}.", LAYOUTS)


def _table_in(folder: Path) -> Path | None:
    tables = [folder / name for name in TABLE_NAMES if (folder / name).is_file()]
    if len(tables) > 1:
        found = ", ".join(table.name for table in tables)
        raise LayoutError(
            f"{folder} contains several tables of films: {found}.", "Give the path of one of them."
        )
    return tables[0] if tables else None


def _load_table(table: Path, folder: Manifest | None, labels_required: bool) -> Manifest:
    """Read a table that may lie beside class folders; they tell the split where the table does not."""
    if folder is None:
        return load_csv(table, labels_required=labels_required)
    splits = {
        posixpath.normpath((folder.root.relative_to(table.parent) / film.path).as_posix()): film.split
        for film in folder.films
    }
    manifest = load_csv(table, labels_required=labels_required, splits=splits)
    unnamed = len(splits.keys() - {film.path for film in manifest.films})
    note = f"the films are those of {table.name}; the class folders beside it are not read for themselves."
    if unnamed:
        note += f" They hold {unnamed} film{'' if unnamed == 1 else 's'} that the table does not name."
    return replace(manifest, notes=(*manifest.notes, note))
