"""`pneumoscan evaluate`: evaluate a model on one split."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pneumoscan.cli.options import data_option, figures_option
from pneumoscan.errors import FilmError

if TYPE_CHECKING:
    from pneumoscan.evaluate.groups import GroupTable
    from pneumoscan.evaluate.metrics import Metrics
    from pneumoscan.evaluate.sites import Answers, SiteTable
    from pneumoscan.evaluate.stress import StressTable


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
@click.option("--workers", type=int, help="Films read at the same time [cores + 1].")
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
    import shlex

    from pneumoscan.bundle.contents import pretrained_bundle
    from pneumoscan.cli.options import progress
    from pneumoscan.evaluate import evaluate as evaluate_split
    from pneumoscan.evaluate.drawing import for_papers

    model = model or pretrained_bundle()
    films = [word for source in data for word in ("--data", source)]
    words = ["pneumoscan", "evaluate", str(model), *films, "--split", split, "--out", str(out)]
    words += ["--threshold", str(threshold)] if threshold is not None else []
    words += ["--operating-point", operating_point] if operating_point is not None else []
    words += ["--stress"] if stress else []
    words += [word for each in by for word in ("--by", each)]
    words += [word for each in figures for word in ("--figures", each)]
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
            command=shlex.join(words),
        )
    for caution in metrics.cautions:
        print(f"caution: {caution}", file=sys.stderr)
    print(_summary(metrics, out))
    if metrics.n_refused:
        sys.exit(FilmError.exit_code)


def _summary(metrics: "Metrics", out: Path) -> str:
    counts, best = metrics.confusion, metrics.best_f1
    facts = (
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
    )
    return "\n".join(f"{name + ' ':<18}{value}" for name, value in facts)


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
