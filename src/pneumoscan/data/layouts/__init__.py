"""Read a `Manifest` from a folder by split and class, a CSV table, arrays in an `.npz` file, or a published set.

folder.py      folders by split and class; table.py: CSV; npz.py: `.npz`
known_sets.py  published sets in their original form
"""

import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pneumoscan.data.layouts.folder import load_folder
from pneumoscan.data.layouts.known_sets import KnownSet, known_set_at
from pneumoscan.data.layouts.npz import load_npz
from pneumoscan.data.layouts.table import REQUIRED, load_csv, names_columns
from pneumoscan.data.manifest import FilmRecord, Manifest
from pneumoscan.errors import LayoutError, UsageError

__all__ = [
    "LAYOUTS",
    "TABLE_NAMES",
    "Sources",
    "absolute",
    "as_words",
    "called",
    "combine",
    "load_manifest",
    "load_sites",
]


def with_site(manifest: Manifest, name: str) -> Manifest:
    """Set the site of films without one to `name`. Paths and patients do not change."""
    return replace(manifest, films=tuple(replace(film, site=film.site or name) for film in manifest.films))


def combine(manifests: Mapping[str, Manifest]) -> Manifest:
    """Combine the tables of several sites.

    Paths become `SITE/path` and patients `SITE/patient`. The site of a film is the name, unless its own table gives one.

    Args:
        manifests: Tables by name; names consist of letters, digits, `-` and `_`.

    Raises:
        UsageError: There are no tables, or a name has a slash or is empty.
    """
    if not manifests:
        raise UsageError("there are no tables to combine.", "Give at least one.")
    for name in manifests:
        if not name or "/" in name:
            raise UsageError(f"{name!r} is not a valid name of a site.", "Use letters, digits, - and _.")
    films = [_placed(film, name) for name, part in manifests.items() for film in part.films]
    notes = tuple(f"{name}: {note}" for name, part in manifests.items() for note in part.notes)
    root = _folder_of_all([part.root for part in manifests.values()])
    return Manifest(root, "sites", tuple(films), notes, parts=dict(manifests)).in_order()


def _placed(film: FilmRecord, name: str) -> FilmRecord:
    return replace(
        film,
        path=f"{name}/{film.path}",
        patient_id=f"{name}/{film.patient_id}",
        site=film.site or name,
    )


def _folder_of_all(roots: list[Path]) -> Path:
    try:
        return Path(os.path.commonpath([root.absolute() for root in roots]))
    except ValueError:
        # Folders on two drives of Windows have no common folder.
        return roots[0]


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


# Sources


Sources = str | Path | Sequence[str | Path]
"""One path, or several sources of the form `PATH` or `SITE=PATH`."""

_NAMED = re.compile(r"([A-Za-z0-9_-]+)=(.+)", re.DOTALL)


class FilmSource(NamedTuple):
    """The parts of a source.

    Attributes:
        name: Name of the site; empty if none was given.
        path: Path of the films.
        findings: Findings of a published set that count as PNEUMONIA; empty if not chosen.
    """

    name: str
    path: Path
    findings: tuple[str, ...]


def load_sites(sources: Sources) -> Manifest:
    """Read the films of one or several sites.

    One source without a name is read by `load_manifest`. The name of a single source becomes the site of its films, and
    nothing else changes. Several sources are combined by `combine`; one without a name is named after its published set,
    folder or file.

    Args:
        sources: One or several, each `PATH` or `SITE=PATH`, where SITE consists of letters, digits, `-` and `_`. The path of a
            published set may be followed by the findings that count as PNEUMONIA: `#Pneumonia,Consolidation`. A path that
            exists is always taken as a path.

    Raises:
        UsageError: There is no source, two have the same name, or there are no such findings.
        LayoutError, DataDamagedError: See `load_manifest`.
    """
    parsed = [_parsed(source) for source in as_tuple(sources)]
    if not parsed:
        raise UsageError("there are no films.", "Give a folder, a .csv or an .npz file.")
    if len(parsed) == 1:
        return _load(parsed[0])
    return combine({name: _load(source) for name, source in named_sources(sources).items()})


def named_sources(sources: Sources) -> dict[str, FilmSource]:
    """Return each source by the name of its site; one without a name is named after its published set, folder or file.

    Raises:
        UsageError: Two sources have the same name.
    """
    named: dict[str, FilmSource] = {}
    for source in map(_parsed, as_tuple(sources)):
        name = source.name or _name_of(source.path)
        if name in named:
            raise UsageError(
                f"{named[name].path} and {source.path} both have the name {name!r}.",
                "Give them different names: --data NAME=PATH.",
            )
        named[name] = source
    return named


def as_text(source: FilmSource) -> str:
    """Return a source in the form of the command line, with its absolute path."""
    named = f"{source.name}=" if source.name else ""
    chosen = f"#{','.join(source.findings)}" if source.findings else ""
    return f"{named}{source.path.absolute()}{chosen}"


def as_tuple(sources: Sources) -> tuple[str | Path, ...]:
    """Return one source or several as a tuple."""
    return (sources,) if isinstance(sources, str | Path) else tuple(sources)


def as_words(sources: Sources) -> str:
    """Return one or several sources as text for a message."""
    return ", ".join(str(source) for source in as_tuple(sources))


def absolute(sources: Sources) -> tuple[str, ...]:
    """Return the sources with absolute paths, independent of the working folder."""
    return tuple(as_text(_parsed(source)) for source in as_tuple(sources))


def called(sources: Sources) -> str:
    """Return the name of one source, or the names of several joined by `-`, for a folder."""
    parsed = [_parsed(source) for source in as_tuple(sources)]
    return "-".join(source.name or _name_of(source.path) for source in parsed)


def _load(source: FilmSource) -> Manifest:
    return load_manifest(source.path, site=source.name, findings=source.findings)


def _parsed(source: str | Path) -> FilmSource:
    if isinstance(source, Path) or Path(source).exists():
        return FilmSource("", Path(source), ())
    match = _NAMED.fullmatch(source)
    # A shell does not expand ~ after an = sign.
    name, path = (match[1], Path(match[2]).expanduser()) if match else ("", Path(source))
    folder, mark, findings = str(path).rpartition("#")
    if not mark or path.exists():
        return FilmSource(name, path, ())
    return FilmSource(name, Path(folder), tuple(each.strip() for each in findings.split(",") if each.strip()))


def _name_of(path: Path) -> str:
    """Return the name of a published set, or the folder's or file's: `chest xray.csv` is `chest-xray`."""
    full = path.absolute().resolve()
    if full.is_dir() and (known := known_set_at(full)):
        return known.name
    name = full.name if full.is_dir() else full.stem
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "films"
