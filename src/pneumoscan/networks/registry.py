"""Networks by name. To add one, write a module with its configuration, the network and its layer table, and add it to the lines below."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from torch import nn

from pneumoscan.errors import ConfigError
from pneumoscan.networks import baseline, flagship, lung_reader, transfer
from pneumoscan.networks.layers import LayerRow


@dataclass(frozen=True)
class Network:
    """A kind of network.

    Attributes:
        config: Class of its configuration.
        build: (configuration, side of the films in pixels) → the network with random weights.
        layer_table: The same arguments → its layers in order.
        pretrain: Sets the pretrained weights of a network; None if training starts from random weights.
    """

    config: type[BaseModel]
    build: Callable[[Any, int], nn.Module]
    layer_table: Callable[[Any, int], tuple[LayerRow, ...]]
    pretrain: Callable[[nn.Module], None] | None = None


WholeFilm = baseline.BaselineConfig | flagship.FlagshipConfig | transfer.TransferConfig
ModelConfig = WholeFilm | lung_reader.LungReaderConfig | lung_reader.OutlinerConfig
NETWORKS = {
    "baseline": Network(baseline.BaselineConfig, baseline.Baseline, baseline.layer_table),
    "flagship": Network(flagship.FlagshipConfig, flagship.Flagship, flagship.layer_table),
    "transfer": Network(
        transfer.TransferConfig, transfer.Transfer, transfer.layer_table, transfer.load_imagenet
    ),
    "reader": Network(lung_reader.LungReaderConfig, lung_reader.LungReader, lung_reader.reader_table),
    "outliner": Network(lung_reader.OutlinerConfig, lung_reader.Outliner, lung_reader.outliner_table),
}


def config_of(name: str, **options: Any) -> ModelConfig:
    """Return the validated configuration of a network.

    Raises:
        ConfigError: No network has this name, or an option is unknown or illegal.
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
    """Return the network of a configuration for films of size×size pixels, with random weights from torch's seed."""
    return NETWORKS[config.name].build(config, size)


def build_for_training(config: ModelConfig, size: int) -> nn.Module:
    """Return the network for a training: the result of `build`, with pretrained weights if the configuration says so.

    Raises:
        MissingDependencyError: The pretrained weights are not installed.
    """
    network = build(config, size)
    if (pretrain := NETWORKS[config.name].pretrain) is not None:
        pretrain(network)
    return network


def layer_table(config: ModelConfig, size: int) -> tuple[LayerRow, ...]:
    """Return the layer table of a configuration."""
    return NETWORKS[config.name].layer_table(config, size)


def count_parameters(network: nn.Module) -> int:
    """Return the number of weights, including frozen ones."""
    return sum(parameter.numel() for parameter in network.parameters())
