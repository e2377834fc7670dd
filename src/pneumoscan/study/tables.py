"""The tables of a study for other programs: trials, epochs, differences and sites."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumoscan.files import write_atomic
from pneumoscan.study.findings import Findings, films_per_second
from pneumoscan.study.records import EPOCH_FIGURES, TIMES, TrialRecord

TRIAL_COLUMNS = (
    "section", "variant", "seed", "trial", "status", "reason", "parameters", "films_per_second", "epochs",
    "kept_epoch", "val_loss", "accuracy", "sensitivity", "specificity", "roc_auc", "average_precision", "best_f1",
    "best_f1_threshold", "stress_roc_auc_mean", "stress_roc_auc_worst", "stress_worst_view",
    "stress_specificity_mean", "stress_specificity_worst",
)  # fmt: skip
EPOCH_COLUMNS = ("trial", "seed", "epoch", *EPOCH_FIGURES, *TIMES)
DIFFERENCE_COLUMNS = (
    "section", "variant", "trial_key", "figure", "seeds", "difference", "ci95_low", "ci95_high", "verdict",
)  # fmt: skip

SITE_COLUMNS = (
    "section", "variant", "seed", "trial", "site", "left_out", "n", "n_positive", "n_patients", "roc_auc", "ci95_low",
    "ci95_high",
)  # fmt: skip


def write_tables(folder: Path, found: Findings) -> None:
    """Write `trials.csv`, `epochs.csv`, `differences.csv`, and with several sites `sites.csv`; unknown cells are empty.

    `trials.csv` has a row for every seed of every variant. A trial in several sections has several rows with the same
    `trial`, which is its name in `epochs.csv`.
    """
    _write(folder / "trials.csv", TRIAL_COLUMNS, _trial_rows(found))
    _write(folder / "epochs.csv", EPOCH_COLUMNS, _epoch_rows(found))
    _write(folder / "differences.csv", DIFFERENCE_COLUMNS, _difference_rows(found))
    if by_site := list(_site_rows(found)):
        _write(folder / "sites.csv", SITE_COLUMNS, by_site)


def _trial_rows(found: Findings) -> Iterable[Mapping[str, Any]]:
    for section, variant in found.variants():
        for record in variant.records:
            yield {"section": section, "variant": variant.name, **_figures(record)}
        for name in variant.missing:
            seed = name.rsplit("seed", 1)[1]
            yield {
                "section": section, "variant": variant.name, "seed": seed, "trial": name, "status": "missing",
            }  # fmt: skip


def _figures(record: TrialRecord) -> dict[str, Any]:
    figures, stress = record.figures, record.figures.get("stress", {})
    best, mean, worst = figures.get("best_f1", {}), stress.get("mean", {}), stress.get("worst", {})
    lowest, least_specific = worst.get("roc_auc") or {}, worst.get("specificity") or {}
    own = ("val_loss", "accuracy", "sensitivity", "specificity", "roc_auc", "average_precision")
    return {
        "seed": record.seed,
        "trial": record.name,
        "status": record.status,
        "reason": record.reason,
        **{key: record.facts.get(key) for key in ("parameters", "epochs", "kept_epoch")},
        "films_per_second": films_per_second(record),
        **{key: figures.get(key) for key in own},
        "best_f1": best.get("f1"),
        "best_f1_threshold": best.get("threshold"),
        "stress_roc_auc_mean": mean.get("roc_auc"),
        "stress_roc_auc_worst": lowest.get("value"),
        "stress_worst_view": lowest.get("perturbation"),
        "stress_specificity_mean": mean.get("specificity"),
        "stress_specificity_worst": least_specific.get("value"),
    }


def _epoch_rows(found: Findings) -> Iterable[Mapping[str, Any]]:
    for record in found.records():
        for place, row in enumerate(record.history):
            times = {key: _at(record.origin.get(key), place) for key in TIMES}
            yield {"trial": record.name, "seed": record.seed, **row, **times}


def _difference_rows(found: Findings) -> Iterable[Mapping[str, Any]]:
    for section, variant in found.variants():
        for figure, difference in variant.differences.items():
            yield {
                "section": section,
                "variant": variant.name,
                "trial_key": variant.trial.key,
                "figure": figure,
                "seeds": len(variant.done),
                "difference": difference.value,
                "ci95_low": difference.ci95[0],
                "ci95_high": difference.ci95[1],
                "verdict": difference.verdict,
            }


def _site_rows(found: Findings) -> Iterable[Mapping[str, Any]]:
    for section, variant in found.variants():
        for record in variant.done:
            for site, facts in record.figures.get("sites", {}).items():
                low, high = facts["roc_auc_ci95"] or (None, None)
                counts = {key: facts[key] for key in ("left_out", "n", "n_positive", "n_patients", "roc_auc")}
                yield {
                    "section": section, "variant": variant.name, "seed": record.seed, "trial": record.name,
                    "site": site, **counts, "ci95_low": low, "ci95_high": high,
                }  # fmt: skip


def _at(values: Sequence[Any] | None, place: int) -> Any:
    return values[place] if values is not None and place < len(values) else None


def _write(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    write_atomic(path, text.getvalue())


def _cell(value: Any) -> Any:
    return f"{value:.7g}" if isinstance(value, float) else "" if value is None else value
