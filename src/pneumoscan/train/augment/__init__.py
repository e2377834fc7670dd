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

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from pneumoscan.errors import UsageError
from pneumoscan.train.augment.parameters import TONE_PIECES, AugmentationParameters, sample

__all__ = ["AugmentationParameters", "apply", "reshape_masks", "sample"]


_IDENTITY = np.eye(2, 3, dtype=np.float32)
_STRAIGHT = np.linspace(0, 1, TONE_PIECES + 1, dtype=np.float32)
_LETTERS = {
    1: ("####.", "#...#", "#...#", "####.", "#.#..", "#..#.", "#...#"),
    2: ("#....", "#....", "#....", "#....", "#....", "#....", "#####"),
}
_MIRROR = np.diag([-1, 1, 1]).astype(np.float32)[:2]

Step = Callable[[Tensor, AugmentationParameters], Tensor]


def apply(images: Tensor, parameters: AugmentationParameters) -> Tensor:
    """Augment a batch of films.

    The order is geometry, border, markers, haze, detail, blur, tone, gamma, contrast, brightness, noise, erasing. Areas outside the
    film become black, like the collimated border of a film. Repeating the edge would give streaks that no film has. Planes
    after the first (masks) take part in the geometry alone.

    Args:
        images: float32 (n, planes, S, S) in [0, 1], on any device. They are not modified.
        parameters: n rows from `sample`.

    Returns:
        float32 (n, planes, S, S) in [0, 1]; `images` itself if everything is off. The same input gives the same bytes on the
        same device with the same number of threads; noise differs between kinds of devices.

    Raises:
        UsageError: The images are not such a batch, or their number differs from that of the parameters.
    """
    _check(images, parameters)
    mirrored = (parameters.affine == _MIRROR).all(axis=(1, 2))
    moved = ~mirrored & (parameters.affine != _IDENTITY).any(axis=(1, 2))
    geometry: list[tuple[Any, Step]] = [(mirrored, _mirror), (moved, _resample)]
    grey: list[tuple[Any, Step]] = [
        (parameters.border.any(axis=1), _cover_edges),
        (parameters.marker.any(axis=(1, 2)), _put_markers),
        (parameters.haze.any(axis=(1, 2)), _haze),
        (parameters.detail != 1, _sharpen),
        (parameters.blur > 0, _blur),
        ((parameters.tone != _STRAIGHT).any(axis=1), _curve),
        (parameters.gamma != 1, _bend),
        (parameters.contrast != 1, _stretch),
        (parameters.brightness != 0, _brighten),
        (parameters.noise > 0, _add_noise),
    ]
    # The caller may compute in bfloat16, which has too few grey levels for a film.
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        changed = images
        for chosen, step in geometry:
            changed = _on_rows(changed, parameters, chosen, step)
        several = changed.shape[1] > 1
        film = changed[:, :1].clone() if several else changed
        for chosen, step in grey:
            film = _on_rows(film, parameters, chosen, step)
        # Erasing follows the clamp, so that the mean is that of the final film.
        film = film if film is images else film.clamp_(0, 1)
        film = _on_rows(film, parameters, parameters.erase[:, 2] > 0, _erase)
        return torch.cat([film, changed[:, 1:]], 1) if several else film


