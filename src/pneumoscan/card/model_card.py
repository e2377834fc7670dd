"""The model card: what its template `card.md` shows beside the bundle, its records and the texts of its authors.

The form is that of M. Mitchell et al., *Model Cards for Model Reporting*, FAT* 2019 (doi 10.1145/3287560.3287596).
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from pneumoscan.card.measured import Records, SeedRecord, read_json
from pneumoscan.classifier import certain_distance, model_name, shown_to_work
from pneumoscan.evaluate.report import PUBLISHED
from pneumoscan.evaluate.stress import FIGURES, readable_name
from pneumoscan.imaging.perturbation import PERTURBATIONS
from pneumoscan.pages import percent, render
from pneumoscan.pages import score as three

LOST = 0.10
"""An alteration is named if sensitivity or specificity falls by more than this."""

CAUGHT = 0.95
"""A kind of picture has a row of its own if the detector recognises less than this share."""

CHANCE = 0.5
"""The share of films in which a random square matters more than another random square."""

Row = Sequence[str]
_SHOWN: dict[str, tuple[str, ...] | None] = {
    "augmentation": None,
    "optimizer": ("name", "learning_rate", "weight_decay"),
    "schedule": ("name", "warmup"),
    "loss": ("class_weights", "label_smoothing"),
    "loop": ("epochs", "batch_size", "micro_batch", "precision", "ema_decay", "restore_best"),
}


def card(records: Records) -> str:
    """Return the whole card as Markdown."""
    spec, detector, stress = records.bundle.spec, records.guard, records.own.metrics.get("stress")
    timed = [record for record in records.seeds if record.minutes is not None]
    shape = spec.training.get("config", {}).get("model", {})
    return render(
        "pneumoscan.card",
        "card.md",
        records=records,
        spec=spec,
        about=records.about,
        metrics=records.own.metrics,
        training=spec.training,
        manifest=records.own.manifest,
        shown_to_work=shown_to_work(spec),
        certain_distance=certain_distance,
        model=model_name(records.bundle),
        onnx_bytes=(records.bundle.path / "model.onnx").stat().st_size,
        hospital_rows=_hospital_rows(records.bundle.records() or {}),
        blind=blind_of(records),
        operating_points=_operating_points(records),
        seed_rows=_seed_rows(records) if len(records.seeds) > 1 else [],
        stress_rows=_stress_rows(stress) if stress else [],
        losses=_losses(stress) if stress else [],
        detector_rows=_detector_rows(detector) if detector else [],
        parts=[
            (part, _settings(_shown(spec.training.get("config", {}).get(part, {}), keys)))
            for part, keys in _SHOWN.items()
        ],
        shape={key: value for key, value in shape.items() if key != "mirrored"},
        seed_sources=[named(records, f"seed-{record.seed}/metrics.json") for record in records.seeds],
        timed=[named(records, f"seed-{record.seed}/history.jsonl") for record in timed],
        core_hours=sum((record.minutes or 0) * record.manifest.get("threads", 0) for record in timed) / 60,
        again=_again(records),
        caught=CAUGHT,
        chance=CHANCE,
        lost=LOST,
        interval=interval,
        listed=_listed,
        settings=_settings,
        minutes=_minutes,
        source=source,
        named=lambda name: named(records, name),
        own=lambda name="metrics.json": own(records, name),
    )


def difference(wanted: str, page: Path) -> str:
    """Return the difference of a page to a card as a unified diff; empty if there is none."""
    found = page.read_text(encoding="utf-8").splitlines(keepends=True) if page.is_file() else []
    lines = wanted.splitlines(keepends=True)
    return "".join(difflib.unified_diff(found, lines, str(page), "from the records"))


def interval(value: float | None, bounds: Sequence[float] | None = None) -> str:
    """Return `0.974 (0.960 to 0.985)`."""
    return three(value) + (f" ({three(bounds[0])} to {three(bounds[1])})" if bounds else "")


def named(records: Records, name: str) -> str:
    """Return the path of a record as the card names it."""
    return f"{records.where}/{name}" if records.where else name


def own(records: Records, name: str = "metrics.json") -> str:
    """Return the path of a record of the seed of the model as the card names it; empty if it is not recorded."""
    if name == "metrics.json" and records.own.from_bundle:
        return "records.json"
    return named(records, f"seed-{records.own.seed}/{name}") if records.own.manifest else ""


def source(*files: str) -> str:
    """Return the words that name the source of a table. Empty names are left out."""
    return f"*Source: {', '.join(f'`{file}`' for file in files if file)}.*"


def _listed(values: Iterable[Any]) -> str:
    """Return `1`, `1 and 2` or `1, 2 and 3`."""
    words = [str(value) for value in values]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} `{str(value).lower()}`" for name, value in values.items()) or "none"


def _minutes(record: SeedRecord) -> str:
    return "an unknown time" if record.minutes is None else f"{record.minutes:.1f} minutes"


def _shown(values: Mapping[str, Any], keys: tuple[str, ...] | None) -> dict[str, Any]:
    """Return the settings that are on; `erase_area` is off if `erase` is."""
    off = {name for name, value in values.items() if value in (None, 0)}
    parents = {name: {other for other in off if name.startswith(f"{other}_")} for name in values}
    wanted = keys or tuple(values)
    return {name: values[name] for name in wanted if name in values and name not in off and not parents[name]}


def _hospital_rows(found: Mapping[str, Any]) -> list[Row]:
    """Return head and rows of the figures of each hospital in `records.json`; empty without them."""
    words = {"all": "all films", "normal": "without films that are abnormal in another way"}
    rows: list[Row] = [
        (
            f"{row['site'] or 'one site'}, {row['view'] or words[row['against']]}"
            + (f", {words[row['against']]}" if row["view"] and row["against"] == "normal" else ""),
            f"{row['n_positive']:,}",
            f"{row['n'] - row['n_positive']:,}",
            interval(row["roc_auc"], row["roc_auc_ci95"]),
            interval(row["sensitivity"], row["sensitivity_ci95"]),
            interval(row["specificity"], row["specificity_ci95"]),
        )
        for row in found.get("sites", ())
    ]
    head = (
        "films of",
        "with pneumonia",
        "without",
        "area under ROC (95%)",
        "sensitivity (95%)",
        "specificity (95%)",
    )
    return [head, *rows] if rows else []


def blind_of(records: Records) -> dict[str, Any] | None:
    """Return the figures of models of this project and of publications on the official test films; None if there are none."""
    folder = records.about.official_folder
    if folder is None:
        return None
    record = read_json(folder / "record.json")
    rows: list[Row] = []
    for look in record["looks"]:
        m = read_json(folder / look["folder"] / "metrics.json")
        correct = m["confusion"]["tp"] + m["confusion"]["tn"]
        area = interval(m["roc_auc"], m["roc_auc_ci95"])
        rates = (three(m["sensitivity"]), three(m["specificity"]))
        rows.append(
            (look["model"], f"{correct} of {m['n']}, {percent(m['accuracy'])}", three(m["f1"]), area, *rates)
        )
    rows += [
        (f"published: {one.model}", percent(one.accuracy), three(one.f1), three(one.roc_auc), "–", "–")
        for one in PUBLISHED
    ]
    evaluated = {look["model"] for look in record["looks"]}
    return {"rows": rows, "evaluated": evaluated, "elsewhere": elsewhere(record["elsewhere"])}


def elsewhere(sets: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of the table of films of other hospitals in `record.json`, with a column for each model."""
    models = list(dict.fromkeys(model for one in sets for model in one["figures"]))
    rows: list[Row] = [
        ("films", "n", "truth", *(f"`{model}`" for model in models)),
        ["---"] * (3 + len(models)),
    ]
    rows += [
        (one["films"], one["n"], one["truth"], *(_cell(one["figures"].get(model)) for model in models))
        for one in sets
    ]
    return [f"| {' | '.join(row)} |" for row in rows]


