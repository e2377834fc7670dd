"""The evaluation folder: figures as JSON, tables as CSV, graphs as SVG and PNG, and one page that tells it all."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

from pneumoscan.errors import NotWritableError
from pneumoscan.evaluation.answers import Answers
from pneumoscan.evaluation.arrays import needs_matplotlib
from pneumoscan.evaluation.displays import (
    ConfusionDisplay,
    PrecisionRecallDisplay,
    ReliabilityDisplay,
    RocDisplay,
    ThresholdDisplay,
    save_figure,
)
from pneumoscan.evaluation.judged import JudgedSplit
from pneumoscan.evaluation.metrics import Metrics, ThresholdRow, evaluate_predictions, threshold_table
from pneumoscan.evaluation.page import build_page
from pneumoscan.evaluation.site_figures import RiskCoverageDisplay, SiteDisplay
from pneumoscan.evaluation.sites import RATES, SiteTable
from pneumoscan.evaluation.stress import FIGURES, StressTable
from pneumoscan.evaluation.stress_figure import StressDisplay
from pneumoscan.files import make_folder, write_atomic, write_json, write_problems

__all__ = ["JudgedSplit", "write_evaluation"]

_FEW = 200
PREDICTIONS = ("path", "patient_id", "y_true", "y_prob", "site", "label_given", "warnings", "resembles")
ANSWERS = ("answered", "accuracy_answered", "warned", "confident_and_wrong")


def write_evaluation(out: Path, judged: JudgedSplit) -> Metrics:
    """Write the evaluation folder: every file of it is new; `metrics.json` comes last, when the rest is there.

    Args:
        out: The folder; made if absent. Files of an older evaluation are replaced.
        judged: The films, their probabilities and the facts.

    Raises:
        UsageError, NothingUsableError: The arrays cannot be judged; see `evaluate_predictions`.
        MissingDependencyError: scikit-learn or matplotlib is not installed.
        DiskFullError, NotWritableError: See `files.open_atomic`.
    """
    needs_matplotlib()
    if out.exists() and not out.is_dir():
        raise NotWritableError(
            f"{out} is there and is no folder.", "Choose another folder for the evaluation."
        )
    metrics = evaluate_predictions(
        judged.y_true,
        judged.y_prob,
        patient_ids=judged.patient_ids,
        threshold=judged.threshold,
        threshold_source=judged.threshold_source,
        split=judged.split,
        seed=judged.seed,
        n_bootstrap=judged.n_bootstrap,
    )
    metrics = replace(metrics, stress=_stress(judged), answers=_answers(judged), sites=_sites(judged))
    rows = threshold_table(judged.y_true, judged.y_prob)
    cautions = (*judged.cautions, *_own_cautions(metrics, len(judged.refused)))
    make_folder(out)
    _remove(out / "metrics.json")
    _write_tables(out, judged, rows)
    _write_stress(out, metrics.stress)
    _write_sites(out, metrics.sites)
    graphs = _write_graphs(out, judged, metrics)
    write_atomic(out / "report.html", build_page(judged, metrics, rows, graphs, cautions))
    told = replace(metrics, n_refused=len(judged.refused), cautions=cautions)
    write_json(out / "metrics.json", {"model": readable(judged.model), **told.to_json()})
    return told


def _answers(judged: JudgedSplit) -> Answers | None:
    if not judged.labels:
        return None
    return Answers.from_labels(judged.y_true, judged.labels, _warned(judged))


def _sites(judged: JudgedSplit) -> SiteTable | None:
    if not judged.several_sites:
        return None
    return SiteTable.from_predictions(
        judged.y_true,
        judged.y_prob,
        judged.sites,
        threshold=judged.threshold,
        patient_ids=judged.patient_ids,
        labels=judged.labels,
        warned=_warned(judged),
        n_bootstrap=judged.n_bootstrap,
        seed=judged.seed,
    )


def _warned(judged: JudgedSplit) -> list[bool]:
    return [bool(warnings) for warnings in judged.warnings] or [False] * len(judged.y_true)


def _stress(judged: JudgedSplit) -> StressTable | None:
    if not judged.views:
        return None
    return StressTable.from_predictions(
        judged.y_true,
        judged.y_prob,
        judged.views,
        threshold=judged.threshold,
        patient_ids=judged.patient_ids,
        n_bootstrap=judged.n_bootstrap,
        seed=judged.seed,
    )


def readable(text: str) -> str:
    """Return text that is valid UTF-8: bytes of a file name that are not become visible escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _own_cautions(metrics: Metrics, n_refused: int) -> tuple[str, ...]:
    found = []
    if metrics.n < _FEW:
        films = "1 film" if metrics.n == 1 else f"{metrics.n} films"
        found.append(f"Only {films}: one film is {100 / metrics.n:.3g} points of accuracy.")
    if n_refused:
        films = "1 film was refused and is" if n_refused == 1 else f"{n_refused} films were refused and are"
        found.append(f"{films} in none of the figures; refused.csv says why.")
    return (*found, *metrics.warnings, *(metrics.sites.warnings() if metrics.sites else ()))


