"""The files of a bundle: their names, the description, and the check of their hashes."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pneumoscan.bundle.spec import KNOWN_VERSIONS, BundleSpec
from pneumoscan.errors import BundleError, UsageError

MODEL, SPEC, CARD = "model.onnx", "model.json", "README.md"
LUNGS = "lungs.onnx"
TRAINING_FILMS, RECORDS = "training_films.txt", "records.json"
REQUIRED, OPTIONAL = frozenset({MODEL, CARD}), frozenset({LUNGS, TRAINING_FILMS, RECORDS})
"""Beside `model.json`, which lists them."""

AGAIN = "Copy the bundle again from its source, or export the model again."
_MOST_BYTES = {SPEC: 4 << 20, CARD: 4 << 20, RECORDS: 1 << 20}
# The key of tensors that are stored in another file, which the hashes would not cover.
_EXTERNAL_DATA = b"\x0a\x08location"


SHIPPED = Path(__file__).parent / "shipped" / "flagship-4"
"""The default model: it reads the lungs."""
SHIPPED_MODELS = {"flagship": SHIPPED, "lungs": SHIPPED, "baseline": SHIPPED.with_name("baseline")}
"""The models that come with the package, by short name."""


def find_bundle(path: Path) -> Path:
    """Return the folder of the bundle: `path` itself, or `bundle/` in it if `path` is a run folder.

    The name of a model in the package is accepted if no file or folder has this name: its short name, the name in its rows,
    and that without the digits of its hash.

    Raises:
        UsageError: `path` does not exist.
        BundleError: `path` contains no bundle.
    """
    if not path.exists():
        names = _shipped_names()
        if str(path) in names:
            return names[str(path)]
        known = ", ".join(name for name in names if "@" not in name)
        raise UsageError(
            f"there is no model at {path}.",
            f"Give a bundle, a run folder with a bundle, or the name of a model in the package: {known}.",
        )
    for folder in (path, path / "bundle", path.parent if path.name in {SPEC, MODEL} else path):
        if (folder / SPEC).is_file():
            return folder
    raise BundleError(
        f"{path} contains no {SPEC}: it is not a model bundle, or an incomplete one.",
        "Give a bundle, or a run folder with `bundle/` in it; `pneumoscan export` writes one.",
    )


def _shipped_names() -> dict[str, Path]:
    """Return the folders of the models in the package by each of their names."""
    names = dict(SHIPPED_MODELS)
    for folder in SHIPPED_MODELS.values():
        if (folder / SPEC).is_file():
            spec = read_spec(folder / SPEC)
            names |= dict.fromkeys((spec.name, f"{spec.name}@{spec.files[MODEL][:12]}"), folder)
    return names


def read_spec(path: Path) -> BundleSpec:
    """Read the description at `path`, and check its hash and its list of files.

    Raises:
        BundleError: The description was changed, or lists unknown files.
    """
    values = parsed(path, _read(path))
    if values.get("schema_version") in KNOWN_VERSIONS and values.pop("checksum", None) != checksum(values):
        raise BundleError(f"{path} was changed after it was written.", AGAIN)
    try:
        spec = BundleSpec.from_json(values)
    except BundleError as problem:
        raise BundleError(f"{path}: {problem.message}", problem.remedy) from None
    if not set(spec.files) >= REQUIRED or not set(spec.files) <= REQUIRED | OPTIONAL:
        raise BundleError(f"{path} lists the files {sorted(spec.files)}.", AGAIN)
    if (LUNGS in spec.files) != (spec.lungs is not None):
        raise BundleError(f"{path} does not both list and describe {LUNGS}.", AGAIN)
    return spec


def parsed(path: Path, data: bytes) -> dict[str, Any]:
    """Return the JSON object in the file at `path`.

    Raises:
        BundleError: The file does not contain a JSON object.
    """
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise BundleError(f"{path} is not readable JSON: {problem}.", AGAIN) from None
    if not isinstance(values, dict):
        raise BundleError(f"{path} is not a table of named values.", AGAIN)
    return values


def checksum(values: dict[str, Any]) -> str:
    """Return the SHA-256 of the values in canonical JSON, independent of order and indentation in the file."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def verified(path: Path, spec: BundleSpec) -> bytes:
    """Return the bytes of a file that the description lists.

    Raises:
        BundleError: The file cannot be read, is too large, or was changed.
    """
    data = _read(path)
    if hashlib.sha256(data).hexdigest() != spec.files[path.name]:
        raise BundleError(f"{path} was changed: its SHA-256 differs.", AGAIN)
    return data


def check_one_piece(onnx: bytes, path: Path) -> None:
    """Raise BundleError if the network stores weights in another file."""
    if _EXTERNAL_DATA in onnx:
        raise BundleError(f"{path} stores weights in another file.", "Export the model to a single file.")


def _read(path: Path) -> bytes:
    most = _MOST_BYTES.get(path.name)
    try:
        with path.open("rb") as file:
            data = file.read() if most is None else file.read(most + 1)
    except OSError as problem:
        raise BundleError(f"{path} cannot be read: {problem.strerror}.", AGAIN) from None
    if most is not None and len(data) > most:
        raise BundleError(f"{path} has more than {most >> 20} MiB.", AGAIN)
    return data


def pretrained_bundle() -> Path:
    """Return the folder of the default model, for `load_bundle`.

    Raises:
        BundleError: This installation contains no model.
    """
    if not (SHIPPED / "model.json").is_file():
        raise BundleError(
            f"this installation of pneumoscan contains no model (there is no {SHIPPED / 'model.json'}).",
            "Give a model (predict: --model, evaluate: MODEL, or PNEUMOSCAN_MODEL), or install pneumoscan again.",
        )
    return SHIPPED
