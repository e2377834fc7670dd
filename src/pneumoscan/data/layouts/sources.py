"""Read one table of films from one or several sources `PATH` or `SITE=PATH`."""

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


def named_sources(sources: Sources) -> dict[str, Source]:
    """Return each source by the name of its site; one without a name is named after its published set, folder or file.

    Raises:
        UsageError: Two sources have the same name.
    """
    named: dict[str, Source] = {}
    for source in map(_parsed, as_tuple(sources)):
        name = source.name or _name_of(source.path)
        if name in named:
            raise UsageError(
                f"{named[name].path} and {source.path} both have the name {name!r}.",
                "Give them different names: --data NAME=PATH.",
            )
        named[name] = source
    return named


def as_text(source: Source) -> str:
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


def _load(source: Source) -> Manifest:
    return load_manifest(source.path, site=source.name, findings=source.findings)


def _parsed(source: str | Path) -> Source:
    if isinstance(source, Path) or Path(source).exists():
        return Source("", Path(source), ())
    match = _NAMED.fullmatch(source)
    # A shell does not expand ~ after an = sign.
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
