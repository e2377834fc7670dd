"""The report as one HTML page that opens offline: it loads no script, font or picture from elsewhere."""

import platform
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from io import BytesIO
from string import Template

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import PneumoscanError
from pneumoscan.evaluate.films import EvaluatedSplit
from pneumoscan.evaluate.intervals import Interval
from pneumoscan.evaluate.metrics import Metrics
from pneumoscan.evaluate.sites import Answers, Share, SiteFigures
from pneumoscan.evaluate.stress import FIGURES, PLAIN, Lowest, StressRow, StressTable, readable_name
from pneumoscan.evaluate.thresholds import ThresholdRow, confusion
from pneumoscan.imaging.perturbation import PERTURBATIONS, Pixels

OFFICIAL_TEST = (624, 390)
"""Films of the official test split, and how many of them show pneumonia."""


@dataclass(frozen=True)
class PublishedResult:
    """What a publication reports for the official test split.

    Attributes:
        model: The network, and who published it.
        accuracy: Share of films that are classified correctly, in [0, 1].
        f1: F-score, in [0, 1]; None where it is not reported.
        roc_auc: Area under the ROC curve, in [0, 1]; None where it is not reported.
    """

    model: str
    accuracy: float
    f1: float | None = None
    roc_auc: float | None = None


PUBLISHED = (
    PublishedResult("the article whose network our baseline rebuilds", 0.904, f1=0.856),
    PublishedResult("Inception V3 with ImageNet weights, Kermany et al., Cell 2018", 0.928, roc_auc=0.968),
    PublishedResult("Google AutoML Vision at 28×28 pixels, Yang et al., Sci Data 2023", 0.946, roc_auc=0.991),
)
"""The results that pneumoscan is compared with, by rising accuracy."""


def published_section(split: str, n: int, n_positive: int) -> str:
    """Return the published results as a section of the report, or nothing if the films are not the official test split.

    Args:
        split: Name of the split.
        n: Films that were evaluated.
        n_positive: How many of them show pneumonia.
    """
    if split != "test" or (n, n_positive) != OFFICIAL_TEST:
        return ""
    rows = "".join(
        table_row(one.model, (percent(one.accuracy), score(one.f1), score(one.roc_auc))) for one in PUBLISHED
    )
    return (
        "<section><h2>Published results on the official test split</h2><table><thead><tr><th>model</th><th>accuracy</th>"
        f"<th>F1</th><th>area under ROC</th></tr></thead><tbody>{rows}</tbody></table><p class='note'>These films have the "
        "numbers of the official test split (624 films, 390 with pneumonia). A figure compares with these only if no choice "
        "was made on the films.</p></section>"
    )


def build_page(
    evaluated: EvaluatedSplit,
    metrics: Metrics,
    rows: Sequence[ThresholdRow],
    graphs: Mapping[str, bytes],
    cautions: Sequence[str],
) -> str:
    """Return the page as HTML. Text from files and names is escaped.

    Args:
        evaluated: The films, their probabilities and the facts about them.
        metrics: The figures of these films.
        rows: The 17 thresholds.
        graphs: SVG by name: `precision_recall`, `threshold`, `confusion`, `roc`, `reliability`, `risk_coverage`; `sites` where the films are of several sites; `stress` where they were evaluated in several views.
        cautions: Sentences for the top of the report.
    """
    template = Template(files("pneumoscan.evaluate").joinpath("templates/report.html").read_text("utf-8"))
    parts = {
        "title": f"{evaluated.model} on {evaluated.split}",
        "summary": _summary(metrics),
    }
    blocks = {
        "style": style_sheet(),
        "cautions": _cautions(cautions),
        "cards": _cards(metrics),
        "precision_recall": graph(graphs, "precision_recall", _about_curve(metrics)),
        "threshold_rows": _threshold_rows(rows, metrics),
        "threshold_graph": graph(graphs, "threshold", "Precision, recall, F1 and accuracy by threshold."),
        "confusion": graph(graphs, "confusion", _about_calls(metrics)),
        "roc": graph(graphs, "roc", "Sensitivity against 1 − specificity at all thresholds."),
        "reliability": graph(
            graphs, "reliability", "Observed share of PNEUMONIA against the predicted probability."
        ),
        "intervals": _interval_rows(metrics),
        "published": published_section(evaluated.split, metrics.n, metrics.n_positive),
        "operating_points": _operating_points(evaluated),
        "stress": answers_section(metrics, graphs)
        + sites_section(metrics, graphs)
        + stress_section(evaluated, metrics.stress, graphs),
        "wrong": wrong_films(evaluated, metrics),
        "refused": refused_section(evaluated),
        "provenance": _provenance(evaluated, metrics),
    }
    text = template.substitute({key: safe(value) for key, value in parts.items()} | blocks)
    return text.encode("utf-8", "backslashreplace").decode()


