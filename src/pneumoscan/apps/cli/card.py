"""`pneumoscan card`: write the model card of a run or bundle."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pneumoscan.card import Records


@click.command(short_help="Write the model card of a run or bundle.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--data",
    multiple=True,
    metavar="[NAME=]DIR",
    help="The films that the run was trained on: measure it on those that it held out. Once for each site.",
)
@click.option(
    "--records", type=click.Path(path_type=Path), help="Folder of the measurements; RUN/card by default."
)
@click.option(
    "--about",
    type=click.Path(path_type=Path),
    help="TOML file of what only people know: whose films they are, what the model is for; about.toml of the records by default.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The card; MODEL_CARD.md beside the folder of the records by default.",
)
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 if the card is not up to date.")
@click.option("--workers", type=int, help="Films read at once; by default one more than cores.")
def card(
    model: Path,
    data: tuple[str, ...],
    records: Path | None,
    about: Path | None,
    out: Path | None,
    check: bool,
    workers: int | None,
) -> None:
    """Write the model card: what the model is, how it was measured, where it fails, and what not to use it for.

    MODEL is a run folder that was exported, or a bundle. With --data the run is measured first. What was not measured
    is said not to be.
    """
    from pneumoscan.card import card as card_of
    from pneumoscan.card import difference
    from pneumoscan.files import check_writable, write_atomic

    folder = records or (model / "card" if data or (model / "card").is_dir() else None)
    page = out or (folder.parent if folder else Path()) / "MODEL_CARD.md"
    if data and folder and not check:
        check_writable(page)
        _measure(model, data, folder, workers)
    text = card_of(_read(model, folder, page, about))
    if not check:
        write_atomic(page, text)
        print(f"card: {page}")
        return
    found = difference(text, page)
    if found:
        print(found, f"{page} is not up to date: run the same command without --check.", sep="\n")
        sys.exit(1)


def _read(model: Path, folder: Path | None, page: Path, about: Path | None) -> "Records":
    """Read the records, and name their folder as one sees it from the card."""
    import os

    from pneumoscan.card import read_records

    where = "" if folder is None else Path(os.path.relpath(folder, page.parent)).as_posix()
    return read_records(model, folder, where="" if where == "." else where, about=about)


def _measure(model: Path, data: tuple[str, ...], folder: Path, workers: int | None) -> None:
    import shlex

    from pneumoscan.apps.cli.progress import progress
    from pneumoscan.card import measure_run

    words = ["pneumoscan", "card", str(model), *(word for source in data for word in ("--data", source))]
    with progress("Reading films in 11 views") as report:
        measure_run(
            model,
            data,
            folder,
            workers=workers,
            progress=report,
            note=lambda what: print(what, file=sys.stderr),
            command=shlex.join(words),
        )
