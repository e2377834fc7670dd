"""Augmentation of batches. Sampling the parameters (`sample`) is separate from applying them (`apply`).

The parameters depend only on the seed, the epoch and the film, not on the batch, the order of the films or the number of
processes. A resumed run, one with smaller batches and one on several machines therefore see the same films, and each
augmented film can be reproduced:

    parameters = sample(config, seed=0, epoch=7, film_ids=film_ids, size=200)
    batch = apply(images, parameters)
    replayed = apply(images[3:4], parameters.row(3))  # equals batch[3:4]
    # the same without the batch:
    alone = sample(config, seed=0, epoch=7, film_ids=film_ids[3:4], size=200)
"""

from pneumoscan.train.augment.application import apply, reshape_masks
from pneumoscan.train.augment.parameters import AugmentationParameters, sample

__all__ = ["AugmentationParameters", "apply", "reshape_masks", "sample"]
