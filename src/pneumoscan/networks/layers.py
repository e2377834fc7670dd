"""Layers in the form that exact resuming needs, which torch does not have; a faster max-pooling; the row of a table of layers."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class LayerRow:
    """One row of the layer table: name, output shape without the batch (H, W, C or units), parameters."""

    name: str
    output: str
    parameters: int


class Dropout(nn.Module):
    """Inverted dropout with its own random generator.

    torch's dropout uses one global random stream, so its masks depend on all earlier random numbers and on the order of the
    threads. Here the training loop seeds `generator` for every micro-batch. The masks of a step are therefore the same after
    a resume, and with any number of worker threads and processes.

    With `whole_maps` it drops whole channels of (N, C, h, w) (J. Tompson et al., CVPR 2015, section 3.2).

    Source: Srivastava et al., "Dropout", JMLR 15 (2014) 1929-1958.
    """

    def __init__(self, probability: float, *, whole_maps: bool = False) -> None:
        super().__init__()
        self.probability = probability
        self.whole_maps = whole_maps
        self.generator: torch.Generator | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Set each value to zero with `probability` and scale the rest to keep the mean; in evaluation return `x`."""
        if not self.training or self.probability == 0:
            return x
        keep = 1 - self.probability
        shape = (*x.shape[:2], 1, 1) if self.whole_maps else x.shape
        mask = torch.rand(shape, generator=self.generator, device=x.device) < keep
        return x * mask / keep

    def extra_repr(self) -> str:
        """Return the probability for the printed network."""
        return f"probability={self.probability}"


def seed_dropout(network: nn.Module, seed: int) -> None:
    """Seed the generator of every `Dropout` of a network with `seed` and the position of the layer."""
    for place, layer in enumerate(module for module in network.modules() if isinstance(module, Dropout)):
        if layer.generator is None:
            layer.generator = torch.Generator(next(network.parameters()).device)
        layer.generator.manual_seed((seed * 1_000_003 + place) % (1 << 63))


class BatchNorm(nn.Module):
    """Batch normalisation with the statistics of the micro-batch; `calibrate` sets those for prediction.

    torch's layer updates running statistics with every micro-batch. They would depend on the order of the threads, and would
    not belong to one set of weights, in particular not to averaged ones. Here training keeps no running statistics:
    `calibrate` measures `mean` and `variance` with the weights that are validated and saved. With `frozen` they are those
    of the pretrained weights, in training and prediction, and `calibrate` does not change them.

    Sources: S. Ioffe, C. Szegedy, ICML 2015; statistics of part of a batch: E. Hoffer, I. Hubara, D. Soudry, NeurIPS
    2017, section 4; statistics measured again for given weights: P. Izmailov et al., UAI 2018, section 3.2.
    """

    mean: torch.Tensor
    variance: torch.Tensor

    def __init__(
        self, channels: int, *, weight: float = 1.0, epsilon: float = 1e-5, frozen: bool = False
    ) -> None:
        super().__init__()
        self.epsilon, self.frozen = epsilon, frozen
        self.weight = nn.Parameter(torch.full((channels,), weight))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (N, C, h, w) channel by channel."""
        if not self.frozen and (self.training or self.seen is not None):
            if self.seen is not None:
                variance, mean = torch.var_mean(x.float(), dim=(0, 2, 3), correction=0)
                self.seen.append((mean, variance))
            return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.epsilon)
        return F.batch_norm(x, self.mean, self.variance, self.weight, self.bias, False, 0.0, self.epsilon)

    def extra_repr(self) -> str:
        """Return the number of channels for the printed network."""
        return f"channels={self.weight.numel()}"


def has_batch_norm(network: nn.Module) -> bool:
    """Return whether a network needs `calibrate` before prediction."""
    return any(isinstance(module, BatchNorm) and not module.frozen for module in network.modules())


@torch.no_grad()
def calibrate(network: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Set the statistics of every `BatchNorm` to the mean of the statistics of the batches.

    Args:
        network: The network; it is in evaluation mode afterwards.
        batches: Inputs as in training, each with the size of a micro-batch; at least one.
    """
    norms = [module for module in network.modules() if isinstance(module, BatchNorm) and not module.frozen]
    network.eval()  # without dropout, which would need random numbers
    with _collecting(norms):
        for batch in batches:
            network(batch)
        for norm in norms:
            assert norm.seen
            norm.mean.copy_(torch.stack([mean for mean, _ in norm.seen]).mean(0))
            norm.variance.copy_(torch.stack([variance for _, variance in norm.seen]).mean(0))


