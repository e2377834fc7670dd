"""The graphs of a study: convergence, figures by setting, by site, and differences to the baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pneumoscan.evaluate.drawing import BLUE, GREEN, GREY, INK, ORANGE, PALE, VERMILION, styled
from pneumoscan.study.differences import COMPARED, PRIMARY, Difference

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
    """The epochs of all seeds of a variant, one history per seed as in `TrialRecord`; the baseline is drawn as the reference."""

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


# Figures by setting, by site, and differences


SHADES = ("#a6cee3", "#56a0d3", "#0072b2", "#00304d")


@dataclass(frozen=True)
class SweepPoint:
    """A figure of one trial at one epoch: the name of the group, the setting, the epoch, the value."""

    group: str
    setting: float
    epoch: int
    value: float | None


@dataclass(frozen=True)
class ForestRow:
    """The differences of a variant to the baseline, by figure."""

    name: str
    seeds: int
    differences: Mapping[str, Difference]


def draw_sweep(points: Sequence[tuple[str, Sequence[SweepPoint]]], setting: str) -> "Figure":
    """Draw figures against a setting, with a line for each epoch and a column for each group.

    Args:
        points: (title of the figure, its points); one row of panels each.
        setting: Name of the setting on the horizontal axis.
    """
    from matplotlib.figure import Figure

    groups = list(dict.fromkeys(point.group for _, row in points for point in row))
    with styled():
        figure = Figure(figsize=(max(5.0, 2.35 * len(groups)), 0.9 + 2.3 * len(points)), layout="constrained")
        axes = figure.subplots(len(points), len(groups), sharey="row", sharex="col", squeeze=False)
        for panels, (title, row) in zip(axes, points, strict=True):
            for panel, group in zip(panels, groups, strict=True):
                _draw_epochs(panel, [point for point in row if point.group == group])
            panels[0].set_ylabel(title)
            values = np.array([point.value for point in row if point.value is not None])
            if values.size and panels[0].get_ylim()[1] > (top := 3 * float(np.quantile(values, 0.8))):
                # One rate that is far too high must not compress all others.
                panels[0].set_ylim(0, top)
        for panel, group in zip(axes[0], groups, strict=True):
            panel.set_title(group or "all variants")
        for panel in axes[-1]:
            panel.set_xlabel(setting)
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=max(1, len(names)))
        return figure


def _draw_epochs(panel: "Axes", points: Sequence[SweepPoint]) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    epochs = sorted({point.epoch for point in points})
    shades = SHADES[-len(epochs) :] if len(epochs) <= len(SHADES) else SHADES * len(epochs)
    settings = sorted({point.setting for point in points})
    for epoch, shade in zip(epochs, shades, strict=False):
        at = {point.setting: point.value for point in points if point.epoch == epoch}
        values = [at.get(setting) for setting in settings]
        numbers = [np.nan if value is None else value for value in values]
        panel.plot(settings, numbers, "o-", color=shade, linewidth=1.4, markersize=5, label=f"epoch {epoch}")
    low, high = settings[0], settings[-1]
    if low > 0:
        panel.set_xscale("log")
        margin = max((high / low) ** 0.15, 1.1)
        panel.set_xlim(low / margin, high * margin)
    else:
        panel.margins(x=0.15)
    panel.xaxis.set_major_locator(FixedLocator(settings))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xticks(settings, [f"{setting:g}" for setting in settings])
    panel.tick_params(axis="x", labelsize=8)
    panel.grid(visible=True)


@dataclass(frozen=True)
class SiteRow:
    """The area under ROC of a variant at each site, one value per seed, and the sites that were left out of its training."""

    name: str
    areas: Mapping[str, Sequence[float]]
    left_out: frozenset[str]


def draw_sites(rows: Sequence[SiteRow]) -> "Figure":
    """Draw the area under ROC of each variant, one panel per site: a dot per seed, and a bar at the mean.

    A site that was left out of the training is red, any other site blue.
    """
    from matplotlib.figure import Figure

    sites = sorted({site for row in rows for site in row.areas})
    with styled():
        figure = Figure(figsize=(10.6, 1.6 + 0.3 * len(rows)), layout="constrained")
        axes = figure.subplots(1, len(sites), sharey=True, squeeze=False)[0]
        places = list(range(len(rows)))
        for panel, site in zip(axes, sites, strict=True):
            panel.axvline(0.5, color=GREY, linewidth=1, linestyle=(0, (2, 2)))
            for place, row in enumerate(rows):
                areas = row.areas.get(site, ())
                if not areas:
                    continue
                colour = VERMILION if site in row.left_out else BLUE
                mean = sum(areas) / len(areas)
                panel.plot(areas, [place] * len(areas), "o", color=colour, markersize=4, alpha=0.5)
                panel.plot([mean, mean], [place - 0.3, place + 0.3], color=colour, linewidth=2)
                panel.annotate(
                    f"{mean:.2f}", (1.03, place), color=colour, va="center", fontsize=8, annotation_clip=False
                )
            panel.hlines(places, 0.2, 1.0, color=PALE, linewidth=0.6, zorder=0)
            panel.set_xlim(0.2, 1.0)
            panel.set_title(f"films of {site}")
            panel.set_xlabel("area under ROC (0.5: chance, 1: perfect)")
            panel.tick_params(axis="y", length=0)
        axes[0].set_yticks(places, [row.name for row in rows])
        axes[0].set_ylim(len(rows) - 0.4, -0.6)
        return figure


def draw_forest(rows: Sequence[ForestRow]) -> "Figure":
    """Draw the difference of each variant to the baseline with its interval, one panel per figure."""
    from matplotlib.figure import Figure

    with styled():
        figure = Figure(figsize=(10.6, 1.35 + 0.3 * len(rows)), layout="constrained")
        axes = figure.subplots(1, len(PRIMARY), sharey=True, squeeze=False)[0]
        places = list(range(len(rows)))
        for panel, name in zip(axes, PRIMARY, strict=True):
            panel.axvline(0, color=GREY, linewidth=1, linestyle=(0, (2, 2)))
            for place, row in enumerate(rows):
                _draw_difference(panel, place, row.differences.get(name))
            panel.set_title(COMPARED[name])
            panel.set_xlabel("difference to the baseline, 95% interval")
            panel.hlines(places, *panel.get_xlim(), color=PALE, linewidth=0.6, zorder=0)
            panel.locator_params(axis="x", nbins=6)
            panel.tick_params(axis="y", length=0)
            panel.margins(x=0)
        axes[0].set_yticks(places, [f"{row.name} ({row.seeds})" for row in rows])
        axes[0].set_ylim(len(rows) - 0.4, -0.6)
        return figure


def _draw_difference(panel: "Axes", place: int, difference: Difference | None) -> None:
    if difference is None:
        return
    colour = {"better": GREEN, "worse": VERMILION}.get(difference.verdict, BLUE)
    mark = {"better": "^", "worse": "v"}.get(difference.verdict, "o")
    panel.plot(difference.ci95, (place, place), color=colour, linewidth=1.6, alpha=0.6)
    panel.plot([difference.value], [place], mark, color=colour, markersize=6)
