"""The report of a study: page, graphs and tables from the records alone; the same records give the same bytes."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumoscan.bundle.spec import probability_of
from pneumoscan.evaluate.drawing import save_figure
from pneumoscan.evaluate.precision_recall import PrecisionRecallDisplay
from pneumoscan.files import make_folder, write_atomic
from pneumoscan.study.graphs import (
    MOST_LINES,
    Curves,
    ForestRow,
    SiteRow,
    SweepPoint,
    draw_convergence,
    draw_forest,
    draw_sites,
    draw_sweep,
)
from pneumoscan.study.plan import BASELINE
from pneumoscan.study.report_page import build_page
from pneumoscan.study.results import Findings, SectionFindings, VariantFindings, films_per_second, gather
from pneumoscan.study.trial_records import EPOCH_FIGURES, TIMES, StudyFolder, TrialRecord
from pneumoscan.study.trials import setting

READ = (
    ("val_loss", "validation loss (nats)"),
    ("val_accuracy", "validation accuracy"),
    ("val_auc", "validation AUC"),
)


def write_report(out: Path) -> Path:
    """Write `report.html`, `figures/`, `trials.csv`, `epochs.csv`, `differences.csv` and, with several sites, `sites.csv`.

    Args:
        out: Folder of the study.

    Returns:
        The path of the page.

    Raises:
        UsageError, DataDamagedError, ConfigError: See `findings.gather`.
        MissingDependencyError: matplotlib or scikit-learn is not installed.
        DiskFullError, NotWritableError: See `files.open_atomic`.
    """
    found = gather(StudyFolder(out))
    graphs = _draw(found, make_folder(out / "figures"))
    write_tables(out, found)
    page = out / "report.html"
    write_atomic(page, build_page(found, graphs))
    return page


def _draw(found: Findings, folder: Path) -> dict[str, bytes]:
    """Draw every graph, save it, and return the SVGs by name."""
    graphs = {}
    base = _curves(found.baseline, is_baseline=True)
    graphs[f"convergence-{BASELINE}"] = save_figure(
        draw_convergence([("", [base])]), folder / f"convergence-{BASELINE}"
    )
    if found.baseline.done:
        first = found.baseline.done[0]
        display = PrecisionRecallDisplay.from_predictions(found.y_true, probability_of(first.logits, 1.0))
        graphs["precision_recall"] = save_figure(display.plot(), folder / "precision_recall")
    for section in found.sections:
        name = section.section.name
        figures = {f"convergence-{name}": draw_convergence(_rows(section, base))}
        rows = [_forest_row(variant) for variant in section.variants]
        if any(row.differences for row in rows):
            figures[f"differences-{name}"] = draw_forest(rows)
        sites = [row for row in map(_site_row, (found.baseline, *section.variants)) if row.areas]
        if sites:
            figures[f"sites-{name}"] = draw_sites(sites)
        if section.section.reads_epochs:
            points = [(title, _points(section, key)) for key, title in READ]
            figures[f"epochs-{name}"] = draw_sweep(
                points, section.section.reads_setting.replace(".", ": ").replace("_", " ")
            )
        for key, figure in figures.items():
            graphs[key] = save_figure(figure, folder / key)
    return graphs


def _rows(section: SectionFindings, base: Curves) -> list[tuple[str, Sequence[Curves]]]:
    """Return the rows of panels: one per group, with a limited number of lines."""
    rows: list[tuple[str, Sequence[Curves]]] = []
    for name, variants in section.groups.items():
        for start in range(0, len(variants), MOST_LINES):
            lines = [_curves(variant) for variant in variants[start : start + MOST_LINES]]
            has_base = any(line.is_baseline for line in lines)
            rows.append((name, lines if has_base else [base, *lines]))
    return rows


def _curves(variant: VariantFindings, *, is_baseline: bool = False) -> Curves:
    same = is_baseline or variant.title != variant.name
    broken = {record.status for record in variant.broken}
    note = f" ({', '.join(sorted(broken))})" if broken else "" if variant.records else " (not ended)"
    return Curves(
        name=variant.title + note,
        histories=[record.history for record in variant.records],
        is_baseline=same,
    )


def _forest_row(variant: VariantFindings) -> ForestRow:
    return ForestRow(variant.title, len(variant.done), variant.differences)


def _site_row(variant: VariantFindings) -> SiteRow:
    """Return the areas under ROC of a variant by site; none if its films come from one site."""
    areas: dict[str, list[float]] = {}
    left_out: set[str] = set()
    for record in variant.done:
        for site, facts in record.figures.get("sites", {}).items():
            if facts["roc_auc"] is not None:
                areas.setdefault(site, []).append(facts["roc_auc"])
            left_out |= {site} if facts["left_out"] else set()
    return SiteRow(variant.title, areas, frozenset(left_out))


def _points(section: SectionFindings, figure: str) -> list[SweepPoint]:
    """Return a figure of seed 0 at each epoch of the section."""
    found = []
    for group, variants in section.groups.items():
        for variant in variants:
            value = float(setting(variant.trial.config, section.section.reads_setting))
            history = variant.records[0].history if variant.records else ()
            by_epoch = {row["epoch"]: row[figure] for row in history}
            found += [
                SweepPoint(group, value, epoch, by_epoch.get(epoch)) for epoch in section.section.reads_epochs
            ]
    return found


# Tables for other programs


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

_SITE_FIGURES = ("n", "n_positive", "n_patients", "roc_auc", "sensitivity", "specificity")
SITE_COLUMNS = (
    "section", "variant", "seed", "trial", "site", "view", "left_out", "n", "n_positive", "n_patients", "roc_auc", "ci95_low",
    "ci95_high", "sensitivity", "specificity",
)  # fmt: skip


def write_tables(folder: Path, found: Findings) -> None:
    """Write `trials.csv`, `epochs.csv`, `differences.csv`, and with several sites `sites.csv`; unknown cells are empty.

    `trials.csv` has a row for every seed of every variant. A trial in several sections has several rows with the same
    `trial`, which is its name in `epochs.csv`.
    """
    _write_table(folder / "trials.csv", TRIAL_COLUMNS, _trial_rows(found))
    _write_table(folder / "epochs.csv", EPOCH_COLUMNS, _epoch_rows(found))
    _write_table(folder / "differences.csv", DIFFERENCE_COLUMNS, _difference_rows(found))
    if by_site := list(_site_rows(found)):
        _write_table(folder / "sites.csv", SITE_COLUMNS, by_site)


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
                for view, own in {"": facts, **facts.get("views", {})}.items():
                    low, high = own["roc_auc_ci95"] or (None, None)
                    counts = {key: own.get(key) for key in _SITE_FIGURES}
                    yield {
                        "section": section, "variant": variant.name, "seed": record.seed, "trial": record.name,
                        "site": site, "view": view, "left_out": facts["left_out"], **counts, "ci95_low": low, "ci95_high": high,
                    }  # fmt: skip


def _at(values: Sequence[Any] | None, place: int) -> Any:
    return values[place] if values is not None and place < len(values) else None


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    write_atomic(path, text.getvalue())


def _cell(value: Any) -> Any:
    return f"{value:.7g}" if isinstance(value, float) else "" if value is None else value