def _cell(figures: Mapping[str, Any] | None) -> str:
    """Return the figures of one model for one set of films."""
    if figures is None:
        return "–"
    parts = [interval(figures["roc_auc"], figures.get("roc_auc_ci95"))] if "roc_auc" in figures else []
    parts += [f"{view} {three(area)}" for view, area in figures.get("by_view", {}).items()]
    words = {
        "wrong": "{} of {answered} answers wrong",
        "pneumonia": "{} of {answered} answers PNEUMONIA",
        "right": "{} right",
        "warned": "{} with a warning",
    }
    parts += [text.format(figures[key], **figures) for key, text in words.items() if key in figures]
    return "; ".join(parts)


def _operating_points(records: Records) -> dict[str, Any]:
    """Return the rows of the operating points, and the films on which all were chosen, if they are the same."""
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
    return {"rows": rows, "where": where or "the films named as their source"}


def _seed_rows(records: Records) -> list[Row]:
    """Return the figures of each seed, with a head and the spread."""
    columns: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
        "area under ROC": lambda m: m["roc_auc"],
        "accuracy": lambda m: m["accuracy"],
        "sensitivity": lambda m: m["sensitivity"],
        "specificity": lambda m: m["specificity"],
        "stress: mean area": lambda m: m["stress"]["mean"]["roc_auc"],
        "stress: mean accuracy": lambda m: m["stress"]["mean"]["accuracy"],
    }
    values = [[get(record.metrics) for get in columns.values()] for record in records.seeds]
    rows: list[Row] = [("seed", *columns)]
    rows += [
        (f"{record.seed}" + (" (shipped)" if record is records.own else ""), *map(three, row))
        for record, row in zip(records.seeds, values, strict=True)
    ]
    rows.append(("mean ± standard deviation", *(_spread(column) for column in zip(*values, strict=True))))
    return rows


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return "–" if len(known) < 2 else f"{fmean(known):.3f} ± {stdev(known):.3f}"


