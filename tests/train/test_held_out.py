"""An exported bundle says how it was judged: figures that plain counting gives too, and a stress table that is its own."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from pneumoscan.bundle.load import BundleSpec, load_bundle, self_check_of
from pneumoscan.bundle.records import check_records
from pneumoscan.bundle.spec import log_odds, probability_of
from pneumoscan.cli import app
from pneumoscan.errors import BundleError, DataDamagedError, UsageError
from pneumoscan.evaluate import evaluate
from pneumoscan.evaluate.calibration import fit_temperature
from pneumoscan.evaluate.held_out import MOST_CURVE_POINTS, HeldOut, operating_points, records_of, with_stress
from pneumoscan.evaluate.thresholds import choose_thresholds
from pneumoscan.train.export import record_run
from pneumoscan.train.run import train

TEMPERATURE = 0.8


def drawn(films: int = 500, *, views: int = 3, patients: bool = True) -> HeldOut:
    rng = np.random.default_rng(0)
    labels = (np.arange(films) % 3 > 0).astype(np.int64)
    logits = rng.normal((labels * 2 - 1) * 1.5, 1.2, (views, films))
    return HeldOut(labels, logits, "drawn views", np.arange(films) // 2 if patients else None)


def described(held: HeldOut, **changes: Any) -> BundleSpec:
    """A description whose operating points were chosen on these films."""
    from pneumoscan.imaging import Preprocessing

    values: dict[str, Any] = {
        "name": "drawn",
        "preprocessing": Preprocessing(size=48),
        "temperature": TEMPERATURE,
        "thresholds": operating_points(held, TEMPERATURE),
        "default_operating_point": "balanced",
        "training": {"synthetic": True},
        "commit": "",
        "licence": {"code": "Apache-2.0"},
        "created": "2026-01-01T00:00:00Z",
        "pneumoscan_version": "0.1.0",
        "parameters": 1,
        "self_check": self_check_of([0.0, 1.0], TEMPERATURE),
    }
    return BundleSpec(**{**values, **changes})


@pytest.fixture(scope="module")
def held() -> HeldOut:
    return drawn()


@pytest.fixture(scope="module")
def spec(held) -> BundleSpec:
    return described(held)


@pytest.fixture(scope="module")
def records(held, spec) -> dict[str, Any]:
    return records_of(spec, held)


def test_they_are_legal_and_agree_with_the_operating_points(records, spec):
    check_records(records, spec)
    assert records["stress"] is None
    by_threshold = {point["threshold"]: point for point in records["operating_curve"]["points"]}
    for point in spec.thresholds.values():
        found = by_threshold[point["threshold"]]
        for name in ("recall", "specificity", "recall_ci95", "specificity_ci95"):
            assert found[name] == pytest.approx(point[name], abs=1e-6)
        assert found["unsure_films"] == pytest.approx(point["unsure_band"]["films"], abs=1e-6)


def test_the_unsure_films_are_those_of_the_band_moved_along(records, held, spec):
    curve = records["operating_curve"]
    assert (curve["source"], curve["n"], curve["n_positive"]) == ("drawn views", 1500, 999)
    half = spec.thresholds["balanced"]["unsure_band"]["half_width"]
    named = {point["threshold"] for point in spec.thresholds.values()}
    odds, ill = held.logits.ravel() / TEMPERATURE, np.tile(held.labels, 3) == 1
    points = [point for point in curve["points"] if point["threshold"] not in named | {0.0, 1.0}]
    for point in points:
        near = np.abs(odds - log_odds(point["threshold"])) <= half
        # A film on the very edge may fall on either side.
        assert point["unsure_films"] == pytest.approx(near.mean(), abs=2 / 1500)
        assert point["unsure_pneumonia"] == pytest.approx(near[ill].mean(), abs=2 / 999)
        assert point["unsure_normal"] == pytest.approx(near[~ill].mean(), abs=2 / 501)
    assert max(point["unsure_films"] for point in points) > 0.04
    assert all(curve["points"][end]["unsure_films"] == 0 for end in (0, -1))


def test_the_held_out_figures_are_of_the_films_as_they_are(records, held, spec):
    told, prob = records["held_out"], probability_of(held.logits[0], TEMPERATURE)
    called = prob >= spec.threshold()
    assert (told["n"], told["n_positive"], told["n_patients"]) == (500, 333, 250)
    assert told["accuracy"] == pytest.approx((called == held.labels).mean(), abs=1e-6)
    assert told["sensitivity"] == pytest.approx(called[held.labels == 1].mean(), abs=1e-6)
    assert told["brier_score"] == pytest.approx(((prob - held.labels) ** 2).mean(), abs=1e-6)
    assert told["confusion"]["fp"] == (called & (held.labels == 0)).sum()
    assert told["threshold"] == spec.threshold()
    bins = records["reliability"]["bins"]
    assert sum(part["n"] for part in bins) == 500
    for part in bins:
        low, high = part["ci95"]
        assert part["low"] <= part["mean_probability"] <= part["high"]
        assert low <= part["share_positive"] <= high
        inside = (prob >= part["low"] - 1e-6) & (prob < part["high"] - 1e-6)
        assert inside.sum() == pytest.approx(part["n"], abs=1)


def test_the_thinned_precision_recall_curve_lies_on_the_whole_one(records, held):
    curve, prob = records["precision_recall"], probability_of(held.logits[0], TEMPERATURE)
    assert len(curve["recall"]) == len(curve["precision"]) == len(curve["threshold"]) <= MOST_CURVE_POINTS
    for recall, precision, cut in zip(
        *(curve[key] for key in ("recall", "precision", "threshold")), strict=True
    ):
        called = prob >= cut
        assert precision == pytest.approx(held.labels[called].mean(), abs=1e-6)
        assert recall == pytest.approx(called[held.labels == 1].mean(), abs=1e-6)
    assert curve["recall"][0] == 1.0
    assert curve["threshold"][-1] == prob.max()
    assert max(a - b for a, b in zip(curve["recall"], curve["recall"][1:], strict=False)) < 0.02


def test_cautions_say_what_the_figures_cannot_show(records):
    first, chosen, *_ = records["cautions"]
    assert "synthetic" in first
    assert "temperature and thresholds were chosen on them" in chosen
    few = drawn(60, views=1, patients=False)
    training = {"synthetic": False, "config": {"loop": {"restore_best": True}}}
    told = records_of(described(few, training=training), few)
    assert "epoch, temperature and thresholds" in told["cautions"][0]
    assert any("Only 60 films" in caution for caution in told["cautions"])
    assert any("The patients are unknown" in caution for caution in told["cautions"])
    assert any(caution.startswith("The probabilities predict") for caution in told["cautions"]) == (
        abs(probability_of(few.logits[0], described(few).temperature).sum() - few.labels.sum()) > 0.02 * 60
    )
    assert told["held_out"]["n_patients"] is None
    assert all(point["recall_ci95"] is None for point in told["operating_curve"]["points"])


# The stress table of an evaluation


def evaluation(records: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What metrics.json of an evaluation of the same model says, as far as it is looked at."""
    held_out = records["held_out"]
    row = {
        name: held_out[name] for name in ("roc_auc", "roc_auc_ci95", "accuracy", "sensitivity", "specificity")
    }
    row["n"] = held_out["n"]
    figures = ("roc_auc", "accuracy", "sensitivity", "specificity")
    stress = {
        "threshold": held_out["threshold"],
        "plain": {"perturbation": "plain", **row},
        "table": [{"perturbation": "pad_20", **row, "roc_auc": 0.87654321}],
        "mean": {name: row[name] for name in figures},
        "worst": {name: {"perturbation": "pad_20", "value": row[name]} for name in figures},
    }
    whole = {"model": "drawn", "split": "held-out", "stress": stress}
    for way, value in changes.items():
        *parents, last = way.split("__")
        node = whole
        for parent in parents:
            node = node[parent]
        node[last] = value
    return whole


