"""Networks by name. To add one: a config with a `name`, a module (films → logits), and a line in each table here."""

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from torch import nn

from pneumoscan.errors import ConfigError
from pneumoscan.models import baseline

ModelConfig = baseline.BaselineConfig

CONFIGS: dict[str, type[ModelConfig]] = {"baseline": baseline.BaselineConfig}
BUILDERS: dict[str, Callable[[Any, int], nn.Module]] = {"baseline": baseline.Baseline}
TABLES: dict[str, Callable[[Any, int], tuple[baseline.LayerRow, ...]]] = {"baseline": baseline.layer_table}


def config_of(name: str, **options: Any) -> ModelConfig:
    """Return a network's validated config.

    Raises:
        ConfigError: No network has that name, or an option is unknown or illegal.
    """
    if name not in CONFIGS:
        raise ConfigError(f"there is no network named {name!r}.", f"Known: {', '.join(sorted(CONFIGS))}.")
    try:
        return CONFIGS[name](**options)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"network {name!r}: {where}: {first['msg']}.") from None


def build(config: ModelConfig, size: int) -> nn.Module:
    """Return the network of a config for films of size×size pixels, its weights freshly drawn from torch's seed."""
    return BUILDERS[config.name](config, size)


def layer_table(config: ModelConfig, size: int) -> tuple[baseline.LayerRow, ...]:
    """Return the layer table of a config."""
    return TABLES[config.name](config, size)


def count_parameters(network: nn.Module) -> int:
    """Return the number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
