"""The duration of a trial: from finished trials, or else from a cost model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import median

import torch
from torch import nn

from pneumoscan.imaging.perturbation import PERTURBATIONS
from pneumoscan.networks.baseline import BaselineConfig
from pneumoscan.networks.registry import ModelConfig, build
from pneumoscan.study.records import TrialRecord
from pneumoscan.study.trials import Planned, Trial

# Core-milliseconds of the baseline network at 200×200 in bfloat16 per training film, including augmentation
# (measured: 14 s an epoch of 4,433 + 783 films on two cores).
BASELINE_CORE_MS = 5.9
# A film of the validation costs this fraction: no backward pass, no augmentation.
READING = 1 / 2.8
# Share of the time in proportion to the multiplications; the rest is in proportion to the values of the feature maps, which
# are written to memory and read back. Fitted to eleven networks and sizes like the baseline, each within 20%.
ARITHMETIC = 0.3


@dataclass(frozen=True)
class Sizes:
    """Numbers of training films and of held-out films of a trial."""

    train: int
    held_out: int


# The split train of the public set with the default hold-out.
PUBLIC_SET = Sizes(train=4433, held_out=783)


@dataclass(frozen=True)
class Pace:
    """Time per unit of work: core-milliseconds for one film of the baseline network.

    Attributes:
        core_ms: General value.
        by_key: Measured values of configurations.
        measured: Number of measured trials; 0: the built-in value.
    """

    core_ms: float
    by_key: dict[str, float]
    measured: int


def pace_of(planned: Iterable[Planned], records: Iterable[TrialRecord], sizes: Sizes) -> Pace:
    """Return the pace of finished trials."""
    configs = {each.trial.key: each.trial for each in planned}
    by_key: dict[str, list[float]] = {}
    for record in records:
        trial = configs.get(record.key)
        if trial is None or record.status != "done":
            continue
        epochs = [float(value) for value in record.origin.get("seconds", [])]
        if not epochs:
            continue
        # The median, so that an interrupted or disturbed epoch has no influence.
        spent = median(epochs) * 1000 * trial.config.loop.worker_threads
        by_key.setdefault(record.key, []).append(spent / (sizes.train * relative_cost(trial)))
    paces = {key: median(values) for key, values in by_key.items()}
    if not paces:
        return Pace(BASELINE_CORE_MS, {}, 0)
    return Pace(median(paces.values()), paces, sum(map(len, by_key.values())))


def seconds_of(trial: Trial, pace: Pace, sizes: Sizes) -> float:
    """Return the duration of a trial in seconds with the cores of its worker threads."""
    core_ms = pace.by_key.get(trial.key, pace.core_ms)
    epochs = trial.config.loop.epochs
    films = epochs * (sizes.train + READING * sizes.held_out)
    films += READING * sizes.held_out * (1 + len(PERTURBATIONS))
    return relative_cost(trial) * films * core_ms / 1000 / trial.config.loop.worker_threads


def relative_cost(trial: Trial) -> float:
    """Return the cost of a film in training relative to the baseline network at 200×200."""
    multiplications, values = _work(trial.config.model, trial.config.data.size)
    base_multiplications, base_values = _work(BaselineConfig(), 200)
    return ARITHMETIC * multiplications / base_multiplications + (1 - ARITHMETIC) * values / base_values


def in_words(seconds: float) -> str:
    """Return a duration as text."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def mean_seconds(trials: Sequence[Trial], pace: Pace, sizes: Sizes) -> float:
    """Return the mean duration of several trials, for one of them that is not chosen yet."""
    return sum(seconds_of(trial, pace, sizes) for trial in trials) / len(trials)


@lru_cache(maxsize=256)
def _work(config: ModelConfig, size: int) -> tuple[int, int]:
    """Return the multiplications and the output values of all layers in the forward pass of one film."""
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
