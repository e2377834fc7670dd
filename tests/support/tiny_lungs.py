"""A tiny true bundle that reads the lungs: dark is lung, and the mean of the crop is the logit."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import tiny_bundle
from onnx import TensorProto, helper, numpy_helper

from pneumoscan.bundle.load import BundleSpec, lung_answers, self_check_inputs, self_check_of
from pneumoscan.bundle.spec import LUNG_PREPROCESSING, LungSpec
from pneumoscan.bundle.write import write_bundle
from pneumoscan.imaging import Preprocessing
from pneumoscan.imaging.lungs import SHAPE_FACTS, SIDE

SIZE, GAIN, SHIFT, TEMPERATURE = 32, 2.0, -0.5, 1.5
PREPROCESSING = Preprocessing(size=SIZE, normalisation="per_film", input="lungs")
LIMITS: dict[str, dict[str, float | None]] = {
    "share": {"unsure": 0.1, "not_a_chest_film": 0.02},
    "balance": {"unsure": 0.3, "not_a_chest_film": None},
    "cut": {"unsure": 0.1, "not_a_chest_film": 0.9},
    "distance": {"unsure": 20.0, "not_a_chest_film": 40.0},
}

# What a bundle says of its regions.
REGIONS_RECORD = {
    "level": 0.02,
    "source": "drawn",
    "measured": [
        {
            "films": "drawn films", "n": 10, "hottest_in_a_box": 0.75, "random_in_a_box": 0.25, "shown": 8,
            "evidence_in_boxes": 0.5, "regions": 12, "regions_in_a_box": 0.5, "boxes": 9, "boxes_with_a_region": 0.6, "overlap": 0.4,
        }
    ],
}  # fmt: skip


def _model(nodes: list[Any], shapes: dict[str, list[Any]], constants: dict[str, Any]) -> bytes:
    """Draw a graph whose input is `film`, and whose other shapes are its outputs."""
    info = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])
        for name, shape in shapes.items()
    ]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", info[:1], info[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def make_lungs_onnx(gain: float = -8.0) -> bytes:
    """Draw the lungs network: both logits are `gain` × (grey + 0.5), in deviations of the film."""
    nodes = [
        helper.make_node("Add", ["film", "half"], ["shifted"]),
        helper.make_node("Mul", ["shifted", "gain"], ["lungs"]),
    ]
    shapes: dict[str, list[Any]] = {"film": [1, SIDE, SIDE], "lungs": [2, SIDE, SIDE]}
    return _model(nodes, shapes, {"half": np.float32(0.5), "gain": np.full((1, 2, 1, 1), gain, np.float32)})


def lung_logits(films: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What the network of `make_lungs_onnx` says, by numpy: (N, 1, SIDE, SIDE) → (N, 2, SIDE, SIDE)."""
    return np.repeat((films + np.float32(0.5)) * np.float32(-8), 2, axis=1)


def make_onnx() -> bytes:
    """Draw the classifier: mean of both channels → map of 4×4 → its mean is the logit."""
    nodes = [
        helper.make_node("ReduceMean", ["film", "one"], ["both"], keepdims=1),
        helper.make_node("AveragePool", ["both"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Squeeze", ["pooled", "one"], ["flat"]),
        helper.make_node("Mul", ["flat", "gain"], ["gained"]),
        helper.make_node("Add", ["gained", "shift"], ["activation_map"]),
        helper.make_node("ReduceMean", ["activation_map", "all"], ["logit"], keepdims=0),
        helper.make_node("Div", ["logit", "temperature"], ["scaled"]),
        helper.make_node("Sigmoid", ["scaled"], ["probability"]),
    ]
    numbers = {"gain": np.float32(GAIN), "shift": np.float32(SHIFT), "temperature": np.float32(TEMPERATURE)}
    shapes: dict[str, list[Any]] = {
        "film": [2, SIZE, SIZE], "probability": [], "logit": [], "activation_map": [4, 4],
    }  # fmt: skip
    return _model(nodes, shapes, {**numbers, "one": np.array([1]), "all": np.array([1, 2])})


def true_logits(films: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """What the network of `make_onnx` says, by numpy: films (N, 2, SIZE, SIZE) → (N,)."""
    return films.mean((1, 2, 3), dtype=np.float64) * GAIN + SHIFT


def make_lung_spec(**changes: Any) -> LungSpec:
    """Describe the network of `make_lungs_onnx`."""
    facts = len(SHAPE_FACTS)
    values: dict[str, Any] = {
        "answers": lung_answers(lung_logits(self_check_inputs(LUNG_PREPROCESSING))),
        "limits": LIMITS,
        "shape_mean": (0.0,) * facts,
        "shape_inverse": tuple(tuple(row) for row in np.eye(facts).tolist()),
        "source": "drawn",
    }
    return LungSpec(**{**values, **changes})


def make_spec(**changes: Any) -> BundleSpec:
    """Describe the network of `make_onnx`, with that of `make_lungs_onnx`."""
    values: dict[str, Any] = {
        "name": "tiny-lungs",
        "preprocessing": PREPROCESSING,
        "temperature": TEMPERATURE,
        "parameters": 1,
        "self_check": self_check_of(true_logits(self_check_inputs(PREPROCESSING)), TEMPERATURE),
        "lungs": make_lung_spec(),
    }
    return tiny_bundle.make_spec(**{**values, **changes})


def write_lungs_bundle(out: Path, **changes: Any) -> Path:
    """Write the bundle to the folder `out`, and return it."""
    write_bundle(out, onnx=make_onnx(), spec=make_spec(**changes), readme="# tiny\n", lungs=make_lungs_onnx())
    return out


def draw_chest(
    lungs: tuple[tuple[float, float, float, float], ...] = ((0.3, 0.5, 0.13, 0.3), (0.7, 0.5, 0.11, 0.28)),
    shape: tuple[int, int] = (240, 300),
) -> npt.NDArray[np.uint8]:
    """Draw dark ellipses (centre x, y, half-width, half-height, as shares of the film) on bright ripples."""
    y, x = (np.mgrid[: shape[0], : shape[1]] + 0.5) / np.reshape(shape, (2, 1, 1))
    film = 200 + 10 * np.sin(40 * x + 25 * y)
    for cx, cy, a, b in lungs:
        film = np.where(((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 < 1, 50 + 30 * y, film)
    return film.astype(np.uint8)
