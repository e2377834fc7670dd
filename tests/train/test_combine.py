"""Runs that are combined: the folder that comes out, and what it tells of each site."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from synthetic_films import write_film_folder

from pneumoscan.classifier import PneumoniaClassifier
from pneumoscan.errors import UsageError
from pneumoscan.train.combine import combine
from pneumoscan.train.config import load_config
from pneumoscan.train.run import train

SMALL = ("data.size=64", "loop.epochs=1", "loop.batch_size=8", "loop.micro_batch=4", "data.val_fraction=0.3")


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def runs(film_folder: Path, tmp_path: Path) -> list[Path]:
    folders = [tmp_path / "flagship", tmp_path / "transfer"]
    for folder, extra in zip(folders, ((), ("model.weights=random",)), strict=True):
        config = load_config(folder.name, None, [*SMALL, *extra])
        train(config, film_folder, folder)
    return folders


def read_history(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_runs_become_a_model_that_tells_of_each_site(
    runs: list[Path], film_folder: Path, tmp_path: Path
) -> None:
    other = write_film_folder(tmp_path / "other", seed=9)
    out = tmp_path / "both"
    sources = [f"children={film_folder}", f"adults={other}"]
    combine(runs, sources, out, name="both", populations={"adults": "adults of clinic A"})
    rows = list(csv.DictReader((out / "answers.csv").read_text().splitlines()))
    facts = json.loads((out / "bundle" / "model.json").read_text())["sites"]
    assert list(facts) == ["children", "adults"]
    assert facts["adults"]["whom"] == "adults of clinic A"
    for site, figures in facts.items():
        own = [row for row in rows if row["site"] == site]
        assert len(own) == figures["films"]
        area = roc_auc_score([int(row["y_true"]) for row in own], [float(row["probability"]) for row in own])
        assert area == pytest.approx(figures["roc_auc"], abs=1e-9)
        assert np.mean([row["recognised"] == "0" for row in own]) == pytest.approx(figures["lost"])
    # `pneumoscan card RUN --data` needs these.
    assert all((out / name).is_file() for name in ("split.csv", "history.jsonl", "manifest.json"))
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert [row["member"] for row in history] == [run.name for run in runs for _ in read_history(run)]
    assert [{**row, "member": None} for row in history] == [
        {"member": None, "seed": 0, **row} for run in runs for row in read_history(run)
    ]
    assert (out / "risk_coverage.svg").stat().st_size > 1000
    films = sorted((film_folder / "test").glob("*/*"))
    assert PneumoniaClassifier.from_pretrained(out / "bundle").predict_proba(films).shape == (len(films), 2)


def test_runs_that_do_not_fit_together_are_refused(
    runs: list[Path], film_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="the last one of a transfer network"):
        combine(runs[::-1], [f"children={film_folder}"], tmp_path / "out", name="x", populations={})
    assert not (tmp_path / "out").exists()


def test_a_description_of_an_unknown_site_is_refused(
    runs: list[Path], film_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="site 'adults'"):
        combine(
            runs, [f"children={film_folder}"], tmp_path / "out", name="x", populations={"adults": "adults"}
        )
    assert not (tmp_path / "out").exists()
