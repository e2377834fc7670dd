"""The baseline network: blocks of convolution, ReLU and pooling, then a dense layer and one logit.

With its defaults it is the baseline of the study, with 720,545 parameters at 200×200:

    200×200×1 → [conv 3×3×32 "same", ReLU, max-pool 2×2 "same"] × 4 → 13×13×32 → 5,408 → dense 128, ReLU → 1 logit

The variants of the study with other depth and width are other values of `BaselineConfig`, not other classes.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from pneumoscan.networks.layers import Dropout, LayerRow, max_pool_relu

Width = Annotated[int, Field(ge=1, le=1024)]
OddKernel = Literal[1, 3, 5, 7, 9, 11]


class BaselineConfig(BaseModel):
    """Configuration of the network.

    Attributes:
        channels: Number of kernels of each convolution, first to last.
        kernel_sizes: Side of the kernels of each convolution in pixels, odd; one value for all, or one for each.
        pool: Whether a 2×2 max-pooling follows each convolution; one value for all, or one for each.
        dense: Units of each dense layer before the logit.
        dropout: Dropout probability of the last dense layer's output.
        conv_dropout: Dropout probability of a value of the flattened feature map.
        inputs: Channels of the input: 2 for lungs (`data.input` lungs), 1 for whole films.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["baseline"] = "baseline"
    channels: tuple[Width, ...] = Field((32, 32, 32, 32), min_length=1, max_length=12)
    kernel_sizes: tuple[OddKernel, ...] = (3,)
    pool: tuple[bool, ...] = (True,)
    dense: tuple[Width, ...] = (128,)
    dropout: float = Field(0.0, ge=0, lt=1)
    conv_dropout: float = Field(0.0, ge=0, lt=1)
    inputs: Literal[1, 2] = 1

    @model_validator(mode="after")
    def _one_for_each(self) -> Self:
        for key in ("kernel_sizes", "pool"):
            if len(getattr(self, key)) not in {1, len(self.channels)}:
                raise ValueError(f"{key} needs 1 value or {len(self.channels)}, one for each of channels")
        return self

    def blocks(self) -> list[tuple[int, int, bool]]:
        """Return (kernels, kernel side, pool?) for each block."""
        depth = len(self.channels)
        sides = self.kernel_sizes * (depth if len(self.kernel_sizes) == 1 else 1)
        pools = self.pool * (depth if len(self.pool) == 1 else 1)
        return list(zip(self.channels, sides, pools, strict=True))


class Baseline(nn.Module):
    """The network of `BaselineConfig` for films of `size`×`size` pixels."""

    def __init__(self, config: BaselineConfig, size: int) -> None:
        super().__init__()
        self.config = config
        self.convolutions = nn.ModuleList()
        self.pools = [pool for _, _, pool in config.blocks()]
        channels: int = config.inputs
        side = size
        for kernels, kernel_side, pool in config.blocks():
            self.convolutions.append(nn.Conv2d(channels, kernels, kernel_side, padding=kernel_side // 2))
            channels, side = kernels, (side + 1) // 2 if pool else side
        self.conv_dropout = Dropout(config.conv_dropout)
        units = [channels * side * side, *config.dense]
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(units))
        self.dropout = Dropout(config.dropout)
        self.head = nn.Linear(units[-1], 1)
        self.apply(_initialise)

    def forward(self, film: torch.Tensor) -> torch.Tensor:
        """Return logits (N,) for normalised films (N, inputs, S, S)."""
        return self.logit_and_features(film)[0]

    def logit_and_features(self, film: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (N,), and the vector before the last layer (N, units), for normalised films (N, inputs, S, S)."""
        x = film
        for convolution, pool in zip(self.convolutions, self.pools, strict=True):
            x = convolution(x)  # (N, C, s, s)
            x = max_pool_relu(x, training=self.training) if pool else F.relu(x)  # (N, C, ⌈s/2⌉, ⌈s/2⌉)
        x = self.conv_dropout(x.flatten(1))  # (N, C·s·s)
        for layer in self.dense:
            x = F.relu(layer(x))  # (N, units)
        logits: torch.Tensor = self.head(self.dropout(x))  # (N, 1)
        return logits.squeeze(1), x


def _initialise(module: nn.Module) -> None:
    """Set Glorot-uniform weights and zero biases (Glorot & Bengio, AISTATS 2010), as in the original training."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def layer_table(config: BaselineConfig, size: int) -> tuple[LayerRow, ...]:
    """Return the layers in order, with their output shapes and parameters."""
    return tuple(_rows(Baseline(config, size), size))


def _rows(network: Baseline, size: int) -> Iterator[LayerRow]:
    side = size
    yield LayerRow("input", f"{side}×{side}×{network.config.inputs}", 0)
    for convolution, pool in zip(network.convolutions, network.pools, strict=True):
        assert isinstance(convolution, nn.Conv2d)
        kernel, channels = convolution.kernel_size[0], convolution.out_channels
        name = f'conv {kernel}×{kernel}×{channels} "same" + ReLU'
        yield LayerRow(name, f"{side}×{side}×{channels}", _count(convolution))
        if pool:
            side = math.ceil(side / 2)
            yield LayerRow('max-pool 2×2, stride 2, "same"', f"{side}×{side}×{channels}", 0)
    yield LayerRow("flatten", f"{channels * side * side:,}", 0)
    for layer in network.dense:
        assert isinstance(layer, nn.Linear)
        yield LayerRow(f"dense {layer.out_features} + ReLU", str(layer.out_features), _count(layer))
    yield LayerRow("dense 1 + sigmoid", "1", _count(network.head))


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
