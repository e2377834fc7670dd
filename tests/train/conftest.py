"""Small films and configs for the tests of training."""

from collections.abc import Callable

import numpy as np
import pytest

from pneumoscan.imaging import Preprocessing
from pneumoscan.train.backend import resolve
from pneumoscan.train.config import TrainingConfig, load_config
from pneumoscan.train.films import TrainingFilms

SMALL = (
    "data.size=48",
    "loop.epochs=3",
    "loop.batch_size=16",
    "loop.micro_batch=4",
    "loop.worker_threads=2",
    "loop.precision=float32",
)


@pytest.fixture
def small_config() -> Callable[..., TrainingConfig]:
    """Return a function that makes a resolved config for 48×48 films from `key=value` texts."""

    def make(*assignments: str, preset: str = "baseline-plain") -> TrainingConfig:
        return resolve(load_config(preset, None, [*SMALL, *assignments]))

    return make


@pytest.fixture
def small_films(draw_film: Callable[..., np.ndarray]) -> TrainingFilms:
    """Ninety synthetic films of 48×48, a third held out; one in two is clouded."""
    rng = np.random.default_rng(3)
    labels = np.arange(90) % 2
    images = np.stack([draw_film(rng, (48, 48), consolidation=bool(label)) for label in labels])
    return TrainingFilms(
        images, labels.astype(np.float32), np.arange(60), np.arange(60, 90), Preprocessing(size=48)
    )
