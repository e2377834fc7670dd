"""The figure of a stress table: area under ROC, sensitivity and specificity in each view of the films."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pneumoscan.evaluation.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    figure_of,
    new_axes,
    say_undefined,
    styled,
)
from pneumoscan.evaluation.stress import StressRow, StressTable, readable_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHARES = (("sensitivity", ORANGE, "^"), ("specificity", GREEN, "D"))


@dataclass(frozen=True)
class StressDisplay:
    """A dot for every view, with the unchanged films on top.

    Attributes:
        rows: The rows from the top.
        threshold: The threshold of sensitivity and specificity.
    """

    rows: tuple[StressRow, ...]
    threshold: float

    @classmethod
    def from_table(cls, table: StressTable) -> "StressDisplay":
        """Create the display from a table."""
        return cls((table.plain, *table.rows), table.threshold)

    def plot(self, ax: "Axes | None" = None) -> "Figure":
        """Draw two panels beside each other; a line marks the figures of the unchanged films.

        Args:
            ax: Axes that the panels replace; by default new ones.
        """
        with styled():
            ax = ax if ax is not None else new_axes(9.6, 1.3 + 0.3 * len(self.rows))
            ax.set_axis_off()
            ax.set_title("Stress test: the same films in altered views")
            left = ax.inset_axes((0.12, 0.12, 0.4, 0.86))
            right = ax.inset_axes((0.57, 0.12, 0.42, 0.86), sharey=left)
            self._draw_areas(left)
            self._draw_shares(right)
            left.set_yticks(self._places(), [readable_name(row.perturbation) for row in self.rows])
            left.set_ylim(len(self.rows) - 0.4, -0.6)
            right.tick_params(labelleft=False)
            for panel in (left, right):
                panel.tick_params(axis="y", length=0)
                panel.axhline(0.5, color=GREY, linewidth=0.8)
            return figure_of(ax)

    def _places(self) -> list[int]:
        return list(range(len(self.rows)))

    def _draw_areas(self, panel: "Axes") -> None:
        panel.set_xlabel("area under ROC, 95% interval over patients")
        areas = [row.roc_auc for row in self.rows if row.roc_auc is not None]
        if len(areas) < len(self.rows):
            say_undefined(panel, "All films have one label:\nthere is no area.")
            return
        panel.hlines(self._places(), 0, 1, color=PALE, linewidth=0.6, zorder=0)
        panel.axvline(areas[0], color=GREY, linewidth=1, linestyle=(0, (2, 2)))
        for place, row in enumerate(self.rows):
            if row.roc_auc_ci95 is not None:
                panel.plot(row.roc_auc_ci95, (place, place), color=BLUE, linewidth=1.4, alpha=0.5)
        panel.plot(areas, self._places(), "o", color=BLUE, markersize=6)
        low = min([*areas, *(row.roc_auc_ci95[0] for row in self.rows if row.roc_auc_ci95)])
        # No narrower than a tenth: small differences must not look large.
        span = max(0.1, 1 - low)
        panel.set_xlim(1 - 1.06 * span, 1 + 0.03 * span)
        panel.locator_params(axis="x", nbins=6)

    def _draw_shares(self, panel: "Axes") -> None:
        panel.hlines(self._places(), 0, 1, color=PALE, linewidth=0.6, zorder=0)
        for name, colour, marker in _SHARES:
            values = np.array([getattr(row, name) for row in self.rows], dtype=np.float64)
            if np.isfinite(values[0]):
                panel.axvline(values[0], color=colour, linewidth=1, linestyle=(0, (2, 2)))
            panel.plot(values, self._places(), marker, color=colour, markersize=6, label=name)
        panel.set_xlim(-0.02, 1.03)
        panel.set_xlabel(f"at threshold {self.threshold:.3g}")
        panel.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
