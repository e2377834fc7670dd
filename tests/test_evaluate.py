"""A tiny true model evaluated on a folder of synthetic films, through the function and through the command line."""

import csv
import hashlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import command_line
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from synthetic_films import write_film_folder

from pneumoscan.bundle.load import BundleSpec, self_check_inputs, self_check_of
from pneumoscan.bundle.write import write_bundle
from pneumoscan.data.cache import open_cache
from pneumoscan.data.layouts import load_manifest
from pneumoscan.data.manifest import Manifest
from pneumoscan.data.splits import hold_out, write_split_csv
from pneumoscan.errors import (
    BundleError,
    ConfigError,
    DataDamagedError,
    LayoutError,
    NothingUsableError,
    NotWritableError,
    UsageError,
)
from pneumoscan.evaluate import evaluate
from pneumoscan.imaging import Preprocessing, preprocess, read
from pneumoscan.imaging.perturbation import PERTURBATIONS

SIZE, GAIN, SHIFT, TEMPERATURE = 32, 30.0, -14.5, 1.25
pytestmark = pytest.mark.usefixtures("quick_graphs")


def make_onnx() -> bytes:
    """A network whose logit is GAIN · mean + SHIFT."""
    names = ["probability", "logit"]
    constants = {"gain": np.float32(GAIN), "shift": np.float32(SHIFT), "t": np.float32(TEMPERATURE)}
    nodes = [
        helper.make_node("ReduceMean", ["film", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "gain"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["logit"]),
        helper.make_node("Div", ["logit", "t"], ["cooled"]),
        helper.make_node("Sigmoid", ["cooled"], ["probability"]),
    ]
    constants["axes"] = np.array([1, 2, 3])
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("film", TensorProto.FLOAT, ["N", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in names],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def logit_of(films):
    return GAIN * films.mean((1, 2, 3), dtype=np.float64) + SHIFT


def write_model(out: Path, training_films=()) -> Path:
    preprocessing = Preprocessing(size=SIZE)
    point = {
        "threshold": 0.5,
        "source": "highest F1 on 40 held-out training films",
        "n": 40,
        "n_positive": 20,
    }
    spec = BundleSpec(
        name="mean",
        preprocessing=preprocessing,
        temperature=TEMPERATURE,
        thresholds={"best_f1": point, "sensitivity_98": {**point, "threshold": 0.25}},
        default_operating_point="best_f1",
        training={"data_sha256": "0" * 64, "n_films": 40},
        commit="",
        licence={"code": "Apache-2.0"},
        created="2026-01-01T00:00:00Z",
        pneumoscan_version="0.1.0",
        parameters=2,
        self_check=self_check_of(logit_of(self_check_inputs(preprocessing)), TEMPERATURE),
    )
    write_bundle(out, onnx=make_onnx(), spec=spec, readme="# mean\n", training_films=tuple(training_films))
    return out


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model", ["ab" * 32])


def predictions_of(out):
    with (out / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_probabilities_are_those_of_the_films(model, film_folder, tmp_path):
    metrics = evaluate(model, film_folder, split="test", out=tmp_path / "out", workers=2)
    rows = predictions_of(tmp_path / "out")
    films = load_manifest(film_folder).of_split("test").films
    assert [row["path"] for row in rows] == [film.path for film in films]
    assert [int(row["y_true"]) for row in rows] == [film.label for film in films]
    assert [row["patient_id"] for row in rows] == [film.patient_id for film in films]
    for row in rows:
        pixels = preprocess(read(film_folder / row["path"]), Preprocessing(size=SIZE))
        logit = logit_of(pixels[None, None])[0] / TEMPERATURE
        assert float(row["probability"]) == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-4)
    assert metrics.n == len(films)
    assert (metrics.threshold, metrics.split) == (0.5, "test")
    assert metrics.threshold_source == "best_f1: highest F1 on 40 held-out training films"
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["model"] == "mean"


def test_only_the_asked_split_is_read(model, film_folder, tmp_path):
    for path in (film_folder / "test").rglob("*.jpeg"):
        path.write_bytes(b"must not be opened")
    assert evaluate(model, film_folder, split="val", out=tmp_path / "out").n_refused == 0


def test_one_worker_and_four_give_the_same_bytes(model, film_folder, tmp_path):
    for workers in (1, 4):
        evaluate(model, film_folder, split="test", out=tmp_path / str(workers), workers=workers)
    for name in ("predictions.csv", "metrics.json", "report.html"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "4" / name).read_bytes()


def test_a_bad_film_is_set_aside_and_the_rest_judged(model, film_folder, tmp_path):
    films = load_manifest(film_folder).of_split("test").films
    (film_folder / films[0].path).write_bytes(b"no film")
    (film_folder / films[1].path).unlink()
    (film_folder / films[1].path).mkdir()
    seen = []
    manifest_count = len(load_manifest(film_folder).of_split("test"))
    metrics = evaluate(
        model, film_folder, split="test", out=tmp_path / "out", progress=lambda *at: seen.append(at)
    )
    assert metrics.n == len(films) - 2
    assert metrics.n_refused == manifest_count - metrics.n
    assert seen[-1] == (manifest_count, manifest_count)
    assert "film.format" in (tmp_path / "out" / "refused.csv").read_text()
    assert any("refused" in text for text in metrics.cautions)


def test_films_used_in_training_are_counted_by_their_bytes(film_folder, tmp_path):
    films = load_manifest(film_folder).of_split("test").films
    used = [hashlib.sha256((film_folder / film.path).read_bytes()).hexdigest() for film in films[:3]]
    model = write_model(tmp_path / "model", used)
    cautions = evaluate(model, film_folder, split="test", out=tmp_path / "out").cautions
    assert any(
        f"3 of these {len(films)} films were used to train or select this model" in text for text in cautions
    )


def test_the_train_split_and_unknown_training_films_are_told(film_folder, tmp_path):
    model = write_model(tmp_path / "model")
    cautions = evaluate(model, film_folder, split="train", out=tmp_path / "out").cautions
    assert any("models are trained on" in text for text in cautions)
    assert any("it is unknown" in text for text in cautions)


def test_looks_at_the_test_films_are_told_and_counted(model, film_folder, tmp_path):
    out = tmp_path / "out"
    first = evaluate(model, film_folder, split="test", out=out)
    second = evaluate(model, film_folder, split="test", out=out)
    assert "look 1" in first.cautions[0]
    assert "look 2" in second.cautions[0]
    looks = json.loads((out / "looks.json").read_text())
    assert [(look["look"], look["model"], look["films"]) for look in looks] == [
        (1, "mean", first.n),
        (2, "mean", first.n),
    ]
    # Other films are looked at for the first time.
    next((film_folder / "test" / "NORMAL").iterdir()).unlink()
    assert "look 1" in evaluate(model, film_folder, split="test", out=out).cautions[0]
    (out / "looks.json").write_text("[")
    with pytest.raises(DataDamagedError, match=r"looks\.json"):
        evaluate(model, film_folder, split="test", out=out)
    assert not any("look" in text for text in evaluate(model, film_folder, split="train", out=out).cautions)


def test_synthetic_films_are_told(model, film_folder, tmp_path):
    before = evaluate(model, film_folder, split="test", out=tmp_path / "real").cautions
    assert not any("synthetic" in text for text in before)
    (film_folder / "SYNTHETIC.txt").write_text("drawn")
    after = evaluate(model, film_folder, split="test", out=tmp_path / "drawn").cautions
    assert any(text.startswith("These films are synthetic") for text in after)


def test_the_split_has_the_hash_that_the_cache_gives_it(model, film_folder, tmp_path):
    evaluate(model, film_folder, split="test", out=tmp_path / "out")
    cache = open_cache(
        load_manifest(film_folder).of_split("test"), size=32, folder=tmp_path / "cache", workers=1
    )
    assert cache.data_sha256 in (tmp_path / "out" / "report.html").read_text()


def test_thresholds_by_hand_and_by_name(model, film_folder, tmp_path):
    by_hand = evaluate(model, film_folder, split="val", out=tmp_path / "a", threshold=0.33)
    assert (by_hand.threshold, by_hand.threshold_source) == (0.33, "given by hand for this evaluation")
    assert (
        evaluate(
            model, film_folder, split="val", out=tmp_path / "b", operating_point="sensitivity_98"
        ).threshold
        == 0.25
    )
    with pytest.raises(ConfigError, match="best_f1, sensitivity_98"):
        evaluate(model, film_folder, split="val", out=tmp_path / "c", operating_point="best")
    with pytest.raises(UsageError, match="both"):
        evaluate(
            model, film_folder, split="val", out=tmp_path / "c", operating_point="best_f1", threshold=0.5
        )
    with pytest.raises(UsageError, match=r"\[0, 1\]"):
        evaluate(model, film_folder, split="val", out=tmp_path / "c", threshold=1.5)
    assert not (tmp_path / "c").exists()


def test_a_run_folder_is_judged_by_its_bundle_or_told_to_be_exported(film_folder, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "history.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match="pneumoscan export"):
        evaluate(run, film_folder, split="val", out=tmp_path / "out")
    write_model(run / "bundle", ["ab" * 32])
    assert evaluate(run, film_folder, split="val", out=tmp_path / "out").n > 0


def test_what_is_missing_is_a_typed_error(model, film_folder, tmp_path):
    with pytest.raises(UsageError, match="no split"):
        evaluate(model, film_folder, split="dev", out=tmp_path / "out")
    with pytest.raises(UsageError, match="no model"):
        evaluate(tmp_path / "none", film_folder, split="val", out=tmp_path / "out")
    with pytest.raises(BundleError):
        evaluate(film_folder, film_folder, split="val", out=tmp_path / "out")
    with pytest.raises(LayoutError):
        evaluate(model, tmp_path / "none", split="val", out=tmp_path / "out")
    with pytest.raises(UsageError, match="workers"):
        evaluate(model, film_folder, split="val", out=tmp_path / "out", workers=0)
    for path in (film_folder / "val").rglob("*.jpeg"):
        path.write_bytes(b"")
    with pytest.raises(NothingUsableError, match="could be read"):
        evaluate(model, film_folder, split="val", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_stress_reads_each_film_once_and_changes_its_own_pixels(model, film_folder, tmp_path, monkeypatch):
    plain = evaluate(model, film_folder, split="test", out=tmp_path / "plain")
    reads = []
    read_film = Manifest.read
    monkeypatch.setattr(Manifest, "read", lambda self, film: reads.append(film.path) or read_film(self, film))
    monkeypatch.setattr("pneumoscan.evaluate.run.thumbnails", lambda *_: None)
    seen = []
    metrics = evaluate(
        model,
        film_folder,
        split="test",
        out=tmp_path / "out",
        stress=True,
        progress=lambda *at: seen.append(at),
    )
    films = load_manifest(film_folder).of_split("test").films
    assert sorted(reads) == sorted(film.path for film in films)
    assert seen[-1] == (len(films), len(films))
    assert replace(metrics, stress=None) == plain
    labels = np.array([film.label for film in films])
    for view, row in zip(PERTURBATIONS, metrics.stress.rows, strict=True):
        changed = [view.apply(read(film_folder / film.path)) for film in films]
        pixels = np.stack([preprocess(film, Preprocessing(size=SIZE)) for film in changed])
        called = logit_of(pixels[:, None]) >= 0
        assert row.perturbation == view.name
        assert row.specificity == pytest.approx(1 - called[labels == 0].mean())
        assert row.sensitivity == pytest.approx(called[labels == 1].mean())
    assert (tmp_path / "out" / "stress.csv").exists()
    assert not list((tmp_path / "plain").glob("stress*"))


@pytest.fixture
def run(film_folder, tmp_path):
    """A run folder: the hold-out of the train films, and a bundle that lists all of them."""
    train = load_manifest(film_folder).of_split("train")
    write_split_csv(tmp_path / "run" / "split.csv", train, hold_out(train, fraction=0.3))
    hashes = [hashlib.sha256((film_folder / film.path).read_bytes()).hexdigest() for film in train.films]
    write_model(tmp_path / "run" / "bundle", hashes)
    return tmp_path / "run"


@pytest.mark.parametrize("place", [".", "bundle", "bundle/model.json"])
def test_the_held_out_films_of_a_run_are_judged(place, run, film_folder, tmp_path):
    metrics = evaluate(run / place, film_folder, split="held-out", out=tmp_path / "out")
    with (run / "split.csv").open(newline="") as file:
        held = [row["path"] for row in csv.DictReader(file) if row["part"] == "val"]
    assert [row["path"] for row in predictions_of(tmp_path / "out")] == held
    assert (metrics.split, metrics.n) == ("held-out", len(held))
    assert any("held these films out" in text for text in metrics.cautions)
    assert not any("used to train or select this model" in text for text in metrics.cautions)
    assert not any(
        "not among the films that the model was trained or selected on" in text for text in metrics.cautions
    )


def test_held_out_films_that_changed_are_told(run, film_folder, tmp_path):
    for path in (film_folder / "train").rglob("*.jpeg"):
        path.write_bytes(path.read_bytes() + b"\0")
    cautions = evaluate(run, film_folder, split="held-out", out=tmp_path / "out").cautions
    assert any(
        "films are not among the films that the model was trained or selected on" in text for text in cautions
    )


def test_held_out_needs_the_run_and_its_films(model, run, film_folder, tmp_path):
    with pytest.raises(UsageError, match=r"not in a run folder with a split\.csv"):
        evaluate(model, film_folder, split="held-out", out=tmp_path / "out")
    next((film_folder / "train").rglob("*.jpeg")).unlink()
    with pytest.raises(DataDamagedError, match="not among the films"):
        evaluate(run, film_folder, split="held-out", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_arrays_in_an_npz_are_judged(model, tmp_path, draw_film):
    rng = np.random.default_rng(0)
    images = np.stack([draw_film(rng, (28, 28), consolidation=bool(index % 2)) for index in range(8)])
    labels = np.arange(8)[:, None] % 2
    np.savez(
        tmp_path / "films.npz",
        **{f"test_{key}": value for key, value in (("images", images), ("labels", labels))},
    )
    metrics = evaluate(model, tmp_path / "films.npz", split="test", out=tmp_path / "out")
    assert (metrics.n, metrics.n_positive, metrics.n_refused) == (8, 4, 0)


run_cli = partial(command_line.run, "evaluate")


def test_the_command_prints_a_summary_and_tells_refused_films_by_its_exit_code(
    model, film_folder, tmp_path, monkeypatch
):
    monkeypatch.undo()  # The graphs are drawn.
    next((film_folder / "test").rglob("*.jpeg")).write_bytes(b"no film")
    done = run_cli(
        *(model, "--data", film_folder, "--out", tmp_path / "out"),
        *("--operating-point", "sensitivity_98", "--stress"),
    )
    assert (done.returncode, len(done.stdout.splitlines())) == (3, 14)
    assert "stress, mean      area under ROC" in done.stdout
    assert "over 10 views" in done.stdout
    assert str(tmp_path / "out" / "report.html") in done.stdout
    assert "0.25 (sensitivity_98" in done.stdout
    assert "caution: 1 film could not be read" in done.stderr
    assert (tmp_path / "out" / "precision_recall.png").stat().st_size > 10_000


def test_the_command_says_what_is_wrong(model, film_folder, tmp_path):
    done = run_cli(tmp_path / "none", "--data", film_folder, "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert "error [usage]: there is no model" in done.stderr


def test_two_sites_are_judged_apart_and_rows_are_those_of_predict(model, tmp_path):
    places = [write_film_folder(tmp_path / name, seed=seed) for seed, name in enumerate("ab")]
    data = (f"a={places[0]}", f"b={places[1]}")
    metrics = evaluate(model, data, split="test", out=tmp_path / "out")
    values = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert set(values["sites"]) == {"a", "b"}
    assert sum(site["n"] for site in values["sites"].values()) == metrics.n
    assert values["answers"]["answered"]["of"] == metrics.n
    assert (tmp_path / "out" / "sites.csv").is_file()
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "By site" in page
    assert "What the model answers" in page
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["site"] for row in rows} == {"a", "b"}
    assert all(
        row["label"] == ("PNEUMONIA" if float(row["probability"]) >= 0.5 else "NORMAL") for row in rows
    )
    assert any("smaller_than_input" in row["warnings"] for row in rows) == bool(metrics.answers.warned.count)
    # One site again: nothing of the other evaluation is left.
    evaluate(model, places[0], split="test", out=tmp_path / "out")
    assert not (tmp_path / "out" / "sites.csv").exists()
    assert "sites" not in json.loads((tmp_path / "out" / "metrics.json").read_text())


@pytest.mark.parametrize("name", ["a" * 300, "nul\0name", "file/below"])
def test_a_place_that_cannot_be_written_is_told_before_films_are_read(model, film_folder, tmp_path, name):
    (tmp_path / "file").write_text("")
    read = []
    with pytest.raises((NotWritableError, UsageError)):
        evaluate(
            model, film_folder, split="test", out=tmp_path / name, progress=lambda done, _: read.append(done)
        )
    assert read == []
