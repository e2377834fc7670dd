"""The model card: what it says comes from the records, what is missing is told, what is of another model is refused."""

import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from tiny_bundle import write_tiny_bundle

from pneumoscan.bundle import contents as pretrained
from pneumoscan.bundle.load import load_bundle
from pneumoscan.card import Records, card, difference, measuring, read_records
from pneumoscan.card import model_card as page_of_card
from pneumoscan.classifier import model_name
from pneumoscan.cli import app
from pneumoscan.errors import ConfigError, UsageError
from pneumoscan.evaluate.metrics import evaluate_predictions
from pneumoscan.evaluate.report import PUBLISHED
from pneumoscan.evaluate.stress import StressTable
from pneumoscan.imaging.perturbation import PERTURBATIONS

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "results" / "flagship-4"
needs_records = pytest.mark.skipif(
    not SHIPPED.is_dir(), reason="the results are not part of this distribution"
)


@pytest.fixture
def bundle(tmp_path) -> Path:
    """A bundle without the optional facts: no out-of-distribution detector, no calibration, no config."""
    return write_tiny_bundle(tmp_path / "bundle")


def metrics(*, seed: int = 0, lost: tuple[str, ...] = (), split: str = "held-out") -> dict[str, Any]:
    """What `evaluate --stress` writes of 80 made-up films; in the views `lost` every film is called PNEUMONIA."""
    rng = np.random.default_rng(seed)
    y_true = np.arange(80) % 4 > 0
    y_prob = np.clip(0.25 + 0.5 * y_true + rng.normal(0, 0.15, 80), 0.01, 0.99)
    patients = [f"p{number // 2}" for number in range(80)]
    views = {
        view.name: np.clip(y_prob + 0.5, 0, 1) if view.name in lost else y_prob for view in PERTURBATIONS
    }
    common = {"threshold": 0.5, "patient_ids": patients, "n_bootstrap": 50}
    plain = evaluate_predictions(y_true, y_prob, split=split, threshold_source="fixed", **common)
    table = StressTable.from_predictions(y_true, y_prob, views, **common)
    return {"model": "tiny", **replace(plain, stress=table, cautions=("Only 80 films.",)).to_json()}


def write_seed(folder: Path, seed: int, **changes: Any) -> Path:
    path = folder / f"seed-{seed}"
    path.mkdir(parents=True)
    manifest = {
        "seed": seed,
        "data_sha256": "0" * 64,
        "threads": 2,
        "python": "3.11.7",
        "machine": {"processor": "AMD EPYC", "cores": 2},
        "films": {"train": 1234, "val": 80, "refused": 3},
        "packages": {"torch": "2.13.0"},
    }
    (path / "manifest.json").write_text(json.dumps(manifest))
    (path / "history.jsonl").write_text("".join(json.dumps({"seconds": 30.0}) + "\n" for _ in range(7)))
    (path / "metrics.json").write_text(json.dumps(metrics(seed=seed, **changes)))
    return path


@pytest.fixture
def records(tmp_path) -> Path:
    """A folder with the required records alone."""
    write_seed(tmp_path / "records", 0)
    return tmp_path / "records"


@pytest.fixture
def optional(records, bundle) -> Callable[[], None]:
    """Return the function that writes the optional records."""

    def write() -> None:
        model = model_name(load_bundle(bundle))
        rates = {"unusual": 0.875, "not_a_chest_film": 0.625}
        caught = {"unusual": 0.99, "not_a_chest_film": 0.97}
        good = {"unusual": 0.011, "not_a_chest_film": 0.004}
        heatmaps = {
            "films": 783,
            "mean_of_map_minus_logit": 3e-6,
            "deletion": {
                "films": 560,
                "square": 0.25,
                "fall_of_logit_hottest": 2.345,
                "fall_of_logit_random": 0.321,
                "share_of_films_hottest_falls_more": 0.953,
            },
            "random_weights": {
                "films": 64,
                "mean_correlation_of_maps": 0.017,
                "mean_absolute_correlation_of_maps": 0.213,
            },
        }
        guard = {
            "n_films": 783,
            "n_pictures": 100,
            "films_are": "held out by the run",
            "films": {
                "as_it_is": good,
                "pad_20": {"unusual": 0.123, "not_a_chest_film": 0.03},
                "blurred": good,
            },
            "turned": {"rotated_90": caught},
            "drawn": {"pink_noise": rates, "text_page": caught},
            "milliseconds": {"without_guard": 3.0, "with_guard": 3.25},
        }
        for name, value in (("heatmaps", heatmaps), ("guard", guard)):
            (records / f"{name}.json").write_text(json.dumps({"model": model, **value}))
        latency = {"medians": {"one film, one core, ms": 4.567}, "machine": {"processor": "AMD EPYC"}}
        (records / "latency.json").write_text(json.dumps(latency))
        write_seed(records, 1)

    return write


