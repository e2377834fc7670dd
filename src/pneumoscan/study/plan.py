"""The plan of a study: a TOML file with the baseline, sections and variants, checked before anything runs."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pneumoscan.errors import ConfigError
from pneumoscan.train.config import TrainingConfig, legal_keys, load_config, toml_value

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,39}$")]
Text = Annotated[str, Field(min_length=1)]
Epoch = Annotated[int, Field(ge=1)]

BASELINE = "baseline"
# These determine the films of the evaluation, or belong to the machine and not to the method.
FIXED = (
    "data.val_fraction",
    "data.split_seed",
    "loop.seed",
    "loop.worker_threads",
    "loop.device",
    "loop.checkpoint_seconds",
    "preset",
)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Variant(_Part):
    """One small change.

    Attributes:
        name: Name in lower case; unique in its section.
        preset: Preset that it starts from; empty: that of the study.
        change: Settings by their dotted names; they override the preset and the changes of study and section.
        why: The reason, written beforehand.
        expect: The expectation, written beforehand.
        seeds: Number of seeds; 0: that of the section.
    """

    name: Name
    preset: str = ""
    change: dict[str, Any] = {}
    why: Text
    expect: Text
    seeds: int = Field(0, ge=0, le=50)


class Section(_Part):
    """A question and the variants that answer it.

    Attributes:
        name: Unique name in lower case.
        title: Title in the report.
        question: The question.
        variants: The variants in order; `[[section.variant]]` in the file.
        change: Settings of all variants of the section.
        seeds: Default number of seeds of a variant; 0: that of the study.
        confirm_best: Number of seeds of the best variant, once all have their first; 0 or 1 confirms none.
        confirm_best_by: A setting; the best of each of its values is confirmed, and each value is a row of graphs.
        reads_epochs: Epochs at which each run is read, for a graph against `reads_setting`.
        reads_setting: A numeric setting, the horizontal axis of this graph.
        reads_patience: Values of patience of early stopping, in epochs; the report says what each would have saved.
    """

    name: Name
    title: Text
    question: Text
    variants: tuple[Variant, ...] = Field(alias="variant", min_length=1)
    change: dict[str, Any] = {}
    seeds: int = Field(0, ge=0, le=50)
    confirm_best: int = Field(0, ge=0, le=50)
    confirm_best_by: str = ""
    reads_epochs: tuple[Epoch, ...] = ()
    reads_setting: str = ""
    reads_patience: tuple[Epoch, ...] = ()

    @model_validator(mode="after")
    def _sound(self) -> Self:
        _refuse_doubles([variant.name for variant in self.variants], f"section {self.name!r}")
        for key in ("confirm_best_by", "reads_setting"):
            setting = getattr(self, key)
            if setting and setting not in legal_keys():
                raise ValueError(f"section {self.name!r}: {key} names no setting: {setting!r}")
        if bool(self.reads_epochs) != bool(self.reads_setting):
            raise ValueError(f"section {self.name!r}: reads_epochs and reads_setting go together")
        return self


class BaselinePlan(_Part):
    """The baseline of all comparisons.

    Attributes:
        title: Title in the report.
        question: The question.
        why: The reasons of its design.
        expect: The expectation, written beforehand.
        seeds: Number of seeds.
    """

    title: Text = "The baseline"
    question: Text
    why: Text
    expect: Text
    seeds: int = Field(3, ge=1, le=50)


class Study(_Part):
    """The study as a whole.

    Attributes:
        name: Name in lower case.
        title: Title of the report.
        about: One paragraph for the report.
        preset: Preset of the baseline.
        change: Settings that override the preset, for the baseline and every variant.
        seeds: Default number of seeds of a variant.
    """

    name: Name
    title: Text
    about: str = ""
    preset: str = "baseline-quick"
    change: dict[str, Any] = {}
    seeds: int = Field(1, ge=1, le=50)


class StudyPlan(_Part):
    """A plan; `study`, `baseline` and `[[section]]` are the tables of the file."""

    study: Study
    baseline: BaselinePlan
    sections: tuple[Section, ...] = Field((), alias="section")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        _refuse_doubles([BASELINE, *(section.name for section in self.sections)], "the plan")
        return self

    def baseline_config(self) -> TrainingConfig:
        """Return the configuration of the baseline, with seed 0."""
        return _config(self.study.preset, self.study.change, "study")

    def config_of(self, section: Section, variant: Variant) -> TrainingConfig:
        """Return the configuration of a variant, with seed 0."""
        place = f"section {section.name!r}, variant {variant.name!r}"
        for key in (*section.change, *variant.change):
            if key in FIXED:
                raise ConfigError(f"{place}: {key} is the same for the whole study.", "Leave it out.")
        preset = variant.preset or self.study.preset
        return _config(preset, {**self.study.change, **section.change, **variant.change}, place)

    def seeds_of(self, section: Section, variant: Variant) -> int:
        """Return the initial number of seeds of a variant."""
        return variant.seeds or section.seeds or self.study.seeds


def read_plan(path: Path) -> tuple[StudyPlan, bytes]:
    """Read a plan and check every setting in it.

    Returns:
        The plan, and the bytes of the file.

    Raises:
        ConfigError: The file does not exist or is not TOML, a key or setting is unknown, a value is illegal, or two names
            or two variants of a section are the same.
    """
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise ConfigError(f"cannot read {path}: {problem.strerror}.", "Check the path.") from None
    return parse_plan(data, str(path)), data


def parse_plan(data: bytes, name: str) -> StudyPlan:
    """Return the plan in the bytes of a file; `name` is for messages. Raises the errors of `read_plan`."""
    try:
        plan = StudyPlan.model_validate(tomllib.loads(data.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{name} is not TOML: {problem}.") from None
    except ValidationError as problem:
        raise ConfigError(f"{name}: {_first(problem)}") from None
    plan.baseline_config()
    for section in plan.sections:
        _refuse_same_configs(plan, section)
    return plan


def _config(preset: str, change: dict[str, Any], place: str) -> TrainingConfig:
    assignments = [f"{key}={toml_value(value)}" for key, value in change.items()]
    try:
        return load_config(preset, None, assignments)
    except ConfigError as problem:
        raise ConfigError(f"{place}: {problem.message}", problem.remedy) from None


def _refuse_same_configs(plan: StudyPlan, section: Section) -> None:
    seen: dict[str, str] = {}
    for variant in section.variants:
        config = plan.config_of(section, variant).model_dump_json()
        if config in seen:
            raise ConfigError(
                f"section {section.name!r}: {variant.name!r} is the same as {seen[config]!r}.",
                "Leave one out.",
            )
        seen[config] = variant.name


def _refuse_doubles(names: list[str], place: str) -> None:
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise ValueError(f"{place} contains the name {doubles[0]!r} twice")


def _first(problem: ValidationError) -> str:
    error = problem.errors()[0]
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"there is no key {place!r} in a plan."
    return f"{place + ': ' if place else ''}{error['msg'].removeprefix('Value error, ')}."
