"""`pneumoscan export`: write the bundle of a finished run, which needs no training libraries."""

from pathlib import Path

import click

from pneumoscan.cli.options import data_option


@click.command(short_help="Write the bundle of a finished run.")
@click.argument("run", type=click.Path(path_type=Path))
@data_option("The films that the run was trained on; both runtimes classify the held-out ones.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the bundle [RUN/bundle].")
@click.option("--name", default="", help="Name of the model [PRESET-seedN].")
@click.option(
    "--stress",
    type=click.Path(path_type=Path),
    help="metrics.json of `evaluate RUN --split held-out --stress`; its stress table is added to the records.",
)
@click.option(
    "--records-only",
    is_flag=True,
    help="Only write the records of the existing bundle again.",
)
def export(
    run: Path, data: tuple[str, ...], out: Path | None, name: str, stress: Path | None, records_only: bool
) -> None:
    """Write the bundle of a run. Torch and ONNX Runtime first classify the held-out films and must agree.

    RUN is the run folder of a finished training.
    """
    from pneumoscan.cli.progress import progress
    from pneumoscan.train.export import export_run, record_run

    with progress("Decoding films") as decoding:
        if records_only:
            bundle = record_run(run, data, out, stress=stress, decoding=decoding)
            print(f"records: {bundle.path / 'records.json'}")
            return
        exported = export_run(run, data, out, name=name, stress=stress, decoding=decoding)
    print(f"bundle: {exported.bundle}")
    print(
        f"torch and ONNX Runtime agree to {exported.largest_difference:.1e} on {exported.films} held-out films"
    )
    for chosen, point in exported.spec.thresholds.items():
        print(f"  {chosen}: threshold {point['threshold']:.4f}")
