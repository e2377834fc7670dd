"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

model_option = click.option(
    "--model",
    type=click.Path(path_type=Path),
    envvar="PNEUMOSCAN_MODEL",
    show_envvar=True,
    help="Bundle, run folder with a bundle, or baseline [the model in the package].",
)


def data_option(text: str, *, required: bool = True) -> Callable[[Any], Any]:
    """Return the option `--data [NAME=]PATH`, which may be given once for each site."""
    return click.option(
        "--data",
        multiple=True,
        required=required,
        metavar="[NAME=]PATH",
        help=f"{text} May be given once per site.",
    )
