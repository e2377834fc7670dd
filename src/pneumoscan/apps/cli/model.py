"""`pneumoscan model`: what networks there are and what they are made of."""

import click


@click.group(no_args_is_help=True)
def model() -> None:
    """Networks: what they are made of."""


@model.command("list")
def list_networks() -> None:
    """Print the names of the networks."""
    from pneumoscan.models.registry import NETWORKS

    print("\n".join(sorted(NETWORKS)))


@model.command(short_help="Print a network's layers.")
@click.argument("name")
@click.option("--size", type=click.IntRange(16, 1024), default=200, help="Side of the films in pixels.")
def show(name: str, size: int) -> None:
    """Print a network's layers, their outputs and parameters.

    NAME is that of a network, for example baseline.
    """
    from pneumoscan.models.registry import config_of, layer_table

    rows = layer_table(config_of(name), size)
    print(f"{'layer':<38}{'output':>14}{'parameters':>14}")
    for row in rows:
        print(
            f"{row.name:<38}{row.output:>14}{row.parameters:>14,}"
            if row.parameters
            else f"{row.name:<38}{row.output:>14}"
        )
    print(f"{'total':<38}{'':>14}{sum(row.parameters for row in rows):>14,}")
