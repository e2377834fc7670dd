"""Which trials a plan needs, in which order, and which are confirmed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pneumoscan.study.plan import StudyPlan, read_plan
from pneumoscan.study.trial_records import StudyFacts
from pneumoscan.study.trials import Conditions, Machine, confirmations, first_trials, slots, trial_of, unique

CONDITIONS = Conditions(Machine(1, "float32", "cpu"), "films", "held out")


@pytest.fixture
def plan(plan_file: Path) -> StudyPlan:
    return read_plan(plan_file)[0]


def test_a_config_that_two_sections_share_is_trained_once(plan: StudyPlan) -> None:
    planned = first_trials(plan, CONDITIONS)
    names = {each.variant: each.trial.name for each in planned if each.trial.seed == 0}
    assert names["as-it-is"] == names["baseline"]
    assert len(planned) == 7
    assert len(unique(planned)) == 6


def test_the_baseline_comes_first_then_every_sections_first_seed(plan: StudyPlan) -> None:
    order = [(each.section, each.trial.seed) for each in unique(first_trials(plan, CONDITIONS))]
    assert order == [
        ("baseline", 0), ("depth", 0), ("rates", 0), ("rates", 0), ("rates", 0), ("baseline", 1),
    ]  # fmt: skip


def test_a_trials_identity_is_config_films_and_hold_out_but_not_its_seed(plan: StudyPlan) -> None:
    config = plan.baseline_config()
    trial = trial_of(config, 0, CONDITIONS)
    assert trial.key == trial_of(config, 1, CONDITIONS).key
    assert trial.name != trial_of(config, 1, CONDITIONS).name
    patient = config.loop.model_copy(update={"checkpoint_seconds": 99.0})
    assert trial.key == trial_of(config.model_copy(update={"loop": patient}), 0, CONDITIONS).key
    others = (
        trial_of(config, 0, replace(CONDITIONS, machine=Machine(2, "float32", "cpu"))),
        trial_of(config, 0, replace(CONDITIONS, data_sha256="other films")),
        trial_of(config, 0, replace(CONDITIONS, held_out_sha256="other patients")),
        trial_of(
            config.model_copy(update={"loop": config.loop.model_copy(update={"epochs": 3})}), 0, CONDITIONS
        ),
    )
    assert len({trial.key, *(other.key for other in others)}) == 5


@pytest.mark.parametrize("name", ["article", "sites"])
def test_trials_on_record_keep_their_identity(name: str) -> None:
    study = Path(__file__).parents[2] / "results" / name
    known, _ = read_plan(study / "study.toml")
    facts = json.loads((study / "study.json").read_text())
    there = {folder.name for folder in (study / "trials").iterdir()}
    planned = {each.trial.name for each in first_trials(known, StudyFacts.from_json(facts).conditions)}
    assert len(planned & there) > 20
    assert StudyFacts.from_json(facts).to_json() == facts


def test_the_best_of_each_group_gets_its_further_seeds(plan: StudyPlan) -> None:
    names = {each.variant: each.trial.name for each in first_trials(plan, CONDITIONS) if each.trial.seed == 0}
    scores = {names["fifth-block"]: 0.9, names["baseline"]: 0.8, names["adam"]: 0.6, names["sgd"]: 0.7}
    found = confirmations(plan, CONDITIONS, scores)
    assert [(each.variant, each.trial.seed) for each in found] == [
        ("fifth-block", 1),
        ("adam", 1),
        ("sgd", 1),
    ]


def test_a_trial_without_a_score_is_never_the_best_and_a_group_without_one_has_none(plan: StudyPlan) -> None:
    names = {each.variant: each.trial.name for each in first_trials(plan, CONDITIONS) if each.trial.seed == 0}
    assert confirmations(plan, CONDITIONS, {}) == []
    found = confirmations(plan, CONDITIONS, {names["sgd"]: 0.1})
    assert [each.variant for each in found] == ["sgd"]


def test_of_equals_the_first_is_confirmed(plan: StudyPlan) -> None:
    names = {each.variant: each.trial.name for each in first_trials(plan, CONDITIONS) if each.trial.seed == 0}
    equal = dict.fromkeys(names.values(), 0.5)
    assert [each.variant for each in confirmations(plan, CONDITIONS, equal)] == ["fifth-block", "adam", "sgd"]


def test_only_and_seeds_narrow_and_widen(plan: StudyPlan) -> None:
    only = first_trials(plan, CONDITIONS, only=["depth"])
    assert {each.section for each in only} == {"baseline", "depth"}
    more = first_trials(plan, CONDITIONS, seeds=3)
    assert all(
        sorted(each.trial.seed for each in more if (each.section, each.variant) == place) == [0, 1, 2]
        for place in {(each.section, each.variant) for each in more}
    )
    assert slots(plan, CONDITIONS, seeds=3) == []


def test_the_dry_run_counts_what_will_be_confirmed(plan: StudyPlan) -> None:
    assert [(slot.section, slot.group, slot.seeds) for slot in slots(plan, CONDITIONS)] == [
        ("depth", "", 1), ("rates", "adam", 1), ("rates", "sgd", 1),
    ]  # fmt: skip
