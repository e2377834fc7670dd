"""From what a user names, `PATH` or `SITE=PATH`, once or several times, to one table of films."""

import re
from collections.abc import Sequence
from pathlib import Path

from pneumoscan.data.layouts.load import load_manifest
from pneumoscan.data.manifest import Manifest
from pneumoscan.data.sites import combine, with_site
from pneumoscan.errors import UsageError

Sources = str | Path | Sequence[str | Path]
"""One path, or several sources of the form `PATH` or `SITE=PATH`."""

_NAMED = re.compile(r"([A-Za-z0-9_-]+)=(.+)", re.DOTALL)


def load_sites(sources: Sources) -> Manifest:
    """Read the films of one or several places.

    One source without a name is what `load_manifest` reads. One with a name gives it to its films as their site, and
    nothing else changes. Several are joined as `combine` says; one without a name is called by its folder or file.

    Args:
        sources: One or several, each `PATH` or `SITE=PATH`, where SITE is of letters, digits, `-` and `_`. A path that
            exists is taken as a path, whatever it looks like.

    Raises:
        UsageError: There is no source, or two have one name.
        LayoutError, DataDamagedError: As `load_manifest` says.
    """
    pairs = [_name_and_path(source) for source in as_tuple(sources)]
    if not pairs:
        raise UsageError("there are no films.", "Name a folder, a .csv or a .npz file.")
    if len(pairs) == 1:
        name, path = pairs[0]
        return with_site(load_manifest(path), name) if name else load_manifest(path)
    named = named_sources(sources)
    return combine({name: load_manifest(path) for name, path in named.items()})


def named_sources(sources: Sources) -> dict[str, Path]:
    """Return the path of each site by its name; a source without a name is called by its folder or file.

    Raises:
        UsageError: Two have one name.
    """
    named: dict[str, Path] = {}
    for given, path in map(_name_and_path, as_tuple(sources)):
        name = given or _name_of(path)
        if name in named:
            raise UsageError(
                f"{named[name]} and {path} are both called {name!r}.", "Name them apart: --data NAME=PATH."
            )
        named[name] = path
    return named


def as_tuple(sources: Sources) -> tuple[str | Path, ...]:
    """Return one source or several as a tuple."""
    return (sources,) if isinstance(sources, str | Path) else tuple(sources)


def as_words(sources: Sources) -> str:
    """Return one source or several for a message."""
    return ", ".join(str(source) for source in as_tuple(sources))


def absolute(sources: Sources) -> tuple[str, ...]:
    """Return the sources so that they mean the same films in every working folder."""
    pairs = [_name_and_path(source) for source in as_tuple(sources)]
    return tuple(f"{name}={path.absolute()}" if name else str(path.absolute()) for name, path in pairs)


def called(sources: Sources) -> str:
    """Return the name of one source, or the names of several joined by `-`, as for a folder."""
    pairs = [_name_and_path(source) for source in as_tuple(sources)]
    return "-".join(name or _name_of(path) for name, path in pairs)


def _name_and_path(source: str | Path) -> tuple[str, Path]:
    match = None if isinstance(source, Path) or Path(source).exists() else _NAMED.fullmatch(source)
    # A shell leaves the ~ behind an = sign alone.
    return (match[1], Path(match[2]).expanduser()) if match else ("", Path(source))


def _name_of(path: Path) -> str:
    """Return the folder's or file's name as the name of a site: `chest xray.csv` is `chest-xray`."""
    full = path.absolute().resolve()
    name = full.name if full.is_dir() else full.stem
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "films"
