"""Facts about the model for the service and its page: the content of the bundle as JSON types."""

from collections.abc import Mapping
from typing import Any

import numpy as np

import pneumoscan
from pneumoscan.bundle.checks import MAP_OUTPUT
from pneumoscan.bundle.heatmap import ANCHORS, evidence_of
from pneumoscan.bundle.load import Bundle
from pneumoscan.classifier import certain_distance, model_name, shown_to_work
from pneumoscan.imaging.perturbation import PERTURBATIONS

_POINT = (
    "recall",
    "specificity",
    "recall_ci95",
    "specificity_ci95",
    "precision",
    "f1",
    "n",
    "n_positive",
    "source",
)
_BAND = ("low", "high", "half_width")
_TRAINING = ("n_films", "n_patients", "preset", "synthetic")


def about(bundle: Bundle) -> dict[str, Any]:
    """Return the response of `GET /v1/model`; missing facts are None.

    Args:
        bundle: The loaded model. Its card and records are read from its folder.

    Returns:
        JSON types, without NaN.

    Raises:
        BundleError: The card or the records were altered since the model was loaded, or the records are invalid.
    """
    spec = bundle.spec
    return {
        "name": spec.name,
        "model": model_name(bundle),
        "version": pneumoscan.__version__,
        "class_names": list(spec.class_names),
        "parameters": spec.parameters,
        "licence": dict(spec.licence),
        "created": spec.created,
        "research_use_only": True,
        "default_operating_point": spec.default_operating_point,
        "operating_points": {name: _point(name, point) for name, point in spec.thresholds.items()},
        "guard": spec.guard
        and {"unusual": spec.guard["unusual"], "not_a_chest_film": certain_distance(spec.guard)},
        "sites": {name: facts["whom"] for name, facts in (spec.sites or {}).items()},
        "shown_to_work": shown_to_work(spec),
        "has_lungs": spec.lungs is not None,
        **_heatmap(bundle),
        "preprocessing": spec.preprocessing.to_json(),
        "training": {key: spec.training.get(key) for key in _TRAINING},
        "card": bundle.card(),
        "records": bundle.records(),
        "stress_views": {view.name: view.description for view in PERTURBATIONS},
    }


def _point(name: str, point: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: point.get(key) for key in _POINT}
    intervals = {key: list(value) for key, value in known.items() if isinstance(value, list | tuple)}
    band = _some(point.get("unsure_band"), _BAND)
    return {"name": name, "threshold": float(point["threshold"]), **known, **intervals, "unsure_band": band}


def _heatmap(bundle: Bundle) -> dict[str, Any]:
    """Return the meaning of the colours of the map; None without a map."""
    scale = {
        "full_scale": evidence_of(bundle, np.zeros((1, 1), np.float32)).full_scale,
        "anchors": [[place, list(colour)] for place, colour in ANCHORS],
    }
    return {"has_heatmap": MAP_OUTPUT in bundle.spec.outputs, "heatmap_scale": scale}


def _some(values: Mapping[str, Any] | None, keys: tuple[str, ...]) -> dict[str, Any] | None:
    return {key: values[key] for key in keys} if values else None
