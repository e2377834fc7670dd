"""The folder of an evaluation: figures as JSON, tables as CSV, graphs as SVG and PNG, and the report page."""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from pneumoscan.bundle.spec import CLASS_NAMES
from pneumoscan.errors import NotWritableError, PneumoscanError, require
from pneumoscan.evaluate.displays import (
    ConfusionDisplay,
    ReliabilityDisplay,
    RiskCoverageDisplay,
    RocDisplay,
    SiteDisplay,
    ThresholdDisplay,
    group_display,
)
from pneumoscan.evaluate.drawing import save_figure
from pneumoscan.evaluate.films import Answers, EvaluatedSplit
from pneumoscan.evaluate.metrics import Metrics, evaluate_predictions
from pneumoscan.evaluate.precision_recall import PrecisionRecallDisplay
from pneumoscan.evaluate.sites import RATES, SiteFigures, tables_of
from pneumoscan.evaluate.stress import FIGURES, PLAIN, StressDisplay, StressTable, readable_name
from pneumoscan.evaluate.thresholds import ThresholdRow, confusion, threshold_table
from pneumoscan.files import make_folder, write_atomic, write_json, write_problems, write_table
from pneumoscan.imaging.perturbation import PERTURBATIONS, Pixels
from pneumoscan.pages import picture_uri, plural, render, score

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
    sites, groups = tables_of(evaluated)
    metrics = replace(
        metrics,
        stress=_stress(evaluated),
        answers=Answers.from_labels(evaluated.y_true, evaluated.labels, evaluated.warned)
        if evaluated.labels
        else None,
        sites=sites,
        groups=groups,
    )
    rows = threshold_table(evaluated.y_true, evaluated.y_prob)
    cautions = (*evaluated.cautions, *_own_cautions(metrics, len(evaluated.refused)))
    make_folder(out)
    _remove(out / "metrics.json")
    _write_tables(out, evaluated, metrics, rows)
    graphs = _write_graphs(out, evaluated, metrics)
    write_atomic(out / "report.html", build_page(evaluated, metrics, rows, graphs, cautions))
    completed = replace(metrics, n_refused=len(evaluated.refused), cautions=cautions)
    write_json(out / "metrics.json", {"model": readable(evaluated.model), **completed.to_json()})
    return completed


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
        found.append(
            f"Only {plural(metrics.n, 'film')}: one film is {100 / metrics.n:.3g} points of accuracy."
        )
    if n_refused:
        films = (
            "1 film could not be read and is"
            if n_refused == 1
            else f"{n_refused} films could not be read and are"
        )
        found.append(f"{films} in none of the figures; refused.csv gives the reasons.")
    of_groups = [text for each in metrics.groups for text in each.table.warnings(f"the group {each.column}")]
    return (*found, *metrics.warnings, *(metrics.sites.warnings() if metrics.sites else ()), *of_groups)


_FIGURES = (
    "n", "n_positive", "n_patients", "roc_auc", *RATES,
    *(f"{name}_{end}" for name in ("roc_auc", *RATES) for end in ("low", "high")), *ANSWERS,
)  # fmt: skip


def _write_tables(
    out: Path, evaluated: EvaluatedSplit, metrics: Metrics, thresholds: Sequence[ThresholdRow]
) -> None:
    """Write the tables; those of an older evaluation that this one lacks are removed with their graphs."""
    names = ("threshold", "precision", "recall", "f1", "accuracy")
    cells = ((f"{row.threshold:.2f}", row.precision, row.recall, row.f1, row.accuracy) for row in thresholds)
    write_table(out / "thresholds.csv", names, cells)
    blank = ("",) * len(evaluated.y_true)
    warnings = tuple(";".join(words) for words in evaluated.warnings)
    passed_on = [name for name in evaluated.columns if name != "site"]
    columns = (
        evaluated.paths,
        evaluated.patient_ids,
        evaluated.y_true.tolist(),
        evaluated.y_prob.tolist(),
        *(column or blank for column in (evaluated.sites, evaluated.labels, warnings)),
        *(evaluated.columns[name] for name in passed_on),
    )
    others = [name if name not in PREDICTIONS else f"table_{name}" for name in passed_on]
    write_table(out / "predictions.csv", (*PREDICTIONS, *others), zip(*columns, strict=True))
    stress, sites = metrics.stress, metrics.sites
    views = ("perturbation", "n", *FIGURES)
    groups = [
        (each.by, *_figures_of(row), row is each.smallest)
        for each in metrics.groups
        for row in each.table.rows
    ]
    for name, header, rows in (
        ("refused", ("path", "error_code", "error"), list(evaluated.refused)),
        ("sites", ("site", *_FIGURES), [_figures_of(row) for row in sites.rows] if sites else []),
        ("groups", ("by", "group", *_FIGURES, "smallest"), groups),
        (
            "stress",
            views,
            [[getattr(row, view) for view in views] for row in (stress.plain, *stress.rows)]
            if stress
            else [],
        ),
    ):
        if rows:
            write_table(out / f"{name}.csv", header, rows)
        for suffix in () if rows else ("csv", "svg", "png"):
            _remove(out / f"{name}.{suffix}")


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


