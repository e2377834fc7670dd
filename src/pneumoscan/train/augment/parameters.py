"""The random numbers of augmentation. Each is a hash of (seed, epoch, film, number), independent of all others."""

import math
from dataclasses import dataclass, fields
from enum import IntEnum, auto
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.train.config import AugmentationConfig

TONE_PIECES = 8
MARKERS = 2
SHAPES = 3
SPOTS = 3

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
UInt64 = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class AugmentationParameters:
    """Parameters of the changes of each film of a batch; row i of n belongs to film i.

    Attributes:
        affine: float32 (n, 2, 3): position in the original film of a point of the new one; coordinates (x, y) run from -1
            to 1 between the outer edges of the film. It combines rotation, shift, zoom, crop and flip.
        border: int64 (n, 4): depth in pixels of the black strips at top, right, bottom and left; 0 is off.
        marker: int64 (n, 2, 6): top, left, height and width in pixels, shape (0 box, 1 R, 2 L), grey value in 1/255;
            height 0 is off.
        tone: float32 (n, 9): new values of the grey values 0, 1/8, … 1; a straight line is off.
        gamma: float32 (n,), the exponent; 1 is off.
        contrast: float32 (n,), a factor; 1 is off.
        brightness: float32 (n,), added; 0 is off.
        noise: float32 (n,), standard deviation; 0 is off.
        noise_seed: int64 (n,), not negative; the seed of the noise of each film.
        blur: float32 (n,), standard deviation in pixels; 0 is off.
        detail: float32 (n,), factor of the fine detail; 1 is off.
        detail_reach: int64 (n,), pixels from the centre to the edge of the box of the local mean that is not detail.
        erase: int64 (n, 4), a box as top, left, height, width in pixels; height 0 is off.
        haze: float32 (n, 3, 6), soft bright spots: centre x and y, half axes, angle in radians, share of the contrast that is
            hidden in the centre; coordinates as in `affine`; 0 is off.
        holes: float32 (n, 3, 6), the same for holes in the mask; the last number is 1, or 0 for off.
        smoothing: float32 (n,), share of the smoothed mask in the mask; 0 is off.
        level: float32 (n,), the value from which on a smoothed mask is inside; 0.5 leaves the border where it is.
        no_surroundings: bool (n,), whether only the aerated lung is shown.
    """

    affine: Float32
    border: npt.NDArray[np.int64]
    marker: npt.NDArray[np.int64]
    tone: Float32
    gamma: Float32
    contrast: Float32
    brightness: Float32
    noise: Float32
    noise_seed: npt.NDArray[np.int64]
    blur: Float32
    detail: Float32
    detail_reach: npt.NDArray[np.int64]
    erase: npt.NDArray[np.int64]
    haze: Float32
    holes: Float32
    smoothing: Float32
    level: Float32
    no_surroundings: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.affine)

    def take(self, rows: npt.ArrayLike | slice) -> "AugmentationParameters":
        """Return the parameters of some films: a slice, indices (m,) or a mask (n,)."""
        chosen: Any = rows if isinstance(rows, slice) else np.asarray(rows)
        return AugmentationParameters(
            **{field.name: getattr(self, field.name)[chosen] for field in fields(self)}
        )

    def row(self, i: int) -> "AugmentationParameters":
        """Return the parameters of film `i` alone, as a batch of one."""
        return self.take([i])


class _Number(IntEnum):
    """Purposes of the numbers in the random stream of a film. New ones are added at the end, so the others do not change."""

    ROTATION = auto()
    SHIFT_X = auto()
    SHIFT_Y = auto()
    ZOOM = auto()
    CROP_AREA = auto()
    CROP_ASPECT = auto()
    CROP_X = auto()
    CROP_Y = auto()
    FLIP = auto()
    GAMMA = auto()
    CONTRAST = auto()
    BRIGHTNESS = auto()
    NOISE = auto()
    NOISE_SEED = auto()
    BLUR = auto()
    ERASE = auto()
    ERASE_AREA = auto()
    ERASE_ASPECT = auto()
    ERASE_X = auto()
    ERASE_Y = auto()
    BORDER = auto()
    BORDER_DEPTH = auto()
    MARKER = auto()
    MARKER_Y = auto()
    MARKER_X = auto()
    MARKER_HEIGHT = auto()
    MARKER_WIDTH = auto()
    MARKER_SHAPE = auto()
    MARKER_GREY = auto()
    MARKER_EDGE = auto()
    TONE = auto()
    HAZE = auto()
    HAZE_PLACE = auto()
    HAZE_STRENGTH = auto()
    HOLE = auto()
    HOLE_PLACE = auto()
    SMOOTHING = auto()
    LEVEL = auto()
    NO_SURROUNDINGS = auto()
    DETAIL = auto()
    DETAIL_REACH = auto()