def _summary(metrics: Metrics) -> str:
    counts = metrics.confusion
    said = [
        f"{count_films(metrics.n)} of {metrics.n_patients:,} patients, {percent(metrics.prevalence)} PNEUMONIA."
    ]
    if metrics.n_positive:
        said.append(
            f"At threshold {metrics.threshold:.3g} the model finds {counts.tp:,} of {count_films(metrics.n_positive)}"
        )
        said.append("with pneumonia" + ("" if counts.tn + counts.fp else "."))
    if counts.tn + counts.fp:
        start = "and" if metrics.n_positive else f"At threshold {metrics.threshold:.3g} the model"
        said.append(
            f"{start} labels {counts.fp:,} of {count_films(counts.tn + counts.fp)} without pneumonia as PNEUMONIA."
        )
    said.append(f"Source of the threshold: {metrics.threshold_source.rstrip('.')}.")
    return " ".join(said)


def _cautions(cautions: Sequence[str]) -> str:
    if not cautions:
        return ""
    items = "".join(f"<li>{safe(text)}</li>" for text in cautions)
    return f'<section class="cautions"><h2>Read this first</h2><ul>{items}</ul></section>'


def _cards(metrics: Metrics) -> str:
    counts = metrics.confusion
    cards = (
        (
            "Accuracy",
            percent(metrics.accuracy),
            between(metrics.accuracy_ci95, percent=True),
            "films classified correctly",
        ),
        (
            "Sensitivity (recall)",
            percent(metrics.sensitivity),
            between(metrics.sensitivity_ci95, percent=True),
            f"{counts.tp:,} of {counts.tp + counts.fn:,} films with pneumonia found",
        ),
        (
            "Specificity",
            percent(metrics.specificity),
            between(metrics.specificity_ci95, percent=True),
            f"{counts.tn:,} of {counts.tn + counts.fp:,} normal films labelled NORMAL",
        ),
        (
            "Area under ROC",
            score(metrics.roc_auc),
            between(metrics.roc_auc_ci95, percent=False),
            "probability that a film with pneumonia ranks above a normal one",
        ),
        (
            "Best F1",
            score(metrics.best_f1.f1),
            f"at threshold {metrics.best_f1.threshold:.2f}",
            f"chosen on these films; {metrics.f1:.3f} at the model's threshold",
        ),
        (
            "Calibration error",
            score(metrics.expected_calibration_error),
            f"Brier score {metrics.brier_score:.3f}",
            "lower is better; 0 is perfect calibration",
        ),
    )
    return "".join(
        f'<div class="card"><h3>{safe(name)}</h3><p class="figure">{safe(value)}</p>'
        f'<p class="interval">{safe(interval)}</p><p class="note">{safe(note)}</p></div>'
        for name, value, interval, note in cards
    )


def _about_curve(metrics: Metrics) -> str:
    best = metrics.best_f1
    if metrics.average_precision is None:
        return "There is no precision-recall curve without a film of PNEUMONIA."
    return (
        f"Precision against recall, with the F1 score at each of the 17 thresholds. The highest F1 is {best.f1:.3f} at "
        f"threshold {best.threshold:.2f} (precision {best.precision:.3f}, recall {best.recall:.3f}). Dashed lines have equal F1. "
        f"A model that labels every film PNEUMONIA has precision {metrics.prevalence:.3f}."
    )


def _about_calls(metrics: Metrics) -> str:
    counts = metrics.confusion
    return f"{counts.fn:,} films missed and {counts.fp:,} false alarms at threshold {metrics.threshold:.3g}."


