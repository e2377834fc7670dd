"""`pneumoscan predict`: classify films and print a row for each."""

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pneumoscan.cli.options import (
    model_option,
    point_option,
    recursive_option,
    say,
    threshold_option,
    workers_option,
)
from pneumoscan.errors import DiskFullError, NothingUsableError, NotWritableError, Terminated, UsageError

if TYPE_CHECKING:
    from pneumoscan.bundle.load import Bundle
    from pneumoscan.imaging import FilmSource
    from pneumoscan.predict.pictures import PictureFolder
    from pneumoscan.predict.raw_outputs import ArrayFile
    from pneumoscan.rows import PredictionRow, RowFile

_OUTLINES, _MASKS = "outlines", "masks"
"""Folders in that of --lungs."""


@click.command(short_help="Classify films and print a row for each.")
@click.argument("paths", nargs=-1, required=True)
@model_option
@click.option(
    "--format", "row_format", type=click.Choice(["csv", "jsonl"]), default="csv", help="Format of the rows."
)
@click.option("--out", type=click.Path(path_type=Path), help="Write the rows to this file instead of stdout.")
@click.option("--resume", is_flag=True, help="Continue the interrupted file of --out.")
@workers_option
@threshold_option
@point_option
@click.option("--prevalence", type=float, help="Also print the predictive values at this prevalence.")
@click.option("--heatmaps", type=click.Path(path_type=Path), help="Folder for a heatmap of each film.")
@click.option(
    "--lungs", type=click.Path(path_type=Path), help="Folder for the outlines and masks of the lungs."
)
@click.option(
    "--regions", is_flag=True, help="Also print where in the lungs the evidence lies, as outlines and boxes."
)
@click.option(
    "--pdf", type=click.Path(path_type=Path), help="Folder for a PDF of each film, to print and sign."
)
@click.option(
    "--features", type=click.Path(path_type=Path), help="An .npz file for the vector before the last layer."
)
@click.option("--maps", type=click.Path(path_type=Path), help="An .npz file for the raw maps of evidence.")
@recursive_option
def predict(
    *,
    paths: tuple[str, ...],
    model: Path | None,
    row_format: str,
    out: Path | None,
    resume: bool,
    workers: int | None,
    threshold: float | None,
    operating_point: str | None,
    prevalence: float | None,
    heatmaps: Path | None,
    lungs: Path | None,
    regions: bool,
    pdf: Path | None,
    features: Path | None,
    maps: Path | None,
    recursive: bool,
) -> None:
    """Classify films and print a row for each: path, status, probability, label, threshold, warnings, error, model.

    PATHS are films, folders, quoted patterns, or - for a list on stdin, one path per line or separated by NUL. A film that
    cannot be read gives a row with the status refused. Research use only, not for diagnosis.
    """
    _check(resume, out, threshold, operating_point, prevalence)
    if resume and (features or maps):
        raise UsageError("--resume excludes --features and --maps.", "They hold all films of one run.")
    from pneumoscan.bundle.contents import pretrained_bundle
    from pneumoscan.bundle.load import load_bundle
    from pneumoscan.classifier import shown_to_work
    from pneumoscan.predict.sources import expand

    bundle = load_bundle(model or pretrained_bundle())
    cut_off = bundle.spec.threshold(operating_point) if threshold is None else threshold
    point = (operating_point or bundle.spec.default_operating_point) if threshold is None else ""
    folders = ([heatmaps] if heatmaps else []) + ([lungs / _OUTLINES, lungs / _MASKS] if lungs else [])
    folders += [pdf] if pdf else []
    films = [
        path
        for path in expand(paths, recursive=recursive, stdin=sys.stdin.buffer, note=say)
        if not (
            any(_is_same(path, file) for file in (out, features, maps))
            or any(_is_drawn(path, folder) for folder in folders)
        )
    ]
    if not films:
        raise NothingUsableError(
            f"there are no films in {', '.join(paths)}.", "Give films or folders of films."
        )
    pictures = _pictures(heatmaps, lungs, pdf, bundle, films, point)
    if regions:
        _tell_regions(bundle)
    arrays = _arrays(bundle, features, maps)
    if prevalence is not None:
        _tell(bundle, point, prevalence)
    if bundle.spec.left_out:
        print(shown_to_work(bundle.spec), file=sys.stderr)
    try:
        with _open(out, row_format, bundle, cut_off, films, resume, regions) as rows:
            quiet = out is None and sys.stdout.isatty()
            _read(films, rows, bundle, cut_off, workers, [*pictures, *arrays], quiet=quiet)
            for file in arrays:
                file.write(films)
    except (KeyboardInterrupt, Terminated):
        if out is not None:
            say(f"interrupted; the same command with --resume continues {out}")
        raise
    _end(rows, len(films), [*pictures, *arrays])


