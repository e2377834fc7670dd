"""The out-of-distribution detector: a part of the exported graph that measures the distance from the training films.

A film is averaged to 32×32 pixels and standardised, so contrast and brightness do not matter. Two parts are combined:

- A small network decides whether the film is an upright chest film. It was trained on training films, and on the same films
rotated, inverted, torn, cut and shrunk. It detects what a distance cannot: a film upside down consists of the same parts.
- The distance from the mean of the training films, in units of their spread along the principal components and orthogonal to
them (B. Moghaddam, A. Pentland, IEEE TPAMI 19 (1997) 696–710, section 2.2). It detects what the network has not seen.

distance = log(1 + e^score) + 3 · max(0, spread / usual spread - 1) + 10 · (share of the contrast that is missing)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from pneumoscan.imaging import Preprocessing
from pneumoscan.training.films import TrainingFilms
from pneumoscan.training.ood_films import area_weights, shown, shrunk, wrong

Float32 = npt.NDArray[np.float32]
THUMBNAIL = 32
HIDDEN = (48, 16)
COMPONENTS = 24
VIEWS = 3
EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 10, 128, 2e-3, 1e-3
# Half a grey level; a film with less contrast counts as having none.
_FLAT = 0.5 / 255
_USUAL = 0.999


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
    """Measures the distance of normalised films (N, 1, S, S) from the training films. `fit_ood_detector` fits it."""

    rows: torch.Tensor
    mean: torch.Tensor
    axes: torch.Tensor
    precision: torch.Tensor

    def __init__(self, preprocessing: Preprocessing, score: nn.Module, spread: Spread) -> None:
        super().__init__()
        self.score = score
        self.rest, self.usual = spread.rest, spread.usual
        grey = 1 / preprocessing.std if preprocessing.normalisation == "fixed" else 1.0
        self.floor = (_FLAT * grey) ** 2
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
        squared = _squared(beside, self.axes, self.precision, self.rest)
        surplus = F.relu(squared / self.usual - 1)
        distance: torch.Tensor = F.softplus(self.score(x).squeeze(1)) + 3 * surplus + 10 * missing.squeeze(1)
        return distance


def fit_ood_detector(films: TrainingFilms, *, seed: int = 0) -> OODDetector:
    """Fit a detector to the training films, without the held-out ones.

    The same films, seed and machine give the same detector.
    """
    with _one_thread():
        originals = shrunk(films.images[films.train])
        good = [_standard(originals)]
        bad = []
        for view in range(VIEWS):
            rng = np.random.default_rng([seed, view])
            good.append(_standard(shown(originals, rng)))
            bad.append(_standard(wrong(shown(originals, rng) if view else originals, rng)))
        right, false = torch.from_numpy(np.concatenate(good)), torch.from_numpy(np.concatenate(bad))
        return OODDetector(films.preprocessing, _fit_score(right, false, seed), _fit_spread(right)).eval()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread, so that sums have a fixed order and small steps do not wait for a busy second core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _standard(pictures: Float32) -> Float32:
    """Return the input of the detector for images (n, 64, 64): float32 (n, 1024) with mean 0 and deviation 1."""
    step = pictures.shape[-1] // THUMBNAIL
    thumbnails = (
        pictures.reshape(len(pictures), THUMBNAIL, step, THUMBNAIL, step)
        .mean((2, 4))
        .reshape(len(pictures), -1)
    )
    centred = thumbnails - thumbnails.mean(1, keepdims=True)
    standard: Float32 = centred / np.sqrt((centred**2).mean(1, keepdims=True) + np.float32(_FLAT**2))
    return standard


def _fit_spread(good: torch.Tensor) -> Spread:
    mean = good.mean(0)
    beside = good - mean
    variance, axes = torch.linalg.eigh((beside.T @ beside / len(good)).double())
    count = min(COMPONENTS, max(1, len(good) - 1))
    # Few films span fewer directions than there are pixels; no variance may be 0.
    rest = max(float(variance[:-count].mean()), 1e-4)
    precision = (1 / variance[-count:].clamp(min=rest)).float()
    axes = axes[:, -count:].T.float().contiguous()
    squared = _squared(beside, axes, precision, 1 / rest)
    usual = float(np.quantile(squared.numpy(), _USUAL))
    return Spread(mean, axes, precision, 1 / rest, usual)


def _squared(beside: torch.Tensor, axes: torch.Tensor, precision: torch.Tensor, rest: float) -> torch.Tensor:
    """Return the squared distances (N,) of centred thumbnails (N, d), along the axes and orthogonal to them."""
    along = (beside @ axes.T).square()  # (N, k)
    return (along * precision).sum(1) + (beside.square().sum(1) - along.sum(1)) * rest


def _fit_score(good: torch.Tensor, bad: torch.Tensor, seed: int) -> nn.Sequential:
    """Train the small network, whose output is above 0 for everything but upright chest films."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.cat([good, bad]), torch.cat([torch.zeros(len(good)), torch.ones(len(bad))])
    network = _score_network(generator)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    a_round = max(1, len(x) // BATCH)
    for step in range(EPOCHS * a_round):
        if step % a_round == 0:
            order = torch.randperm(len(x), generator=generator)
        chosen = order[step % a_round * BATCH :][:BATCH]
        _set_rate(optimizer, step / (EPOCHS * a_round))
        loss = F.binary_cross_entropy_with_logits(network(x[chosen]).squeeze(1), y[chosen])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return network.eval().requires_grad_(requires_grad=False)


def _score_network(generator: torch.Generator) -> nn.Sequential:
    widths = (THUMBNAIL * THUMBNAIL, *HIDDEN, 1)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layer = nn.Linear(before, after)
        nn.init.kaiming_uniform_(layer.weight, a=5**0.5, generator=generator)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _set_rate(optimizer: torch.optim.Optimizer, done: float) -> None:
    """Set the rate: a linear rise over the first third, then a linear fall to zero."""
    for group in optimizer.param_groups:
        group["lr"] = LEARNING_RATE * max(1e-3, min(done / 0.3, (1 - done) / 0.7))
