"""The content of a bundle's `model.json`, and its checks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.bundle.checks import (
    OPTIONAL_OUTPUTS,
    REQUIRED_OUTPUTS,
    check_guard,
    check_keys,
    check_left_out,
    check_regions,
    check_thresholds,
    is_number,
    mapping_of,
    row_of,
)
from pneumoscan.errors import BundleError, ConfigError
from pneumoscan.imaging import Preprocessing
from pneumoscan.imaging.lungs import MARGIN, SHAPE_FACTS, SIDE, Lungs, shape_distance
from pneumoscan.imaging.preprocessing import normalise

SCHEMA_VERSION = 2
KNOWN_VERSIONS = (1, 2)
CLASS_NAMES = ("NORMAL", "PNEUMONIA")
RECIPE = "integer-pictures-1"
TOLERANCE = 1e-3
_LATER_KEYS = frozenset({"guard", "calibration", "adaptation", "lungs", "left_out", "regions"})
"""Optional keys of `model.json`."""
# The log-odds of a float64 other than 0 and 1 are within ±37; those of 0 and 1 are set to ±40.
_FARTHEST = 40.0
_NEWER = "Update pneumoscan, or export the model again with this release."
_AGAIN = "Export the model again, or copy the bundle again from its source."

NO_LUNGS, ONE_LUNG, CUT, UNUSUAL = "no_lungs", "one_lung", "lungs_cut", "unusual_lungs"
FACTS = {
    "share": NO_LUNGS,
    "balance": ONE_LUNG,
    "cut": CUT,
    "confidence": UNUSUAL,
    "upright": UNUSUAL,
    "distance": UNUSUAL,
}
"""The facts that have limits, and the warning of each. `distance` is that of the shape, the others are of `Quality`."""
HIGH_IS_BAD = frozenset({"cut", "distance"})
LUNG_PREPROCESSING = Preprocessing(size=SIDE, normalisation="per_film")
LUNG_TOLERANCE = 1e-3
_LABELS = ("unsure", "not_a_chest_film")


@dataclass(frozen=True)
class LungSpec:
    """The part `lungs` of `model.json`.

    Attributes:
        answers: Known outputs: the mean logit of field and aerated lung on each image of `self_check_inputs`, four numbers.
        limits: By name of the fact (`FACTS`): `unsure` and `not_a_chest_film`, from which value on (down to which value, for
            share, balance, confidence and upright) a film gets that label; None never gives it. A fact may be absent.
        shape_mean: Mean of the shapes of chest films, one number for each of `SHAPE_FACTS`.
        shape_inverse: Inverse of their covariance, row by row; see `imaging.lungs.shape_distance`.
        source: The films on which limits and shapes were chosen.
        margin: Margin of the box as share of width and height of the field.
        tolerance: Largest allowed difference of `answers`, absolute up to 1, relative above.
        preprocessing: Input of the network: the whole film, standardised by its own mean and deviation.
    """

    answers: tuple[float, ...]
    limits: Mapping[str, Mapping[str, float | None]]
    shape_mean: tuple[float, ...]
    shape_inverse: tuple[tuple[float, ...], ...]
    source: str
    margin: float = MARGIN
    tolerance: float = LUNG_TOLERANCE
    preprocessing: Preprocessing = LUNG_PREPROCESSING

    def __post_init__(self) -> None:
        facts, rows = len(SHAPE_FACTS), (self.shape_mean, *self.shape_inverse)
        numbers = [*self.answers, self.margin, self.tolerance, *(value for row in rows for value in row)]
        if len(self.answers) != 4 or [len(row) for row in rows] != [facts] * (facts + 1):
            raise BundleError(f"model.json: lungs needs four answers and the shape of {facts} facts.", _AGAIN)
        if not all(map(is_number, numbers)) or not 0 <= self.margin <= 1:
            raise BundleError(
                "model.json: lungs has something that is not a number, or its margin is.", _AGAIN
            )
        if not 0 < self.tolerance <= LUNG_TOLERANCE:
            raise BundleError(f"model.json: lungs.tolerance is not in (0, {LUNG_TOLERANCE}].", _AGAIN)
        if self.preprocessing != LUNG_PREPROCESSING or not isinstance(self.source, str):
            raise BundleError("model.json: lungs has another preprocessing, or no source.", _AGAIN)
        for fact, limits in mapping_of(self.limits, "lungs.limits").items():
            if fact not in FACTS:
                raise BundleError(
                    f"model.json: lungs.limits: {fact!r} is not one of {', '.join(FACTS)}.", _AGAIN
                )
            check_keys(mapping_of(limits, f"lungs.limits.{fact}"), set(_LABELS), f"lungs.limits.{fact}")
            cuts = [value for value in limits.values() if value is not None]
            if not all(map(is_number, cuts)) or cuts != sorted(cuts, reverse=fact not in HIGH_IS_BAD):
                raise BundleError(
                    f"model.json: lungs.limits.{fact} is not two numbers, the second further away.", _AGAIN
                )

    @classmethod
    def from_json(cls, value: object) -> "LungSpec":
        """Create the description from the part of `model.json`.

        Raises:
            BundleError: A key is missing or unknown, or a value is illegal.
        """
        values = dict(mapping_of(value, "lungs"))
        check_keys(values, {entry.name for entry in fields(cls)}, "lungs")
        try:
            values["preprocessing"] = Preprocessing(
                **mapping_of(values["preprocessing"], "lungs.preprocessing")
            )
        except (ConfigError, TypeError) as problem:
            raise BundleError(f"model.json: lungs: {problem}", _AGAIN) from None
        rows = {key: row_of(values[key]) for key in ("answers", "shape_mean", "shape_inverse")}
        rows["shape_inverse"] = tuple(row_of(row) for row in rows["shape_inverse"])
        return cls(**{**values, **rows})

    @cached_property
    def _shapes(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        return np.asarray(self.shape_mean), np.asarray(self.shape_inverse)

    def facts_of(self, lungs: Lungs) -> dict[str, float]:
        """Return the facts that have limits, by name; `distance` is 0 where there are no lungs."""
        quality = lungs.quality
        distance = shape_distance(quality, *self._shapes) if quality.parts else 0.0
        return {name: float(getattr(quality, name, distance)) for name in FACTS}

    def judge(self, lungs: Lungs) -> tuple[bool, tuple[str, ...]]:
        """Return whether a film is no chest film, and the warnings about its lungs; each makes it at least UNSURE."""
        found: dict[str, None] = {}
        foreign = False
        for name, value in self.facts_of(lungs).items():
            limits = self.limits.get(name, {})
            # The larger the worse, for both directions.
            sign = 1 if name in HIGH_IS_BAD else -1
            held = [cut is not None and sign * value >= sign * cut for cut in map(limits.get, _LABELS)]
            # Without lungs, the other facts say nothing.
            if any(held) and not (NO_LUNGS in found and not lungs.quality.parts):
                found[FACTS[name]] = None
                foreign = foreign or held[1]
        return foreign, tuple(found)


@dataclass(frozen=True)
class SelfCheck:
    """Known outputs of the model. A model with other outputs does not load.

    Attributes:
        logits: Logits of the images of `self_check_inputs` in order, before the temperature.
        probabilities: sigmoid(logit / temperature) of these logits.
        recipe: Name of the formula that generates the images.
        tolerance: Largest allowed difference, absolute for probabilities and for logits up to 1, relative above.
    """

    logits: tuple[float, ...]
    probabilities: tuple[float, ...]
    recipe: str = RECIPE
    tolerance: float = TOLERANCE


@dataclass(frozen=True)
class BundleSpec:
    """The contents of `model.json`.

    Attributes:
        name: Name of the model in prediction rows.
        preprocessing: Preprocessing of every film.
        temperature: Above 0; probability = sigmoid(logit / temperature).
        thresholds: Operating points by name: `threshold` in [0, 1], `source` (where it was chosen), `n`,
            `n_positive`, and if known `recall`, `specificity`, `precision`, `f1`, `recall_ci95`, `specificity_ci95`
            (low, high) and `unsure_band` (`low`, `high`, `half_width`, `films`, `errors`, `source`; see `abstention`).
        default_operating_point: The operating point that labels films unless another is chosen.
        training: Origin of the weights: `data_sha256`, `n_films`, `n_patients`, `seed`, `val_fraction`, ...
        commit: Of the source code; empty if unknown.
        licence: Text by subject: `code`, `weights`, `data`.
        created: UTC, ISO 8601.
        pneumoscan_version: Release that wrote the bundle.
        parameters: Number of weights.
        self_check: Known outputs; see `self_check_of`.
        outputs: Outputs of the graph, in order: `probability`, `logit` and, if the model has them, `activation_map`, `distance`.
        class_names: Always `NORMAL`, `PNEUMONIA`: the label is the index.
        files: SHA-256 of each file of the bundle by name; `write_bundle` sets it.
        guard: The out-of-distribution detector: its thresholds `unusual` and `not_a_chest_film` on the `distance`, their
            `source`, and their measured rates; None if the model has no distance.
        calibration: Log loss, calibration error and Brier score of held-out films `before` and `after` the temperature;
            None if unknown.
        adaptation: Evaluation on films of the hospital where the model is used, and what was refitted to them; None if absent.
        lungs: The network that finds the lungs, `lungs.onnx`; None if the bundle has none.
        left_out: What the same training without a hospital measured at that hospital: `trained_on`, `films`, counts and figures
            (`checks.check_left_out`); None if unknown.
        regions: The `level` of its regions, and how often they lie in boxes of radiologists (`bundle.regions`); None if unknown.
        schema_version: Version of this description.
    """

    name: str
    preprocessing: Preprocessing
    temperature: float
    thresholds: Mapping[str, Mapping[str, Any]]
    default_operating_point: str
    training: Mapping[str, Any]
    commit: str
    licence: Mapping[str, str]
    created: str
    pneumoscan_version: str
    parameters: int
    self_check: SelfCheck
    outputs: tuple[str, ...] = REQUIRED_OUTPUTS
    class_names: tuple[str, ...] = CLASS_NAMES
    files: Mapping[str, str] = field(default_factory=dict)
    guard: Mapping[str, Any] | None = None
    calibration: Mapping[str, Any] | None = None
    adaptation: Mapping[str, Any] | None = None
    lungs: LungSpec | None = None
    left_out: Sequence[Mapping[str, Any]] | None = None
    regions: Mapping[str, Any] | None = None
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        _check_words(self)
        _check_numbers(self)
        check_thresholds(self.thresholds, self.default_operating_point)
        _check_self_check(self.self_check)
        check_guard(self.guard, tuple(self.outputs))
        check_left_out(self.left_out)
        check_regions(self.regions)
        if self.preprocessing.input == "lungs" and self.lungs is None:
            raise BundleError("model.json: the model reads the lungs, but has no lungs network.", _AGAIN)

    def threshold(self, operating_point: str | None = None) -> float:
        """Return the threshold of an operating point, by default of the default one.

        Raises:
            ConfigError: The bundle has no operating point with this name.
        """
        name = operating_point or self.default_operating_point
        if name not in self.thresholds:
            raise ConfigError(
                f"model {self.name} has no operating point {name!r}.",
                f"It has {', '.join(sorted(self.thresholds))}.",
            )
        return float(self.thresholds[name]["threshold"])

    def to_json(self) -> dict[str, Any]:
        """Return the JSON types that `from_json` reads; `schema_version` comes first."""
        values = asdict(self)
        for key in ("outputs", "class_names"):
            values[key] = list(values[key])
        for key in ("logits", "probabilities"):
            values["self_check"][key] = list(values["self_check"][key])
        known = {key: value for key, value in values.items() if value is not None or key not in _LATER_KEYS}
        return {"schema_version": known.pop("schema_version"), **known}

    @classmethod
    def from_json(cls, value: object) -> "BundleSpec":
        """Create the description from the result of `to_json`.

        Raises:
            BundleError: A key is missing or unknown, a value is illegal, or the schema has another version.
        """
        values = mapping_of(value, "model.json")
        version = values.get("schema_version")
        if version not in KNOWN_VERSIONS:
            raise BundleError(
                f"model.json has schema_version {version!r}; known are {' and '.join(map(str, KNOWN_VERSIONS))}.",
                _NEWER,
            )
        values = {**dict.fromkeys(_LATER_KEYS), **values}
        check_keys(values, {entry.name for entry in fields(cls)}, "model.json")
        try:
            preprocessing = Preprocessing(**mapping_of(values["preprocessing"], "preprocessing"))
        except (ConfigError, TypeError) as problem:
            raise BundleError(f"model.json: {problem}", _NEWER) from None
        known = mapping_of(values["self_check"], "self_check")
        check_keys(known, {entry.name for entry in fields(SelfCheck)}, "self_check")
        typed = {
            "preprocessing": preprocessing,
            "self_check": SelfCheck(
                **{
                    **known,
                    "logits": row_of(known["logits"]),
                    "probabilities": row_of(known["probabilities"]),
                }
            ),
            "outputs": row_of(values["outputs"]),
            "class_names": row_of(values["class_names"]),
            "lungs": None if values["lungs"] is None else LungSpec.from_json(values["lungs"]),
        }
        return cls(**{**values, **typed})


def self_check_inputs(preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    """Return the known inputs of the self-check: float32 (2, channels, size, size), as the network takes them.

    Both images are generated with integer arithmetic, so every machine and release gives the same bytes: ripples of
    decreasing width, and a rough chest (grey, two dark ellipses, a bright column). The ellipses are the aerated lung of both.
    """
    size = preprocessing.size
    y, x = np.mgrid[0:size, 0:size].astype(np.int64) * 1000 // size
    wave = (x * x + 2 * y * y + x * y) // 4000 % 512
    ripples = np.where(wave < 256, wave, 511 - wave)
    chest = 150 + (y - 500) // 20
    lungs = np.minimum(*(((x - centre) * 2) ** 2 + (y - 500) ** 2 for centre in (300, 700))) < 350**2
    chest = np.where(lungs, 60 + y // 25, chest)
    chest = np.where(np.abs(x - 500) < 50, 205, chest)
    films = np.stack([ripples, chest]).astype(np.uint8)
    if preprocessing.input == "lungs":
        aerated = np.broadcast_to(lungs * np.uint8(255), films.shape)
        return normalise(np.stack((films, aerated), axis=1), preprocessing)
    return normalise(films, preprocessing)[:, None]


def self_check_of(logits: npt.ArrayLike, temperature: float) -> SelfCheck:
    """Return the known outputs from the logits (2,) of the model for `self_check_inputs`."""
    values = np.asarray(logits, np.float64).reshape(-1)
    return SelfCheck(tuple(values.tolist()), tuple(probability_of(values, temperature).tolist()))


def probability_of(logits: npt.ArrayLike, temperature: float) -> npt.NDArray[np.float64]:
    """Return sigmoid(logits / temperature) as float64 of the same shape, without overflow."""
    scaled = np.asarray(logits, np.float64) / temperature
    small = np.exp(-np.abs(scaled))
    return np.where(scaled >= 0, 1.0, small) / (1.0 + small)


def log_odds(probability: float) -> float:
    """Return log(p / (1 - p)) of a probability in [0, 1], limited to ±40."""
    if probability in {0.0, 1.0}:
        return _FARTHEST if probability else -_FARTHEST
    return math.log(probability) - math.log1p(-probability)


def unsure_band(spec: BundleSpec, threshold: float) -> tuple[float, float] | None:
    """Return the probabilities between which films are UNSURE; None if the bundle has no band.

    The threshold of an operating point has its own band. Any other threshold gets the band of the default operating point,
    shifted in log-odds. With a threshold of 0 or 1, no film is near it.
    """
    default = spec.thresholds[spec.default_operating_point]
    # Two points may share a threshold; then the band of the default point applies.
    for point in (default, *spec.thresholds.values()):
        if point["threshold"] == threshold and point.get("unsure_band"):
            band = point["unsure_band"]
            return float(band["low"]), float(band["high"])
    if not default.get("unsure_band") or not 0 < threshold < 1:
        return None
    half, middle = float(default["unsure_band"]["half_width"]), log_odds(threshold)
    return float(probability_of(middle - half, 1)), float(probability_of(middle + half, 1))


def _check_words(spec: BundleSpec) -> None:
    if tuple(spec.class_names) != CLASS_NAMES:
        raise BundleError(
            f"model.json: class_names are {list(spec.class_names)!r}.",
            f"They must be {list(CLASS_NAMES)}. {_AGAIN}",
        )
    for key in ("name", "commit", "created", "pneumoscan_version"):
        if not isinstance(getattr(spec, key), str):
            raise BundleError(f"model.json: {key} is not text.", _AGAIN)
    outputs = set(spec.outputs)
    if not (set(REQUIRED_OUTPUTS) <= outputs <= {*REQUIRED_OUTPUTS, *OPTIONAL_OUTPUTS}) or not spec.name:
        raise BundleError(
            f"model.json: name {spec.name!r} or outputs {list(spec.outputs)!r} are not legal.", _AGAIN
        )
    mapping_of(spec.training, "training")
    for key in ("calibration", "adaptation"):
        if getattr(spec, key) is not None:
            mapping_of(getattr(spec, key), key)
    for key in ("licence", "files"):
        if not all(isinstance(text, str) for text in mapping_of(getattr(spec, key), key).values()):
            raise BundleError(f"model.json: {key} contains something that is not text.", _AGAIN)


def _check_numbers(spec: BundleSpec) -> None:
    if not (is_number(spec.temperature) and spec.temperature > 0):
        raise BundleError(f"model.json: temperature is {spec.temperature!r}; it must be above 0.", _AGAIN)
    if not (isinstance(spec.parameters, int) and spec.parameters >= 0):
        raise BundleError(
            f"model.json: parameters is {spec.parameters!r}; it must be a whole number.", _AGAIN
        )


def _check_self_check(known: SelfCheck) -> None:
    if known.recipe != RECIPE:
        raise BundleError(f"model.json: self_check recipe {known.recipe!r} is not known.", _NEWER)
    numbers = (*known.logits, *known.probabilities, known.tolerance)
    if len(known.logits) != 2 or len(known.probabilities) != 2 or not all(map(is_number, numbers)):
        raise BundleError(
            "model.json: self_check needs two logits, two probabilities and a tolerance.", _AGAIN
        )
    if not 0 < known.tolerance <= TOLERANCE:
        raise BundleError(
            f"model.json: self_check tolerance {known.tolerance!r} is not in (0, {TOLERANCE}].", _AGAIN
        )
