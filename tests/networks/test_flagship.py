import numpy as np
import pytest
import torch

from pneumoscan.errors import ConfigError
from pneumoscan.networks.flagship import Flagship, FlagshipConfig
from pneumoscan.networks.registry import build, config_of, count_parameters, layer_table

SMALL = FlagshipConfig(stem=4, channels=(8, 12), blocks=(1, 2))


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    network = build(SMALL, 64)
    torch.nn.init.normal_(network.head.weight)
    return network.eval()


def test_the_table_is_the_network() -> None:
    config = FlagshipConfig()
    rows = layer_table(config, 200)
    assert sum(row.parameters for row in rows) == count_parameters(build(config, 200)) == 1_177_137
    with torch.no_grad():
        shape = Flagship(config, 200).eval().activation_map(torch.zeros(1, 1, 200, 200)).shape
    assert shape == (1, 7, 7)
    assert rows[-2].output == "7×7×1"


def test_the_mean_of_the_map_is_the_logit(network) -> None:
    films = torch.randn(3, 1, 64, 50)
    with torch.no_grad():
        evidence, logits = network.activation_map(films), network(films)
    assert evidence.shape == (3, 8, 7)
    assert logits.std() > 0.01
    torch.testing.assert_close(evidence.mean((1, 2)), logits)


def test_a_mirrored_film_gives_the_mirrored_map_and_the_same_logit(network) -> None:
    film = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        straight, mirrored = network.activation_map(film), network.activation_map(film.flip(3))
        once = build(SMALL.model_copy(update={"mirrored": False}), 64).eval()
        once.load_state_dict(network.state_dict())
        alone = once(film)
    torch.testing.assert_close(straight, mirrored.flip(2))
    assert not torch.allclose(straight.mean((1, 2)), alone)


def test_an_untrained_network_says_one_half_of_every_film() -> None:
    assert build(SMALL, 32)(torch.randn(2, 1, 32, 32)).tolist() == [0, 0]


def test_stages_and_blocks_must_match() -> None:
    with pytest.raises(ConfigError, match="one for each of channels"):
        config_of("flagship", channels=(8, 8))


def test_films_of_a_batch_do_not_change_each_other_when_reading(network) -> None:
    films = torch.from_numpy(np.random.default_rng(0).random((4, 1, 64, 64), dtype=np.float32))
    with torch.no_grad():
        torch.testing.assert_close(network(films)[1:2], network(films[1:2]))
