"""What the page of an evaluation says beside its metrics: published results, single films, operating points, origin."""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from pneumoscan.bundle.spec import CLASS_NAMES
from pneumoscan.errors import PneumoscanError
from pneumoscan.evaluate.films import EvaluatedSplit
from pneumoscan.evaluate.metrics import Metrics
from pneumoscan.evaluate.stress import FIGURES, PLAIN, StressTable, readable_name
from pneumoscan.evaluate.thresholds import ThresholdRow, confusion
from pneumoscan.imaging.perturbation import PERTURBATIONS, Pixels
from pneumoscan.pages import between, picture_uri, render, score

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
_NAMES = {
    "roc_auc": "area under ROC",
    "npv": "negative predictive value",
    "f1": "F1",
    "brier_score": "Brier score (lower is better)",
    "precision": "precision (positive predictive value)",
    "sensitivity": "sensitivity (recall)",
    "expected_calibration_error": "expected calibration error (lower is better)",
}
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
        intervals=_intervals(metrics),
        provenance={
            "model": evaluated.model,
            **evaluated.model_facts,
            "split": evaluated.split,
            **evaluated.data_facts,
            "bootstrap": f"{boot.n_resamples} resamples of {boot.n_patients} patients, {boot.n_used} used, seed {boot.seed}",
            "software": software(),
            "command": evaluated.command,
        },
        **({} if metrics.stress is None else _stress(evaluated, metrics.stress)),
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


def _stress(evaluated: EvaluatedSplit, table: StressTable) -> dict[str, Any]:
    """Return the facts about the views: their means and lowest figures, and one film in each."""
    lowest = {figure: table.worst(figure) for figure in FIGURES}
    return {
        "figures": FIGURES,
        "lowest": lowest,
        "means": [table.mean(figure) for figure in FIGURES],
        "lows": [found.value if found else None for found in lowest.values()],
        "described": {view.name: view.description for view in PERTURBATIONS},
        "readable_name": readable_name,
        "strip": _strip(evaluated),
    }


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


def _intervals(metrics: Metrics) -> list[tuple[str, str, str, str]]:
    """Return the rows of all figures: value, Wilson's interval, interval of the bootstrap."""
    by_wilson = ("accuracy", "sensitivity", "specificity", "precision")
    names = (
        *by_wilson,
        "roc_auc",
        "average_precision",
        "npv",
        "f1",
        "balanced_accuracy",
        "brier_score",
        "expected_calibration_error",
    )
    return [
        (
            _NAMES.get(name, name.replace("_", " ")),
            score(getattr(metrics, name)),
            between(getattr(metrics, f"{name}_ci95") if name in by_wilson else None),
            between(metrics.bootstrap.intervals.get(name)),
        )
        for name in names
    ]


def software() -> str:
    """Return Python and the packages that the figures depend on, with their versions."""
    found = [f"Python {platform.python_version()}"]
    for package in ("pneumoscan", "numpy", "scikit-learn", "matplotlib", "onnxruntime", "pillow"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
