"""The report of a study: page, graphs and tables from the records alone; the same records give the same bytes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pneumoscan.bundle.spec import probability_of
from pneumoscan.evaluate.drawing import save_figure
from pneumoscan.evaluate.precision_recall import PrecisionRecallDisplay
from pneumoscan.evaluate.stress import readable_name
from pneumoscan.files import make_folder, write_atomic
from pneumoscan.pages import percent, plural, render, score
from pneumoscan.study.differences import COMPARED, PRIMARY, peak_of, stop_of
from pneumoscan.study.evaluation import RESAMPLES
from pneumoscan.study.forecast import in_words
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
from pneumoscan.study.results import (
    Findings,
    SectionFindings,
    VariantFindings,
    films_per_second,
    gather,
    write_tables,
)
from pneumoscan.study.trial_records import StudyFolder, TrialRecord
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
        UsageError, DataDamagedError, ConfigError: See `results.gather`.
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


# The page


def build_page(found: Findings, graphs: Mapping[str, bytes]) -> str:
    """Return the page as HTML; it opens offline.

    Args:
        found: The results.
        graphs: SVG by name: `precision_recall`; for each section `convergence-NAME`, and `differences-NAME`, `epochs-NAME`, `sites-NAME`
            if there is something to draw.
    """
    known = {COMPARED[name]: found.comparison.seed_factor[name] for name in PRIMARY}
    compared = {
        (variant.trial.key, name)
        for _, variant in found.variants()
        for name in PRIMARY
        if name in variant.differences
    }
    return render(
        "pneumoscan.study",
        "study.html",
        found=found,
        plan=found.plan,
        base=found.baseline,
        graphs=graphs,
        summary=_summary(found),
        cautions=_cautions(found),
        spread=" and ".join(
            f"{100 * f:.0f}% of the error ({name})" for name, f in known.items() if f is not None
        ),
        conclusions=len(compared),
        thresholds=_thresholds(found.baseline.done),
        provenance=_provenance(found),
        primary=PRIMARY,
        resamples=RESAMPLES,
        change=_change,
        shown=_shown,
        tally=_tally,
        signed=lambda value: score(value, 4, "+").replace("-", "−"),
        epochs=_by_epoch,
        peaks=_peaks,
        stops=_stops,
        setting_of_base=lambda name: str(setting(found.plan.baseline_config(), name)),
    )


def _summary(found: Findings) -> str:
    facts, records = found.facts, found.records()
    spent = sum(sum(record.origin.get("seconds", ())) for record in records)
    evaluated = sum(record.origin.get("judging_seconds", 0) for record in records)
    return (
        f"{len(records)} trials of {len({record.key for record in records})} configurations, "
        f"{sum(len(record.history) for record in records):,} epochs, {in_words(spent + evaluated)} of computing. "
        f"{facts.train:,} training films; {facts.held_out:,} films of {facts.patients:,} other patients held out, "
        f"{int(found.y_true.sum()):,} of them with pneumonia."
    )


def _cautions(found: Findings) -> list[str]:
    records = found.records()
    missing = {name for _, variant in found.variants() for name in variant.missing}
    diverged = sum(record.status == "diverged" for record in records)
    said = []
    if found.facts.synthetic:
        said.append(
            "These films are synthetic: the figures show that the program works. They say nothing about patients."
        )
    if missing:
        said.append(
            f"{len(missing)} planned trials have not ended, so conclusions that need them are missing."
        )
    said += [f"Trial {each.name} failed: {each.reason}" for each in records if each.status == "failed"]
    if diverged:
        said.append(
            f"{plural(diverged, 'trial')} diverged: the loss was no longer a finite number. This is a result, and is listed in its "
            "section."
        )
    said.append(
        "Epochs, best variants and best thresholds were chosen on the films that the figures come from, so all figures are "
        "somewhat too good. No film of the test split was read."
    )
    return said


def _provenance(found: Findings) -> dict[str, str]:
    machines, software = set(), set()
    for origin in (record.origin for record in found.records()):
        machines.add(f"{origin['machine']['processor']}, {origin['machine']['cores']} cores")
        packages = ", ".join(f"{name} {version}" for name, version in origin["packages"].items() if version)
        software.add(
            f"pneumoscan {origin['pneumoscan']} ({origin['commit'] or 'no commit'}), Python {origin['python']}, {packages}"
        )
    conditions = found.facts.conditions
    machine = conditions.machine
    return {
        "study": found.plan.study.name,
        "preset": found.plan.study.preset,
        "data SHA-256": conditions.data_sha256,
        "hold-out SHA-256": conditions.held_out_sha256,
        "each trial uses": f"{machine.worker_threads} worker threads in {machine.precision} on {machine.device}",
        "machines": "; ".join(sorted(machines)),
        "software": "; ".join(sorted(software)),
    }


def _change(variant: VariantFindings) -> str:
    changes = [f"{key} {json.dumps(value)}" for key, value in variant.change.items()]
    if variant.trial.config.augmentation.is_off and len(changes) > 1:
        # Eight settings at 0 count as one change.
        changes = ["no augmentation", *(text for text in changes if not text.startswith("augmentation."))]
    return ", ".join(changes)


def _shown(variant: VariantFindings) -> dict[str, Any]:
    """Return what the tables show of a variant with finished trials: means over their seeds."""

    def mean(*path: str) -> float | None:
        def figure(record: TrialRecord) -> float | None:
            value: Any = record.figures
            for key in path:
                value = (value or {}).get(key)
            return None if value is None else float(value)

        return variant.mean(figure)

    best = [record.figures["best_f1"] for record in variant.done]
    at = sorted({row["threshold"] for row in best})
    stress = {}
    for name in ("roc_auc", "specificity"):
        lows = [record.figures["stress"]["worst"][name] or {} for record in variant.done]
        views = {low.get("perturbation") for low in lows}
        stress[name] = {
            "mean": mean("stress", "mean", name),
            "worst": mean("stress", "worst", name, "value"),
            "view": readable_name(str(views.pop())) if len(views) == 1 else "various",
        }
    return {
        "speed": variant.mean(films_per_second),
        "kept_epoch": _span([record.facts["kept_epoch"] for record in variant.done]),
        **{name: mean(name) for name in ("val_loss", "accuracy", "roc_auc")},
        "best_f1": fmean(row["f1"] for row in best),
        "best_f1_at": f"{at[0]:.2f}" if len(at) == 1 else f"{at[0]:.2f}–{at[-1]:.2f}",
        "stress": stress,
    }


def _tally(section: SectionFindings) -> str:
    found = [variant.differences.get("stress_roc_auc") for variant in section.variants]
    verdicts = [each.verdict for each in found if each is not None]
    return ", ".join(f"{verdicts.count(word)} {word}" for word in dict.fromkeys(verdicts))


def _thresholds(records: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """Return the 17 rows of the thresholds, as means over seeds."""
    rows = []
    for same in zip(*(record.figures["thresholds"] for record in records), strict=True):
        f1 = [row["f1"] for row in same]
        means = [fmean(row[name] for row in same) for name in ("precision", "recall", "f1", "accuracy")]
        rows.append({"threshold": same[0]["threshold"], "means": means, "low": min(f1), "high": max(f1)})
    top = max(rows, key=lambda row: row["means"][2], default=None)
    return [row | {"best": row is top} for row in rows]


def _by_epoch(section: SectionFindings) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return head and rows of validation loss, accuracy and AUC of seed 0 after each epoch of the section."""
    epochs, rows = section.section.reads_epochs, []
    for variant in section.variants:
        history = variant.records[0].history if variant.records else ()
        at = [{row["epoch"]: row for row in history}.get(epoch, {}) for epoch in epochs]
        losses, areas = ([score(row.get(name), 4) for row in at] for name in ("val_loss", "val_auc"))
        rows.append((variant.title, *losses, *(percent(row.get("val_accuracy")) for row in at), *areas))
    names = [f"val. {name}, epoch {epoch}" for name in ("loss", "accuracy", "AUC") for epoch in epochs]
    return ("variant", *names), rows


