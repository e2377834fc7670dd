"""The state of a training (optimizer, learning rate, average, counters) and its checkpoints, from which it resumes exactly.

Two generations are kept. A generation is `NAME.safetensors` (weights, their average, the best weights, the state of the optimizer)
and `NAME.json` (the state of the loop, the history, and the SHA-256 of the tensors). The JSON is written last, and each file in
one step. A generation without a matching JSON is ignored.
"""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from pneumoscan.errors import CheckpointError
from pneumoscan.files import write_atomic, write_json
from pneumoscan.train.backend import Peers
from pneumoscan.train.config import OptimizerConfig, ScheduleConfig

GENERATIONS = 2


class EpochRecord(TypedDict):
    """A line of `history.jsonl`: losses in nats, accuracies in [0, 1] at threshold 0.5, `seconds` of the training steps.

    A film of the outliner is correct from a mean Dice of 0.9 on; it has no `val_auc`, but the mean Dice of each
    mask.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    val_auc: NotRequired[float]
    val_dice_field: NotRequired[float]
    val_dice_aerated: NotRequired[float]
    learning_rate: float
    seconds: float
    films_per_second: float


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
    """State of the schedule `plateau`: the current scale, the best loss, and the epochs since it improved."""

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


def copy_weights(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of the weights that further training does not change."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


@dataclass
class TrainingState:
    """A training between two steps: the network and all that is carried from step to step.

    Attributes:
        network: The network; its weights are changed in place, because worker threads share their memory.
        optimizer: Its optimizer.
        average: The average of its weights; None if the run does not average.
        best: Weights of the epoch with the lowest validation loss; empty if they are not kept.
        loop: The counters and the history.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    loop: LoopState = field(default_factory=LoopState)

    def save(self, folder: Path) -> None:
        """Write a checkpoint; raises as `write_checkpoint` says."""
        groups = {
            "network": self.network.state_dict(),
            "average": self.average.values if self.average else {},
            "best": self.best,
            "optimizer": _optimizer_tensors(self.optimizer),
        }
        tensors = {
            f"{group}/{name}": value.detach().cpu()
            for group, entries in groups.items()
            for name, value in entries.items()
        }
        write_checkpoint(folder, Checkpoint(tensors, self.loop.to_json()), step=self.loop.step)

    def restore(self, folder: Path | None, peers: Peers) -> list[str]:
        """Go on from the newest complete checkpoint of rank 0; returns a sentence for each thing worth knowing.

        Raises:
            CheckpointError: All checkpoints are damaged.
        """
        found, notes = read_checkpoint(folder) if folder is not None and peers.first else (None, [])
        if peers.size > 1:
            tensors = peers.broadcast_bytes(save(found.tensors) if found else b"")
            state = peers.broadcast_bytes(json.dumps(found.state).encode() if found else b"")
            found = Checkpoint(load(tensors), json.loads(state)) if state else None
        if found is None:
            return notes
        groups: dict[str, dict[str, torch.Tensor]] = {
            "network": {},
            "average": {},
            "best": {},
            "optimizer": {},
        }
        for name, tensor in found.tensors.items():
            group, key = name.split("/", 1)
            groups[group][key] = tensor
        self.network.load_state_dict(groups["network"])
        self.best = groups["best"]
        if self.average:
            for key, value in groups["average"].items():
                self.average.values[key].copy_(value)
        _restore_optimizer(self.optimizer, groups["optimizer"])
        self.loop = LoopState.from_json(found.state)
        return [*notes, f"resuming after epoch {self.loop.epoch}, step {self.loop.step_in_epoch}"]


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name (any dtype, on the CPU) and a state of JSON types."""

    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]


def write_checkpoint(folder: Path, checkpoint: Checkpoint, *, step: int) -> None:
    """Write a generation and delete all but the last `GENERATIONS`.

    Raises:
        DiskFullError, NotWritableError: The older generations are intact.
    """
    data = save({name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()})
    name = f"step-{step:09d}"
    write_atomic(folder / f"{name}.safetensors", data)
    body = {"step": step, "tensors_sha256": hashlib.sha256(data).hexdigest(), "state": checkpoint.state}
    write_json(folder / f"{name}.json", {**body, "sha256": _digest(body)})
    for old in _generations(folder)[GENERATIONS:]:
        old.unlink(missing_ok=True)
        old.with_suffix(".safetensors").unlink(missing_ok=True)


def read_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest complete generation, and a sentence for each newer one that is damaged.

    Returns:
        The checkpoint and the sentences; (None, []) if there is no finished checkpoint.

    Raises:
        CheckpointError: All generations are damaged.
    """
    complaints: list[str] = []
    for path in _generations(folder):
        try:
            return _read(path), complaints
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as problem:
            complaints.append(f"checkpoint {path.name} is damaged ({problem}); using the one before it")
    if complaints:
        raise CheckpointError(
            f"every checkpoint in {folder} is damaged: {'; '.join(complaints)}.",
            "Train again in another folder.",
        )
    return None, []


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return the state of an optimizer by `index/key`."""
    return {
        f"{index}/{key}": torch.as_tensor(value).detach().cpu()
        for index, entry in optimizer.state_dict()["state"].items()
        for key, value in entry.items()
        if value is not None
    }


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Restore the result of `_optimizer_tensors`."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for name, tensor in tensors.items():
        index, key = name.split("/")
        like = parameters[int(index)]
        # The fused optimizers process raw memory: a moment must have the memory layout of its weight.
        laid = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
        state.setdefault(int(index), {})[key] = laid
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _read(path: Path) -> Checkpoint:
    body = json.loads(path.read_text(encoding="utf-8"))
    if body.pop("sha256") != _digest(body):
        raise ValueError("its JSON was changed")
    data = path.with_suffix(".safetensors").read_bytes()
    if hashlib.sha256(data).hexdigest() != body["tensors_sha256"]:
        raise ValueError("its tensors do not match their SHA-256")
    return Checkpoint(load(data), body["state"])


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _generations(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.json"), reverse=True)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
