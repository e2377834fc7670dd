"""A tiny true model adapted to synthetic films that no linear model can tell apart, through the function and the command line."""

import hashlib
import json
import re
import shutil
import sys
from functools import partial

import command_line
import numpy as np
import onnx
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from product_model import (
    POINTS,
    SIZE,
    TEMPERATURE,
    make_onnx,
    write_films,
    write_model,
)
from synthetic_records import point, some_records

from pneumoscan.adapt import adapt
from pneumoscan.adapt.adaptation import with_temperature
from pneumoscan.adapt.fit import choose_cuts, cross_validate, deal
from pneumoscan.adapt.verdict import Figure, Predictions, area, differences, figures_of, resample, verdict_on
from pneumoscan.audit.shortcuts import Probe, Shortcuts
from pneumoscan.bundle.heatmap import evidence_of
from pneumoscan.bundle.load import load_bundle
from pneumoscan.bundle.write import write_records
from pneumoscan.classifier import predict_one
from pneumoscan.errors import (
    BundleError,
    ConfigError,
    LayoutError,
    MissingDependencyError,
    NothingUsableError,
    NotWritableError,
    UsageError,
)
from pneumoscan.evaluate import evaluate
from pneumoscan.evaluate.calibration import fit_probability, log_losses, reliability
from pneumoscan.evaluate.intervals import score_interval
from pneumoscan.evaluate.thresholds import choose_thresholds

pytestmark = pytest.mark.usefixtures("quick_graphs")


def sigmoid(values):
    return np.exp(-np.logaddexp(0, -np.asarray(values, np.float64)))


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model")


@pytest.fixture
def shifted(tmp_path):
    """Films on which the model calls all PNEUMONIA."""
    return write_films(tmp_path / "films", shift=5.0)


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """The model adapted once to the shifted films: its folder, the films, what was found, and the new bundle."""
    root = tmp_path_factory.mktemp("adapted")
    model, films = write_model(root / "model"), write_films(root / "films", shift=5.0)
    return model, films, adapt(model, films, out=root / "new", workers=2), root / "new"


def simulated(films=60, *, shift=0.0, gap=4.0, seed=0):
    rng = np.random.default_rng(seed)
    y_true = np.repeat([0, 1], films // 2)
    patients = np.arange(films) // 2
    return shift + (y_true - 0.5) * gap + rng.normal(size=films), y_true, patients


# Fitting


def test_the_fit_finds_temperature_and_offset_of_many_films():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 4, 40_000)
    y_true = (rng.random(logits.size) < sigmoid((logits - 1.5) / 2.0)).astype(np.int64)
    temperature, offset = fit_probability(logits, y_true)
    assert temperature == pytest.approx(2.0, rel=0.05)
    assert offset == pytest.approx(-1.5, abs=0.1)


def test_the_fit_of_separated_or_reversed_films_is_finite():
    y_true = np.repeat([0, 1], 10)
    apart = y_true * 10.0 + np.arange(20) * 0.01
    temperature, offset = fit_probability(apart, y_true)
    prob = sigmoid((apart + offset) / temperature)
    assert 0.005 < prob[:10].max() < 0.2
    assert 0.8 < prob[10:].min() < 0.995
    for logits in (-apart, np.zeros(20)):
        temperature, offset = fit_probability(logits, y_true)
        assert temperature > 0
        assert np.isfinite([temperature, offset]).all()


def test_the_fit_does_not_depend_on_where_and_how_wide_the_logits_are():
    logits, y_true, _ = simulated()
    temperature, offset = fit_probability(logits, y_true)
    moved_temperature, moved_offset = fit_probability(7 * logits + 3, y_true)
    np.testing.assert_allclose(
        sigmoid((7 * logits + 3 + moved_offset) / moved_temperature),
        sigmoid((logits + offset) / temperature),
        atol=1e-9,
    )
    cuts, moved = choose_cuts(logits, y_true), choose_cuts(7 * logits + 3, y_true)
    for name, cut in cuts.items():
        assert moved[name] == pytest.approx(7 * cut + 3, abs=1e-6)


