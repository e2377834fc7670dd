"""Figures of an evaluated split. A frozen display holds the computed arrays, and `plot` draws them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pneumoscan.bundle.spec import CLASS_NAMES
from pneumoscan.errors import require
from pneumoscan.evaluate.arrays import Floats, Labels, check_outcome
from pneumoscan.evaluate.calibration import BINS, reliability
from pneumoscan.evaluate.drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    VERMILION,
    figure_of,
    new_axes,
    say_undefined,
    styled,
)
from pneumoscan.evaluate.films import Answers, risk_coverage
from pneumoscan.evaluate.intervals import Interval
from pneumoscan.evaluate.sites import NO_SITE, GroupTable, SiteTable
from pneumoscan.evaluate.thresholds import Confusion, ThresholdRow, best_f1, confusion, threshold_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALL = "all films"


@dataclass(frozen=True)
class ThresholdDisplay:
    """Precision, recall, F1 and accuracy of the rows, by rising threshold; `threshold` is the model's, None marks none."""

    rows: tuple[ThresholdRow, ...]
    threshold: float | None = None

    @classmethod
    def from_predictions(
        cls, y_true: npt.ArrayLike, y_prob: npt.ArrayLike, *, threshold: float | None = None
    ) -> "ThresholdDisplay":
        """Compute the 17 rows. Raises the errors of `threshold_table`."""
        return cls(threshold_table(y_true, y_prob), threshold)

    def plot(self, ax: "Axes | None" = None) -> "Figure":
        """Draw four lines over the thresholds, and mark the best F1 and the model's threshold."""
        with styled():
            ax = ax if ax is not None else new_axes(7.2, 4.2)
            at = [row.threshold for row in self.rows]
            for name, colour, marker in (
                ("precision", BLUE, "s"),
                ("recall", ORANGE, "^"),
                ("f1", VERMILION, "o"),
                ("accuracy", GREEN, "D"),
            ):
                values = [getattr(row, name) for row in self.rows]
                label = "F1" if name == "f1" else name
                ax.plot(at, values, color=colour, marker=marker, markersize=3.5, linewidth=1.5, label=label)
            best = best_f1(self.rows)
            ax.plot([best.threshold], [best.f1], "o", markersize=10, color="none", markeredgecolor=VERMILION)
            if self.threshold is not None and 0.08 <= self.threshold <= 0.92:
                label = f"model's threshold {self.threshold:.3g}"
                ax.axvline(self.threshold, color=INK, linewidth=1, linestyle=(0, (4, 2)), label=label)
            lowest = min(min(row.precision, row.recall, row.f1, row.accuracy) for row in self.rows)
            ax.set(xlabel="threshold", ylabel="score", xlim=(0.08, 0.92), xticks=np.arange(0.1, 0.91, 0.1))
            ax.set_ylim(
                max(0.0, min(0.975, lowest - 0.08 * (1.02 - lowest))), 1 + 0.03 * (1 - lowest) + 0.002
            )
            ax.grid(visible=True)
            ax.set_title(f"Scores by threshold · best F1 {best.f1:.3f} at {best.threshold:.2f}")
            ax.legend(loc="best")
            return figure_of(ax)


