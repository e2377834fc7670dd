"""Optimizers and learning-rate schedules."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from pneumoscan.training.config import OptimizerConfig, ScheduleConfig


def make_optimizer(
    config: OptimizerConfig, parameters: Iterable[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    """Return torch's optimizer of a name for `parameters`; `adamw` does not decay biases and norms."""
    rate, decay = config.learning_rate, config.weight_decay
    match config.name:
        case "sgd":
            return torch.optim.SGD(parameters, lr=rate, weight_decay=decay)
        case "momentum":
            return torch.optim.SGD(parameters, lr=rate, momentum=config.momentum, weight_decay=decay)
        case "nesterov":
            return torch.optim.SGD(
                parameters, lr=rate, momentum=config.momentum, nesterov=True, weight_decay=decay
            )
        case "adam":
            return torch.optim.Adam(parameters, lr=rate, weight_decay=decay, fused=True)
        case "adamw":
            # One-dimensional parameters shift and scale; decaying them does not regularise.
            every = list(parameters)
            groups = [
                {"params": [p for p in every if p.ndim > 1], "weight_decay": decay},
                {"params": [p for p in every if p.ndim <= 1], "weight_decay": 0.0},
            ]
            return torch.optim.AdamW([group for group in groups if group["params"]], lr=rate, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, lr=rate, alpha=0.9, weight_decay=decay)


@dataclass
class Plateau:
    """State of `plateau`: the current scale, the best loss, and the epochs since it improved."""

    scale: float = 1.0
    best: float = math.inf
    stale: int = 0

    def observe(self, val_loss: float, config: ScheduleConfig) -> None:
        """Process the validation loss of an epoch, and reduce the scale when patience is exceeded."""
        if val_loss < self.best:
            self.best, self.stale = val_loss, 0
            return
        self.stale += 1
        if self.stale >= config.patience:
            self.scale, self.stale = self.scale * config.factor, 0


def learning_rate(
    optimizer: OptimizerConfig, schedule: ScheduleConfig, plateau: Plateau, *, step: int, total_steps: int
) -> float:
    """Return the learning rate of a step (counted from 0 over the whole run)."""
    peak = optimizer.learning_rate
    match schedule.name:
        case "constant":
            return peak
        case "plateau":
            return max(peak * plateau.scale, min(peak, schedule.min_learning_rate))
        case "one_cycle":
            return peak * one_cycle(step / max(1, total_steps), schedule.warmup)


def one_cycle(progress: float, warmup: float) -> float:
    """Return the scale at `progress` in [0, 1): linear from 0.04 to 1, then half a cosine down to 0."""
    if progress < warmup:
        return 0.04 + 0.96 * progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