@pytest.fixture
def page(bundle, records) -> Callable[[], str]:
    """Return the function that gives the card of the records as they are, with what is written about the shipped model."""
    return lambda: card(read(bundle, records))


def read(bundle: Path, records: Path) -> Records:
    return read_records(bundle, records, where="results/flagship-4", about=SHIPPED / "about.toml")


# What it says


def test_the_sections_stand_in_their_order(page):
    text = page()
    assert text.startswith("---\nlicense: other\nlibrary_name: pneumoscan\n")
    headings = re.findall(r"^##+ (.+)$", text, re.MULTILINE)
    assert headings == [
        "Intended use",
        "For whom it is shown to work",
        "A claim that is withdrawn",
        "Blind evaluation",
        "Out of scope",
        "How to use it",
        "Training films",
        "Biases of the films",
        "The network",
        "Training",
        "Figures on held-out patients",
        "Operating points",
        "Spread over seeds",
        "Calibration of the probabilities",
        "Stress test: the same films altered",
        "Abstention",
        "Checks of the map",
        "Ethical considerations",
        "Train it again, or adapt it",
        "Cost",
        "Versions",
    ]
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert "\n\n\n" not in text


def test_what_is_not_recorded_is_said_to_be_not_measured(page, optional):
    gone = (
        "spread over seeds",
        "turned films",
        "checks of the map",
        "time to read a film",
    )
    before = page()
    assert all(re.search(rf"{what}.*: not measured \(there is no ", before) for what in gone)
    optional()
    after = page()
    assert re.findall(r"^.*: not measured.*$", after, re.MULTILINE) == [
        "Calibration before and after the temperature: not measured (there is no `calibration` in model.json).",
    ]


def test_the_figures_are_those_of_the_record(page, records):
    told = json.loads((records / "seed-0" / "metrics.json").read_text())
    text = page()
    for name, shown in (("roc_auc", "area under ROC"), ("accuracy", "accuracy"), ("precision", "precision")):
        low, high = told[f"{name}_ci95"]
        assert f"| {shown} | {told[name]:.3f} ({low:.3f} to {high:.3f}) |" in text
    assert f"| Brier score | {told['brier_score']:.3f} |" in text
    assert "80 films of 40 patients" in text
    missed, false_alarms = told["confusion"]["fn"], told["confusion"]["fp"]
    assert f"{missed} films with pneumonia were missed, and {false_alarms} normal films" in text
    assert "- Only 80 films." in text
    assert "1,234 are training films" in text
    assert "7 epochs, 3.5 minutes of training steps on 2 threads (AMD EPYC, 2 cores)" in text
    assert "took 0.1 core-hours" in text  # 3.5 minutes on 2 threads
    assert "The official test folder of the set was not used for any choice" in text


def test_the_optional_figures_are_those_of_their_records(page, optional):
    optional()
    text = page()
    assert "the logit falls by 2.35, elsewhere by 0.32. In 95% of the films" in text
    assert "They differ by at most 3e-06" in text
    assert "| … with the alteration that gives most alarms, pad 20 (should be 0%) | 12.3% | 3.0% |" in text
    assert (
        "| real films rotated, inverted or shrunk in 1 ways, mean (should be 100%) | 99.0% | 97.0% |" in text
    )
    assert "| synthetic pictures of 2 other kinds, mean (should be 100%) | 93.2% | 79.8% |" in text
    assert "| … pink noise | 87.5% | 62.5% |" in text
    assert "… text page" not in text
    assert "The network with the detector takes 3.25 ms per film, without it 3.00 ms." in text
    assert "- one film, one core, ms: 4.57" in text


