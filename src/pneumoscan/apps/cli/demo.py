"""`pneumoscan demo`: the whole workflow without data."""

import sys
from pathlib import Path

import click


@click.command(short_help="Run the whole workflow on synthetic films.")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("demo"))
@click.option("--patients", type=click.IntRange(24), default=400, help="Number of synthetic patients.")
@click.option("--seed", type=int, default=0, help="Seed of the films and of the training.")
def demo(folder: Path, patients: int, seed: int) -> None:
    """Create synthetic films, inspect them, train, export, evaluate, and classify new films, in a few minutes.

    FOLDER is the folder for all files [demo].
    """
    from pneumoscan.apps.cli.progress import progress
    from pneumoscan.apps.cli.train import Watcher
    from pneumoscan.apps.demo import run_demo

    with Watcher(None) as watcher:
        made = run_demo(
            folder, patients=patients, seed=seed, observer=watcher, progress=progress,
            say=lambda stage: print(stage, file=sys.stderr, flush=True),
        )  # fmt: skip
    print("\n".join(("", *made.summary, "", f"report: {made.report.resolve()}")))