def _stress_rows(found: Mapping[str, Any]) -> list[Row]:
    views = {view.name: view.description for view in PERTURBATIONS}
    rows: list[Row] = [
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
    lows = (found["worst"][name] for name in FIGURES)
    lowest = (
        "–" if low is None else f"{three(low['value'])} ({readable_name(low['perturbation'])})"
        for low in lows
    )
    rows.append(("**lowest**", "of each figure", *lowest))
    return rows


def _losses(found: Mapping[str, Any]) -> list[str]:
    """Return how far each rate falls in the views where it loses more than `LOST`."""
    parts = []
    for name in ("sensitivity", "specificity"):
        plain = found["plain"][name]
        lost = [row for row in found["table"] if None not in (plain, row[name]) and plain - row[name] > LOST]
        if lost:
            falls = ", ".join(f"{three(row[name])} ({readable_name(row['perturbation'])})" for row in lost)
            parts.append(f"{name} falls from {three(plain)} to {falls}")
    return parts


def _detector_rows(record: Mapping[str, Any]) -> list[Row]:
    """Return the rates of real films, of the alteration with most alarms, and of other pictures with those recognised least."""

    def row(title: str, rates: Mapping[str, float]) -> Row:
        return title, percent(rates["unusual"]), percent(rates["not_a_chest_film"])

    views = dict(record["films"])
    rows = [row("real films, unaltered (should be 0%)", views.pop("as_it_is"))]
    if views:
        most = max(views, key=lambda name: views[name]["unusual"])
        title = f"… with the alteration that gives most alarms, {readable_name(most)} (should be 0%)"
        rows.append(row(title, views[most]))
    for title, kinds in (
        ("real films rotated, inverted or shrunk in {} ways", record["turned"]),
        ("synthetic pictures of {} other kinds", record["drawn"]),
    ):
        mean = {
            name: fmean(rates[name] for rates in kinds.values()) for name in ("unusual", "not_a_chest_film")
        }
        rows.append(row(f"{title.format(len(kinds))}, mean (should be 100%)", mean))
        weak = {kind: rates for kind, rates in kinds.items() if rates["unusual"] < CAUGHT}
        rows += [row(f"… {kind.replace('_', ' ')}", rates) for kind, rates in weak.items()]
    return rows


def _again(records: Records) -> list[str]:
    """Return the commands that train the model again."""
    facts, given = records.bundle.spec.training, records.about.again
    return [
        f"pneumoscan train --preset {facts.get('preset')} --data {given['data']} --out runs/again --set loop.seed={records.own.seed}"
    ]