@dataclass(frozen=True)
class ReliabilityDisplay:
    """Observed share of PNEUMONIA against the predicted probability, with the number of films per bin; see `calibration.Reliability`."""

    mean_probability: Floats
    positive_rate: Floats
    count: Labels
    edges: Floats
    expected_calibration_error: float

    @classmethod
    def from_predictions(
        cls, y_true: npt.ArrayLike, y_prob: npt.ArrayLike, *, bins: int = BINS
    ) -> "ReliabilityDisplay":
        """Compute bins of equal width. Raises the errors of `calibration.reliability`."""
        found = reliability(y_true, y_prob, bins)
        error = found.expected_calibration_error
        return cls(found.mean_probability, found.positive_rate, found.count, found.edges, error)

    def plot(self, ax: "Axes | None" = None) -> "Figure":
        """Draw the diagram and, below it, a histogram of the probabilities."""
        with styled():
            ax = ax if ax is not None else new_axes(5.2, 5.4)
            ax.set_axis_off()
            ax.set_title(f"Reliability · calibration error {self.expected_calibration_error:.3f}")
            upper = ax.inset_axes((0.12, 0.36, 0.86, 0.62))
            lower = ax.inset_axes((0.12, 0.1, 0.86, 0.2), sharex=upper)
            upper.plot(
                [0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (4, 2)), label="perfect calibration"
            )
            full = self.count > 0
            size = 20 + 160 * self.count[full] / self.count.max()
            upper.plot(self.mean_probability[full], self.positive_rate[full], color=BLUE, linewidth=1)
            upper.scatter(
                self.mean_probability[full], self.positive_rate[full], s=size, color=BLUE, alpha=0.8
            )
            upper.set(xlim=(-0.02, 1.02), ylim=(-0.03, 1.03), ylabel="share with PNEUMONIA")
            upper.tick_params(labelbottom=False)
            upper.grid(visible=True)
            upper.legend(loc="lower right")
            lower.bar(
                self.edges[:-1], self.count, width=np.diff(self.edges), align="edge", color=BLUE, alpha=0.6
            )
            if self.count.max() > 50:
                lower.set_yscale("symlog", linthresh=10)
                lower.yaxis.set_major_formatter("{x:,.0f}")
            lower.set(xlabel="predicted probability", ylabel="films")
            lower.set_ylim(bottom=0)
            return figure_of(ax)


@dataclass(frozen=True)
class ConfusionDisplay:
    """The confusion matrix at one threshold: int64 (2, 2), rows are the true labels (NORMAL, PNEUMONIA), columns the predicted ones."""

    counts: Labels
    threshold: float

    @classmethod
    def from_predictions(
        cls, y_true: npt.ArrayLike, y_prob: npt.ArrayLike, *, threshold: float
    ) -> "ConfusionDisplay":
        """Count the films. Raises the errors of `thresholds.confusion`."""
        return cls.from_counts(confusion(y_true, y_prob, threshold), threshold)

    @classmethod
    def from_counts(cls, counts: Confusion, threshold: float) -> "ConfusionDisplay":
        """Create the display from counts."""
        table = np.array([[counts.tn, counts.fp], [counts.fn, counts.tp]], dtype=np.int64)
        return cls(table, threshold)

    def plot(self, ax: "Axes | None" = None) -> "Figure":
        """Draw a 2×2 table: correct predictions blue, wrong ones vermilion, darker for a larger share of the row."""
        with styled():
            ax = ax if ax is not None else new_axes(4.8, 4.2)
            for row in range(2):
                total = max(1, int(self.counts[row].sum()))
                for column in range(2):
                    self._draw_cell(ax, row, column, int(self.counts[row, column]), total)
            ax.set(xlim=(0, 2), ylim=(2, 0), aspect="equal", xlabel="predicted", ylabel="true label")
            ax.set_xticks([0.5, 1.5], CLASS_NAMES)
            ax.set_yticks([0.5, 1.5], CLASS_NAMES, rotation=90, va="center")
            ax.tick_params(length=0)
            ax.spines[:].set_visible(False)
            ax.set_title(f"Confusion matrix at threshold {self.threshold:.3g}")
            return figure_of(ax)

    @staticmethod
    def _draw_cell(ax: "Axes", row: int, column: int, count: int, total: int) -> None:
        from matplotlib.patches import Rectangle

        share = count / total
        colour = BLUE if row == column else VERMILION
        ax.add_patch(
            Rectangle(
                (column, row),
                1,
                1,
                facecolor=colour,
                alpha=0.08 + 0.8 * share,
                edgecolor="white",
                linewidth=3,
            )
        )
        ink = "white" if share > 0.55 else INK
        ax.text(column + 0.5, row + 0.45, f"{count:,}", ha="center", va="center", fontsize=18, color=ink)
        ax.text(
            column + 0.5, row + 0.68, f"{share:.1%} of row", ha="center", va="center", fontsize=9, color=ink
        )


