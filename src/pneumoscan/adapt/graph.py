"""Replace temperature and offset of a network: only the last operators of its graph change."""

from typing import Any

import numpy as np

from pneumoscan.errors import BundleError, importing

_PREFIX = "adapted/"


def needs_onnx() -> Any:
    """Return the module `onnx`.

    Raises:
        MissingDependencyError: It is not installed.
    """
    with importing():
        import onnx
    return onnx


def with_temperature(network: bytes, *, temperature: float, offset: float) -> bytes:
    """Return the graph of a bundle with `logit` + offset, `activation_map` + offset, and probability = sigmoid(logit / T).

    The mean of the map is still the logit. Weights and all other operators do not change.

    Args:
        network: `model.onnx` of a bundle.
        temperature: The new temperature, above 0.
        offset: Added to the logit, before the temperature.

    Raises:
        MissingDependencyError: `onnx` is not installed.
        BundleError: The graph has no float32 output `logit`.
    """
    onnx = needs_onnx()
    model = onnx.load_from_string(network)
    graph = model.graph
    outputs = {output.name: output.type.tensor_type.elem_type for output in graph.output}
    if outputs.get("logit") != onnx.TensorProto.FLOAT or "probability" not in outputs:
        raise BundleError("the network has no float32 output `logit`.", "Export the model again.")
    _drop_probability(graph)
    number = sum(tensor.name.startswith(_PREFIX) for tensor in graph.initializer)
    names = {key: f"{_PREFIX}{key}{number}" for key in ("offset", "temperature", "scaled")}
    for key, value in (("offset", offset), ("temperature", temperature)):
        graph.initializer.append(onnx.numpy_helper.from_array(np.float32(value), names[key]))
    for name in ("activation_map", "logit"):
        if name in outputs:
            inner = f"{_PREFIX}{name}{number}"
            _rename(graph, name, inner)
            graph.node.append(onnx.helper.make_node("Add", [inner, names["offset"]], [name]))
    graph.node.append(onnx.helper.make_node("Div", ["logit", names["temperature"]], [names["scaled"]]))
    graph.node.append(onnx.helper.make_node("Sigmoid", [names["scaled"]], ["probability"]))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _drop_probability(graph: Any) -> None:
    """Remove the nodes that only contribute to `probability`."""
    wanted = {output.name for output in graph.output} - {"probability"}
    while True:
        used = wanted | {name for node in graph.node for name in node.input}
        idle = [node for node in graph.node if not used & set(node.output)]
        if not idle:
            break
        for node in idle:
            graph.node.remove(node)
    idle_constants = [tensor for tensor in graph.initializer if tensor.name not in used]
    for tensor in idle_constants:
        graph.initializer.remove(tensor)


def _rename(graph: Any, name: str, new: str) -> None:
    """Rename a tensor everywhere inside the graph, so that the output with the old name is free."""
    for node in graph.node:
        for names in (node.input, node.output):
            for index, used in enumerate(names):
                if used == name:
                    names[index] = new
