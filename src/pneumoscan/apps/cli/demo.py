"""`pneumoscan demo`: the main job with no data at all."""

import sys
from pathlib import Path

import click


@click.command(short_help="Do the whole way on films drawn on the spot.")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("demo"))
@click.option("--patients", type=click.IntRange(24), default=400, help="Synthetic patients to draw.")
@click.option("--seed", type=int, default=0, help="Of the films and the training.")
def demo(folder: Path, patients: int, seed: int) -> None:
    """Draw synthetic films, audit them, train, evaluate, export, and read new ones: all in a few minutes.

    FOLDER is where everything goes, demo by default.
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
