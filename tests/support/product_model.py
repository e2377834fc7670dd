"""A tiny true model for films that no linear model can tell apart, and such films.

The logit is in the product of the upper and the lower half of a film. The sign of both is random, so neither brightness nor a thumbnail
gives the label away.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from pneumoscan.bundle.load import BundleSpec, self_check_inputs, self_check_of
from pneumoscan.bundle.write import write_bundle
from pneumoscan.imaging import Preprocessing

SIZE, GAIN, CONTRAST, SHIFT, TEMPERATURE = 32, 150.0, 0.4, -15.0, 0.3
POINTS = {"best_f1": 0.4, "balanced": 0.5, "sensitivity_98": 0.25, "of_the_ward": 0.6}


def make_onnx(*, tail: str = "divide", guarded: bool = False) -> bytes:
    """A network whose map is GAIN · (film - 0.5) · (film upside down - 0.5) + SHIFT in 4×4 fields; the logit is its mean.

    A guarded one gives the size of the logit as the distance.
    """
    constants = {
        "gain": np.float32(GAIN),
        "shift": np.float32(SHIFT),
        "axes": np.array([1]),
        "half": np.float32(0.5),
        "upside_down": np.array([3, 2, 1, 0]),
        "all": np.array([1, 2]),
        "t": np.float32(TEMPERATURE if tail != "multiply" else 1 / TEMPERATURE),
    }
    node = helper.make_node
    nodes = [
        node("AveragePool", ["film"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        node("Squeeze", ["pooled", "axes"], ["fields"]),
        node("Sub", ["fields", "half"], ["centred"]),
        node("Gather", ["centred", "upside_down"], ["turned"], axis=1),
        node("Mul", ["centred", "turned"], ["product"]),
        node("Mul", ["product", "gain"], ["scaled"]),
        node("Add", ["scaled", "shift"], ["activation_map"]),
        node("ReduceMean", ["activation_map", "all"], ["logit"], keepdims=0),
    ]
    if tail == "constant":
        nodes.append(node("Constant", [], ["t"], value=numpy_helper.from_array(constants.pop("t"))))
    nodes.append(node("Mul" if tail == "multiply" else "Div", ["logit", "t"], ["cooled"]))
    nodes.append(node("Sigmoid", ["cooled"], ["probability"]))
    nodes += [node("Abs", ["logit"], ["distance"])] * guarded
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "brightness",
        [info("film", TensorProto.FLOAT, ["N", 1, SIZE, SIZE])],
        [
            info("probability", TensorProto.FLOAT, ["N"]),
            info("logit", TensorProto.FLOAT, ["N"]),
            info("activation_map", TensorProto.FLOAT, ["N", 4, 4]),
            *[info("distance", TensorProto.FLOAT, ["N"])] * guarded,
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


FIT = {"log_loss": 0.5, "expected_calibration_error": 0.1, "brier_score": 0.2}
CALIBRATION = {
    "n": 4,
    "source": "films by hand",
    "before": {"temperature": 1.0, **FIT},
    "after": {"temperature": TEMPERATURE, **FIT},
}
BAND = {"low": 0.4, "high": 0.6, "half_width": 0.405, "films": 0.05, "errors": 0.5, "source": "narrowest"}


def write_model(
    out: Path, *, training_films=("ab" * 32,), guarded: bool = False, unusual: float = 8.0
) -> Path:
    preprocessing = Preprocessing(size=SIZE)
    fields = self_check_inputs(preprocessing).reshape(-1, 4, 8, 4, 8).mean((2, 4), dtype=np.float64) - 0.5
    known = GAIN * (fields * fields[:, ::-1]).mean((1, 2)) + SHIFT
    spec = BundleSpec(
        name="brightness",
        preprocessing=preprocessing,
        temperature=TEMPERATURE,
        thresholds={
            name: {"threshold": cut, "source": "by hand", "n": 4, "n_positive": 2}
            | ({"unsure_band": BAND} if guarded and name == "balanced" else {})
            for name, cut in POINTS.items()
        },
        default_operating_point="balanced",
        training={"data_sha256": "0" * 64, "n_films": 40, "map_full_scale": 2.5},
        commit="",
        licence={"code": "Apache-2.0"},
        created="2026-01-01T00:00:00Z",
        pneumoscan_version="0.1.0",
        parameters=2,
        self_check=self_check_of(known, TEMPERATURE),
        outputs=("probability", "logit", "activation_map") + ("distance",) * guarded,
        guard={"unusual": unusual, "not_a_chest_film": 90.0, "source": "by hand"} if guarded else None,
        calibration=CALIBRATION if guarded else None,
    )
    write_bundle(
        out,
        onnx=make_onnx(guarded=guarded),
        spec=spec,
        readme="# brightness\n\nThe old card.\n",
        training_films=training_films,
    )
    return out


def film_of(logit: float, rng: np.random.Generator) -> np.ndarray:
    """A film of 64×64 with grey values in [0, 255] for which the network gives `logit`."""
    halves = np.repeat([CONTRAST, (logit - SHIFT) / (GAIN * CONTRAST)], 32)
    return 255 * (0.5 + rng.choice([-1, 1]) * halves[:, None]) + rng.normal(0, 5, (64, 64))


def write_films(root: Path, *, films=60, shift=0.0, gap=3.3, seed=0, split="") -> Path:
    """Write films of two a patient whose logits are normal about shift ± gap / 2."""
    rng = np.random.default_rng(seed)
    for label, name in enumerate(("NORMAL", "PNEUMONIA")):
        folder = root / split / name
        folder.mkdir(parents=True)
        for number in range(films // 2):
            logit = shift + (label - 0.5) * gap + rng.normal()
            pixels = film_of(logit, rng)
            patient = 100 * seed + number // 2
            stem = f"person{patient}_virus_{number}" if label else f"IM-{patient:04d}-{number:04d}"
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{stem}.png")
    return root
