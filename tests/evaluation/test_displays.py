"""Displays hold the right arrays and draw them, also where there is little to draw; figures are the same bytes twice."""

import os
import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve

from pneumoscan.errors import NothingUsableError, UsageError
from pneumoscan.evaluate.convergence import ConvergenceDisplay
from pneumoscan.evaluate.displays import ConfusionDisplay, ReliabilityDisplay, RocDisplay, ThresholdDisplay
from pneumoscan.evaluate.drawing import for_papers, save_figure, svg_bytes
from pneumoscan.evaluate.precision_recall import PrecisionRecallDisplay
from pneumoscan.evaluate.thresholds import THRESHOLDS

OF_OUTCOMES = [PrecisionRecallDisplay, ThresholdDisplay, RocDisplay, ConfusionDisplay]
DEGENERATE = [
    ([0, 1], [0.2, 0.9]),
    ([1], [0.7]),
    ([0, 0], [0.1, 0.6]),
    ([0, 1, 1], [0.01, 0.02, 0.03]),
    ([1, 0], [0, 1]),
]


def history(epochs=6, **changes):
    row = {
        "train_loss": 0.5,
        "val_loss": 0.6,
        "train_accuracy": 0.8,
        "val_accuracy": 0.7,
        "learning_rate": 1e-3,
    }
    return [
        {"epoch": epoch, **row, "val_loss": abs(epoch - 4) + 0.1, **changes} for epoch in range(1, epochs + 1)
    ]


def texts(figure):
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def test_curves_are_scikit_learns(make_outcome):
    y_true, y_prob = make_outcome()
    display = PrecisionRecallDisplay.from_predictions(y_true, y_prob)
    precision, recall, _ = precision_recall_curve(y_true, y_prob)
    np.testing.assert_array_equal(display.precision, precision)
    np.testing.assert_array_equal(display.recall, recall)
    roc = RocDisplay.from_predictions(y_true, y_prob, threshold=0.5)
    false, true, _ = roc_curve(y_true, y_prob)
    np.testing.assert_array_equal(roc.false_positive_rate, false)
    np.testing.assert_array_equal(roc.true_positive_rate, true)
    called = y_prob >= 0.5
    assert roc.point == pytest.approx((called[y_true == 0].mean(), called[y_true == 1].mean()))


def test_every_threshold_has_its_f_score_written_and_none_covers_another(make_outcome):
    y_true, y_prob = make_outcome(gap=2.5)
    display = PrecisionRecallDisplay.from_predictions(y_true, y_prob, threshold=0.5)
    figure = display.plot()
    written = texts(figure)
    for row in display.rows:
        assert f"{row.threshold:.2f}" in written
        assert any(text.startswith(f"{row.f1:.3f}") for text in written)
    assert sum("best" in text for text in written) == 1
    assert sum("carried" in text for text in written) == 1
    svg_bytes(figure)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    clash = [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :] if a.shrunk(0.98, 0.98).overlaps(b)]
    assert not clash
    page = figure.bbox
    assert all(box.x1 <= page.x1 and box.y1 <= page.y1 for box in boxes)


def test_the_window_holds_every_mark(make_outcome):
    display = PrecisionRecallDisplay.from_predictions(*make_outcome(gap=2.5))
    left, right, bottom, top = display.window
    assert len(display.marks) == 17
    assert all(left <= row.recall <= right and bottom <= row.precision <= top for row in display.marks)
    assert right - left < 0.5


def test_thresholds_that_no_film_reaches_have_no_mark():
    display = PrecisionRecallDisplay.from_predictions([0, 1, 1], [0.1, 0.3, 0.42])
    assert [row.threshold for row in display.marks] == [t for t in THRESHOLDS if t <= 0.4]
    assert sum(text.startswith("none called") for text in texts(display.plot())) == 10


def test_reliability_and_confusion_hold_their_counts():
    assert ReliabilityDisplay.from_predictions([0, 1, 1], [0.05, 0.9, 1.0]).count.sum() == 3
    assert ConfusionDisplay.from_predictions(
        [0, 0, 1, 1, 1], [0.1, 0.9, 0.2, 0.8, 0.9], threshold=0.5
    ).counts.tolist() == [[1, 1], [1, 2]]


@pytest.mark.parametrize("display", OF_OUTCOMES)
@pytest.mark.parametrize(("y_true", "y_prob"), DEGENERATE)
def test_little_to_draw_is_drawn_without_a_warning(display, y_true, y_prob):
    svg_bytes(display.from_predictions(y_true, y_prob, threshold=0.5).plot())


def test_reliability_of_one_film_is_drawn():
    svg_bytes(ReliabilityDisplay.from_predictions([1], [0.5]).plot())


