"""`pneumoscan model`: what networks there are and what they are made of."""

import typer

from pneumoscan.apps.cli import app

model = typer.Typer(rich_markup_mode=None, help="Networks: what they are made of.", no_args_is_help=True)
app.add_typer(model, name="model")


@model.command("list")
def list_networks() -> None:
    """Print the names of the networks."""
    from pneumoscan.models.registry import CONFIGS

    print("\n".join(sorted(CONFIGS)))


@model.command()
def show(
    name: str = typer.Argument(help="Name of a network, for example baseline."),
    size: int = typer.Option(200, min=16, max=1024, help="Side of the films in pixels."),
) -> None:
    """Print a network's layers, their outputs and parameters."""
    from pneumoscan.models.registry import config_of, layer_table

    rows = layer_table(config_of(name), size)
    print(f"{'layer':<34}{'output':>14}{'parameters':>14}")
    for row in rows:
        print(
            f"{row.name:<34}{row.output:>14}{row.parameters:>14,}"
            if row.parameters
            else f"{row.name:<34}{row.output:>14}"
        )
    print(f"{'total':<34}{'':>14}{sum(row.parameters for row in rows):>14,}")
