"""The report of a study: page, graphs and tables from the records alone; the same records give the same bytes."""

from collections.abc import Sequence
from pathlib import Path

from pneumoscan.bundle.spec import probability_of
from pneumoscan.evaluate.drawing import save_figure
from pneumoscan.evaluate.precision_recall import PrecisionRecallDisplay
from pneumoscan.files import make_folder, write_atomic
from pneumoscan.study.curves import MOST_LINES, Curves, draw_convergence
from pneumoscan.study.figures import ForestRow, SiteRow, SweepPoint, draw_forest, draw_sites, draw_sweep
from pneumoscan.study.findings import Findings, SectionFindings, VariantFindings, gather
from pneumoscan.study.folder import StudyFolder
from pneumoscan.study.page import build_page
from pneumoscan.study.plan import BASELINE
from pneumoscan.study.tables import write_tables
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
