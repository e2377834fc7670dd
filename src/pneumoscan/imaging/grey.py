"""Conversion to 8-bit grey: of Pillow images of every mode, and of arrays of every dtype that a film can have."""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops

from pneumoscan.errors import FilmUniformError, FilmValueError

# A film in 16 bits uses the highest one. Values that do not are of fewer bits, and would be nearly black.
_MIDDLE = 1 << 15


def to_grey(image: Image.Image, source: str) -> Image.Image:
    """Return an 8-bit grey Pillow image of the same size.

    Args:
        image: An image of any mode. 16-bit values are scaled by value // 257, float values in [0, 1] by 255.
        source: Name of the film in errors.

    Raises:
        FilmValueError: A value is outside the range of its mode, or values of fewer bits are stored in 16.
        FilmUniformError: All pixels are transparent.
    """
    image.load()
    if image.mode.startswith("I"):
        # Pillow's own convert("L") clips 16-bit values at 255.
        wide = np.asarray(image)
        if wide.min() < 0 or wide.max() > 65535:
            raise FilmValueError(f"{source} has values outside 0..65535.", "Save it with 8 or 16 bits.")
        _check_depth(int(wide.min()), int(wide.max()), source)
        return Image.fromarray((wide // 257).astype(np.uint8))
    if image.mode == "L" and not image.has_transparency_data:
        return image
    if image.mode == "F":
        return Image.fromarray(_unit_to_uint8(np.asarray(image), source))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        if rgba.getchannel("A").getextrema() == (0, 0):
            raise FilmUniformError(
                f"{source} is transparent: its alpha is 0 in all pixels.", "Save it without transparency."
            )
        # Luma is linear, so a black background means grey value times alpha.
        return ImageChops.multiply(rgba.convert("L"), rgba.getchannel("A"))
    if image.mode in {"P", "PA"}:
        image = image.convert("RGB")
    return image.convert("L")


def array_to_uint8(array: npt.NDArray[np.generic], source: str) -> npt.NDArray[np.uint8]:
    """Return an array of the same shape as uint8.

    Args:
        array: uint8, uint16 (full scale 65535), bool, or float in [0, 1].
        source: Name of the film in errors.

    Raises:
        FilmValueError: Another dtype, a value outside its range, or values of fewer bits in uint16.
    """
    if array.dtype == np.uint8:
        return array.astype(np.uint8)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        # Not the alpha.
        colours = array[:, :, :3] if array.ndim == 3 else array
        _check_depth(int(colours.min()), int(colours.max()), source)
        return (array.astype(np.uint16) // 257).astype(np.uint8)
    if np.issubdtype(array.dtype, np.floating):
        return _unit_to_uint8(
            array.astype(np.float64 if array.itemsize > 4 else np.float32, copy=False), source
        )
    raise FilmValueError(f"{source} has dtype {array.dtype}.", "Use uint8, uint16, bool, or float in [0, 1].")


def check_high_bytes(image: Image.Image, source: str) -> None:
    """Check the depth of a decoded 16-bit file in colour or with transparency, of which Pillow keeps the high bytes.

    Raises:
        FilmValueError: The values have fewer than 16 bits.
    """
    pixels = np.asarray(image)
    colours = pixels[:, :, :1] if image.mode == "LA" else pixels[:, :, :3]
    _check_depth(256 * int(colours.min()), 256 * int(colours.max()) + 255, source)


def _check_depth(lowest: int, highest: int, source: str) -> None:
    if lowest < highest < _MIDDLE:
        raise FilmValueError(
            f"{source} has 16-bit values of at most {highest}, where white is 65535: they have fewer bits.",
            "Scale them so that white is 65535 (or 1.0, as float), or give the DICOM file itself.",
        )


def _unit_to_uint8(values: npt.NDArray[np.floating], source: str) -> npt.NDArray[np.uint8]:
    if not np.isfinite(values).all():
        raise FilmValueError(
            f"{source} has NaN or infinite values.", "Every pixel must be a number in [0, 1]."
        )
    if values.min() < 0 or values.max() > 1:
        raise FilmValueError(
            f"{source} has float values from {values.min():.4g} to {values.max():.4g}.",
            "Scale them to [0, 1].",
        )
    levels: npt.NDArray[np.uint8] = np.rint(values * 255).astype(np.uint8)
    return levels


_CELLS, _FLAT_RANGE = 128, 2


def flat_share(pixels: npt.NDArray[np.uint8]) -> float:
    """Return the largest share of a film that has one grey level, in [0, 1]; black, white and a flat margin do not count.

    Args:
        pixels: uint8 (height, width).
    """
    step = max(1, max(pixels.shape) // (4 * _CELLS))
    sparse = pixels[::step, ::step]
    rows, columns = sparse.shape[0] // 4, sparse.shape[1] // 4
    cells = sparse[: 4 * rows, : 4 * columns].reshape(rows, 4, columns, 4)
    low = cells.min((1, 3))
    flat = cells.max((1, 3)) - low <= _FLAT_RANGE
    across, along = np.flatnonzero(~flat.all(1)), np.flatnonzero(~flat.all(0))
    if not across.size or not along.size:
        return 0.0
    inner = np.s_[across[0] : across[-1] + 1, along[0] : along[-1] + 1]
    levels = np.bincount(low[inner][flat[inner]], minlength=256) / flat[inner].size
    # Neighbouring levels count together, because of the noise of lossy compression.
    return float(np.convolve(levels, np.ones(3), "valid")[6:246].max())
