"""How long a trial will take: a cost model until trials were measured, then what they took."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import median

import torch
from torch import nn

from pneumoscan.imaging.perturbation import PERTURBATIONS
from pneumoscan.models.baseline import BaselineConfig
from pneumoscan.models.registry import ModelConfig, build
from pneumoscan.study.records import TrialRecord
from pneumoscan.study.trials import Planned, Trial

# Core-milliseconds of the baseline network at 200×200 in bfloat16 for each film trained on, augmentation included
# (measured: 14 s an epoch of 4,433 + 783 films on two cores).
BASELINE_CORE_MS = 5.9
# A film that is only read costs that much less: no backward pass, no augmentation.
READING = 1 / 2.8
# Share of the time that goes with the multiplications; the rest goes with the values of the feature maps, which travel
# to memory and back. Fitted to eleven networks and sizes of the baseline's kind, each within 20%.
ARITHMETIC = 0.3


@dataclass(frozen=True)
class Sizes:
    """How many films a trial trains on and how many it is judged on."""

    train: int
    held_out: int


# The public set's split train with the default hold-out.
PUBLIC_SET = Sizes(train=4433, held_out=783)


@dataclass(frozen=True)
class Pace:
    """What a unit of work takes: core-milliseconds for one film of the baseline network.

    Attributes:
        core_ms: In general.
        by_key: Of trials with the same config that were measured.
        measured: How many trials that rests on; 0: the built-in figure.
    """

    core_ms: float
    by_key: dict[str, float]
    measured: int


def pace_of(planned: Iterable[Planned], records: Iterable[TrialRecord], sizes: Sizes) -> Pace:
    """Return the pace that the records of done trials show."""
    configs = {each.trial.key: each.trial for each in planned}
    by_key: dict[str, list[float]] = {}
    for record in records:
        trial = configs.get(record.key)
        if trial is None or record.status != "done":
            continue
        epochs = [float(value) for value in record.origin.get("seconds", [])]
        if not epochs:
            continue
        # The median: an epoch that was interrupted or disturbed must not count.
        spent = median(epochs) * 1000 * trial.config.loop.worker_threads
        by_key.setdefault(record.key, []).append(spent / (sizes.train * relative_cost(trial)))
    paces = {key: median(values) for key, values in by_key.items()}
    if not paces:
        return Pace(BASELINE_CORE_MS, {}, 0)
    return Pace(median(paces.values()), paces, sum(map(len, by_key.values())))


def seconds_of(trial: Trial, pace: Pace, sizes: Sizes) -> float:
    """Return how long a trial takes with the cores that its worker threads use."""
    core_ms = pace.by_key.get(trial.key, pace.core_ms)
    epochs = trial.config.loop.epochs
    films = epochs * (sizes.train + READING * sizes.held_out)
    films += READING * sizes.held_out * (1 + len(PERTURBATIONS))
    return relative_cost(trial) * films * core_ms / 1000 / trial.config.loop.worker_threads


def relative_cost(trial: Trial) -> float:
    """Return what a film costs in training, relative to the baseline network at 200×200."""
    multiplications, values = _work(trial.config.model, trial.config.data.size)
    base_multiplications, base_values = _work(BaselineConfig(), 200)
    return ARITHMETIC * multiplications / base_multiplications + (1 - ARITHMETIC) * values / base_values


def in_words(seconds: float) -> str:
    """Return a time for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def mean_seconds(trials: Sequence[Trial], pace: Pace, sizes: Sizes) -> float:
    """Return the mean time of several trials, for one of them that is not chosen yet."""
    return sum(seconds_of(trial, pace, sizes) for trial in trials) / len(trials)


@lru_cache(maxsize=256)
def _work(config: ModelConfig, size: int) -> tuple[int, int]:
    """Return multiplications, and values of the layers' outputs, of one film's forward pass."""
    with torch.random.fork_rng(devices=[]):
        network = build(config, size).eval()
    counts = [0, 0]

    def count(layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        each = layer.weight[0].numel()
        counts[0] += output.numel() * each
        counts[1] += output.numel()

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        network(torch.zeros(1, 1, size, size))
    return counts[0], counts[1]
