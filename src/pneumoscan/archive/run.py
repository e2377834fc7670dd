"""Read an archive: list its inputs, read them shard by shard, verify the parts. Every step goes on where it was."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pneumoscan.archive.inputs import (
    LOCK,
    ArchivePlan,
    ArchiveSettings,
    Listing,
    check_listing,
    check_settings,
    described,
    inputs_of,
    model_facts,
    read_plan,
    read_shard,
    write_plan,
    write_shards,
)
from pneumoscan.archive.shard import (
    Answered,
    ShardJob,
    ShardLauncher,
    answered,
    check_format,
    part_name,
    shown,
)
from pneumoscan.archive.storage import Folder, held, is_url, open_folder
from pneumoscan.errors import (
    DataDamagedError,
    EnvironmentProblemError,
    FilmNotFoundError,
    NothingUsableError,
    UsageError,
)

if TYPE_CHECKING:
    from pneumoscan.bundle.load import Bundle

MANIFEST, SUCCESS = "_manifest.json", "_SUCCESS"
# A part that is not what it should be is read again, once.
_ROUNDS = 2

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ArchiveOrder:
    """What is wanted.

    Attributes:
        out: Path or URL of the folder for the answers.
        threshold: In [0, 1].
        part_size: Rows of a part, at least 1.
        listed: Go on with the inputs that were listed at first, without listing again.
        note: Called with a sentence for each linked folder that is not followed.
    """

    sources: tuple[str, ...]
    out: str
    threshold: float
    format: str = "parquet"  # or `csv`
    part_size: int = 500
    recursive: bool = True
    listed: bool = False
    stdin: BinaryIO | None = None
    note: Callable[[str], None] | None = None


@dataclass(frozen=True)
class ArchiveOutcome:
    """What an archive has become.

    Attributes:
        inputs: Number of inputs, which is the number of rows.
        parts_before: Parts that an earlier call had written.
    """

    inputs: int
    ok: int
    refused: int
    parts: int
    parts_before: int

    @property
    def was_finished(self) -> bool:
        """Whether there was nothing to do."""
        return self.parts_before == self.parts


def run_archive(
    order: ArchiveOrder, bundle: "Bundle", launcher: ShardLauncher, report: Report
) -> ArchiveOutcome:
    """Read the films that have no row yet, and finish the folder when every input has one.

    Args:
        order: What is wanted.
        bundle: The model.
        launcher: Where films are read.
        report: Called with the step (`listing`, `reading`, `verifying`), the inputs or parts done, and all of them or 0.

    Raises:
        UsageError: The folder was begun with other inputs, another model or other options, or holds other files.
        NothingUsableError: There are no inputs.
        LockedError: Another process of this machine writes to the folder.
        DataDamagedError: A part is damaged and cannot be replaced.
        PneumoscanError: What else concerns every film; the same call goes on later.
    """
    check_format(order.format)
    folder = open_folder(order.out)
    settings = ArchiveSettings(
        **model_facts(bundle), threshold=order.threshold, format=order.format, part_size=order.part_size
    )
    _check_place(folder)
    with held(folder, LOCK):
        _remove_leftovers(folder)
        plan = _planned(folder, order, settings, report)
        if SUCCESS in folder.names():
            return _finished(folder, plan)
        job = ShardJob(_absolute(order.out), bundle.path.absolute(), settings)
        before, manifest = _read(folder, plan, job, launcher, report)
        folder.write(MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
        folder.write(SUCCESS, b"")
        return ArchiveOutcome(
            plan.listing.inputs, manifest["ok"], manifest["refused"], plan.listing.shards, before
        )


def _absolute(out: str) -> str:
    return out if is_url(out) else str(Path(out.removeprefix("file://")).absolute())


def _check_place(folder: Folder) -> None:
    """Raise UsageError if the folder holds something else than an archive."""
    names = folder.names()
    if names and not any(name.startswith("_pneumoscan") for name in names):
        raise UsageError(
            f"{folder.where} is not empty and holds no answers of this command.", "Choose another --out."
        )


def _remove_leftovers(folder: Folder) -> None:
    """Remove the incomplete files of processes that were killed (`files.open_atomic`)."""
    for name in folder.names():
        if name.startswith(".part-") and name.endswith(".tmp"):
            folder.remove(name)


def _planned(folder: Folder, order: ArchiveOrder, settings: ArchiveSettings, report: Report) -> ArchivePlan:
    """Return the plan of the folder, or list the inputs and write it."""
    plan = read_plan(folder)
    if plan is not None:
        check_settings(plan, settings, folder.where)
    if plan is not None and order.listed:
        return plan
    inputs = _counted(
        inputs_of(order.sources, order.out, recursive=order.recursive, stdin=order.stdin, note=order.note),
        report,
    )
    if plan is None:
        listing = write_shards(folder, inputs, order.part_size)
        _check_some(listing, order)
        return write_plan(folder, settings, listing, order.sources)
    check_listing(plan, described(inputs, order.part_size), folder.where)
    return plan


def _check_some(listing: Listing, order: ArchiveOrder) -> None:
    if not listing.inputs:
        raise NothingUsableError(
            f"there are no films in {', '.join(order.sources)}.", "Give films or folders of films."
        )


def _counted(inputs: Iterable[str], report: Report) -> Iterable[str]:
    for number, path in enumerate(inputs, 1):
        if number % 1000 == 0:
            report("listing", number, 0)
        yield path


def _read(
    folder: Folder, plan: ArchivePlan, job: ShardJob, launcher: ShardLauncher, report: Report
) -> tuple[int, dict[str, Any]]:
    """Write every part; return how many there were before, and the manifest."""
    listing, size = plan.listing, plan.settings.part_size
    before = -1
    for _ in range(_ROUNDS):
        there = folder.names()
        left = [n for n in range(listing.shards) if part_name(n, plan.settings.format) not in there]
        before = listing.shards - len(left) if before < 0 else before
        done = min(listing.inputs, size * (listing.shards - len(left)))
        report("reading", done, listing.inputs)
        for part in launcher.map(job, left):
            if not part.ok:
                _check_found(folder, plan, part.shard)
            done += part.ok + part.refused
            report("reading", min(done, listing.inputs), listing.inputs)
        manifest, damaged = verified(folder, plan, report)
        if not damaged:
            return before, manifest
        for name in damaged:
            folder.remove(name)
    raise DataDamagedError(
        f"{folder.where}/{damaged[0]} is not what was written, twice.", "Check the disk or the store."
    )


def _check_found(folder: Folder, plan: ArchivePlan, shard: int) -> None:
    """Raise an error if a worker found none of the films of a shard, which are here."""
    name = part_name(shard, plan.settings.format)
    unseen = _unseen(answered(folder.read(name) or b"", plan.settings.format))
    if unseen:
        raise EnvironmentProblemError(
            f"a worker does not find {unseen}, which this machine has.",
            "Every machine of the cluster must have the films at the same path.",
        )


def _unseen(rows: list[Answered]) -> str:
    """Return a film that is here, if its part found none of its films: the worker's machine does not have their disk."""
    if any(row.error_code != FilmNotFoundError.code for row in rows):
        return ""
    here = [row.path for row in rows if Path(row.path).exists()]
    return here[0] if here and len(here) == len(rows) else ""


