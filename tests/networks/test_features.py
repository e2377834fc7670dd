"""The vector before the last layer: the last layer of it is the logit, in torch and in the exported graph."""

import numpy as np
import onnxruntime
import pytest
import torch

from pneumoscan.networks.baseline import BaselineConfig
from pneumoscan.networks.exported import onnx_graph
from pneumoscan.networks.flagship import FlagshipConfig
from pneumoscan.networks.registry import build
from pneumoscan.networks.transfer import TransferConfig

CONFIGS = (
    BaselineConfig(channels=(4, 4), dense=(6,)),
    FlagshipConfig(stem=4, channels=(4, 8), blocks=(1, 1), mirrored=True),
    FlagshipConfig(stem=4, channels=(4, 8), blocks=(1, 1), mirrored=False),
    TransferConfig(weights="random"),
)


def built(config):
    torch.manual_seed(0)
    network = build(config, 32).eval()
    with torch.no_grad():
        network.head.weight.normal_()
        network.head.bias.normal_()
    return network


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_the_last_layer_of_the_features_is_the_logit(config):
    network, films = built(config), torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    told = getattr(network, "evidence_and_features", None) or network.logit_and_features
    with torch.no_grad():
        answer, features = told(films)
        logits = features @ network.head.weight.flatten() + network.head.bias
        torch.testing.assert_close(logits, network(films), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(answer if answer.ndim == 1 else answer.mean((1, 2)), network(films))


def test_the_graph_gives_them():
    network, films = (
        built(CONFIGS[1]),
        np.random.default_rng(0).normal(size=(3, 1, 32, 32)).astype(np.float32),
    )
    session = onnxruntime.InferenceSession(onnx_graph(network, 32, 1.0), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_outputs()]
    assert names == ["probability", "logit", "activation_map", "features"]
    with torch.no_grad():
        expected = network.evidence_and_features(torch.from_numpy(films))[1].numpy()
    np.testing.assert_allclose(session.run(["features"], {"film": films})[0], expected, atol=1e-4)
