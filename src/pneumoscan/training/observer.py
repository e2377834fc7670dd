"""Who is told how a training goes."""

from typing import Protocol

from pneumoscan.training.state import EpochRecord


class Observer(Protocol):
    """Who wants to know how a run goes; every method may do nothing."""

    def step(self, epoch: int, step: int, steps: int, loss: float, films_per_second: float) -> None:
        """A step is done; `loss` is the mean over the epoch so far."""

    def epoch(self, record: EpochRecord, history: list[EpochRecord]) -> None:
        """An epoch is done."""

    def note(self, text: str) -> None:
        """Something worth a line happened."""


class Silence:
    """The observer that nobody listens to."""

    def step(self, epoch: int, step: int, steps: int, loss: float, films_per_second: float) -> None:
        """Do nothing."""

    def epoch(self, record: EpochRecord, history: list[EpochRecord]) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""