def test_a_stress_table_of_the_same_model_is_taken(records, spec, tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(evaluation(records)))
    told = with_stress(records, spec, path)
    check_records(told, spec)
    assert told["stress"]["table"][0]["roc_auc"] == 0.876543
    assert told["stress"]["threshold"] == spec.threshold()
    assert records["stress"] is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "another"}, "has model 'another'"),
        ({"split": "test"}, "has split 'test'"),
        ({"stress": None}, "no stress table"),
        ({"stress": {}}, "stress is not a table"),
        ({"stress__threshold": 0.123}, "has threshold 0.123"),
        ({"stress__plain__n": 499}, "has n 499"),
        ({"stress__plain__roc_auc": 0.5}, "has roc_auc 0.5"),
        ({"stress__plain__roc_auc": None}, "has roc_auc None"),
        ({"stress__plain__n": "500"}, "plain: n is '500'"),
    ],
)
def test_a_stress_table_of_anything_else_is_refused(records, spec, tmp_path, changes, message):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(evaluation(records, **changes)))
    with pytest.raises(UsageError, match=message) as caught:
        with_stress(records, spec, path)
    assert "--stress" in caught.value.remedy


@pytest.mark.parametrize("text", [None, "", "{", "[]", "[" * 100_000])
def test_no_metrics_are_refused(records, spec, tmp_path, text):
    path = tmp_path / "metrics.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=r"metrics\.json"):
        with_stress(records, spec, path)


