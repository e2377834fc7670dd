"""Max-pooling with ReLU for training in 16-bit precision on a CPU.

torch's max-pooling stores a 64-bit index of each maximum and takes a third of a training step of the baseline. Here the
maximum is taken over the integers with the same bits. Floating-point numbers from 0 on are in the order of those integers,
and ReLU makes the order of the others irrelevant. The place of each maximum is found again in the backward pass.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# torch converts these to float32 and back for each comparison. In float32 there is nothing to gain.
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
