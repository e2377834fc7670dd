"""The report of an adaptation: Markdown for readers, JSON for programs, and a section for the model card."""

import csv
import io
from pathlib import Path

from pneumoscan.adapt.adaptation import Adaptation
from pneumoscan.adapt.figures import Figure
from pneumoscan.adapt.fit import REPEATS
from pneumoscan.audit.shortcuts import MARGIN, Shortcuts
from pneumoscan.files import write_atomic, write_json

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