# The whole way


@pytest.fixture
def run(film_folder: Path, tmp_path: Path, small_config, monkeypatch) -> Path:
    monkeypatch.setenv("PNEUMOSCAN_CACHE", str(tmp_path / "cache"))
    train(small_config("loop.epochs=1"), film_folder, tmp_path / "run")
    return tmp_path / "run"


def command(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_brings_an_evaluation_into_the_bundle(run, film_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("pneumoscan.evaluate.report._write_graphs", lambda *_: {})
    monkeypatch.setattr("pneumoscan.evaluate.report.build_page", lambda *_: "")
    assert command("export", run, "--data", film_folder).exit_code == 0
    bundle = load_bundle(run)
    plain = bundle.records()
    assert plain["stress"] is None
    evaluate(run, film_folder, split="held-out", out=tmp_path / "out", stress=True)
    before = {path.name: path.read_bytes() for path in bundle.path.iterdir()}
    words = (
        "export",
        run,
        "--data",
        film_folder,
        "--stress",
        tmp_path / "out/metrics.json",
        "--records-only",
    )
    done = command(*words)
    assert done.exit_code == 0, done.output
    assert str(bundle.path / "records.json") in done.stdout
    now = load_bundle(run).records()
    assert {key: now[key] for key in now if key != "stress"} == {
        key: plain[key] for key in plain if key != "stress"
    }
    assert len(now["stress"]["table"]) == 10
    same = {name for name in before if (bundle.path / name).read_bytes() == before[name]}
    assert same == set(before) - {"records.json", "model.json"}
    path = tmp_path / "out/metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"split": "train"}))
    done = command("export", run, "--data", film_folder, "--stress", path)
    assert isinstance(done.exception, UsageError)
    assert "'train'" in str(done.exception)
    assert load_bundle(run).records() == now


def test_records_of_another_network_are_refused(run, film_folder, tmp_path, small_config):
    with pytest.raises(UsageError, match="no model"):
        record_run(run, film_folder)
    assert command("export", run, "--data", film_folder).exit_code == 0
    before = (run / "bundle/records.json").read_bytes()
    train(small_config("loop.epochs=1", "loop.seed=9"), film_folder, tmp_path / "other")
    with pytest.raises(BundleError, match="another run"):
        record_run(tmp_path / "other", film_folder, run / "bundle")
    train(small_config("loop.epochs=1", "data.size=64"), film_folder, tmp_path / "larger")
    with pytest.raises(BundleError, match="another preprocessing"):
        record_run(tmp_path / "larger", film_folder, run / "bundle")
    (film_folder / "train/NORMAL/IM-0100-0001.jpeg").unlink()
    with pytest.raises(DataDamagedError):
        record_run(run, film_folder)
    assert (run / "bundle/records.json").read_bytes() == before


def test_an_old_temperature_contradicts_its_thresholds(held, spec, records):
    assert replace(spec, temperature=2.0).thresholds == spec.thresholds
    with pytest.raises(BundleError, match="contradicts"):
        check_records(records_of(replace(spec, temperature=2.0), held), replace(spec, temperature=2.0))


def test_a_model_that_expects_too_few_is_said_to():
    held = drawn(60, views=1)
    low = replace(held, logits=held.logits - 3)
    training = {"synthetic": False, "config": {"loss": {"class_weights": "balanced"}}}
    said = records_of(described(low, training=training), low)["cautions"]
    expected = probability_of(low.logits[0], described(low).temperature).sum()
    assert any(
        f"{expected:.0f} films with pneumonia among these 60" in text and "the same weight" in text
        for text in said
    )


def two_sites() -> HeldOut:
    """300 films of one hospital and 60 of another, where the network is less sure; a fifth of the second were read as neither."""
    rng = np.random.default_rng(3)
    labels = np.r_[np.arange(300) % 3 > 0, np.arange(60) % 4 == 0].astype(np.int64)
    shift, spread = np.repeat((1.0, -1.0), (300, 60)), np.repeat((2.0, 0.8), (300, 60))
    logits = rng.normal((labels * 2 - 1) * spread + shift, 1.0, (2, 360))
    readings = np.full(360, "", "<U8")
    readings[300:] = np.where(
        labels[300:] == 1, "OPACITY", np.where(np.arange(60) % 5 == 1, "ABNORMAL", "NORMAL")
    )
    return HeldOut(
        labels, logits, "drawn views", np.arange(360),
        sites=np.repeat(("a", "b"), (300, 60)),
        projections=np.r_[np.full(300, ""), np.where(np.arange(60) % 7 < 4, "PA", "AP")],
        readings=readings,
    )  # fmt: skip


def test_every_site_counts_alike_and_both_classes_within_it():
    held = two_sites()
    sums = {
        (site, label): held.weights[np.tile((held.sites == site) & (held.labels == label), 2)].sum()
        for site in "ab" for label in (0, 1)
    }  # fmt: skip
    assert list(sums.values()) == pytest.approx([180.0] * 4)
    assert replace(held, sites=np.full(360, "a")).weights is None
    # The same as films of the smaller groups that are there more often: every group becomes 3,600.
    often = np.repeat(
        np.arange(720),
        np.tile(
            np.where(
                held.sites == "a", np.where(held.labels == 1, 9, 18), np.where(held.labels == 1, 120, 40)
            ),
            2,
        ),
    )
    logits, y_true = held.logits.ravel(), held.y_true
    assert fit_temperature(logits, y_true, held.weights) == pytest.approx(
        fit_temperature(logits[often], y_true[often])
    )
    points = operating_points(held, TEMPERATURE)
    copied = choose_thresholds(y_true[often], probability_of(logits[often], TEMPERATURE))
    assert points["best_f1"]["threshold"] == copied["best_f1"].threshold
    assert points["sensitivity_98"]["threshold"] == copied["sensitivity_98"].threshold
    # The penalty of the regression counts films.
    assert points["balanced"]["threshold"] == pytest.approx(copied["balanced"].threshold, abs=0.02)
    alone = operating_points(replace(held, sites=None), TEMPERATURE)
    assert alone["balanced"]["threshold"] != pytest.approx(points["balanced"]["threshold"], abs=0.02)


def test_records_tell_the_figures_of_each_site_and_view():
    held = two_sites()
    spec = described(held)
    records = records_of(spec, held)
    check_records(records, spec)
    rows = {(row["site"], row["against"], row["view"]): row for row in records["sites"]}
    assert list(rows) == [
        ("a", "all", ""), *(("b", against, view) for against in ("all", "normal") for view in ("", "PA", "AP")),
    ]  # fmt: skip
    called = probability_of(held.logits[0], TEMPERATURE) >= spec.threshold()
    chosen = (held.sites == "b") & (held.readings != "ABNORMAL") & (held.projections == "PA")
    told = rows["b", "normal", "PA"]
    assert (told["n"], told["n_positive"]) == (chosen.sum(), held.labels[chosen].sum())
    assert told["sensitivity"] == pytest.approx(called[chosen & (held.labels == 1)].mean(), abs=1e-6)
    assert told["specificity"] == pytest.approx((~called[chosen & (held.labels == 0)]).mean(), abs=1e-6)
    assert "sites" not in records_of(described(drawn()), drawn())
    records["sites"][0]["view"] = "lateral"
    with pytest.raises(BundleError, match="view"):
        check_records(records, spec)
