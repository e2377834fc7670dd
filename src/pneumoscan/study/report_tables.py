"""The tables of the report of a study as HTML: reasons, figures, thresholds, epochs, and early stopping."""

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from statistics import fmean
from typing import Any

from pneumoscan.evaluate.stress import readable_name
from pneumoscan.pages import percent, score
from pneumoscan.study.compare import PRIMARY, Difference, Stop, StudyComparison, peak_of, stop_of
from pneumoscan.study.results import SectionFindings, VariantFindings, films_per_second
from pneumoscan.study.trial_records import TrialRecord


def reasons(variants: Sequence[VariantFindings]) -> str:
    """Return the table of changes, reasons, expectations and results."""
    rows = "".join(
        f'<tr><th scope="row">{safe(variant.title)}<span class="change">{safe(_change(variant))}</span></th>'
        f"<td>{safe(variant.why)}</td><td>{safe(variant.expect)}</td><td>{_came_out(variant)}</td></tr>"
        for variant in variants
    )
    return (
        '<table class="reasons"><thead><tr><th>variant and change</th><th>reason</th><th>expectation</th>'
        f"<th>result</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _change(variant: VariantFindings) -> str:
    changes = [f"{key} {json.dumps(value)}" for key, value in variant.change.items()]
    if variant.trial.config.augmentation.is_off and len(changes) > 1:
        # Eight settings at 0 count as one change.
        changes = ["no augmentation", *(text for text in changes if not text.startswith("augmentation."))]
    return ", ".join(changes)


def _came_out(variant: VariantFindings) -> str:
    lines = [
        f"Seed {record.seed}: <b>{record.status}</b> after {count(len(record.history), 'complete epoch')}: {safe(record.reason)}"
        for record in variant.broken
    ]
    if variant.done:
        areas = {
            "roc_auc": ("Unchanged", variant.mean(lambda record: record.figures["roc_auc"])),
            "stress_roc_auc": ("Stress test", variant.mean(TrialRecord.score)),
        }
        for name, (title, value) in areas.items():
            difference = variant.differences.get(name)
            verdict = f", {_verdict(difference.verdict)}" if difference is not None else ""
            lines.append(f"{title}: AUC {_number(value, '.4f')}{verdict}.")
    lines += [f"{count(len(variant.missing), 'trial')} not ended."] if variant.missing else []
    return "<br>".join(lines)


def numbers(variants: Sequence[VariantFindings], base: VariantFindings) -> str:
    """Return the table of figures, the baseline first if it is among the variants."""
    shown = [base] if base in variants else []
    shown += [variant for variant in variants if variant is not base]
    rows = "".join(_number_row(variant, base) for variant in shown)
    heads = (
        "variant", "seeds", "parameters", "films/s", "best epoch", "val. loss", "accuracy", "AUC", "best F1 (at)",
        "AUC, stress test: mean / lowest", "specificity, stress test: mean / lowest", "AUC: difference",
        "AUC, stress test: difference",
    )  # fmt: skip
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _number_row(variant: VariantFindings, base: VariantFindings) -> str:
    kind = "reference" if variant.trial.key == base.trial.key else ""
    parameters = next((record.facts["parameters"] for record in variant.records), None)
    size = "–" if parameters is None else f"{parameters:,}"
    if not variant.done:
        why = safe(", ".join(dict.fromkeys(record.status for record in variant.broken)) or "not ended")
        return f'{_opening(variant.title, kind)}<td>0</td><td>{size}</td><td colspan="10">{why}</td></tr>'
    cells = (
        str(len(variant.done)),
        size,
        _number(variant.mean(films_per_second), ".0f"),
        *_as_they_are(variant),
        _best_f1(variant.done),
        _stress(variant, "roc_auc"),
        _stress(variant, "specificity"),
        *(difference_cell(variant.differences.get(name), variant) for name in PRIMARY),
    )
    return _row(variant.title, cells, kind)


def _as_they_are(variant: VariantFindings) -> tuple[str, str, str, str]:
    """Return the cells of kept epoch, validation loss, accuracy and AUC."""
    return (
        _epochs([record.facts["kept_epoch"] for record in variant.done]),
        _number(variant.mean(lambda record: record.figures["val_loss"]), ".4f"),
        percent(variant.mean(lambda record: record.figures["accuracy"])),
        _number(variant.mean(lambda record: record.figures["roc_auc"]), ".4f"),
    )


def best_table(section: SectionFindings, reference: VariantFindings, comparison: StudyComparison) -> str:
    """Return the best variant of each group of a section, compared with one of them."""
    rows = []
    for name, variant in section.bests.items():
        cells = [
            safe(variant.title),
            str(len(variant.done)),
            *_as_they_are(variant),
            _stress(variant, "roc_auc"),
        ]
        for figure in PRIMARY:
            difference = comparison.difference(variant.trial.key, reference.trial.key, figure)
            cells.append("–" if variant is reference else difference_cell(difference, variant))
        rows.append(_row(name, cells))
    heads = [
        section.section.confirm_best_by, "best variant", "seeds", "best epoch", "val. loss", "accuracy", "AUC",
        "AUC, stress test: mean / lowest", f"AUC: difference to {reference.title}",
        f"AUC, stress test: difference to {reference.title}",
    ]  # fmt: skip
    return _table("numbers", heads, rows)


def threshold_table(base: VariantFindings) -> str:
    """Return precision, recall, F1 and accuracy at the 17 thresholds, as means over the seeds of the baseline."""
    tables = [record.figures["thresholds"] for record in base.done]
    rows = [
        {key: [table[place][key] for table in tables] for key in tables[0][0]}
        for place in range(len(tables[0]))
    ]
    top = max(rows, key=lambda row: fmean(row["f1"]))
    lines = []
    for row in rows:
        cells = [f"{fmean(row[key]):.3f}" for key in ("precision", "recall", "f1", "accuracy")]
        cells.append(f"{min(row['f1']):.3f} to {max(row['f1']):.3f}")
        cells.append("best F1" if row is top else "")
        lines.append(_row(f"{row['threshold'][0]:.2f}", cells, "best" if row is top else ""))
    return (
        '<table class="narrow"><thead><tr><th>threshold</th><th>precision</th><th>recall</th><th>F-score</th>'
        "<th>accuracy</th><th>F-score by seed</th><th></th></tr></thead>"
        f'<tbody>{"".join(lines)}</tbody></table><p class="note">Means over {count(len(tables), "seed")}. A film is labelled '
        "PNEUMONIA when its probability is at least the threshold.</p>"
    )


def epoch_table(section: SectionFindings) -> str:
    """Return validation loss, accuracy and AUC of seed 0 after each epoch of the section."""
    epochs = section.section.reads_epochs
    rows = []
    for variant in section.variants:
        history = variant.records[0].history if variant.records else ()
        by_epoch = {row["epoch"]: row for row in history}
        cells = [_number(by_epoch.get(epoch, {}).get("val_loss"), ".4f") for epoch in epochs]
        cells += [percent(by_epoch.get(epoch, {}).get("val_accuracy")) for epoch in epochs]
        cells += [_number(by_epoch.get(epoch, {}).get("val_auc"), ".4f") for epoch in epochs]
        rows.append(table_row(variant.title, cells))
    heads = [f"val. {name}, epoch {epoch}" for name in ("loss", "accuracy", "AUC") for epoch in epochs]
    return _table("numbers", ["variant", *heads], rows)


def peak_table(section: SectionFindings) -> str:
    """Return how each trial of a section continued after its best epoch."""
    rows = []
    for variant in section.variants:
        for record in variant.done:
            peak = peak_of(record.history)
            if peak is None:
                continue
            rise = peak.last_loss / peak.best_loss - 1 if peak.best_loss else 0.0
            cells = (
                f"{peak.best_loss:.4f} (epoch {peak.best_epoch})",
                f"{peak.last_loss:.4f} (epoch {peak.epochs})",
                f"{100 * rise:+.0f}%".replace("-", "−"),
                f"{percent(peak.best_accuracy)} (epoch {peak.best_accuracy_epoch})",
                percent(peak.last_accuracy),
            )
            rows.append(table_row(f"{variant.title}, seed {record.seed}", cells))
    heads = ["trial", "least val. loss", "at the end", "rise", "highest val. accuracy", "at the end"]
    return _table("narrow", heads, rows)


def stop_table(section: SectionFindings) -> str:
    """Return what early stopping with each patience of the section would have done."""
    rows = []
    for variant in section.variants:
        histories = [record.history for record in variant.done if peak_of(record.history)]
        for patience in section.section.reads_patience if histories else ():
            stops = [stop_of(history, patience) for history in histories]
            rows.append(table_row(f"{variant.title}, patience {patience}", _stop_cells(stops, histories)))
    heads = [
        "early stopping would have",
        "stopped after epoch",
        "kept epoch",
        "val. loss there",
        "lost by stopping",
        "saved",
    ]
    return _table("narrow", heads, rows)


def _stop_cells(stops: Sequence[Stop], histories: Sequence[Sequence[Mapping[str, Any]]]) -> Sequence[str]:
    best = [min(row["val_loss"] for row in history) for history in histories]
    lost = fmean(stop.loss - least for stop, least in zip(stops, best, strict=True))
    return (
        _epochs([stop.stopped for stop in stops]),
        _epochs([stop.kept for stop in stops]),
        f"{fmean(stop.loss for stop in stops):.4f}",
        f"{lost:+.4f}" if lost else "nothing",
        f"{100 * fmean(stop.saved for stop in stops):.0f}% of the epochs",
    )


def difference_cell(difference: Difference | None, variant: VariantFindings) -> str:
    """Return a difference, its interval and the conclusion, for a cell of a table."""
    if difference is None:
        return "the baseline" if variant.done else "–"
    low, high = difference.ci95
    interval = f"{_signed(low)} to {_signed(high)}"
    return f'{_signed(difference.value)}<span class="small">{interval}</span>{_verdict(difference.verdict)}'


def _verdict(word: str) -> str:
    return f'<span class="{word}">{word}</span>' if word in {"better", "worse"} else safe(word)


def _best_f1(records: Sequence[TrialRecord]) -> str:
    best = [record.figures["best_f1"] for record in records]
    at = sorted({row["threshold"] for row in best})
    where = f"{at[0]:.2f}" if len(at) == 1 else f"{at[0]:.2f}–{at[-1]:.2f}"
    return f'{fmean(row["f1"] for row in best):.3f} <span class="small">at {where}</span>'


def _stress(variant: VariantFindings, figure: str) -> str:
    mean = variant.mean(lambda record: record.figures["stress"]["mean"][figure])
    worst = variant.mean(lambda record: (record.figures["stress"]["worst"][figure] or {}).get("value"))
    views = {(record.figures["stress"]["worst"][figure] or {}).get("perturbation") for record in variant.done}
    where = views.pop() if len(views) == 1 else "various"
    return (
        f'{score(mean)} / {score(worst)} <span class="small">lowest: {safe(readable_name(str(where)))}</span>'
    )


def _epochs(epochs: Sequence[int]) -> str:
    low, high = min(epochs), max(epochs)
    return str(low) if low == high else f"{low}–{high}"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")


def count(number: int, noun: str) -> str:
    """Return a number with its noun in singular or plural."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _row(head: str, cells: Sequence[str], kind: str = "") -> str:
    """Return a row of HTML cells."""
    return _opening(head, kind) + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _opening(head: str, kind: str) -> str:
    row = f'<tr class="{kind}">' if kind else "<tr>"
    return f'{row}<th scope="row">{safe(head)}</th>'


def _table(kind: str, heads: Sequence[str], rows: Sequence[str]) -> str:
    if not rows:
        return '<p class="note">No trial has finished.</p>'
    head = "".join(f"<th>{safe(name)}</th>" for name in heads)
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def safe(value: object) -> str:
    """Return the text of a value, escaped for HTML."""
    return escape(str(value), quote=True)


def table_row(head: str, cells: Iterable[str]) -> str:
    """Return a row of a table: its head and its cells, escaped."""
    row = "".join(f"<td>{safe(cell)}</td>" for cell in cells)
    return f'<tr><th scope="row">{safe(head)}</th>{row}</tr>'