def _threshold_rows(rows: Sequence[ThresholdRow], metrics: Metrics) -> str:
    return "".join(_threshold_row(row, row == metrics.best_f1, metrics.threshold) for row in rows)


def _threshold_row(row: ThresholdRow, best: bool, carried: float) -> str:
    mark = "best F1" if best else ""
    if abs(row.threshold - carried) < 5e-4:
        mark = f"{mark}, the model's" if mark else "the model's"
    values = (row.precision, row.recall, row.f1, row.accuracy)
    cells = "".join(f"<td>{value:.3f}</td>" for value in values)
    opening = '<tr class="best">' if best else "<tr>"
    return f'{opening}<th scope="row">{row.threshold:.2f}</th>{cells}<td class="mark">{mark}</td></tr>'


def _interval_rows(metrics: Metrics) -> str:
    wilson = {
        "accuracy": metrics.accuracy_ci95,
        "sensitivity": metrics.sensitivity_ci95,
        "specificity": metrics.specificity_ci95,
        "precision": metrics.precision_ci95,
    }
    rows = []
    for name in ("accuracy", "sensitivity", "specificity", "precision", "roc_auc", "average_precision"):
        by_patient = metrics.bootstrap.intervals.get(name)
        cells = (
            score(getattr(metrics, name)),
            between(wilson[name], percent=False) if wilson.get(name) else "–",
            between(by_patient, percent=False) if by_patient else "–",
        )
        rows.append(table_row(_readable_name(name), cells))
    others = ("npv", "f1", "balanced_accuracy", "brier_score", "expected_calibration_error")
    rows += [table_row(_readable_name(name), (score(getattr(metrics, name)), "–", "–")) for name in others]
    return "".join(rows)


def _readable_name(name: str) -> str:
    special = {
        "roc_auc": "area under ROC",
        "npv": "negative predictive value",
        "f1": "F1",
        "brier_score": "Brier score (lower is better)",
        "precision": "precision (positive predictive value)",
        "sensitivity": "sensitivity (recall)",
        "expected_calibration_error": "expected calibration error (lower is better)",
    }
    return special.get(name, name.replace("_", " "))


def _operating_points(evaluated: EvaluatedSplit) -> str:
    if not evaluated.operating_points:
        return ""
    rows = []
    for name, point in evaluated.operating_points.items():
        counts = confusion(evaluated.y_true, evaluated.y_prob, float(point["threshold"]))
        found, passed = counts.tp + counts.fn, counts.tn + counts.fp
        cells = (
            f"{float(point['threshold']):.3f}",
            f"{counts.tp / found:.3f}" if found else "–",
            f"{counts.tn / passed:.3f}" if passed else "–",
            str(point.get("source", "")),
        )
        rows.append(table_row(name.replace("_", " "), cells))
    return (
        "<section><h2>Operating points of the model, evaluated on these films</h2><table><thead><tr>"
        "<th>name</th><th>threshold</th><th>sensitivity</th><th>specificity</th><th>chosen by</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></section>"
    )


def _provenance(evaluated: EvaluatedSplit, metrics: Metrics) -> str:
    boot = metrics.bootstrap
    facts = {
        "model": evaluated.model,
        **evaluated.model_facts,
        "split": evaluated.split,
        **evaluated.data_facts,
        "bootstrap": f"{boot.n_resamples} resamples of {boot.n_patients} patients, {boot.n_used} used, seed {boot.seed}",
        "software": _software(),
        "command": evaluated.command,
    }
    return "".join(f"<dt>{safe(key)}</dt><dd>{safe(value)}</dd>" for key, value in facts.items() if value)


