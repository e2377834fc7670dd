"""A model bundle: one folder that reads films anywhere, without the training libraries.

    model.onnx           the network: input `film`; outputs `probability`, `logit`, some also `activation_map`, `distance`
    model.json           class names, preprocessing, temperature, thresholds, origin, known answers, SHA-256 of the rest
    README.md            the model card
    training_films.txt   optional: SHA-256 of each film file that was trained or chosen on, sorted, one a line

Loading verifies every hash and asks the network for its known answers; what was altered does not load.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import BundleError, NotWritableError, SelfCheckError, UsageError
from pneumoscan.files import make_folder, sync_folder, write_atomic, write_json, write_problems
from pneumoscan.inference.spec import (
    KNOWN_VERSIONS,
    MAP_OUTPUT,
    OPTIONAL_OUTPUTS,
    SCHEMA_VERSION,
    BundleSpec,
    SelfCheck,
    probability_of,
    self_check_inputs,
    self_check_of,
)
from pneumoscan.inference.trust import DISTANCE_OUTPUT

__all__ = [
    "Bundle",
    "BundleSpec",
    "Outputs",
    "SelfCheck",
    "find_bundle",
    "load_bundle",
    "self_check_inputs",
    "self_check_of",
    "write_bundle",
]

MODEL, SPEC, CARD, TRAINING_FILMS = "model.onnx", "model.json", "README.md", "training_films.txt"
_MAX_SPEC_BYTES = 4 * 1024 * 1024
_AGAIN = "Copy the bundle again from where it came, or export the model again."
# A tensor that lives in another file has an entry of this key; the hashes would not cover that file.
_EXTERNAL_DATA = b"\x0a\x08location"


@dataclass(frozen=True)
class Outputs:
    """What the network says about a batch.

    Attributes:
        logit: float64 (N,), before the temperature.
        probability: float64 (N,), of PNEUMONIA, in [0, 1]: sigmoid(logit / temperature).
        activation_map: float32 (N, h, w), coarse, unbounded; its mean is the logit. None if the model has none.
        distance: float64 (N,), at least 0: how far the film looks from the training films. None if it is not measured.
    """

    logit: npt.NDArray[np.float64]
    probability: npt.NDArray[np.float64]
    activation_map: npt.NDArray[np.float32] | None = None
    distance: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Bundle:
    """A verified model, ready to read films; `run` may be called from several threads at once.

    Attributes:
        spec: What `model.json` says.
        session: The ONNX Runtime session.
        path: The bundle's folder.
    """

    spec: BundleSpec
    session: Any
    path: Path

    def run(self, batch: npt.NDArray[np.float32]) -> Outputs:
        """Run the network.

        Args:
            batch: float32 (N, 1, size, size), preprocessed as `spec.preprocessing` says.

        Raises:
            BundleError: The network fails, or answers with something that is not a finite number a film.
        """
        names = ["logit", *(name for name in OPTIONAL_OUTPUTS if name in self.spec.outputs)]
        found = dict(zip(names, _run(self.session, names, batch, self.path / MODEL), strict=True))
        numbers = {
            name: found[name].astype(np.float64) for name in ("logit", DISTANCE_OUTPUT) if name in found
        }
        if any(value.shape != (len(batch),) or not np.isfinite(value).all() for value in numbers.values()):
            raise BundleError(f"{self.path / MODEL} does not answer with one finite number a film.", _AGAIN)
        logit = numbers["logit"]
        probability = probability_of(logit, self.spec.temperature)
        return Outputs(logit, probability, found.get(MAP_OUTPUT), numbers.get(DISTANCE_OUTPUT))

    def training_films(self) -> frozenset[str]:
        """Return the SHA-256 of the bytes of each film that was trained or chosen on; empty if it is not told.

        Raises:
            BundleError: The list is not the one that was written.
        """
        if TRAINING_FILMS not in self.spec.files:
            return frozenset()
        return frozenset(_verified(self.path / TRAINING_FILMS, self.spec).decode().split())


def write_bundle(
    out: Path, *, onnx: bytes, spec: BundleSpec, readme: str, training_films: Sequence[str] = ()
) -> None:
    """Write a bundle to the folder `out`; it gets its name when it is whole.

    Args:
        out: The bundle's folder. An older bundle there is replaced; any other non-empty folder is refused.
        onnx: The serialised network, in one piece.
        spec: Its description; `files` is filled in here.
        readme: The model card, Markdown.
        training_films: SHA-256 (64 hexadecimal digits) of the files of the films trained or chosen on.

    Raises:
        NotWritableError: `out` is something else than a bundle, or cannot be written.
        DiskFullError: No space is left; the older bundle is intact.
        BundleError: `onnx` keeps weights in another file, or `training_films` has something else than hashes.
    """
    _check_replaceable(out)
    _check_one_piece(onnx, out / MODEL)
    contents = {MODEL: onnx, CARD: readme.encode()}
    if training_films:
        contents[TRAINING_FILMS] = _hash_lines(training_films)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    values = replace(spec, files=hashes, schema_version=SCHEMA_VERSION).to_json()
    make_folder(out.parent)
    with write_problems(out):
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".tmp"))
    try:
        for name, data in contents.items():
            write_atomic(temporary / name, data)
        write_json(temporary / SPEC, {**values, "checksum": _checksum(values)})
        temporary.chmod(0o755)
        _take_name(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def find_bundle(path: Path) -> Path:
    """Return the bundle's folder: `path` itself, or `bundle/` in it if `path` is a run folder.

    Raises:
        UsageError: `path` does not exist.
        BundleError: There is no bundle in it.
    """
    if not path.exists():
        raise UsageError(f"there is no model at {path}.", "Name a bundle folder, or a run folder with one.")
    for folder in (path, path / "bundle", path.parent if path.name in {SPEC, MODEL} else path):
        if (folder / SPEC).is_file():
            return folder
    raise BundleError(
        f"{path} holds no {SPEC}: it is not a model bundle, or not a whole one.",
        "Name a bundle folder, or a run folder with `bundle/` in it; `pneumoscan export` writes one.",
    )


def load_bundle(path: str | os.PathLike[str], *, threads: int = 1, self_check: bool = True) -> Bundle:
    """Load a bundle and verify it: hashes, names, shapes, and its known answers.

    Args:
        path: A bundle folder, or a run folder with `bundle/` in it.
        threads: Of ONNX Runtime inside one call of `run`; 1 is fastest where several films are read at once.
        self_check: Ask the network for its known answers.

    Raises:
        UsageError: `path` does not exist.
        BundleError: A file is missing, altered, or of an unknown version.
        SelfCheckError: The network answers otherwise than it did when it was exported.
    """
    folder = find_bundle(Path(path))
    spec = _read_spec(folder / SPEC)
    contents = {name: _verified(folder / name, spec) for name in spec.files}
    session = _open_session(contents[MODEL], folder / MODEL, threads)
    _check_signature(session, spec, folder / MODEL)
    bundle = Bundle(spec, session, folder)
    if self_check:
        _check_answers(bundle)
    return bundle


def _read_spec(path: Path) -> BundleSpec:
    values = _read_json(path)
    if values.get("schema_version") in KNOWN_VERSIONS and values.pop("checksum", None) != _checksum(values):
        raise BundleError(f"{path} was changed after it was written.", _AGAIN)
    try:
        spec = BundleSpec.from_json(values)
    except BundleError as problem:
        raise BundleError(f"{path}: {problem.message}", problem.remedy) from None
    if not {MODEL, CARD} <= set(spec.files) <= {MODEL, CARD, TRAINING_FILMS}:
        raise BundleError(f"{path} lists the files {sorted(spec.files)}.", _AGAIN)
    return spec


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_SPEC_BYTES:
            raise BundleError(f"{path} has more than {_MAX_SPEC_BYTES >> 20} MiB.", _AGAIN)
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as problem:
        raise BundleError(f"{path} is not readable JSON: {problem}.", _AGAIN) from None
    if not isinstance(values, dict):
        raise BundleError(f"{path} is not a table of named values.", _AGAIN)
    return values


def _checksum(values: dict[str, Any]) -> str:
    """Return the SHA-256 of the values in canonical JSON, whatever their order and indentation in the file."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _verified(path: Path, spec: BundleSpec) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise BundleError(f"{path} cannot be read: {problem.strerror}.", _AGAIN) from None
    if hashlib.sha256(data).hexdigest() != spec.files[path.name]:
        raise BundleError(f"{path} is not the file that was written: its SHA-256 differs.", _AGAIN)
    return data


