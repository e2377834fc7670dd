"""What an archive reads: its inputs, streamed from folders, patterns, lists and object stores into numbered shards; model and options.

    OUT/_pneumoscan/shards/000000     the first inputs, each followed by NUL
    OUT/_pneumoscan/shards/000001     the next ones
    OUT/_pneumoscan/plan.json         which model reads them, with which options; written once, after the listing

Memory holds one shard, and the names of at most one folder of an object store.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from pneumoscan import __version__
from pneumoscan.archive.storage import Folder, file_system, is_url, tried
from pneumoscan.bundle.contents import SPEC
from pneumoscan.classifier import model_name
from pneumoscan.errors import DataDamagedError, UsageError
from pneumoscan.files import sha256_of
from pneumoscan.predict.sources import expand

if TYPE_CHECKING:
    from pneumoscan.bundle.load import Bundle

SHARDS = "_pneumoscan/shards"
_MAGIC = frozenset("*?[")


@dataclass(frozen=True)
class Listing:
    """What was listed.

    Attributes:
        sha256: Of all inputs in order, each followed by NUL.
    """

    inputs: int
    shards: int
    sha256: str


def inputs_of(
    names: Iterable[str],
    out: str,
    *,
    recursive: bool = True,
    stdin: BinaryIO | None = None,
    note: Callable[[str], None] | None = None,
) -> Iterator[str]:
    """Yield the path or URL of every input in order, without the files in the folder `out`.

    Args:
        names: As for `predict.sources.expand`, and URLs of objects, folders or patterns.
        out: Folder of the answers, which may lie among the films.
        recursive: Read the subfolders of folders too.
        stdin: For the name `-`.
        note: As for `expand`.
    """
    for name in names:
        found = (
            _objects(name, recursive)
            if is_url(name)
            else expand([name.removeprefix("file://")], recursive=recursive, stdin=stdin, note=note)
        )
        yield from _outside(found, out)


def write_shards(folder: Folder, inputs: Iterable[str], size: int) -> Listing:
    """Write inputs into shards of `size` and return what they are."""
    return _shard(inputs, size, folder)


def described(inputs: Iterable[str], size: int) -> Listing:
    """Return what `write_shards` would, without writing."""
    return _shard(inputs, size, None)


def read_shard(folder: Folder, number: int) -> list[str]:
    """Return the inputs of a shard.

    Raises:
        DataDamagedError: The file has gone.
    """
    data = folder.read(_name(number))
    if data is None:
        raise DataDamagedError(
            f"{folder.where}/{_name(number)} has gone.", "Begin again with another folder for the answers."
        )
    return [os.fsdecode(part) for part in data.split(b"\0")[:-1]]


def _name(number: int) -> str:
    return f"{SHARDS}/{number:06d}"


def _shard(inputs: Iterable[str], size: int, folder: Folder | None) -> Listing:
    digest, count, shards = hashlib.sha256(), 0, 0
    held: list[bytes] = []

    def close() -> None:
        nonlocal shards
        data = b"".join(held)
        digest.update(data)
        if folder is not None:
            folder.write(_name(shards), data)
        shards += 1
        held.clear()

    for path in inputs:
        held.append(os.fsencode(path) + b"\0")
        count += 1
        if len(held) == size:
            close()
    if held:
        close()
    return Listing(count, shards, digest.hexdigest())


def _outside(paths: Iterable[str], out: str) -> Iterator[str]:
    """Leave out what lies in the folder of the answers. Their names are compared first, for few paths can lie there."""
    if is_url(out):
        yield from (path for path in paths if not path.startswith(f"{out.rstrip('/')}/"))
        return
    inside = os.path.join(os.path.realpath(out.removeprefix("file://")), "")  # noqa: PTH118
    name = os.path.basename(inside[:-1])  # noqa: PTH119
    for path in paths:
        if name not in path or not os.path.realpath(path).startswith(inside):
            yield path


def _objects(url: str, recursive: bool) -> Iterator[str]:
    """Yield the objects at a URL: itself, those of a folder, or the matches of a pattern."""
    files, path = file_system(url)
    scheme = url.partition("://")[0]
    if not _MAGIC.isdisjoint(path):
        found = iter(sorted(tried(lambda: files.glob(path), f"list {url}")))
    elif _is_folder(files, path, url):
        found = _inside(files, path, recursive)
    else:
        found = iter(())
    empty = True
    for name in found:
        empty = False
        yield _url(scheme, name)
    if empty:
        # What does not exist becomes a refused row.
        yield url


def _is_folder(files: Any, path: str, url: str) -> bool:
    try:
        return bool(tried(lambda: files.isdir(path), f"look at {url}"))
    except FileNotFoundError:
        return False


def _inside(files: Any, folder: str, recursive: bool) -> Iterator[str]:
    """Yield the objects of a folder by name, by the rules of `predict.sources.expand`."""
    found = tried(lambda: files.ls(folder, detail=True), f"list {folder}")
    entries = sorted((str(entry["name"]).rstrip("/"), entry["type"] == "directory") for entry in found)
    del found
    for path, is_folder in entries:
        name = path.rpartition("/")[2]
        # Some stores list the folder itself.
        if path == folder or name.startswith(".") or name == "DICOMDIR":
            continue
        if not is_folder:
            yield path
        elif recursive:
            yield from _inside(files, path, recursive)


def _url(scheme: str, path: str) -> str:
    return path if path.startswith(f"{scheme}://") else f"{scheme}://{path}"


# The plan


PLAN = "_pneumoscan/plan.json"
LOCK = "_pneumoscan/lock"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ArchiveSettings:
    """What the rows of an archive depend on, besides its inputs.

    Attributes:
        model_sha256: SHA-256 of the model's `model.json`, which has the hashes of its other files.
        threshold: In [0, 1].
        pneumoscan_version: The version that reads the films.
    """

    model: str
    model_sha256: str
    threshold: float
    format: str  # `parquet` or `csv`
    part_size: int
    pneumoscan_version: str = __version__


@dataclass(frozen=True)
class ArchivePlan:
    """The content of `plan.json`.

    Attributes:
        sources: The names that were given for them.
        created: When they had been listed, UTC.
    """

    settings: ArchiveSettings
    listing: Listing
    sources: tuple[str, ...]
    created: str

    def to_json(self) -> dict[str, Any]:
        """Return it in the types of JSON."""
        return {
            "schema_version": SCHEMA_VERSION,
            "created": self.created,
            "sources": list(self.sources),
            **asdict(self.listing),
            **asdict(self.settings),
        }


def model_facts(bundle: "Bundle") -> dict[str, str]:
    """Return what identifies a model: `model` and `model_sha256` of `ArchiveSettings`."""
    return {"model": model_name(bundle), "model_sha256": sha256_of(bundle.path / SPEC)}


def write_plan(
    folder: Folder, settings: ArchiveSettings, listing: Listing, sources: tuple[str, ...]
) -> ArchivePlan:
    """Write the plan and return it; from then on it stays as it is."""
    plan = ArchivePlan(settings, listing, sources, datetime.now(UTC).isoformat(timespec="seconds"))
    folder.write(PLAN, (json.dumps(plan.to_json(), indent=2) + "\n").encode())
    return plan


def read_plan(folder: Folder) -> ArchivePlan | None:
    """Return the plan of a folder; None if the inputs have not been listed yet.

    Raises:
        DataDamagedError: The file is no plan.
    """
    data = folder.read(PLAN)
    if data is None:
        return None
    try:
        values = json.loads(data)
        settings = ArchiveSettings(**{field.name: values[field.name] for field in fields(ArchiveSettings)})
        listing = Listing(**{field.name: values[field.name] for field in fields(Listing)})
        if values["schema_version"] == SCHEMA_VERSION:
            return ArchivePlan(settings, listing, tuple(values["sources"]), values["created"])
    except (ValueError, KeyError, TypeError):
        pass
    raise DataDamagedError(
        f"{folder.where}/{PLAN} is no plan of this version.", "Choose another folder for the answers."
    )


def check_settings(plan: ArchivePlan, settings: ArchiveSettings, where: str) -> None:
    """Raise UsageError if a folder was begun with other settings."""
    then, now = asdict(plan.settings), asdict(settings)
    differing = [name for name in then if then[name] != now[name]]
    if differing:
        told = "; ".join(f"{name.replace('_', ' ')} {then[name]}, not {now[name]}" for name in differing)
        raise UsageError(
            f"{where} was begun with {told}.", "Repeat the first command, or choose another --out."
        )


def check_listing(plan: ArchivePlan, listing: Listing, where: str) -> None:
    """Raise UsageError if the inputs are not those of the plan."""
    if listing != plan.listing:
        counts = f"{plan.listing.inputs} inputs, now there are {listing.inputs}"
        what = counts if listing.inputs != plan.listing.inputs else f"other inputs (also {listing.inputs})"
        raise UsageError(
            f"{where} was begun with {what}.",
            "Choose another --out; or give --listed to read what was listed then, whatever there is now.",
        )
