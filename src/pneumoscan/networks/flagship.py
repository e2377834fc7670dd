"""The flagship: a small residual network with a class activation map whose mean is the logit.

At 200×200 with its defaults:

    200×200×1 → conv 5×5×16, stride 2, max-pool → 50×50×16 → residual stages of 32, 64, 128 and 192 kernels, each stage
    but the first halving the map → 7×7×192 → conv 1×1×1 → map of 7×7 → its mean is the logit

Residual blocks: K. He, X. Zhang, S. Ren, J. Sun, CVPR 2016; shortcuts downsample by averaging (T. He et al., CVPR 2019,
section 4.2). The head is class activation mapping in reverse order: B. Zhou et al., CVPR 2016 average the features and then
weight them. Here a 1×1 convolution weights them first, so the forward pass contains the map.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from pneumoscan.networks.layers import BatchNorm, Dropout, LayerRow, max_pool_relu

Width = Annotated[int, Field(ge=1, le=1024)]


class FlagshipConfig(BaseModel):
    """Configuration of the network.

    Attributes:
        stem: Kernels of the first convolution, 5×5 with stride 2.
        channels: Kernels of the convolutions of each stage.
        blocks: Residual blocks of each stage.
        dropout: Dropout probability of a whole feature map before the head.
        mirrored: In evaluation, average the maps of the film and of its mirror image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["flagship"] = "flagship"
    stem: Width = 16
    channels: tuple[Width, ...] = Field((32, 64, 128, 192), min_length=1, max_length=6)
    blocks: tuple[Annotated[int, Field(ge=1, le=12)], ...] = (1, 1, 2, 1)
    dropout: float = Field(0.0, ge=0, lt=1)
    mirrored: bool = True

    @model_validator(mode="after")
    def _one_for_each(self) -> Self:
        if len(self.blocks) != len(self.channels):
            raise ValueError(f"blocks needs {len(self.channels)} values, one for each of channels")
        return self

    def stages(self) -> list[tuple[int, int]]:
        """Return (kernels, blocks) of each stage."""
        return list(zip(self.channels, self.blocks, strict=True))


class Flagship(nn.Module):
    """The network of `FlagshipConfig`. It accepts films of any size."""

    def __init__(self, config: FlagshipConfig, _size: int) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Conv2d(1, config.stem, 5, stride=2, padding=2, bias=False)
        self.stem_norm = BatchNorm(config.stem)
        self.blocks = nn.Sequential()
        width = config.stem
        for stage, (kernels, blocks) in enumerate(config.stages()):
            for block in range(blocks):
                self.blocks.append(ResidualBlock(width, kernels, stride=2 if stage and not block else 1))
                width = kernels
        self.dropout = Dropout(config.dropout, whole_maps=True)
        self.head = nn.Conv2d(width, 1, 1)
        self.apply(initialise)
        nn.init.zeros_(self.head.weight)  # the initial output is 0.5 for every film

    def activation_map(self, film: torch.Tensor) -> torch.Tensor:
        """Return the evidence for PNEUMONIA (N, h, w), in units of the logit, for normalised films (N, 1, S, S)."""
        return self.evidence_and_features(film)[0]

    def evidence_and_features(self, film: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `activation_map`, and the vector before the last layer (N, C), the mean of the inner map over its places."""
        views = [film] if self.training or not self.config.mirrored else [film, film.flip(3)]
        inner = [self._inner(view) for view in views]
        maps = [self.head(self.dropout(each)).squeeze(1) for each in inner]
        evidence = maps[0] if len(maps) == 1 else (maps[0] + maps[1].flip(2)) / 2
        vectors = [each.mean((2, 3)) for each in inner]
        return evidence, sum(vectors[1:], vectors[0]) / len(views)

    def forward(self, film: torch.Tensor) -> torch.Tensor:
        """Return logits (N,): the means of the maps."""
        return self.activation_map(film).mean((1, 2))

    def _inner(self, film: torch.Tensor) -> torch.Tensor:
        x = self.stem_norm(self.stem(film))  # (N, C, ⌈S/2⌉, ⌈S/2⌉)
        x = max_pool_relu(x, training=self.training)  # (N, C, ⌈S/4⌉, ⌈S/4⌉)
        inner: torch.Tensor = self.blocks(x)  # (N, C, h, w)
        return inner


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut around them."""

    def __init__(self, width: int, kernels: int, *, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.first = nn.Conv2d(width, kernels, 3, stride=stride, padding=1, bias=False)
        self.first_norm = BatchNorm(kernels)
        self.second = nn.Conv2d(kernels, kernels, 3, padding=1, bias=False)
        # A block that starts as its shortcut trains faster (P. Goyal et al., arXiv 1706.02677, section 5.1).
        self.second_norm = BatchNorm(kernels, weight=0.0)
        self.shortcut = nn.Conv2d(width, kernels, 1, bias=False) if width != kernels or stride > 1 else None
        self.shortcut_norm = BatchNorm(kernels) if self.shortcut is not None else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, kernels, ⌈h / stride⌉, ⌈w / stride⌉) of (N, width, h, w)."""
        y = F.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        return F.relu(y + self._around(x))

    def _around(self, x: torch.Tensor) -> torch.Tensor:
        if self.shortcut is None or self.shortcut_norm is None:
            return x
        smaller = F.avg_pool2d(x, self.stride, ceil_mode=True) if self.stride > 1 else x
        around: torch.Tensor = self.shortcut_norm(self.shortcut(smaller))
        return around


def initialise(module: nn.Module) -> None:
    """Set normal weights that preserve the variance after ReLU (He et al., ICCV 2015), and zero biases."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def layer_table(config: FlagshipConfig, size: int) -> tuple[LayerRow, ...]:
    """Return the layers in order; each stage is one row."""
    return tuple(_rows(Flagship(config, size), size))


def _rows(network: Flagship, size: int) -> Iterator[LayerRow]:
    config = network.config
    side = math.ceil(size / 2)
    yield LayerRow("input", f"{size}×{size}×1", 0)
    stem = _count(network.stem) + _count(network.stem_norm)
    yield LayerRow(f"conv 5×5×{config.stem}, stride 2 + norm", f"{side}×{side}×{config.stem}", stem)
    side = math.ceil(side / 2)
    yield LayerRow("max-pool 2×2, stride 2 + ReLU", f"{side}×{side}×{config.stem}", 0)
    remaining = iter(network.blocks)
    for stage, (kernels, blocks) in enumerate(config.stages()):
        side = math.ceil(side / 2) if stage else side
        parameters = sum(_count(next(remaining)) for _ in range(blocks))
        name = f"{blocks} residual block{'s' * (blocks > 1)} of 2 conv 3×3×{kernels}"
        yield LayerRow(name, f"{side}×{side}×{kernels}", parameters)
    yield LayerRow("conv 1×1×1: the map", f"{side}×{side}×1", _count(network.head))
    yield LayerRow("mean + sigmoid", "1", 0)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
