"""Reporting checklists: items are numbered as published, answered from the records or not done, and nothing else."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_bundle import write_tiny_bundle

from pneumoscan.card import read_records
from pneumoscan.card.checklist import KINDS, TEXTS, checklist, facts_of, read_texts
from pneumoscan.cli import app
from pneumoscan.errors import ConfigError

OF_THE_DEFAULT = Path(__file__).resolve().parents[2] / "results" / "flagship-4" / TEXTS


@pytest.fixture
def bundle(tmp_path):
    """A bundle without any record."""
    return write_tiny_bundle(tmp_path / "bundle")


@pytest.fixture
def records(bundle):
    return read_records(bundle, None)


def items(text):
    """Return place and text of each item of a page by its number."""
    rows = re.findall(r"^\| (\d+[a-g]?) \| [^|]+ \| ([^|]+) \| (.+) \|$", text, re.MULTILINE)
    return {number: (place.strip(), said.strip()) for number, place, said in rows}


def test_the_items_are_those_of_the_publications(records):
    assert list(items(checklist(records, "claim", {}))) == [str(number) for number in range(1, 45)]
    tripod = items(checklist(records, "tripod", {}))
    assert len(tripod) == 52
    assert {re.match(r"\d+", number)[0] for number in tripod} == {str(number) for number in range(1, 28)}


def test_what_no_record_holds_is_not_done(records):
    found = items(checklist(records, "claim", {}))
    for number in ("4", "5", "8", "13", "18", "23", "30", "32", "33", "38", "44"):
        assert found[number] == ("–", "**not done**")
    assert "tiny" in found["1"][1]
    # The texts of the package are no words of the authors.
    assert found["3"] == ("–", "**not done**")


def test_what_the_authors_tell_has_their_file_as_its_place(records, tmp_path):
    (tmp_path / TEXTS).write_text(
        '[claim]\n5 = "Retrospective | of\\nroutine care."\n[tripod]\n6c = "None."\n'
    )
    found = items(checklist(records, "claim", read_texts(tmp_path / TEXTS, "claim")))
    assert found["5"] == (f"`{TEXTS}`", r"Retrospective \| of routine care.")
    assert read_texts(tmp_path / TEXTS, "tripod") == {"6c": "None."}
    assert read_texts(tmp_path / "none.toml", "claim") == {}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('[claim]\n45 = "x"\n', ["claim", "'45'", "1 to 44"]),
        ('[claim]\n5 = ""\n', ["'5'"]),
        ("[claim]\n5 = 3\n", ["'5'"]),
        ('[stard]\n1 = "x"\n', ["'stard'", "claim, tripod"]),
        ("[claim\n", []),
    ],
)
def test_texts_that_fit_no_item_are_an_error(tmp_path, text, names):
    (tmp_path / TEXTS).write_text(text)
    with pytest.raises(ConfigError) as problem:
        read_texts(tmp_path / TEXTS, "claim")
    for name in (TEXTS, *names):
        assert name in str(problem.value)


def test_facts_are_the_numbers_of_the_records(records):
    spec = records.bundle.spec
    training = {
        "n_films": 10, "n_patients": 5, "n_positive": 4, "seed": 3, "val_fraction": 0.2, "epochs": 7, "kept_epoch": 6,
        "config": {"optimizer": {"name": "sgd"}, "model": {"name": "baseline"}},
    }  # fmt: skip
    measured = {
        "n": 80, "n_patients": 40, "n_positive": 60, "roc_auc": 0.91, "roc_auc_ci95": [0.8, 0.95],
        "sensitivity": 0.9, "sensitivity_ci95": [0.8, 0.95], "specificity": 0.7, "specificity_ci95": [0.5, 0.8],
        "confusion": {"tn": 14, "fp": 6, "fn": 5, "tp": 55},
        "stress": {"mean": {"roc_auc": 0.85}, "worst": {"roc_auc": {"perturbation": "crop_70", "value": 0.71}}},
        "groups": {"sex": {"smallest": "F"}},
    }  # fmt: skip
    left_out = [
        {
            "trained_on": ["children"], "films": "adults", "n_positive": 3, "n_negative": 4, "roc_auc": 0.83,
            "roc_auc_ci95": [0.7, 0.9], "sensitivity": 0.9, "specificity": 0.3,
        }
    ]  # fmt: skip
    manifest = {
        "films": {"train": 8, "val": 2, "refused": 1},
        "packages": {"torch": "2.13.0"},
        "python": "3.11",
    }
    told = replace(
        records,
        bundle=replace(records.bundle, spec=replace(spec, training=training, left_out=left_out)),
        own=replace(records.own, metrics=measured, manifest=manifest),
    )
    facts = facts_of(told)
    for name, said in {
        "counts": "10 films of 5 patients, 4 PNEUMONIA",
        "partition": "20% of the patients",
        "selection": "epoch 6 of 7",
        "internal": "80 held-out films of 40 patients",
        "accuracy": "specificity 0.700 (0.500 to 0.800)",
        "failures": "5 films missed and 6 false alarms",
        "stress": "0.850 in the mean of the altered views, lowest 0.710",
        "external": "adults (0.830, 0.700 to 0.900)",
        "groups": "sex, smallest F",
        "software": "torch 2.13.0",
        "flow": "1 left out",
        "training": "optimizer (name sgd)",
    }.items():
        assert said in facts[name][1]
    json.dumps(facts)


def test_the_command_writes_and_checks_the_page(bundle, tmp_path):
    words = ["card", str(bundle), "--checklist", "claim", "--out", str(tmp_path / "CLAIM.md")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert done.output == f"checklist: {tmp_path / 'CLAIM.md'}\n"
    assert CliRunner().invoke(app, [*words, "--check"]).exit_code == 0
    (tmp_path / "CLAIM.md").write_text("other")
    assert CliRunner().invoke(app, [*words, "--check"]).exit_code == 1


@pytest.mark.skipif(not OF_THE_DEFAULT.is_file(), reason="the results are not part of this distribution")
def test_the_texts_of_the_default_model_fit_the_items():
    for kind in KINDS:
        assert read_texts(OF_THE_DEFAULT, kind)
