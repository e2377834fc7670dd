"""The folder of an evaluation: figures as JSON, tables as CSV, graphs as SVG and PNG, and the report page."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

from pneumoscan.errors import NotWritableError, require
from pneumoscan.evaluate.displays import (
    ConfusionDisplay,
    ReliabilityDisplay,
    RiskCoverageDisplay,
    RocDisplay,
    ThresholdDisplay,
)
from pneumoscan.evaluate.drawing import save_figure
from pneumoscan.evaluate.films import EvaluatedSplit
from pneumoscan.evaluate.groups import GroupTable, group_display, group_tables
from pneumoscan.evaluate.metrics import Metrics, evaluate_predictions
from pneumoscan.evaluate.page import build_page
from pneumoscan.evaluate.precision_recall import PrecisionRecallDisplay
from pneumoscan.evaluate.sites import RATES, Answers, SiteDisplay, SiteFigures, SiteTable
from pneumoscan.evaluate.stress import FIGURES, StressDisplay, StressTable
from pneumoscan.evaluate.thresholds import ThresholdRow, threshold_table
from pneumoscan.files import make_folder, write_atomic, write_json, write_problems

_FEW = 200
PREDICTIONS = ("path", "patient_id", "y_true", "probability", "site", "label", "warnings")
ANSWERS = ("answered", "accuracy_answered", "warned", "confident_and_wrong")


def write_evaluation(out: Path, evaluated: EvaluatedSplit) -> Metrics:
    """Write the folder of an evaluation. `metrics.json` is written last, so it marks a complete folder.

    Args:
        out: The folder, created if absent. Files of an older evaluation are replaced.
        evaluated: The films, their probabilities and the facts.

    Raises:
        UsageError, NothingUsableError: The arrays cannot be evaluated; see `evaluate_predictions`.
        MissingDependencyError: scikit-learn or matplotlib is not installed.
        DiskFullError, NotWritableError: See `files.open_atomic`.
    """
    require("matplotlib")
    if out.exists() and not out.is_dir():
        raise NotWritableError(
            f"{out} exists and is not a folder.", "Choose another folder for the evaluation."
        )
    metrics = evaluate_predictions(
        evaluated.y_true,
        evaluated.y_prob,
        patient_ids=evaluated.patient_ids,
        threshold=evaluated.threshold,
        threshold_source=evaluated.threshold_source,
        split=evaluated.split,
        seed=evaluated.seed,
        n_bootstrap=evaluated.n_bootstrap,
    )
    metrics = replace(
        metrics,
        stress=_stress(evaluated),
        answers=_answers(evaluated),
        sites=_sites(evaluated),
        groups=group_tables(evaluated),
    )
    rows = threshold_table(evaluated.y_true, evaluated.y_prob)
    cautions = (*evaluated.cautions, *_own_cautions(metrics, len(evaluated.refused)))
    make_folder(out)
    _remove(out / "metrics.json")
    _write_tables(out, evaluated, rows)
    _write_stress(out, metrics.stress)
    _write_sites(out, metrics.sites)
    _write_groups(out, metrics.groups)
    graphs = _write_graphs(out, evaluated, metrics)
    write_atomic(out / "report.html", build_page(evaluated, metrics, rows, graphs, cautions))
    completed = replace(metrics, n_refused=len(evaluated.refused), cautions=cautions)
    write_json(out / "metrics.json", {"model": readable(evaluated.model), **completed.to_json()})
    return completed


def _answers(evaluated: EvaluatedSplit) -> Answers | None:
    if not evaluated.labels:
        return None
    return Answers.from_labels(evaluated.y_true, evaluated.labels, _warned(evaluated))


def _sites(evaluated: EvaluatedSplit) -> SiteTable | None:
    if not evaluated.several_sites:
        return None
    return SiteTable.from_predictions(
        evaluated.y_true,
        evaluated.y_prob,
        evaluated.sites,
        threshold=evaluated.threshold,
        patient_ids=evaluated.patient_ids,
        labels=evaluated.labels,
        warned=_warned(evaluated),
        n_bootstrap=evaluated.n_bootstrap,
        seed=evaluated.seed,
    )


def _warned(evaluated: EvaluatedSplit) -> list[bool]:
    return [bool(warnings) for warnings in evaluated.warnings] or [False] * len(evaluated.y_true)


def _stress(evaluated: EvaluatedSplit) -> StressTable | None:
    if not evaluated.views:
        return None
    return StressTable.from_predictions(
        evaluated.y_true,
        evaluated.y_prob,
        evaluated.views,
        threshold=evaluated.threshold,
        patient_ids=evaluated.patient_ids,
        n_bootstrap=evaluated.n_bootstrap,
        seed=evaluated.seed,
    )


def readable(text: str) -> str:
    """Return valid UTF-8 text; invalid bytes of a file name become visible escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _own_cautions(metrics: Metrics, n_refused: int) -> tuple[str, ...]:
    found = []
    if metrics.n < _FEW:
        films = "1 film" if metrics.n == 1 else f"{metrics.n} films"
        found.append(f"Only {films}: one film is {100 / metrics.n:.3g} points of accuracy.")
    if n_refused:
        films = (
            "1 film could not be read and is"
            if n_refused == 1
            else f"{n_refused} films could not be read and are"
        )
        found.append(f"{films} in none of the figures; refused.csv gives the reasons.")
    of_groups = [text for each in metrics.groups for text in each.table.warnings(f"the group {each.column}")]
    return (*found, *metrics.warnings, *(metrics.sites.warnings() if metrics.sites else ()), *of_groups)