def reshape_masks(masks: Tensor, parameters: AugmentationParameters) -> Tensor:
    """Smooth and move the border of masks, and cut holes, so that their form tells nothing about the film.

    Args:
        masks: float32 (n, 1, S, S) in [0, 1]: probability of lung.
        parameters: n rows from `sample`.

    Returns:
        bool (n, 1, S, S): inside.
    """
    with torch.no_grad(), torch.autocast(masks.device.type, enabled=False):
        side = masks.shape[3]
        coarse = functional.adaptive_avg_pool2d(masks, max(4, side // 8))
        smooth = functional.interpolate(coarse, size=side, mode="bilinear", align_corners=False)
        inside = torch.lerp(masks, smooth, _columns(parameters.smoothing, masks))
        inside = inside > _columns(parameters.level, masks)
        if parameters.holes.any():
            inside &= _away_from(parameters.holes, masks).amin(1, keepdim=True) > 1
        return inside


def _away_from(ellipses: npt.NDArray[np.float32], images: Tensor) -> Tensor:
    """Return float32 (n, spots, S, S): squared distance from the centre of each ellipse in half axes; infinite if it is off."""
    spots = torch.from_numpy(ellipses).to(images.device)[..., None, None]
    centres = (2 * torch.arange(images.shape[3], device=images.device) + 1) / images.shape[3] - 1
    x, y = centres[None, :] - spots[:, :, 0], centres[:, None] - spots[:, :, 1]
    cos, sin = spots[:, :, 4].cos(), spots[:, :, 4].sin()
    along, beside = (x * cos + y * sin) / spots[:, :, 2], (y * cos - x * sin) / spots[:, :, 3]
    return torch.where(spots[:, :, 5] > 0, along.square() + beside.square(), torch.inf)


def _check(images: Tensor, parameters: AugmentationParameters) -> None:
    right = images.ndim == 4 and images.shape[1] >= 1 and images.shape[2] == images.shape[3]
    if not right or images.dtype != torch.float32 or len(images) != len(parameters):
        raise UsageError(
            f"cannot augment {images.dtype} of shape {tuple(images.shape)} by {len(parameters)} rows of parameters.",
            "Give float32 (n, planes, S, S) and n rows.",
        )


def _on_rows(
    images: Tensor, parameters: AugmentationParameters, chosen: npt.NDArray[np.bool_], step: Step
) -> Tensor:
    """Return the batch with `step` applied to the chosen films, mask (n,)."""
    if not chosen.any():
        return images
    if chosen.all():
        return step(images, parameters)
    rows = torch.from_numpy(np.flatnonzero(chosen)).to(images.device)
    return images.index_copy(0, rows, step(images.index_select(0, rows), parameters.take(chosen)))


def _columns(values: npt.NDArray[np.float32], images: Tensor) -> Tensor:
    """Convert float32 (n,) to (n, 1, 1, 1) on the device of the images."""
    return torch.from_numpy(values).to(images.device).view(-1, 1, 1, 1)


def _mirror(images: Tensor, _parameters: AugmentationParameters) -> Tensor:
    return images.flip(3)


def _resample(images: Tensor, parameters: AugmentationParameters) -> Tensor:
    grid = _grid(torch.from_numpy(parameters.affine).to(images.device), images.shape[3])
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _grid(affine: Tensor, size: int) -> Tensor:
    """Return (n, S, S, 2): the position (x, y) of each new pixel in the original film.

    An affine map is the sum of a term along the row and one along the column, so two vectors per film are enough.
    `affine_grid` multiplies matrices for every pixel and takes eight times as long.
    """
    centres = (2 * torch.arange(size, dtype=torch.float32, device=affine.device) + 1) / size - 1
    grid = affine.new_empty(len(affine), size, size, 2)
    for axis in (0, 1):
        along = affine[:, axis, 0, None] * centres  # (n, S)
        down = affine[:, axis, 1, None] * centres + affine[:, axis, 2, None]  # (n, S)
        torch.add(along[:, None, :], down[:, :, None], out=grid[..., axis])
    return grid


def _cover_edges(images: Tensor, parameters: AugmentationParameters) -> Tensor:
    covered = images.clone()
    side = images.shape[3]
    for film, (top, right, bottom, left) in zip(covered, parameters.border.tolist(), strict=True):
        film[0, :top] = 0
        film[0, side - bottom :] = 0
        film[0, :, :left] = 0
        film[0, :, side - right :] = 0
    return covered


def _put_markers(images: Tensor, parameters: AugmentationParameters) -> Tensor:
    marked = images.clone()
    for film, markers in zip(marked, parameters.marker.tolist(), strict=True):
        for top, left, height, width, shape, grey in markers:
            if height:
                box = film[0, top : top + height, left : left + width]
                box[_stencil(shape, height, width).to(box.device)] = grey / 255
    return marked


def _stencil(shape: int, height: int, width: int) -> Tensor:
    """Return bool (height, width): the pixels of a marker."""
    if shape not in _LETTERS:
        return torch.ones(height, width, dtype=torch.bool)
    letter = torch.tensor([[mark == "#" for mark in row] for row in _LETTERS[shape]])
    rows, columns = (torch.arange(n) * m // n for n, m in zip((height, width), letter.shape, strict=True))
    return letter[rows][:, columns]


def _haze(images: Tensor, parameters: AugmentationParameters) -> Tensor:
    """Brighten soft spots: the difference from white becomes smaller, most in the centre."""
    hidden = torch.from_numpy(parameters.haze[:, :, 5, None, None]).to(images.device)
    spots = hidden * torch.exp(-_away_from(parameters.haze, images))
    return 1 - (1 - images) * (1 - spots).prod(1, keepdim=True)


def _curve(images: Tensor, parameters: AugmentationParameters) -> Tensor:
    """Map the grey values by the piecewise linear curve of each film."""
    heights = torch.from_numpy(parameters.tone).to(images.device)  # (n, 9)
    place = images.flatten(1).clamp(0, 1) * TONE_PIECES  # (n, S·S)
    piece = place.floor().clamp_(max=TONE_PIECES - 1)
    start = heights.gather(1, piece.long())
    rise = heights.diff(dim=1).gather(1, piece.long())
    return torch.addcmul(start, place - piece, rise).view_as(images)


def _blur(images: Tensor, parameters: AugmentationParameters) -> Tensor:
    """Blur each film with its own Gaussian, along rows and then columns; edge pixels are repeated outside."""
    kernels = _kernels(parameters.blur).to(images.device)  # (n, K)
    n, taps = kernels.shape
    reach = taps // 2
    across = functional.pad(images, (reach, reach, reach, reach), mode="replicate").transpose(0, 1)
    across = functional.conv2d(across, kernels[:, None, None, :], groups=n)
    return functional.conv2d(across, kernels[:, None, :, None], groups=n).transpose(0, 1)


def _sharpen(images: Tensor, parameters: AugmentationParameters) -> Tensor:
    """Multiply what is finer than a local mean: a box smoothed twice, of the reach of each film."""
    smooth = torch.empty_like(images)
    for reach in sorted(set(parameters.detail_reach.tolist())):
        rows = torch.from_numpy(np.flatnonzero(parameters.detail_reach == reach)).to(images.device)
        side = 2 * reach + 1
        some = images.index_select(0, rows)
        for _ in range(2):
            some = functional.avg_pool2d(some, side, 1, reach, count_include_pad=False)
        smooth.index_copy_(0, rows, some)
    return torch.lerp(smooth, images, _columns(parameters.detail, images))


def _kernels(sigmas: npt.NDArray[np.float32]) -> Tensor:
    """Return float32 (n, K): in each row a Gaussian, zero beyond three sigmas, with sum 1."""
    reach = np.ceil(3 * sigmas.astype(np.float64))
    offsets = np.arange(-reach.max(), reach.max() + 1)
    weights = np.exp(-0.5 * (offsets / sigmas[:, None].astype(np.float64)) ** 2)
    weights *= np.abs(offsets) <= reach[:, None]
    return torch.from_numpy((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))


def _bend(images: Tensor, parameters: AugmentationParameters) -> Tensor:
    return images.clamp(0, 1).pow_(_columns(parameters.gamma, images))


def _stretch(images: Tensor, parameters: AugmentationParameters) -> Tensor:
    mean = images.mean(dim=(2, 3), keepdim=True)
    return torch.lerp(mean, images, _columns(parameters.contrast, images))


def _brighten(images: Tensor, parameters: AugmentationParameters) -> Tensor:
    return images + _columns(parameters.brightness, images)


def _add_noise(images: Tensor, parameters: AugmentationParameters) -> Tensor:
    generator = torch.Generator(device=images.device)
    noise = torch.empty_like(images)
    for film, seed in zip(noise, parameters.noise_seed.tolist(), strict=True):
        film.normal_(generator=generator.manual_seed(seed))
    return torch.addcmul(images, noise, _columns(parameters.noise, images))


def _erase(images: Tensor, parameters: AugmentationParameters) -> Tensor:
    erased = images.clone()
    means = images.mean(dim=(1, 2, 3))
    for film, mean, (top, left, height, width) in zip(erased, means, parameters.erase.tolist(), strict=True):
        film[0, top : top + height, left : left + width] = mean
    return erased
