"""Graphs across sites: area under ROC by site, and the risk-coverage curve."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pneumoscan.evaluation.answers import Answers, risk_coverage
from pneumoscan.evaluation.arrays import Floats, check_outcome
from pneumoscan.evaluation.figures import (
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
from pneumoscan.evaluation.intervals import Interval
from pneumoscan.evaluation.sites import NO_SITE, SiteTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = (BLUE, ORANGE, GREEN, "#cc79a7", "#56b4e9", "#8c510a")
ALL = "all films"


@dataclass(frozen=True)
class SiteDisplay:
    """A forest plot: a dot with its interval for each site, and for all films at the bottom.

    Attributes:
        rows: Name, number of films, area under ROC and its 95% interval, from the top.
    """

    rows: tuple[tuple[str, int, float | None, Interval | None], ...]

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
            ax.set_title("Area under ROC by site")
            places = list(range(len(self.rows)))
            known = [(row[2], row[3]) for row in self.rows if row[2] is not None]
            if not known:
                say_undefined(ax, "All films of each site have one label:\nthere is no area.")
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
