"""The section of the report about the stress test: one film in each view, a graph, and the table."""

from collections.abc import Callable, Mapping

import numpy as np

from pneumoscan.errors import PneumoscanError
from pneumoscan.evaluation.evaluated import EvaluatedSplit
from pneumoscan.evaluation.markup import between, graph, picture, safe, score
from pneumoscan.evaluation.stress import FIGURES, PLAIN, Lowest, StressRow, StressTable, readable_name
from pneumoscan.imaging.perturbation import PERTURBATIONS, Pixels

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
