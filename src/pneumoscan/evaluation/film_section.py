"""The sections of the report about single films: the misclassified ones, and those that could not be read."""

import numpy as np

from pneumoscan.errors import PneumoscanError
from pneumoscan.evaluation.evaluated import EvaluatedSplit
from pneumoscan.evaluation.markup import picture, safe, table_row
from pneumoscan.evaluation.metrics import Metrics

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