def _peaks(section: SectionFindings) -> list[tuple[str, ...]]:
    """Return how each trial of a section continued after its best epoch."""
    rows: list[tuple[str, ...]] = []
    for variant in section.variants:
        for record in variant.done:
            peak = peak_of(record.history)
            if peak is None:
                continue
            rise = peak.last_loss / peak.best_loss - 1 if peak.best_loss else 0.0
            rows.append((
                f"{variant.title}, seed {record.seed}",
                f"{peak.best_loss:.4f} (epoch {peak.best_epoch})",
                f"{peak.last_loss:.4f} (epoch {peak.epochs})",
                f"{100 * rise:+.0f}%".replace("-", "−"),
                f"{percent(peak.best_accuracy)} (epoch {peak.best_accuracy_epoch})",
                percent(peak.last_accuracy),
            ))  # fmt: skip
    return rows


def _stops(section: SectionFindings) -> list[tuple[str, ...]]:
    """Return what early stopping with each patience of the section would have done."""
    rows: list[tuple[str, ...]] = []
    for variant in section.variants:
        histories = [record.history for record in variant.done if peak_of(record.history)]
        least = [min(row["val_loss"] for row in history) for history in histories]
        for patience in section.section.reads_patience if histories else ():
            stops = [stop_of(history, patience) for history in histories]
            lost = fmean(stop.loss - best for stop, best in zip(stops, least, strict=True))
            rows.append((
                f"{variant.title}, patience {patience}",
                _span([stop.stopped for stop in stops]),
                _span([stop.kept for stop in stops]),
                f"{fmean(stop.loss for stop in stops):.4f}",
                f"{lost:+.4f}" if lost else "nothing",
                f"{100 * fmean(stop.saved for stop in stops):.0f}% of the epochs",
            ))  # fmt: skip
    return rows


def _span(epochs: Sequence[int]) -> str:
    low, high = min(epochs), max(epochs)
    return str(low) if low == high else f"{low}–{high}"
