"""The result of an adaptation, and its record in reports and bundles."""

from dataclasses import asdict, dataclass
from typing import Any

import pneumoscan
from pneumoscan.adapt.figures import Figure, Figures
from pneumoscan.adapt.films import HospitalFilms
from pneumoscan.adapt.fit import REPEATS, CrossValidated, Fit
from pneumoscan.adapt.verdict import Verdict
from pneumoscan.audit.shortcuts import Shortcuts

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Adaptation:
    """The result of an adaptation.

    Attributes:
        films: The films of the hospital with the outputs of the model.
        operating_point: The operating point that is evaluated.
        base: Name and SHA-256 of the network.
        fitted: Fit to all films.
        threshold_before: The original threshold, in [0, 1].
        temperature_before: The original temperature.
        cross_validated: Predictions under fits to other patients.
        area: Area under the ROC curve.
        as_it_is: Figures at the original temperature and threshold.
        adapted: Cross-validated figures.
        gain: `adapted` minus `as_it_is`.
        verdict: The advice.
        shortcuts: How well the labels of these films can be guessed without the lungs.
        cautions: Sentences to read before the figures.
    """

    films: HospitalFilms
    operating_point: str
    base: dict[str, str]
    fitted: Fit
    threshold_before: float
    temperature_before: float
    cross_validated: CrossValidated
    area: Figure
    as_it_is: Figures
    adapted: Figures
    gain: Figures
    verdict: Verdict
    shortcuts: Shortcuts
    cautions: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the record for reports and bundles: JSON types, without file names and patients."""
        point = self.operating_point
        changed = self.verdict.advice != "use_as_it_is"
        return {
            "schema_version": SCHEMA_VERSION,
            "verdict": asdict(self.verdict) | {"reasons": list(self.verdict.reasons)},
            "base": self.base,
            "n": self.films.n,
            "n_positive": self.films.n_positive,
            "n_patients": self.films.n_patients,
            "n_refused": len(self.films.refused),
            "operating_point": point,
            "folds": self.cross_validated.folds,
            "repeats": REPEATS,
            "before": {
                "temperature": self.temperature_before,
                "offset": 0.0,
                "threshold": self.threshold_before,
            },
            "fitted": {
                "temperature": self.fitted.temperature,
                "offset": self.fitted.offset,
                "threshold": self.fitted.threshold(point),
            },
            "fitted_is_in_use": changed,
            "roc_auc": _as_json(self.area),
            "as_it_is": {name: _as_json(figure) for name, figure in self.as_it_is.items()},
            "adapted": {name: _as_json(figure) for name, figure in self.adapted.items()},
            "gain": {name: _as_json(figure) for name, figure in self.gain.items()},
            "shortcuts": {probe.name: probe.roc_auc for probe in self.shortcuts.probes},
            "cautions": list(self.cautions),
            "pneumoscan_version": pneumoscan.__version__,
        }


def _as_json(figure: Figure) -> dict[str, Any]:
    return {"value": figure.value, "ci95": list(figure.ci95)}
