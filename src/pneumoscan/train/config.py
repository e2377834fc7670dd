"""The configuration of a training run: validated, frozen, read from TOML and saved with the run."""

import difflib
import json
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pneumoscan.errors import ConfigError
from pneumoscan.files import read_toml
from pneumoscan.imaging import Preprocessing
from pneumoscan.networks.baseline import BaselineConfig
from pneumoscan.networks.registry import ModelConfig

SiteName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(_Section):
    """Preprocessing and hold-out.

    Attributes:
        input: `film`: the network sees the whole film. `lungs`: it sees the box of the lungs and the aerated lung in it;
            `normalisation` must be `per_film`.
        lungs: For `lungs`: a finished run of the preset `lungs`, or a model with a lungs network; empty takes that of the
            model in the package. Films of a table with `mask` that show nothing but the lungs need no network.
        surroundings: Whether a network that reads lungs also sees what surrounds the aerated lung; see `imaging.Preprocessing`.
        size: Side of the square to which films are resized, in pixels.
        normalisation: `fixed` or `per_film`; see `imaging.Preprocessing`.
        mean: Mean that `fixed` subtracts from values in [0, 1].
        std: Standard deviation by which `fixed` divides.
        val_fraction: Share of the training films that is held out, by patient.
        split_seed: Seed of the hold-out.
    """

    input: Literal["film", "lungs"] = "film"
    lungs: str = ""
    surroundings: bool = True
    size: int = Field(200, ge=16, le=1024)
    normalisation: Literal["fixed", "per_film"] = "fixed"
    mean: float = 0.0
    std: float = Field(1.0, gt=0)
    val_fraction: float = Field(0.15, gt=0, lt=1)
    split_seed: int = Field(0, ge=0, lt=2**32)

    def preprocessing(self) -> Preprocessing:
        """Return the preprocessing, for training and for prediction."""
        return Preprocessing(
            size=self.size,
            normalisation=self.normalisation,
            mean=self.mean,
            std=self.std,
            input=self.input,
            surroundings=self.surroundings,
        )


class OptimizerConfig(_Section):
    """The optimizer.

    Attributes:
        name: `sgd` (no momentum), `momentum`, `nesterov`, `adam`, `adamw` or `rmsprop`.
        learning_rate: Step size at scale 1 of the schedule; the peak of `one_cycle`.
        momentum: Momentum of `momentum` and `nesterov`; the others ignore it.
        weight_decay: L2 penalty; decoupled with `adamw`.
    """

    name: Literal["sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop"] = "adam"
    learning_rate: float = Field(1e-3, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)


class ScheduleConfig(_Section):
    """The schedule of the learning rate.

    Attributes:
        name: `constant`; `plateau` (multiplied by `factor` when the validation loss has not improved for `patience`
            epochs, never below `min_learning_rate`); `one_cycle` (linear warm-up over `warmup` of all steps, then a
            half cosine to zero; after Smith & Topin, arXiv 1708.07120).
        factor: `plateau`: factor of the reduction.
        patience: `plateau`: epochs without improvement before a reduction.
        min_learning_rate: `plateau`: lower limit of the rate.
        warmup: `one_cycle`: share of all steps in which the rate rises.
    """

    name: Literal["constant", "plateau", "one_cycle"] = "constant"
    factor: float = Field(0.3, gt=0, lt=1)
    patience: int = Field(2, ge=1)
    min_learning_rate: float = Field(1e-6, ge=0)
    warmup: float = Field(0.2, ge=0, lt=1)