def sample(
    config: AugmentationConfig, *, seed: int, epoch: int, film_ids: npt.NDArray[np.int64], size: int
) -> AugmentationParameters:
    """Sample the parameters of each film in one epoch.

    Args:
        config: The strengths.
        seed: Seed of the run.
        epoch: Number of the epoch; another epoch gives other numbers.
        film_ids: int64 (n,), a number for each film that is constant during the run, such as its row in the cache.
        size: Side of the films in pixels.

    Returns:
        n rows that depend only on `config`, `seed`, `epoch`, `size` and the id of the film.
    """
    stream = _Stream(seed, epoch, film_ids)
    return AugmentationParameters(
        affine=_affine(config, stream),
        border=_borders(config, stream, size),
        marker=_markers(config, stream, size),
        tone=_tones(config, stream),
        gamma=np.exp(stream.around(_Number.GAMMA, config.gamma)).astype(np.float32),
        contrast=(1 + stream.around(_Number.CONTRAST, config.contrast)).astype(np.float32),
        brightness=stream.around(_Number.BRIGHTNESS, config.brightness).astype(np.float32),
        noise=(stream.uniform(_Number.NOISE) * config.noise).astype(np.float32),
        noise_seed=(stream.bits(_Number.NOISE_SEED) >> np.uint64(1)).astype(np.int64),
        blur=(stream.uniform(_Number.BLUR) * config.blur).astype(np.float32),
        detail=np.exp(stream.around(_Number.DETAIL, config.detail)).astype(np.float32),
        detail_reach=1 + np.floor(3 * stream.uniform(_Number.DETAIL_REACH)).astype(np.int64),
        erase=_erase_boxes(config, stream, size),
        haze=_ellipses(
            stream,
            _Number.HAZE_PLACE,
            (stream.uniforms(_Number.HAZE, SPOTS) < config.haze)
            * (0.1 + 0.5 * stream.uniforms(_Number.HAZE_STRENGTH, SPOTS)),
        ),
        holes=_ellipses(stream, _Number.HOLE_PLACE, stream.uniforms(_Number.HOLE, SPOTS) < config.mask_holes),
        smoothing=(stream.uniform(_Number.SMOOTHING) ** 2 * config.mask_border).astype(np.float32),
        level=(0.5 + 0.25 * stream.around(_Number.LEVEL, config.mask_border)).astype(np.float32),
        no_surroundings=stream.uniform(_Number.NO_SURROUNDINGS) < config.no_surroundings,
    )


