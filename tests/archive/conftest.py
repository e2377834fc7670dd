"""A model and films for archives: twelve films, of which two cannot be read."""

from pathlib import Path

import numpy as np
import pytest
import tiny_bundle
from PIL import Image

from pneumoscan.bundle.load import Bundle, load_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return load_bundle(tiny_bundle.write_tiny_bundle(tmp_path / "bundle"))


@pytest.fixture
def films(tmp_path: Path, draw_film) -> Path:
    folder = tmp_path / "films"
    (folder / "ward").mkdir(parents=True)
    for number in range(10):
        film = draw_film(np.random.default_rng(number), (60, 70))
        Image.fromarray(film).save(folder / ("ward" if number > 6 else ".") / f"{number}.png")
    (folder / "bad.png").write_bytes(b"no film")
    (folder / "empty.png").write_bytes(b"")
    return folder