def _write_tables(out: Path, judged: JudgedSplit, rows: Sequence[ThresholdRow]) -> None:
    write_atomic(
        out / "thresholds.csv",
        _csv(
            ("threshold", "precision", "recall", "f1", "accuracy"),
            ((f"{row.threshold:.2f}", row.precision, row.recall, row.f1, row.accuracy) for row in rows),
        ),
    )
    write_atomic(out / "predictions.csv", _csv(PREDICTIONS, _prediction_rows(judged)))
    if judged.refused:
        write_atomic(out / "refused.csv", _csv(("path", "error_code", "error"), judged.refused))
    else:
        _remove(out / "refused.csv")


def _prediction_rows(judged: JudgedSplit) -> Iterable[Sequence[object]]:
    blank = ("",) * len(judged.y_true)
    warnings = tuple(";".join(words) for words in judged.warnings)
    return zip(
        judged.paths,
        judged.patient_ids,
        judged.y_true.tolist(),
        judged.y_prob.tolist(),
        *(column or blank for column in (judged.sites, judged.labels, warnings, judged.resembles)),
        strict=True,
    )


def _write_sites(out: Path, table: SiteTable | None) -> None:
    """Write `sites.csv`; without a table remove what an older evaluation left."""
    if table is None:
        for suffix in ("csv", "svg", "png"):
            _remove(out / f"sites.{suffix}")
        return
    columns = ("site", "n", "n_positive", "n_patients", "roc_auc", *RATES)
    rows = []
    for row in table.rows:
        low, high = row.roc_auc_ci95 or (None, None)
        answers = row.answers.to_json() if row.answers else {}
        shares = [answers.get(name, {}).get("share") for name in ANSWERS]
        rows.append([*(getattr(row, name) for name in columns), low, high, *shares])
    write_atomic(out / "sites.csv", _csv((*columns, "roc_auc_low", "roc_auc_high", *ANSWERS), rows))


def _write_stress(out: Path, table: StressTable | None) -> None:
    """Write `stress.csv`, the films as they are first; without a table remove what an older evaluation left."""
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


def _write_graphs(out: Path, judged: JudgedSplit, metrics: Metrics) -> dict[str, bytes]:
    """Draw and save the six graphs, and those of views and sites if there are some; returns their SVG by name."""
    truth, prob, threshold = judged.y_true, judged.y_prob, metrics.threshold
    figures = {
        "precision_recall": PrecisionRecallDisplay.from_predictions(truth, prob, threshold=threshold).plot(),
        "threshold": ThresholdDisplay.from_predictions(truth, prob, threshold=threshold).plot(),
        "confusion": ConfusionDisplay.from_counts(metrics.confusion, threshold).plot(),
        "roc": RocDisplay.from_predictions(truth, prob, threshold=threshold).plot(),
        "reliability": ReliabilityDisplay.from_predictions(truth, prob).plot(),
    }
    figures["risk_coverage"] = RiskCoverageDisplay.from_predictions(
        truth, prob, threshold=threshold, sites=judged.sites, answers=metrics.answers
    ).plot()
    if metrics.sites is not None:
        figures["sites"] = SiteDisplay.from_table(metrics.sites, metrics.roc_auc, metrics.roc_auc_ci95).plot()
    if metrics.stress is not None:
        figures["stress"] = StressDisplay.from_table(metrics.stress).plot()
    return {name: save_figure(figure, out / name) for name, figure in figures.items()}
