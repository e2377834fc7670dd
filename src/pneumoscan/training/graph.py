"""The network and its guard as one ONNX graph: what a reader of films meets."""

import logging
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from pneumoscan.inference.spec import MAP_OUTPUT, REQUIRED_OUTPUTS
from pneumoscan.inference.trust import DISTANCE_OUTPUT
from pneumoscan.training.guard import Guard


def onnx_graph(network: nn.Module, size: int, temperature: float, guard: Guard | None = None) -> bytes:
    """Return a network as ONNX: `film` float32 (N, 1, size, size) → `probability` (N,), `logit` (N,) and what else it has.

    A network with a method `activation_map` gives the output of that name, (N, h, w), and its logit is computed from it; a
    guard gives `distance` (N,). The weights are inside; no other file belongs to the graph.
    """
    # It says of each operator of torchvision that torchvision is not there; nothing here wants it.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    example = torch.zeros(2, 1, size, size)
    reader = _Reader(network, temperature, guard).eval()
    with warnings.catch_warnings():
        # The exporter warns of its own deprecations; none of them concerns the graph.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            reader,
            (example,),
            input_names=["film"],
            output_names=list(reader.outputs),
            dynamic_shapes={"film": {0: torch.export.Dim("films")}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return bytes(_without_traces(program.model_proto).SerializeToString())


def _without_traces(model: Any) -> Any:
    """Clear what the exporter notes about how the graph was made: source lines, with the paths of this machine."""
    graph = model.graph
    parts = (model, graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output)
    for part in parts:
        del part.metadata_props[:]
        part.ClearField("doc_string")
    return model


class _Reader(nn.Module):
    """The network as a reader meets it: probability after the temperature, logit before it, map and distance if there are any."""

    def __init__(self, network: nn.Module, temperature: float, guard: Guard | None) -> None:
        super().__init__()
        self.network, self.guard = network, guard
        self.temperature = temperature
        self.activation_map: Callable[[torch.Tensor], torch.Tensor] | None
        self.activation_map = getattr(network, "activation_map", None)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what `forward` gives, in order."""
        maps = () if self.activation_map is None else (MAP_OUTPUT,)
        return (*REQUIRED_OUTPUTS, *maps, *(() if self.guard is None else (DISTANCE_OUTPUT,)))

    def forward(self, film: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found: list[torch.Tensor] = []
        if self.activation_map is None:
            logit = self.network(film)
        else:
            found.append(self.activation_map(film))
            logit = found[0].mean((1, 2))
        if self.guard is not None:
            found.append(self.guard(film))
        return torch.sigmoid(logit / self.temperature), logit, *found
