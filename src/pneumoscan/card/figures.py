"""The sections of the model card with figures: held-out patients, operating points, seeds, calibration, stress test."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from pneumoscan.card.markdown import interval, named, not_measured, own, percent, source, table, three
from pneumoscan.card.records import Records
from pneumoscan.evaluate.stress import FIGURES, readable_name
from pneumoscan.imaging.perturbation import PERTURBATIONS

LOST = 0.10
"""An alteration is named if sensitivity or specificity falls by more than this."""


def held_out(records: Records) -> list[str]:
    """Return the figures of held-out patients."""
    m, heading = records.own.metrics, ["## Figures on held-out patients", ""]
    if not m:
        return [*heading, *not_measured("The figures on held-out patients", "record of this model")]
    counts = m["confusion"]
    names = {"roc_auc": "area under ROC"} | {
        name: name for name in ("accuracy", "sensitivity", "specificity", "precision")
    }
    rows = [(shown, interval(m[name], m[f"{name}_ci95"])) for name, shown in names.items()]
    rows += [
        ("F1", three(m["f1"])),
        ("Brier score", three(m["brier_score"])),
        ("calibration error, 15 bins", three(m["expected_calibration_error"])),
    ]
    return [
        *heading,
        f"{m['n']} films of {m['n_patients'] or 'an unknown number of'} patients who are not in the training films, {m['n_positive']} "
        f"({percent(m['prevalence'])}) with pneumonia, at the threshold of the model, {three(m['threshold'])}. {counts['fn']} films with "
        f"pneumonia were missed, and {counts['fp']} normal films were labelled PNEUMONIA.",
        "",
        *table(("", "value (95% interval)"), rows),
        *source(
            own(records),
            then="The interval of the area is a bootstrap over patients. The others are Wilson intervals, which take films as independent. Note:",
        ),
        "",
        *(f"- {text}" for text in m.get("cautions", ())),
        records.about.held_out,
    ]


def operating_points(records: Records) -> list[str]:
    """Return the thresholds of the model."""
    spec = records.bundle.spec
    cut = {name: point["source"].partition(", on ") for name, point in spec.thresholds.items()}
    shared = {tail for _, _, tail in cut.values()}
    rows = [
        (
            f"`{name}`" + (" (default)" if name == spec.default_operating_point else ""),
            cut[name][0] if len(shared) == 1 else point["source"],
            three(point["threshold"]),
            interval(point.get("recall"), point.get("recall_ci95")),
            interval(point.get("specificity"), point.get("specificity_ci95")),
        )
        for name, point in spec.thresholds.items()
    ]
    where = shared.pop() if len(shared) == 1 else "the films named as its source"
    return [
        "### Operating points",
        "",
        f"`--operating-point NAME` selects one. They were chosen, and their rates measured, on {where or 'the films named as their source'}.",
        "",
        *table(("", "chosen as", "threshold", "sensitivity (95%)", "specificity (95%)"), rows),
        *source("model.json"),
    ]


def seeds(records: Records) -> list[str]:
    """Return the spread over trainings with other seeds."""
    heading = ["### Spread over seeds", ""]
    if len(records.seeds) < 2:
        return [
            *heading,
            *not_measured("The spread over seeds", f"second `metrics.json` in `{named(records, 'seed-*')}`"),
        ]
    columns: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
        "area under ROC": lambda m: m["roc_auc"],
        "accuracy": lambda m: m["accuracy"],
        "sensitivity": lambda m: m["sensitivity"],
        "specificity": lambda m: m["specificity"],
        "stress: mean area": lambda m: m["stress"]["mean"]["roc_auc"],
        "stress: mean accuracy": lambda m: m["stress"]["mean"]["accuracy"],
    }
    values = [[get(record.metrics) for get in columns.values()] for record in records.seeds]
    rows = [
        (f"{record.seed}" + (" (shipped)" if record is records.own else ""), *map(three, row))
        for record, row in zip(records.seeds, values, strict=True)
    ]
    rows.append(("mean ± standard deviation", *(_spread(column) for column in zip(*values, strict=True))))
    return [
        *heading,
        "Trainings that differ only in the seed, each at its own threshold. The standard deviation is over the seeds.",
        "",
        *table(("seed", *columns), rows),
        *source(*(named(records, f"seed-{record.seed}/metrics.json") for record in records.seeds)),
    ]


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return "–" if len(known) < 2 else f"{fmean(known):.3f} ± {stdev(known):.3f}"


def calibration(records: Records) -> list[str]:
    """Return the calibration before and after the temperature."""
    facts, heading = records.bundle.spec.calibration, ["### Calibration of the probabilities", ""]
    if not facts:
        return [
            *heading,
            *not_measured("Calibration before and after the temperature", "`calibration` in model.json"),
        ]
    rows = [
        (
            f"{when} (temperature {facts[when]['temperature']:.3f})",
            *(three(facts[when][name]) for name in ("log_loss", "expected_calibration_error", "brier_score")),
        )
        for when in ("before", "after")
    ]
    return [
        *heading,
        f"A temperature was fitted. On {facts['n']} {facts['source']} (lower is better):",
        "",
        *table(("", "log loss", "calibration error", "Brier score"), rows),
        *source(
            "model.json",
            then="The probabilities are wrong where pneumonia is rarer or more common than in these films; `predict --prevalence` gives predictive values.",
        ),
    ]


def stress(records: Records) -> list[str]:
    """Return the figures on altered films, and the alterations where the model fails."""
    heading, found = ["## Stress test: the same films altered", ""], records.own.metrics.get("stress")
    if found is None:
        return [*heading, *not_measured("The altered films", "stress test of this model")]
    views = {view.name: view.description for view in PERTURBATIONS}
    rows = [
        (
            readable_name(row["perturbation"]),
            views.get(row["perturbation"], "the films as they are"),
            interval(row["roc_auc"], row["roc_auc_ci95"]),
            *(three(row[name]) for name in FIGURES[1:]),
        )
        for row in (found["plain"], *found["table"])
    ]
    rows.append(
        (
            "**mean**",
            f"of the {len(found['table'])} alterations",
            *(three(found["mean"][name]) for name in FIGURES),
        )
    )
    rows.append(("**lowest**", "of each figure", *(_lowest(found["worst"][name]) for name in FIGURES)))
    return [
        *heading,
        "The held-out films, altered as another machine or another crop would alter them, at the same threshold. A model that "
        "uses the lungs keeps its figures, except for a small loss where parts of the lungs are cut off (crop 70) or blurred.",
        "",
        *table(
            ("alteration", "description", "area under ROC (95%)", "accuracy", "sensitivity", "specificity"),
            rows,
        ),
        *source(own(records), then=_where_it_fails(found)),
    ]


def _lowest(low: Mapping[str, Any] | None) -> str:
    return "–" if low is None else f"{three(low['value'])} ({readable_name(low['perturbation'])})"


def _where_it_fails(found: Mapping[str, Any]) -> str:
    parts = []
    for name in ("sensitivity", "specificity"):
        plain = found["plain"][name]
        lost = [row for row in found["table"] if None not in (plain, row[name]) and plain - row[name] > LOST]
        if lost:
            falls = ", ".join(f"{three(row[name])} ({readable_name(row['perturbation'])})" for row in lost)
            parts.append(f"{name} falls from {three(plain)} to {falls}")
    if not parts:
        return f"No alteration lowers sensitivity or specificity by more than {LOST:.2f}."
    return f"**The model fails** (loss of more than {LOST:.2f}) here: {'; '.join(parts)}. Do not trust the label of such films."