def _remove(path: Path) -> None:
    with write_problems(path):
        path.unlink(missing_ok=True)


def _write_graphs(out: Path, evaluated: EvaluatedSplit, metrics: Metrics) -> dict[str, bytes]:
    """Draw and save the graphs, including those of stress test and sites if there are any; returns their SVG by name."""
    truth, prob, threshold = evaluated.y_true, evaluated.y_prob, metrics.threshold
    figures = {
        "precision_recall": PrecisionRecallDisplay.from_predictions(truth, prob, threshold=threshold).plot(),
        "threshold": ThresholdDisplay.from_predictions(truth, prob, threshold=threshold).plot(),
        "confusion": ConfusionDisplay.from_counts(metrics.confusion, threshold).plot(),
        "roc": RocDisplay.from_predictions(truth, prob, threshold=threshold).plot(),
        "reliability": ReliabilityDisplay.from_predictions(truth, prob).plot(),
        "risk_coverage": RiskCoverageDisplay.from_predictions(
            truth, prob, threshold=threshold, sites=evaluated.sites, answers=metrics.answers
        ).plot(),
    }
    if metrics.sites is not None:
        figures["sites"] = SiteDisplay.from_table(metrics.sites, metrics.roc_auc, metrics.roc_auc_ci95).plot()
    if metrics.groups:
        figures["groups"] = group_display(
            metrics.groups, metrics.n, metrics.roc_auc, metrics.roc_auc_ci95
        ).plot()
    if metrics.stress is not None:
        figures["stress"] = StressDisplay.from_table(metrics.stress).plot()
    return {name: save_figure(figure, out / name) for name, figure in figures.items()}


# The page


OFFICIAL_TEST = (624, 390)
"""Films of the official test split, and how many of them show pneumonia."""


@dataclass(frozen=True)
class PublishedResult:
    """What a publication reports for the official test split.

    Attributes:
        model: The network, and who published it.
        accuracy: Share of films that are classified correctly, in [0, 1].
        f1: F-score, in [0, 1]; None where it is not reported.
        roc_auc: Area under the ROC curve, in [0, 1]; None where it is not reported.
    """

    model: str
    accuracy: float
    f1: float | None = None
    roc_auc: float | None = None


PUBLISHED = (
    PublishedResult("the article whose network our baseline rebuilds", 0.904, f1=0.856),
    PublishedResult("Inception V3 with ImageNet weights, Kermany et al., Cell 2018", 0.928, roc_auc=0.968),
    PublishedResult("Google AutoML Vision at 28×28 pixels, Yang et al., Sci Data 2023", 0.946, roc_auc=0.991),
)
"""The results that pneumoscan is compared with, by rising accuracy."""

SHOWN_WRONG = 12
_CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    PLAIN: lambda pixels: pixels,
    **{view.name: view.change for view in PERTURBATIONS},
}


