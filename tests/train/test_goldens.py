"""A change of the code changes no byte of what a seed trains: the digests in `goldens.json` are those of before."""

import json
import os
import signal

import pytest
import train_goldens as goldens

from pneumoscan.errors import Terminated
from pneumoscan.train.loop import Unobserved, fit

MACHINE = goldens.machine()
EXPECTED = json.loads(goldens.GOLDENS.read_text()).get(MACHINE)
pytestmark = pytest.mark.skipif(EXPECTED is None, reason=f"no digests are stored for {MACHINE}")


class StopsAt(Unobserved):
    """Sends this process SIGTERM after a step."""

    def __init__(self, step: int) -> None:
        self.left = step

    def step(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


# How many threads take part is one piece of code for all presets, which the baseline holds.
@pytest.mark.parametrize(
    "run",
    [
        pytest.param(run, marks=pytest.mark.slow) if threads > 1 and preset != "baseline" else run
        for run, (preset, _, threads) in goldens.RUNS.items()
    ],
)
def test_a_seed_trains_the_stored_bytes_also_after_two_interruptions(run, tmp_path):
    config, films = goldens.config(run), goldens.films()
    for step in (2, 1):
        with pytest.raises(Terminated):
            fit(config, films, folder=tmp_path, observer=StopsAt(step))
    result = fit(config, films, folder=tmp_path)
    assert goldens.digest(result.weights) == EXPECTED[run]["weights"]
    assert goldens.history_digest(result.history) == EXPECTED[run]["history"]
    if "bundle" in EXPECTED[run]:
        assert goldens.bundle_digests(run, result.weights, tmp_path) == EXPECTED[run]["bundle"]
