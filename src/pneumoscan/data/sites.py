"""Films of several sites in one table, with distinct paths and patients."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pneumoscan.data.manifest import FilmRecord, Manifest
from pneumoscan.errors import UsageError


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
