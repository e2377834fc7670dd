"""What the registry knows of a network: its config, how it is built, and the table of its layers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from torch import nn


@dataclass(frozen=True)
class LayerRow:
    """One line of the layer table: name, output shape without the batch (H, W, C or units), parameters."""

    name: str
    output: str
    parameters: int


@dataclass(frozen=True)
class Network:
    """A kind of network.

    Attributes:
        name: As `model.name` of a config says it.
        config: The class of its settings.
        build: (config, side of the films in pixels) → the network, its weights freshly drawn.
        layer_table: The same arguments → its layers in order.
        pretrain: Gives a network that was built the weights that its training starts from; None where these are drawn.
    """

    name: str
    config: type[BaseModel]
    build: Callable[[Any, int], nn.Module]
    layer_table: Callable[[Any, int], tuple[LayerRow, ...]]
    pretrain: Callable[[nn.Module], None] | None = None
