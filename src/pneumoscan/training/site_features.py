"""What the heads for sites are fitted to: means of the networks' inner maps, for films as they are, mirrored and augmented."""

from dataclasses import dataclass

import numpy as np
import torch

from pneumoscan.training.augmentation import AugmentationConfig
from pneumoscan.training.combined import Combined
from pneumoscan.training.films import Indices, TrainingFilms, micro_batches
from pneumoscan.training.site_heads import Float32, Float64, means


@dataclass(frozen=True)
class Views:
    """The features of a site's films: n films, d features.

    Attributes:
        plain: float32 (n, d), of the films as they are.
        mirrored: float32 (n, d), of the mirrored films.
        augmented: float32 (n, d) for each augmented version.
        general: float64 (n,), logits of the networks, which were not fitted to the site.
        widths: Numbers of channels of the inner maps that the features come from.
    """

    plain: Float32
    mirrored: Float32
    augmented: tuple[Float32, ...]
    general: Float64
    widths: tuple[int, ...]


def read_views(
    network: Combined,
    films: TrainingFilms,
    rows: Indices,
    augmentation: AugmentationConfig,
    seed: int,
    count: int,
) -> Views:
    """Return the features of the films in `rows`, with `count` augmented versions."""
    plain, general, widths = _features(network, [films.plain(piece) for piece in micro_batches(rows, 16)])
    mirrored, _, _ = _features(network, [films.plain(piece).flip(3) for piece in micro_batches(rows, 16)])
    augmented = [
        _features(
            network,
            [films.augmented(p, augmentation, seed=seed, epoch=view) for p in micro_batches(rows, 16)],
        )[0]
        for view in range(count)
    ]
    return Views(plain, mirrored, tuple(augmented), general, widths)


def _features(network: Combined, batches: list[torch.Tensor]) -> tuple[Float32, Float64, tuple[int, ...]]:
    found, logits = [], []
    with torch.inference_mode():
        for batch in batches:
            evidence, inner = network.general(batch)
            found.append(means(inner))
            logits.append(evidence.mean((1, 2)))
    widths = tuple(part.shape[1] for part in inner)
    return torch.cat(found).numpy(), torch.cat(logits).numpy().astype(np.float64), widths