def test_displays_draw_on_given_axes(make_outcome):
    from matplotlib.figure import Figure

    figure = Figure()
    y_true, y_prob = make_outcome(50)
    for ax, display in zip(figure.subplots(2, 2).ravel(), OF_OUTCOMES, strict=True):
        assert display.from_predictions(y_true, y_prob, threshold=0.5).plot(ax) is figure
    ax = figure.add_subplot()
    assert ReliabilityDisplay.from_predictions(y_true, y_prob).plot(ax) is figure
    assert ConvergenceDisplay.from_history(history()).plot(ax) is figure


def test_convergence_holds_the_history_and_finds_the_best_epoch():
    display = ConvergenceDisplay.from_history(history())
    assert display.epoch.tolist() == [1, 2, 3, 4, 5, 6]
    assert display.val_loss.tolist() == pytest.approx([3.1, 2.1, 1.1, 0.1, 1.1, 2.1])
    assert display.best_epoch == 4
    assert ConvergenceDisplay.from_history(history(), best_epoch=2).best_epoch == 2
    svg_bytes(display.plot())


def test_convergence_without_validation_or_learning_rate():
    rows = [
        {
            "epoch": 1,
            "train_loss": 0.5,
            "train_accuracy": 0.8,
            "val_loss": None,
            "learning_rate": float("inf"),
        }
    ]
    display = ConvergenceDisplay.from_history(rows)
    assert display.best_epoch is None
    assert np.isnan(display.val_loss).all()
    svg_bytes(display.plot())


def test_convergence_takes_the_later_of_two_rows_of_one_epoch():
    rows = [*history(3), {**history(1)[0], "epoch": 2, "train_loss": 0.1}]
    assert ConvergenceDisplay.from_history(rows).train_loss.tolist() == [0.5, 0.1, 0.5]


def test_convergence_refuses_what_is_no_history():
    with pytest.raises(NothingUsableError):
        ConvergenceDisplay.from_history([])
    with pytest.raises(UsageError, match="epoch"):
        ConvergenceDisplay.from_history([{"train_loss": 1.0}])
    with pytest.raises(UsageError, match="train_loss"):
        ConvergenceDisplay.from_history([{"epoch": 1, "train_loss": "low"}])


def test_figures_are_the_same_bytes_twice(make_outcome, tmp_path):
    outcome = make_outcome(80)
    for name in ("one", "two"):
        save_figure(PrecisionRecallDisplay.from_predictions(*outcome).plot(), tmp_path / name)
    for suffix in (".svg", ".png"):
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()
    assert b"<dc:date>" not in (tmp_path / "one.svg").read_bytes()


def test_drawing_leaves_the_global_settings_alone(make_outcome):
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 31.0, "svg.hashsalt": "mine"}):
        before = dict(mpl.rcParams)
        svg_bytes(ThresholdDisplay.from_predictions(*make_outcome(40)).plot())
        assert dict(mpl.rcParams) == before


def test_drawing_works_where_home_cannot_be_written(tmp_path):
    code = (
        "from pathlib import Path; from pneumoscan.evaluate.displays import ConfusionDisplay; from pneumoscan.evaluate.drawing import save_figure;"
        f"save_figure(ConfusionDisplay.from_predictions([0, 1], [0.1, 0.9], threshold=0.5).plot(), Path({str(tmp_path / 'x')!r}));"
        "import sys; assert 'matplotlib.pyplot' not in sys.modules"
    )
    environment = {key: value for key, value in os.environ.items() if key != "MPLCONFIGDIR"}
    environment |= {"HOME": "/nonexistent", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "x.png").exists()


def test_importing_the_room_needs_neither_matplotlib_nor_scikit_learn():
    code = (
        "import sys, pneumoscan.evaluate.metrics, pneumoscan.evaluate.displays, pneumoscan.evaluate.report;"
        "bad = {'torch', 'matplotlib', 'sklearn', 'pydantic', 'scipy'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_figures_for_papers_have_text_as_text(tmp_path):
    display = RocDisplay.from_predictions([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], threshold=0.5)
    with for_papers(["svg", "pdf"]):
        save_figure(display.plot(), tmp_path / "roc")
    assert {path.name for path in tmp_path.iterdir()} == {"roc.svg", "roc.png", "paper"}
    text = (tmp_path / "paper/roc.svg").read_text()
    assert "<text" in text
    assert "sensitivity (recall)" in text
    assert "<text" not in (tmp_path / "roc.svg").read_text()
    first = (tmp_path / "paper/roc.pdf").read_bytes()
    assert first.startswith(b"%PDF")
    # TrueType fonts stay text; the same figure gives the same bytes.
    assert b"/FontFile2" in first
    with for_papers(["pdf"]):
        save_figure(display.plot(), tmp_path / "roc")
    assert (tmp_path / "paper/roc.pdf").read_bytes() == first
    # What was not asked for again is of an older figure.
    assert not (tmp_path / "paper/roc.svg").exists()