def _software() -> str:
    found = [f"Python {platform.python_version()}"]
    for package in ("pneumoscan", "numpy", "scikit-learn", "matplotlib", "onnxruntime", "pillow"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


THUMBNAIL_SIDE = 240


def style_sheet() -> str:
    """Return the CSS that all reports share; a page adds its own rules after it."""
    return files("pneumoscan.evaluate").joinpath("templates/style.css").read_text("utf-8")


def safe(value: object) -> str:
    """Return the text of a value, escaped for HTML."""
    return escape(str(value), quote=True)


def percent(value: float | None) -> str:
    """Return a proportion in [0, 1] as a percentage; a dash for None."""
    return "–" if value is None else f"{100 * value:.1f}%"


def score(value: float | None) -> str:
    """Return a figure with three decimals, a dash for None."""
    return "–" if value is None else f"{value:.3f}"


def between(interval: Interval | None, *, percent: bool) -> str:
    """Return an interval as text."""
    if interval is None:
        return "no interval"
    low, high = interval
    return f"{100 * low:.1f} to {100 * high:.1f}%" if percent else f"{low:.3f} to {high:.3f}"


def count_films(n: int) -> str:
    """Return a number of films as text: `1 film`, `2 films`."""
    return "1 film" if n == 1 else f"{n:,} films"


def table_row(head: str, cells: Iterable[str]) -> str:
    """Return a row of a table: its head and its cells, escaped."""
    row = "".join(f"<td>{safe(cell)}</td>" for cell in cells)
    return f'<tr><th scope="row">{safe(head)}</th>{row}</tr>'


def graph(graphs: Mapping[str, bytes], name: str, caption: str) -> str:
    """Return one of the SVGs as a figure with its caption."""
    # In an img element, the ids of an SVG are local and scripts do not run.
    data = b64encode(graphs[name]).decode()
    return (
        f'<figure class="{safe(name)}"><img alt="{safe(caption)}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{safe(caption)}</figcaption></figure>"
    )


def picture(pixels: npt.NDArray[np.uint8], alt: str, side: int = THUMBNAIL_SIDE) -> str:
    """Return pixels uint8 (h, w) as an HTML image of at most `side` pixels per side."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    buffer = BytesIO()
    image.save(buffer, format="JPEG", quality=82)
    data = b64encode(buffer.getvalue()).decode()
    return f'<img alt="{safe(alt)}" src="data:image/jpeg;base64,{data}">'


SHOWN_WRONG = 12
_NAMES = ("NORMAL", "PNEUMONIA")


def most_wrong(evaluated: EvaluatedSplit, threshold: float, limit: int = SHOWN_WRONG) -> list[int]:
    """Return the indices of misclassified films, largest error first; each kind of error fills at least a third."""
    wrong = np.flatnonzero((evaluated.y_prob >= threshold) != (evaluated.y_true == 1))
    ranked = wrong[np.argsort(-np.abs(evaluated.y_prob[wrong] - evaluated.y_true[wrong]), kind="stable")]
    certain = [index for label in (0, 1) for index in ranked[evaluated.y_true[ranked] == label][: limit // 3]]
    fill = [index for index in ranked if index not in certain][: limit - len(certain)]
    kept = {*certain, *fill}
    return [int(index) for index in ranked if index in kept]


def wrong_films(evaluated: EvaluatedSplit, metrics: Metrics) -> str:
    """Return pictures of the misclassified films with the largest errors, as HTML."""
    shown = most_wrong(evaluated, metrics.threshold)
    total = metrics.confusion.fp + metrics.confusion.fn
    if not shown:
        return "<p>Every film was classified correctly at this threshold.</p>"
    about = (
        f"{total:,} films were misclassified. These {len(shown)} have the largest errors."
        if total > len(shown)
        else ""
    )
    films = "".join(_film(evaluated, index) for index in shown)
    return f'<p>{safe(about)}</p><div class="films">{films}</div>'


def _film(evaluated: EvaluatedSplit, index: int) -> str:
    truth = _NAMES[int(evaluated.y_true[index])]
    other = "false alarm" if truth == "NORMAL" else "missed"
    return (
        f'<figure class="film">{_picture(evaluated, index)}<figcaption><b>{safe(other)}</b>: labelled {truth}, '
        f"probability {evaluated.y_prob[index]:.3f}<br><span>{safe(evaluated.paths[index])}</span></figcaption></figure>"
    )


def _picture(evaluated: EvaluatedSplit, index: int) -> str:
    if evaluated.thumbnail is None:
        return '<div class="nothing">no picture</div>'
    try:
        return picture(evaluated.thumbnail(index), evaluated.paths[index])
    except (PneumoscanError, OSError):
        return '<div class="nothing">the film can no longer be read</div>'


def refused_section(evaluated: EvaluatedSplit) -> str:
    """Return the section about films that could not be read; empty if there is none."""
    if not evaluated.refused:
        return ""
    rows = "".join(table_row(path, (code, message)) for path, code, message in evaluated.refused[:50])
    more = len(evaluated.refused) - 50
    tail = f"<p>{more} more are listed in refused.csv.</p>" if more > 0 else ""
    return (
        f"<section><h2>Films that could not be read: {len(evaluated.refused):,}</h2><table class='refused'><thead><tr><th>film</th>"
        f"<th>code</th><th>reason</th></tr></thead><tbody>{rows}</tbody></table>{tail}</section>"
    )


_MEANINGS = {
    "answered": "labelled PNEUMONIA or NORMAL",
    "not_answered": "labelled UNSURE or NOT_A_CHEST_FILM",
    "accuracy_answered": "labelled correctly, of the answered",
    "warned": "with any warning",
    "confident_and_wrong": "labelled wrongly without a warning",
}


def answers_section(metrics: Metrics, graphs: Mapping[str, bytes]) -> str:
    """Return the section about the answers, as HTML."""
    caption = (
        "Risk-coverage curve: the error if only the films are answered whose probability is farthest from the threshold. A lower "
        "line means a better estimate of the model's own confidence."
    )
    picture = graph(graphs, "risk_coverage", caption) if "risk_coverage" in graphs else ""
    table = _answers_table(metrics.answers) if metrics.answers else ""
    return f"<section><h2>What the model answers</h2>{table}{picture}</section>" if table or picture else ""


def _answers_table(answers: Answers) -> str:
    rows = []
    for name, meaning in _MEANINGS.items():
        share: Share = getattr(answers, name)
        cells = (
            meaning,
            f"{share.count:,} of {share.of:,}",
            percent(share.share),
            between(share.ci95, percent=True) if share.ci95 else "–",
        )
        rows.append(table_row(name.replace("_", " "), cells))
    return (
        "<table><thead><tr><th></th><th>films</th><th>count</th><th>share</th><th>95%, Wilson</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def sites_section(metrics: Metrics, graphs: Mapping[str, bytes]) -> str:
    """Return the section about the sites as HTML; nothing if the films come from one site."""
    table = metrics.sites
    if table is None:
        return ""
    rows = "".join(_site_row(row) for row in table.rows)
    differences = "".join(
        f"<li>{safe(each.site)} minus {safe(each.other)}: {each.roc_auc:+.3f} (95% {each.ci95[0]:+.3f} to {each.ci95[1]:+.3f})</li>"
        for each in table.differences
    )
    listed = f"<h3>Differences of the area</h3><ul>{differences}</ul>" if differences else ""
    caption = "Each site separately. The area of all films together also compares films of different sites."
    picture = graph(graphs, "sites", caption) if "sites" in graphs else ""
    return (
        f"<section><h2>By site</h2>{picture}<table><thead><tr><th>site</th><th>films</th>"
        "<th>PNEUMONIA</th><th>patients</th><th>area under ROC</th><th>95%, over patients</th><th>sensitivity</th>"
        "<th>specificity</th><th>answered</th><th>of these correct</th><th>confident and wrong</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>{listed}</section>"
    )


def _site_row(row: SiteFigures) -> str:
    answers = row.answers
    shares = (answers.answered, answers.accuracy_answered, answers.confident_and_wrong) if answers else ()
    cells = (
        f"{row.n:,}", f"{row.n_positive:,}", f"{row.n_patients:,}", score(row.roc_auc),
        between(row.roc_auc_ci95, percent=False) if row.roc_auc_ci95 else "–",
        score(row.sensitivity), score(row.specificity),
        *([percent(share.share) for share in shares] or ["–"] * 3),
    )  # fmt: skip
    return table_row(row.site, cells)


_SIDE = 180
_DONE = {view.name: view.description for view in PERTURBATIONS}
_CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    PLAIN: lambda pixels: pixels,
    **{view.name: view.change for view in PERTURBATIONS},
}


def stress_section(evaluated: EvaluatedSplit, table: StressTable | None, graphs: Mapping[str, bytes]) -> str:
    """Return the section as HTML; nothing without a stress test."""
    if table is None:
        return ""
    about = (
        "The same films as another machine, collimation or program would show them. No view adds disease, and only the "
        "stronger crop and the blur can hide some. Any other loss shows that the model depends on the appearance of the "
        "films."
    )
    caption = (
        "Dashed: the unchanged films. The threshold is the same in every view. If the area stays and a rate falls, the "
        "ranking of the films is still right, but the threshold no longer fits."
    )
    return (
        f"<section><h2>Stress test: the same films in altered views</h2><p>{safe(about)}</p>{_strip(evaluated)}"
        f"{graph(graphs, 'stress', caption)}{_table(table)}</section>"
    )


def _strip(evaluated: EvaluatedSplit) -> str:
    """Show one film in every view, with its probability there."""
    if evaluated.thumbnail is None:
        return ""
    index, changed = example(evaluated)
    try:
        pixels = evaluated.thumbnail(index)
    except (PneumoscanError, OSError):
        return ""
    probs, shown = {PLAIN: evaluated.y_prob, **evaluated.views}, []
    for name, change in _CHANGES.items():
        if name not in probs:
            continue
        prob = probs[name][index]
        right = (prob >= evaluated.threshold) == (evaluated.y_true[index] == 1)
        shown.append(
            f"<figure>{picture(change(pixels), readable_name(name), _SIDE)}<figcaption>{safe(readable_name(name))}"
            f'<br><span class="{"call" if right else "wrong"}">probability {prob:.3f}</span></figcaption></figure>'
        )
    label = "PNEUMONIA" if evaluated.y_true[index] == 1 else "NORMAL"
    caption = f"{evaluated.paths[index]}, labelled {label}: the label changes in {changed} of {len(evaluated.views)} views."
    return f'<div class="views">{"".join(shown)}</div><p class="note">{safe(caption)}</p>'


def example(evaluated: EvaluatedSplit) -> tuple[int, int]:
    """Return the correctly classified film whose label changes in most views, and the number of these views."""
    called = evaluated.y_prob >= evaluated.threshold
    views = np.stack([prob >= evaluated.threshold for prob in evaluated.views.values()])
    changes = (views != called).sum(axis=0)
    index = int(np.argmax(np.where(called == (evaluated.y_true == 1), changes, -1)))
    return index, int(changes[index])


def _table(table: StressTable) -> str:
    low = {figure: table.worst(figure) for figure in FIGURES}
    rows = [_row(table.plain, "unchanged", {})]
    rows += [_row(row, _DONE.get(row.perturbation, ""), low) for row in table.rows]
    mean = [score(table.mean(figure)) for figure in FIGURES]
    worst = [score(found.value if found else None) for found in low.values()]
    foot = "".join(
        f'<tr><th scope="row" colspan="2">{name}</th><td>{values[0]}</td><td></td>'
        f"{''.join(f'<td>{value}</td>' for value in values[1:])}</tr>"
        for name, values in (("mean of the views", mean), ("lowest of the views", worst))
    )
    return (
        '<table class="by_view"><thead><tr><th>view</th><th>perturbation</th><th>area under ROC</th>'
        "<th>95%, by patient</th><th>accuracy</th><th>sensitivity</th><th>specificity</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody><tfoot>{foot}</tfoot></table>"
    )


def _row(row: StressRow, done: str, low: Mapping[str, Lowest | None]) -> str:
    """Return a row of the table, the lowest figures bold."""
    cells = {figure: score(getattr(row, figure)) for figure in FIGURES}
    for figure, worst in low.items():
        if worst is not None and worst.perturbation == row.perturbation:
            cells[figure] = f"<b>{cells[figure]}</b>"
    interval = between(row.roc_auc_ci95, percent=False) if row.roc_auc_ci95 else "–"
    area, *others = cells.values()
    columns = "".join(f"<td>{cell}</td>" for cell in (safe(done), area, interval, *others))
    return f'<tr><th scope="row">{safe(readable_name(row.perturbation))}</th>{columns}</tr>'