def _check_one_piece(onnx: bytes, path: Path) -> None:
    if _EXTERNAL_DATA in onnx:
        raise BundleError(f"{path} keeps weights in another file.", "Export the model in one piece.")


def _open_session(onnx: bytes, path: Path, threads: int) -> Any:
    _check_one_piece(onnx, path)
    import onnxruntime  # here, for whoever only writes a bundle or reads its description needs none

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    # Idle threads that spin would take the cores from those that decode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # noqa: BLE001 - the runtime has a dozen exception types and no common one
        raise BundleError(
            f"{path} is not a network that ONNX Runtime opens: {_short(problem)}", _AGAIN
        ) from None


def _check_signature(session: Any, spec: BundleSpec, path: Path) -> None:
    inputs = [(entry.name, entry.type, entry.shape) for entry in session.get_inputs()]
    size = spec.preprocessing.size
    wanted = [1, size, size]
    if len(inputs) != 1 or inputs[0][:2] != ("film", "tensor(float)") or list(inputs[0][2][1:]) != wanted:
        raise BundleError(f"{path} takes {inputs}, not `film` as float32 (N, 1, {size}, {size}).", _AGAIN)
    if isinstance(inputs[0][2][0], int):
        raise BundleError(
            f"{path} takes batches of {inputs[0][2][0]} only.", "Export it with a free batch size."
        )
    names = [entry.name for entry in session.get_outputs()]
    if sorted(names) != sorted(spec.outputs):
        raise BundleError(f"{path} gives {names}, but {SPEC} says {list(spec.outputs)}.", _AGAIN)


