"""The records of a bundle: its evaluation on the held-out films on which its thresholds are chosen.

docs/bundle.md describes them, and `inference.records` checks them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import BundleError, UsageError
from pneumoscan.evaluation.calibration import reliability
from pneumoscan.evaluation.intervals import wilson
from pneumoscan.evaluation.metrics import Metrics, evaluate_predictions
from pneumoscan.evaluation.operating_curve import operating_curve
from pneumoscan.inference.abstention import unsure_band
from pneumoscan.inference.records import SAME_THRESHOLD, check_stress
from pneumoscan.inference.spec import BundleSpec, probability_of
from pneumoscan.training.held_out import HeldOut

MOST_CURVE_POINTS = 300
FEW_FILMS = 100
_FIGURES = (
    *(
        "n",
        "n_positive",
        "threshold",
        "accuracy",
        "accuracy_ci95",
        "roc_auc",
        "roc_auc_ci95",
        "average_precision",
    ),
    *(
        "sensitivity",
        "sensitivity_ci95",
        "specificity",
        "specificity_ci95",
        "precision",
        "precision_ci95",
        "npv",
    ),
    *("f1", "brier_score", "expected_calibration_error", "confusion"),
)
_DIGITS = 6
_SAME_AREA = 1e-3
_FAR_OFF = 0.02

Floats = npt.NDArray[np.float64]


def records_of(spec: BundleSpec, held: HeldOut) -> dict[str, Any]:
    """Return the records of a model, without a stress table.

    Args:
        spec: Description of the model, with temperature and thresholds chosen on these films.
        held: The held-out films of both classes.

    Raises:
        UsageError: Only one class is present.
    """
    plain = probability_of(held.logits[0], spec.temperature)
    metrics = evaluate_predictions(
        held.labels,
        plain,
        patient_ids=held.patients,
        threshold=spec.threshold(),
        threshold_source=spec.default_operating_point,
        split="held-out",
    )
    values = {
        "operating_curve": _operating_curve(spec, held),
        "held_out": _held_out(metrics, held),
        "precision_recall": _precision_recall(held.labels, plain),
        "reliability": {"bins": _bins(held.labels, plain)},
        "stress": None,
        "cautions": _cautions(spec, held, metrics, float(plain.sum())),
    }
    return {key: _short(value) for key, value in values.items()}


def with_stress(records: Mapping[str, Any], spec: BundleSpec, path: Path) -> dict[str, Any]:
    """Return the records with the stress table of an evaluation of the same model on its held-out films.

    Args:
        records: Records of the model.
        spec: Its description.
        path: `metrics.json` of `pneumoscan evaluate RUN --split held-out --stress`.

    Raises:
        UsageError: The file is not a metrics.json, or of another model, split, threshold or set of films.
    """
    metrics = _read_metrics(path)
    stress, held_out = metrics["stress"], records["held_out"]
    wanted = {
        "model": (metrics.get("model"), spec.name),
        "split": (metrics.get("split"), "held-out"),
        "n": (stress["plain"]["n"], held_out["n"]),
        "threshold": (stress["threshold"], spec.threshold()),
        "roc_auc": (stress["plain"]["roc_auc"], held_out["roc_auc"]),
    }
    tolerances = {"threshold": SAME_THRESHOLD, "roc_auc": _SAME_AREA}
    for name, (found, own) in wanted.items():
        tolerance = tolerances.get(name)
        if found != own and (tolerance is None or found is None or abs(found - own) > tolerance):
            raise UsageError(
                f"{path} has {name} {found!r}, the model's is {own!r}.",
                "Give the metrics.json of `pneumoscan evaluate RUN --split held-out --stress` with this model and "
                "its own operating point.",
            )
    table: dict[str, Any] = _short(stress)
    return {**records, "stress": table}


def _read_metrics(path: Path) -> dict[str, Any]:
    try:
        metrics = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as problem:
        raise UsageError(
            f"{path} is not a metrics.json: {problem}.", "Give the file of an evaluation."
        ) from None
    if not isinstance(metrics, dict) or metrics.get("stress") is None:
        raise UsageError(f"{path} has no stress table.", "Evaluate the run again with --stress.")
    try:
        check_stress(metrics["stress"])
    except BundleError as problem:
        raise UsageError(f"{path}: {problem.message}", "Evaluate the run again with --stress.") from None
    return metrics


def _operating_curve(spec: BundleSpec, held: HeldOut) -> dict[str, Any]:
    y_true, y_prob = held.y_true, probability_of(held.logits.ravel(), spec.temperature)
    named = [float(point["threshold"]) for point in spec.thresholds.values()]
    points = operating_curve(y_true, y_prob, patient_ids=held.patient_ids, named=named)
    return {
        "source": held.description,
        "n": len(y_true),
        "n_positive": int(y_true.sum()),
        "points": [point.to_json() | _unsure(spec, point.threshold, y_true, y_prob) for point in points],
    }


def _unsure(
    spec: BundleSpec, threshold: float, y_true: npt.NDArray[np.int64], y_prob: Floats
) -> dict[str, float]:
    """Return the shares of all films, of PNEUMONIA and of NORMAL films within the band around a threshold."""
    band = unsure_band(spec, threshold)
    inside = np.zeros(len(y_prob), bool) if band is None else (band[0] <= y_prob) & (y_prob <= band[1])
    return {
        "unsure_films": float(inside.mean()),
        "unsure_pneumonia": float(inside[y_true == 1].mean()),
        "unsure_normal": float(inside[y_true == 0].mean()),
    }


def _held_out(metrics: Metrics, held: HeldOut) -> dict[str, Any]:
    values = metrics.to_json()
    return {
        "source": "held-out training films as they are",
        "n_patients": None if held.patients is None else metrics.n_patients,
        **{key: values[key] for key in _FIGURES},
    }


def _precision_recall(y_true: npt.NDArray[np.int64], y_prob: Floats) -> dict[str, list[float]]:
    """Return the curve by rising threshold, thinned to evenly spaced points."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, threshold = precision_recall_curve(y_true, y_prob)
    # The last point, recall 0 and precision 1, is a convention without a threshold.
    precision, recall = precision[:-1], recall[:-1]
    way = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(precision)) + np.abs(np.diff(recall)))])
    kept = np.unique(np.searchsorted(way, np.linspace(0, way[-1], min(MOST_CURVE_POINTS, len(way)))))
    return {
        "recall": recall[kept].tolist(),
        "precision": precision[kept].tolist(),
        "threshold": threshold[kept].tolist(),
    }