def build_page(
    evaluated: EvaluatedSplit,
    metrics: Metrics,
    rows: Sequence[ThresholdRow],
    graphs: Mapping[str, bytes],
    cautions: Sequence[str],
) -> str:
    """Return the page as HTML.

    Args:
        evaluated: The films, their probabilities and the facts about them.
        metrics: The figures of these films.
        rows: The 17 thresholds.
        graphs: SVG by name: `precision_recall`, `threshold`, `confusion`, `roc`, `reliability`, `risk_coverage`; `sites` where the films are of several sites; `stress` where they were evaluated in several views.
        cautions: Sentences for the top of the report.
    """
    official = evaluated.split == "test" and (metrics.n, metrics.n_positive) == OFFICIAL_TEST
    boot = metrics.bootstrap
    return render(
        "pneumoscan.evaluate",
        "report.html",
        evaluated=evaluated,
        metrics=metrics,
        rows=rows,
        graphs=graphs,
        cautions=cautions,
        published=PUBLISHED if official else (),
        points=_operating_points(evaluated),
        wrong=[_film(evaluated, index) for index in most_wrong(evaluated, metrics.threshold)],
        provenance={
            "model": evaluated.model,
            **evaluated.model_facts,
            "split": evaluated.split,
            **evaluated.data_facts,
            "bootstrap": f"{boot.n_resamples} resamples of {boot.n_patients} patients, {boot.n_used} used, seed {boot.seed}",
            "software": software(),
            "command": evaluated.command,
        },
        figures=FIGURES,
        described={view.name: view.description for view in PERTURBATIONS},
        readable_name=readable_name,
        strip=_strip(evaluated) if metrics.stress else None,
    )


def most_wrong(evaluated: EvaluatedSplit, threshold: float, limit: int = SHOWN_WRONG) -> list[int]:
    """Return the indices of misclassified films, largest error first; each kind of error fills at least a third."""
    wrong = np.flatnonzero((evaluated.y_prob >= threshold) != (evaluated.y_true == 1))
    ranked = wrong[np.argsort(-np.abs(evaluated.y_prob[wrong] - evaluated.y_true[wrong]), kind="stable")]
    certain = [index for label in (0, 1) for index in ranked[evaluated.y_true[ranked] == label][: limit // 3]]
    fill = [index for index in ranked if index not in certain][: limit - len(certain)]
    kept = {*certain, *fill}
    return [int(index) for index in ranked if index in kept]


def _film(evaluated: EvaluatedSplit, index: int) -> dict[str, Any]:
    facts = {
        "path": evaluated.paths[index],
        "label": CLASS_NAMES[int(evaluated.y_true[index])],
        "probability": float(evaluated.y_prob[index]),
    }
    if evaluated.thumbnail is None:
        return {**facts, "image": "", "missing": "no picture"}
    try:
        return {**facts, "image": picture_uri(evaluated.thumbnail(index), longest=240, quality=82)}
    except (PneumoscanError, OSError):
        return {**facts, "image": "", "missing": "the film can no longer be read"}


def _strip(evaluated: EvaluatedSplit) -> dict[str, Any] | None:
    """Return one film in every view, with its probability there; None without pictures."""
    if evaluated.thumbnail is None:
        return None
    index, changed = example(evaluated)
    try:
        pixels = evaluated.thumbnail(index)
    except (PneumoscanError, OSError):
        return None
    probs, ill = {PLAIN: evaluated.y_prob, **evaluated.views}, bool(evaluated.y_true[index] == 1)
    views = [
        {
            "name": readable_name(name),
            "image": picture_uri(change(pixels), longest=180, quality=82),
            "probability": float(probs[name][index]),
            "right": (probs[name][index] >= evaluated.threshold) == ill,
        }
        for name, change in _CHANGES.items()
        if name in probs
    ]
    return {"views": views, "path": evaluated.paths[index], "label": CLASS_NAMES[ill], "changed": changed}


def example(evaluated: EvaluatedSplit) -> tuple[int, int]:
    """Return the correctly classified film whose label changes in most views, and the number of these views."""
    called = evaluated.y_prob >= evaluated.threshold
    views = np.stack([prob >= evaluated.threshold for prob in evaluated.views.values()])
    changes = (views != called).sum(axis=0)
    index = int(np.argmax(np.where(called == (evaluated.y_true == 1), changes, -1)))
    return index, int(changes[index])


def _operating_points(evaluated: EvaluatedSplit) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, point in evaluated.operating_points.items():
        threshold = float(point["threshold"])
        counts = confusion(evaluated.y_true, evaluated.y_prob, threshold)
        found, passed = counts.tp + counts.fn, counts.tn + counts.fp
        rates = score(counts.tp / found if found else None), score(counts.tn / passed if passed else None)
        rows.append((name.replace("_", " "), score(threshold), *rates, str(point.get("source", ""))))
    return rows


def software() -> str:
    """Return Python and the packages that the figures depend on, with their versions."""
    found = [f"Python {platform.python_version()}"]
    for package in ("pneumoscan", "numpy", "scikit-learn", "matplotlib", "onnxruntime", "pillow"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