@pytest.mark.parametrize(
    ("changed", "fails"),
    [
        ({}, False),
        ({"share_of_films_hottest_falls_more": 0.49}, True),
        ({"fall_of_logit_hottest": 0.3}, True),
    ],
)
def test_a_map_that_fails_its_check_is_said_to_fail(page, optional, records, changed, fails):
    optional()
    deletion = json.loads((records / "heatmaps.json").read_text())["deletion"]
    change(records / "heatmaps.json", deletion={**deletion, **changed})
    assert ("The map fails this check." in page()) is fails


def test_the_spread_over_seeds_is_mean_and_standard_deviation(page, optional, records):
    optional()
    values = [json.loads((records / f"seed-{seed}/metrics.json").read_text())["roc_auc"] for seed in (0, 1)]
    assert values[0] != values[1]
    row = next(line for line in page().splitlines() if line.startswith("| mean ± standard deviation"))
    assert row.split(" | ")[1] == f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def test_the_views_where_it_fails_are_named(bundle, tmp_path):
    write_seed(tmp_path / "held", 0)
    write_seed(tmp_path / "lost", 0, lost=("border_masked", "gamma_0_6"))
    assert "No alteration lowers sensitivity or specificity by more than 0.10." in card(
        read(bundle, tmp_path / "held")
    )
    text = card(read(bundle, tmp_path / "lost"))
    told = re.search(r"\*\*The model fails\*\*.*", text)[0]
    assert re.search(
        r"specificity falls from 0\.\d+ to 0\.\d+ \(gamma 0\.6\), 0\.\d+ \(border masked\)\.", told
    )
    assert "sensitivity" not in told
    assert len(re.findall(r"^\| [^|]+ \| the middle \d+% of each side \|", text, re.MULTILINE)) == 2


def test_detector_band_and_calibration_are_shown(bundle, records):
    found = read(bundle, records)
    spec = found.bundle.spec
    band = {
        "low": 0.4321,
        "high": 0.5678,
        "half_width": 0.3,
        "films": 0.031,
        "errors": 0.5,
        "source": "made up",
    }
    rates = {"log_loss": 0.2, "expected_calibration_error": 0.051, "brier_score": 0.04}
    spec = replace(
        spec,
        outputs=(*spec.outputs, "distance"),
        guard={
            "unusual": 0.5,
            "not_a_chest_film": 0.75,
            "source": "80 films",
            "false_alarms": {"unusual": 0.0123, "not_a_chest_film": 0.0045},
        },
        thresholds={
            "balanced": {**spec.thresholds["balanced"], "unsure_band": band, "recall_ci95": [0.8, 0.95]}
        },
        calibration={
            "source": "films",
            "n": 80,
            "before": {"temperature": 1.0, **rates},
            "after": {"temperature": 1.5, **rates, "log_loss": 0.1},
        },
    )
    text = card(replace(found, bundle=replace(found.bundle, spec=spec)))
    assert (
        "a probability from 0.432 to 0.568. This band contains 3.1% of the films and 50% of the errors"
        in text
    )
    assert "a `distance` of 0.500 or more" in text
    assert "1.2% at least UNSURE" in text
    assert "| after (temperature 1.500) | 0.100 | 0.051 | 0.040 |" in text
    assert "| `balanced` (default) | fixed | 0.500 | 0.900 (0.800 to 0.950) | – |" in text


def test_settings_that_are_off_are_not_told():
    shown = page_of_card._shown
    values = {"crop": 0.4, "crop_aspect": 1.33, "erase": 0.0, "erase_area": 0.1, "flip": None}
    assert shown(values, None) == {"crop": 0.4, "crop_aspect": 1.33}
    assert shown(values, ("crop", "absent")) == {"crop": 0.4}


