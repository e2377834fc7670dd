"""Fixtures that the tests of all packages share, and the set-up of test processes that run side by side."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

# In one of several test processes, one thread for each numerical library, or the processes wait for each other's cores.
# These are set before torch and numpy are imported, and commands that a test starts inherit them.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import numpy as np
import numpy.typing as npt
import pytest
import synthetic_films

# Started in the background, a shell makes us ignore Ctrl-C, and so would every command that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

DrawFilm = Callable[..., npt.NDArray[np.uint8]]
# Files with the longest tests first, so that one process does not run the last of them alone.
_LONGEST = (
    "test_train",
    "test_page",
    "test_execute",
    "test_receive",
    "test_load",
    "test_two_sites",
    "test_system",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files of the tests; within a file they keep their order."""
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture
def draw_film() -> DrawFilm:
    """Return the function that draws a chest-like uint8 film (height, width)."""
    return synthetic_films.draw_film


@pytest.fixture
def film_folder(tmp_path: Path) -> Path:
    """A small Kaggle-like folder: train 12 patients a class, val 2, test 6; some with two films."""
    return synthetic_films.write_film_folder(tmp_path / "films")


@pytest.fixture
def quick_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the drawing out of evaluations in this process: the displays have their own tests."""
    names = ("precision_recall", "threshold", "confusion", "roc", "reliability", "stress")
    monkeypatch.setattr(
        "pneumoscan.evaluate.report._write_graphs", lambda *_: dict.fromkeys(names, b"<svg/>")
    )


@pytest.fixture(scope="session")
def real_films() -> Path:
    """The folder of real films, where there is one (PNEUMOSCAN_FILMS, or ../shared/chest_xray)."""
    given = os.environ.get("PNEUMOSCAN_FILMS")
    folder = Path(given) if given else Path(__file__).parents[2] / "shared" / "chest_xray"
    if not (folder / "train").is_dir():
        pytest.skip(f"no real films at {folder}: set PNEUMOSCAN_FILMS to the Kaggle folder")
    return folder
