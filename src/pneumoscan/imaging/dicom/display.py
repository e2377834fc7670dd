"""Compute the grey levels that a workstation displays: modality, window, polarity (PS3.4, N.2), in 8 bits.

Every step maps one value to one value. So all steps are computed once for the at most 65,536 values that a pixel can store,
and applied to the film as a look-up table. The tests compare the result with `pydicom.pixels.apply_modality_lut` and
`apply_voi_lut`, except for a VOI LUT of more than 256 entries of 8 bits, which overflows there.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from pneumoscan.errors import FilmUniformError
from pneumoscan.imaging.dicom.elements import DataSet, Tag
from pneumoscan.imaging.dicom.file import Layout
from pneumoscan.imaging.dicom.frames import Decoded, Samples

Values = npt.NDArray[np.float64]
# Percentiles of the film if it has no window: the extremes are often lead markers and dead pixels.
PERCENTILES = (0.5, 99.5)
_SAMPLE = 1_000_000
_CHUNK = 1 << 15


@dataclass(frozen=True)
class LookUp:
    """A modality or VOI LUT (PS3.3, C.11.1.1 and C.11.2.1.1).

    Attributes:
        first: The value of the first entry. Lower values map to the first entry, higher ones than the last to the last.
        bits: Bits per entry, 8 to 16.
        entries: float64 (n,).
    """

    first: int
    bits: int
    entries: Values

    def __call__(self, values: Values) -> Values:
        """Return the entries for values of any shape."""
        index = np.clip(np.floor(values) - self.first, 0, len(self.entries) - 1)
        found: Values = self.entries[index.astype(np.intp)]
        return found


def paint(decoded: Decoded, header: DataSet, layout: Layout) -> npt.NDArray[np.uint8]:
    """Return the film as uint8 (rows, columns), 0 black.

    Args:
        decoded: The result of `frames.decode`.
        header: Header of the file.
        layout: Layout of its pixels.

    Raises:
        FilmUniformError: The header gives all values of the film one grey level.
        FilmValueError: The window, slope or LUT has invalid values.
        FilmDamagedError: A LUT is shorter than it declares.
    """
    samples = decoded.samples
    if layout.samples == 3:
        return _luma(samples)
    top = int(samples.max())
    # The bit patterns that the table needs: those of the stored bits, if no sample uses another bit.
    few = decoded.shift == 0 and top < 1 << layout.bits_stored
    codes = np.arange(1 << (layout.bits_stored if few else layout.bits_allocated))
    stored = _stored(codes, top, decoded, layout)
    padding = _padding(codes, stored, header, layout)
    with np.errstate(all="ignore"):
        values = _modality(stored.astype(np.float64), header, layout)
        shown = _shown(values, samples, padding, header, layout)
    if not np.isfinite(shown).all():
        raise header.reader.wrong("its window leads to values that are not finite")
    if layout.photometric == "MONOCHROME1" or header.text(Tag.LUT_SHAPE) == "INVERSE":
        # Both mean the same (PS3.3, C.8.11.3.1.2): invert once, never twice.
        shown = 1 - shown
    table = np.rint(shown * 255).astype(np.uint8)
    table[padding] = 0
    painted = _looked_up(table, samples)
    # A sparse sample is enough for nearly every film.
    sparse = painted[::16, ::16]
    if sparse.min() == sparse.max() and painted.min() == painted.max():
        _check_uniform(stored, samples, padding, header)
    return painted


def _check_uniform(
    stored: npt.NDArray[np.int_], samples: Samples, padding: npt.NDArray[np.bool_], header: DataSet
) -> None:
    """Raise an error if a film of one grey level has several values, with the element that gives them this level."""
    used = np.unique(samples)
    if len(np.unique(stored[used])) == 1:
        return
    if padding[used].all():
        cause = "its PIXEL PADDING VALUE and RANGE LIMIT contain all its values"
    elif Tag.MODALITY_LUT in header or Tag.VOI_LUT in header:
        cause = "its look-up table gives all its values the same level"
    elif Tag.WINDOW_CENTER not in header or Tag.WINDOW_WIDTH not in header:
        return
    else:
        cause = "its window (WINDOW CENTER and WIDTH) lies outside its values"
    raise FilmUniformError(
        f"{header.reader.source} would be displayed in one grey level only: {cause}.",
        "Have the header corrected at its source.",
    )


def _luma(samples: Samples) -> npt.NDArray[np.uint8]:
    colours = np.ascontiguousarray(samples.astype(np.uint8, copy=False))
    return np.asarray(Image.fromarray(colours).convert("L")) if colours.ndim == 3 else colours


def _looked_up(table: npt.NDArray[np.uint8], samples: Samples) -> npt.NDArray[np.uint8]:
    # In pieces, because NumPy converts indices to 64 bits. No index is outside the table; `clip` is the fastest mode.
    flat, painted = samples.reshape(-1), np.empty(samples.shape, np.uint8)
    out = painted.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        piece = slice(start, start + _CHUNK)
        np.take(table, flat[piece], out=out[piece], mode="clip")
    return painted


def _stored(codes: npt.NDArray[np.int_], top: int, decoded: Decoded, layout: Layout) -> npt.NDArray[np.int_]:
    """Return the stored value of every bit pattern: without unused bits, with its sign.

    Values beyond the stored bits are clipped if a lossy compression made them. Otherwise the other bits contain an overlay.
    """
    values, most = codes >> decoded.shift, (1 << layout.bits_stored) - 1
    sign = 1 << (layout.bits_stored - 1)
    beyond = 1 << (decoded.bits - decoded.shift)
    if decoded.lossy and beyond - 1 > most:
        # Negative values may have their sign in all bits, or in the stored ones only: then nearly all are below.
        if layout.signed and top >> decoded.shift >= (beyond + sign) // 2:
            return np.clip(np.where(values < beyond // 2, values, values - beyond), -sign, sign - 1)
        values = np.minimum(values, most)
    values = values & most
    return (values ^ sign) - sign if layout.signed else values


def _padding(
    codes: npt.NDArray[np.int_], stored: npt.NDArray[np.int_], header: DataSet, layout: Layout
) -> npt.NDArray[np.bool_]:
    """Return which bit patterns are padding (PS3.3, C.7.5.1.1.2)."""
    if Tag.PADDING not in header:
        return np.zeros(codes.shape, np.bool_)
    one = header.integer(Tag.PADDING, signed=layout.signed)
    other = header.integer(Tag.PADDING_LIMIT, one, signed=layout.signed)
    within: npt.NDArray[np.bool_] = (stored >= min(one, other)) & (stored <= max(one, other))
    # Some writers pad with a value that the stored bits cannot represent.
    beyond: npt.NDArray[np.bool_] = codes == one & ((1 << layout.bits_allocated) - 1)
    return within | beyond


def _modality(values: Values, header: DataSet, layout: Layout) -> Values:
    """Apply the modality LUT or the rescaling (PS3.3, C.11.1)."""
    item = header.item(Tag.MODALITY_LUT)
    if item is not None:
        return _look_up(item, signed=layout.signed)(values)
    slope, intercept = header.number(Tag.RESCALE_SLOPE), header.number(Tag.RESCALE_INTERCEPT)
    if slope == 0:
        raise header.reader.wrong("its RESCALE SLOPE is zero")
    values = values * (1.0 if slope is None else slope) + (intercept or 0.0)
    if not np.isfinite(values).all():
        raise header.reader.wrong("its RESCALE SLOPE and INTERCEPT lead to values that are not finite")
    return values


def _shown(
    values: Values, samples: Samples, padding: npt.NDArray[np.bool_], header: DataSet, layout: Layout
) -> Values:
    """Return the grey level in [0, 1] of every value: by VOI LUT, window, or the percentiles of the film."""
    item = header.item(Tag.VOI_LUT)
    if item is not None:
        look_up = _look_up(item, signed=layout.signed and header.item(Tag.MODALITY_LUT) is None)
        return np.clip(look_up(values) / ((1 << look_up.bits) - 1), 0, 1)
    center, width = header.number(Tag.WINDOW_CENTER), header.number(Tag.WINDOW_WIDTH)
    if center is not None and width is not None:
        return _windowed(values, center, width, header)
    if layout.bits_stored <= 8:
        low, high = float(values.min()), float(values.max())
    else:
        low, high = _ends(values, samples, padding)
    return np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values)


def _windowed(values: Values, center: float, width: float, header: DataSet) -> Values:
    """Apply a window (PS3.3, C.11.2.1.2 and C.11.2.1.3)."""
    function = header.text(Tag.WINDOW_FUNCTION) or "LINEAR"
    if function not in {"LINEAR", "LINEAR_EXACT", "SIGMOID"}:
        raise header.reader.wrong("its WINDOW FUNCTION is unknown")
    if width < 1 if function == "LINEAR" else width <= 0:
        raise header.reader.wrong("its WINDOW WIDTH is too small")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width == 0:
        return (values > center).astype(np.float64)
    return np.clip((values - center) / width + 0.5, 0, 1)


def _ends(values: Values, samples: Samples, padding: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return the values of black and white for a film of more than 8 bits without a window."""
    step = math.ceil(math.sqrt(samples.size / _SAMPLE))
    codes = samples[::step, ::step].reshape(-1)
    codes = codes[~padding[codes]]
    if not codes.size:
        return 0.0, 0.0
    found = values[codes]
    low, high = np.percentile(found, PERCENTILES)
    if low == high:
        low, high = found.min(), found.max()
    return float(low), float(high)


