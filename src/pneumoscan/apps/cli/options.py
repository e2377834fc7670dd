"""Options that several commands have."""

from pathlib import Path

import click

model_option = click.option(
    "--model",
    type=click.Path(path_type=Path),
    envvar="PNEUMOSCAN_MODEL",
    show_envvar=True,
    help="Model bundle, or run folder with one; by default the model that comes with pneumoscan.",
)