def test_cuts_of_many_films_are_where_the_distributions_want_them():
    rng = np.random.default_rng(1)
    y_true = np.repeat([0, 1], 4000)
    logits = np.where(y_true == 1, rng.normal(1, 1, 8000), rng.normal(-1, 1, 8000))
    cuts = choose_cuts(logits, y_true)
    assert cuts["balanced"] == pytest.approx(0.0, abs=0.2)
    # 2.05 deviations below the mean, and a little more for the smoothing.
    assert cuts["sensitivity_98"] == pytest.approx(1 - 2.054, abs=0.3)
    assert (logits[y_true == 1] >= cuts["sensitivity_98"]).mean() >= 0.98


def test_balanced_is_the_rule_of_training():
    logits, y_true, _ = simulated(films=200, shift=0.7, gap=2.5)
    trained = choose_thresholds(y_true, sigmoid(logits))["balanced"].threshold
    assert sigmoid(choose_cuts(logits, y_true)["balanced"]) == pytest.approx(trained, abs=1e-3)


def test_patients_are_dealt_whole_and_classes_evenly():
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(40), rng.integers(1, 5, 40))
    y_true = (owner % 3 == 0).astype(np.int64)
    dealt = deal(y_true, owner, 5, np.random.default_rng(1))
    assert all(np.unique(dealt[owner == patient]).size == 1 for patient in range(40))
    for label in (0, 1):
        counts = np.bincount(dealt[y_true == label], minlength=5)
        assert counts.max() - counts.min() <= 3
        assert counts.min() > 0


