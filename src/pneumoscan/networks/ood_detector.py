"""The out-of-distribution detector: a part of the exported graph that measures the distance from the training films.

A film is averaged to 32×32 pixels and standardised, so contrast and brightness do not matter. Two parts are combined:

- A small network decides whether the film is an upright chest film. It was trained on training films, and on the same films
rotated, inverted, torn, cut and shrunk. It detects what a distance cannot: a film upside down consists of the same parts.
- The distance from the mean of the training films, in units of their spread along the principal components and orthogonal to
them (B. Moghaddam, A. Pentland, IEEE TPAMI 19 (1997) 696–710, section 2.2). It detects what the network has not seen.

distance = log(1 + e^score) + 3 · max(0, spread / usual spread - 1) + 10 · (share of the contrast that is missing)
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from pneumoscan.imaging import Preprocessing

Float32 = npt.NDArray[np.float32]
THUMBNAIL = 32
HIDDEN = (48, 16)
FLAT = 0.5 / 255
"""Half a grey level; a film with less contrast counts as having none."""


@dataclass(frozen=True)
class Spread:
    """The distribution of the training films as thumbnails of d pixels.

    Attributes:
        mean: float32 (d,).
        axes: float32 (k, d), the principal components, of length 1.
        precision: float32 (k,), 1 / variance along each.
        rest: 1 / mean variance orthogonal to them.
        usual: Squared distance that 999 in 1000 of the fitted films do not reach.
    """

    mean: torch.Tensor
    axes: torch.Tensor
    precision: torch.Tensor
    rest: float
    usual: float


class OODDetector(nn.Module):
    """Measures the distance of normalised films (N, 1, S, S) from the training films. `train.detector` fits it."""

    rows: torch.Tensor
    mean: torch.Tensor
    axes: torch.Tensor
    precision: torch.Tensor

    def __init__(self, preprocessing: Preprocessing, score: nn.Module, spread: Spread) -> None:
        super().__init__()
        self.score = score
        self.rest, self.usual = spread.rest, spread.usual
        grey = 1 / preprocessing.std if preprocessing.normalisation == "fixed" else 1.0
        self.floor = (FLAT * grey) ** 2
        self.register_buffer("rows", torch.from_numpy(area_weights(preprocessing.size, THUMBNAIL)))
        for name in ("mean", "axes", "precision"):
            self.register_buffer(name, getattr(spread, name))

    def forward(self, film: torch.Tensor) -> torch.Tensor:
        """Return the distances (N,), at least 0."""
        thumbnail = (self.rows @ film.squeeze(1) @ self.rows.T).flatten(1)  # (N, 1024)
        centred = thumbnail - thumbnail.mean(1, keepdim=True)
        contrast = centred.square().mean(1, keepdim=True)
        x = centred / (contrast + self.floor).sqrt()
        missing = self.floor / (contrast + self.floor)
        beside = x - self.mean
        squared = squared_distance(beside, self.axes, self.precision, self.rest)
        surplus = F.relu(squared / self.usual - 1)
        distance: torch.Tensor = F.softplus(self.score(x).squeeze(1)) + 3 * surplus + 10 * missing.squeeze(1)
        return distance


def squared_distance(
    beside: torch.Tensor, axes: torch.Tensor, precision: torch.Tensor, rest: float
) -> torch.Tensor:
    """Return the squared distances (N,) of centred thumbnails (N, d), along the axes and orthogonal to them."""
    along = (beside @ axes.T).square()  # (N, k)
    return (along * precision).sum(1) + (beside.square().sum(1) - along.sum(1)) * rest


def score_network(generator: torch.Generator) -> nn.Sequential:
    """Return the small network of the detector: thumbnails (N, 1024) → (N, 1), above 0 for all but upright chest films."""
    widths = (THUMBNAIL * THUMBNAIL, *HIDDEN, 1)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layer = nn.Linear(before, after)
        nn.init.kaiming_uniform_(layer.weight, a=5**0.5, generator=generator)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def area_weights(size: int, side: int) -> Float32:
    """Return float32 (side, size) whose rows sum to 1: the means over equal sections of a line, with partial pixels."""
    edges = np.arange(side + 1)[:, None] * size / side
    covered = np.clip(edges - np.arange(size), 0, 1)
    weights: Float32 = (np.diff(covered, axis=0) * side / size).astype(np.float32)
    return weights
