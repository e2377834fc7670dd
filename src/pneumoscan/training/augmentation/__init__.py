"""Augmentation of whole batches: what is drawn (`sample`) stands apart from how it is applied (`apply`).

The draw depends on the seed, the epoch and the film alone, never on its neighbours in the batch, the order of the
films or the number of processes. So a run that goes on from a checkpoint, one with smaller batches and one on many
machines see the same films, and any of them can be drawn again:

    parameters = sample(config, seed=0, epoch=7, film_ids=film_ids, size=200)
    batch = apply(images, parameters)
    replayed = apply(images[3:4], parameters.row(3))  # equals batch[3:4]
    # the same without the batch:
    alone = sample(config, seed=0, epoch=7, film_ids=film_ids[3:4], size=200)
"""

from pneumoscan.training.augmentation.application import apply
from pneumoscan.training.augmentation.config import AugmentationConfig
from pneumoscan.training.augmentation.parameters import AugmentationParameters, sample

__all__ = ["AugmentationConfig", "AugmentationParameters", "apply", "sample"]