def _check(
    resume: bool,
    out: Path | None,
    threshold: float | None,
    operating_point: str | None,
    prevalence: float | None,
) -> None:
    """Check the options before anything is loaded; some exclude each other."""
    if resume and out is None:
        raise UsageError("--resume needs the file to continue.", "Give it with --out.")
    if threshold is not None and operating_point is not None:
        raise UsageError("--threshold and --operating-point exclude each other.", "Give one of them.")
    if threshold is not None and math.isnan(threshold):
        raise UsageError("--threshold is not a number.", "Give one from 0 to 1.")
    if prevalence is not None and not 0 < prevalence < 1:
        raise UsageError(
            f"--prevalence is {prevalence}.",
            "Give a number above 0 and below 1, such as 0.1 for 10 films in 100.",
        )


def _tell(bundle: "Bundle", point: str, prevalence: float) -> None:
    """Print the predictive values at a prevalence on stderr. The rows do not change."""
    from pneumoscan.predict.prevalence import predictive_summary

    if not point:
        reason = f"prevalence {prevalence:g}: the sensitivity and specificity of your own threshold are not "
        print(
            reason + f"known; --operating-point has {', '.join(sorted(bundle.spec.thresholds))}.",
            file=sys.stderr,
        )
        return
    for line in predictive_summary(point, bundle.spec.thresholds[point], prevalence):
        print(line, file=sys.stderr)
    if trained := bundle.spec.training.get("sites"):
        hospitals = " and ".join(trained)
        print(
            f"These rates were measured on held-out films of {hospitals}. At another hospital they are different.",
            file=sys.stderr,
        )


def _tell_regions(bundle: "Bundle") -> None:
    """Print what was measured about the regions on stderr; a model without regions is an error before the first row."""
    from pneumoscan.bundle.regions import check_has_regions, measured_in_words

    check_has_regions(bundle)
    for line in measured_in_words(bundle.spec):
        print(line, file=sys.stderr)


def _pictures(
    heatmaps: Path | None,
    lungs: Path | None,
    pdf: Path | None,
    bundle: "Bundle",
    films: list[str],
    point: str,
) -> "list[PictureFolder]":
    """Open the folders of pictures; a model that cannot draw them is an error before the first row."""
    if heatmaps is None and lungs is None and pdf is None:
        return []
    from pneumoscan.predict.document import documents_of
    from pneumoscan.predict.pictures import PDF, PictureFolder, masks_of, outlines_of
    from pneumoscan.predict.sheet import heatmaps_of

    drawn = [(heatmaps, heatmaps_of(bundle, point))] if heatmaps else []
    if lungs:
        drawn += [(lungs / _OUTLINES, outlines_of(bundle)), (lungs / _MASKS, masks_of(bundle))]
    folders = [PictureFolder(folder, films, draw) for folder, draw in drawn]
    return folders + ([PictureFolder(pdf, films, documents_of(bundle, point), PDF)] if pdf else [])


