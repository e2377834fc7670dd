"""Several networks combined: the mean of their answers, and heads for films of other sites."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from pneumoscan.imaging import Preprocessing
from pneumoscan.networks.layers import BatchNorm
from pneumoscan.networks.site_heads import SiteHeads
from pneumoscan.networks.transfer import Transfer


@dataclass(frozen=True)
class Member:
    """A member of a combined network.

    Attributes:
        network: A trained network with `activation_map`.
        preprocessing: Normalisation of its films.
        temperature: Divisor of its logits, so that all members have the same weight.
    """

    network: nn.Module
    preprocessing: Preprocessing
    temperature: float


class Combined(nn.Module):
    """A network whose members classify the same film. The heads use the inner maps of the last member, a `Transfer`.

    Args:
        members: Networks for films of one size, with the normalisation `fixed`.
        heads: Heads for sites; None for the mean of the members alone.
    """

    def __init__(self, members: Sequence[Member], heads: SiteHeads | None = None) -> None:
        super().__init__()
        first = members[0].preprocessing
        self.networks = nn.ModuleList(member.network for member in members)
        # The films have the normalisation of the first member.
        self.scales = [first.std / member.preprocessing.std for member in members]
        self.shifts = [
            (first.mean - member.preprocessing.mean) / member.preprocessing.std for member in members
        ]
        self.temperatures = [member.temperature for member in members]
        self.heads = heads

    def forward(self, film: torch.Tensor) -> torch.Tensor:
        """Return logits (N,): the means of the maps."""
        return self.activation_map(film).mean((1, 2))

    def activation_map(self, film: torch.Tensor) -> torch.Tensor:
        """Return the evidence for PNEUMONIA (N, h, w) for films (N, 1, S, S) normalised for the first member."""
        return self.map_and_scores(film)[0]

    def map_and_scores(self, film: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the evidence (N, h, w), and the scores of the sites (N, sites); None without heads."""
        general, inner = self.general(film)
        if self.heads is None:
            return general, None
        scores = self.heads.scores(inner)
        return self.heads.mixed(general, inner, scores), scores

    def general(self, film: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the mean of the evidence of the members (N, h, w), and the inner maps of the last one."""
        *others, last = self.networks
        assert isinstance(last, Transfer)
        evidence, inner = last.map_and_inner(self._film_for(len(others), film))
        total = evidence / self.temperatures[-1]
        for place, network in enumerate(others):
            own: torch.Tensor = network.activation_map(self._film_for(place, film))  # type: ignore[operator]
            total = total + own / self.temperatures[place]
        return total / len(self.networks), inner

    def _film_for(self, place: int, film: torch.Tensor) -> torch.Tensor:
        return film * self.scales[place] + self.shifts[place]


@torch.no_grad()
def fold_norms(network: nn.Module) -> None:
    """Fold each normalisation `x_norm` into the convolution `x` before it. The answers stay the same; training is no longer possible."""
    for module in list(network.modules()):
        for name, norm in list(module.named_children()):
            convolution = getattr(module, name.removesuffix("_norm"), None)
            if not isinstance(norm, BatchNorm) or not isinstance(convolution, nn.Conv2d):
                continue
            factor = norm.weight / (norm.variance + norm.epsilon).sqrt()
            convolution.weight.mul_(factor[:, None, None, None])
            norm.bias.sub_(norm.mean * factor)
            norm.weight.fill_(1)
            norm.mean.zero_()
            norm.variance.fill_(1 - norm.epsilon)


@torch.no_grad()
def round_to_half(network: nn.Module, *, least: int = 1000) -> None:
    """Round the weights of large convolutions to float16, so that a graph stores them exactly in half the bytes."""
    for tensor in network.parameters():
        if tensor.ndim == 4 and tensor.numel() >= least:
            tensor.copy_(tensor.half().float())
