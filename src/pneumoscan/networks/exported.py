"""The network and its out-of-distribution detector as one ONNX graph."""

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from pneumoscan.bundle.checks import DISTANCE_OUTPUT, FEATURES_OUTPUT, MAP_OUTPUT, REQUIRED_OUTPUTS
from pneumoscan.networks.layers import BatchNorm
from pneumoscan.networks.ood_detector import OODDetector

# Smaller arrays are not worth an extra node.
_WORTH_HALVING = 1000


def onnx_graph(
    network: nn.Module,
    size: int,
    temperature: float,
    detector: OODDetector | None = None,
) -> bytes:
    """Return a network as ONNX: `film` float32 (N, channels, size, size) → `probability` (N,), `logit` (N,) and further outputs.

    A network with a method `activation_map` has the output of that name, (N, h, w), and its logit is computed from it. A detector
    gives `distance` (N,), a network with `evidence_and_features` or `logit_and_features` also `features` (N, k). The graph contains the weights. Float32 weights that are exactly representable in float16 are stored
    in float16.
    """
    reader = _Reader(network, temperature, detector).eval()
    channels = getattr(getattr(network, "config", None), "inputs", 1)
    return onnx_of(reader, torch.zeros(2, channels, size, size), reader.outputs)


def onnx_of(network: nn.Module, example: torch.Tensor, outputs: Sequence[str]) -> bytes:
    """Return a network in evaluation mode as ONNX with the input `film`, whose first axis has any length.

    Args:
        network: The network.
        example: Two inputs.
        outputs: Names of its outputs.
    """
    # They log every operator of torchvision that is missing, and every node that is not folded.
    for chatty in ("torch.onnx._internal.exporter._registration", "onnxscript.optimizer._constant_folding"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # The exporter warns about its own deprecations, which do not concern the graph.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (example,),
            input_names=["film"],
            output_names=list(outputs),
            dynamic_shapes=({0: torch.export.Dim("films")},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return bytes(_halved(_without_traces(program.model_proto)).SerializeToString())


def _without_traces(model: Any) -> Any:
    """Remove the notes of the exporter about source lines, which contain paths of this machine."""
    graph = model.graph
    parts = (model, graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output)
    for part in parts:
        del part.metadata_props[:]
        part.ClearField("doc_string")
    return model


def halved(graph: bytes) -> bytes:
    """Return a graph whose large float32 weights are rounded to float16, and cast back when it is loaded."""
    import onnx

    return bytes(_halved(onnx.load_from_string(graph), rounding=True).SerializeToString())


def _halved(model: Any, *, rounding: bool = False) -> Any:
    """Store large float32 weights in two bytes, and cast them when the graph is loaded; unless `rounding`, exact ones alone."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < _WORTH_HALVING:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        # An exporter that folds a normalisation by 1 into a weight may change its last bit.
        if not (rounding or np.allclose(half.astype(np.float32), values, rtol=1e-6, atol=1e-9)):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


class _Reader(nn.Module):
    """The exported network: probability after the temperature, logit before it, and map, distance and features if there are any."""

    def __init__(self, network: nn.Module, temperature: float, detector: OODDetector | None) -> None:
        super().__init__()
        # The name `guard` is part of the names of the weights in the graph.
        self.network, self.guard = network, detector
        self.temperature = temperature
        self.activation_map: Callable[[torch.Tensor], torch.Tensor] | None
        self.activation_map = getattr(network, "activation_map", None)
        # Either gives what it is named after, the map or the logit, with the vector before the last layer.
        told = "logit_and_features" if self.activation_map is None else "evidence_and_features"
        self.with_features: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]] | None
        self.with_features = getattr(network, told, None)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs of `forward`, in order."""
        maps = () if self.activation_map is None else (MAP_OUTPUT,)
        distances = () if self.guard is None else (DISTANCE_OUTPUT,)
        features = () if self.with_features is None else (FEATURES_OUTPUT,)
        return (*REQUIRED_OUTPUTS, *maps, *distances, *features)

    def forward(self, film: torch.Tensor) -> tuple[torch.Tensor, ...]:
        answer, features = (
            (self.network(film) if self.activation_map is None else self.activation_map(film), None)
            if self.with_features is None
            else self.with_features(film)
        )
        found = [] if self.activation_map is None else [answer]
        logit = answer if self.activation_map is None else answer.mean((1, 2))
        if self.guard is not None:
            found.append(self.guard(film))
        found += [] if features is None else [features]
        return torch.sigmoid(logit / self.temperature), logit, *found


@torch.no_grad()
def round_weights(network: nn.Module) -> None:
    """Round the weights of large convolutions to float16, so that a graph stores them exactly in half the bytes.

    Normalisations are folded into the convolutions before them first, as the exporter folds them: `x_norm` into `x`, and in a
    sequence into the one before. Torch and the graph then give the same answers; training is no longer possible.
    """
    for module in list(network.modules()):
        children = dict(module.named_children())
        before = (
            dict(zip(list(children)[1:], children.values(), strict=False))
            if isinstance(module, nn.Sequential)
            else {}
        )
        for name, norm in children.items():
            convolution = before.get(name, children.get(name.removesuffix("_norm")))
            if isinstance(norm, BatchNorm) and isinstance(convolution, nn.Conv2d):
                factor = norm.weight / (norm.variance + norm.epsilon).sqrt()
                convolution.weight.mul_(factor[:, None, None, None])
                norm.bias.sub_(norm.mean * factor)
                norm.weight.fill_(1)
                norm.mean.zero_()
                norm.variance.fill_(1 - norm.epsilon)
    for weight in network.parameters():
        if weight.ndim == 4 and weight.numel() >= _WORTH_HALVING:
            weight.copy_(weight.half().float())
