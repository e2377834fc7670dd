"""`pneumoscan combine`: combine several runs into one model, with heads for films of other sites."""

import sys
from pathlib import Path

import click

from pneumoscan.cli.options import data_option


@click.command(short_help="Combine runs into one model, with heads for other sites.")
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True)
@data_option("The films of a site. The first site is the one that the runs were trained on.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the combined model.")
@click.option("--name", default="combined", help="Name of the model in prediction rows.")
@click.option(
    "--population",
    "populations",
    multiple=True,
    metavar="SITE=WORDS",
    help="Description of the patients of a site, for the model card and the web viewer; may be repeated.",
)
@click.option(
    "--whom", multiple=True, hidden=True, metavar="SITE=WORDS", help="Earlier name of --population."
)
@click.option(
    "--stress",
    type=click.Path(path_type=Path),
    help="metrics.json of `evaluate OUT --split held-out --stress`; its stress table is added to the records.",
)
def combine(
    runs: tuple[Path, ...],
    data: tuple[str, ...],
    out: Path,
    name: str,
    populations: tuple[str, ...],
    whom: tuple[str, ...],
    stress: Path | None,
) -> None:
    """Average the networks of RUNS, and fit a head for each further site to the feature maps of the last network.

    The runs must have the same hold-out. The last one must have the network `transfer`. The combined model labels a film
    UNSURE if it resembles no site.
    """
    from pneumoscan.classifier import shown_to_work
    from pneumoscan.train.combine import combine

    if whom:
        print("notice: --whom is now called --population; the old name still works.", file=sys.stderr)
    described = dict(text.partition("=")[::2] for text in (*whom, *populations))
    made = combine(
        runs, data, out, name=name, populations=described, stress=stress,
        note=lambda text: print(text, file=sys.stderr, flush=True),
    )  # fmt: skip
    print(f"bundle: {made.bundle}")
    print(f"torch and ONNX Runtime agree to {made.largest_difference:.1e} on {made.films} held-out films")
    print(shown_to_work(made.spec))
