"""The codecs of compressed frames: imagecodecs, which decodes without the interpreter lock, or for JPEG 2000 also Pillow."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pneumoscan.errors import CodecMissingError
from pneumoscan.imaging.dicom.codestream import Claim
from pneumoscan.imaging.dicom.elements import Reader
from pneumoscan.imaging.dicom.file import JPEG_2000, JPEG_LS
from pneumoscan.imaging.dicom.layout import Layout

Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
# These are RGB after decoding (PS3.5, 8.2.4).
_TRANSFORMED = frozenset(("YBR_ICT", "YBR_RCT"))


def decode_frame(frame: bytes, syntax: str, claim: Claim, layout: Layout, reader: Reader) -> Samples:
    """Decode a JPEG 2000, JPEG-LS, lossless or 12-bit JPEG frame.

    Args:
        frame: The codestream, checked by `check_claim`.
        syntax: UID of the transfer syntax.
        claim: Header of the codestream.
        layout: Layout of the pixels.
        reader: For errors.

    Returns:
        uint8 or uint16 (rows, columns), two's complement if signed; colour as uint8 (rows, columns, 3) in RGB, or its luma.

    Raises:
        CodecMissingError: The codec is not installed.
        FilmDamagedError: The result has another shape.
        Exception: The codec fails, with an exception of its own.
    """
    decoded = _decoder(syntax, reader)(frame, claim)
    if decoded.shape == (layout.samples, layout.rows, layout.columns) and layout.samples > 1:
        decoded = decoded.transpose(1, 2, 0)
    if decoded.shape != (layout.rows, layout.columns, layout.samples)[: 2 + (layout.samples > 1)]:
        raise reader.damaged("its compressed image has another size than its header")
    # Signed values of a few bits need the sign in all allocated bits.
    wide = decoded.astype(f"{decoded.dtype.kind}{layout.bytes_each}", copy=False)
    values: Samples = wide.view(f"u{layout.bytes_each}")
    luma_first = layout.photometric.startswith("YBR") and layout.photometric not in _TRANSFORMED
    return values[:, :, 0] if luma_first else values


def _decoder(syntax: str, reader: Reader) -> Callable[[bytes, Claim], npt.NDArray[Any]]:
    if not _installed():
        if syntax in JPEG_2000:
            return _jpeg_2000_by_pillow
        raise _missing(syntax, reader)
    if syntax in JPEG_2000:
        return _jpeg_2000
    return _jpeg_ls if syntax in JPEG_LS else _jpeg


@cache
def _installed() -> bool:
    return find_spec("imagecodecs") is not None


def _jpeg_2000(frame: bytes, _claim: Claim) -> npt.NDArray[Any]:
    import imagecodecs  # here and below, because other films do not need it

    decoded: npt.NDArray[Any] = imagecodecs.jpeg2k_decode(frame, numthreads=1)
    return decoded


def _jpeg_ls(frame: bytes, _claim: Claim) -> npt.NDArray[Any]:
    import imagecodecs

    decoded: npt.NDArray[Any] = imagecodecs.jpegls_decode(frame)
    return decoded


def _jpeg(frame: bytes, claim: Claim) -> npt.NDArray[Any]:
    """Decode lossless JPEG, or JPEG of 12 bits; colours stay as they are stored."""
    import imagecodecs

    kept = None if claim.components == 1 else "RGB"
    decoded: npt.NDArray[Any] = imagecodecs.jpeg8_decode(frame, colorspace=kept, outcolorspace=kept)
    return decoded


def _jpeg_2000_by_pillow(frame: bytes, claim: Claim) -> npt.NDArray[Any]:
    decoded = np.asarray(Image.open(BytesIO(frame), formats=("JPEG2000",)))
    if claim.components > 1:
        return decoded
    # Pillow shifts values to the highest bits, and signed ones into the positive range.
    values = decoded >> (8 * decoded.itemsize - claim.bits)
    return values.astype(np.int32) - (1 << (claim.bits - 1)) if claim.signed else values


def codecs() -> dict[str, bool]:
    """Return, for each compression that needs a codec, whether the codec is installed."""
    return {"JPEG 2000": True, "JPEG-LS": _installed(), "lossless or 12-bit JPEG": _installed()}


def _missing(syntax: str, reader: Reader) -> CodecMissingError:
    kind = "JPEG-LS" if syntax in JPEG_LS else "lossless or 12-bit JPEG"
    return CodecMissingError(
        f"{reader.source} is compressed as {kind}, for which no codec is installed.",
        'pip install "pneumoscan[dicom]"',
    )