def _bins(y_true: npt.NDArray[np.int64], y_prob: Floats) -> list[dict[str, Any]]:
    """Return the bins of the reliability diagram that contain films."""
    found = reliability(y_true, y_prob)
    return [
        {
            "low": float(found.edges[place]),
            "high": float(found.edges[place + 1]),
            "n": int(found.count[place]),
            "mean_probability": float(found.mean_probability[place]),
            "share_positive": float(found.positive_rate[place]),
            "ci95": wilson(round(found.positive_rate[place] * found.count[place]), int(found.count[place])),
        }
        for place in np.flatnonzero(found.count)
    ]


def _cautions(spec: BundleSpec, held: HeldOut, metrics: Metrics, expected: float) -> list[str]:
    """Return sentences to read before the figures; `expected` is the sum of the probabilities."""
    config = spec.training.get("config") or {}
    loop = config.get("loop") or {}
    chosen = "epoch, temperature" if loop.get("restore_best") else "temperature"
    found = [
        f"These films were held out of the training, but {chosen} and thresholds were chosen on them: the figures are "
        "somewhat too good.",
        "They come from the same site as the training films: expect lower figures at other sites, and measure them.",
    ]
    if abs(expected - metrics.n_positive) > _FAR_OFF * metrics.n:
        balanced = (config.get("loss") or {}).get("class_weights") == "balanced"
        why = (
            " Both classes had the same weight in training, independent of their numbers." if balanced else ""
        )
        found.append(
            f"The probabilities predict {expected:.0f} films with pneumonia among these {metrics.n}; there are "
            f"{metrics.n_positive}.{why}"
        )
    if spec.training.get("synthetic"):
        found.insert(
            0,
            "The films are synthetic: the figures show that the program works. They say nothing about patients.",
        )
    if held.patients is None:
        found.append("The patients are unknown: the intervals treat films as independent, or are missing.")
    if metrics.n < FEW_FILMS:
        found.append(f"Only {metrics.n} films: one film is {100 / metrics.n:.3g} points of accuracy.")
    return found + list(metrics.warnings)


def _short(value: Any) -> Any:
    """Return JSON types with numbers of six digits; a `threshold` keeps all digits, because films can equal it."""
    if isinstance(value, Mapping):
        return {key: item if key == "threshold" else _short(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_short(item) for item in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
