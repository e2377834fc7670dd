"""The state of a run: everything that changes from step to step, except the weights."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict

import torch
from torch import nn

from pneumoscan.training.optimizers import Plateau


class EpochRecord(TypedDict):
    """A line of `history.jsonl`: losses in nats, accuracies in [0, 1] at threshold 0.5, `seconds` of the training steps."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    val_auc: float
    learning_rate: float
    seconds: float
    films_per_second: float


@dataclass
class LoopState:
    """The state of the training loop.

    Attributes:
        epoch: Finished epochs.
        step_in_epoch: Finished steps of the current epoch.
        step: Finished steps in total.
        loss_sum: Summed loss over the films of the current epoch.
        correct: Correct predictions among them.
        seconds: Training time of the current epoch.
        best_epoch: Epoch with the lowest validation loss so far; 0 before the first.
        best_loss: This loss.
        plateau: State of the learning-rate schedule.
        history: The finished epochs.
        finished: Whether the last epoch is done, or the run stopped early.
    """

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seconds: float = 0.0
    best_epoch: int = 0
    best_loss: float = math.inf
    plateau: Plateau = field(default_factory=Plateau)
    history: list[EpochRecord] = field(default_factory=list)
    finished: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON types; infinity becomes None."""
        tree = asdict(self)
        tree["best_loss"] = _finite(self.best_loss)
        tree["plateau"]["best"] = _finite(self.plateau.best)
        return tree

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> "LoopState":
        """Return the state from the result of `to_json`."""
        plateau = dict(tree["plateau"])
        plateau["best"] = math.inf if plateau["best"] is None else plateau["best"]
        best_loss = math.inf if tree["best_loss"] is None else tree["best_loss"]
        return cls(**{**tree, "best_loss": best_loss, "plateau": Plateau(**plateau)})


class WeightAverage:
    """The exponential moving average of a network's weights (Polyak & Juditsky 1992, as averaged by step).

    The decay starts low, (1+t)/(10+t), so that the influence of the random initial weights ends early.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Add the weights after step `step` (from 1) to the average."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.values[name].lerp_(value, 1 - decay)
            else:
                self.values[name].copy_(value)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return the state of an optimizer by `index/key`."""
    return {
        f"{index}/{key}": torch.as_tensor(value).detach().cpu()
        for index, entry in optimizer.state_dict()["state"].items()
        for key, value in entry.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Restore the result of `optimizer_tensors`."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for name, tensor in tensors.items():
        index, key = name.split("/")
        like = parameters[int(index)]
        # The fused optimizers process raw memory: a moment must have the memory layout of its weight.
        laid = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
        state.setdefault(int(index), {})[key] = laid
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def copy_weights(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of the weights that further training does not change."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