@needs_records
def test_the_shortcuts_of_the_shipped_models_films_are_those_of_the_log():
    found = tomllib.loads((SHIPPED / "about.toml").read_text(encoding="utf-8"))["shortcuts"]
    text = " ".join((ROOT / found["source"]).read_text(encoding="utf-8").split())
    border, thumbnail, file, brightness = (f"{area:.3f}" for _, area in found["rows"])
    assert f"{found['folds']}-fold" in text
    for words in (
        f"border {border}",
        f"20×20 thumbnail {thumbnail}",
        f"alone {file}",
        f"brightness {brightness}",
    ):
        assert words in text


def test_the_example_runs(page, bundle, tmp_path, monkeypatch, draw_film, capsys):
    monkeypatch.setattr(pretrained, "SHIPPED", bundle)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(draw_film()).save("film.jpeg")
    exec(re.search(r"```python\n(.*?)```", page(), re.DOTALL)[1], {})
    assert re.fullmatch(r"\[\[[\d.e-]+ +[\d.e-]+\]\]\n", capsys.readouterr().out)


# What it refuses


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("seed-0/metrics.json", {"split": "test"}, "is of the split 'test'"),
        ("seed-0/metrics.json", {"model": "other"}, "model 'other', the bundle 'tiny'"),
        ("seed-0/metrics.json", {"threshold": 0.4}, "threshold 0.4"),
        ("seed-0/manifest.json", {"data_sha256": "1" * 64}, "data_sha256"),
        ("seed-0/manifest.json", {"seed": 5}, "holds a run of seed 5"),
        ("seed-1/metrics.json", {"split": "test"}, "is of the split 'test'"),
        ("heatmaps.json", {"model": "tiny@000000000000"}, "is of tiny@000000000000"),
        ("guard.json", {"model": None}, "is of None"),
    ],
)
def test_a_record_of_something_else_is_refused(bundle, records, optional, name, values, message):
    optional()
    read(bundle, records)
    change(records / name, **values)
    with pytest.raises(UsageError, match=re.escape(message)):
        read(bundle, records)


@pytest.mark.parametrize("name", ["metrics.json", "history.jsonl", "manifest.json"])
def test_the_record_of_the_shipped_seed_is_required(bundle, records, optional, name):
    optional()
    (records / "seed-1" / name).unlink()  # of another seed it may be missing
    card(read(bundle, records))
    (records / "seed-0" / name).unlink()
    with pytest.raises(UsageError, match=rf"seed-0/{name} is missing"):
        read(bundle, records)


def test_figures_without_the_views_are_refused(bundle, records):
    told = json.loads((records / "seed-0/metrics.json").read_text())
    del told["stress"]
    (records / "seed-0/metrics.json").write_text(json.dumps(told))
    with pytest.raises(UsageError, match="without stress"):
        read(bundle, records)


# Failures on synthetic films


# Texts of the authors


def test_without_records_everything_unknown_is_said_to_be(bundle):
    text = card(read_records(bundle, None))
    assert "The films have not been described" in text
    assert "The figures on held-out patients: not measured (there is no record of this model)." in text
    assert "Blind evaluation" not in text
    for word in ("Kermany", "Guangzhou", "children", "flagship"):
        assert word not in text


def test_without_a_run_the_figures_are_those_of_the_bundle():
    """A bundle in the package has `records.json`: its figures are shown with that source, and nothing of the run is made up."""
    found = read_records(pretrained.SHIPPED, None)
    text = card(found)
    held_out = found.bundle.records()["held_out"]
    low, high = held_out["roc_auc_ci95"]
    assert f"| area under ROC | {held_out['roc_auc']:.3f} ({low:.3f} to {high:.3f}) |" in text
    assert f"{held_out['n']} films of {held_out['n_patients']} patients" in text
    assert "*Source: `records.json`.*" in text
    told = found.bundle.records()["stress"]
    assert ("| **mean** | of the 10 alterations |" if told else "The altered films: not measured") in text
    assert "seed-0" not in text.replace("`seed-*`", "")
    assert "None" not in text
    assert "The cost of the training: not measured" in text


