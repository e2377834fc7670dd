import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from pneumoscan.errors import ConfigError
from pneumoscan.networks.baseline import Baseline, BaselineConfig
from pneumoscan.networks.layers import Dropout, seed_dropout
from pneumoscan.networks.registry import build, config_of, count_parameters, layer_table


def test_baseline_has_the_published_parameters_layer_by_layer() -> None:
    rows = layer_table(BaselineConfig(), 200)
    assert [row.parameters for row in rows if row.parameters] == [320, 9_248, 9_248, 9_248, 692_352, 129]
    assert sum(row.parameters for row in rows) == 720_545 == count_parameters(build(BaselineConfig(), 200))
    assert [row.output for row in rows if "pool" in row.name] == [
        "100×100×32",
        "50×50×32",
        "25×25×32",
        "13×13×32",
    ]
    assert rows[9].output == "5,408"


def test_pooling_before_relu_is_the_function_as_published() -> None:
    network = Baseline(BaselineConfig(), 50)
    x = film = torch.randn(3, 1, 50, 50)
    for convolution in network.convolutions:
        x = functional.relu(convolution(x))
        # "same" pooling: an odd side gets one more row and column that can never be the maximum.
        odd = x.shape[-1] % 2
        x = functional.max_pool2d(functional.pad(x, (0, odd, 0, odd), value=-torch.inf), 2)
    x = functional.relu(network.dense[0](x.flatten(1)))
    torch.testing.assert_close(network(film), network.head(x).squeeze(1))


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({"channels": (32,) * 5}, 32 * 9 + 32 + 4 * 9_248 + (7 * 7 * 32 * 128 + 128) + 129),
        ({"channels": (16, 32, 64, 128)}, 160 + 4_640 + 18_496 + 73_856 + (13 * 13 * 128 * 128 + 128) + 129),
        ({"kernel_sizes": (5, 3, 3, 3)}, 720_545 + 32 * (25 - 9)),
        ({"channels": (32,) * 5, "pool": (True, True, True, True, False)}, 720_545 + 9_248),
        ({"dense": ()}, 320 + 3 * 9_248 + 5_408 + 1),
    ],
)
def test_variants_have_the_parameters_of_arithmetic(options: dict[str, object], parameters: int) -> None:
    assert count_parameters(build(config_of("baseline", **options), 200)) == parameters


def test_illegal_networks_are_refused() -> None:
    with pytest.raises(ConfigError, match="no network named 'resnet'"):
        config_of("resnet")
    with pytest.raises(ConfigError, match="chanels"):
        config_of("baseline", chanels=(1,))
    with pytest.raises(ValidationError, match="kernel_sizes needs 1 value or 4"):
        BaselineConfig(kernel_sizes=(3, 3))


def test_dropout_is_replayed_by_its_seed_and_keeps_the_mean() -> None:
    layer = Dropout(0.3)
    network = torch.nn.Sequential(torch.nn.Linear(1, 1), layer)
    x = torch.ones(200_000)
    seed_dropout(network, 5)
    first = layer(x)
    seed_dropout(network, 5)
    assert torch.equal(first, layer(x))
    seed_dropout(network, 6)
    assert not torch.equal(first, layer(x))
    assert first.mean().item() == pytest.approx(1, abs=0.01)
    assert (first == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    layer.eval()
    assert layer(x) is x
