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
    films = found.films
    lines = [
        f"# {found.base['name']} on {films.n} films of {films.n_patients} patients",
        "",
        f"**{found.verdict.words}** Research use only, not for diagnosis.",
        "",
        *(f"- {reason}" for reason in found.verdict.reasons),
        "",
        f"{films.n - films.n_positive} films are labelled NORMAL, {films.n_positive} PNEUMONIA. Evaluated at the operating "
        f"point `{found.operating_point}`.",
        "",
        *_table(found),
        "",
        "95% intervals over patients are in brackets. Lower is better in rows with a star. *Re-fitted* is cross-validated: "
        f"temperature, offset and threshold come from other patients' films ({found.cross_validated.folds} folds, "
        f"{REPEATS} times). A film that `predict` does not answer (UNSURE, NOT_A_CHEST_FILM) counts as wrong in the rows up to "
        "accuracy: its disease is not found. Re-fitting does not change the area under the ROC curve.",
        "",
        *_settings(found),
        "",
        "## What the label can be guessed from without the lungs",
        "",
        *_shortcuts(found.shortcuts),
        "",
        "## Cautions",
        "",
        *(f"- {caution}" for caution in found.cautions),
        "",
    ]
    return "\n".join(lines)


def card(found: Adaptation) -> str:
    """Return the section for the model card."""
    lines = [
        f"# {found.base['name']}, checked on films where it is used",
        "",
        f"**{found.verdict.words}** Research use only. Not a medical device.",
        "",
        f"{found.films.n} labelled films of {found.films.n_patients} patients, {found.films.n_positive} of them PNEUMONIA; "
        f"network of `{found.base['name']}`, SHA-256 `{found.base['sha256']}`.",
        "",
        *_table(found),
        "",
        *_settings(found),
        "",
        "The card of the original model follows; its temperature and thresholds are those of that model."
        if found.verdict.advice == "use_adapted"
        else "Temperature and thresholds are unchanged. The card of the model follows.",
        "",
    ]
    return "\n".join(lines)


def _table(found: Adaptation) -> list[str]:
    rows = [
        f"| {title} | {shown(found.as_it_is[name])} | {shown(found.adapted[name])} | {shown(found.gain[name], '+')} |"
        for name, title in NAMES.items()
    ]
    return [
        "| | as it is | re-fitted | difference |",
        "|---|---|---|---|",
        f"| area under ROC | {shown(found.area)} | the same | |",
        *rows,
    ]


def _shortcuts(found: Shortcuts) -> list[str]:
    if not found.probes:
        return [f"Not measured: {found.note}."]
    rows = [f"| {probe.title} | {probe.sees} | {probe.roc_auc:.3f} |" for probe in found.probes]
    return [
        "| linear model of | that is | AUC |",
        "|---|---|---|",
        *rows,
        "",
        f"Mean of {found.n_folds} folds by patient; 0.5 is chance. A network shows something only if its area is above all of "
        f"these by more than {MARGIN:.2f}.",
    ]


def _settings(found: Adaptation) -> list[str]:
    fitted, used = found.fitted, found.verdict.advice
    note = {"use_adapted": "in the new bundle", "use_as_it_is": "the new bundle keeps the first row"}
    return [
        f"| {note.get(used, 'no bundle was written')} | temperature | offset | threshold |",
        "|---|---|---|---|",
        f"| as it is | {found.temperature_before:.4g} | 0 | {found.threshold_before:.4f} |",
        f"| re-fitted on all films | {fitted.temperature:.4g} | {fitted.offset:+.4g} | "
        f"{fitted.threshold(found.operating_point):.4f} |",
    ]


def shown(figure: Figure, sign: str = "") -> str:
    """Return a figure with its interval, such as `0.912 (0.850 to 0.960)`."""
    return f"{figure.value:{sign}.3f} ({figure.low:{sign}.3f} to {figure.high:{sign}.3f})"
