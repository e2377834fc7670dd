"""Plans are checked before anything runs, and the one of the article asks for what it promises."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pneumoscan.errors import ConfigError
from pneumoscan.networks.registry import build, count_parameters
from pneumoscan.study.plan import Section, StudyPlan, read_plan
from pneumoscan.study.trials import Conditions, Machine, first_trials, setting, slots, unique

ARTICLE = Path(__file__).parents[2] / "studies" / "article.toml"
CONDITIONS = Conditions(Machine(2, "bfloat16", "cpu"), "films", "held out")


@pytest.fixture(scope="module")
def article() -> StudyPlan:
    return read_plan(ARTICLE)[0]


def section(plan: StudyPlan, name: str) -> Section:
    return next(each for each in plan.sections if each.name == name)


def values(plan: StudyPlan, name: str, dotted: str) -> list:
    found = section(plan, name)
    return [setting(plan.config_of(found, variant), dotted) for variant in found.variants]


def test_the_article_has_at_least_35_trials_and_three_seeds_of_the_best(article: StudyPlan) -> None:
    trials = unique(first_trials(article, CONDITIONS))
    assert len(trials) + sum(slot.seeds for slot in slots(article, CONDITIONS)) >= 35
    assert article.baseline.seeds == 3
    assert all(section.confirm_best == 3 for section in article.sections)


def test_the_article_asks_the_missions_questions(article: StudyPlan) -> None:
    assert [each.name for each in article.sections] == [
        "one-layer", "two-layers", "widths", "optimizers", "dropout", "early-stopping", "augmentation", "reduction",
        "input-size", "batch-size",
    ]  # fmt: skip
    base = article.baseline_config()
    assert len(values(article, "widths", "model.channels")) >= 5
    assert max(map(len, values(article, "widths", "model.channels"))) == len(base.model.channels)
    assert {0.0, 0.1, 0.2, 0.3, 0.5, 0.7} <= set(values(article, "dropout", "model.dropout"))
    assert set(values(article, "input-size", "data.size")) == {100, 150, 200}
    assert set(values(article, "early-stopping", "loop.epochs")) == {40}
    assert set(values(article, "reduction", "schedule.name")) == {"plateau", "constant"}
    assert len(set(values(article, "batch-size", "loop.batch_size"))) >= 3


def test_each_optimizer_has_three_rates_and_24_epochs(article: StudyPlan) -> None:
    names = values(article, "optimizers", "optimizer.name")
    rates = values(article, "optimizers", "optimizer.learning_rate")
    for name in ("sgd", "momentum", "nesterov", "adam", "rmsprop"):
        assert len({rate for each, rate in zip(names, rates, strict=True) if each == name}) >= 3
    assert set(values(article, "optimizers", "loop.epochs")) == {24}
    assert section(article, "optimizers").confirm_best_by == "optimizer.name"
    assert section(article, "optimizers").reads_epochs == (6, 12, 18, 24)


@pytest.mark.parametrize(
    ("name", "variants"),
    [
        ("one-layer", ["fifth-block"]),
        ("two-layers", ["two-blocks", "doubled-deep", "block-and-dense"]),
        ("widths", ["growing", "shrinking", "halved", "doubled", "fewer-wider", "small-dense"]),
        ("input-size", ["100", "150"]),
    ],
)
def test_the_reasons_name_the_parameters_that_the_networks_have(
    article: StudyPlan, name: str, variants: list[str]
) -> None:
    found = section(article, name)
    by_name = {variant.name: variant for variant in found.variants}
    for variant in (by_name[each] for each in variants):
        config = article.config_of(found, variant)
        assert f"{count_parameters(build(config.model, config.data.size)):,}" in variant.why, variant.name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "depth"', 'name = "depth"\nnmae = "x"', "there is no key 'section.0.nmae'"),
        ('"model.channels"', '"model.chanels"', "section 'depth', variant 'fifth-block': there is no setting"),
        ("[32, 32, 32, 32, 32]", "[0]", "section 'depth', variant 'fifth-block': model.channels"),
        ('name = "rates"', 'name = "depth"', "the plan contains the name 'depth' twice"),
        ('name = "rates"', 'name = "baseline"', "the plan contains the name 'baseline' twice"),
        ('name = "sgd-wild"', 'name = "sgd"', "section 'rates' contains the name 'sgd' twice"),
        ('"optimizer.learning_rate" = 1e9', '"optimizer.learning_rate" = 0.03', "'sgd-wild' is the same as 'sgd'"),
        ('"model.channels" = [32, 32, 32, 32, 32]', '"data.split_seed" = 1', "is the same for the whole study"),
        ('"model.channels" = [32, 32, 32, 32, 32]', '"loop.seed" = 1', "is the same for the whole study"),
        ("reads_epochs = [1, 2]", "", "reads_epochs and reads_setting go together"),
        ('confirm_best_by = "optimizer.name"', 'confirm_best_by = "optimizer.nam"', "confirm_best_by names no setting"),
        ('why = "Plain."', 'why = ""', "section.1.variant.1.why"),
        ("[baseline]", "[baseline", "is not TOML"),
    ],
)  # fmt: skip
def test_an_unsound_plan_is_refused_with_its_place(plan_file: Path, old: str, new: str, message: str) -> None:
    text = plan_file.read_text()
    assert old in text
    plan_file.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_plan(plan_file)


def test_a_plan_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        read_plan(tmp_path / "absent.toml")


def test_a_variants_change_lies_over_the_sections_and_that_over_the_studys(
    write_plan: Callable[[str], Path],
) -> None:
    plan, _ = read_plan(
        write_plan(
            """
[[section]]
name = "s"
title = "S"
question = "?"
change = { "loop.epochs" = 5, "optimizer.learning_rate" = 0.5 }
[[section.variant]]
name = "v"
change = { "optimizer.learning_rate" = 0.25 }
why = "w"
expect = "e"
"""
        )
    )
    config = plan.config_of(plan.sections[0], plan.sections[0].variants[0])
    assert (config.data.size, config.loop.epochs, config.optimizer.learning_rate) == (32, 5, 0.25)
