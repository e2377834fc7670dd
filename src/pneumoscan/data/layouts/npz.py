"""The array layout: one `.npz` file with the films and labels of every split, in the form of PneumoniaMNIST.

J. Yang et al., "MedMNIST v2", Scientific Data 10, 41 (2023): keys `train_images`, `train_labels`, `val_images`, ...
"""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.bundle.spec import CLASS_NAMES
from pneumoscan.data.manifest import FilmRecord, Manifest, Split
from pneumoscan.errors import DataDamagedError, LayoutError

MAX_BYTES = 4 * 1024**3
MIN_SIDE, MAX_SIDE = 28, 1024

_SPLITS: tuple[Split, ...] = ("train", "val", "test")

_NOTE = "the file contains no patients: every film counts as one patient, so only exact copies are grouped."


def load_npz(path: Path) -> Manifest:
    """Read the films of an `.npz` file into memory.

    Images are uint8 (n, H, W) or (n, H, W, 3) with sides of 28 to 1024 pixels, labels are integers (n,) or (n, 1). A header
    that declares more than 4 GiB, or contradicts the archive, is an error before memory is allocated. Objects (pickles) are
    never loaded.

    Raises:
        LayoutError: The file has no such arrays.
        DataDamagedError: The file is not an archive, is damaged, or declares more than it contains.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            splits = [split for split in _SPLITS if f"{split}_images.npy" in archive.namelist()]
            _check_claims(path, archive, splits)
            loaded = {split: _load_split(path, archive, split) for split in splits}
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        OSError,
        NotImplementedError,
        RuntimeError,
    ) as problem:
        raise DataDamagedError(f"{path} is damaged: {problem}.", "Download the file again.") from problem
    films = [film for split, (_, labels) in loaded.items() for film in _records(path, split, labels)]
    films.sort(key=lambda film: (_SPLITS.index(film.split), film.label, int(film.path.rsplit("/", 1)[1])))
    arrays = {str(split): images for split, (images, _) in loaded.items()}
    return Manifest(root=path.parent, layout="npz", films=tuple(films), notes=(_NOTE,), arrays=arrays)


def _records(path: Path, split: Split, labels: npt.NDArray[np.int64]) -> list[FilmRecord]:
    return [
        FilmRecord(f"{path.name}#{split}/{row}", int(label), split, f"{split}/{row}")
        for row, label in enumerate(labels)
    ]


def _check_claims(path: Path, archive: zipfile.ZipFile, splits: list[Split]) -> None:
    if not splits:
        keys = ", ".join(name.removesuffix(".npy") for name in archive.namelist()[:8]) or "nothing"
        raise LayoutError(f"{path} has no train_images, val_images or test_images; it has {keys}.")
    names = [f"{split}_{part}.npy" for split in splits for part in ("images", "labels")]
    for name in names:
        if archive.namelist().count(name) != 1:
            raise LayoutError(f"{path} must have {name.removesuffix('.npy')} once.")
    total = sum(_claimed_bytes(path, archive, name) for name in names)
    if total > MAX_BYTES:
        raise DataDamagedError(
            f"{path} declares {total / 1024**3:.1f} GiB of films.", f"At most {MAX_BYTES >> 30} GiB are read."
        )


def _claimed_bytes(path: Path, archive: zipfile.ZipFile, name: str) -> int:
    """Return the bytes that the header of an array declares, which must equal those in the archive."""
    with archive.open(name) as file:
        shape, _, dtype = _read_header(file)
        at = file.tell()
    if dtype.hasobject:
        raise DataDamagedError(f"{path}: {name} contains Python objects.", "They are never loaded.")
    claimed = dtype.itemsize
    for side in shape:
        claimed *= side
    if at + claimed != archive.getinfo(name).file_size:
        raise DataDamagedError(
            f"{path}: {name} declares another size than it has.", "Download the file again."
        )
    return claimed


def _read_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def _load_split(
    path: Path, archive: zipfile.ZipFile, split: Split
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    images = _load(archive, f"{split}_images.npy")
    labels = _load(archive, f"{split}_labels.npy")
    if images.dtype != np.uint8 or images.ndim not in {3, 4} or (images.ndim == 4 and images.shape[3] != 3):
        raise LayoutError(
            f"{path}: {split}_images is {images.dtype} {images.shape}.",
            "It must be uint8 (n, H, W) or (n, H, W, 3).",
        )
    if images.size and not MIN_SIDE <= min(images.shape[1:3]) <= max(images.shape[1:3]) <= MAX_SIDE:
        raise LayoutError(
            f"{path}: films of {images.shape[2]}×{images.shape[1]} pixels.",
            f"The sides must be {MIN_SIDE} to {MAX_SIDE} pixels.",
        )
    return images, _check_labels(path, split, labels, len(images))


def _check_labels(path: Path, split: Split, labels: npt.NDArray[Any], n: int) -> npt.NDArray[np.int64]:
    if labels.shape not in {(n,), (n, 1)} or labels.dtype.kind not in "iub":
        raise LayoutError(
            f"{path}: {split}_labels is {labels.dtype} {labels.shape} for {n} films.",
            "It must be integers (n, 1).",
        )
    flat = labels.reshape(n).astype(np.int64)
    if not np.isin(flat, range(len(CLASS_NAMES))).all():
        raise LayoutError(
            f"{path}: {split}_labels has other values than 0 and 1.", "1 is PNEUMONIA, 0 is NORMAL."
        )
    return flat


def _load(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    with archive.open(name) as file:
        array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array
