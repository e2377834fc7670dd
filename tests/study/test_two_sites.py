"""A study of two sites: one is left out, and judged on all its films."""

import csv
from pathlib import Path

import pytest
import tiny_lungs
from synthetic_films import write_film_folder

from pneumoscan.errors import ConfigError
from pneumoscan.study.execute import StudyOrder, run_study
from pneumoscan.study.plan import read_plan
from pneumoscan.study.report import write_report
from pneumoscan.study.trial_records import StudyFolder, read_facts, read_record
from pneumoscan.study.trials import first_trials

SECTION = """
[[section]]
name = "left-out"
title = "One left out"
question = "And there?"

[[section.variant]]
name = "without-b"
change = { "sampling.films" = { a = 8, b = 0 } }
why = "B is another hospital."
expect = "Guessing."

[[section.variant]]
name = "plain"
preset = "baseline-plain"
why = "Another preset."
expect = "The same."
"""


@pytest.fixture
def two_sites(tmp_path: Path) -> tuple[str, str]:
    """A folder, and a table of another with a view for each film."""
    places = [write_film_folder(tmp_path / name, seed=seed) for seed, name in enumerate("ab")]
    films = sorted((places[1] / "train").glob("*/*"))
    lines = [
        f"{film.relative_to(tmp_path)},{film.parent.name},{'AP' if place % 3 else 'PA'},{film.stem}"
        for place, film in enumerate(films)
    ]
    (tmp_path / "b.csv").write_text("path,label,view,patient_id\n" + "\n".join(lines) + "\n")
    return f"a={places[0]}", f"b={tmp_path / 'b.csv'}"


def test_a_site_that_is_left_out_is_judged_on_all_its_films(two_sites, write_plan, tmp_path, notes):
    plan_file, out = write_plan(SECTION), tmp_path / "out"
    run_study(plan_file, StudyOrder(two_sites, out), notes)
    folder, plan = StudyFolder(out), read_plan(plan_file)[0]
    facts = read_facts(folder)
    trials = {each.variant: each.trial for each in first_trials(plan, facts.conditions)}
    assert trials["plain"].config.augmentation.is_off
    record = read_record(folder, trials["without-b"].name)
    assert record.status == "done"
    sites = record.figures["sites"]
    in_train = 18  # Of each site: 12 patients of a class with one or two films each, in the split train.
    assert sites["b"]["left_out"]
    assert not sites["a"]["left_out"]
    assert sites["b"]["n"] == 2 * in_train
    assert sites["a"]["n"] < in_train
    assert sites["a"]["n"] + sites["b"]["n"] < facts.train + facts.held_out
    low, high = sites["b"]["roc_auc_ci95"]
    assert 0 <= low <= sites["b"]["roc_auc"] <= high <= 1
    assert sites["b"]["views"].keys() == {"PA", "AP"}
    for figure in ("n", "n_positive"):
        assert sum(view[figure] for view in sites["b"]["views"].values()) == sites["b"][figure]
    ill = {view: facts["n_positive"] * facts["sensitivity"] for view, facts in sites["b"]["views"].items()}
    assert sum(ill.values()) == pytest.approx(sites["b"]["n_positive"] * sites["b"]["sensitivity"])
    assert not sites["a"]["views"]
    base = read_record(folder, trials["baseline"].name).figures["sites"]
    assert not base["b"]["left_out"]
    assert base["a"]["n"] + base["b"]["n"] == facts.held_out

    page = write_report(out).read_text(encoding="utf-8")
    assert "By site" in page
    assert (out / "figures" / "sites-left-out.svg").is_file()
    with (out / "sites.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    told = {(row["variant"], row["site"]): row["left_out"] for row in rows if not row["view"]}
    assert {row["view"] for row in rows if row["site"] == "b"} == {"", "PA", "AP"}
    assert told["without-b", "b"] == "True"
    assert told["plain", "b"] == "False"


def test_a_network_that_reads_lungs_is_judged_in_every_view(two_sites, write_plan, tmp_path, notes):
    model = tiny_lungs.write_lungs_bundle(tmp_path / "lungs")
    changes = (
        f'"data.lungs" = "{model.as_posix()}", "model.stem" = 4, "model.channels" = [4, 6, 8], "model.blocks" = [1, 1, 1], '
        '"model.pyramid" = 6, "sampling.films" = { a = 8, b = 0 }'
    )
    variants = "".join(
        f"""
[[section.variant]]
name = "{name}"
preset = "lung-reader"
change = {{ "data.surroundings" = {shown}, {changes} }}
why = "Lungs."
expect = "The same."
"""
        for name, shown in (("lungs", "true"), ("aerated", "false"))
    )
    plan_file = write_plan(f'[[section]]\nname = "reads"\ntitle = "Lungs"\nquestion = "?"\n{variants}')
    out = tmp_path / "out"
    run_study(plan_file, StudyOrder(two_sites, out), notes)
    with (write_report(out).parent / "trials.csv").open(newline="") as file:
        rows = {row["variant"]: row for row in csv.DictReader(file)}
    for name in ("lungs", "aerated"):
        assert (rows[name]["status"], rows[name]["reason"]) == ("done", "")
        assert 0 <= float(rows[name]["stress_roc_auc_worst"]) <= float(rows[name]["stress_roc_auc_mean"]) <= 1


def test_a_site_that_is_not_there_fails_its_trial_alone(two_sites, write_plan, tmp_path, notes):
    plan_file = write_plan(
        SECTION.replace("b = 0", "c = 9").replace(
            'preset = "baseline-plain"', 'change = { "sampling.films" = { c = 0 } }'
        )
    )
    run_study(plan_file, StudyOrder(two_sites, tmp_path / "out"), notes)
    reasons = [answer.reason for answer in notes.answers if answer.status == "failed"]
    assert len(reasons) == 2
    assert "c, which has no training films" in reasons[0]
    assert "leaves out c" in reasons[1]
    assert {answer.status for answer in notes.answers} == {"done", "failed"}


def test_a_preset_that_is_not_there_is_told(write_plan):
    with pytest.raises(ConfigError, match="resnet"):
        read_plan(write_plan(SECTION.replace("baseline-plain", "resnet")))
