"""Networks by name. To add one: a module that ends in a `Network`, and its name in the lines below."""

from typing import Any

from pydantic import ValidationError
from torch import nn

from pneumoscan.errors import ConfigError
from pneumoscan.models import baseline, flagship, transfer
from pneumoscan.models.network import LayerRow

ModelConfig = baseline.BaselineConfig | flagship.FlagshipConfig | transfer.TransferConfig
NETWORKS = {network.name: network for network in (baseline.NETWORK, flagship.NETWORK, transfer.NETWORK)}


def config_of(name: str, **options: Any) -> ModelConfig:
    """Return a network's validated config.

    Raises:
        ConfigError: No network has that name, or an option is unknown or illegal.
    """
    if name not in NETWORKS:
        raise ConfigError(f"there is no network named {name!r}.", f"Known: {', '.join(sorted(NETWORKS))}.")
    try:
        config: ModelConfig = NETWORKS[name].config(**options)  # type: ignore[assignment]
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"network {name!r}: {where}: {first['msg']}.") from None
    return config


def build(config: ModelConfig, size: int) -> nn.Module:
    """Return the network of a config for films of size×size pixels, its weights freshly drawn from torch's seed."""
    return NETWORKS[config.name].build(config, size)


def build_for_training(config: ModelConfig, size: int) -> nn.Module:
    """Return the network that a training starts from: as `build`, with pretrained weights where the config asks for them.

    Raises:
        MissingDependencyError: The pretrained weights are not installed.
    """
    network = build(config, size)
    if (pretrain := NETWORKS[config.name].pretrain) is not None:
        pretrain(network)
    return network


def layer_table(config: ModelConfig, size: int) -> tuple[LayerRow, ...]:
    """Return the layer table of a config."""
    return NETWORKS[config.name].layer_table(config, size)


def count_parameters(network: nn.Module) -> int:
    """Return the number of weights, those that training leaves alone included."""
    return sum(parameter.numel() for parameter in network.parameters())
