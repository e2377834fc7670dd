"""`pneumoscan adapt`: evaluate a model on a hospital's own films, and refit temperature and thresholds to them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pneumoscan.cli.options import model_option
from pneumoscan.errors import FilmError

if TYPE_CHECKING:
    from pneumoscan.adapt import Adaptation


@click.command(short_help="Evaluate and refit a model on your own films.")
@click.argument("data", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the new bundle; it must not exist.",
)
@model_option
@click.option(
    "--operating-point",
    help="Operating point: best_f1, balanced or sensitivity_98 [the model's default].",
)
@click.option(
    "--folds", type=click.IntRange(2, 20), default=5, help="Folds of the cross-validation by patient."
)
@click.option("--report", type=click.Path(path_type=Path), help="Folder for the report [OUT-report].")
@click.option("--workers", type=click.IntRange(1), help="Films read at the same time [cores + 1].")
def adapt(
    data: Path,
    out: Path,
    model: Path | None,
    operating_point: str | None,
    folds: int,
    report: Path | None,
    workers: int | None,
) -> None:
    """Evaluate a model on 50 to 200 labelled films of your own, refit it to them, and advise whether to use it.

    DIR is a folder with NORMAL and PNEUMONIA in it, a CSV table, or an .npz file. All its films are used. The new bundle
    has the same network. It is not written if the advice is not to use the model. Research use only, not for diagnosis.
    """
    from pneumoscan.adapt import adapt as adapt_model
    from pneumoscan.adapt.adaptation import write_report
    from pneumoscan.bundle.contents import pretrained_bundle
    from pneumoscan.bundle.load import load_bundle
    from pneumoscan.classifier import shown_to_work
    from pneumoscan.cli.options import progress

    model = model or pretrained_bundle()
    folder = report or out.with_name(f"{out.name}-report")
    with progress("Reading films") as done:
        found = adapt_model(
            model,
            data,
            out=out,
            operating_point=operating_point,
            folds=folds,
            workers=workers,
            progress=done,
        )
    write_report(folder, found)
    spec = load_bundle(model, self_check=False).spec
    if spec.left_out:
        print(shown_to_work(spec), file=sys.stderr)
    for caution in found.cautions:
        print(f"caution: {caution}", file=sys.stderr)
    print(_summary(found, out, folder))
    if found.films.refused:
        sys.exit(FilmError.exit_code)


def _summary(found: "Adaptation", out: Path, report: Path) -> str:
    from pneumoscan.adapt.adaptation import NAMES, shown

    films, fitted, point = found.films, found.fitted, found.operating_point
    lines = [
        f"{films.n} films of {films.n_patients} patients, {films.n_positive} PNEUMONIA; operating point {point}",
        f"area under ROC        {shown(found.area)}",
        "",
        f"{'':<20}  {'as it is':<24}  {'re-fitted':<24}  difference",
        f"{'temperature':<20}  {found.temperature_before:<24.4g}  {fitted.temperature:.4g}",
        f"{'offset':<20}  {0:<24}  {fitted.offset:+.4g}",
        f"{'threshold':<20}  {found.threshold_before:<24.4f}  {fitted.threshold(point):.4f}",
    ]
    for name, title in NAMES.items():
        cells = (shown(found.as_it_is[name]), shown(found.adapted[name]), shown(found.gain[name], "+"))
        lines.append(f"{title:<20}  {cells[0]:<24}  {cells[1]:<24}  {cells[2]}")
    lines += [
        "(in brackets: 95% intervals over patients; re-fitted: cross-validated; with a star: lower is better; a film that is not answered counts as wrong)",
        "",
        found.verdict.words,
        *(f"  {reason}" for reason in found.verdict.reasons),
        f"bundle: {out}" if found.verdict.is_usable else "bundle: none written",
        f"report: {report / 'adaptation.md'}",
    ]
    return "\n".join(lines)
