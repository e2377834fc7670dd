"""What a bundle says about the held-out films of its training: thresholds, limits of trust, calibration, and its records.

docs/bundle.md describes the records, and `bundle.records` checks them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.bundle.records import SAME_THRESHOLD, SITE_FIGURES, check_stress
from pneumoscan.bundle.spec import BundleSpec, log_odds, probability_of, unsure_band
from pneumoscan.classifier import CERTAIN
from pneumoscan.errors import BundleError, UsageError
from pneumoscan.evaluate.calibration import reliability
from pneumoscan.evaluate.intervals import wilson
from pneumoscan.evaluate.metrics import Metrics, evaluate_predictions
from pneumoscan.evaluate.thresholds import choose_thresholds, operating_curve

FALSE_ALARMS = 0.01
MOST_UNSURE = 0.05
HELD_ERRORS = 0.5
_BLOCK = 32
MOST_CURVE_POINTS = 300
FEW_FILMS = 100
_FIGURES = (
    "n", "n_positive", "threshold", "accuracy", "accuracy_ci95", "roc_auc", "roc_auc_ci95", "average_precision", "sensitivity",
    "sensitivity_ci95", "specificity", "specificity_ci95", "precision", "precision_ci95", "npv", "f1", "brier_score",
    "expected_calibration_error", "confusion",
)  # fmt: skip
_DIGITS = 6
_SAME_AREA = 1e-3
_FAR_OFF = 0.02

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class HeldOut:
    """Outputs of the network for the held-out films.

    Attributes:
        labels: int64 (films,), 1 is PNEUMONIA.
        logits: float64 (views, films), before the temperature; the first view is the unchanged films.
        description: Description of the views.
        patients: (films,), the patients; None if unknown.
        sites: (films,), the sites; None if unknown.
        projections: (films,), `PA`, `AP` or empty; None if unknown.
        readings: (films,), the readings of `data.manifest`, or empty; None if unknown.
    """

    labels: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float64]
    description: str
    patients: npt.NDArray[Any] | None
    sites: npt.NDArray[np.str_] | None = None
    projections: npt.NDArray[np.str_] | None = None
    readings: npt.NDArray[np.str_] | None = None

    @property
    def weights(self) -> Floats | None:
        """float64 (views · films,), mean 1: every site counts alike, and both classes within it; None with fewer than two sites.

        A film that was read as neither normal nor an opacity is a negative of its site like any other.
        """
        if self.sites is None or len(set(self.sites.tolist())) < 2:
            return None
        _, group, counts = np.unique(
            np.char.add(self.sites, self.labels.astype(str)), return_inverse=True, return_counts=True
        )
        one = len(self.labels) / len(counts) / counts[group]
        return np.tile(one, len(self.logits))

    @property
    def y_true(self) -> npt.NDArray[np.int64]:
        """int64 (views · films,): the label of each view."""
        return np.tile(self.labels, len(self.logits))

    @property
    def patient_ids(self) -> npt.NDArray[Any] | None:
        """(views · films,): the patient of each view; None if unknown."""
        return None if self.patients is None else np.tile(self.patients, len(self.logits))


def operating_points(held: HeldOut, temperature: float) -> dict[str, dict[str, Any]]:
    """Choose the operating points and their unsure bands on all versions of the held-out films."""
    logits, y_true = held.logits.ravel(), held.y_true
    points = choose_thresholds(
        y_true,
        probability_of(logits, temperature),
        on=held.description,
        patient_ids=held.patient_ids,
        weights=held.weights,
    )
    return {
        name: point.to_json()
        | {"unsure_band": band_around(logits, y_true, temperature, point.threshold, held.description)}
        for name, point in points.items()
    }


def cut_offs(distance: Floats) -> dict[str, float]:
    """Return the thresholds `unusual` and `not_a_chest_film` for distances (n,) of held-out films."""
    # Slightly above the film that determines it, because a film at the threshold counts as unusual.
    unusual = float(np.nextafter(np.quantile(distance, 1 - FALSE_ALARMS, method="higher"), np.inf))
    return {"unusual": unusual, "not_a_chest_film": max(unusual, CERTAIN)}


def ood_facts(
    distance: Floats, patients: npt.NDArray[Any] | None, turned: dict[str, Floats]
) -> dict[str, Any]:
    """Return the entry `guard` of `model.json`.

    Args:
        distance: (n,), of the unchanged held-out films.
        patients: (n,), the patients; None if unknown. Films of a patient are adjacent, so the films are then divided in
            blocks.
        turned: Distances of the altered films, by the name of the change.
    """
    cuts = cut_offs(distance)
    # Whole patients are in either half.
    groups = (
        np.arange(len(distance)) // _BLOCK
        if patients is None
        else np.unique(patients, return_inverse=True)[1]
    )
    return {
        **cuts,
        "source": (
            f"at most {FALSE_ALARMS:.0%} of {len(distance)} held-out training films as they are lie beyond unusual; "
            f"not_a_chest_film is no lower and at least {CERTAIN:g}, which practically no frontal chest film reaches"
        ),
        "n": len(distance),
        "false_alarms": _false_alarms(distance, groups % 2 == 1),
        "caught": {
            name: {cut: float((values >= cuts[cut]).mean()) for cut in cuts}
            for name, values in turned.items()
        },
    }


def band_around(
    logits: Floats, y_true: npt.NDArray[np.int64], temperature: float, threshold: float, on: str
) -> dict[str, Any]:
    """Return the band around a threshold within which a film is UNSURE.

    It is symmetric in log-odds. It is the narrowest band that contains half of the errors, or the widest one that contains
    at most 5% of the films if that is narrower.

    Args:
        logits: (n,) of held-out films, before the temperature.
        y_true: (n,) of 0 and 1.
        temperature: Temperature of the model.
        threshold: Threshold of the operating point, in [0, 1].
        on: Description of the films, for the source.
    """
    probability = probability_of(logits, temperature)
    gap = np.abs(logits / temperature - log_odds(threshold))
    wrong = (probability >= threshold) != (y_true == 1)
    holding = float(np.quantile(gap[wrong], HELD_ERRORS, method="higher")) if wrong.any() else 0.0
    half_width = min(holding, _widest(gap, MOST_UNSURE))
    middle = log_odds(threshold)
    low, high = (float(probability_of(middle + side * half_width, 1.0)) for side in (-1, 1))
    inside = gap <= half_width
    return {
        "low": min(low, threshold),
        "high": max(high, threshold),
        "half_width": half_width,
        "films": float(inside.mean()),
        "errors": float(inside[wrong].mean()) if wrong.any() else 0.0,
        "source": f"narrowest band that holds half of the errors, but at most {MOST_UNSURE:.0%} of the films, on {len(gap)} {on}",
    }


def calibration_facts(logits: Floats, y_true: npt.NDArray[np.int64], temperature: float) -> dict[str, Any]:
    """Return the calibration figures before and after the temperature, on the unchanged held-out films.

    Args:
        logits: (n,), before the temperature.
        y_true: (n,) of 0 and 1.
        temperature: The chosen one.
    """
    return {
        "source": "held-out training films as they are",
        "n": len(y_true),
        "before": _calibration(logits, y_true, 1.0),
        "after": _calibration(logits, y_true, temperature),
    }


def _calibration(logits: Floats, y_true: npt.NDArray[np.int64], temperature: float) -> dict[str, float]:
    probability = probability_of(logits, temperature)
    against = np.where(y_true == 1, -logits, logits) / temperature
    return {
        "temperature": temperature,
        "log_loss": float(np.logaddexp(0, against).mean()),
        "expected_calibration_error": reliability(y_true, probability).expected_calibration_error,
        "brier_score": float(((probability - y_true) ** 2).mean()),
    }


def _false_alarms(distance: Floats, halves: npt.NDArray[np.bool_]) -> dict[str, float] | None:
    """Return the shares of held-out films beyond thresholds from other patients' films; None if there are too few."""
    if min(halves.sum(), (~halves).sum()) < 2 * _BLOCK:
        return None
    beyond = {"unusual": 0, "not_a_chest_film": 0}
    for part in (halves, ~halves):
        cuts = cut_offs(distance[~part])
        for name, cut in cuts.items():
            beyond[name] += int((distance[part] >= cut).sum())
    return {name: count / len(distance) for name, count in beyond.items()}