class AugmentationConfig(_Section):
    """Strengths of the random changes. The defaults change nothing.

    Attributes:
        rotation: Degrees, 0 to 180; the angle is uniform in ±rotation, counter-clockwise above 0.
        shift: Fraction of the side, 0 to 0.5; horizontal and vertical shifts are independent, each uniform in ±shift.
        zoom: Fraction, 0 to 0.5; the magnification is uniform in 1 ± zoom.
        crop: Smallest share of the area that a random crop keeps, 0.05 to 1 (off); the share is uniform in [crop, 1], and
            the crop is resized to the size of the film.
        crop_aspect: Largest ratio of the sides of the crop, 1 to 2; width / height is log-uniform in
            [1 / crop_aspect, crop_aspect], as far as a crop of this area fits into the film.
        flip: Probability of a left-right flip, 0 to 1. It puts the heart on the other side.
        border: Share of the side, 0 to 0.3; each of the four edges is covered, with probability one half, by a black strip
            whose depth is uniform in [0, border], like the edge of a collimator.
        marker: Probability, 0 to 1, of each of two bright boxes or letters R or L, of 3 to 12% of the side, mostly near an
            edge, like the side markers of real films.
        tone: 0 to 2; the grey values are mapped by an increasing curve of eight linear pieces whose slopes are, up to a
            common factor, exp(u) with u uniform in ±tone each.
        gamma: 0 to 1; the exponent is exp(u) with u uniform in ±gamma.
        contrast: 0 to 0.9; differences from the film's mean are multiplied by a factor uniform in 1 ± contrast.
        brightness: Fraction of the full scale, 0 to 0.5; uniform in ±brightness is added.
        noise: Fraction of the full scale, 0 to 0.25; the standard deviation of white Gaussian noise is uniform in
            [0, noise].
        blur: Pixels, 0 to 5; the standard deviation of a Gaussian blur is uniform in [0, blur].
        erase: Probability, 0 to 1, that one box is filled with the mean of the film (Zhong et al., Random Erasing Data
            Augmentation, AAAI 2020).
        erase_area: Largest share of the area that the box covers, 0.01 to 0.5; the share is uniform in
            [erase_area / 4, erase_area], the ratio of its sides log-uniform in [1/3, 3].
        detail: 0 to 2; what is finer than a local mean over 5 to 13 pixels is multiplied by exp(u), u uniform in ±detail, like
            the sharper or softer processing of another machine.
        haze: Probability, 0 to 1, of each of three soft bright spots, which hide up to 60% of the contrast, like an opacity.
        mask_border: 0 to 1; the border of a mask of the lungs is smoothed by a share uniform in [0, mask_border] and moved
            inwards or outwards, so that its form tells nothing.
        mask_holes: Probability, 0 to 1, of each of three ellipses that are cut out of a mask of the lungs.
        no_surroundings: Probability, 0 to 1, that a film shows nothing but its aerated lung.
    """

    rotation: float = Field(0.0, ge=0, le=180)
    shift: float = Field(0.0, ge=0, le=0.5)
    zoom: float = Field(0.0, ge=0, le=0.5)
    crop: float = Field(1.0, ge=0.05, le=1)
    crop_aspect: float = Field(1.0, ge=1, le=2)
    flip: float = Field(0.0, ge=0, le=1)
    border: float = Field(0.0, ge=0, le=0.3)
    marker: float = Field(0.0, ge=0, le=1)
    tone: float = Field(0.0, ge=0, le=2)
    gamma: float = Field(0.0, ge=0, le=1)
    contrast: float = Field(0.0, ge=0, le=0.9)
    brightness: float = Field(0.0, ge=0, le=0.5)
    noise: float = Field(0.0, ge=0, le=0.25)
    blur: float = Field(0.0, ge=0, le=5)
    erase: float = Field(0.0, ge=0, le=1)
    erase_area: float = Field(0.1, ge=0.01, le=0.5)
    detail: float = Field(0.0, ge=0, le=2)
    haze: float = Field(0.0, ge=0, le=1)
    mask_border: float = Field(0.0, ge=0, le=1)
    mask_holes: float = Field(0.0, ge=0, le=1)
    no_surroundings: float = Field(0.0, ge=0, le=1)

    @property
    def is_off(self) -> bool:
        """Whether no film is ever changed."""
        strengths = self.model_dump(exclude={"crop", "crop_aspect", "erase_area"})
        return self.crop == 1 and not any(strengths.values())


