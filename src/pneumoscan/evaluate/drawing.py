"""The style of all figures, and saving them: without global state or a window, with the same bytes each time."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscan.errors import require
from pneumoscan.files import make_folder, write_atomic, write_problems

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that are distinct for every kind of colour vision: M. Okabe, K. Ito, Color Universal Design (2008).
BLUE, VERMILION, GREEN, ORANGE = "#0072b2", "#d55e00", "#009e73", "#e69f00"
INK, GREY, PALE = "#222222", "#767676", "#d9d9d9"
SCORES = "viridis"
PNG_DPI = 160

STYLE: Any = {
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": PALE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "svg.hashsalt": "pneumoscan",
    "svg.fonttype": "path",
}


PAPER, PAPER_KINDS = "paper", ("svg", "pdf")
"""Folder of the figures for papers, beside the others, and their kinds."""
_ASKED: ContextVar[tuple[str, ...]] = ContextVar("the kinds that are asked for", default=())


@contextmanager
def for_papers(kinds: Sequence[str]) -> Iterator[None]:
    """Let `save_figure` also write each figure for a paper, as `paper/NAME.svg` or `.pdf`, in which text is text.

    Args:
        kinds: Any of `PAPER_KINDS`; none writes none.
    """
    token = _ASKED.set(tuple(kinds))
    try:
        yield
    finally:
        _ASKED.reset(token)


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the style of this module. The previous settings are restored afterwards.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    require("matplotlib")
    _give_matplotlib_a_folder()
    import matplotlib as mpl

    with mpl.rc_context():
        # A user's matplotlibrc must not change a figure.
        mpl.rcParams.update({key: value for key, value in mpl.rcParamsDefault.items() if key != "backend"})
        mpl.rcParams.update(STYLE)
        yield


def new_axes(width: float, height: float) -> "Axes":
    """Return axes on a new figure of `width` × `height` inches, independent of pyplot."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained").subplots()


def figure_of(ax: "Axes") -> "Figure":
    """Return the figure of axes."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("the axes have no figure")
    return figure


def say_undefined(ax: "Axes", why: str) -> None:
    """Write the reason why there is nothing to draw on empty axes."""
    ax.text(0.5, 0.5, why, transform=ax.transAxes, ha="center", va="center", color=GREY, wrap=True)
    ax.set_xticks([])
    ax.set_yticks([])


def svg_bytes(figure: "Figure") -> bytes:
    """Return a figure as SVG; the same figure gives the same bytes."""
    with styled():
        buffer = BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def paper_bytes(figure: "Figure", kind: str) -> bytes:
    """Return a figure as `svg` or `pdf` with its text as text and its fonts embedded; the same figure gives the same bytes."""
    import matplotlib as mpl

    with styled():
        mpl.rcParams.update({"svg.fonttype": "none", "pdf.fonttype": 42})
        buffer = BytesIO()
        date = "Date" if kind == "svg" else "CreationDate"
        figure.savefig(buffer, format=kind, metadata={date: None})
    return buffer.getvalue()


def save_figure(figure: "Figure", path_without_suffix: Path) -> bytes:
    """Write a figure as `.svg` and `.png` (160 dots per inch), release it, and return the SVG.

    In these the letters of the SVG are shapes, which look the same everywhere. `for_papers` adds files in which they are text.

    Raises:
        DiskFullError, NotWritableError: See `files.open_atomic`.
    """
    svg = svg_bytes(figure)
    with styled():
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=PNG_DPI)
    folder, name = path_without_suffix.parent, path_without_suffix.name
    write_atomic(folder / f"{name}.svg", svg)
    write_atomic(folder / f"{name}.png", buffer.getvalue())
    for kind in PAPER_KINDS:
        path = folder / PAPER / f"{name}.{kind}"
        if kind in _ASKED.get():
            make_folder(path.parent)
            write_atomic(path, paper_bytes(figure, kind))
        elif path.exists():
            with write_problems(path):
                path.unlink()
    figure.clear()
    return svg


def _give_matplotlib_a_folder() -> None:
    """Set MPLCONFIGDIR to a temporary folder if the home folder is not writable."""
    if "MPLCONFIGDIR" in os.environ:
        return
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() raises where there is none
    if not (home.is_dir() and os.access(home, os.W_OK)):
        os.environ["MPLCONFIGDIR"] = tempfile.mkdtemp(prefix="pneumoscan-matplotlib-")
