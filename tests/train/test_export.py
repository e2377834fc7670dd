"""An exported bundle carries its limits of trust, and keeps to them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch

from pneumoscan.bundle.load import load_bundle
from pneumoscan.errors import BundleError
from pneumoscan.networks.exported import onnx_graph
from pneumoscan.networks.registry import build
from pneumoscan.predict.batch import predict_many
from pneumoscan.train import export as module
from pneumoscan.train.export import export


@pytest.fixture
def finished(small_config, small_films, tmp_path):
    """A finished run's folder, as far as an export looks at it, its config and films; the weights are drawn."""
    config = small_config("loop.seed=3")
    torch.manual_seed(0)
    weights = build(config.model, config.data.size).state_dict()
    facts = {"films": {"train": 60, "val": 30, "patients": 90, "positive": 45}, "film_sha256": ["ab" * 32]}
    run = SimpleNamespace(
        read_weights=lambda: weights, read_manifest=lambda: facts, bundle=tmp_path / "run" / "bundle"
    )
    return run, config, small_films


def test_a_bundle_says_when_not_to_trust_it(finished):
    run, config, films = finished
    exported = export(run, config, films)
    bundle = load_bundle(exported.bundle)
    spec = bundle.spec
    assert set(spec.outputs) == {"probability", "logit", "distance", "features"}
    assert spec.guard["n"] == spec.calibration["n"] == 30
    assert 0 < spec.guard["unusual"] <= spec.guard["not_a_chest_film"]
    assert set(spec.guard["caught"]) == {
        "rotated_90",
        "rotated_180",
        "rotated_270",
        "upside_down",
        "inverted",
    }
    assert spec.guard["caught"]["inverted"]["unusual"] > 0.9
    assert spec.calibration["before"]["temperature"] == 1.0
    assert spec.calibration["after"]["temperature"] == spec.temperature
    for point in spec.thresholds.values():
        band = point["unsure_band"]
        assert band["low"] <= point["threshold"] <= band["high"]
        assert band["films"] <= 0.05
    own = films.images[films.val]
    distance = bundle.run(films.plain(films.val).numpy()).distance
    assert (distance >= spec.guard["unusual"]).mean() <= 0.01
    inverted = predict_many(bundle, list(255 - own), workers=1)
    assert {row.label for row in inverted} <= {"UNSURE", "NOT_A_CHEST_FILM"}
    card = (exported.bundle / "README.md").read_text()
    for text in ("NOT_A_CHEST_FILM", "UNSURE", "Brier", "| rotated_180 |"):
        assert text in card


def test_runtimes_that_disagree_on_the_distance_are_refused(finished, monkeypatch):
    run, config, films = finished
    true = module._distances
    monkeypatch.setattr(module, "_distances", lambda *given: 1.1 * true(*given) + 0.1)
    with pytest.raises(BundleError, match="distance"):
        export(run, config, films)
    assert not run.bundle.exists()


def test_patients_give_intervals_and_halves(finished):
    run, config, films = finished
    known = replace(films, patient_ids=np.array([f"p{row // 3}" for row in range(len(films.labels))]))
    points = export(run, config, known).spec.thresholds
    assert all(0 <= point["recall_ci95"][0] <= point["recall_ci95"][1] <= 1 for point in points.values())


def test_a_network_with_a_map_gives_it_and_the_scale_of_its_colours(small_config, small_films):
    config = small_config(
        "model.name=flagship", "model.stem=4", "model.channels=[8, 8]", "model.blocks=[1, 1]"
    )
    torch.manual_seed(0)
    network = build(config.model, config.data.size).eval()
    torch.nn.init.normal_(network.head.weight)
    graph = onnx_graph(network, 48, 2.0)
    names = ["probability", "logit", "activation_map"]
    films = small_films.plain(small_films.val)
    probability, logit, evidence = onnxruntime.InferenceSession(
        graph, providers=["CPUExecutionProvider"]
    ).run(names, {"film": films.numpy()})
    assert evidence.shape == (30, 6, 6)
    np.testing.assert_allclose(evidence.mean((1, 2)), logit, atol=1e-5)
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-logit / 2)), atol=1e-6)
    scale = module._map_facts(network, small_films, 2.0)["map_full_scale"]
    positive = evidence[small_films.labels[small_films.val] == 1]
    assert scale == pytest.approx(np.quantile(positive / 2, 0.99), rel=0.05)
    assert module._map_facts(build(small_config().model, 48), small_films, 2.0) == {}


def test_a_graph_says_nothing_of_the_machine_that_made_it(small_config):
    network = build(small_config().model, 48).eval()
    graph = onnx_graph(network, 48, 1.0)
    assert b".py" not in graph
    assert b"/" + b"site-packages" not in graph
    assert graph == onnx_graph(network, 48, 1.0)
