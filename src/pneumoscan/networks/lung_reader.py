"""The two networks of a model that reads the lungs: `Outliner` finds them, `LungReader` reads what is inside.

`Outliner` at 128×128 with its defaults:

    128×128×1 → conv 5×5×12, stride 2 → stages of 24, 48, 96 and 128 kernels, each halving the map → 4×4×128
    → back up, adding the map of the same size on the way → 64×64×12 → conv 1×1×8, pixels shuffled → 128×128×2

A U-Net (O. Ronneberger et al., MICCAI 2015) whose shortcuts are added instead of joined (LinkNet: A. Chaurasia, E. Culurciello,
VCIP 2017); the last doubling rearranges channels (W. Shi et al., CVPR 2016).

`LungReader` at 160×160 with its defaults:

    160×160×2 → conv 5×5×16, stride 2, max-pool → 40×40 → residual stages of 32, 64, 128 and 160 kernels
    → the last three added at 20×20×64 (feature pyramid: T.-Y. Lin et al., CVPR 2017) → conv 3×3×64 → conv 1×1: score of each cell
    → logit: the mean of the scores, weighted by their softmax, and their plain mean

So an opacity that fills a few cells can decide for the film, faint disease of both lungs adds up, and the map shows where it lies.
"""

from itertools import pairwise
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from pneumoscan.networks.flagship import ResidualBlock, initialise
from pneumoscan.networks.layers import BatchNorm, Dropout, LayerRow

Width = Annotated[int, Field(ge=1, le=1024)]


class OutlinerConfig(BaseModel):
    """Configuration of `Outliner`.

    Attributes:
        widths: Kernels of the stages, from 64×64 to 4×4.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["outliner"] = "outliner"
    widths: tuple[Width, Width, Width, Width, Width] = (12, 24, 48, 96, 128)


class Outliner(nn.Module):
    """The network of `OutlinerConfig`: film → lung field and aerated lung."""

    def __init__(self, config: OutlinerConfig, _size: int) -> None:
        super().__init__()
        first, *_ = widths = config.widths
        self.down = nn.ModuleList([_Conv(1, first, 5, stride=2)])
        self.across, self.up = nn.ModuleList(), nn.ModuleList()
        for stage, (before, kernels) in enumerate(pairwise(widths)):
            count = 2 if stage == 2 else 1
            convs = [_Conv(before, kernels, 3, stride=2)] + [_Conv(kernels, kernels, 3) for _ in range(count)]
            self.down.append(nn.Sequential(*convs))
            self.across.insert(0, _Conv(kernels, before, 1))
            self.up.insert(0, _Conv(before, before, 3))
        self.head = nn.Conv2d(first, 8, 1)
        self.apply(initialise)

    def forward(self, film: torch.Tensor) -> torch.Tensor:
        """Return logits (N, 2, S, S) of lung field and aerated lung for standardised films (N, 1, S, S), S a multiple of 32."""
        maps = []
        x = film
        for stage in self.down:
            x = stage(x)
            maps.append(x)
        for across, up, skipped in zip(self.across, self.up, maps[-2::-1], strict=True):
            x = up(F.interpolate(across(x), scale_factor=2.0, mode="nearest") + skipped)
        logits: torch.Tensor = F.pixel_shuffle(self.head(x), 2)
        return logits


class LungReaderConfig(BaseModel):
    """Configuration of `LungReader`.

    Attributes:
        inputs: Channels of the input: 2 for lungs (`data.input` lungs), 1 for whole films.
        stem: Kernels of the first convolution, 5×5 with stride 2.
        channels: Kernels of the convolutions of each stage.
        blocks: Residual blocks of each stage.
        pyramid: Channels of the pyramid.
        dropout: Dropout probability of a whole feature map before the scores.
        mirrored: In evaluation, average the maps of the lungs and of their mirror image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["reader"] = "reader"
    inputs: Literal[1, 2] = 2
    stem: Width = 16
    channels: tuple[Width, ...] = Field((32, 64, 128, 160), min_length=3, max_length=5)
    blocks: tuple[Annotated[int, Field(ge=1, le=12)], ...] = (1, 1, 2, 1)
    pyramid: Width = 64
    dropout: float = Field(0.1, ge=0, lt=1)
    mirrored: bool = True

    @model_validator(mode="after")
    def _one_for_each(self) -> Self:
        if len(self.blocks) != len(self.channels):
            raise ValueError(f"blocks needs {len(self.channels)} values, one for each of channels")
        return self