def test_cross_validation_does_not_reward_what_it_learnt_by_heart():
    # The cut that was best on the films themselves gets noise right more often than not; on others it gets half.
    found = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        y_true, logits = np.repeat([0, 1], 30), rng.normal(size=60)
        calls = cross_validate(logits, y_true, np.arange(60) // 2, folds=5, repeats=2).calls["balanced"]
        found.append((calls[y_true == 1].mean() + 1 - calls[y_true == 0].mean()) / 2)
    assert np.mean(found) < 0.54


# Figures


def test_figures_are_those_of_scikit_learn():
    from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, recall_score, roc_auc_score

    logits, y_true, patients = simulated(gap=1.5)
    prob = sigmoid(logits)
    called = prob >= 0.4
    weights = resample(y_true, patients)
    found = figures_of(y_true, patients, Predictions(called.astype(float), prob[None]), weights)
    assert found["accuracy"].value == pytest.approx(accuracy_score(y_true, called))
    assert found["sensitivity"].value == pytest.approx(recall_score(y_true, called))
    assert found["specificity"].value == pytest.approx(recall_score(1 - y_true, ~called))
    assert found["brier_score"].value == pytest.approx(brier_score_loss(y_true, prob))
    assert found["log_loss"].value == pytest.approx(log_loss(y_true, prob))
    assert found["expected_calibration_error"].value == pytest.approx(
        reliability(y_true, prob).expected_calibration_error
    )
    assert area(y_true, patients, logits, weights).value == pytest.approx(roc_auc_score(y_true, logits))
    assert all(figure.low <= figure.value <= figure.high for figure in found.values())


def test_intervals_have_a_width_where_no_film_is_called_wrongly():
    logits, y_true, patients = simulated(gap=30)
    weights = resample(y_true, patients)
    right = Predictions((logits > 0).astype(float), sigmoid(logits)[None])
    found = figures_of(y_true, patients, right, weights)
    # 15 patients of each class: Wilson's lower bound of 15 in 15 is 0.796.
    assert found["sensitivity"].ci95 == (pytest.approx(0.796, abs=0.001), 1.0)
    assert found["balanced_accuracy"].low == pytest.approx(1 - 0.204 / np.sqrt(2), abs=0.001)
    assert 0.7 < area(y_true, patients, logits, weights).low < 0.95
    assert differences(y_true, right, right, weights)["accuracy"] == Figure(0.0, (0.0, 0.0))


def test_the_score_interval_of_an_area():
    # Hanley and McNeil's error at 0.85 with 50 and 50 films is 0.0388: the score interval is near ± 1.96 of it.
    low, high = score_interval(0.85, 50, 50)
    assert low == pytest.approx(0.757, abs=0.01)
    assert high == pytest.approx(0.911, abs=0.01)
    assert score_interval(1.0, 20, 20)[1] == 1.0
    assert score_interval(1.0, 20, 20)[0] < score_interval(1.0, 100, 100)[0] < 1.0
    assert score_interval(0.5, 20, 20)[0] == pytest.approx(1 - score_interval(0.5, 20, 20)[1], abs=1e-6)


def test_log_losses_of_sure_answers_are_finite():
    np.testing.assert_allclose(
        log_losses(np.array([1, 0, 1]), np.array([1.0, 1.0, 0.5])), [0, -np.log(1e-12), np.log(2)]
    )


# Verdicts


def some_figures(value, low, **others):
    given = dict.fromkeys(("answered", "balanced_accuracy", "sensitivity", "specificity"), (value, low))
    return {name: Figure(v, (at, v)) for name, (v, at) in (given | others).items()}


def some_shortcuts(*areas):
    probes = [
        Probe(f"p{place}", f"Probe {place}", "something", area, (area,), False)
        for place, area in enumerate(areas)
    ]
    return Shortcuts("all", 100, 100, 5, tuple(probes))


def some_gain(low=-0.05, high=0.05, loss=(-0.1, 0.1)):
    return {
        "balanced_accuracy": Figure((low + high) / 2, (low, high)),
        "log_loss": Figure(sum(loss) / 2, loss),
    }


@pytest.mark.parametrize(
    ("auc", "before", "after", "gain", "point", "advice"),
    [
        ((0.60, 0.50), (0.9, 0.9), (0.9, 0.9), some_gain(), "balanced", "do_not_use"),
        ((0.90, 0.79), (0.9, 0.9), (0.9, 0.9), some_gain(), "balanced", "too_few_films"),
        ((0.95, 0.90), (0.9, 0.8), (0.9, 0.8), some_gain(), "balanced", "use_as_it_is"),
        ((0.95, 0.90), (0.8, 0.72), (0.9, 0.8), some_gain(0.02, 0.2), "balanced", "use_adapted"),
        (
            (0.95, 0.90),
            (0.9, 0.8),
            (0.9, 0.8),
            some_gain(-0.01, 0.02, (-0.5, -0.1)),
            "balanced",
            "use_adapted",
        ),
        ((0.95, 0.90), (0.9, 0.8), (0.8, 0.75), some_gain(-0.2, 0, (-0.5, -0.1)), "balanced", "use_as_it_is"),
        ((0.95, 0.90), (0.5, 0.4), (0.9, 0.8), some_gain(), "balanced", "use_adapted"),
        ((0.95, 0.90), (0.5, 0.4), (0.75, 0.65), some_gain(0.1, 0.3), "balanced", "too_few_films"),
        ((0.95, 0.90), (0.5, 0.4), (0.6, 0.5), some_gain(0.1, 0.3), "balanced", "do_not_use"),
        ((0.95, 0.90), (0.9, 0.85), (0.97, 0.92), some_gain(), "sensitivity_98", "use_adapted"),
        ((0.95, 0.90), (0.9, 0.85), (0.9, 0.85), some_gain(), "balanced", "use_as_it_is"),
        ((0.95, 0.90), (0.9, 0.85), (0.9, 0.85), some_gain(), "sensitivity_98", "too_few_films"),
    ],
)
def test_the_rules_of_the_verdict(auc, before, after, gain, point, advice):
    figure = Figure(auc[0], (auc[1], 1.0))
    verdict = verdict_on(
        figure, some_figures(*before), some_figures(*after), gain, point, some_shortcuts(0.5, auc[0] - 0.06)
    )
    assert verdict.advice == advice
    assert verdict.is_usable == advice.startswith("use")
    assert f"{auc[1]:.3f}" in verdict.reasons[0]


@pytest.mark.parametrize("beside", [-0.04, 0.0, 0.03])
def test_a_shortcut_near_the_area_forbids_every_use_and_is_named(beside):
    figures = some_figures(0.95, 0.9)
    shortcuts = some_shortcuts(0.5, 0.95 + beside)
    verdict = verdict_on(Figure(0.95, (0.9, 1.0)), figures, figures, some_gain(), "balanced", shortcuts)
    assert verdict.advice == "shortcut"
    assert not verdict.is_usable
    assert any("Probe 1" in reason and f"{0.95 + beside:.3f}" in reason for reason in verdict.reasons)


# The graph


@pytest.mark.parametrize("tail", ["divide", "multiply", "constant"])
def test_the_graph_is_refitted_however_it_holds_its_temperature(tail, tmp_path):
    import onnxruntime

    films = np.random.default_rng(0).random((5, 1, SIZE, SIZE)).astype(np.float32)
    graph = make_onnx(tail=tail)
    logit, maps = onnxruntime.InferenceSession(graph).run(["logit", "activation_map"], {"film": films})
    offset = 0.0
    for temperature, more in ((2.0, 1.5), (0.5, -4.0)):
        graph, offset = with_temperature(graph, temperature=temperature, offset=more), offset + more
        names = ["logit", "activation_map", "probability"]
        new = onnxruntime.InferenceSession(graph).run(names, {"film": films})
        np.testing.assert_allclose(new[0], logit + offset, atol=1e-5)
        np.testing.assert_allclose(new[1], maps + offset, atol=1e-5)
        np.testing.assert_allclose(new[1].mean((1, 2)), new[0], atol=1e-5)
        np.testing.assert_allclose(new[2], sigmoid((logit + offset) / temperature), atol=1e-5)
    # Nothing is left of the temperatures before.
    assert sum(node.op_type == "Sigmoid" for node in onnx.load_from_string(graph).graph.node) == 1
    assert not {"t", "cooled"} & {tensor.name for tensor in onnx.load_from_string(graph).graph.initializer}


def test_without_onnx_it_says_what_to_install(model, shifted, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r"pneumoscan\[train\]"):
        adapt(model, shifted, out=tmp_path / "out")


# The whole


def test_a_shift_is_repaired(adapted, tmp_path):
    model, _, found, new = adapted
    assert found.verdict.advice == "use_adapted"
    assert found.as_it_is["specificity"].value < 0.1
    assert found.adapted["balanced_accuracy"].value > 0.9
    assert found.gain["balanced_accuracy"].low > 0.3
    assert found.gain["log_loss"].high < 0
    # On films of other patients, by the way that everybody takes.
    others = write_films(tmp_path / "others", shift=5.0, seed=7, split="test", films=80)
    before = evaluate(model, others, split="test", out=tmp_path / "before")
    after = evaluate(new, others, split="test", out=tmp_path / "after")
    assert before.balanced_accuracy < 0.6
    assert after.balanced_accuracy > 0.9
    assert after.brier_score < 0.1 < before.brier_score
    assert not any("used to train" in caution for caution in after.cautions)


def test_the_new_bundle_is_the_same_network_with_its_record(adapted, tmp_path):
    model, _, found, folder = adapted
    untouched = write_model(tmp_path / "model")
    assert {path.name: path.read_bytes() for path in untouched.iterdir()} == {
        path.name: path.read_bytes() for path in model.iterdir()
    }
    old, new = load_bundle(model), load_bundle(folder)
    films = np.random.default_rng(0).random((6, 1, SIZE, SIZE)).astype(np.float32)
    then, now = old.run(films), new.run(films)
    offset, temperature = found.fitted.offset, found.fitted.temperature
    np.testing.assert_allclose(now.logit, then.logit + offset, atol=1e-4)
    np.testing.assert_allclose(now.probability, sigmoid((then.logit + offset) / temperature), atol=1e-5)
    np.testing.assert_allclose(now.activation_map.mean((1, 2)), now.logit, atol=1e-4)
    spec = new.spec
    assert (spec.name, spec.temperature) == ("brightness-adapted", temperature)
    # The map is divided by the temperature before it is coloured: its colours end at the same place of it as before.
    full = spec.training["map_full_scale"]
    assert full * temperature == pytest.approx(old.spec.training["map_full_scale"] * TEMPERATURE)
    assert evidence_of(new, now.activation_map).full_scale == full
    assert spec.training == old.spec.training | {"map_full_scale": full}
    assert spec.threshold() == found.fitted.threshold("balanced")
    assert spec.thresholds["sensitivity_98"]["threshold"] <= spec.threshold()
    assert "60 films of 30 patients" in spec.thresholds["balanced"]["source"]
    low, high = spec.thresholds["balanced"]["recall_ci95"]
    assert low < spec.thresholds["balanced"]["recall"] <= high
    # A point that no rule is known for calls the same films as before.
    logit = TEMPERATURE * np.log(0.6 / 0.4)
    assert spec.thresholds["of_the_ward"]["threshold"] == pytest.approx(
        sigmoid((logit + offset) / temperature)
    )
    record = json.loads((folder / "model.json").read_text())["adaptation"]
    assert record == json.loads(json.dumps(found.to_json()))
    assert record["base"] == {"name": "brightness", "sha256": old.spec.files["model.onnx"]}
    assert (record["n"], record["n_positive"], record["n_patients"]) == (60, 30, 30)
    card = (folder / "README.md").read_text()
    assert "checked on films where it is used" in card
    assert "The old card." in card


def test_no_file_name_and_no_patient_gets_into_the_bundle(adapted):
    _, films, _, new = adapted
    for path in new.iterdir():
        text = path.read_bytes()
        assert not re.search(rb"person\d|IM-\d|\.png|" + str(films.parent).encode(), text), path.name


def test_films_of_the_adaptation_are_known_afterwards(adapted, tmp_path):
    _, films, _, new = adapted
    hashes = {hashlib.sha256(path.read_bytes()).hexdigest() for path in films.rglob("*.png")}
    assert load_bundle(new).training_films() == hashes | {"ab" * 32}
    cautions = evaluate(new, films, split="train", out=tmp_path / "out").cautions
    assert any(
        "60 of these 60 films were used to train or select this model" in caution for caution in cautions
    )


def test_a_model_that_fits_is_kept_as_it_is(model, tmp_path):
    found = adapt(
        model, write_films(tmp_path / "films", films=80), out=tmp_path / "new", operating_point="best_f1"
    )
    assert found.verdict.advice == "use_as_it_is"
    old, new = load_bundle(model).spec, load_bundle(tmp_path / "new").spec
    assert old.files["model.onnx"] == new.files["model.onnx"]
    assert (old.name, old.temperature, old.thresholds) == (new.name, new.temperature, new.thresholds)
    assert new.default_operating_point == "best_f1"
    assert new.adaptation["verdict"]["advice"] == "use_as_it_is"
    assert new.adaptation["fitted_is_in_use"] is False


def made_up_records() -> dict:
    """Records that fit `write_model`: made-up figures of synthetic films."""
    values = some_records()
    cuts = sorted({0.0, *POINTS.values(), 1.0})
    values["operating_curve"]["points"] = [point(cut, 1 - cut, cut) for cut in cuts]
    return values


@pytest.mark.parametrize("point", ["balanced", "best_f1"])
def test_records_are_kept_only_where_they_still_hold(model, tmp_path, point):
    write_records(load_bundle(model), made_up_records())
    films = write_films(tmp_path / "films", films=80)
    found = adapt(model, films, out=tmp_path / "new", operating_point=point)
    assert found.verdict.advice == "use_as_it_is"
    kept = load_bundle(tmp_path / "new").records()
    assert kept == (made_up_records() if point == "balanced" else None)


def test_records_are_not_those_of_a_model_that_was_fitted_anew(model, shifted, tmp_path):
    write_records(load_bundle(model), made_up_records())
    assert adapt(model, shifted, out=tmp_path / "new").verdict.advice == "use_adapted"
    new = load_bundle(tmp_path / "new")
    assert new.records() is None
    assert not (tmp_path / "new/records.json").exists()
    with pytest.raises(BundleError, match="another model"):
        write_records(new, made_up_records())


def test_a_model_that_guesses_is_not_to_be_used(model, tmp_path):
    found = adapt(model, write_films(tmp_path / "films", gap=0.0), out=tmp_path / "new")
    assert found.verdict.advice == "do_not_use"
    assert not (tmp_path / "new").exists()


def test_the_sensitive_point_is_judged_and_used_if_it_is_named(model, tmp_path):
    films = write_films(tmp_path / "films", shift=3.0, films=200, gap=7.0)
    found = adapt(model, films, out=tmp_path / "new", operating_point="sensitivity_98")
    assert found.verdict.advice == "use_adapted"
    assert found.adapted["sensitivity"].low >= 0.9
    assert load_bundle(tmp_path / "new").spec.threshold() == found.fitted.threshold("sensitivity_98")


def test_the_same_films_give_the_same_record_whatever_the_workers(adapted, tmp_path):
    model, films, found, new = adapted
    record = found.to_json()
    assert adapt(model, films, out=tmp_path / "one", workers=1).to_json() == record
    for name in ("model.onnx", "training_films.txt", "README.md"):
        assert (tmp_path / "one" / name).read_bytes() == (new / name).read_bytes()
    other = adapt(model, films, out=tmp_path / "seed", seed=1).to_json()
    assert other["fitted"] == record["fitted"]
    assert other["adapted"] != record["adapted"]


def test_copies_seen_films_and_torn_labels_are_left_out(shifted, tmp_path):
    normal, ill = sorted((shifted / "NORMAL").iterdir()), sorted((shifted / "PNEUMONIA").iterdir())
    model = write_model(
        tmp_path / "model", training_films=[hashlib.sha256(normal[0].read_bytes()).hexdigest()]
    )
    shutil.copy(normal[1], shifted / "NORMAL" / "IM-9999-0001.png")
    shutil.copy(ill[0], shifted / "NORMAL" / "IM-9999-0002.png")
    (shifted / "PNEUMONIA" / "scan.png").write_bytes(b"no film")
    found = adapt(model, shifted, out=tmp_path / "new")
    assert (found.films.n, found.films.n_positive) == (58, 29)
    told = " ".join(found.cautions)
    for part in (
        "1 film could not be read",
        "trained or selected on them",
        "1 film left out: exact",
        "2 films left out: the same",
    ):
        assert part in told


def test_a_table_with_patients_is_read_too(model, shifted, tmp_path):
    rows = [
        f"{path.relative_to(shifted).as_posix()},{path.parent.name},p{index // 3}"
        for index, path in enumerate(sorted(shifted.rglob("*.png")))
    ]
    (shifted / "films.csv").write_text("\n".join(["path,label,patient_id", *rows]))
    assert adapt(model, shifted / "films.csv", out=tmp_path / "new").films.n_patients == 20


def test_films_of_no_known_patient_are_their_own(model, shifted, tmp_path):
    for index, path in enumerate(sorted(shifted.rglob("*.png"))):
        path.rename(path.with_name(f"scan{index}.png"))
    found = adapt(model, shifted, out=tmp_path / "new")
    assert found.films.n_patients == 60
    assert any("60 films without a known patient" in caution for caution in found.cautions)


@pytest.mark.parametrize(("films", "error"), [(18, NothingUsableError), (22, None)])
def test_too_few_films_are_refused_and_few_are_told(films, error, model, tmp_path):
    folder = write_films(tmp_path / "films", films=films)
    if error:
        with pytest.raises(error, match="9 NORMAL of 5 patients, 9 PNEUMONIA of 5 patients"):
            adapt(model, folder, out=tmp_path / "new")
        assert not (tmp_path / "new").exists()
    else:
        cautions = adapt(model, folder, out=tmp_path / "new").cautions
        assert any("Only 22 films" in caution for caution in cautions)


def test_one_class_is_refused(model, shifted, tmp_path):
    shutil.rmtree(shifted / "NORMAL")
    with pytest.raises(NothingUsableError, match="0 NORMAL of 0 patients"):
        adapt(model, shifted, out=tmp_path / "new")


def test_nothing_is_written_over(model, shifted, tmp_path):
    for out in (model, shifted, shifted / "NORMAL" / next((shifted / "NORMAL").iterdir()).name):
        with pytest.raises(NotWritableError, match="already exists"):
            adapt(model, shifted, out=out)
    (tmp_path / "empty").mkdir()
    adapt(model, shifted, out=tmp_path / "empty")
    assert (tmp_path / "empty" / "model.json").is_file()


def test_wrong_words_are_typed_errors(model, shifted, tmp_path):
    out = tmp_path / "new"
    with pytest.raises(ConfigError, match="no operating point 'best'"):
        adapt(model, shifted, out=out, operating_point="best")
    with pytest.raises(UsageError, match="no rule"):
        adapt(model, shifted, out=out, operating_point="of_the_ward")
    with pytest.raises(UsageError, match="folds"):
        adapt(model, shifted, out=out, folds=1)
    with pytest.raises(UsageError, match="workers"):
        adapt(model, shifted, out=out, workers=0)
    with pytest.raises(UsageError, match="no model"):
        adapt(tmp_path / "none", shifted, out=out)
    with pytest.raises(LayoutError):
        adapt(model, tmp_path / "none", out=out)
    assert not out.exists()


def test_guard_and_band_go_along(shifted, tmp_path):
    model = write_model(tmp_path / "model", guarded=True)
    found = adapt(model, shifted, out=tmp_path / "new")
    far = int((np.abs(found.films.logits) >= 8.0).sum())
    assert far > 0
    assert any(f"{far} of 60 films differ from those in training" in caution for caution in found.cautions)
    old, new = load_bundle(model), load_bundle(tmp_path / "new")
    assert new.spec.guard == old.spec.guard
    assert new.spec.calibration is None
    # The guard looks at films, and says of them what it said.
    films = np.random.default_rng(0).random((4, 1, SIZE, SIZE)).astype(np.float32)
    np.testing.assert_allclose(new.run(films).distance, old.run(films).distance, atol=1e-5)
    band, threshold = new.spec.thresholds["balanced"]["unsure_band"], new.spec.threshold()
    width = [np.log(p / (1 - p)) * found.fitted.temperature for p in (band["low"], threshold, band["high"])]
    assert width[2] - width[1] == pytest.approx(0.405 * TEMPERATURE, rel=1e-3)
    assert width[1] - width[0] == pytest.approx(0.405 * TEMPERATURE, rel=1e-3)


def test_films_that_are_not_answered_are_not_found(tmp_path):
    """A model that tells the classes apart but knows hardly any of these films must not be recommended."""
    model = write_model(tmp_path / "model", guarded=True, unusual=0.5)
    films = write_films(tmp_path / "films", films=100, gap=5.0)
    found = adapt(model, films, out=tmp_path / "new")
    answered = [label in {"NORMAL", "PNEUMONIA"} for label in labels_of(model, films)]
    assert sum(answered) < 10
    assert found.as_it_is["answered"].value == pytest.approx(np.mean(answered))
    assert found.area.low > 0.9
    assert found.as_it_is["sensitivity"].value < 0.2
    assert found.adapted["specificity"].value < 0.2
    assert found.verdict.advice == "do_not_use"
    assert any("are answered" in reason for reason in found.verdict.reasons)
    assert not (tmp_path / "new").exists()


def labels_of(model, folder):
    bundle = load_bundle(model)
    return [
        predict_one(bundle, path, bundle.spec.threshold()).label for path in sorted(folder.rglob("*.png"))
    ]


def test_a_shortcut_in_the_films_is_named(model, tmp_path):
    films = write_films(tmp_path / "films", films=80)
    note = PngInfo()
    note.add_text("comment", "sent by the emergency department " * 9)
    for path in films.rglob("PNEUMONIA/*.png"):
        Image.open(path).save(path, pnginfo=note)
    found = adapt(model, films, out=tmp_path / "new")
    assert found.verdict.advice == "shortcut"
    assert any("Size of the file" in reason for reason in found.verdict.reasons)
    assert not (tmp_path / "new").exists()
    record = found.to_json()
    assert record["shortcuts"]["file_size"] == found.shortcuts.probe("file_size").roc_auc > 0.95


# The command line


run_cli = partial(command_line.run, "adapt")


def test_the_command_prints_the_verdict_and_writes_bundle_and_report(model, shifted, tmp_path):
    (shifted / "NORMAL" / "IM-7777-0001.png").write_bytes(b"no film")
    done = run_cli(shifted, "--out", tmp_path / "new", "--model", model)
    assert done.returncode == 3, done.stderr
    assert "Use it with the new temperature and threshold" in done.stdout
    assert f"bundle: {tmp_path / 'new'}" in done.stdout
    assert "caution: 1 film could not be read" in done.stderr
    assert "7777" not in done.stderr + done.stdout
    report = tmp_path / "new-report"
    assert "IM-7777-0001.png,film.format" in (report / "refused.csv").read_text()
    assert "**Use it with the new temperature" in (report / "adaptation.md").read_text()
    record = json.loads((report / "adaptation.json").read_text())
    assert record["verdict"]["advice"] == "use_adapted"
    assert load_bundle(tmp_path / "new").spec.adaptation == record


def test_a_bad_verdict_is_no_error(model, tmp_path):
    films = write_films(tmp_path / "films", gap=0.0)
    done = run_cli(films, "--out", tmp_path / "new", "--model", model, "--report", tmp_path / "told")
    assert done.returncode == 0, done.stderr
    assert "Do not use this model on films like these." in done.stdout
    assert "bundle: none written" in done.stdout
    assert (tmp_path / "told" / "adaptation.md").is_file()


def test_the_command_says_what_is_wrong(model, tmp_path):
    done = run_cli(tmp_path / "none", "--out", tmp_path / "new", "--model", model)
    assert (done.returncode, done.stdout) == (4, "")
    assert "error [data.layout]" in done.stderr
