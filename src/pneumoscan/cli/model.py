"""`pneumoscan model`: the networks and their layers."""

import click


@click.group(no_args_is_help=True)
def model() -> None:
    """List the networks and show their layers."""


@model.command("list")
def list_networks() -> None:
    """Print the names of the networks."""
    from pneumoscan.networks.registry import NETWORKS

    print("\n".join(sorted(NETWORKS)))


@model.command(short_help="Print the layers of a network.")
@click.argument("name")
@click.option("--size", type=click.IntRange(16, 1024), default=200, help="Side of the input in pixels.")
def show(name: str, size: int) -> None:
    """Print the layers of a network with their outputs and parameters.

    NAME is the name of a network, for example baseline.
    """
    from pneumoscan.networks.registry import config_of, layer_table

    rows = layer_table(config_of(name), size)
    print(f"{'layer':<38}{'output':>14}{'parameters':>14}")
    for row in rows:
        print(
            f"{row.name:<38}{row.output:>14}{row.parameters:>14,}"
            if row.parameters
            else f"{row.name:<38}{row.output:>14}"
        )
    print(f"{'total':<38}{'':>14}{sum(row.parameters for row in rows):>14,}")
