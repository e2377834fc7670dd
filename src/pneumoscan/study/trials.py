"""The trainings of a plan: each configuration and seed once, even if several sections contain it."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pneumoscan.study.plan import BASELINE, Section, StudyPlan
from pneumoscan.train.config import TrainingConfig

# Settings that do not affect the result, or are part of the identity separately.
_NOT_IDENTITY = {"preset": True, "loop": {"seed", "checkpoint_seconds"}}
# Settings that came later, with the value of before: trials on record keep their identity.
_LATER: dict[str, dict[str, Any]] = {
    "data": {"input": "film", "lungs": "", "surroundings": True},
    "model": {"inputs": 1},
    "augmentation": {
        "detail": 0.0,
        "haze": 0.0,
        "mask_border": 0.0,
        "mask_holes": 0.0,
        "no_surroundings": 0.0,
    },
    "loss": {"boxes": 0.0},
}


@dataclass(frozen=True)
class Machine:
    """Settings of the machine, the same for a whole study because they affect the last bits of a result.

    `precision` is `float32` or `bfloat16`, `device` `cpu` or `cuda`.
    """

    worker_threads: int
    precision: str
    device: str


@dataclass(frozen=True)
class Conditions:
    """What all trials of a study share: the machine, the films (see `data.cache`), and the hold-out (SHA-256 over the paths of its films)."""

    machine: Machine
    data_sha256: str
    held_out_sha256: str


@dataclass(frozen=True)
class Trial:
    """One training: its key, its seed, and the resolved configuration with the seed.

    The key is 12 hexadecimal digits that identify the configuration without seed, the films and the hold-out.
    """

    key: str
    seed: int
    config: TrainingConfig

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.key}-seed{self.seed}"


@dataclass(frozen=True)
class Planned:
    """A trial at its place in the plan, of which it may have several; section and variant are `baseline` for the baseline."""

    section: str
    variant: str
    trial: Trial

    @property
    def title(self) -> str:
        """Section, variant and seed as text."""
        place = self.section if self.section == self.variant else f"{self.section} / {self.variant}"
        return f"{place}, seed {self.trial.seed}"


@dataclass(frozen=True)
class Slot:
    """Further seeds of the best variant of a group, which is not known yet; the trials are those of the variants with seed 0."""

    section: str
    group: str
    seeds: int
    trials: tuple[Trial, ...]


def with_machine(config: TrainingConfig, machine: Machine, seed: int) -> TrainingConfig:
    """Return the configuration with a seed and the settings of the machine."""
    changes: dict[str, Any] = {
        "seed": seed,
        "worker_threads": machine.worker_threads,
        "device": machine.device,
    }
    if config.loop.precision == "auto":
        changes["precision"] = machine.precision
    return config.model_copy(update={"loop": config.loop.model_copy(update=changes)})


def trial_of(config: TrainingConfig, seed: int, conditions: Conditions) -> Trial:
    """Return the trial of a result of `load_config`."""
    config_of_trial = with_machine(config, conditions.machine, seed)
    tree = config_of_trial.model_dump(mode="json", exclude=_NOT_IDENTITY)  # type: ignore[arg-type]
    for table, settings in _LATER.items():
        for name, default in settings.items():
            if tree[table].get(name) == default:
                del tree[table][name]
    # Trials from before a setting was renamed or a section was added keep their identity.
    tree["loop"]["lanes"] = tree["loop"].pop("worker_threads")
    sampling = tree.pop("sampling")
    if not config_of_trial.sampling.is_default:
        lists = {
            key: [f"{site}={number}" for site, number in sampling[key].items()] for key in ("sites", "films")
        }
        tree["sampling"] = sampling | lists
    text = json.dumps([tree, conditions.data_sha256, conditions.held_out_sha256], sort_keys=True)
    return Trial(hashlib.sha256(text.encode()).hexdigest()[:12], seed, config_of_trial)


def first_trials(
    plan: StudyPlan, conditions: Conditions, *, seeds: int = 0, only: Iterable[str] = ()
) -> list[Planned]:
    """Return the trials before confirmations, most important first, including repeated ones.

    Seed 0 of the baseline comes first, then seed 0 of the variants of all sections in turn, then the further seeds of the
    baseline, then those of the variants.

    Args:
        plan: The plan.
        conditions: Films, hold-out and machine.
        seeds: Minimum number of seeds of the baseline and every variant; 0: as planned.
        only: Names of sections; empty: all. The baseline is always included.
    """
    base = plan.baseline_config()
    baseline = [
        Planned(BASELINE, BASELINE, trial_of(base, seed, conditions))
        for seed in range(max(plan.baseline.seeds, seeds))
    ]
    rounds: list[tuple[int, int, Planned]] = []
    for section in chosen_sections(plan, only):
        for place, variant in enumerate(section.variants):
            config = plan.config_of(section, variant)
            for seed in range(max(plan.seeds_of(section, variant), seeds)):
                planned = Planned(section.name, variant.name, trial_of(config, seed, conditions))
                rounds.append((seed, place, planned))
    # Sorting is stable, so sections keep the order of the plan within a round.
    ordered = [planned for _, _, planned in sorted(rounds, key=lambda entry: entry[:2])]
    first = [planned for planned in ordered if planned.trial.seed == 0]
    return [baseline[0], *first, *baseline[1:], *(each for each in ordered if each.trial.seed > 0)]


def confirmations(
    plan: StudyPlan,
    conditions: Conditions,
    scores: Mapping[str, float],
    *,
    seeds: int = 0,
    only: Iterable[str] = (),
) -> list[Planned]:
    """Return the further seeds of the best variants of each section.

    Args:
        plan: The plan.
        conditions: Films, hold-out and machine.
        scores: Score of each trial by name, higher is better; trials without one are never the best.
        seeds: See `first_trials`.
        only: See `first_trials`.
    """
    found = []
    for section in chosen_sections(plan, only):
        for group in groups(plan, section).values():
            best = _best(plan, section, group, conditions, scores)
            if best is None:
                continue
            config = plan.config_of(section, section.variants[best])
            begun = max(plan.seeds_of(section, section.variants[best]), seeds)
            found += [
                Planned(section.name, section.variants[best].name, trial_of(config, seed, conditions))
                for seed in range(begun, section.confirm_best)
            ]
    return found


def slots(
    plan: StudyPlan, conditions: Conditions, *, seeds: int = 0, only: Iterable[str] = ()
) -> list["Slot"]:
    """Return the largest numbers of further seeds of the best variants; see `first_trials` for the arguments."""
    found = []
    for section in chosen_sections(plan, only):
        for group, places in groups(plan, section).items():
            variants = [section.variants[place] for place in places]
            begun = max(seeds, min(plan.seeds_of(section, variant) for variant in variants))
            if section.confirm_best > begun:
                trials = tuple(trial_of(plan.config_of(section, each), 0, conditions) for each in variants)
                found.append(Slot(section.name, group, section.confirm_best - begun, trials))
    return found


def groups(plan: StudyPlan, section: Section) -> dict[str, list[int]]:
    """Return the variants of each group of a section by position; one group if it names no grouping setting."""
    found: dict[str, list[int]] = {}
    for place, variant in enumerate(section.variants):
        config = plan.config_of(section, variant)
        name = str(setting(config, section.confirm_best_by)) if section.confirm_best_by else ""
        found.setdefault(name, []).append(place)
    return found


def setting(config: TrainingConfig, dotted: str) -> Any:
    """Return the value of a setting by its dotted name."""
    value: Any = config
    for part in dotted.split("."):
        value = getattr(value, part)
    return value


def unique(planned: Sequence[Planned]) -> list[Planned]:
    """Return each trial once, at its first place."""
    found: dict[str, Planned] = {}
    for each in planned:
        found.setdefault(each.trial.name, each)
    return list(found.values())


def chosen_sections(plan: StudyPlan, only: Iterable[str] = ()) -> list[Section]:
    """Return the sections named in `only`, in the order of the plan; all if it is empty."""
    names = set(only)
    return [section for section in plan.sections if not names or section.name in names]


def _best(
    plan: StudyPlan,
    section: Section,
    group: Sequence[int],
    conditions: Conditions,
    scores: Mapping[str, float],
) -> int | None:
    """Return the position of the best variant of a group by seed 0."""
    configs = [plan.config_of(section, section.variants[place]) for place in group]
    best = place_of_best([scores.get(trial_of(config, 0, conditions).name) for config in configs])
    return None if best is None else group[best]


def place_of_best(scores: Sequence[float | None]) -> int | None:
    """Return the position of the highest score, the first of equals; None if there is no score."""
    known = [(-score, place) for place, score in enumerate(scores) if score is not None]
    return min(known)[1] if known else None
