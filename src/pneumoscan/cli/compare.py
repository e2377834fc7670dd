"""`pneumoscan compare`: compare two models on the same films."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pneumoscan.cli.options import data_option, figures_option
from pneumoscan.errors import FilmError

if TYPE_CHECKING:
    from pneumoscan.evaluate.comparison import Comparison


@click.command(short_help="Compare two models on the same films.")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@data_option("The labelled films.", required=False)
@click.option("--split", default="test", help="Films of --data: train, val, test or all.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for report.html, JSON and CSV."
)
@click.option("--threshold-a", type=float, help="Threshold of the first from 0 to 1, instead of its own.")
@click.option("--threshold-b", type=float, help="Threshold of the second from 0 to 1, instead of its own.")
@click.option("--score", default="", help="Column of the scores in CSV files [found by its name].")
@click.option("--logits", is_flag=True, help="Convert scores outside of 0 to 1 by the sigmoid.")
@click.option("--common", is_flag=True, help="Leave out films that only one of them has a score for.")
@figures_option
@click.option("--workers", type=int, help="Films read at the same time [cores + 1].")
def compare(
    *,
    first: Path,
    second: Path,
    data: tuple[str, ...],
    split: str,
    out: Path,
    threshold_a: float | None,
    threshold_b: float | None,
    score: str,
    logits: bool,
    common: bool,
    figures: tuple[str, ...],
    workers: int | None,
) -> None:
    """Compare two models on the same films: area under ROC, rates at the threshold of each, reclassified films, and a verdict.

    FIRST and SECOND are models (a bundle, a run, or the name of a model in the package) or CSV files of scores: predictions.csv of
    evaluate, rows of predict, the published predictions of MedMNIST, or any with a path and a score. Differences are SECOND minus FIRST.
    """
    from pneumoscan.cli.options import progress
    from pneumoscan.evaluate.comparison import compare as compare_two
    from pneumoscan.evaluate.drawing import for_papers

    words = ["pneumoscan", *sys.argv[1:]] if sys.argv[1:2] == ["compare"] else []
    with for_papers(figures), progress("Reading films") as report:
        found = compare_two(
            first,
            second,
            data,
            split=split,
            out=out,
            thresholds=(threshold_a, threshold_b),
            score=score,
            logits=logits,
            common=common,
            workers=workers,
            progress=report,
            command=shlex.join(words),
        )
    for caution in found.cautions:
        print(f"caution: {caution}", file=sys.stderr)
    print(_summary(found, out))
    if found.refused:
        sys.exit(FilmError.exit_code)


def _summary(found: "Comparison", out: Path) -> str:
    paired, moved = found.paired, found.paired.reclassified
    facts = [
        ("films", f"{paired.n} of {paired.n_patients} patients, {paired.n_positive} PNEUMONIA"),
        ("first", f"{found.names[0]}, threshold {paired.threshold_a:.4g} ({found.threshold_sources[0]})"),
        ("second", f"{found.names[1]}, threshold {paired.threshold_b:.4g} ({found.threshold_sources[1]})"),
    ]
    if paired.area:
        area = paired.area
        facts.append(
            (
                "area under ROC",
                _line(area.roc_auc_a, area.roc_auc_b, area.difference, area.ci95, area.p_value),
            )
        )
    for rate in paired.rates:
        if rate.a is not None and rate.b is not None and rate.difference is not None:
            told = _line(rate.a, rate.b, rate.difference, rate.ci95, rate.p_value)
            facts.append(
                (rate.name, f"{told}; right only in the first {rate.only_a}, in the second {rate.only_b}")
            )
    net = f"{moved.net:+.4f}" if moved.net is not None else "not defined for these films"
    net += f" (95% {moved.ci95[0]:+.4f} to {moved.ci95[1]:+.4f})" if moved.ci95 else ""
    facts += [
        (
            "reclassified",
            f"PNEUMONIA {moved.up_positive} found, {moved.down_positive} lost; NORMAL {moved.up_negative} new false alarms, "
            f"{moved.down_negative} fewer; net {net}",
        ),
        *(("verdict", text) for text in found.verdict),
        ("report", str(out / "report.html")),
    ]
    return "\n".join(f"{name + ' ':<18}{value}" for name, value in facts)


def _line(
    a: float, b: float, difference: float, interval: tuple[float, float] | None, p_value: float | None
) -> str:
    told = f"{a:.4f} and {b:.4f}, difference {difference:+.4f}"
    told += f" (95% {interval[0]:+.4f} to {interval[1]:+.4f})" if interval else ""
    return told + ("" if p_value is None else f", p = {p_value:.4g}")
