"""Outcomes of imaginary models, as arrays."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

Outcome = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]


@pytest.fixture
def make_outcome() -> Callable[..., Outcome]:
    """Return the function that draws labels and probabilities; `steps` rounds them, so that some are equal."""

    def make(n: int = 400, *, seed: int = 0, gap: float = 1.2, share: float = 0.6, steps: int = 0) -> Outcome:
        rng = np.random.default_rng(seed)
        y_true = (rng.random(n) < share).astype(np.int64)
        y_true[:2] = 0, 1
        score = rng.normal(0, 1, n) + np.where(y_true == 1, gap, -gap)
        y_prob = 1 / (1 + np.exp(-score))
        return y_true, (np.round(y_prob * steps) / steps if steps else y_prob)

    return make
