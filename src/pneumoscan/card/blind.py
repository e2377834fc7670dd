"""The section of the model card about blind evaluations, beside published results on the same films."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumoscan.card.markdown import interval, percent, source, table, three
from pneumoscan.card.records import Records, read_json
from pneumoscan.evaluation.published import PUBLISHED
from pneumoscan.inference.rows import model_name

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
        "Films of adults at other hospitals, evaluated in the same way:",
        "",
        *(
            f"- {one['films']}: area under ROC {interval(one['roc_auc'], one['roc_auc_ci95'])}, {one['warned']} of {one['n']:,} "
            f"films with a warning ({one['model']})."
            for one in record["elsewhere"]
        ),
    ]


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
