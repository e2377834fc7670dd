"""`pneumoscan demo`: the main job with no data at all."""

import sys
from pathlib import Path

import typer

from pneumoscan.apps.cli import app


@app.command()
def demo(
    folder: Path = typer.Argument(Path("demo"), help="Where everything goes."),
    patients: int = typer.Option(400, min=24, help="Synthetic patients to draw."),
    seed: int = typer.Option(0, help="Of the films and the training."),
) -> None:
    """Draw synthetic films, audit them, train, evaluate, export, and read new ones: all in a few minutes."""
    from pneumoscan.apps.cli.progress import progress
    from pneumoscan.apps.cli.train import Watcher
    from pneumoscan.apps.demo import run_demo

    with Watcher(None) as watcher:
        made = run_demo(
            folder, patients=patients, seed=seed, observer=watcher, progress=progress,
            say=lambda stage: print(stage, file=sys.stderr, flush=True),
        )  # fmt: skip
    print("\n".join(("", *made.summary, "", f"report: {made.report.resolve()}")))
