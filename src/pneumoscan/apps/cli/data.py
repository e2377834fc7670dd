"""`pneumoscan data`: look at films, get the public set, or draw synthetic films."""

from pathlib import Path

import click

from pneumoscan.apps.cli.options import data_option
from pneumoscan.errors import UsageError


@click.group(no_args_is_help=True)
def data() -> None:
    """Look at a set of films, get the public one, or draw phantoms."""


@data.command(short_help="Find what is wrong with a set.")
@click.argument("dirs", metavar="[DIR]...", nargs=-1)
@data_option("A set, as DIR.", required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for inspect.html and inspect.json [inspect-NAME].",
)
@click.option("--json", "json_out", is_flag=True, help="Print the findings as JSON.")
def inspect(dirs: tuple[str, ...], data: tuple[str, ...], out: Path | None, json_out: bool) -> None:
    """Find what is wrong with a set: leaks, copies, unreadable films, shortcuts.

    What is found is no error: the exit code is 0. DIR is a folder of films, a .csv table or a .npz file, and may
    be named as in children=DIR. Several are inspected together and compared.
    """
    from pneumoscan.apps.cli.progress import progress
    from pneumoscan.data.audit import inspect as audit_films
    from pneumoscan.data.audit import summary_lines, write_inspection
    from pneumoscan.data.layouts import called, load_sites

    sources = (*dirs, *data)
    if not sources:
        raise UsageError("there is nothing to inspect.", "Name a folder, a .csv or a .npz file.")
    manifest = load_sites(sources)
    out = out or Path(f"inspect-{called(sources)}")
    with progress("Inspecting films") as report:
        audit = audit_films(manifest, progress=report)
    page = write_inspection(out, audit, manifest)
    if json_out:
        print((out / "inspect.json").read_text(encoding="utf-8").rstrip())
        return
    print("\n".join(summary_lines(audit)))
    print(f"Report: {page}")


@data.command(short_help="Get the Kaggle set of chest films.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--zip",
    "zip_path",
    type=click.Path(path_type=Path),
    help="A zip file with the set, instead of a download.",
)
@click.option("--no-verify", is_flag=True, help="Take it whatever the numbers of films are.")
def fetch(folder: Path, zip_path: Path | None, no_verify: bool) -> None:
    """Get the Kaggle set "Chest X-Ray Images (Pneumonia)", 5,856 films, CC BY 4.0.

    DIR is where to: a new or empty folder.
    """
    from pneumoscan.apps.cli.progress import progress
    from pneumoscan.data.fetch import fetch as fetch_films

    with progress("Unpacking films" if zip_path else "Copying films") as report:
        got = fetch_films(folder, zip_path=zip_path, verify=not no_verify, progress=report)
    for name, count in got.counts.items():
        print(f"{name:<16} {count:>6,}")
    told = f"the {got.edition} edition, complete" if got.edition else "numbers not verified"
    print(f"{sum(got.counts.values()):,} films in {got.folder} ({told})")


@data.command(short_help="Draw synthetic films, to try things out.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--patients", type=click.IntRange(24), default=400, help="How many patients to draw.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Another seed draws other patients.")
@click.option(
    "--side",
    type=click.IntRange(64, 4096),
    default=320,
    help="About the longer side of the films in pixels.",
)
@click.option("--workers", type=click.IntRange(1), help="Processes that draw [the cores there are].")
def phantom(folder: Path, patients: int, seed: int, side: int, workers: int | None) -> None:
    """Draw synthetic films that look like chests, in the Kaggle layout: for trying things out, never for a result.

    DIR is where to: new, empty, or of a run that was cut short.
    """
    from pneumoscan.apps.cli.progress import progress
    from pneumoscan.data.phantom import write_phantom_set
    from pneumoscan.system import allowed_cores

    workers = workers or allowed_cores()
    with progress("Drawing phantoms") as report:
        films = write_phantom_set(
            folder, patients=patients, seed=seed, side=side, workers=workers, progress=report
        )
    print(f"{films:,} phantom films in {folder}")
