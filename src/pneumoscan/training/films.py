"""The input of the training loop: resized films, their labels, and the hold-out."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pneumoscan.imaging import Preprocessing
from pneumoscan.imaging.preprocessing import normalise, standardise
from pneumoscan.training.augmentation import AugmentationConfig, apply, sample

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TrainingFilms:
    """Films and their hold-out.

    Attributes:
        images: uint8 (n, S, S), resized; may be memory-mapped.
        labels: float32 (n,), 0 or 1.
        train: int64 rows of the training films.
        val: int64 rows of the held-out films, which are of other patients.
        preprocessing: Preprocessing of a resized film.
        patient_ids: text (n,), the patients; None if unknown.
        sites: text (n,), the sites; None if unknown.
        sha256: Content hashes of the films, sorted; empty if not needed.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.float32]
    train: Indices
    val: Indices
    preprocessing: Preprocessing
    patient_ids: npt.NDArray[np.str_] | None = None
    sha256: tuple[str, ...] = ()
    sites: npt.NDArray[np.str_] | None = None

    def class_weights(self) -> npt.NDArray[np.float32]:
        """Return n / (2 · n_class) of the training films, for classes 0 and 1."""
        counts = np.bincount(self.labels[self.train].astype(np.int64), minlength=2)
        weights: npt.NDArray[np.float32] = (counts.sum() / (2 * np.maximum(counts, 1))).astype(np.float32)
        return weights

    def plain(self, rows: Indices) -> torch.Tensor:
        """Return inputs float32 (len(rows), 1, S, S), as in prediction."""
        return torch.from_numpy(normalise(self.images[rows], self.preprocessing)).unsqueeze(1)

    def augmented(self, rows: Indices, config: AugmentationConfig, *, seed: int, epoch: int) -> torch.Tensor:
        """Return inputs like `plain`, with the augmentation of (seed, epoch, row)."""
        if config.is_off:
            return self.plain(rows)
        parameters = sample(config, seed=seed, epoch=epoch, film_ids=rows, size=self.preprocessing.size)
        unit = torch.from_numpy(self.images[rows].astype(np.float32) / np.float32(255)).unsqueeze(1)
        changed = apply(unit, parameters)
        return torch.from_numpy(standardise(changed.numpy(), self.preprocessing))


def micro_batches(rows: Indices, size: int) -> list[Indices]:
    """Divide a batch into pieces of `size` films (0: one piece); the last may be smaller."""
    step = size or max(1, len(rows))
    return [rows[start : start + step] for start in range(0, len(rows), step)]
