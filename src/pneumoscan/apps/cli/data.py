"""`pneumoscan data`: look at films, get the public set, or draw films of nobody."""

from pathlib import Path

import typer

from pneumoscan.apps.cli import app

data = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Look at a set of films, get the public one, or draw phantoms.",
)
app.add_typer(data, name="data")


@data.command()
def inspect(
    path: Path = typer.Argument(metavar="DIR", help="A folder of films, a .csv table or a .npz file."),
    out: Path | None = typer.Option(None, help="Folder for inspect.html and inspect.json [inspect-NAME]."),
    json_out: bool = typer.Option(False, "--json", help="Print the findings as JSON."),
) -> None:
    """Find what is wrong with a set: leaks, copies, unreadable films, shortcuts.

    What is found is no error: the exit code is 0.
    """
    from pneumoscan.apps.cli.progress import progress
    from pneumoscan.data.audit import inspect as audit_films
    from pneumoscan.data.audit import summary_lines, write_inspection
    from pneumoscan.data.layouts import load_manifest

    manifest = load_manifest(path)
    out = out or Path(f"inspect-{_name_of(path)}")
    with progress("Inspecting films") as report:
        audit = audit_films(manifest, progress=report)
    page = write_inspection(out, audit, manifest)
    if json_out:
        print((out / "inspect.json").read_text(encoding="utf-8").rstrip())
        return
    print("\n".join(summary_lines(audit)))
    print(f"Report: {page}")


@data.command()
def fetch(
    folder: Path = typer.Argument(metavar="DIR", help="Where to; a new or empty folder."),
    zip_path: Path | None = typer.Option(
        None, "--zip", help="A zip file with the set, instead of a download."
    ),
    no_verify: bool = typer.Option(False, "--no-verify", help="Take it whatever the numbers of films are."),
) -> None:
    """Get the Kaggle set "Chest X-Ray Images (Pneumonia)", 5,856 films, CC BY 4.0."""
    from pneumoscan.apps.cli.progress import progress
    from pneumoscan.data.fetch import fetch as fetch_films

    with progress("Unpacking films" if zip_path else "Copying films") as report:
        got = fetch_films(folder, zip_path=zip_path, verify=not no_verify, progress=report)
    for name, count in got.counts.items():
        print(f"{name:<16} {count:>6,}")
    told = f"the {got.edition} edition, complete" if got.edition else "numbers not verified"
    print(f"{sum(got.counts.values()):,} films in {got.folder} ({told})")


@data.command()
def phantom(
    folder: Path = typer.Argument(
        metavar="DIR", help="Where to; new, empty, or of a run that was cut short."
    ),
    patients: int = typer.Option(400, min=24, help="How many patients to draw."),
    seed: int = typer.Option(0, min=0, help="Another seed draws other patients."),
    side: int = typer.Option(320, min=64, max=4096, help="About the longer side of the films in pixels."),
    workers: int | None = typer.Option(None, min=1, help="Processes that draw [the cores there are]."),
) -> None:
    """Draw chest-like films of nobody, in the Kaggle layout: for trying things out, never for a result."""
    import os

    from pneumoscan.apps.cli.progress import progress
    from pneumoscan.data.phantom import write_phantom_set

    workers = workers or len(os.sched_getaffinity(0))
    with progress("Drawing phantoms") as report:
        films = write_phantom_set(
            folder, patients=patients, seed=seed, side=side, workers=workers, progress=report
        )
    print(f"{films:,} phantom films in {folder}")


def _name_of(path: Path) -> str:
    resolved = path.resolve()
    return resolved.stem if resolved.is_file() else resolved.name
