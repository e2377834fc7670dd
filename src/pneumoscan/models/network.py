"""An entry of the registry: the configuration of a network, its constructor, and the table of its layers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from torch import nn


@dataclass(frozen=True)
class LayerRow:
    """One row of the layer table: name, output shape without the batch (H, W, C or units), parameters."""

    name: str
    output: str
    parameters: int


@dataclass(frozen=True)
class Network:
    """A kind of network.

    Attributes:
        name: Name in the setting `model.name`.
        config: Class of its configuration.
        build: (configuration, side of the films in pixels) → the network with random weights.
        layer_table: The same arguments → its layers in order.
        pretrain: Sets the pretrained weights of a network; None if training starts from random weights.
    """

    name: str
    config: type[BaseModel]
    build: Callable[[Any, int], nn.Module]
    layer_table: Callable[[Any, int], tuple[LayerRow, ...]]
    pretrain: Callable[[nn.Module], None] | None = None
