"""Options that several commands share."""

import sys
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

node_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default="node.toml",
    help="Settings of the node.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def say(text: str) -> None:
    """Print a line on stderr."""
    print(text, file=sys.stderr, flush=True)


def data_option(text: str, *, required: bool = True) -> Callable[[Any], Any]:
    """Return the option `--data [NAME=]PATH`, which may be given once for each site."""
    return click.option(
        "--data",
        multiple=True,
        required=required,
        metavar="[NAME=]PATH",
        help=f"{text} May be given once per site.",
    )