def _widest(gaps: Floats, share: float) -> float:
    """Return the largest gap that contains at most a share of all films; 0 if one film is more than that."""
    most = int(share * gaps.size)
    order = np.sort(gaps)
    # The next film must stay outside, also if several films have the same gap.
    inside = order[:most][order[:most] < order[most]] if most < order.size else order
    return float(inside[-1]) if inside.size else 0.0


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
    every, y_true = probability_of(held.logits.ravel(), spec.temperature), held.y_true
    named = [float(point["threshold"]) for point in spec.thresholds.values()]
    points = operating_curve(y_true, every, patient_ids=held.patient_ids, named=named)
    figures = metrics.to_json()
    values: dict[str, Any] = {
        "operating_curve": {
            "source": held.description,
            "n": len(y_true),
            "n_positive": int(y_true.sum()),
            "points": [each.to_json() | _unsure(spec, each.threshold, y_true, every) for each in points],
        },
        "held_out": {
            "source": "held-out training films as they are",
            "n_patients": None if held.patients is None else metrics.n_patients,
            **{key: figures[key] for key in _FIGURES},
        },
        "precision_recall": _precision_recall(held.labels, plain),
        "reliability": {"bins": _bins(held.labels, plain)},
        "stress": None,
        "cautions": _cautions(spec, held, metrics, float(plain.sum())),
    }
    if by_site := _by_site(held, plain, spec.threshold()):
        values["sites"] = by_site
    return {key: _short(value) for key, value in values.items()}


def _by_site(held: HeldOut, y_prob: Floats, threshold: float) -> list[dict[str, Any]]:
    """Return the figures of the unchanged films of each site, within PA and AP, and of opacities against normal films alone."""
    empty = np.full(len(held.labels), "")
    sites, readings, projections = (
        empty if facts is None else facts for facts in (held.sites, held.readings, held.projections)
    )
    if len(set(zip(sites.tolist(), projections.tolist(), strict=True))) < 2:
        return []
    found = []
    for site in sorted(set(sites.tolist())):
        for against in ("all", "normal"):
            chosen = (sites == site) & ((readings != "ABNORMAL") | (against == "all"))
            if against == "normal" and chosen.sum() == (sites == site).sum():
                continue
            for view in ("", "PA", "AP"):
                rows = chosen & ((projections == view) | (view == ""))
                if len(set(held.labels[rows].tolist())) < 2:
                    continue
                metrics = evaluate_predictions(
                    held.labels[rows],
                    y_prob[rows],
                    patient_ids=None if held.patients is None else held.patients[rows],
                    threshold=threshold,
                    threshold_source="model",
                    split="held-out",
                ).to_json()
                figures = {name: metrics[name] for name in SITE_FIGURES}
                found.append({"site": site, "against": against, "view": view, **figures})
    return found


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
