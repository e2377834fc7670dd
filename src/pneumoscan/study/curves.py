"""The convergence of a study: loss and accuracy by epoch, a line for each variant with the range of its seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pneumoscan.evaluate.drawing import BLUE, GREEN, GREY, INK, ORANGE, VERMILION, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]
PANELS = (
    ("train_loss", "training loss (nats)"),
    ("val_loss", "validation loss (nats)"),
    ("train_accuracy", "training accuracy"),
    ("val_accuracy", "validation accuracy"),
)
# Okabe & Ito's colours except black and yellow; dashes distinguish lines where colours do not.
LOOKS: tuple[tuple[str, Any], ...] = (
    (BLUE, "-"),
    (VERMILION, "-"),
    (GREEN, "-"),
    (ORANGE, "-"),
    ("#cc79a7", "-"),
    ("#56b4e9", (0, (5, 1.5))),
    ("#8c510a", (0, (5, 1.5))),
    (GREY, (0, (5, 1.5))),
)
BASELINE_LOOK: tuple[str, Any] = (INK, (0, (1.5, 1.5)))
MOST_LINES = len(LOOKS)


@dataclass(frozen=True)
class Curves:
    """The epochs of all seeds of a variant.

    Attributes:
        name: Name in the legend.
        histories: One per seed, in the form of `TrialRecord.history`.
        is_baseline: Whether it is drawn as the reference.
    """

    name: str
    histories: Sequence[Sequence[Mapping[str, Any]]]
    is_baseline: bool = False

    def band(self, figure: str) -> tuple[Floats, Floats, Floats, Floats]:
        """Return epochs, and mean, minimum and maximum over the seeds, float64 (k,); NaN without a value."""
        longest = max((len(history) for history in self.histories), default=0)
        if not longest:
            return (np.empty(0),) * 4
        table = np.full((len(self.histories), longest), np.nan)
        for seed, history in enumerate(self.histories):
            for row in history:
                value = row[figure]
                table[seed, row["epoch"] - 1] = np.nan if value is None else value
        known = np.isfinite(table).any(axis=0)
        epochs = np.arange(1, longest + 1, dtype=np.float64)[known]
        table = table[:, known]
        return epochs, np.nanmean(table, axis=0), np.nanmin(table, axis=0), np.nanmax(table, axis=0)


def draw_convergence(rows: Sequence[tuple[str, Sequence[Curves]]]) -> "Figure":
    """Draw four panels: training loss, validation loss, training accuracy, validation accuracy.

    Args:
        rows: (title, lines). A single row gives two by two panels with one legend below; several rows give four panels
            each, with a legend at the right of each row.
    """
    with styled():
        return _one_group(rows[0][1]) if len(rows) == 1 else _several_groups(rows)


def _one_group(lines: Sequence[Curves]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.6, 7.4), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True)
    order = (axes[0, 0], axes[0, 1], axes[1, 0], axes[1, 1])
    for panel, (key, title) in zip(order, PANELS, strict=True):
        _draw_lines(panel, lines, key)
        _set_scale([panel], lines, key)
        panel.set_title(title)
    for panel in axes[1]:
        panel.set_xlabel("epoch")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(4, max(1, len(names))))
    return figure


def _several_groups(rows: Sequence[tuple[str, Sequence[Curves]]]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.6, 0.5 + 2.05 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 4, sharex=True, squeeze=False)
    for panels, (title, lines) in zip(axes, rows, strict=True):
        for panel, (key, _) in zip(panels, PANELS, strict=True):
            _draw_lines(panel, lines, key)
        panels[0].set_ylabel(title, weight="bold")
        panels[3].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), borderaxespad=0)
    every = [line for _, lines in rows for line in lines]
    for column, (key, title) in zip(axes.T, PANELS, strict=True):
        _set_scale(list(column), every, key)
        column[0].set_title(title)
        column[-1].set_xlabel("epoch")
    return figure


def _draw_lines(panel: "Axes", lines: Sequence[Curves], key: str) -> None:
    from matplotlib.ticker import MaxNLocator

    looks = iter(LOOKS * (1 + len(lines) // MOST_LINES))
    for line in lines:
        colour, dashes = BASELINE_LOOK if line.is_baseline else next(looks)
        epochs, mean, low, high = line.band(key)
        if len(line.histories) > 1:
            panel.fill_between(epochs, low, high, color=colour, alpha=0.16, linewidth=0)
        mark = "o" if epochs.size < 3 else None
        panel.plot(
            epochs, mean, color=colour, linestyle=dashes, linewidth=1.6, marker=mark, markersize=4,
            label=line.name, zorder=3 if line.is_baseline else 2,
        )  # fmt: skip
    panel.grid(visible=True)
    panel.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))


def _set_scale(panels: Sequence["Axes"], lines: Sequence[Curves], key: str) -> None:
    """Set a common vertical scale for panels that ignores single outlying epochs.

    Losses range from 0 to slightly above most values, accuracies from slightly below them to 1.
    """
    values = np.concatenate([np.empty(0), *(each for line in lines for each in line.band(key)[2:])])
    if not values.size:
        return
    if key.endswith("loss"):
        bulk = float(np.quantile(values, 0.97))
        low, high = 0.0, min(1.05 * float(values.max()), max(1.25 * bulk, 0.1))
    else:
        bulk = float(np.quantile(values, 0.03))
        least = max(float(values.min()), bulk - 0.25 * (1 - bulk))
        low, high = max(0.0, least - 0.05 * (1 - least) - 0.002), 1.003
    for panel in panels:
        panel.set_ylim(low, high)
