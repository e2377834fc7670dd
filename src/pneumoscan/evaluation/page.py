"""The report as one HTML page that opens offline: it loads no script, font or picture from elsewhere."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from string import Template

from pneumoscan.evaluation.evaluated import EvaluatedSplit
from pneumoscan.evaluation.film_section import refused_section, wrong_films
from pneumoscan.evaluation.markup import (
    between,
    count_films,
    graph,
    percent,
    safe,
    score,
    style_sheet,
    table_row,
)
from pneumoscan.evaluation.metrics import Metrics, ThresholdRow, confusion
from pneumoscan.evaluation.published import published_section
from pneumoscan.evaluation.site_section import answers_section, sites_section
from pneumoscan.evaluation.stress_section import stress_section


def build_page(
    evaluated: EvaluatedSplit,
    metrics: Metrics,
    rows: Sequence[ThresholdRow],
    graphs: Mapping[str, bytes],
    cautions: Sequence[str],
) -> str:
    """Return the page as HTML. Text from files and names is escaped.

    Args:
        evaluated: The films, their probabilities and the facts about them.
        metrics: The figures of these films.
        rows: The 17 thresholds.
        graphs: SVG by name: `precision_recall`, `threshold`, `confusion`, `roc`, `reliability`, `risk_coverage`; `sites` where the films are of several sites; `stress` where they were evaluated in several views.
        cautions: Sentences for the top of the report.
    """
    template = Template(files("pneumoscan.evaluation").joinpath("report.html").read_text("utf-8"))
    parts = {
        "title": f"{evaluated.model} on {evaluated.split}",
        "summary": _summary(metrics),
    }
    blocks = {
        "style": style_sheet(),
        "cautions": _cautions(cautions),
        "cards": _cards(metrics),
        "precision_recall": graph(graphs, "precision_recall", _about_curve(metrics)),
        "threshold_rows": _threshold_rows(rows, metrics),
        "threshold_graph": graph(graphs, "threshold", "Precision, recall, F1 and accuracy by threshold."),
        "confusion": graph(graphs, "confusion", _about_calls(metrics)),
        "roc": graph(graphs, "roc", "Sensitivity against 1 − specificity at all thresholds."),
        "reliability": graph(
            graphs, "reliability", "Observed share of PNEUMONIA against the predicted probability."
        ),
        "intervals": _interval_rows(metrics),
        "published": published_section(evaluated.split, metrics.n, metrics.n_positive),
        "operating_points": _operating_points(evaluated),
        "stress": answers_section(metrics, graphs)
        + sites_section(metrics, graphs)
        + stress_section(evaluated, metrics.stress, graphs),
        "wrong": wrong_films(evaluated, metrics),
        "refused": refused_section(evaluated),
        "provenance": _provenance(evaluated, metrics),
    }
    text = template.substitute({key: safe(value) for key, value in parts.items()} | blocks)
    return text.encode("utf-8", "backslashreplace").decode()


def _summary(metrics: Metrics) -> str:
    counts = metrics.confusion
    said = [
        f"{count_films(metrics.n)} of {metrics.n_patients:,} patients, {percent(metrics.prevalence)} PNEUMONIA."
    ]
    if metrics.n_positive:
        said.append(
            f"At threshold {metrics.threshold:.3g} the model finds {counts.tp:,} of {count_films(metrics.n_positive)}"
        )
        said.append("with pneumonia" + ("" if counts.tn + counts.fp else "."))
    if counts.tn + counts.fp:
        start = "and" if metrics.n_positive else f"At threshold {metrics.threshold:.3g} the model"
        said.append(
            f"{start} labels {counts.fp:,} of {count_films(counts.tn + counts.fp)} without pneumonia as PNEUMONIA."
        )
    said.append(f"Source of the threshold: {metrics.threshold_source.rstrip('.')}.")
    return " ".join(said)


def _cautions(cautions: Sequence[str]) -> str:
    if not cautions:
        return ""
    items = "".join(f"<li>{safe(text)}</li>" for text in cautions)
    return f'<section class="cautions"><h2>Read this first</h2><ul>{items}</ul></section>'


def _cards(metrics: Metrics) -> str:
    counts = metrics.confusion
    cards = (
        (
            "Accuracy",
            percent(metrics.accuracy),
            between(metrics.accuracy_ci95, percent=True),
            "films classified correctly",
        ),
        (
            "Sensitivity (recall)",
            percent(metrics.sensitivity),
            between(metrics.sensitivity_ci95, percent=True),
            f"{counts.tp:,} of {counts.tp + counts.fn:,} films with pneumonia found",
        ),
        (
            "Specificity",
            percent(metrics.specificity),
            between(metrics.specificity_ci95, percent=True),
            f"{counts.tn:,} of {counts.tn + counts.fp:,} normal films labelled NORMAL",
        ),
        (
            "Area under ROC",
            score(metrics.roc_auc),
            between(metrics.roc_auc_ci95, percent=False),
            "probability that a film with pneumonia ranks above a normal one",
        ),
        (
            "Best F1",
            score(metrics.best_f1.f1),
            f"at threshold {metrics.best_f1.threshold:.2f}",
            f"chosen on these films; {metrics.f1:.3f} at the model's threshold",
        ),
        (
            "Calibration error",
            score(metrics.expected_calibration_error),
            f"Brier score {metrics.brier_score:.3f}",
            "lower is better; 0 is perfect calibration",
        ),
    )
    return "".join(
        f'<div class="card"><h3>{safe(name)}</h3><p class="figure">{safe(value)}</p>'
        f'<p class="interval">{safe(interval)}</p><p class="note">{safe(note)}</p></div>'
        for name, value, interval, note in cards
    )


def _about_curve(metrics: Metrics) -> str:
    best = metrics.best_f1
    if metrics.average_precision is None:
        return "There is no precision-recall curve without a film of PNEUMONIA."
    return (
        f"Precision against recall, with the F1 score at each of the 17 thresholds. The highest F1 is {best.f1:.3f} at "
        f"threshold {best.threshold:.2f} (precision {best.precision:.3f}, recall {best.recall:.3f}). Dashed lines have equal F1. "
        f"A model that labels every film PNEUMONIA has precision {metrics.prevalence:.3f}."
    )


def _about_calls(metrics: Metrics) -> str:
    counts = metrics.confusion
    return f"{counts.fn:,} films missed and {counts.fp:,} false alarms at threshold {metrics.threshold:.3g}."


def _threshold_rows(rows: Sequence[ThresholdRow], metrics: Metrics) -> str:
    return "".join(_threshold_row(row, row == metrics.best_f1, metrics.threshold) for row in rows)


def _threshold_row(row: ThresholdRow, best: bool, carried: float) -> str:
    mark = "best F1" if best else ""
    if abs(row.threshold - carried) < 5e-4:
        mark = f"{mark}, the model's" if mark else "the model's"
    values = (row.precision, row.recall, row.f1, row.accuracy)
    cells = "".join(f"<td>{value:.3f}</td>" for value in values)
    opening = '<tr class="best">' if best else "<tr>"
    return f'{opening}<th scope="row">{row.threshold:.2f}</th>{cells}<td class="mark">{mark}</td></tr>'


def _interval_rows(metrics: Metrics) -> str:
    wilson = {
        "accuracy": metrics.accuracy_ci95,
        "sensitivity": metrics.sensitivity_ci95,
        "specificity": metrics.specificity_ci95,
        "precision": metrics.precision_ci95,
    }
    rows = []
    for name in ("accuracy", "sensitivity", "specificity", "precision", "roc_auc", "average_precision"):
        by_patient = metrics.bootstrap.intervals.get(name)
        cells = (
            score(getattr(metrics, name)),
            between(wilson[name], percent=False) if wilson.get(name) else "–",
            between(by_patient, percent=False) if by_patient else "–",
        )
        rows.append(table_row(_readable_name(name), cells))
    others = ("npv", "f1", "balanced_accuracy", "brier_score", "expected_calibration_error")
    rows += [table_row(_readable_name(name), (score(getattr(metrics, name)), "–", "–")) for name in others]
    return "".join(rows)


def _readable_name(name: str) -> str:
    special = {
        "roc_auc": "area under ROC",
        "npv": "negative predictive value",
        "f1": "F1",
        "brier_score": "Brier score (lower is better)",
        "precision": "precision (positive predictive value)",
        "sensitivity": "sensitivity (recall)",
        "expected_calibration_error": "expected calibration error (lower is better)",
    }
    return special.get(name, name.replace("_", " "))


def _operating_points(evaluated: EvaluatedSplit) -> str:
    if not evaluated.operating_points:
        return ""
    rows = []
    for name, point in evaluated.operating_points.items():
        counts = confusion(evaluated.y_true, evaluated.y_prob, float(point["threshold"]))
        found, passed = counts.tp + counts.fn, counts.tn + counts.fp
        cells = (
            f"{float(point['threshold']):.3f}",
            f"{counts.tp / found:.3f}" if found else "–",
            f"{counts.tn / passed:.3f}" if passed else "–",
            str(point.get("source", "")),
        )
        rows.append(table_row(name.replace("_", " "), cells))
    return (
        "<section><h2>Operating points of the model, evaluated on these films</h2><table><thead><tr>"
        "<th>name</th><th>threshold</th><th>sensitivity</th><th>specificity</th><th>chosen by</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></section>"
    )


def _provenance(evaluated: EvaluatedSplit, metrics: Metrics) -> str:
    boot = metrics.bootstrap
    facts = {
        "model": evaluated.model,
        **evaluated.model_facts,
        "split": evaluated.split,
        **evaluated.data_facts,
        "bootstrap": f"{boot.n_resamples} resamples of {boot.n_patients} patients, {boot.n_used} used, seed {boot.seed}",
        "software": _software(),
        "command": evaluated.command,
    }
    return "".join(f"<dt>{safe(key)}</dt><dd>{safe(value)}</dd>" for key, value in facts.items() if value)


def _software() -> str:
    found = [f"Python {platform.python_version()}"]
    for package in ("pneumoscan", "numpy", "scikit-learn", "matplotlib", "onnxruntime", "pillow"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
