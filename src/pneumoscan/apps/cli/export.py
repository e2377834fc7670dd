"""`pneumoscan export`: from a finished run to a bundle that reads films without the training libraries."""

from pathlib import Path

import click


@click.command(short_help="Write the bundle of a finished run.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="The films it was trained on; both runtimes read its held-out ones.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Bundle folder; RUN/bundle by default.")
def export(run: Path, data: Path, out: Path | None) -> None:
    """Write a run's bundle, after torch and ONNX Runtime have read the held-out films and agree.

    RUN is the run folder of a finished training.
    """
    from pneumoscan.apps.cli.progress import progress
    from pneumoscan.training.train import export_run

    with progress("Decoding films") as decoding:
        exported = export_run(run, data, out, decoding=decoding)
    print(f"bundle: {exported.bundle}")
    print(
        f"torch and ONNX Runtime agree to {exported.largest_difference:.1e} on {exported.films} held-out films"
    )
    for name, point in exported.spec.thresholds.items():
        print(f"  {name}: threshold {point['threshold']:.4f}")