class SamplingConfig(_Section):
    """How often the films of each site and class are sampled in an epoch.

    Attributes:
        sites: Share of each site by its name; the shares are divided by their sum. Empty: every film once.
        balanced_classes: Sample both classes of each site equally often; use it with `loss.class_weights` `none`.
        films: By site, the largest number of its films to train on, sampled by class with the seed of the run. 0 leaves the
            site out, also from validation. All films of other sites are used.
    """

    sites: dict[SiteName, Annotated[float, Field(gt=0)]] = {}
    balanced_classes: bool = False
    films: dict[SiteName, Annotated[int, Field(ge=0, strict=True)]] = {}

    @property
    def is_off(self) -> bool:
        """Whether every training film is sampled once in an epoch."""
        return not self.sites and not self.balanced_classes

    @property
    def is_default(self) -> bool:
        """Whether every training film of every site is sampled once in an epoch."""
        return self.is_off and not self.films

    @property
    def left_out(self) -> frozenset[str]:
        """The sites that are left out of training and validation."""
        return frozenset(site for site, count in self.films.items() if count == 0)

    def check_left_out(self, sites: Iterable[str]) -> None:
        """Raise ConfigError if `films` leaves out a site that is not in `sites`."""
        unknown = self.left_out - set(sites)
        if unknown:
            raise ConfigError(
                f"sampling.films leaves out {', '.join(sorted(unknown))}, which is not a site of these films.",
                "Name a site, as in --data NAME=PATH.",
            )


class LossConfig(_Section):
    """The binary cross-entropy loss.

    Attributes:
        class_weights: `none`, or `balanced`: n / (2 · n_class), so that both classes have the same total weight.
        label_smoothing: With the value s, the targets 0 and 1 become s/2 and 1 - s/2 in training, not in validation.
        boxes: Weight of the loss of the cells, for networks that score them: a cell in a box of a radiologist is 1, others of
            films that a radiologist read are 0. 0: off.
    """

    class_weights: Literal["none", "balanced"] = "none"
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    boxes: float = Field(0.0, ge=0, le=10)


class LoopConfig(_Section):
    """The training loop.

    Attributes:
        epochs: Largest number of passes over the training films.
        batch_size: Films per step, over all processes.
        micro_batch: Films that pass through the network at once. The gradients of the micro-batches of a batch are added, so
            the step is the same, and the activations stay in the cache of the processor. 0: the whole batch at once.
        seed: Seed of the weights, the order of films, augmentation and dropout.
        precision: `bfloat16` computes convolutions and matrix products in bfloat16 (weights, loss and optimizer stay
            float32); `auto` uses it if the processor has the instructions for it.
        device: `cpu`, `cuda`, `mps` (Apple), or `auto`.
        worker_threads: Threads of one process that process micro-batches in parallel; 0: one per core. It affects the last
            bits of the result, so it is saved with the run.
        ema_decay: Decay d of the moving average of the weights, w ← d·w + (1-d)·new, which is validated and saved. 0: off.
        early_stopping: Stop after this many epochs without a better validation loss. 0: off.
        restore_best: Save the weights of the epoch with the lowest validation loss instead of the last ones.
        checkpoint_seconds: Write a checkpoint within an epoch too when the last one is older than this.
    """

    epochs: int = Field(12, ge=1, le=10_000)
    batch_size: int = Field(32, ge=1)
    micro_batch: int = Field(16, ge=0)
    seed: int = Field(0, ge=0, lt=2**32)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    worker_threads: int = Field(0, ge=0, le=256)
    ema_decay: float = Field(0.0, ge=0, lt=1)
    early_stopping: int = Field(0, ge=0)
    restore_best: bool = True
    checkpoint_seconds: float = Field(60.0, gt=0)


class TrainingConfig(_Section):
    """The configuration of a run; each attribute is a table of the TOML file."""

    preset: str = ""
    data: DataConfig = DataConfig()
    model: ModelConfig = Field(BaselineConfig(), discriminator="name")
    augmentation: AugmentationConfig = AugmentationConfig()
    sampling: SamplingConfig = SamplingConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    loss: LossConfig = LossConfig()
    loop: LoopConfig = LoopConfig()

    @model_validator(mode="after")
    def _network_fits_input(self) -> Self:
        channels, wanted = getattr(self.model, "inputs", 1), 2 if self.data.input == "lungs" else 1
        if channels != wanted:
            raise ValueError(
                f"the network {self.model.name!r} has {channels} input channel{'s' * (channels > 1)}, and data.input "
                f"{self.data.input!r} gives {wanted}: set model.inputs={wanted}"
            )
        if self.data.input == "lungs" and self.data.normalisation != "per_film":
            raise ValueError("data.input 'lungs' needs data.normalisation 'per_film'")
        if not (self.data.surroundings or self.data.input == "lungs"):
            raise ValueError("data.surroundings=false needs data.input 'lungs'")
        return self


