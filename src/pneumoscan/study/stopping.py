"""The effect of early stopping, derived from runs without it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

History = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Peak:
    """How a run continued after its best epoch.

    Attributes:
        epochs: Number of epochs.
        best_epoch: Epoch of the lowest validation loss.
        best_loss: This loss.
        last_loss: Loss at the end.
        best_accuracy_epoch: Epoch of the highest validation accuracy.
        best_accuracy: This accuracy.
        last_accuracy: Accuracy at the end.
    """

    epochs: int
    best_epoch: int
    best_loss: float
    last_loss: float
    best_accuracy_epoch: int
    best_accuracy: float
    last_accuracy: float


@dataclass(frozen=True)
class Stop:
    """What early stopping with a patience would have done.

    Attributes:
        patience: Epochs without a better validation loss.
        stopped: The epoch after which it would have stopped; the run's last if it never would.
        kept: The epoch whose weights would have been kept.
        loss: The validation loss there.
        saved: Share of the epochs that would not have been trained.
    """

    patience: int
    stopped: int
    kept: int
    loss: float
    saved: float


def peak_of(history: History) -> Peak | None:
    """Return how a run continued after its best epoch; None if a validation loss is not a number."""
    losses = [row["val_loss"] for row in history]
    if not losses or None in losses:
        return None
    accuracies = [row["val_accuracy"] for row in history]
    best, top = losses.index(min(losses)), accuracies.index(max(accuracies))
    return Peak(len(losses), best + 1, losses[best], losses[-1], top + 1, accuracies[top], accuracies[-1])


def stop_of(history: History, patience: int) -> Stop:
    """Return where `loop.early_stopping = patience` would have stopped a run, and which epoch it would have kept."""
    best, best_epoch = float("inf"), 0
    for place, row in enumerate(history, start=1):
        if row["val_loss"] < best:
            best, best_epoch = row["val_loss"], place
        if place - best_epoch >= patience:
            return Stop(patience, place, best_epoch, best, 1 - place / len(history))
    return Stop(patience, len(history), best_epoch, best, 0.0)
