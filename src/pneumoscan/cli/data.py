"""`pneumoscan data`: inspect films, download the public set, or create synthetic films."""

import sys
from pathlib import Path

import click

from pneumoscan.cli.options import data_option
from pneumoscan.errors import UsageError


@click.group(no_args_is_help=True)
def data() -> None:
    """Inspect a set of films, download the public set, or create synthetic films."""


@data.command(short_help="Check a set of films for problems.")
@click.argument("dirs", metavar="[DIR]...", nargs=-1)
@data_option("A set of films, like DIR.", required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for inspect.html and inspect.json [inspect-NAME].",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="Compare the AUC of this model with that of the shortcuts: a bundle or a run folder.",
)
@click.option("--json", "json_out", is_flag=True, help="Print the findings as JSON.")
def inspect(
    dirs: tuple[str, ...], data: tuple[str, ...], out: Path | None, model: Path | None, json_out: bool
) -> None:
    """Check a set of films for problems: leaks, copies, unreadable films, shortcuts.

    A finding is not an error: the exit code is 0. DIR is a folder of films, a .csv table or an .npz file, and may have a
    name, as in children=DIR. Several sets are inspected together and compared.
    """
    from pneumoscan.audit import inspect as audit_films
    from pneumoscan.audit import summary_lines, write_inspection
    from pneumoscan.cli.options import progress
    from pneumoscan.data.layouts import called, load_sites

    sources = (*dirs, *data)
    if not sources:
        raise UsageError("there is nothing to inspect.", "Give a folder, a .csv or an .npz file.")
    manifest = load_sites(sources)
    out = out or Path(f"inspect-{called(sources)}")
    network, areas = "", None
    if model is not None:
        from pneumoscan.bundle.load import load_bundle
        from pneumoscan.evaluate import areas_by_site

        bundle = load_bundle(model)
        with progress("Reading films with the model") as report:
            network, areas = bundle.spec.name, areas_by_site(bundle, manifest, progress=report)
        for site in sorted(set(manifest.site_names) - set(areas)):
            where = f" of {site}" if site else ""
            print(
                f"notice: {network} is not compared{where}: without the films that it was trained on, a class is missing.",
                file=sys.stderr,
            )
    with progress("Inspecting films") as report:
        audit = audit_films(manifest, network=network, areas=areas, progress=report)
    page = write_inspection(out, audit, manifest)
    if json_out:
        print((out / "inspect.json").read_text(encoding="utf-8").rstrip())
        return
    print("\n".join(summary_lines(audit)))
    print(f"Report: {page}")


@data.command(short_help="Download the Kaggle set of chest films.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--zip",
    "zip_path",
    type=click.Path(path_type=Path),
    help="Unpack this zip file instead of downloading.",
)
@click.option("--no-verify", is_flag=True, help="Accept any number of films.")
def fetch(folder: Path, zip_path: Path | None, no_verify: bool) -> None:
    """Download the Kaggle set "Chest X-Ray Images (Pneumonia)", 5,856 films, CC BY 4.0.

    DIR is the target, a new or empty folder.
    """
    from pneumoscan.cli.options import progress
    from pneumoscan.data.fetch import fetch as fetch_films

    with progress("Unpacking films" if zip_path else "Copying films") as report:
        got = fetch_films(folder, zip_path=zip_path, verify=not no_verify, progress=report)
    for name, count in got.counts.items():
        print(f"{name:<16} {count:>6,}")
    edition = f"the {got.edition} edition, complete" if got.edition else "numbers not verified"
    print(f"{sum(got.counts.values()):,} films in {got.folder} ({edition})")


@data.command(short_help="Create synthetic films, to try things out.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--patients", type=click.IntRange(24), default=400, help="Number of patients.")
@click.option("--seed", type=click.IntRange(0), default=0, help="A different seed gives different patients.")
@click.option(
    "--side",
    type=click.IntRange(64, 4096),
    default=320,
    help="Approximate longer side of the films in pixels.",
)
@click.option(
    "--dicom",
    is_flag=True,
    help="Write DICOM files (CR) with today's date, as a PACS has them, instead of JPEG files.",
)
@click.option("--workers", type=click.IntRange(1), help="Number of processes [number of cores].")
def phantom(folder: Path, patients: int, seed: int, side: int, dicom: bool, workers: int | None) -> None:
    """Create synthetic chest films in the Kaggle layout, to try things out. They are not suitable for any result.

    DIR is the target: a new or empty folder, or that of an interrupted run.
    """
    from datetime import datetime

    from pneumoscan.cli.options import progress
    from pneumoscan.phantom import write_phantom_set
    from pneumoscan.system import allowed_cores

    workers = workers or allowed_cores()
    with progress("Creating synthetic films") as report:
        films = write_phantom_set(
            folder,
            patients=patients,
            seed=seed,
            side=side,
            workers=workers,
            study_date=datetime.now().astimezone().date() if dicom else None,
            progress=report,
        )
    print(f"{films:,} synthetic films in {folder}")
