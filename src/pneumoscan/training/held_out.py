"""Outputs of the network for the held-out films, unchanged and augmented: the basis of temperature, thresholds and records."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pneumoscan.training.config import TrainingConfig
from pneumoscan.training.films import Indices, TrainingFilms, micro_batches

AUGMENTED_VIEWS = 4
View = Callable[[Indices], torch.Tensor]


@dataclass(frozen=True)
class HeldOut:
    """Outputs of the network for the held-out films.

    Attributes:
        labels: int64 (films,), 1 is PNEUMONIA.
        logits: float64 (views, films), before the temperature; the first view is the unchanged films.
        description: Description of the views.
        patients: (films,), the patients; None if unknown.
    """

    labels: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float64]
    description: str
    patients: npt.NDArray[Any] | None

    @property
    def y_true(self) -> npt.NDArray[np.int64]:
        """int64 (views · films,): the label of each view."""
        return np.tile(self.labels, len(self.logits))

    @property
    def patient_ids(self) -> npt.NDArray[Any] | None:
        """(views · films,): the patient of each view; None if unknown."""
        return None if self.patients is None else np.tile(self.patients, len(self.logits))


def read_held_out(network: nn.Module, films: TrainingFilms, config: TrainingConfig) -> HeldOut:
    """Return the outputs for the held-out films, unchanged and, if the run augments, in four augmented versions each."""
    views = _views(films, config)
    logits = np.stack([_logits(network, films.val, view) for view in views]).astype(np.float64)
    patients = films.patient_ids
    return HeldOut(
        films.labels[films.val].astype(np.int64),
        logits,
        _description(films, views),
        None if patients is None else patients[films.val],
    )


def _views(films: TrainingFilms, config: TrainingConfig) -> Sequence[View]:
    """Return the versions of the held-out films as functions rows → inputs; the first is the unchanged films."""
    count = 0 if config.augmentation.is_off else AUGMENTED_VIEWS
    # Another seed than in training, whose augmented films the network knows.
    seed = config.loop.seed + 1
    return [films.plain] + [
        partial(films.augmented, config=config.augmentation, seed=seed, epoch=number)
        for number in range(count)
    ]


def _description(films: TrainingFilms, views: Sequence[View]) -> str:
    if len(views) == 1:
        return "held-out training films"
    return f"views of {len(films.val)} held-out training films (each as it is and augmented {len(views) - 1} times)"


def _logits(network: nn.Module, rows: Indices, view: View) -> npt.NDArray[np.float32]:
    with torch.inference_mode():
        pieces = [network(view(piece)) for piece in micro_batches(rows, 16)]
    return torch.cat(pieces).numpy().astype(np.float32)
