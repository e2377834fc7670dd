"""Observers of a training."""

from typing import Protocol

from pneumoscan.training.state import EpochRecord


class Observer(Protocol):
    """Receives the progress of a run. Every method may do nothing."""

    def step(self, epoch: int, step: int, steps: int, loss: float, films_per_second: float) -> None:
        """Called after a step; `loss` is the mean over the epoch so far."""

    def epoch(self, record: EpochRecord, history: list[EpochRecord]) -> None:
        """Called after an epoch."""

    def note(self, text: str) -> None:
        """Called with a message."""


class Silence:
    """An observer that does nothing."""

    def step(self, epoch: int, step: int, steps: int, loss: float, films_per_second: float) -> None:
        """Do nothing."""

    def epoch(self, record: EpochRecord, history: list[EpochRecord]) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""
