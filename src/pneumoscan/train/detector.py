"""Fit the out-of-distribution detector: films of the training set, as they might look elsewhere, against other images.

The other images come from the films themselves (rotated, inverted, torn, cut, shrunk) and from random fields. No pictures of
anything else are needed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from pneumoscan.networks.ood_detector import (
    FLAT,
    THUMBNAIL,
    OODDetector,
    Spread,
    area_weights,
    score_network,
    squared_distance,
)
from pneumoscan.train.augment import apply, sample
from pneumoscan.train.config import AugmentationConfig
from pneumoscan.train.films import TrainingFilms

Float32 = npt.NDArray[np.float32]
Affine = npt.NDArray[np.float64]
COMPONENTS = 24
VIEWS = 3
EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 10, 128, 2e-3, 1e-3
_USUAL = 0.999
SIDE = 64
"""Side of the images to which the detector is fitted, in pixels."""

_UPRIGHT, _LEFT, _OVER, _RIGHT, _MIRRORED_OVER = (
    np.array(matrix, np.float64)
    for matrix in ([[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]], [[1, 0], [0, -1]])
)  # fmt: skip
# Rotation, inversion and frequency of the altered films; the detector must know each well.
_WRONG_WAYS: Sequence[tuple[npt.NDArray[np.float64], bool, float]] = (
    (_LEFT, False, 0.17), (_OVER, False, 0.17), (_RIGHT, False, 0.17), (_MIRRORED_OVER, False, 0.17),
    (_UPRIGHT, True, 0.23), (_LEFT, True, 0.03), (_OVER, True, 0.03), (_RIGHT, True, 0.03),
)  # fmt: skip


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
    standard: Float32 = centred / np.sqrt((centred**2).mean(1, keepdims=True) + np.float32(FLAT**2))
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
    squared = squared_distance(beside, axes, precision, 1 / rest)
    usual = float(np.quantile(squared.numpy(), _USUAL))
    return Spread(mean, axes, precision, 1 / rest, usual)


def _fit_score(good: torch.Tensor, bad: torch.Tensor, seed: int) -> nn.Sequential:
    """Train the small network, whose output is above 0 for everything but upright chest films."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.cat([good, bad]), torch.cat([torch.zeros(len(good)), torch.ones(len(bad))])
    network = score_network(generator)
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


def _set_rate(optimizer: torch.optim.Optimizer, done: float) -> None:
    """Set the rate: a linear rise over the first third, then a linear fall to zero."""
    for group in optimizer.param_groups:
        group["lr"] = LEARNING_RATE * max(1e-3, min(done / 0.3, (1 - done) / 0.7))


def shrunk(images: npt.NDArray[np.uint8], side: int = SIDE) -> Float32:
    """Return films uint8 (n, S, S) as mean grey values in [0, 1]: float32 (n, side, side)."""
    weights = torch.from_numpy(area_weights(images.shape[-1], side))
    shrunken = np.empty((len(images), side, side), np.float32)
    for start in range(0, len(images), 256):
        piece = torch.from_numpy(images[start : start + 256].astype(np.float32))
        shrunken[start : start + 256] = (weights @ piece @ weights.T / 255).numpy()
    return shrunken


def shown(films: Float32, rng: np.random.Generator) -> Float32:
    """Return each film (n, 64, 64) as another machine might show it: cropped or padded, slightly rotated, with other grey values."""
    return _masked(_rendered(films, _mild(len(films), rng), rng), rng, share=0.25)


def wrong(films: Float32, rng: np.random.Generator) -> Float32:
    """Return the same number of images that are not upright chest films, in random order.

    Half of them are films that are rotated or inverted. The rest consists of five equal parts: two of random fields, films
    torn into tiles, small films on black, and pieces of films.
    """
    order = np.array_split(rng.permutation(len(films)), 10)
    rows = [np.concatenate(order[:5]), np.concatenate(order[5:7]), *order[7:]]
    kinds = (_turned, _fields, _torn, _small, _pieces)
    return np.concatenate(
        [alter(films[part], rng) for alter, part in zip(kinds, rows, strict=True) if len(part)]
    )


def turned_ways(images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.uint8]]:
    """Return films uint8 (n, S, S), rotated and inverted, by the name of the change."""
    return {
        "rotated_90": np.rot90(images, 1, (1, 2)),
        "rotated_180": np.rot90(images, 2, (1, 2)),
        "rotated_270": np.rot90(images, 3, (1, 2)),
        "upside_down": images[:, ::-1],
        "inverted": 255 - images,
    }


def _rendered(films: Float32, affine: Affine, rng: np.random.Generator) -> Float32:
    """Resample each film by its matrix (n, 2, 3), new → old position in -1..1, and change its grey values by a gamma."""
    off = sample(AugmentationConfig(), seed=0, epoch=0, film_ids=np.arange(len(films)), size=films.shape[-1])
    gamma = np.exp(rng.uniform(-0.6, 0.6, len(films))).astype(np.float32)
    parameters = replace(off, affine=affine.astype(np.float32), gamma=gamma)
    return apply(torch.from_numpy(films)[:, None], parameters).numpy()[:, 0]