class _Stream:
    """Random numbers of films: number k of a film is the hash of (seed, epoch, film id, k)."""

    def __init__(self, seed: int, epoch: int, film_ids: npt.NDArray[np.int64]) -> None:
        ids = np.ascontiguousarray(film_ids, dtype=np.int64).view(np.uint64)
        run = _mix(np.array([seed % 2**64], dtype=np.uint64))
        self._state = _mix(_mix(run + np.array([epoch % 2**64], dtype=np.uint64)) ^ _mix(ids))

    def bits(self, number: _Number, part: int = 0) -> UInt64:
        """Return 64 random bits for each film: uint64 (n,); a number may have several parts."""
        place = number + part * _PARTS
        return _mix(self._state + np.array([place * _GOLDEN % 2**64], dtype=np.uint64))

    def uniform(self, number: _Number, part: int = 0) -> Float64:
        """Return float64 (n,), uniform in [0, 1)."""
        return (self.bits(number, part) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def uniforms(self, number: _Number, parts: int) -> Float64:
        """Return float64 (n, parts), uniform in [0, 1)."""
        return np.stack([self.uniform(number, part) for part in range(parts)], axis=1)

    def around(self, number: _Number, reach: float) -> Float64:
        """Return float64 (n,), uniform in ±reach; exactly 0 if reach is 0."""
        return (2 * self.uniform(number) - 1) * reach


_GOLDEN = 0x9E3779B97F4A7C15
_PARTS = 1000  # more than there are numbers


def _mix(state: UInt64) -> UInt64:
    """Hash uint64 (n,) with the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014, section 3)."""
    state = state + np.uint64(_GOLDEN)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _affine(config: AugmentationConfig, stream: _Stream) -> Float32:
    """Return float32 (n, 2, 3): new film → flip back → into the crop → shift, rotate and zoom back → old film."""
    angle = np.deg2rad(stream.around(_Number.ROTATION, config.rotation))
    zoom = 1 + stream.around(_Number.ZOOM, config.zoom)
    shift_x = 2 * stream.around(_Number.SHIFT_X, config.shift)
    shift_y = 2 * stream.around(_Number.SHIFT_Y, config.shift)
    width, height, centre_x, centre_y = _crops(config, stream)
    mirror = np.where(stream.uniform(_Number.FLIP) < config.flip, -1.0, 1.0)
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    x, y = centre_x - shift_x, centre_y - shift_y
    rows = [
        [cos * width * mirror, -sin * height, cos * x - sin * y],
        [sin * width * mirror, cos * height, sin * x + cos * y],
    ]
    # Adding 0 turns -0 into 0, so that the identity is recognised by its values.
    return (np.moveaxis(np.array(rows), 2, 0) + 0.0).astype(np.float32)


def _crops(config: AugmentationConfig, stream: _Stream) -> tuple[Float64, Float64, Float64, Float64]:
    """Return width and height of the crops as shares of the side, and their centres in -1..1; float64 (n,) each."""
    area = 1 - stream.uniform(_Number.CROP_AREA) * (1 - config.crop)
    width, height = _sides(area, config.crop_aspect, stream.uniform(_Number.CROP_ASPECT))
    centre_x = (1 - width) * stream.around(_Number.CROP_X, 1)
    centre_y = (1 - height) * stream.around(_Number.CROP_Y, 1)
    return width, height, centre_x, centre_y


def _sides(area: Float64, widest: float, u: Float64) -> tuple[Float64, Float64]:
    """Return width and height, at most 1, of boxes of `area`; their ratio is log-uniform up to `widest`."""
    # A box of this area fits into a square of side 1 if its ratio is between area and 1 / area.
    reach = np.minimum(math.log(widest), -np.log(area))
    aspect = np.exp(reach * (2 * u - 1))
    return np.sqrt(area * aspect), np.sqrt(area / aspect)


def _erase_boxes(config: AugmentationConfig, stream: _Stream, size: int) -> npt.NDArray[np.int64]:
    """Return int64 (n, 4): top, left, height, width in pixels; zeros if nothing is erased."""
    area = config.erase_area * (1 - 0.75 * stream.uniform(_Number.ERASE_AREA))
    sides = _sides(area, 3.0, stream.uniform(_Number.ERASE_ASPECT))
    width, height = (np.clip(np.rint(side * size), 1, size) for side in sides)
    left = np.floor(stream.uniform(_Number.ERASE_X) * (size - width + 1))
    top = np.floor(stream.uniform(_Number.ERASE_Y) * (size - height + 1))
    chosen = stream.uniform(_Number.ERASE) < config.erase
    boxes: npt.NDArray[np.int64] = (np.stack([top, left, height, width], axis=1) * chosen[:, None]).astype(
        np.int64
    )
    return boxes


def _borders(config: AugmentationConfig, stream: _Stream, size: int) -> npt.NDArray[np.int64]:
    """Return int64 (n, 4): depths in pixels at top, right, bottom and left."""
    there = stream.uniforms(_Number.BORDER, 4) < 0.5
    return np.rint(there * stream.uniforms(_Number.BORDER_DEPTH, 4) * config.border * size).astype(np.int64)


def _markers(config: AugmentationConfig, stream: _Stream, size: int) -> npt.NDArray[np.int64]:
    """Return int64 (n, 2, 6): top, left, height, width, shape, grey; zeros if there is none."""

    def draw(number: _Number) -> Float64:
        return stream.uniforms(number, MARKERS)

    height, width = (
        np.maximum(1, np.rint((0.03 + 0.09 * draw(number)) * size))
        for number in (_Number.MARKER_HEIGHT, _Number.MARKER_WIDTH)
    )
    top, left, edge = draw(_Number.MARKER_Y), draw(_Number.MARKER_X), draw(_Number.MARKER_EDGE)
    # Three of four are near an edge: two thirds of these at a side, one third at the top or bottom.
    left = np.where(edge < 0.5, 0.15 * left + 0.85 * (edge < 0.25), left)
    top = np.where((edge >= 0.5) & (edge < 0.75), 0.15 * top + 0.85 * (edge < 0.625), top)
    columns = [
        np.floor(top * (size - height + 1)),
        np.floor(left * (size - width + 1)),
        height,
        width,
        np.floor(draw(_Number.MARKER_SHAPE) * SHAPES),
        np.rint(255 * (0.5 + 0.5 * draw(_Number.MARKER_GREY))),
    ]
    chosen = draw(_Number.MARKER) < config.marker
    return (np.stack(columns, axis=2) * chosen[:, :, None]).astype(np.int64)


def _tones(config: AugmentationConfig, stream: _Stream) -> Float32:
    """Return float32 (n, 9): the values of the curve at 0, 1/8, … 1; increasing from 0 to 1."""
    slopes = np.exp((2 * stream.uniforms(_Number.TONE, TONE_PIECES) - 1) * config.tone)
    heights = np.cumsum(slopes, axis=1) / slopes.sum(axis=1, keepdims=True)
    return np.pad(heights, ((0, 0), (1, 0))).astype(np.float32)


def _ellipses(stream: _Stream, place: _Number, strength: npt.NDArray[Any]) -> Float32:
    """Return float32 (n, 3, 6): centre, half axes, angle and strength; see `AugmentationParameters.haze`."""
    numbers = stream.uniforms(place, 5 * SPOTS).reshape(-1, SPOTS, 5)
    low = np.array([-0.8, -0.9, 0.06, 0.06, 0.0])
    high = np.array([0.8, 0.9, 0.32, 0.32, math.pi])
    found = np.concatenate([low + (high - low) * numbers, strength[:, :, None]], axis=2)
    return (found * (strength > 0)[:, :, None]).astype(np.float32)
