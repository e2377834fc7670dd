"""What adapting a model found: the named result, and the record of it that reports and bundles carry."""

from dataclasses import asdict, dataclass
from typing import Any

import pneumoscan
from pneumoscan.adapt.figures import Figure, Figures
from pneumoscan.adapt.films import HospitalFilms
from pneumoscan.adapt.fit import REPEATS, CrossValidated, Fit
from pneumoscan.adapt.verdict import Verdict

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Adaptation:
    """What adapting a model found.

    Attributes:
        films: The hospital's films, as the model saw them.
        operating_point: Which one is judged.
        base: Name and SHA-256 of the network that was adapted.
        fitted: On all films.
        threshold_before: The model's own cut-off there, in [0, 1].
        temperature_before: The model's own.
        cross_validated: How the films fared under fits on others.
        area: Under the ROC curve.
        as_it_is: Figures at the model's own temperature and threshold.
        adapted: Figures under cross-validation.
        gain: `adapted` less `as_it_is`.
        verdict: What to do.
        cautions: What a reader must know first, a sentence each.
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
    cautions: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the record that reports and bundles carry: JSON types, no file name and no patient in it."""
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
            "roc_auc": _told(self.area),
            "as_it_is": {name: _told(figure) for name, figure in self.as_it_is.items()},
            "adapted": {name: _told(figure) for name, figure in self.adapted.items()},
            "gain": {name: _told(figure) for name, figure in self.gain.items()},
            "cautions": list(self.cautions),
            "pneumoscan_version": pneumoscan.__version__,
        }


def _told(figure: Figure) -> dict[str, Any]:
    return {"value": figure.value, "ci95": list(figure.ci95)}
