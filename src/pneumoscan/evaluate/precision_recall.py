"""The precision-recall graph with the F1 score at each of the seventeen thresholds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import require
from pneumoscan.evaluate.arrays import Floats, check_outcome
from pneumoscan.evaluate.drawing import (
    BLUE,
    GREY,
    INK,
    PALE,
    SCORES,
    VERMILION,
    figure_of,
    new_axes,
    say_undefined,
    styled,
)
from pneumoscan.evaluate.thresholds import ThresholdRow, best_f1, threshold_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEAST_SPAN = 0.04
_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class PrecisionRecallDisplay:
    """A precision-recall curve, with a mark and its F1 score at each threshold of the table.

    Attributes:
        precision: float64 (k,), from the lowest threshold to above the highest; empty if no film is PNEUMONIA.
        recall: float64 (k,), descending.
        average_precision: Area under the curve; None if no film is PNEUMONIA.
        prevalence: Precision of labelling every film PNEUMONIA.
        rows: The marks, by threshold.
        threshold: The threshold of the model; None draws no ring.
    """

    precision: Floats
    recall: Floats
    average_precision: float | None
    prevalence: float
    rows: tuple[ThresholdRow, ...]
    threshold: float | None = None

    @classmethod
    def from_predictions(
        cls, y_true: npt.ArrayLike, y_prob: npt.ArrayLike, *, threshold: float | None = None
    ) -> "PrecisionRecallDisplay":
        """Compute the curve and the marks; raises as `threshold_table`.

        Args:
            y_true: (n,) of 0 and 1.
            y_prob: (n,) in [0, 1].
            threshold: The threshold of the model.
        """
        require("sklearn")
        from sklearn.metrics import average_precision_score, precision_recall_curve

        outcome = check_outcome(y_true, y_prob)
        rows = threshold_table(outcome.y_true, outcome.y_prob)
        prevalence = outcome.n_positive / outcome.n
        if not outcome.n_positive:
            return cls(np.empty(0), np.empty(0), None, prevalence, rows, threshold)
        precision, recall, _ = precision_recall_curve(outcome.y_true, outcome.y_prob)
        area = float(average_precision_score(outcome.y_true, outcome.y_prob))
        return cls(precision, recall, area, prevalence, rows, threshold)

    @property
    def best(self) -> ThresholdRow:
        """The mark with the highest F1 score."""
        return best_f1(self.rows)

    @property
    def marks(self) -> tuple[ThresholdRow, ...]:
        """The rows with a point on the curve: those whose threshold at least one film reaches."""
        return tuple(row for row in self.rows if row.precision > 0 or row.recall > 0)

    @property
    def window(self) -> tuple[float, float, float, float]:
        """Limits of recall and precision: the range of the marks with a margin."""
        recalls, precisions = [row.recall for row in self.marks], [row.precision for row in self.marks]
        return *_span(recalls), *_span(precisions)

    def plot(self, ax: "Axes | None" = None) -> "Figure":
        """Draw the curve in the window of the marks, the whole curve as an inset, and the scores in a column.

        Args:
            ax: Axes to draw on; by default new ones of 9.6 × 6.4 inches. The column needs space to their right.
        """
        with styled():
            own = ax is None
            ax = ax if ax is not None else new_axes(9.6, 6.4)
            ax.set_xlabel("recall (sensitivity)")
            ax.set_ylabel("precision (positive predictive value)")
            if self.average_precision is None or not self.marks:
                ax.set_title("Precision and recall")
                say_undefined(ax, "No PNEUMONIA film is found at any threshold:\nthere is no curve to draw.")
                return figure_of(ax)
            ax.set_title(f"Precision and recall · average precision {self.average_precision:.3f}")
            self._draw_curve(ax)
            _draw_iso_f(ax, self.window, self.best.f1)
            self._draw_marks(ax)
            self._draw_whole(ax)
            if own:
                figure_of(ax).set_layout_engine("none")
                ax.set_position((0.085, 0.1, 0.66, 0.83))
            return figure_of(ax)

    def _draw_curve(self, ax: "Axes") -> None:
        ax.step(self.recall, self.precision, where="post", color=GREY, linewidth=1.4, zorder=2)
        ax.axhline(self.prevalence, color=GREY, linewidth=0.8, linestyle=(0, (1, 3)))
        left, right, bottom, top = self.window
        ax.set_xlim(left, right)
        ax.set_ylim(bottom, top)

    def _draw_marks(self, ax: "Axes") -> None:
        """Draw the marks and, right of the axes, a column of scores with a line from each mark."""
        import matplotlib as mpl

        scores = [row.f1 for row in self.marks]
        norm = mpl.colors.Normalize(min(*scores, max(scores) - 1e-6), max(scores))
        colour = mpl.colormaps[SCORES]
        for x, text in ((1.048, "threshold"), (1.175, "F1")):
            ax.text(x, 1.0, text, transform=ax.transAxes, weight="bold", va="center", fontsize=9)
        for place, row in enumerate(reversed(self.rows)):
            height = 0.95 - place * 0.95 / (len(self.rows) - 1)
            self._draw_score(ax, row, height)
            if row not in self.marks:
                continue
            _draw_leader(ax, row, height, best=row == self.best)
            edge = VERMILION if row == self.best else "white"
            shade = colour(norm(row.f1))
            ax.scatter(
                [row.recall],
                [row.precision],
                s=62,
                color=[shade],
                edgecolors=edge,
                linewidths=1.2,
                zorder=5,
                clip_on=False,
            )
            ax.scatter(
                [1.07],
                [height],
                s=30,
                color=[shade],
                edgecolors=edge,
                linewidths=1,
                transform=ax.transAxes,
                clip_on=False,
            )

    def _draw_score(self, ax: "Axes", row: ThresholdRow, height: float) -> None:
        best, carried = row == self.best, self.threshold is not None and _same(row.threshold, self.threshold)
        score = f"{row.f1:.3f}" if row in self.marks else "none called"
        note = (" best" if best else "") + (" carried" if carried else "")
        for x, text in ((1.095, f"{row.threshold:.2f}"), (1.175, score + note)):
            ax.text(
                x,
                height,
                text,
                transform=ax.transAxes,
                va="center",
                fontsize=9,
                weight="bold" if best else "normal",
                color=VERMILION if best else INK,
            )

    def _draw_whole(self, ax: "Axes") -> None:
        """Draw the whole curve as an inset in a free corner, with the window as a frame."""
        left, right, bottom, top = self.window
        if right - left > 0.75 and top - bottom > 0.75:
            return
        small = ax.inset_axes(self._free_corner())
        small.step(self.recall, self.precision, where="post", color=BLUE, linewidth=1.2)
        small.plot(
            [left, right, right, left, left],
            [bottom, bottom, top, top, bottom],
            color=VERMILION,
            linewidth=1,
            clip_on=False,
        )
        small.set(xlim=(0, 1.02), ylim=(0, 1.02), xticks=[0, 1], yticks=[0, 1])
        small.set_title("the whole curve", fontsize=8, weight="normal", pad=3)
        small.tick_params(labelsize=7, length=2)
        small.patch.set_alpha(0.92)

    def _free_corner(self) -> tuple[float, float, float, float]:
        """Return the bounds, in axes units, of the lower corner with fewer marks, left or right."""
        left, right, bottom, top = self.window
        x = (np.array([row.recall for row in self.marks]) - left) / (right - left)
        y = (np.array([row.precision for row in self.marks]) - bottom) / (top - bottom)
        crowds = [int(((abs(x - centre) < 0.2) & (y < 0.42)).sum()) for centre in (0.2, 0.8)]
        return (0.14 if crowds[0] <= crowds[1] else 0.7, 0.08, 0.26, 0.26)


def _draw_leader(ax: "Axes", row: ThresholdRow, height: float, *, best: bool) -> None:
    """Draw a thin line from a mark to its score in the column."""
    ax.annotate(
        "",
        xy=(row.recall, row.precision),
        xycoords="data",
        xytext=(1.06, height),
        textcoords="axes fraction",
        arrowprops={
            "arrowstyle": "-",
            "color": VERMILION if best else PALE,
            "linewidth": 1.0 if best else 0.7,
            "shrinkA": 0,
            "shrinkB": 3,
        },
        zorder=1.5,
        annotation_clip=False,
    )


def _draw_iso_f(ax: "Axes", window: tuple[float, float, float, float], best: float) -> None:
    """Draw lines of equal F1, precision = F·recall / (2·recall − F), about five of them, each with its value."""
    left, right, bottom, top = window
    for level in _levels(_f1(left, bottom), min(_f1(right, top), 0.999), best):
        recall = np.linspace(max(left, level / 2 + 1e-6), min(right, 1), 400)
        precision = level * recall / (2 * recall - level)
        inside = (precision >= bottom) & (precision <= top) & (precision <= 1)
        if inside.sum() < 12:
            continue
        ax.plot(
            recall[inside], precision[inside], color="#b9b9b9", linewidth=0.8, linestyle=(0, (5, 3)), zorder=1
        )
        first = int(np.flatnonzero(inside)[0])
        ax.text(
            recall[first],
            precision[first],
            f"F1 {level:.3g}",
            fontsize=8,
            color=GREY,
            va="top" if precision[first] > bottom + 0.9 * (top - bottom) else "center",
            ha="left",
            zorder=1.2,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )


def _levels(low: float, high: float, best: float) -> Sequence[float]:
    """Return at most six round values of F1 in (low, high)."""
    for step in _STEPS:
        levels = [n * step for n in range(int(low / step) + 1, int(high / step) + 1)]
        if len(levels) <= 6:
            return [level for level in levels if 0 < level < 1]
    return [best]


def _f1(recall: float, precision: float) -> float:
    return 2 * recall * precision / (recall + precision) if recall + precision > 0 else 0.0


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Return limits that contain `values` with a margin, at least `_LEAST_SPAN` apart, slightly beyond [0, 1]."""
    low, high = min(values), max(values)
    margin = max(0.08 * (high - low), (_LEAST_SPAN - (high - low)) / 2, 0.004)
    beyond = 0.12 * max(high - low, _LEAST_SPAN)
    return max(-0.02, low - margin), min(1 + 0.25 * beyond, high + margin)


def _same(first: float, second: float) -> bool:
    return abs(first - second) < 5e-4
