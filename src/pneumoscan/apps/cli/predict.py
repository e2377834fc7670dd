"""`pneumoscan predict`: a row for every film."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from pneumoscan.apps.cli import app
from pneumoscan.errors import NothingUsableError, UsageError

if TYPE_CHECKING:
    from pneumoscan.inference.bundle import Bundle
    from pneumoscan.inference.rowfile import RowFile


class RowFormat(StrEnum):
    """What a prediction row looks like in the output."""

    CSV = "csv"
    JSONL = "jsonl"


@app.command()
def predict(
    paths: list[str] = typer.Argument(
        help="Films, folders of films, quoted patterns; - for a list on stdin, one path a line or NUL-separated."
    ),
    model: Path | None = typer.Option(
        None, envvar="PNEUMOSCAN_MODEL", help="Model bundle, or run folder with one."
    ),
    row_format: RowFormat = typer.Option(RowFormat.CSV, "--format", help="Of the rows."),
    out: Path | None = typer.Option(None, help="Write the rows to this file instead of stdout."),
    resume: bool = typer.Option(False, "--resume", help="Continue the interrupted file of --out."),
    workers: int | None = typer.Option(
        None, min=1, help="Films read at once; by default one more than cores."
    ),
    threshold: float | None = typer.Option(
        None, min=0.0, max=1.0, help="PNEUMONIA from this probability on."
    ),
    operating_point: str | None = typer.Option(None, help="Use the model's threshold of this name."),
    recursive: bool = typer.Option(True, help="Look into the folders of a folder too."),
) -> None:
    """Read films and print a row for each: path, status, probability, label, threshold, warnings, error, model.

    A film that cannot be read is a row too, with status refused. Research use only, not for diagnosis.
    """
    if resume and out is None:
        raise UsageError("--resume needs the file to continue.", "Name it with --out.")
    if threshold is not None and operating_point is not None:
        raise UsageError("--threshold and --operating-point say the same thing twice.", "Give one of them.")
    if model is None:
        raise UsageError("no model is named.", "Name a bundle with --model, or in PNEUMOSCAN_MODEL.")
    from pneumoscan.inference.bundle import load_bundle
    from pneumoscan.inference.sources import expand

    bundle = load_bundle(model)
    cut_off = bundle.spec.threshold(operating_point) if threshold is None else threshold
    films = [
        path for path in expand(paths, recursive=recursive, stdin=sys.stdin.buffer) if not _is_same(path, out)
    ]
    if not films:
        raise NothingUsableError(
            f"there are no films in {', '.join(paths)}.", "Name films, or folders of films."
        )
    with _open(out, row_format.value, bundle, cut_off, resume) as rows:
        _read(films, rows, bundle, cut_off, workers, quiet=out is None and sys.stdout.isatty())
    _end(rows, len(films))


def _is_same(path: str, out: Path | None) -> bool:
    """Tell whether an input is the output itself, which may lie among the films."""
    return out is not None and path.endswith(out.name) and os.path.realpath(path) == os.path.realpath(out)


@contextmanager
def _open(
    out: Path | None, row_format: str, bundle: "Bundle", threshold: float, resume: bool
) -> Iterator["RowFile"]:
    from pneumoscan.files import write_problems
    from pneumoscan.inference.rowfile import RowFile, open_rows
    from pneumoscan.inference.rows import model_name

    if out is not None:
        with open_rows(out, row_format, model=model_name(bundle), threshold=threshold, resume=resume) as rows:
            yield rows
        return
    try:
        with write_problems(Path("stdout")):
            rows = RowFile(sys.stdout.buffer, row_format)
            rows.begin()
            yield rows
    except BrokenPipeError:
        _leave_closed_pipe()


def _leave_closed_pipe() -> NoReturn:
    """End quietly: whoever read stdout has seen enough. What is still buffered must not fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def _read(
    films: list[str], rows: "RowFile", bundle: "Bundle", threshold: float, workers: int | None, *, quiet: bool
) -> None:
    from pneumoscan.inference.batch import default_workers, predict_many

    left, total = rows.left(films), len(films)
    count = min(total, workers or default_workers())
    with _progress(quiet or total == 1) as report:
        start = total - sum(1 for _ in rows.left(films))
        for number, row in enumerate(
            predict_many(bundle, left, workers=count, threshold=threshold), start + 1
        ):
            rows.add(row)
            report(number, total)


def _progress(quiet: bool) -> AbstractContextManager[Callable[[int, int], None]]:
    from contextlib import nullcontext

    if quiet:
        return nullcontext(lambda _done, _total: None)
    from pneumoscan.apps.cli.progress import progress

    return progress("Reading films")


def _end(rows: "RowFile", total: int) -> None:
    """Turn what was refused into the exit code."""
    if rows.counts["ok"] == 0:
        raise NothingUsableError(
            f"none of the {total} inputs could be read as a film.", "The rows say why, in the column error."
        )
    if rows.counts["refused"]:
        print(f"{rows.counts['refused']} of {total} inputs were refused; the rows say why.", file=sys.stderr)
        sys.exit(3)