def _check_answers(bundle: Bundle) -> None:
    """Compare the network's answers, and those of its own `probability` output, with the known ones."""
    path, known = bundle.path / MODEL, bundle.spec.self_check
    batch = self_check_inputs(bundle.spec.preprocessing)
    optional = [name for name in OPTIONAL_OUTPUTS if name in bundle.spec.outputs]
    names = ["logit", "probability", *optional]
    results = _run(bundle.session, names, batch, path)
    if any(len(result) != len(batch) or not np.isfinite(result).all() for result in results):
        raise SelfCheckError(f"{path} answers with numbers that are not finite, or not one a film.", _AGAIN)
    if [result.ndim for result in results] != [3 if name == MAP_OUTPUT else 1 for name in names]:
        raise SelfCheckError(
            f"{path} gives outputs of shapes {[result.shape for result in results]}.", _AGAIN
        )
    for name, expected, given in (
        ("logit", known.logits, results[0]),
        ("probability", known.probabilities, results[1]),
        ("probability", known.probabilities, probability_of(results[0], bundle.spec.temperature)),
    ):
        bound = known.tolerance * np.maximum(1, np.abs(expected))
        if (np.abs(given.astype(np.float64) - expected) > bound).any():
            raise SelfCheckError(
                f"{path}: {name} of the known films is {given.round(4).tolist()}, not {list(expected)}.",
                _AGAIN,
            )


def _run(
    session: Any, names: list[str], batch: npt.NDArray[np.float32], path: Path
) -> list[npt.NDArray[np.float32]]:
    try:
        results: list[npt.NDArray[np.float32]] = session.run(names, {"film": batch})
    except Exception as problem:  # noqa: BLE001 - see _open_session
        raise BundleError(f"{path} does not run on shape {batch.shape}: {_short(problem)}", _AGAIN) from None
    return results


def _short(problem: Exception) -> str:
    return " ".join(str(problem).split())[:300]


def _hash_lines(hashes: Sequence[str]) -> bytes:
    for value in hashes:
        if not re.fullmatch(r"[0-9a-f]{64}", value):
            raise BundleError(
                f"{value!r} among the training films is no SHA-256.", "Give 64 hexadecimal digits."
            )
    return "".join(f"{value}\n" for value in sorted(set(hashes))).encode()


def _check_replaceable(out: Path) -> None:
    if not (out.exists() or out.is_symlink()):
        return
    known = {MODEL, SPEC, CARD, TRAINING_FILMS}
    if out.is_symlink() or not out.is_dir() or not {entry.name for entry in out.iterdir()} <= known:
        raise NotWritableError(f"{out} is there and is not just a model bundle.", "Choose another folder.")


def _take_name(temporary: Path, out: Path) -> None:
    """Give the finished folder its name; the older bundle is moved aside first and back if that fails."""
    with write_problems(out):
        older = temporary.with_suffix(".old")
        if out.exists():
            out.rename(older)
        try:
            temporary.rename(out)
        except OSError:
            if older.exists():
                older.rename(out)
            raise
        sync_folder(out.parent)
        shutil.rmtree(older, ignore_errors=True)