@dataclass(frozen=True)
class RocDisplay:
    """The receiver operating characteristic (ROC) curve.

    Attributes:
        false_positive_rate: float64 (k,), 1 − specificity, rising; empty with one class only.
        true_positive_rate: float64 (k,), sensitivity, rising.
        roc_auc: Area under the curve; None with one class only.
        point: False and true positive rate at the model's threshold; None without one.
    """

    false_positive_rate: Floats
    true_positive_rate: Floats
    roc_auc: float | None
    point: tuple[float, float] | None = None

    @classmethod
    def from_predictions(
        cls, y_true: npt.ArrayLike, y_prob: npt.ArrayLike, *, threshold: float | None = None
    ) -> "RocDisplay":
        """Compute the curve. Raises the errors of `check_outcome`."""
        require("sklearn")
        from sklearn.metrics import roc_auc_score, roc_curve

        outcome = check_outcome(y_true, y_prob)
        if not outcome.has_both_classes:
            return cls(np.empty(0), np.empty(0), None)
        false, true, _ = roc_curve(outcome.y_true, outcome.y_prob)
        area = float(roc_auc_score(outcome.y_true, outcome.y_prob))
        if threshold is None:
            return cls(false, true, area)
        counts = confusion(outcome.y_true, outcome.y_prob, threshold)
        point = (counts.fp / (counts.fp + counts.tn), counts.tp / (counts.tp + counts.fn))
        return cls(false, true, area, point)

    def plot(self, ax: "Axes | None" = None) -> "Figure":
        """Draw the curve, the diagonal of chance, and the model's threshold."""
        with styled():
            ax = ax if ax is not None else new_axes(5.2, 4.8)
            ax.set(xlabel="1 − specificity", ylabel="sensitivity (recall)")
            if self.roc_auc is None:
                ax.set_title("ROC curve")
                say_undefined(ax, "All films have one label:\nthere is no curve to draw.")
                return figure_of(ax)
            ax.plot([0, 1], [0, 1], color=PALE, linewidth=1, label="chance")
            ax.plot(self.false_positive_rate, self.true_positive_rate, color=BLUE, label="this model")
            if self.point is not None:
                ax.plot(
                    *self.point,
                    "o",
                    color=VERMILION,
                    markersize=8,
                    label="model's threshold",
                    linestyle="none",
                )
            ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.03), aspect="equal")
            ax.set_title(f"ROC curve · area {self.roc_auc:.3f}")
            ax.grid(visible=True)
            ax.legend(loc="lower right")
            return figure_of(ax)


_COLOURS = (BLUE, ORANGE, GREEN, "#cc79a7", "#56b4e9", "#8c510a")


@dataclass(frozen=True)
class RiskCoverageDisplay:
    """Risk-coverage curve: error among the films that are answered, most confident first.

    Attributes:
        lines: Name, coverage float64 (n,) and error float64 (n,); one for each site, or one for all films.
        point: Share answered by the model itself, and the error among those; None if unknown.
    """

    lines: tuple[tuple[str, Floats, Floats], ...]
    point: tuple[float, float] | None = None

    @classmethod
    def from_predictions(
        cls,
        y_true: npt.ArrayLike,
        y_prob: npt.ArrayLike,
        *,
        threshold: float,
        sites: Sequence[str] = (),
        answers: Answers | None = None,
    ) -> "RiskCoverageDisplay":
        """Compute the lines. Raises the errors of `check_outcome`."""
        outcome = check_outcome(y_true, y_prob)
        names = np.array([site or NO_SITE for site in sites] or [ALL] * outcome.n)
        several = sorted(set(names.tolist()))
        lines = [
            (name, *risk_coverage(outcome.y_true[names == name], outcome.y_prob[names == name], threshold))
            for name in (several if len(several) > 1 else ())
        ]
        whole = (ALL, *risk_coverage(outcome.y_true, outcome.y_prob, threshold))
        right = answers.accuracy_answered.share if answers else None
        share = answers.answered.share if answers else None
        point = None if right is None or share is None else (share, 1 - right)
        return cls((*lines, whole), point)

    def plot(self, ax: "Axes | None" = None) -> "Figure":
        """Draw the lines without the first 20 films, where one film is more than 5 points."""
        with styled():
            ax = ax if ax is not None else new_axes(6.4, 4.2)
            ax.set_title("Error against the share of films answered")
            highest = 0.0
            for place, (name, coverage, error) in enumerate(self.lines):
                start = min(20, len(coverage) - 1)
                colour, style = (
                    (INK, (0, (4, 2))) if name == ALL and len(self.lines) > 1 else (_COLOURS[place % 6], "-")
                )
                ax.plot(
                    100 * coverage[start:], 100 * error[start:], color=colour, linestyle=style, label=name
                )
                highest = max(highest, float(error[start:].max()))
            if self.point is not None:
                share, error_at = self.point
                highest = max(highest, error_at)
                label = f"the model: answers {share:.0%}, {error_at:.1%} of these wrong"
                ax.plot(
                    [100 * share],
                    [100 * error_at],
                    "o",
                    color=VERMILION,
                    markersize=8,
                    linestyle="none",
                    label=label,
                )
            ax.set(xlabel="films answered, most confident first (%)", ylabel="error among these (%)")
            ax.set(xlim=(0, 101), ylim=(0, max(5.0, 115 * highest)))
            ax.grid(visible=True)
            ax.legend(loc="upper left")
            return figure_of(ax)


