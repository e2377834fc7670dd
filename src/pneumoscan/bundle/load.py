"""A model bundle: a folder that contains a model, usable without the training libraries.

model.onnx           the network: input `film`; outputs `probability`, `logit`, some also `activation_map`, `distance`,
                     `features`
model.json           class names, preprocessing, temperature, thresholds, origin, known outputs, SHA-256 of the rest
README.md            the model card
lungs.onnx           optional: the network that finds the lungs: input `film`; output `lungs` (N, 2, 128, 128), logits of the
                     lung field and of the aerated lung
training_films.txt   optional: SHA-256 of each film that the model was trained or selected on, sorted, one per line
records.json         optional: its evaluation on films held out of its training; see `records`

Loading verifies every hash and compares the outputs of the network with known ones. A bundle that was changed does not load.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.bundle.checks import (
    DISTANCE_OUTPUT,
    FEATURES_OUTPUT,
    LUNGS_OUTPUT,
    MAP_OUTPUT,
    OPTIONAL_OUTPUTS,
)
from pneumoscan.bundle.contents import (
    AGAIN,
    CARD,
    LUNGS,
    MODEL,
    RECORDS,
    SPEC,
    TRAINING_FILMS,
    check_one_piece,
    find_bundle,
    parsed,
    read_spec,
    verified,
)
from pneumoscan.bundle.records import check_records
from pneumoscan.bundle.spec import (
    BundleSpec,
    LungSpec,
    SelfCheck,
    probability_of,
    self_check_inputs,
    self_check_of,
)
from pneumoscan.errors import BundleError, SelfCheckError
from pneumoscan.imaging import Film, preprocess
from pneumoscan.imaging.lungs import SIDE, Lungs, find_lungs
from pneumoscan.imaging.preprocessing import cut_film, lung_crop, normalise

__all__ = [
    "Bundle",
    "BundleSpec",
    "Outputs",
    "SelfCheck",
    "find_bundle",
    "load_bundle",
    "self_check_inputs",
    "self_check_of",
]


_DIMENSIONS = {MAP_OUTPUT: 3, FEATURES_OUTPUT: 2}


@dataclass(frozen=True)
class Outputs:
    """The outputs of the network for a batch.

    Attributes:
        logit: float64 (N,), before the temperature.
        probability: float64 (N,), of PNEUMONIA, in [0, 1]: sigmoid(logit / temperature).
        activation_map: float32 (N, h, w), coarse, unbounded; its mean is the logit. None if the model has none.
        distance: float64 (N,), at least 0: distance of the film from the training films. None if the model has none.
        features: float32 (N, k), the vector before the last layer; None unless asked for.
    """

    logit: npt.NDArray[np.float64]
    probability: npt.NDArray[np.float64]
    activation_map: npt.NDArray[np.float32] | None = None
    distance: npt.NDArray[np.float64] | None = None
    features: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Bundle:
    """A verified model. `run` is thread-safe.

    Attributes:
        spec: Content of `model.json`.
        session: The ONNX Runtime session.
        path: The bundle's folder.
        lungs_session: The session of the lungs network; None if the bundle has none.
    """

    spec: BundleSpec
    session: Any
    path: Path
    lungs_session: Any = None

    def lungs_of(self, film: Film) -> Lungs | None:
        """Find the lungs of one film; None if the bundle has no lungs network.

        Raises:
            BundleError: The network fails, or its output is not finite.
        """
        if self.spec.lungs is None:
            return None
        settings = self.spec.lungs
        batch = preprocess(film, settings.preprocessing)[None, None]
        logits = _run(self.lungs_session, [LUNGS_OUTPUT], batch, self.path / LUNGS)[0]
        if logits.shape != (1, 2, SIDE, SIDE) or not np.isfinite(logits).all():
            raise BundleError(f"{self.path / LUNGS} does not give two finite numbers per pixel.", AGAIN)
        return find_lungs(logits[0], settings.margin)

    def input_of(self, film: Film) -> tuple[npt.NDArray[np.float32], Lungs | None]:
        """Return what the network sees of one film: float32 (1, channels, size, size), and the lungs if the bundle finds them.

        A film that shows nothing but its lungs (`Film.lungs`) is cut by its mask, if the model reads lungs. Its first channel is 0,
        as in training, and no lungs are returned.

        Raises:
            BundleError: The lungs network fails.
        """
        settings = self.spec.preprocessing
        if settings.input == "lungs" and film.lungs is not None:
            batch = normalise(cut_film(film, settings.size)[0], settings)[None]
            batch[:, 0] = 0
            return batch, None
        lungs = self.lungs_of(film)
        if settings.input == "lungs" and lungs is not None:
            return normalise(lung_crop(film, lungs, settings.size), settings)[None], lungs
        return preprocess(film, settings)[None, None], lungs

    def run(self, batch: npt.NDArray[np.float32], *, features: bool = False) -> Outputs:
        """Run the network.

        Args:
            batch: float32 (N, channels, size, size), preprocessed according to `spec.preprocessing`.
            features: Also return the vector before the last layer, if the model has this output.

        Raises:
            BundleError: The network fails, or its output is not one finite number per film.
        """
        wanted = [name for name in OPTIONAL_OUTPUTS if features or name != FEATURES_OUTPUT]
        names = ["logit", *(name for name in wanted if name in self.spec.outputs)]
        found = dict(zip(names, _run(self.session, names, batch, self.path / MODEL), strict=True))
        numbers = {
            name: found[name].astype(np.float64) for name in ("logit", DISTANCE_OUTPUT) if name in found
        }
        if any(value.shape != (len(batch),) or not np.isfinite(value).all() for value in numbers.values()):
            raise BundleError(f"{self.path / MODEL} does not give one finite number per film.", AGAIN)
        logit = numbers["logit"]
        probability = probability_of(logit, self.spec.temperature)
        return Outputs(
            logit,
            probability,
            found.get(MAP_OUTPUT),
            numbers.get(DISTANCE_OUTPUT),
            found.get(FEATURES_OUTPUT),
        )

    def training_films(self) -> frozenset[str]:
        """Return the SHA-256 of each film that the model was trained or selected on; empty if unknown.

        Raises:
            BundleError: The list was changed.
        """
        if TRAINING_FILMS not in self.spec.files:
            return frozenset()
        return frozenset(verified(self.path / TRAINING_FILMS, self.spec).decode().split())

    def records(self) -> dict[str, Any] | None:
        """Return the evaluation of the model on films held out of its training; None if unknown.

        Raises:
            BundleError: The records were changed, are invalid, or belong to another model.
        """
        if RECORDS not in self.spec.files:
            return None
        path = self.path / RECORDS
        values = parsed(path, verified(path, self.spec))
        check_records(values, self.spec)
        return values

    def card(self) -> str:
        """Return the model card, Markdown.

        Raises:
            BundleError: The card was changed.
        """
        return verified(self.path / CARD, self.spec).decode(errors="replace")


def load_bundle(path: str | os.PathLike[str], *, threads: int = 1, self_check: bool = True) -> Bundle:
    """Load a bundle and verify its hashes, names, shapes and known outputs.

    Args:
        path: A bundle folder, or a run folder with `bundle/` in it.
        threads: Threads of ONNX Runtime within one call of `run`; 1 is fastest if several films are read at the same time.
        self_check: Compare the outputs of the network with the known ones.

    Raises:
        UsageError: `path` does not exist.
        BundleError: A file is missing, was changed, or has an unknown version.
        SelfCheckError: The network gives other outputs than at its export.
    """
    folder = find_bundle(Path(path))
    spec = read_spec(folder / SPEC)
    contents = {name: verified(folder / name, spec) for name in spec.files}
    session = _open_session(contents[MODEL], folder / MODEL, threads)
    _check_signature(session, spec, folder / MODEL)
    lungs_session = None
    if spec.lungs is not None:
        lungs_session = _open_session(contents[LUNGS], folder / LUNGS, threads)
        _check_lungs_signature(lungs_session, folder / LUNGS)
    bundle = Bundle(spec, session, folder, lungs_session)
    if self_check:
        _check_answers(bundle)
    return bundle


def _open_session(onnx: bytes, path: Path, threads: int) -> Any:
    check_one_piece(onnx, path)
    import onnxruntime  # here, because writing a bundle or reading its description does not need it

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    # Idle threads that spin would take cores from the threads that decode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # noqa: BLE001 - the runtime has a dozen exception types without a common base
        raise BundleError(
            f"{path} is not a network that ONNX Runtime can open: {_short(problem)}", AGAIN
        ) from None


def _check_signature(session: Any, spec: BundleSpec, path: Path) -> None:
    inputs = [(entry.name, entry.type, entry.shape) for entry in session.get_inputs()]
    size, channels = spec.preprocessing.size, spec.preprocessing.channels
    wanted = [channels, size, size]
    if len(inputs) != 1 or inputs[0][:2] != ("film", "tensor(float)") or list(inputs[0][2][1:]) != wanted:
        raise BundleError(
            f"{path} takes {inputs}, not `film` as float32 (N, {channels}, {size}, {size}).", AGAIN
        )
    if isinstance(inputs[0][2][0], int):
        raise BundleError(
            f"{path} takes batches of {inputs[0][2][0]} only.", "Export it with a free batch size."
        )
    names = [entry.name for entry in session.get_outputs()]
    if sorted(names) != sorted(spec.outputs):
        raise BundleError(f"{path} gives {names}, but {SPEC} says {list(spec.outputs)}.", AGAIN)


def _check_lungs_signature(session: Any, path: Path) -> None:
    inputs = [(entry.name, entry.type, list(entry.shape[1:])) for entry in session.get_inputs()]
    outputs = [(entry.name, entry.type) for entry in session.get_outputs()]
    if inputs != [("film", "tensor(float)", [1, SIDE, SIDE])] or outputs != [(LUNGS_OUTPUT, "tensor(float)")]:
        raise BundleError(
            f"{path} takes {inputs} and gives {outputs}, not `film` (N, 1, {SIDE}, {SIDE}) and `{LUNGS_OUTPUT}`.",
            AGAIN,
        )


def _check_answers(bundle: Bundle) -> None:
    """Compare the outputs of the network with the known ones."""
    path, known = bundle.path / MODEL, bundle.spec.self_check
    batch = self_check_inputs(bundle.spec.preprocessing)
    optional = [name for name in OPTIONAL_OUTPUTS if name in bundle.spec.outputs]
    names = ["logit", "probability", *optional]
    results = _run(bundle.session, names, batch, path)
    if any(len(result) != len(batch) or not np.isfinite(result).all() for result in results):
        raise SelfCheckError(f"{path} does not give one finite number per film.", AGAIN)
    if [result.ndim for result in results] != [_DIMENSIONS.get(name, 1) for name in names]:
        raise SelfCheckError(f"{path} gives outputs of shapes {[result.shape for result in results]}.", AGAIN)
    for name, expected, given in (
        ("logit", known.logits, results[0]),
        ("probability", known.probabilities, results[1]),
        ("probability", known.probabilities, probability_of(results[0], bundle.spec.temperature)),
    ):
        bound = known.tolerance * np.maximum(1, np.abs(expected))
        if (np.abs(given.astype(np.float64) - expected) > bound).any():
            raise SelfCheckError(
                f"{path}: {name} of the known films is {given.round(4).tolist()}, not {list(expected)}.",
                AGAIN,
            )
    if bundle.spec.lungs is not None:
        _check_lung_answers(bundle, bundle.spec.lungs)


def _check_lung_answers(bundle: Bundle, known: LungSpec) -> None:
    path = bundle.path / LUNGS
    logits = _run(bundle.lungs_session, [LUNGS_OUTPUT], self_check_inputs(known.preprocessing), path)[0]
    if logits.shape != (2, 2, SIDE, SIDE) or not np.isfinite(logits).all():
        raise SelfCheckError(f"{path} does not give two finite numbers per pixel.", AGAIN)
    given, expected = np.asarray(lung_answers(logits)), np.asarray(known.answers)
    if (np.abs(given - expected) > known.tolerance * np.maximum(1, np.abs(expected))).any():
        raise SelfCheckError(
            f"{path}: the mean logits of the known films are {given.round(4).tolist()}, not {list(known.answers)}.",
            AGAIN,
        )


def lung_answers(logits: npt.NDArray[np.float32]) -> tuple[float, ...]:
    """Return `LungSpec.answers` from the logits (2, 2, SIDE, SIDE) of the lungs network for `self_check_inputs`."""
    return tuple(logits.mean((2, 3), dtype=np.float64).ravel().tolist())


def _run(
    session: Any, names: list[str], batch: npt.NDArray[np.float32], path: Path
) -> list[npt.NDArray[np.float32]]:
    try:
        results: list[npt.NDArray[np.float32]] = session.run(names, {"film": batch})
    except Exception as problem:  # noqa: BLE001 - see _open_session
        raise BundleError(f"{path} fails on shape {batch.shape}: {_short(problem)}", AGAIN) from None
    return results


def _short(problem: Exception) -> str:
    return " ".join(str(problem).split())[:300]
