"""The section of the model card about blind evaluations, beside published results on the same films."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumoscan.card.markdown import interval, percent, source, table, three
from pneumoscan.card.records import Records, read_json
from pneumoscan.classifier import model_name
from pneumoscan.evaluate.page import PUBLISHED

_HEAD = ("model", "correct at its own threshold", "F1", "area under ROC (95%)", "sensitivity", "specificity")


def blind(records: Records) -> list[str]:
    """Return the figures of models of this project and of publications on the official test films."""
    folder = records.about.official_folder
    if folder is None:
        return []
    record = read_json(folder / "record.json")
    model = model_name(records.bundle)
    evaluated = any(look["model"] == model for look in record["looks"])
    note = (
        "" if evaluated else f" **The model of this card, {model}, has not been evaluated on these films.**"
    )
    return [
        "## Blind evaluation",
        "",
        "The 624 official test films were evaluated by somebody else, after all choices had been made on films of `train`."
        + note,
        "",
        *table(_HEAD, [*_looks(folder, record["looks"]), *_published()]),
        *source("results/official"),
        "",
        "Films of other hospitals, evaluated in the same way. *n* counts films with pneumonia and healthy ones. Unless another figure "
        "is named, the cells give the area under ROC (95% interval).",
        "",
        *elsewhere(record["elsewhere"]),
    ]


def elsewhere(sets: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the table of films of other hospitals in `record.json`, with a column for each model."""
    models = list(dict.fromkeys(model for one in sets for model in one["figures"]))
    rows = [
        (one["films"], one["n"], one["truth"], *(_cell(one["figures"].get(model)) for model in models))
        for one in sets
    ]
    return table(("films", "n", "truth", *(f"`{model}`" for model in models)), rows)


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


def _looks(folder: Path, looks: Iterable[Mapping[str, Any]]) -> Iterable[Sequence[str]]:
    for look in looks:
        m = read_json(folder / look["folder"] / "metrics.json")
        correct = m["confusion"]["tp"] + m["confusion"]["tn"]
        yield (
            look["model"],
            f"{correct} of {m['n']}, {percent(m['accuracy'], 1)}",
            three(m["f1"]),
            interval(m["roc_auc"], m["roc_auc_ci95"]),
            three(m["sensitivity"]),
            three(m["specificity"]),
        )


def _published() -> Iterable[Sequence[str]]:
    for one in PUBLISHED:
        yield f"published: {one.model}", percent(one.accuracy, 1), three(one.f1), three(one.roc_auc), "–", "–"
