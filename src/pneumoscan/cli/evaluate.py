"""`pneumoscan evaluate`, `compare` and `adapt`: a model, or two, on labelled films."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pneumoscan.cli.options import data_option, figures_option, model_option, workers_option
from pneumoscan.errors import FilmError

if TYPE_CHECKING:
    from pneumoscan.adapt import Adaptation
    from pneumoscan.evaluate.comparison import Comparison
    from pneumoscan.evaluate.films import Answers
    from pneumoscan.evaluate.metrics import Metrics
    from pneumoscan.evaluate.sites import GroupTable, SiteTable
    from pneumoscan.evaluate.stress import StressTable

Facts = list[tuple[str, str]]


@click.command(short_help="Evaluate a model on one split of a set.")
@click.argument("model", type=click.Path(path_type=Path), required=False, envvar="PNEUMOSCAN_MODEL")
@data_option("The labelled films: a folder, a CSV table or an .npz file.")
@click.option(
    "--split", default="test", help="train, val, test, or held-out: the films that the run held out."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for metrics, tables, graphs and report.html.",
)
@click.option("--threshold", type=float, help="Threshold from 0 to 1, instead of the model's.")
@click.option(
    "--operating-point", help="A threshold of the model by name: best_f1, balanced, sensitivity_98."
)
@click.option("--stress", is_flag=True, help="Also evaluate the films cropped, padded, darkened and so on.")
@click.option(
    "--by",
    multiple=True,
    metavar="COLUMN[:NUMBERS]",
    help="Also evaluate the groups of a column of the table: view, sex, age:18,65. May be repeated.",
)
@figures_option
@workers_option
def evaluate(
    model: Path | None,
    data: tuple[str, ...],
    split: str,
    out: Path,
    threshold: float | None,
    operating_point: str | None,
    stress: bool,
    by: tuple[str, ...],
    figures: tuple[str, ...],
    workers: int | None,
) -> None:
    """Evaluate a model: metrics with intervals, 17 thresholds, graphs, and a report.

    MODEL is a bundle or an exported run folder; by default the model of PNEUMOSCAN_MODEL, or else the one in the package.
    The threshold is part of the model. It is never chosen on the films that are evaluated.
    """
    from pneumoscan.bundle.contents import pretrained_bundle
    from pneumoscan.cli.options import command_line, progress
    from pneumoscan.evaluate import evaluate as evaluate_split
    from pneumoscan.evaluate.drawing import for_papers

    model = model or pretrained_bundle()
    with (
        for_papers(figures),
        progress("Reading films in 11 views" if stress else "Reading films") as report,
    ):
        metrics = evaluate_split(
            model,
            data,
            split=split,
            out=out,
            threshold=threshold,
            operating_point=operating_point,
            stress=stress,
            by=by,
            workers=workers,
            progress=report,
            command=command_line(),
        )
    _end(_evaluated(metrics, out), metrics.cautions, refused=metrics.n_refused)


def _end(lines: Facts | str, cautions: Iterable[str], *, refused: int) -> None:
    """Print the cautions and the result; the exit code tells that films were refused."""
    for caution in cautions:
        print(f"caution: {caution}", file=sys.stderr)
    if not isinstance(lines, str):
        lines = "\n".join(f"{name + ' ':<18}{value}" for name, value in lines)
    print(lines)
    if refused:
        sys.exit(FilmError.exit_code)


def _evaluated(metrics: "Metrics", out: Path) -> Facts:
    counts, best = metrics.confusion, metrics.best_f1
    return [
        (
            "films",
            f"{metrics.n} of {metrics.n_patients} patients, {metrics.n_positive} PNEUMONIA ({metrics.split})",
        ),
        ("threshold", f"{metrics.threshold:.4g} ({metrics.threshold_source})"),
        ("accuracy", _share(metrics.accuracy, metrics.accuracy_ci95)),
        ("sensitivity", _share(metrics.sensitivity, metrics.sensitivity_ci95) + f", {counts.fn} missed"),
        (
            "specificity",
            _share(metrics.specificity, metrics.specificity_ci95) + f", {counts.fp} false alarms",
        ),
        ("area under ROC", _share(metrics.roc_auc, metrics.roc_auc_ci95)),
        ("average precision", _share(metrics.average_precision, None)),
        (
            "best F1",
            f"{best.f1:.4f} at {best.threshold:.2f} (precision {best.precision:.4f}, recall {best.recall:.4f})",
        ),
        (
            "calibration error",
            f"{metrics.expected_calibration_error:.4f}, Brier score {metrics.brier_score:.4f}",
        ),
        *_answer_facts(metrics.answers),
        *_site_facts(metrics.sites),
        *(fact for each in metrics.groups for fact in _group_facts(each)),
        *_stress_facts(metrics.stress),
        ("report", str(out / "report.html")),
    ]


def _answer_facts(answers: "Answers | None") -> tuple[tuple[str, str], ...]:
    """Return a line with the share of answered films, and how many of these are correct."""
    if answers is None:
        return ()
    right, wrong = answers.accuracy_answered, answers.confident_and_wrong
    shares = f"{_share(answers.answered.share, answers.answered.ci95)}; of these correct {_share(right.share, right.ci95)}"
    return (
        ("answered", shares),
        ("confident, wrong", f"{_share(wrong.share, wrong.ci95)} of all films, without a warning"),
    )


def _site_facts(table: "SiteTable | None") -> tuple[tuple[str, str], ...]:
    """Return a line for each site, and one for each difference between two sites."""
    if table is None:
        return ()
    rows = [
        (
            f"site {row.site}",
            f"{row.n} films, area under ROC {_share(row.roc_auc, row.roc_auc_ci95)}, sensitivity {_share(row.sensitivity, None)}, "
            f"specificity {_share(row.specificity, None)}"
            + (f", answered {_share(row.answers.answered.share, None)}" if row.answers else ""),
        )
        for row in table.rows
    ]
    differences = [
        (
            "difference",
            f"{each.site} minus {each.other}: area {each.roc_auc:+.4f} (95% {each.ci95[0]:+.4f} to {each.ci95[1]:+.4f})",
        )
        for each in table.differences
    ]
    return (*rows, *differences)


def _group_facts(groups: "GroupTable") -> list[tuple[str, str]]:
    """Return a line for each group of a column, and one that names the smallest."""
    rows = [
        (
            f"{groups.column} {row.site}",
            f"{row.n} films, area under ROC {_share(row.roc_auc, row.roc_auc_ci95)}, sensitivity "
            f"{_share(row.sensitivity, row.sensitivity_ci95)}, specificity {_share(row.specificity, row.specificity_ci95)}",
        )
        for row in groups.table.rows
    ]
    least = groups.smallest
    told = f"{groups.column} {least.site}: {least.n} films of {least.n_patients} patients, {least.n_positive} PNEUMONIA"
    return [*rows, ("smallest group", told)]


def _stress_facts(table: "StressTable | None") -> tuple[tuple[str, str], ...]:
    """Return two lines with the mean and the lowest figures of the stress test."""
    if table is None:
        return ()
    means, worst = [], []
    for figure, name in (
        ("roc_auc", "area under ROC"),
        ("sensitivity", "sensitivity"),
        ("specificity", "specificity"),
    ):
        found = table.worst(figure)
        means.append(f"{name} {_share(table.mean(figure), None)}")
        at_worst = f"{found.value:.4f} ({found.perturbation})" if found else _share(None, None)
        worst.append(f"{name} {at_worst}")
    return (
        ("stress, mean", f"{', '.join(means)} over {len(table.rows)} views"),
        ("stress, worst", ", ".join(worst)),
    )


def _share(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return "not defined for these films"
    return f"{value:.4f}" + (f" (95% {interval[0]:.4f} to {interval[1]:.4f})" if interval else "")


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
@workers_option
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
    from pneumoscan.cli.options import command_line, progress
    from pneumoscan.evaluate.comparison import compare as compare_two
    from pneumoscan.evaluate.drawing import for_papers

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
            command=command_line(),
        )
    _end(_compared(found, out), found.cautions, refused=len(found.refused))


def _compared(found: "Comparison", out: Path) -> Facts:
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
    return facts


def _line(
    a: float, b: float, difference: float, interval: tuple[float, float] | None, p_value: float | None
) -> str:
    told = f"{a:.4f} and {b:.4f}, difference {difference:+.4f}"
    told += f" (95% {interval[0]:+.4f} to {interval[1]:+.4f})" if interval else ""
    return told + ("" if p_value is None else f", p = {p_value:.4g}")


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
@workers_option
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
    _end(_adapted(found, out, folder), found.cautions, refused=len(found.films.refused))


def _adapted(found: "Adaptation", out: Path, report: Path) -> str:
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
