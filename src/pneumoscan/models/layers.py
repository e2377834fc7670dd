"""Layers that torch does not have in the form that exact resuming needs."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn


class Dropout(nn.Module):
    """Inverted dropout that draws its mask from its own generator.

    torch's dropout draws from one global stream, so that its masks depend on everything drawn before and on which thread
    came first. Here the training loop seeds `generator` for every micro-batch, and the masks of a step are the same
    after a resume, on any number of worker threads and in any number of processes.

    With `whole_maps` it drops channels of (N, C, h, w) as a whole (J. Tompson et al., CVPR 2015, section 3.2).

    Source: Srivastava et al., "Dropout", JMLR 15 (2014) 1929-1958.
    """

    def __init__(self, probability: float, *, whole_maps: bool = False) -> None:
        super().__init__()
        self.probability = probability
        self.whole_maps = whole_maps
        self.generator: torch.Generator | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Zero each value with `probability` and scale the rest to keep the mean; in evaluation return `x`."""
        if not self.training or self.probability == 0:
            return x
        keep = 1 - self.probability
        shape = (*x.shape[:2], 1, 1) if self.whole_maps else x.shape
        mask = torch.rand(shape, generator=self.generator, device=x.device) < keep
        return x * mask / keep

    def extra_repr(self) -> str:
        """Name the probability in the printed network."""
        return f"probability={self.probability}"


def seed_dropout(network: nn.Module, seed: int) -> None:
    """Give every `Dropout` of a network a generator that starts from `seed` (and the layer's place)."""
    for place, layer in enumerate(module for module in network.modules() if isinstance(module, Dropout)):
        if layer.generator is None:
            layer.generator = torch.Generator(next(network.parameters()).device)
        layer.generator.manual_seed((seed * 1_000_003 + place) % (1 << 63))


class BatchNorm(nn.Module):
    """Batch normalisation by the statistics of the micro-batch; those for reading are set once, by `calibrate`.

    torch's layer moves running statistics along with every micro-batch, so that they would depend on which thread came
    first, and would belong to no one set of weights, least of all to averaged ones. Here training keeps none: `mean`
    and `variance` are what `calibrate` measured with the very weights that are validated and saved. With `frozen` they
    are those that came with pretrained weights, in training and in reading, and `calibrate` leaves them alone.

    Sources: S. Ioffe, C. Szegedy, ICML 2015; statistics of part of a batch: E. Hoffer, I. Hubara, D. Soudry, NeurIPS
    2017, section 4; statistics measured anew for given weights: P. Izmailov et al., UAI 2018, section 3.2.
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
        """Name the number of channels in the printed network."""
        return f"channels={self.weight.numel()}"


def has_batch_norm(network: nn.Module) -> bool:
    """Say whether a network needs `calibrate` before it reads."""
    return any(isinstance(module, BatchNorm) and not module.frozen for module in network.modules())


@torch.no_grad()
def calibrate(network: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Set the statistics of every `BatchNorm` to the mean over batches of what the batches themselves have.

    Args:
        network: Left in evaluation mode.
        batches: Inputs as in training, each as large as a micro-batch; at least one.
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
