"""Convergence of a training: loss, accuracy and learning rate by epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscan.errors import NothingUsableError, UsageError
from pneumoscan.evaluate.arrays import Floats
from pneumoscan.evaluate.drawing import BLUE, GREY, VERMILION, figure_of, new_axes, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_KEYS = ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "learning_rate")


@dataclass(frozen=True)
class ConvergenceDisplay:
    """Curves of a training by epoch, float64 (k,); NaN if an epoch has no such figure. `best_epoch` is the one whose weights were kept."""

    epoch: Floats
    train_loss: Floats
    val_loss: Floats
    train_accuracy: Floats
    val_accuracy: Floats
    learning_rate: Floats
    best_epoch: int | None = None

    @classmethod
    def from_history(
        cls, history: Sequence[Mapping[str, Any]], *, best_epoch: int | None = None
    ) -> "ConvergenceDisplay":
        """Read the rows of `history.jsonl`.

        Args:
            history: One mapping per epoch with `epoch` and any of `train_loss`, `val_loss`, `train_accuracy`,
                `val_accuracy`, `learning_rate`; missing, None and infinite figures leave a gap. Of two rows of one
                epoch the later counts.
            best_epoch: The epoch whose weights were kept; by default the one with the lowest `val_loss`.

        Raises:
            NothingUsableError: There is no epoch.
            UsageError: A row has no `epoch`, or a figure is not a number.
        """
        if not history:
            raise NothingUsableError("the history has no epoch to draw.", "Train for at least one epoch.")
        by_epoch = {_number(row, "epoch", required=True): row for row in history}
        epochs = sorted(by_epoch)
        columns = {key: np.array([_number(by_epoch[epoch], key) for epoch in epochs]) for key in _KEYS}
        if best_epoch is None and np.isfinite(columns["val_loss"]).any():
            best_epoch = int(epochs[int(np.nanargmin(columns["val_loss"]))])
        return cls(epoch=np.array(epochs), best_epoch=best_epoch, **columns)

    def plot(self, ax: "Axes | None" = None) -> "Figure":
        """Draw loss above accuracy, and the learning rate in a small panel below.

        Args:
            ax: Axes that the three panels replace; by default new ones of 7.2 × 7.2 inches.
        """
        with styled():
            ax = ax if ax is not None else new_axes(7.2, 7.2)
            ax.set_axis_off()
            ax.set_title(self._title())
            loss = ax.inset_axes((0.1, 0.59, 0.89, 0.39))
            accuracy = ax.inset_axes((0.1, 0.22, 0.89, 0.33), sharex=loss)
            rate = ax.inset_axes((0.1, 0.06, 0.89, 0.12), sharex=loss)
            self._draw_pair(loss, "loss", self.train_loss, self.val_loss)
            self._draw_pair(accuracy, "accuracy", self.train_accuracy, self.val_accuracy)
            if not np.isfinite(self.learning_rate).any():
                rate.set_yticks([])
            rate.step(self.epoch, self.learning_rate, where="mid", color=GREY, linewidth=1.4)
            rate.set(xlabel="epoch", ylabel="learning rate")
            rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
            rate.yaxis.label.set_fontsize(8)
            rate.tick_params(axis="y", labelsize=8)
            rate.yaxis.get_offset_text().set_fontsize(8)
            for panel in (loss, accuracy):
                panel.tick_params(labelbottom=False)
            self._set_epochs(loss)
            return figure_of(ax)

    def _title(self) -> str:
        epochs = "1 epoch" if self.epoch.size == 1 else f"{self.epoch.size} epochs"
        return f"Convergence · {epochs}" + (
            f", epoch {self.best_epoch} kept" if self.best_epoch is not None else ""
        )

    def _draw_pair(self, panel: "Axes", name: str, train: Floats, val: Floats) -> None:
        lines = (
            (train, "training", BLUE, "o", "-"),
            (val, "validation (held-out patients)", VERMILION, "s", "--"),
        )
        for values, label, colour, marker, dashes in lines:
            if np.isfinite(values).any():
                size = 4 if self.epoch.size <= 60 else 0
                panel.plot(
                    self.epoch, values, dashes, color=colour, marker=marker, markersize=size, label=label
                )
        if self.best_epoch is not None:
            panel.axvline(self.best_epoch, color=GREY, linewidth=1, linestyle=(0, (2, 2)), zorder=0.5)
            at = np.flatnonzero((self.epoch == self.best_epoch) & np.isfinite(val))
            panel.plot(self.epoch[at], val[at], "o", markersize=11, color="none", markeredgecolor=VERMILION)
        panel.set_ylabel(name)
        panel.grid(visible=True)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(loc="best")

    def _set_epochs(self, panel: "Axes") -> None:
        from matplotlib.ticker import MaxNLocator

        panel.set_xlim(self.epoch[0] - 0.5, self.epoch[-1] + 0.5)
        panel.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, min_n_ticks=1))


def _number(row: Mapping[str, Any], key: str, *, required: bool = False) -> float:
    """Return a figure of a row; NaN if it is missing or not finite."""
    value = row.get(key)
    if value is None and not required:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"the history has {key} = {value!r} in a row.", "Every epoch needs a number.")
    return float(value) if isfinite(value) else float("nan")
