"""From what a user names, `PATH` or `SITE=PATH`, once or several times, to one table of films."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pneumoscan.data.layouts.known import known_set_at
from pneumoscan.data.layouts.load import load_manifest
from pneumoscan.data.manifest import Manifest
from pneumoscan.data.sites import combine
from pneumoscan.errors import UsageError

Sources = str | Path | Sequence[str | Path]
"""One path, or several sources of the form `PATH` or `SITE=PATH`."""

_NAMED = re.compile(r"([A-Za-z0-9_-]+)=(.+)", re.DOTALL)


class Source(NamedTuple):
    """A source in its parts.

    Attributes:
        name: Of the site; empty if none was given.
        path: Where the films are.
        findings: What counts as PNEUMONIA in a published set; empty if not chosen.
    """

    name: str
    path: Path
    findings: tuple[str, ...]


def load_sites(sources: Sources) -> Manifest:
    """Read the films of one or several places.

    One source without a name is what `load_manifest` reads. One with a name gives it to its films as their site, and
    nothing else changes. Several are joined as `combine` says; one without a name is called as its published set, folder
    or file.

    Args:
        sources: One or several, each `PATH` or `SITE=PATH`, where SITE is of letters, digits, `-` and `_`; after the path
            of a published set may stand `#Pneumonia,Consolidation`, what counts as PNEUMONIA. A path that exists is
            taken as a path, whatever it looks like.

    Raises:
        UsageError: There is no source, two have one name, or there are no such findings.
        LayoutError, DataDamagedError: As `load_manifest` says.
    """
    parsed = [_parsed(source) for source in as_tuple(sources)]
    if not parsed:
        raise UsageError("there are no films.", "Name a folder, a .csv or a .npz file.")
    if len(parsed) == 1:
        return _load(parsed[0])
    return combine({name: _load(source) for name, source in named_sources(sources).items()})


def named_sources(sources: Sources) -> dict[str, Source]:
    """Return each source by the name of its site; one without a name is called as its published set, folder or file.

    Raises:
        UsageError: Two have one name.
    """
    named: dict[str, Source] = {}
    for source in map(_parsed, as_tuple(sources)):
        name = source.name or _name_of(source.path)
        if name in named:
            raise UsageError(
                f"{named[name].path} and {source.path} are both called {name!r}.",
                "Name them apart: --data NAME=PATH.",
            )
        named[name] = source
    return named


def as_text(source: Source) -> str:
    """Return a source as a user would write it, with its whole path."""
    named = f"{source.name}=" if source.name else ""
    chosen = f"#{','.join(source.findings)}" if source.findings else ""
    return f"{named}{source.path.absolute()}{chosen}"


def as_tuple(sources: Sources) -> tuple[str | Path, ...]:
    """Return one source or several as a tuple."""
    return (sources,) if isinstance(sources, str | Path) else tuple(sources)


def as_words(sources: Sources) -> str:
    """Return one source or several for a message."""
    return ", ".join(str(source) for source in as_tuple(sources))


def absolute(sources: Sources) -> tuple[str, ...]:
    """Return the sources so that they mean the same films in every working folder."""
    return tuple(as_text(_parsed(source)) for source in as_tuple(sources))


def called(sources: Sources) -> str:
    """Return the name of one source, or the names of several joined by `-`, as for a folder."""
    parsed = [_parsed(source) for source in as_tuple(sources)]
    return "-".join(source.name or _name_of(source.path) for source in parsed)


def _load(source: Source) -> Manifest:
    return load_manifest(source.path, site=source.name, findings=source.findings)


def _parsed(source: str | Path) -> Source:
    if isinstance(source, Path) or Path(source).exists():
        return Source("", Path(source), ())
    match = _NAMED.fullmatch(source)
    # A shell leaves the ~ behind an = sign alone.
    name, path = (match[1], Path(match[2]).expanduser()) if match else ("", Path(source))
    folder, mark, findings = str(path).rpartition("#")
    if not mark or path.exists():
        return Source(name, path, ())
    return Source(name, Path(folder), tuple(each.strip() for each in findings.split(",") if each.strip()))


def _name_of(path: Path) -> str:
    """Return the name of a published set, or the folder's or file's: `chest xray.csv` is `chest-xray`."""
    full = path.absolute().resolve()
    if full.is_dir() and (known := known_set_at(full)):
        return known.name
    name = full.name if full.is_dir() else full.stem
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "films"