def _write_tables(out: Path, evaluated: EvaluatedSplit, rows: Sequence[ThresholdRow]) -> None:
    write_atomic(
        out / "thresholds.csv",
        _csv(
            ("threshold", "precision", "recall", "f1", "accuracy"),
            ((f"{row.threshold:.2f}", row.precision, row.recall, row.f1, row.accuracy) for row in rows),
        ),
    )
    passed_on = [name for name in evaluated.columns if name != "site"]
    names = [name if name not in PREDICTIONS else f"table_{name}" for name in passed_on]
    rows_with_columns = zip(
        _prediction_rows(evaluated),
        zip(*(evaluated.columns[name] for name in passed_on), strict=True)
        if passed_on
        else ((),) * len(evaluated.y_true),
        strict=True,
    )
    write_atomic(
        out / "predictions.csv",
        _csv((*PREDICTIONS, *names), ((*row, *cells) for row, cells in rows_with_columns)),
    )
    if evaluated.refused:
        write_atomic(out / "refused.csv", _csv(("path", "error_code", "error"), evaluated.refused))
    else:
        _remove(out / "refused.csv")


def _prediction_rows(evaluated: EvaluatedSplit) -> Iterable[Sequence[object]]:
    blank = ("",) * len(evaluated.y_true)
    warnings = tuple(";".join(words) for words in evaluated.warnings)
    return zip(
        evaluated.paths,
        evaluated.patient_ids,
        evaluated.y_true.tolist(),
        evaluated.y_prob.tolist(),
        *(column or blank for column in (evaluated.sites, evaluated.labels, warnings)),
        strict=True,
    )


def _write_sites(out: Path, table: SiteTable | None) -> None:
    """Write `sites.csv`; without a table remove the files of an older evaluation."""
    if table is None:
        for suffix in ("csv", "svg", "png"):
            _remove(out / f"sites.{suffix}")
        return
    write_atomic(out / "sites.csv", _csv(("site", *_FIGURES), map(_figures_of, table.rows)))


_FIGURES = (
    "n", "n_positive", "n_patients", "roc_auc", *RATES,
    *(f"{name}_{end}" for name in ("roc_auc", *RATES) for end in ("low", "high")), *ANSWERS,
)  # fmt: skip


def _figures_of(row: SiteFigures) -> list[object]:
    """Return the cells of a site or group: its name, and the columns of `_FIGURES`."""
    intervals = (getattr(row, f"{name}_ci95") or (None, None) for name in ("roc_auc", *RATES))
    answers = row.answers.to_json() if row.answers else {}
    return [
        row.site,
        *(getattr(row, name) for name in ("n", "n_positive", "n_patients", "roc_auc", *RATES)),
        *(bound for interval in intervals for bound in interval),
        *(answers.get(name, {}).get("share") for name in ANSWERS),
    ]


def _write_groups(out: Path, tables: Sequence[GroupTable]) -> None:
    """Write `groups.csv`; without groups remove the files of an older evaluation."""
    if not tables:
        for suffix in ("csv", "svg", "png"):
            _remove(out / f"groups.{suffix}")
        return
    rows = [[each.by, *_figures_of(row), row is each.smallest] for each in tables for row in each.table.rows]
    write_atomic(out / "groups.csv", _csv(("by", "group", *_FIGURES, "smallest"), rows))


def _write_stress(out: Path, table: StressTable | None) -> None:
    """Write `stress.csv`, the unchanged films first; without a table remove the files of an older evaluation."""
    if table is None:
        for suffix in ("csv", "svg", "png"):
            _remove(out / f"stress.{suffix}")
        return
    columns = ("perturbation", "n", *FIGURES)
    rows = ([getattr(row, name) for name in columns] for row in (table.plain, *table.rows))
    write_atomic(out / "stress.csv", _csv(columns, rows))


def _remove(path: Path) -> None:
    with write_problems(path):
        path.unlink(missing_ok=True)


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return readable(text.getvalue())


def _write_graphs(out: Path, evaluated: EvaluatedSplit, metrics: Metrics) -> dict[str, bytes]:
    """Draw and save the graphs, including those of stress test and sites if there are any; returns their SVG by name."""
    truth, prob, threshold = evaluated.y_true, evaluated.y_prob, metrics.threshold
    figures = {
        "precision_recall": PrecisionRecallDisplay.from_predictions(truth, prob, threshold=threshold).plot(),
        "threshold": ThresholdDisplay.from_predictions(truth, prob, threshold=threshold).plot(),
        "confusion": ConfusionDisplay.from_counts(metrics.confusion, threshold).plot(),
        "roc": RocDisplay.from_predictions(truth, prob, threshold=threshold).plot(),
        "reliability": ReliabilityDisplay.from_predictions(truth, prob).plot(),
    }
    figures["risk_coverage"] = RiskCoverageDisplay.from_predictions(
        truth, prob, threshold=threshold, sites=evaluated.sites, answers=metrics.answers
    ).plot()
    if metrics.sites is not None:
        figures["sites"] = SiteDisplay.from_table(metrics.sites, metrics.roc_auc, metrics.roc_auc_ci95).plot()
    if metrics.groups:
        figures["groups"] = group_display(
            metrics.groups, metrics.n, metrics.roc_auc, metrics.roc_auc_ci95
        ).plot()
    if metrics.stress is not None:
        figures["stress"] = StressDisplay.from_table(metrics.stress).plot()
    return {name: save_figure(figure, out / name) for name, figure in figures.items()}