def verified(folder: Folder, plan: ArchivePlan, report: Report) -> tuple[dict[str, Any], list[str]]:
    """Compare every part with its shard; return the manifest, and the names of the parts that do not fit."""
    counts: Counter[str] = Counter()
    parts: list[dict[str, Any]] = []
    damaged: list[str] = []
    for number in range(plan.listing.shards):
        name = part_name(number, plan.settings.format)
        data = folder.read(name)
        rows = None if data is None else _fitting(data, plan.settings, read_shard(folder, number))
        if data is None or rows is None:
            damaged.append(name)
        else:
            counts.update(row.status for row in rows)
            parts.append({"name": name, "rows": len(rows), "sha256": sha256(data).hexdigest()})
        report("verifying", number + 1, plan.listing.shards)
    told = {"ok": counts["ok"], "refused": counts["refused"], "plan": plan.to_json(), "parts": parts}
    if not damaged and sum(counts.values()) != plan.listing.inputs:
        raise DataDamagedError(
            f"{folder.where} has {sum(counts.values())} rows of {plan.listing.inputs} inputs.",
            "Its shards were changed: begin again with another folder.",
        )
    return told, damaged


def _fitting(data: bytes, settings: ArchiveSettings, paths: list[str]) -> list[Answered] | None:
    """Return what a part says if it has one row for each input of its shard, in order, by this model."""
    try:
        rows = answered(data, settings.format)
    except DataDamagedError:
        return None
    expected = [shown(path, settings.format) for path in paths]
    same = [row.path for row in rows] == expected and all(row.model == settings.model for row in rows)
    return rows if same and not _unseen(rows) else None


def _finished(folder: Folder, plan: ArchivePlan) -> ArchiveOutcome:
    data = folder.read(MANIFEST)
    try:
        told = json.loads(data or b"")
        ok, refused = int(told["ok"]), int(told["refused"])
    except (ValueError, KeyError, TypeError):
        raise DataDamagedError(
            f"{folder.where}/{MANIFEST} is damaged.", f"Delete {SUCCESS} beside it and run the command again."
        ) from None
    return ArchiveOutcome(plan.listing.inputs, ok, refused, plan.listing.shards, plan.listing.shards)
