"""A tiny true bundle, drawn with `onnx.helper`: the film's weighted mean is the logit."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from pneumoscan.bundle.load import BundleSpec, self_check_inputs, self_check_of
from pneumoscan.bundle.write import write_bundle
from pneumoscan.imaging import Preprocessing

SIZE, GAIN, SHIFT, TEMPERATURE = 32, 12.0, -5.0, 1.5


def make_onnx(*, gain: float = GAIN, shift: float = SHIFT, size: int = SIZE, batch: int | str = "N") -> bytes:
    """Draw the network: weighted mean → logit; logit / temperature → sigmoid; 4×4 mean pooling → map."""
    weights = np.linspace(0.5, 1.5, size * size, dtype=np.float32).reshape(1, 1, size, size) * gain
    constants = {"w": weights, "b": np.float32(shift), "t": np.float32(TEMPERATURE), "axes": np.array([1])}
    axes = {"axes3": np.array([1, 2, 3])}
    nodes = [
        helper.make_node("Mul", ["film", "w"], ["weighted"]),
        helper.make_node("ReduceMean", ["weighted", "axes3"], ["mean"], keepdims=0),
        helper.make_node("Add", ["mean", "b"], ["logit"]),
        helper.make_node("Div", ["logit", "t"], ["scaled"]),
        helper.make_node("Sigmoid", ["scaled"], ["probability"]),
        helper.make_node("AveragePool", ["weighted"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Squeeze", ["pooled", "axes"], ["activation_map"]),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "tiny",
        [info("film", TensorProto.FLOAT, [batch, 1, size, size])],
        [
            info("probability", TensorProto.FLOAT, [batch]),
            info("logit", TensorProto.FLOAT, [batch]),
            info("activation_map", TensorProto.FLOAT, [batch, size // 8, size // 8]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in {**constants, **axes}.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def true_logits(films: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """What the network of `make_onnx` says, by numpy: films (N, 1, SIZE, SIZE) → (N,)."""
    weights = np.linspace(0.5, 1.5, SIZE * SIZE).reshape(SIZE, SIZE) * GAIN
    return (films[:, 0] * weights).mean((1, 2)) + SHIFT


def make_spec(**changes: Any) -> BundleSpec:
    """Describe the network of `make_onnx`."""
    preprocessing = Preprocessing(size=SIZE)
    point = {"threshold": 0.5, "source": "fixed", "n": 10, "n_positive": 5, "recall": 0.9, "f1": None}
    values: dict[str, Any] = {
        "name": "tiny",
        "preprocessing": preprocessing,
        "temperature": TEMPERATURE,
        "thresholds": {"balanced": point, "sensitive": {**point, "threshold": 0.3, "source": "val: best F1"}},
        "default_operating_point": "balanced",
        "training": {"data_sha256": "0" * 64, "n_films": 10, "n_patients": 5, "seed": 0},
        "commit": "",
        "licence": {"code": "Apache-2.0"},
        "created": "2026-01-01T00:00:00Z",
        "pneumoscan_version": "0.1.0",
        "parameters": SIZE * SIZE + 1,
        "self_check": self_check_of(true_logits(self_check_inputs(preprocessing)), TEMPERATURE),
        "outputs": ("probability", "logit", "activation_map"),
    }
    return BundleSpec(**{**values, **changes})


def write_tiny_bundle(out: Path) -> Path:
    """Write the bundle to the folder `out`, and return it."""
    write_bundle(out, onnx=make_onnx(), spec=make_spec(), readme="# tiny\n")
    return out