@dataclass(frozen=True)
class SiteDisplay:
    """A forest plot: a dot with its interval for each site, and for all films at the bottom.

    `rows` are name, number of films, area under ROC and its 95% interval, from the top.
    """

    rows: tuple[tuple[str, int, float | None, Interval | None], ...]
    title: str = "Area under ROC by site"

    @classmethod
    def from_table(
        cls, table: SiteTable, roc_auc: float | None, roc_auc_ci95: Interval | None
    ) -> "SiteDisplay":
        """Create the display from a table, and the area of all its films together."""
        whole = (ALL, sum(row.n for row in table.rows), roc_auc, roc_auc_ci95)
        return cls((*((row.site, row.n, row.roc_auc, row.roc_auc_ci95) for row in table.rows), whole))

    def plot(self, ax: "Axes | None" = None) -> "Figure":
        """Draw the sites below each other; the dashed line is chance."""
        with styled():
            ax = ax if ax is not None else new_axes(7.2, 1.4 + 0.42 * len(self.rows))
            ax.set_title(self.title)
            places = list(range(len(self.rows)))
            known = [(row[2], row[3]) for row in self.rows if row[2] is not None]
            if not known:
                say_undefined(ax, "All films of each row have one label:\nthere is no area.")
                return figure_of(ax)
            low = min([0.5, *(area for area, _ in known), *(bounds[0] for _, bounds in known if bounds)])
            ax.set_xlim(low - 0.02, 1.01)
            ax.hlines(places, low - 0.02, 1.01, color=PALE, linewidth=0.6, zorder=0)
            ax.axvline(0.5, color=GREY, linewidth=1, linestyle=(0, (2, 2)))
            for place, (name, _, area, bounds) in enumerate(self.rows):
                colour, mark = (INK, "D") if name == ALL else (BLUE, "o")
                if bounds:
                    ax.plot(bounds, (place, place), color=colour, linewidth=1.6, alpha=0.6)
                if area is not None:
                    ax.plot([area], [place], mark, color=colour, markersize=7)
                label = "one label only" if area is None else f"{area:.3f}"
                label += f" ({bounds[0]:.3f} to {bounds[1]:.3f})" if bounds else ""
                ax.annotate(
                    label,
                    (1.02, place),
                    xycoords=("axes fraction", "data"),
                    va="center",
                    annotation_clip=False,
                )
            ax.set_yticks(places, [f"{name} ({n:,})" for name, n, _, _ in self.rows])
            ax.set_ylim(len(self.rows) - 0.4, -0.6)
            ax.set_xlabel("area under ROC, 95% interval over patients (0.5: chance)")
            ax.tick_params(axis="y", length=0)
            return figure_of(ax)


def group_display(
    tables: Sequence[GroupTable], n: int, roc_auc: float | None, interval: Interval | None
) -> SiteDisplay:
    """Return the forest plot of all groups, with all n films and their area at the bottom."""
    rows = [
        (f"{each.column} {row.site}", row.n, row.roc_auc, row.roc_auc_ci95)
        for each in tables
        for row in each.table.rows
    ]
    return SiteDisplay((*rows, (ALL, n, roc_auc, interval)), title="Area under ROC by group")
