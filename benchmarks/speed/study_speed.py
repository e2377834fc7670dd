"""Films per second in training of all networks of a plan, in turn in one process.

The records of a study contain the speed of each trial, which depends on other work on the machine at that time. Here
each variant runs a few steps of the `fit` of the engine on random films in memory, in turn over several rounds, so
their ratios to the baseline can be compared.
"""

import contextlib
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.record import Options, Record, finish, options_of, parser
from benchmarks.timing import ROOT, in_turn, medians_of
from pneumoscan.study.plan import BASELINE, StudyPlan, read_plan
from pneumoscan.train.backend import resolve
from pneumoscan.train.config import TrainingConfig
from pneumoscan.train.films import TrainingFilms
from pneumoscan.train.loop import Unobserved, fit

NAME = "study_speed"
PLAN = ROOT / "studies" / "article.toml"
WARM_UP = 3
# Settings that change neither a network nor a step of its training.
NO_MATTER = {
    "preset": True,
    "optimizer": {"learning_rate"},
    "schedule": True,
    "loop": {"epochs", "seed"},
}


class EnoughError(Exception):
    """All steps are done."""


class Timer(Unobserved):
    """Observer that measures some steps after a warm-up, and then ends the run."""

    def __init__(self, steps: int) -> None:
        self._left, self._steps, self._started = WARM_UP + steps, steps, 0.0
        self.seconds = 0.0

    def step(self, epoch: int, step: int, steps: int, loss: float, films_per_second: float) -> None:  # noqa: ARG002
        """Start the clock after the warm-up, stop it after the last step."""
        self._left -= 1
        if self._left == self._steps:
            self._started = time.perf_counter()
        elif self._left == 0:
            self.seconds = time.perf_counter() - self._started
            raise EnoughError


def variants(plan: StudyPlan) -> dict[str, TrainingConfig]:
    """Return the configs whose speed can differ, by the name `section / variant` of the first that has it."""
    found = {BASELINE: plan.baseline_config()}
    seen = {_identity(found[BASELINE])}
    for section in plan.sections:
        for variant in section.variants:
            config = plan.config_of(section, variant)
            if _identity(config) not in seen:
                seen.add(_identity(config))
                found[f"{section.name} / {variant.name}"] = config
    return found


def _identity(config: TrainingConfig) -> str:
    return config.model_dump_json(exclude=NO_MATTER)  # type: ignore[arg-type]


def films_per_second(config: TrainingConfig, steps: int) -> float:
    """Return the films per second of some steps of training."""
    resolved = resolve(config)
    size, count = resolved.data.size, (WARM_UP + steps) * resolved.loop.batch_size
    images = np.random.default_rng(0).integers(0, 256, (count + 2, size, size), np.uint8)
    labels = np.arange(count + 2).astype(np.float32) % 2
    rows = np.arange(count + 2)
    films = TrainingFilms(images, labels, rows[:-2], rows[-2:], resolved.data.preprocessing())
    timer = Timer(steps)
    with contextlib.suppress(EnoughError):
        fit(resolved, films, observer=timer)
    return steps * resolved.loop.batch_size / timer.seconds


def measure(options: Options, plan: Path = PLAN) -> Record:
    """Measure all variants in turn; see the module."""
    configs, films = variants(read_plan(plan)[0]), (64 if options.quick else 640)
    calls: dict[str, Any] = {
        name: partial(films_per_second, config, max(2, films // config.loop.batch_size))
        for name, config in configs.items()
    }
    found = in_turn(calls, options.round_count(7))
    record = Record(NAME, raw={"films_per_second": found}, medians=medians_of(found))
    # Round by round, because a slow minute of the machine slows a whole round.
    record.ratios = {
        f"{name} / {BASELINE}": float(
            median(a / b for a, b in zip(found[name], found[BASELINE], strict=True))
        )
        for name in configs
        if name != BASELINE
    }
    record.facts = {"plan": plan.name, "films_a_round": films}
    return record


def main() -> None:
    """Run the command."""
    line = parser((__doc__ or "").splitlines()[0])
    line.add_argument("--plan", type=Path, default=PLAN)
    arguments = line.parse_args()
    finish(NAME, partial(measure, plan=arguments.plan), options_of(arguments))


if __name__ == "__main__":
    main()