@contextmanager
def _collecting(norms: list[BatchNorm]) -> Iterator[None]:
    for norm in norms:
        norm.seen = []
    try:
        yield
    finally:
        for norm in norms:
            norm.seen = None


# Max-pooling with ReLU for training in 16-bit precision on a CPU. torch's own stores a 64-bit index of each maximum and takes a third
# of a training step of the baseline. Here the maximum is taken over the integers with the same bits. Floating-point numbers from 0 on
# are in the order of those integers, and ReLU makes the order of the others irrelevant. The place of each maximum is found again in the
# backward pass. torch converts these types to float32 and back for each comparison; in float32 there is nothing to gain.
_HALF = (torch.bfloat16, torch.float16)


def max_pool_relu(x: Tensor, *, training: bool) -> Tensor:
    """Return ReLU of the 2×2 max-pooling of a map; a last odd row or column is pooled alone ("same" padding).

    Args:
        x: float (N, C, h, w). In training in 16-bit precision on a CPU with channels last, its memory receives its own
            gradient, so nothing else may use it.
        training: Whether gradients will be needed.

    Returns:
        float (N, C, ⌈h/2⌉, ⌈w/2⌉) with the dtype of `x`. Of equal maxima the first receives the gradient, as in torch.
    """
    if training and x.requires_grad and _is_suitable(x):
        pooled: Tensor = _MaxPoolReLU.apply(x)  # type: ignore[no-untyped-call]
        return pooled
    # max and ReLU commute, so pooling first gives the same values with a quarter of the memory.
    return F.relu(F.max_pool2d(x, 2, ceil_mode=True))


def _is_suitable(x: Tensor) -> bool:
    """Return whether the sides are even and the map lies in the memory of a CPU with channels last."""
    even = x.shape[2] % 2 == 0 and x.shape[3] % 2 == 0
    last = x.is_contiguous(memory_format=torch.channels_last)
    return even and last and x.device.type == "cpu" and x.dtype in _HALF


class _MaxPoolReLU(torch.autograd.Function):
    """`max_pool_relu` for a map (N, C, h, w) with even sides and channels last. Each film is processed in the cache."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        pooled = x.new_empty(n, height // 2, width // 2, channels)
        for film, out in zip(_bits(x), pooled, strict=True):
            upper, lower = _rows(_larger_of_columns(film))
            torch.maximum(upper, lower, out=out.view(torch.int16))
            out.relu_()
        result = pooled.permute(0, 3, 1, 2)
        ctx.save_for_backward(x, result)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        x: Tensor
        x, result = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        for film, out, above in zip(_bits(x), _bits(result), _bits(gradient), strict=True):
            larger = _larger_of_columns(film)
            _distribute(above * out.clamp(0, 1), *_rows(larger))
            _distribute(larger, *_columns(film))
        return x.detach()


def _bits(x: Tensor) -> Tensor:
    """Return a map (N, C, h, w) as integers (N, h, w, C) in the same memory."""
    return x.detach().permute(0, 2, 3, 1).view(torch.int16)


def _rows(film: Tensor) -> tuple[Tensor, Tensor]:
    """Return the even and the odd rows of (h, w, C): views (h/2, w, C)."""
    return film[0::2], film[1::2]


def _columns(film: Tensor) -> tuple[Tensor, Tensor]:
    """Return the even and the odd columns of (h, w, C): views (h, w/2, C)."""
    return film[:, 0::2], film[:, 1::2]


def _larger_of_columns(film: Tensor) -> Tensor:
    return torch.maximum(*_columns(film))


def _distribute(above: Tensor, first: Tensor, second: Tensor) -> None:
    """Write `above` where the larger of two arrays is (the first if they are equal), and 0 to the other."""
    first.lt_(second)
    torch.mul(above, first, out=second)
    torch.sub(above, second, out=first)
