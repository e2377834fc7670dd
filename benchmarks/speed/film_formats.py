"""The large films of the benchmarks as JPEG, PNG and DICOM files."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.record import Options
from benchmarks.speed.material import large_films

BITS = 12
_CR_STORAGE = "1.2.840.10008.5.1.4.1.1.1"


def films_of(options: Options, name: str, count: int) -> list[Path]:
    """Return `count` films of 1300×1000 pixels in a format of `FORMATS`, in a folder of their own."""
    jpegs = sorted(large_films(options, count).glob("*.jpeg"))
    suffix, encode = FORMATS[name]
    if encode is None:
        return jpegs
    folder = jpegs[0].parent.with_name(
        f"{jpegs[0].parent.name}-{name.lower().replace(', ', '-').replace(' ', '-')}"
    )
    folder.mkdir(exist_ok=True)
    for source in jpegs:
        target = folder / f"{source.stem}{suffix}"
        if not target.exists():
            temporary = target.with_suffix(".part")
            temporary.write_bytes(encode(np.asarray(Image.open(source))))
            temporary.rename(target)
    return sorted(folder.glob(f"*{suffix}"))


def _png(pixels: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _dicom(pixels: np.ndarray) -> bytes:
    return _dicom_file(pixels, compressed=False)


def _dicom_jpeg_2000(pixels: np.ndarray) -> bytes:
    return _dicom_file(pixels, compressed=True)


def _dicom_file(pixels: np.ndarray, *, compressed: bool) -> bytes:
    """Return a Computed Radiography file with 12 of 16 bits, as a modality sends it, with its window."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = _CR_STORAGE
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"2.25.{int(pixels.sum())}"
    dataset.Modality, dataset.PhotometricInterpretation = "CR", "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, BITS, BITS - 1
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (BITS - 1), 2**BITS
    values = pixels.astype("<u2") << (BITS - 8)
    dataset.PixelData = values.tobytes()
    if compressed:
        import imagecodecs  # here, because the other formats do not need it

        frame = imagecodecs.jpeg2k_encode(values, codecformat="J2K", reversible=True, bitspersample=BITS)
        dataset.PixelData = encapsulate([frame])
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


FORMATS: dict[str, tuple[str, Callable[[np.ndarray], bytes] | None]] = {
    "JPEG": (".jpeg", None),
    "PNG": (".png", _png),
    "DICOM": (".dcm", _dicom),
    "DICOM, JPEG 2000": (".dcm", _dicom_jpeg_2000),
}