def _mild(count: int, rng: np.random.Generator) -> Affine:
    """Return (n, 2, 3): the central 68% to 140% of the side, up to 8° rotated, flipped or not, some narrowed."""
    narrow = np.where(rng.random(count) < 0.3, rng.uniform(0, 0.25, count), rng.uniform(-0.1, 0.1, count))
    scale = np.exp(rng.uniform(-0.38, 0.34, count))
    seen = np.stack([np.exp(narrow) * scale, scale], axis=1).clip(0.68, 1.42)
    angle, mirror = np.radians(rng.uniform(-8, 8, count)), np.where(rng.random(count) < 0.5, -1.0, 1.0)
    shift = rng.uniform(-1, 1, (count, 2)) * (0.05 + 0.4 * np.abs(1 - seen))
    cos, sin = np.cos(angle), np.sin(angle)
    rows = [
        [cos * seen[:, 0] * mirror, -sin * seen[:, 1], shift[:, 0]],
        [sin * seen[:, 0] * mirror, cos * seen[:, 1], shift[:, 1]],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def _turned(films: Float32, rng: np.random.Generator) -> Float32:
    shares = np.array([share for _, _, share in _WRONG_WAYS])
    ways = rng.choice(len(_WRONG_WAYS), len(films), p=shares / shares.sum())
    turns = np.stack([matrix for matrix, _, _ in _WRONG_WAYS])[ways]
    affine = _mild(len(films), rng)
    # The new position is rotated first, then looked up as in an upright film.
    affine[:, :, :2] = affine[:, :, :2] @ turns
    pictures = _rendered(films, affine, rng)
    inverted = np.array([inverse for _, inverse, _ in _WRONG_WAYS])[ways]
    pictures[inverted] = 1 - pictures[inverted]
    return pictures


def _fields(films: Float32, rng: np.random.Generator) -> Float32:
    """Return random fields of various smoothness and direction; some with few levels, some mirrored, some with a gradient."""
    count = len(films)
    stretch = np.exp(rng.uniform(-0.7, 0.7, count))[:, None, None]
    y, x = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)
    frequency = np.hypot(y * stretch, x / stretch)
    frequency[:, 0, 0] = np.inf
    waves = np.fft.rfft2(rng.normal(size=films.shape)) / frequency ** rng.uniform(0, 3, count)[:, None, None]
    fields = _unit(np.fft.irfft2(waves, s=(SIDE, SIDE)))
    levels = rng.integers(1, 4, count)[:, None, None]
    fields = np.where(_some(rng, count, 0.35), _unit(np.round(fields * levels / 2)), fields)
    fields = np.where(_some(rng, count, 0.3), _unit(fields + fields[:, :, ::-1]), fields)
    line = np.linspace(-1, 1, SIDE)
    slopes = rng.normal(0, 2, (2, count, 1, 1))
    fields = fields + np.where(_some(rng, count, 0.2), slopes[0] * line[:, None] + slopes[1] * line, 0)
    return (0.5 + 0.2 * fields).clip(0, 1).astype(np.float32)


def _torn(films: Float32, rng: np.random.Generator) -> Float32:
    """Return films cut into 4 or 16 tiles that were shuffled."""
    torn = films.copy()
    for picture in torn:
        count = int(rng.choice([2, 4]))
        step = SIDE // count
        tiles = picture.reshape(count, step, count, step).swapaxes(1, 2).reshape(-1, step, step)
        tiles = tiles[rng.permutation(count * count)].reshape(count, count, step, step)
        picture[:] = tiles.swapaxes(1, 2).reshape(SIDE, SIDE)
    return torn


def _small(films: Float32, rng: np.random.Generator) -> Float32:
    """Return films at a quarter to a half of the side, anywhere on black."""
    scale = rng.uniform(1.9, 4, (len(films), 1))
    place = rng.uniform(-1, 1, (len(films), 2)) * (scale - 1)
    return _rendered(films, _scaled(np.repeat(scale, 2, axis=1), place), rng)


def _pieces(films: Float32, rng: np.random.Generator) -> Float32:
    """Return the left or right part of films, enlarged; some with dark bars at both sides."""
    count = len(films)
    seen = np.stack([rng.uniform(0.37, 0.56, count), rng.uniform(0.5, 1, count)], axis=1)
    side = np.where(rng.random(count) < 0.5, -1, 1) * rng.uniform(0.75, 1, count)
    place = np.stack([side, rng.uniform(-1, 1, count)], axis=1) * (1 - seen)
    pictures = _rendered(films, _scaled(seen, place), rng)
    bars = np.where(rng.random(count) < 0.5, rng.uniform(0.06, 0.22, count), 0)
    return pictures * _inside(bars)[:, None, :]


def _scaled(seen: npt.NDArray[np.float64], place: npt.NDArray[np.float64]) -> Affine:
    affine = np.zeros((len(seen), 2, 3))
    affine[:, 0, 0], affine[:, 1, 1], affine[:, :, 2] = seen[:, 0], seen[:, 1], place
    return affine


def _masked(pictures: Float32, rng: np.random.Generator, *, share: float) -> Float32:
    """Make the border of a share of the images black, up to an eighth of the side."""
    inside = _inside(np.where(rng.random(len(pictures)) < share, rng.uniform(0, 0.125, len(pictures)), 0))
    return pictures * inside[:, :, None] * inside[:, None, :]


def _inside(margins: npt.NDArray[np.floating]) -> Float32:
    """Return float32 (n, 64): 0 within the margin (a share of the side) at both ends, else 1."""
    centres = (np.arange(SIDE) + 0.5) / SIDE
    return (np.minimum(centres, 1 - centres) > margins[:, None]).astype(np.float32)


def _some(rng: np.random.Generator, count: int, share: float) -> npt.NDArray[np.bool_]:
    return (rng.random(count) < share)[:, None, None]


def _unit(fields: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    centred = fields - fields.mean((1, 2), keepdims=True)
    unit: npt.NDArray[np.float64] = centred / (centred.std((1, 2), keepdims=True) + 1e-6)
    return unit
