"""Options that several commands have."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

model_option = click.option(
    "--model",
    type=click.Path(path_type=Path),
    envvar="PNEUMOSCAN_MODEL",
    show_envvar=True,
    help="Model bundle, run folder with one, or baseline; by default the flagship that comes with pneumoscan.",
)


def data_option(text: str, *, required: bool = True) -> Callable[[Any], Any]:
    """Return `--data [NAME=]PATH`, which may be given once for every place that films come from."""
    return click.option(
        "--data", multiple=True, required=required, metavar="[NAME=]PATH", help=f"{text} Once for each site."
    )