class LungReader(nn.Module):
    """The network of `LungReaderConfig`."""

    def __init__(self, config: LungReaderConfig, _size: int) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Conv2d(config.inputs, config.stem, 5, stride=2, padding=2, bias=False)
        self.stem_norm = BatchNorm(config.stem)
        self.stages, self.lateral = nn.ModuleList(), nn.ModuleList()
        width = config.stem
        for stage, (kernels, blocks) in enumerate(zip(config.channels, config.blocks, strict=True)):
            parts = []
            for block in range(blocks):
                parts.append(ResidualBlock(width, kernels, stride=2 if stage and not block else 1))
                width = kernels
            self.stages.append(nn.Sequential(*parts))
            if stage:
                self.lateral.append(nn.Conv2d(kernels, config.pyramid, 1, bias=False))
        self.pyramid_norm = BatchNorm(config.pyramid)
        self.smooth = _Conv(config.pyramid, config.pyramid, 3)
        self.dropout = Dropout(config.dropout, whole_maps=True)
        self.head = nn.Conv2d(config.pyramid, 1, 1)
        # From the scores of a film to its logit: the scores learn boxes, the logit learns labels.
        self.gain, self.bias = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))
        self.mean_gain = nn.Parameter(torch.tensor(0.5))
        self.apply(initialise)
        nn.init.zeros_(self.head.weight)  # the initial output is 0.5 for every film

    def activation_map(self, lungs: torch.Tensor) -> torch.Tensor:
        """Return the evidence for PNEUMONIA (N, h, w), whose mean is the logit, for standardised lungs (N, C, S, S)."""
        return self.evidence_and_features(lungs)[0]

    def evidence_and_features(self, lungs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `activation_map`, and the vector before the last layer (N, pyramid).

        The vector is the mean of the inner map over the cells, weighted like the scores in the logit: by their softmax, and
        all alike, in the ratio of the two gains. A line through it is the logit:
        gain · head weight · vector + (gain + mean gain) · head bias + bias.
        """
        views = [lungs] if self.training or not self.config.mirrored else [lungs, lungs.flip(3)]
        maps, vectors = [], []
        for place, view in enumerate(views):
            inner = self.dropout(self._inner(view))
            scores = self.head(inner).squeeze(1)
            evidence = self._evidence(scores)
            maps.append(evidence.flip(2) if place else evidence)
            shares = scores.flatten(1).float().softmax(1)[:, None]
            cells = inner.flatten(2)
            vectors.append((cells * shares).sum(2) + self.mean_gain / self.gain * cells.mean(2))
        return sum(maps[1:], maps[0]) / len(views), sum(vectors[1:], vectors[0]) / len(views)

    def forward(self, lungs: torch.Tensor) -> torch.Tensor:
        """Return logits (N,); in training (N, 1 + h·w): the logit and the scores of the cells, row by row."""
        if not self.training:
            return self.activation_map(lungs).mean((1, 2))
        scores = self.scores(lungs)
        return torch.cat([self._evidence(scores).mean((1, 2))[:, None], scores.flatten(1)], 1)

    def scores(self, lungs: torch.Tensor) -> torch.Tensor:
        """Return the score of each cell (N, h, w): the log-odds of an opacity there, as far as boxes taught it."""
        scores: torch.Tensor = self.head(self.dropout(self._inner(lungs)))  # (N, 1, S/8, S/8)
        return scores.squeeze(1)

    def _inner(self, lungs: torch.Tensor) -> torch.Tensor:
        """Return the map before the scores: (N, pyramid, S/8, S/8)."""
        x = F.max_pool2d(F.relu(self.stem_norm(self.stem(lungs))), 2)  # (N, C, S/4, S/4)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        merged: torch.Tensor | None = None
        for lateral, inner in zip(reversed(self.lateral), reversed(maps[1:]), strict=True):
            here = lateral(inner)
            merged = here if merged is None else here + F.interpolate(merged, here.shape[2:], mode="nearest")
        assert merged is not None
        smooth: torch.Tensor = self.smooth(F.relu(self.pyramid_norm(merged)))
        return smooth

    def _evidence(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the share of each cell in the logit, times the number of cells, so that the mean is the logit."""
        flat = scores.flatten(1).float()
        shares = flat.softmax(1) * flat.shape[1]
        return (shares * (self.gain * flat + self.bias) + self.mean_gain * flat).view(scores.shape)


class _Conv(nn.Sequential):
    """A convolution, its normalisation, and ReLU."""

    def __init__(self, width: int, kernels: int, side: int, *, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(width, kernels, side, stride=stride, padding=side // 2, bias=False),
            BatchNorm(kernels),
            nn.ReLU(inplace=True),
        )


def outliner_table(config: OutlinerConfig, size: int) -> tuple[LayerRow, ...]:
    """Return the layers of an `Outliner` in order; each stage is one row."""
    network = Outliner(config, size)
    rows, side = [LayerRow("input", f"{size}×{size}×1", 0)], size
    for kernels, stage in zip(config.widths, network.down, strict=True):
        side //= 2
        rows.append(LayerRow(f"down to {side}×{side}", f"{side}×{side}×{kernels}", _count(stage)))
    for kernels, across, up in zip(config.widths[-2::-1], network.across, network.up, strict=True):
        side *= 2
        rows.append(
            LayerRow(f"up to {side}×{side}, sum", f"{side}×{side}×{kernels}", _count(across) + _count(up))
        )
    return *rows, LayerRow("conv 1×1×8, pixels shuffled", f"{size}×{size}×2", _count(network.head))


def reader_table(config: LungReaderConfig, size: int) -> tuple[LayerRow, ...]:
    """Return the layers of a `LungReader` in order; each stage is one row."""
    network = LungReader(config, size)
    side = -(-size // 2)
    rows = [LayerRow("input", f"{size}×{size}×{config.inputs}", 0)]
    stem = _count(network.stem) + _count(network.stem_norm)
    rows.append(
        LayerRow(f"conv 5×5×{config.stem}, stride 2 + norm + ReLU", f"{side}×{side}×{config.stem}", stem)
    )
    side //= 2
    rows.append(LayerRow("max-pool 2×2", f"{side}×{side}×{config.stem}", 0))
    for place, (kernels, blocks, stage) in enumerate(
        zip(config.channels, config.blocks, network.stages, strict=True)
    ):
        side = -(-side // 2) if place else side
        name = f"{blocks} residual block{'s' * (blocks > 1)} of 2 conv 3×3×{kernels}"
        rows.append(LayerRow(name, f"{side}×{side}×{kernels}", _count(stage)))
    side = -(-size // 8)
    merged = _count(network.lateral) + _count(network.pyramid_norm) + _count(network.smooth)
    rows.append(LayerRow(f"pyramid + conv 3×3×{config.pyramid}", f"{side}×{side}×{config.pyramid}", merged))
    rows.append(LayerRow("conv 1×1×1: the scores", f"{side}×{side}×1", _count(network.head)))
    return *rows, LayerRow("mean weighted by softmax, plain mean, sigmoid", "1", 3)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