def _look_up(item: DataSet, *, signed: bool) -> LookUp:
    """Read a LUT.

    Raises:
        FilmDamagedError: The data are shorter than the descriptor declares.
        FilmValueError: Its entries have less than 8 or more than 16 bits.
    """
    reader, order = item.reader, item.encoding.order
    descriptor, data = item.raw(Tag.LUT_DESCRIPTOR), item.raw(Tag.LUT_DATA)
    if len(descriptor) < 6:
        raise reader.damaged("a look-up table has no descriptor")
    count, first, bits = np.frombuffer(descriptor, order + "u2", 3).tolist()
    count = count or 1 << 16
    vr = item.elements[Tag.LUT_DESCRIPTOR].vr
    if first >= 1 << 15 and (vr == b"SS" or (signed and vr != b"US")):
        first -= 1 << 16
    if not 8 <= bits <= 16:
        raise reader.wrong("a look-up table has entries of less than 8 or more than 16 bits")
    if bits == 8 and count <= len(data) < 2 * count:
        return LookUp(first, bits, np.frombuffer(data, np.uint8, count).astype(np.float64))
    if len(data) < 2 * count:
        raise reader.damaged("a look-up table is shorter than it declares")
    return LookUp(first, bits, np.frombuffer(data, order + "u2", count).astype(np.float64))
