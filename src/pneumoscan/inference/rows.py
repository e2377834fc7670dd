"""The prediction row of a film, and its form in a CSV or JSONL file."""

import json
import os
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import FilmError
from pneumoscan.imaging import Film, FilmSource, read
from pneumoscan.imaging.lungs import Lungs
from pneumoscan.inference.abstention import abstention_of, distance_with_layout
from pneumoscan.inference.bundle import Bundle, Outputs
from pneumoscan.inference.sites import resembled

COLUMNS = (
    "path", "status", "probability", "label", "threshold", "warnings", "error_code", "error", "model", "site",
)  # fmt: skip
FORMATS = ("csv", "jsonl")
SMALL = "smaller_than_input"
SHAPE = "unusual_shape"
CONTRAST = "low_contrast"
SYNTHETIC = "model_of_synthetic_films"
# The Kaggle films go up to 3.4 : 1; beyond that a chest is distorted too much.
_MAX_ASPECT = 4.0
_MIN_DEVIATION = 8
_QUOTED_IF_INSIDE = frozenset('",\r\n')
# A spreadsheet interprets text that begins like this as a formula; quotes protect the name.
_QUOTED_IF_FIRST = ("=", "+", "-", "@", "\t", " ")


@dataclass(frozen=True)
class PredictionRow:
    """The result for one input, also for one that could not be used.

    Attributes:
        path: The path as given; `<bytes>`, `<image>` or `<array>` if there is none.
        status: `ok` or `refused`.
        probability: Probability of PNEUMONIA in [0, 1]; None if refused.
        label: `PNEUMONIA` if `probability >= threshold`, else `NORMAL`; `UNSURE` or `NOT_A_CHEST_FILM` if the model abstains
            (`inference.abstention`); empty if refused.
        threshold: The threshold in [0, 1] that gave the label.
        warnings: Reasons to trust the probability less: `smaller_than_input`, `unusual_shape`, `low_contrast`,
            `model_of_synthetic_films`, `no_lungs`, `one_lung`, `lungs_cut`, `unusual_lungs`, `far_from_training_films`,
            `near_threshold`.
        error_code: Code of the error (`pneumoscan.errors`); empty if the film was read.
        error: The same in words.
        model: Name and first 12 digits of the SHA-256 of the network.
        site: The site that the film resembles, or `none`; empty if refused, or if the model has no sites.
    """

    path: str
    status: Literal["ok", "refused"]
    probability: float | None
    label: str
    threshold: float
    warnings: tuple[str, ...]
    error_code: str
    error: str
    model: str
    site: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the columns in order as JSON types."""
        return {name: getattr(self, name) for name in COLUMNS} | {"warnings": list(self.warnings)}

    def to_line(self, file_format: str) -> bytes:
        """Return the row as one record of a `csv` or `jsonl` file, with its line end.

        Probabilities have at least 6 decimals, and as many as needed to restore the same float64. Warnings are joined by `;`
        in CSV. Names that are not UTF-8 keep their bytes in CSV and are escaped in JSONL.
        """
        if file_format == "jsonl":
            return _json_line(self.to_json())
        values = self.to_json() | {
            "probability": "" if self.probability is None else _decimals(self.probability, 6),
            "threshold": _decimals(self.threshold, 2),
            "warnings": ";".join(self.warnings),
        }
        return (",".join(map(_csv_field, values.values())) + "\n").encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Finding:
    """The row of a film and the outputs of the network, from one run of the network.

    Attributes:
        row: The row, with status `ok`.
        logit: Logit before the temperature.
        distance: Distance from the training films, at least 0, with the layout of the picture (`abstention.distance_with_layout`);
            None if the model has none.
        activation_map: float32 (h, w), before the temperature, over the film, or over the box of the lungs if the model reads
            them; its mean is `logit`. None if the model has none.
        lungs: The lungs of the film; None if the model does not look for them.
    """

    row: PredictionRow
    logit: float
    distance: float | None
    activation_map: npt.NDArray[np.float32] | None
    lungs: Lungs | None = None


def header(file_format: str) -> bytes:
    """Return the header: the names of the columns in CSV, nothing in JSONL."""
    return (",".join(COLUMNS) + "\n").encode() if file_format == "csv" else b""


def model_name(bundle: Bundle) -> str:
    """Return the column `model`: the name and the first 12 digits of the SHA-256 of the network."""
    return f"{bundle.spec.name}@{bundle.spec.files['model.onnx'][:12]}"


def label_of(bundle: Bundle, probability: float, threshold: float) -> str:
    """Return the class name: PNEUMONIA if the probability reaches the threshold."""
    return bundle.spec.class_names[int(probability >= threshold)]


def probability_of_film(bundle: Bundle, film: Film) -> float:
    """Return the probability of PNEUMONIA of one film.

    The film is a batch of its own, because in a larger batch the last digits would depend on the other films.
    """
    return float(outputs_of_film(bundle, film).probability[0])


def outputs_of_film(bundle: Bundle, film: Film) -> Outputs:
    """Return the outputs of the network for one film, as a batch of one."""
    return bundle.run(bundle.input_of(film)[0])


def predict_one(bundle: Bundle, source: FilmSource, threshold: float, *, name: str = "") -> PredictionRow:
    """Classify one film and return its row. A film that cannot be read gives a refused row.

    Args:
        bundle: The model.
        source: See `imaging.read`.
        threshold: In [0, 1].
        name: The column `path`, if the film is not read from its path.

    Raises:
        BundleError: The network does not run.
    """
    try:
        film = read(source, name=name)
    except FilmError as problem:
        return refused_row(model_name(bundle), name or _path_of(source), threshold, problem)
    return find_in(bundle, film, threshold).row


def refused_row(model: str, path: str, threshold: float, problem: FilmError) -> PredictionRow:
    """Return the row of a film that cannot be read; `model` is its column `model`."""
    return PredictionRow(path, "refused", None, "", threshold, (), problem.code, str(problem), model)


def find_in(bundle: Bundle, film: Film, threshold: float) -> Finding:
    """Return the row of a film that was read, with the outputs of the network.

    Raises:
        BundleError: The network does not run.
    """
    warnings = _warnings(
        film, bundle
    )  # before the network runs, while the pixels are in the processor's cache
    batch, lungs = bundle.input_of(film)
    outputs = bundle.run(batch)
    probability = float(outputs.probability[0])
    distance = None if outputs.distance is None else float(outputs.distance[0])
    if distance is not None and bundle.spec.guard is not None:
        distance = distance_with_layout(distance, bundle.spec.guard, film.pixels)
    abstention = abstention_of(bundle.spec, probability, distance, threshold, lungs)
    label = abstention.label or label_of(bundle, probability, threshold)
    row = PredictionRow(
        film.source, "ok", probability, label, threshold, warnings + abstention.warnings, "", "", model_name(bundle),
        resembled(bundle.spec, None if outputs.site_scores is None else outputs.site_scores[0].tolist()),
    )  # fmt: skip
    evidence = None if outputs.activation_map is None else outputs.activation_map[0]
    return Finding(row, float(outputs.logit[0]), distance, evidence, lungs)


def _path_of(source: FilmSource) -> str:
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>"
    return "<array>" if isinstance(source, np.ndarray) else "<image>"


def _warnings(film: Film, bundle: Bundle) -> tuple[str, ...]:
    found = {
        SYNTHETIC: bool(bundle.spec.training.get("synthetic")),
        SMALL: min(film.height, film.width) < bundle.spec.preprocessing.size,
        SHAPE: max(film.height, film.width) > _MAX_ASPECT * min(film.height, film.width),
        CONTRAST: _deviates_less(film.pixels[::16, ::16], _MIN_DEVIATION),
    }
    return tuple(name for name, holds in found.items() if holds)


def _deviates_less(levels: npt.NDArray[np.uint8], than: int) -> bool:
    """Return whether the standard deviation of grey levels is below a number; in integers, four times as fast as `std`."""
    values = levels.astype(np.int64).ravel()
    return values.size * int(values @ values) - int(values.sum()) ** 2 < (than * values.size) ** 2


def _decimals(value: float, least: int) -> str:
    return str(np.format_float_positional(value, unique=True, min_digits=least))


def _csv_field(value: object) -> str:
    text = str(value)
    if text.startswith(_QUOTED_IF_FIRST) or not _QUOTED_IF_INSIDE.isdisjoint(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def _json_line(values: dict[str, Any]) -> bytes:
    try:
        return (json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(values, allow_nan=False) + "\n").encode()
