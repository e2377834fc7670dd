"""Layers that torch does not have in the form that exact resuming needs."""

import torch
from torch import nn


class Dropout(nn.Module):
    """Inverted dropout that draws its mask from its own generator.

    torch's dropout draws from one global stream, so that its masks depend on everything drawn before and on which thread
    came first. Here the training loop seeds `generator` for every micro-batch, and the masks of a step are the same
    after a resume, on any number of lanes and in any number of processes.

    Source: Srivastava et al., "Dropout", JMLR 15 (2014) 1929-1958.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.generator: torch.Generator | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Zero each value with `probability` and scale the rest to keep the mean; in evaluation return `x`."""
        if not self.training or self.probability == 0:
            return x
        keep = 1 - self.probability
        mask = torch.rand(x.shape, generator=self.generator, device=x.device) < keep
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
