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
    help="The films that the run was trained on; it is measured on the held-out ones. May be given once per site.",
)
@click.option("--records", type=click.Path(path_type=Path), help="Folder of the measurements [RUN/card].")
@click.option(
    "--about",
    type=click.Path(path_type=Path),
    help="TOML file with texts of yours, such as patients and purpose [about.toml in the folder of the measurements].",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The card [MODEL_CARD.md beside the folder of the measurements].",
)
@click.option(
    "--checklist",
    type=click.Choice(["claim", "tripod"]),
    help="Write a reporting checklist instead of the card: CLAIM 2024 or TRIPOD+AI.",
)
@click.option(
    "--check", is_flag=True, help="Write nothing; the exit code is 1 if the card is not up to date."
)
@click.option("--workers", type=int, help="Films read at the same time [cores + 1].")
def card(
    model: Path,
    data: tuple[str, ...],
    records: Path | None,
    about: Path | None,
    out: Path | None,
    checklist: str | None,
    check: bool,
    workers: int | None,
) -> None:
    """Write the model card: purpose, figures, limits and origin of a model.

    MODEL is an exported run folder, or a bundle. With --data the run is measured first. The card says which
    measurements are missing.
    """
    from pneumoscan.card import card as card_of
    from pneumoscan.card import difference
    from pneumoscan.card.checklist import TEXTS, file_of, read_texts
    from pneumoscan.card.checklist import checklist as filled
    from pneumoscan.files import check_writable, write_atomic

    folder = records or (model / "card" if data or (model / "card").is_dir() else None)
    page = out or (folder.parent if folder else Path()) / (
        file_of(checklist) if checklist else "MODEL_CARD.md"
    )
    if data and folder and not check:
        check_writable(page)
        _measure(model, data, folder, workers)
    known = _read(model, folder, page, about)
    if checklist:
        beside = about.parent if about else folder
        text = filled(known, checklist, read_texts(beside / TEXTS, checklist) if beside else {})
    else:
        text = card_of(known)
    if not check:
        write_atomic(page, text)
        print(f"{'checklist' if checklist else 'card'}: {page}")
        return
    found = difference(text, page)
    if found:
        print(found, f"{page} is not up to date: run the same command without --check.", sep="\n")
        sys.exit(1)


def _read(model: Path, folder: Path | None, page: Path, about: Path | None) -> "Records":
    """Read the records; the card names their folder relative to itself."""
    import os

    from pneumoscan.card import read_records

    where = "" if folder is None else Path(os.path.relpath(folder, page.parent)).as_posix()
    return read_records(model, folder, where="" if where == "." else where, about=about)


def _measure(model: Path, data: tuple[str, ...], folder: Path, workers: int | None) -> None:
    import shlex

    from pneumoscan.card import measure_run
    from pneumoscan.cli.options import progress

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
