"""`pneumoscan archive`: classify the films of an archive into a folder of rows, on one machine or a cluster."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pneumoscan.cli.options import model_option, point_option, recursive_option, say, threshold_option
from pneumoscan.errors import NothingUsableError, Terminated, UsageError

if TYPE_CHECKING:
    from pneumoscan.archive.run import ArchiveOrder, ArchiveOutcome
    from pneumoscan.archive.shard import ShardLauncher

_STEPS = {"listing": "Listing films", "reading": "Reading films", "verifying": "Verifying parts"}


@click.command(short_help="Classify an archive of films, on one machine or a cluster.")
@click.argument("sources", nargs=-1, required=True)
@click.option("--out", required=True, help="Folder for the rows: a path, or a URL such as s3://bucket/rows.")
@model_option
@click.option(
    "--format", "file_format", type=click.Choice(["parquet", "csv"]), default="parquet", help="Of the parts."
)
@click.option(
    "--launcher", type=click.Choice(["local", "ray"]), default="local", help="Where films are read."
)
@click.option("--address", help="Cluster of Ray to join [RAY_ADDRESS, or this machine].")
@click.option(
    "--workers", type=click.IntRange(1), help="Processes that read films [cores; of a cluster, all]."
)
@click.option("--part-size", type=click.IntRange(1, 100_000), default=500, help="Rows of a part.")
@threshold_option
@point_option
@recursive_option
@click.option("--listed", is_flag=True, help="Go on with the inputs that were listed at first.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def archive(
    *,
    sources: tuple[str, ...],
    out: str,
    model: Path | None,
    file_format: str,
    launcher: str,
    address: str | None,
    workers: int | None,
    part_size: int,
    threshold: float | None,
    operating_point: str | None,
    recursive: bool,
    listed: bool,
    as_json: bool,
) -> None:
    """Classify the films of an archive into a folder of parts, with exactly one row for each input.

    SOURCES are films, folders, quoted patterns, URLs of an object store, or - for a list on stdin. The same command
    continues what was interrupted. Research use only, not for diagnosis.
    """
    from pneumoscan.archive.run import ArchiveOrder, run_archive
    from pneumoscan.bundle.contents import pretrained_bundle
    from pneumoscan.bundle.load import load_bundle

    if threshold is not None and operating_point is not None:
        raise UsageError("--threshold and --operating-point exclude each other.", "Give one of them.")
    bundle = load_bundle(model or pretrained_bundle())
    cut_off = bundle.spec.threshold(operating_point) if threshold is None else threshold
    order = ArchiveOrder(
        sources, out, cut_off, file_format, part_size, recursive, listed, sys.stdin.buffer, say
    )
    begun = time.monotonic()
    try:
        with _shown() as report:
            outcome = run_archive(order, bundle, _launcher(order, launcher, address, workers), report)
    except (KeyboardInterrupt, Terminated):
        say(f"interrupted; the same command continues {out}")
        raise
    _tell(order, outcome, time.monotonic() - begun, as_json)
    _end(outcome)


def _launcher(order: "ArchiveOrder", name: str, address: str | None, workers: int | None) -> "ShardLauncher":
    from pneumoscan.system import usable_cores

    if name == "ray":
        from pneumoscan.archive.on_ray import ShardsOnRay

        cluster = address or os.environ.get("RAY_ADDRESS", "")
        if cluster:
            _check_absolute((*order.sources, order.out))
        return ShardsOnRay(workers or (None if cluster else usable_cores()), cluster)
    if address is not None:
        raise UsageError("--address is of a cluster of Ray.", "Add --launcher ray.")
    from pneumoscan.archive.shard import LocalWorkers

    return LocalWorkers(workers or usable_cores())


def _check_absolute(names: Iterable[str]) -> None:
    """Raise UsageError for a path that other machines would look for in another folder."""
    for name in names:
        if name != "-" and "://" not in name and not Path(name).is_absolute():
            raise UsageError(
                f"{name} is a relative path, which the machines of a cluster do not find.",
                "Give absolute paths or URLs.",
            )


@contextmanager
def _shown() -> Iterator[Callable[[str, int, int], None]]:
    """Show the progress of each step on stderr."""
    from pneumoscan.cli.options import progress

    with ExitStack() as stack:
        shown: dict[str, Callable[[int, int], None]] = {}

        def report(step: str, done: int, total: int) -> None:
            if step not in shown:
                stack.close()
                shown[step] = stack.enter_context(progress(_STEPS[step]))
            shown[step](done, total)

        yield report


def _tell(order: "ArchiveOrder", outcome: "ArchiveOutcome", seconds: float, as_json: bool) -> None:
    if as_json:
        told = {"out": order.out, **vars(outcome), "finished_before": outcome.was_finished}
        print(json.dumps(told | {"seconds": round(seconds, 3)}, indent=2))
        return
    if outcome.was_finished:
        print(f"{order.out} was finished before: nothing was read.", file=sys.stderr)
    print(f"{outcome.inputs} rows in {outcome.parts} parts: {outcome.ok} ok, {outcome.refused} refused")
    print(f"rows: {order.out}{os.sep if not order.out.endswith(('/', os.sep)) else ''}")


def _end(outcome: "ArchiveOutcome") -> None:
    """Set the exit code by the number of refused films, as `predict` does."""
    if outcome.ok == 0:
        raise NothingUsableError(
            f"none of the {outcome.inputs} inputs could be read as a film.",
            "The column error of the rows gives the reasons.",
        )
    if outcome.refused:
        print(
            f"{outcome.refused} of {outcome.inputs} inputs were refused; their rows give the reasons.",
            file=sys.stderr,
        )
        sys.exit(3)
