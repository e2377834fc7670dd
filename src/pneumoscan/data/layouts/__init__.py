"""From a path to a `Manifest`: a folder by split and class, a table in a CSV file, or arrays in an `.npz` file."""

from pathlib import Path

from pneumoscan.data.layouts.arrays import load_npz
from pneumoscan.data.layouts.folder import load_folder
from pneumoscan.data.layouts.table import load_csv
from pneumoscan.data.manifest import Manifest
from pneumoscan.errors import LayoutError

TABLE_NAMES = ("films.csv", "manifest.csv", "labels.csv")

LAYOUTS = """These layouts are understood:
    DIR/train/NORMAL/*.jpeg, DIR/train/PNEUMONIA/*.jpeg, and the same for val and test
        (also up to three folders further down, as in DIR/chest_xray/train/...)
    DIR/NORMAL/*.jpeg, DIR/PNEUMONIA/*.jpeg (all of it is train)
    FILE.csv with the columns path,label and, if you like, patient_id,split; or DIR/films.csv
    FILE.npz as PneumoniaMNIST has it: train_images, train_labels, val_images, ..."""

__all__ = ["LAYOUTS", "TABLE_NAMES", "load_manifest"]


def load_manifest(path: Path, *, labels_required: bool = True) -> Manifest:
    """Read which films there are at `path`; no picture is opened.

    Args:
        path: A folder, a `.csv` file or a `.npz` file; see `LAYOUTS`.
        labels_required: False also takes a CSV without labels and a folder of films without class folders; their
            films get the label -1 and, without a split column, the split `test`.

    Raises:
        LayoutError: There is nothing at `path`, or its layout is not known, or a table has an error.
        DataDamagedError: An `.npz` file is damaged.
    """
    path = Path(path)
    if path.is_dir():
        manifest = _load_directory(path, labels_required)
    elif not path.exists():
        raise LayoutError(f"there is nothing at {path}.", "Check the path.\n" + LAYOUTS)
    elif path.suffix.lower() == ".npz":
        manifest = load_npz(path)
    elif path.suffix.lower() in {".csv", ".tsv"}:
        manifest = load_csv(path, labels_required=labels_required)
    else:
        raise LayoutError(f"{path} is neither a folder nor a .csv or .npz file.", LAYOUTS)
    if not manifest.films:
        raise LayoutError(f"no films at {path}.", LAYOUTS)
    return manifest


def _load_directory(path: Path, labels_required: bool) -> Manifest:
    manifest = load_folder(path)
    if manifest is not None:
        return manifest
    tables = [path / name for name in TABLE_NAMES if (path / name).is_file()]
    if len(tables) > 1:
        found = ", ".join(table.name for table in tables)
        raise LayoutError(f"{path} holds several tables of films: {found}.", "Name the one that is meant.")
    if tables:
        return load_csv(tables[0], labels_required=labels_required)
    if not labels_required and (manifest := load_folder(path, labelled=False)) is not None:
        return manifest
    raise LayoutError(f"no films in a known layout in {path}.", LAYOUTS)
