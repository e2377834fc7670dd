"""The result of an adaptation, and its report: Markdown for readers, JSON for programs, and a section for the model card."""

import csv
import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pneumoscan
from pneumoscan.adapt.films import HospitalFilms
from pneumoscan.adapt.fit import REPEATS, CrossValidated, Fit
from pneumoscan.adapt.verdict import Figure, Figures, Verdict
from pneumoscan.audit.shortcuts import MARGIN, Shortcuts
from pneumoscan.files import write_atomic, write_json
from pneumoscan.pages import render

SCHEMA_VERSION = 1
NAMES = {
    "answered": "answered",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "log_loss": "log loss *",
    "brier_score": "Brier score *",
    "expected_calibration_error": "calibration error *",
}


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


def write_report(folder: Path, found: Adaptation) -> None:
    """Write `adaptation.json`, `adaptation.md` and, if a film was refused, `refused.csv`.

    Raises:
        DiskFullError, NotWritableError: See `files.open_atomic`.
    """
    if found.films.refused:
        text = io.StringIO(newline="")
        rows = csv.writer(text, lineterminator="\n")
        rows.writerows((("path", "error_code", "error"), *found.films.refused))
        write_atomic(folder / "refused.csv", text.getvalue().encode("utf-8", "surrogateescape"))
    write_atomic(folder / "adaptation.md", markdown(found))
    write_json(folder / "adaptation.json", found.to_json())


def markdown(found: Adaptation) -> str:
    """Return the report."""
    return _rendered("adaptation.md", found)


def card(found: Adaptation) -> str:
    """Return the section for the model card."""
    return _rendered("section.md", found)


def _rendered(template: str, found: Adaptation) -> str:
    return render(
        "pneumoscan.adapt", template, found=found, names=NAMES, shown=shown, repeats=REPEATS, margin=MARGIN
    )


def shown(figure: Figure, sign: str = "") -> str:
    """Return a figure with its interval, such as `0.912 (0.850 to 0.960)`."""
    return f"{figure.value:{sign}.3f} ({figure.low:{sign}.3f} to {figure.high:{sign}.3f})"
