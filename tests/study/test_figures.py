"""Graphs of a study: every line is there, nothing lies over anything else."""

from collections.abc import Sequence

import numpy as np
import pytest
from matplotlib.figure import Figure

from pneumoscan.study.differences import Difference
from pneumoscan.study.graphs import (
    LOOKS,
    MOST_LINES,
    Curves,
    ForestRow,
    SweepPoint,
    draw_convergence,
    draw_forest,
    draw_sweep,
)


def history(epochs: int, level: float) -> list[dict[str, float]]:
    return [
        {
            "epoch": epoch,
            "train_loss": level / epoch,
            "val_loss": level / epoch + 0.1,
            "train_accuracy": 1 - level / (2 * epoch),
            "val_accuracy": 1 - level / (2 * epoch) - 0.02,
        }
        for epoch in range(1, epochs + 1)
    ]


def curves(number: int, seeds: int = 1) -> list[Curves]:
    return [
        Curves(f"variant-{place}", [history(12, 0.3 + 0.05 * place + 0.01 * seed) for seed in range(seeds)])
        for place in range(number)
    ]


def boxes(figure: Figure) -> tuple[list, list]:
    """Return the boxes of all panels and of all legends, in pixels."""
    figure.draw_without_rendering()
    legends = [*figure.legends, *(legend for ax in figure.axes if (legend := ax.get_legend()) is not None)]
    return [ax.get_window_extent() for ax in figure.axes], [legend.get_window_extent() for legend in legends]


@pytest.mark.parametrize("rows", [1, 5])
def test_no_legend_lies_over_a_panel_and_all_are_on_the_page(rows: int) -> None:
    figure = draw_convergence([(f"group {row}", curves(8 if rows == 1 else 4)) for row in range(rows)])
    panels, legends = boxes(figure)
    assert len(panels) == 4 * rows
    assert len(legends) == rows
    for legend in legends:
        assert not any(legend.overlaps(panel) for panel in panels)
        assert legend.x1 <= figure.bbox.x1 + 1
        assert legend.y0 >= -1


def test_every_panel_has_its_lines_bands_titles_and_axes() -> None:
    figure = draw_convergence(
        [("", [Curves("baseline", [history(12, 0.3)], is_baseline=True), *curves(7, 3)])]
    )
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == [
        "training loss (nats)",
        "validation loss (nats)",
        "training accuracy",
        "validation accuracy",
    ]
    for ax in figure.axes:
        assert len(ax.get_lines()) == 8
        assert len(ax.collections) == 7
    assert [ax.get_xlabel() for ax in figure.axes[2:]] == ["epoch", "epoch"]


def test_lines_differ_in_colour_or_dashes() -> None:
    assert len({(colour, str(dashes)) for colour, dashes in LOOKS}) == MOST_LINES
    assert len({colour for colour, _ in LOOKS}) == MOST_LINES


def test_a_band_is_mean_and_range_over_seeds_and_a_short_history_ends() -> None:
    epochs, mean, low, high = Curves("v", [history(3, 0.3), history(2, 0.6)]).band("train_loss")
    assert epochs.tolist() == [1, 2, 3]
    assert mean == pytest.approx([0.45, 0.225, 0.1])
    assert low == pytest.approx([0.3, 0.15, 0.1])
    assert high == pytest.approx([0.6, 0.3, 0.1])


def test_epochs_that_are_no_numbers_leave_a_gap() -> None:
    rows = history(2, 0.3)
    rows[0] |= {"val_loss": None}
    epochs, mean, _, _ = Curves("v", [rows]).band("val_loss")
    assert (epochs.tolist(), mean.size) == ([2], 1)
    assert Curves("v", [[]]).band("val_loss")[0].size == 0


def test_one_wild_epoch_does_not_hide_the_others() -> None:
    wild = history(12, 0.3)
    wild[0] |= {"val_loss": 5000.0}
    figure = draw_convergence([("", [*curves(6), Curves("wild", [wild])])])
    assert figure.axes[1].get_ylim()[1] < 5
    assert figure.axes[1].get_ylim()[0] == 0


@pytest.mark.parametrize("groups", [["adam", "sgd"], [""]])
def test_a_sweep_has_a_column_for_each_group_and_a_line_for_each_epoch(groups: Sequence[str]) -> None:
    points = [
        SweepPoint(group, rate, epoch, None if rate == 1.0 else 0.1 * epoch)
        for group in groups
        for rate in (0.01, 0.1, 1.0)
        for epoch in (6, 12)
    ]
    figure = draw_sweep([("loss", points), ("accuracy", points)], "rate")
    assert len(figure.axes) == 2 * len(groups)
    assert all(len(ax.get_lines()) == 2 for ax in figure.axes)
    assert all(np.isnan(ax.get_lines()[0].get_ydata()[2]) for ax in figure.axes)
    panels, legends = boxes(figure)
    assert len(legends) == 1
    assert not any(legends[0].overlaps(panel) for panel in panels)


def test_one_wild_rate_does_not_press_a_sweep_flat() -> None:
    points = [SweepPoint("", 0.1 * place, 6, 900.0 if place == 9 else 0.2) for place in range(1, 10)]
    assert 0.2 < draw_sweep([("loss", points)], "rate").axes[0].get_ylim()[1] < 1


def test_a_forest_has_a_mark_for_each_difference() -> None:
    better = Difference(0.02, (0.01, 0.03), "better", seeds_known=True)
    open_ = Difference(0.0, (-0.01, 0.01), "no detectable difference", seeds_known=True)
    rows = [
        ForestRow("a", 3, {"roc_auc": better, "stress_roc_auc": open_}),
        ForestRow("b", 1, {"roc_auc": open_}),
        ForestRow("the baseline", 3, {}),
    ]
    left, right = draw_forest(rows).axes
    # The line at 0, and two lines (interval and mark) for each difference.
    assert (len(left.get_lines()), len(right.get_lines())) == (5, 3)
    assert [text.get_text() for text in left.get_yticklabels()] == ["a (3)", "b (1)", "the baseline (3)"]