def preset_names() -> list[str]:
    """Return the names of the presets in the package."""
    folder = resources.files("pneumoscan.train") / "presets"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_config(
    preset: str = "baseline", file: Path | None = None, assignments: Iterable[str] = ()
) -> TrainingConfig:
    """Return the configuration of a preset, overridden by the tables of a file, overridden by each `key=value`.

    Args:
        preset: One of `preset_names()`.
        file: A TOML file with any of the tables.
        assignments: Texts like `optimizer.learning_rate=3e-4`; values are TOML, a word without quotes is a string.

    Raises:
        ConfigError: A setting is unknown (the message suggests the nearest one) or illegal.
    """
    if preset not in preset_names():
        raise ConfigError(f"there is no preset {preset!r}.", f"Known: {', '.join(preset_names())}.")
    text = (resources.files("pneumoscan.train") / "presets" / f"{preset}.toml").read_text()
    tree: dict[str, Any] = {**tomllib.loads(text), "preset": preset}
    if file is not None:
        tree = _merged(tree, read_toml(file))
    for assignment in assignments:
        tree = _merged(tree, _parse_assignment(assignment))
    return validate(tree)


def validate(tree: Mapping[str, Any]) -> TrainingConfig:
    """Return the configuration of a nested mapping.

    Raises:
        ConfigError: A key is unknown or a value is illegal; the message names the key and the legal values.
    """
    try:
        return TrainingConfig.model_validate(tree)
    except ValidationError as problem:
        first = problem.errors()[0]
        # Below `model`, pydantic also names the network that it tried.
        place = [part for level, part in enumerate(first["loc"]) if (level, first["loc"][0]) != (1, "model")]
        key = ".".join(str(part) for part in place)
        if first["type"] == "extra_forbidden":
            raise ConfigError(f"there is no setting {key!r}.", _nearest(key)) from None
        raise ConfigError(f"{key}: {first['msg']} (it is {first['input']!r}).") from None


def legal_keys(model: type[BaseModel] = TrainingConfig, prefix: str = "") -> list[str]:
    """Return the dotted names of all settings."""
    keys = []
    for name, info in model.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            keys += legal_keys(annotation, f"{prefix}{name}.")
        elif isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
            for option in typing.get_args(annotation):
                if isinstance(option, type) and issubclass(option, BaseModel):
                    keys += legal_keys(option, f"{prefix}{name}.")
            keys = list(dict.fromkeys(keys))
        else:
            keys.append(prefix + name)
    return keys


def to_toml(config: TrainingConfig) -> str:
    """Return the configuration as TOML, from which `load_config` gives an equal configuration."""
    tables = config.model_dump(mode="json")
    lines = [f"preset = {json.dumps(tables.pop('preset'))}"]
    for name, table in tables.items():
        lines += [
            "",
            f"[{name}]",
            *(f"{key} = {toml_value(value)}" for key, value in table.items() if value is not None),
        ]
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """Return a value of JSON types as TOML, a mapping as an inline table."""
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{key} = {toml_value(entry)}" for key, entry in value.items()) + " }"
            if value
            else "{}"
        )
    return json.dumps(value)


def read_toml_config(path: Path) -> TrainingConfig:
    """Return the configuration in a run folder. Raises the ConfigError of `load_config`."""
    return validate(read_toml(path))


def _parse_assignment(assignment: str) -> dict[str, Any]:
    key, equals, text = assignment.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ConfigError(f"{assignment!r} is not key=value.", "Write for example loop.epochs=24.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    if key not in legal_keys():
        raise ConfigError(f"there is no setting {key!r}.", _nearest(key))
    for part in reversed(key.split(".")):
        value = {part: value}
    return typing.cast(dict[str, Any], value)


def _merged(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(lower)
    for key, value in upper.items():
        below = result.get(key)
        result[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def _nearest(key: str) -> str:
    keys = legal_keys()
    leaf = key.rsplit(".", 1)[-1]
    # For "learning_rte" or "optimiser.learning_rate", compare the last part.
    close = difflib.get_close_matches(key, keys, n=1, cutoff=0.75) or [
        name
        for word in difflib.get_close_matches(leaf, [k.rsplit(".", 1)[-1] for k in keys], n=1)
        for name in keys
        if name.rsplit(".", 1)[-1] == word
    ]
    return (
        f"Did you mean {' or '.join(repr(name) for name in close)}?"
        if close
        else f"Settings: {', '.join(keys)}."
    )