def test_published_results_stand_beside_the_blind_ones(page):
    section = page().partition("## Blind evaluation")[2].partition("\n## ")[0]
    for one in PUBLISHED:
        row = next(line for line in section.splitlines() if one.model in line)
        assert f"| {100 * one.accuracy:.1f}% |" in row
        assert all(f"| {value:.3f} |" in row for value in (one.f1, one.roc_auc) if value is not None)


def test_words_of_ones_own_take_the_place_of_those_of_the_package(bundle, tmp_path):
    (tmp_path / "about.toml").write_text('films = "Adults of clinic A, 2019."\n[again]\ndata = "clinic"\n')
    text = card(read_records(bundle, None, about=tmp_path / "about.toml"))
    assert "Adults of clinic A, 2019." in text
    assert "have not been described" not in text
    assert "--data clinic" in text
    assert "**Privacy**" in text


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ('film = "x"', "no key 'film'"),
        ("films = 3", "films is 3"),
        ("films =", "not TOML"),
    ],
)
def test_wrong_words_are_refused(bundle, tmp_path, told, message):
    (tmp_path / "about.toml").write_text(told)
    with pytest.raises(ConfigError, match=message):
        read_records(bundle, None, about=tmp_path / "about.toml")
    with pytest.raises(ConfigError, match="cannot read"):
        read_records(bundle, None, about=tmp_path / "nothing.toml")


# The command


def test_the_check_tells_a_card_that_is_out_of_date(bundle, records, tmp_path):
    words = ["card", str(bundle), "--records", str(records), "--out", str(tmp_path / "CARD.md")]

    def run(*more: str) -> Any:
        return CliRunner().invoke(app, [*words, *more], catch_exceptions=True)

    assert run("--check").exit_code == 1
    assert run().exit_code == 0
    assert run("--check").exit_code == 0
    assert "`records/seed-0/metrics.json`" in (tmp_path / "CARD.md").read_text()
    change(records / "seed-0/metrics.json", accuracy=0.123)
    done = run("--check")
    assert done.exit_code == 1
    assert "+| accuracy | 0.123" in done.output
    (records / "seed-0/metrics.json").unlink()
    assert isinstance(run().exception, UsageError)


def test_a_bundle_alone_has_a_card(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["card", str(bundle)]).exit_code == 0
    assert (tmp_path / "MODEL_CARD.md").read_text().count("not measured") >= 6


@needs_records
def test_the_card_of_the_shipped_model_is_up_to_date():
    if not (pretrained.SHIPPED / "model.json").is_file():
        pytest.skip("the model that comes with the package is not there")
    page = ROOT / "MODEL_CARD.md"
    # Without its evaluation in altered views, the card has the figures of the bundle alone.
    measured = SHIPPED if (SHIPPED / "seed-0").is_dir() else None
    where = "results/flagship-4" if measured else ""
    records = read_records(pretrained.SHIPPED, measured, where=where, about=SHIPPED / "about.toml")
    assert difference(card(records), page) == ""
    assert page.read_text(encoding="utf-8").count("\n") <= 300
    assert all(picture.stat().st_size <= 400_000 for picture in SHIPPED.glob("*.png"))
    assert "(MODEL_CARD.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_is_measured_and_its_card_written(film_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring.measure_detector, "__kwdefaults__", {"pictures": 1})
    monkeypatch.setattr(measuring.measure_latency, "__kwdefaults__", {"rounds": 1, "films": 2})
    run = tmp_path / "run"
    settings = ("data.size=48", "loop.epochs=1", "loop.worker_threads=1", "data.val_fraction=0.3")
    given = ["train", "--data", str(film_folder), "--out", str(run)]
    given += [word for setting in settings for word in ("--set", setting)]
    for words in (given, ["card", str(run), "--data", str(film_folder)], ["card", str(run), "--check"]):
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
    text = (run / "MODEL_CARD.md").read_text(encoding="utf-8")
    told = json.loads((run / "card/seed-0/metrics.json").read_text())
    assert f"{told['n']} films of {told['n_patients']} patients who are not in the training films" in text
    assert "`card/guard.json`" in text
    assert "`card/latency.json`" in text
    # The licence that every bundle carries names the public set.
    for word in ("Kermany", "Guangzhou", "flagship"):
        assert word not in text.partition("## Versions")[0]