def _arrays(bundle: "Bundle", features: Path | None, maps: Path | None) -> "list[ArrayFile]":
    if features is None and maps is None:
        return []
    from pneumoscan.predict.raw_outputs import array_files

    return array_files(bundle, features, maps)


def _is_drawn(path: str, folder: Path) -> bool:
    """Return whether an input is a picture of an earlier run in this folder."""
    if os.path.realpath(os.path.dirname(path)) != os.path.realpath(folder):  # noqa: PTH120
        return False
    from pneumoscan.predict.pictures import is_drawn

    return is_drawn(path)


def _is_same(path: str, out: Path | None) -> bool:
    """Return whether an input is the output file itself, which may be among the films."""
    return out is not None and path.endswith(out.name) and os.path.realpath(path) == os.path.realpath(out)


@contextmanager
def _open(
    out: Path | None,
    row_format: str,
    bundle: "Bundle",
    threshold: float,
    films: list[str],
    resume: bool,
    regions: bool,
) -> Iterator["RowFile"]:
    from pneumoscan.classifier import model_name
    from pneumoscan.files import write_problems
    from pneumoscan.rows import COLUMNS, REGION_COLUMNS, RowFile, open_rows

    columns = (*COLUMNS, *REGION_COLUMNS) if regions else COLUMNS
    if out is not None:
        name = model_name(bundle)
        with open_rows(
            out, row_format, model=name, threshold=threshold, films=films, resume=resume, columns=columns
        ) as rows:
            yield rows
        return
    try:
        with write_problems(Path("stdout")):
            rows = RowFile(sys.stdout.buffer, row_format, columns=columns)
            rows.begin()
            yield rows
    except BrokenPipeError:
        # The reader of stdout has closed it.
        _forget_stdout()
        sys.exit(0)
    except (DiskFullError, NotWritableError):
        _forget_stdout()
        raise


def _forget_stdout() -> None:
    """Discard buffered output: writing it at exit would fail again and change the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _read(
    films: list[str],
    rows: "RowFile",
    bundle: "Bundle",
    threshold: float,
    workers: int | None,
    pictures: "Sequence[PictureFolder | ArrayFile]",
    *,
    quiet: bool,
) -> None:
    from pneumoscan.predict.batch import default_workers, predict_many
    from pneumoscan.rows import COLUMNS

    left, total = rows.left(films), len(films)
    count = min(total, workers or default_workers())
    with _progress(quiet or total == 1) as report:
        start = total - sum(1 for _ in rows.left(films))

        def draw(film: "FilmSource", row: "PredictionRow") -> None:
            for folder in pictures:
                folder.add(film, row)

        then = draw if pictures else None
        for number, row in enumerate(
            predict_many(
                bundle,
                left,
                workers=count,
                threshold=threshold,
                then=then,
                regions=len(rows.columns) > len(COLUMNS),
            ),
            start + 1,
        ):
            rows.add(row)
            report(number, total)


def _progress(quiet: bool) -> AbstractContextManager[Callable[[int, int], None]]:
    from contextlib import nullcontext

    if quiet:
        return nullcontext(lambda _done, _total: None)
    from pneumoscan.cli.options import progress

    return progress("Reading films")


def _end(rows: "RowFile", total: int, pictures: "Sequence[PictureFolder | ArrayFile]") -> None:
    """Set the exit code by the number of refused films."""
    for folder in pictures:
        for film in folder.missed:
            print(f"nothing of {film} in {folder.folder}: the film was changed or removed.", file=sys.stderr)
    if rows.counts["ok"] == 0:
        raise NothingUsableError(
            f"none of the {total} inputs could be read as a film.",
            "The column error of the rows gives the reasons.",
        )
    if rows.counts["refused"]:
        print(
            f"{rows.counts['refused']} of {total} inputs were refused; their rows give the reasons.",
            file=sys.stderr,
        )
        sys.exit(3)
