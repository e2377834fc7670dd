"""Films, folders and marks that the tests of every package share; nothing here needs a download."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import synthetic_films

# Started in the background, a shell makes us ignore Ctrl-C, and so would every command that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

DrawFilm = Callable[..., npt.NDArray[np.uint8]]


@pytest.fixture
def draw_film() -> DrawFilm:
    """Return the function that draws a chest-like uint8 film (height, width)."""
    return synthetic_films.draw_film


@pytest.fixture
def film_folder(tmp_path: Path) -> Path:
    """A small Kaggle-like folder: train 12 patients a class, val 2, test 6; some with two films."""
    return synthetic_films.write_film_folder(tmp_path / "films")


@pytest.fixture(scope="session")
def real_films() -> Path:
    """The folder of real films, where there is one (PNEUMOSCAN_FILMS, or ../shared/chest_xray)."""
    given = os.environ.get("PNEUMOSCAN_FILMS")
    folder = Path(given) if given else Path(__file__).parents[2] / "shared" / "chest_xray"
    if not (folder / "train").is_dir():
        pytest.skip(f"no real films at {folder}: set PNEUMOSCAN_FILMS to the Kaggle folder")
    return folder
