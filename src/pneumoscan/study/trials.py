"""Which trainings a plan needs: each config and seed once, however many sections ask for it."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pneumoscan.study.plan import BASELINE, Plan, Section
from pneumoscan.training.config import TrainingConfig

# What tells nothing of the result, or stands beside the config in the identity.
_NOT_IDENTITY = {"preset": True, "loop": {"seed", "checkpoint_seconds"}}


@dataclass(frozen=True)
class Machine:
    """How trials compute; the same for all of a study, for it is part of a result's last bits.

    Attributes:
        worker_threads: Threads of one trial.
        precision: `float32` or `bfloat16`.
        device: `cpu` or `cuda`.
    """

    worker_threads: int
    precision: str
    device: str


@dataclass(frozen=True)
class Ground:
    """What all trials of a study share beside the plan.

    Attributes:
        machine: How they compute.
        data_sha256: Identifies the films; see `data.cache`.
        held_out_sha256: Identifies the hold-out: over its films' paths.
    """

    machine: Machine
    data_sha256: str
    held_out_sha256: str


@dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        key: 12 hexadecimal digits: the config without its seed, the films and the hold-out.
        seed: Of weights, order, augmentation and dropout.
        config: Resolved, the seed in it.
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
    """A trial at its place in the plan; one trial may have several places.

    Attributes:
        section: Name; `baseline` for the baseline.
        variant: Name; `baseline` for the baseline.
        trial: What is trained.
    """

    section: str
    variant: str
    trial: Trial

    @property
    def title(self) -> str:
        """Section, variant and seed, for people."""
        place = self.section if self.section == self.variant else f"{self.section} / {self.variant}"
        return f"{place}, seed {self.trial.seed}"


@dataclass(frozen=True)
class Slot:
    """Seeds kept for the best variant of a group, which is not known yet.

    Attributes:
        section: Its name.
        group: Value of the setting that groups; empty where there is one group.
        seeds: How many further seeds.
        trials: The variants' trials with seed 0.
    """

    section: str
    group: str
    seeds: int
    trials: tuple[Trial, ...]


def settle(config: TrainingConfig, machine: Machine, seed: int) -> TrainingConfig:
    """Return the config with a seed and the study's way of computing."""
    changes: dict[str, Any] = {
        "seed": seed,
        "worker_threads": machine.worker_threads,
        "device": machine.device,
    }
    if config.loop.precision == "auto":
        changes["precision"] = machine.precision
    return config.model_copy(update={"loop": config.loop.model_copy(update=changes)})


def trial_of(config: TrainingConfig, seed: int, ground: Ground) -> Trial:
    """Return the trial of a config that `load_config` made."""
    settled = settle(config, ground.machine, seed)
    tree = settled.model_dump(mode="json", exclude=_NOT_IDENTITY)  # type: ignore[arg-type]
    # Trials from before a setting was renamed or a section was added keep their identity.
    tree["loop"]["lanes"] = tree["loop"].pop("worker_threads")
    if settled.sampling.is_default:
        del tree["sampling"]
    text = json.dumps([tree, ground.data_sha256, ground.held_out_sha256], sort_keys=True)
    return Trial(hashlib.sha256(text.encode()).hexdigest()[:12], seed, settled)


def first_trials(plan: Plan, ground: Ground, *, seeds: int = 0, only: Iterable[str] = ()) -> list[Planned]:
    """Return what runs before anything is confirmed, the most important first, with repeated trials left in.

    Seed 0 of the baseline, then seed 0 of every section's variants one section after the other in rounds, then the
    further seeds of the baseline, then those that variants ask for.

    Args:
        plan: The plan.
        ground: What the trials share.
        seeds: At least so many for the baseline and every variant; 0 as planned.
        only: Names of sections; the baseline is always there. None named: all.
    """
    base = plan.baseline_config()
    baseline = [
        Planned(BASELINE, BASELINE, trial_of(base, seed, ground))
        for seed in range(max(plan.baseline.seeds, seeds))
    ]
    rounds: list[tuple[int, int, Planned]] = []
    for section in chosen_sections(plan, only):
        for place, variant in enumerate(section.variants):
            config = plan.config_of(section, variant)
            for seed in range(max(plan.seeds_of(section, variant), seeds)):
                planned = Planned(section.name, variant.name, trial_of(config, seed, ground))
                rounds.append((seed, place, planned))
    # Sorting is stable: within a round the sections keep the plan's order.
    ordered = [planned for _, _, planned in sorted(rounds, key=lambda entry: entry[:2])]
    first = [planned for planned in ordered if planned.trial.seed == 0]
    return [baseline[0], *first, *baseline[1:], *(each for each in ordered if each.trial.seed > 0)]


def confirmations(
    plan: Plan, ground: Ground, scores: Mapping[str, float], *, seeds: int = 0, only: Iterable[str] = ()
) -> list[Planned]:
    """Return the further seeds of each section's best variants.

    Args:
        plan: The plan.
        ground: What the trials share.
        scores: By name of trial what it is chosen by, higher is better; trials without one are never the best.
        seeds: As in `first_trials`.
        only: As in `first_trials`.
    """
    found = []
    for section in chosen_sections(plan, only):
        for group in groups(plan, section).values():
            best = _best(plan, section, group, ground, scores)
            if best is None:
                continue
            config = plan.config_of(section, section.variants[best])
            begun = max(plan.seeds_of(section, section.variants[best]), seeds)
            found += [
                Planned(section.name, section.variants[best].name, trial_of(config, seed, ground))
                for seed in range(begun, section.confirm_best)
            ]
    return found


def slots(plan: Plan, ground: Ground, *, seeds: int = 0, only: Iterable[str] = ()) -> list["Slot"]:
    """Return how many further seeds the best variants get at most, which are not chosen yet; arguments as `first_trials`."""
    found = []
    for section in chosen_sections(plan, only):
        for group, places in groups(plan, section).items():
            variants = [section.variants[place] for place in places]
            begun = max(seeds, min(plan.seeds_of(section, variant) for variant in variants))
            if section.confirm_best > begun:
                trials = tuple(trial_of(plan.config_of(section, each), 0, ground) for each in variants)
                found.append(Slot(section.name, group, section.confirm_best - begun, trials))
    return found


def groups(plan: Plan, section: Section) -> dict[str, list[int]]:
    """Return the variants of each group of a section, by place; one group where it names no setting to group by."""
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


def chosen_sections(plan: Plan, only: Iterable[str] = ()) -> list[Section]:
    """Return the sections named in `only`, in the plan's order; all if none is named."""
    names = set(only)
    return [section for section in plan.sections if not names or section.name in names]


def _best(
    plan: Plan, section: Section, group: Sequence[int], ground: Ground, scores: Mapping[str, float]
) -> int | None:
    """Return the place of the best variant of a group by seed 0."""
    configs = [plan.config_of(section, section.variants[place]) for place in group]
    best = place_of_best([scores.get(trial_of(config, 0, ground).name) for config in configs])
    return None if best is None else group[best]


def place_of_best(scores: Sequence[float | None]) -> int | None:
    """Return the place of the highest score, of equals the first; None if there is no score."""
    known = [(-score, place) for place, score in enumerate(scores) if score is not None]
    return min(known)[1] if known else None
