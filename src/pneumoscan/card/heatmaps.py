"""Three checks that the heatmap of a bundle shows the regions that determine its answer.

1. The mean of the map is the logit.
2. If the hottest square of a film labelled PNEUMONIA is covered, the logit falls more than if another square of the same size
   is covered: "deletion" in one step (V. Petsiuk, A. Das, K. Saenko, RISE, BMVC 2018). The square is black, like the
   borders of films. The mean grey of the film is measured as well, but in a lung it looks like an opacity.
3. With random weights the map differs (J. Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.bundle.load import Bundle

Floats = npt.NDArray[np.float64]
SQUARE = 0.25
"""Side of the covered square, as a share of the film's."""

RANDOM_SQUARES = 8


def mean_error(bundle: Bundle, films: npt.NDArray[np.float32]) -> float:
    """Return the largest difference of the map's mean to the logit over films (N, channels, S, S)."""
    outputs = bundle.run(films)
    assert outputs.activation_map is not None
    return float(np.abs(outputs.activation_map.mean((1, 2), dtype=np.float64) - outputs.logit).max())


def deletion(
    bundle: Bundle, film: npt.NDArray[np.float32], rng: np.random.Generator, paint: npt.NDArray[np.float32]
) -> tuple[float, float]:
    """Return by how much the logit of one film (channels, S, S) falls: its hottest square covered, and random squares (mean).

    `paint` is the value of the covered squares in each channel, (channels, 1, 1).

    The random squares overlap the hottest by less than half.
    """
    size = film.shape[-1]
    side = round(SQUARE * size)
    outputs = bundle.run(film[None])
    assert outputs.activation_map is not None
    hottest = _hottest(outputs.activation_map[0], size, side)
    corners = [hottest]
    while len(corners) <= RANDOM_SQUARES:
        corner = (int(rng.integers(size - side + 1)), int(rng.integers(size - side + 1)))
        if max(abs(corner[0] - hottest[0]), abs(corner[1] - hottest[1])) > side / 2:
            corners.append(corner)
    batch = np.repeat(film[None], len(corners), axis=0)
    for covered, (top, left) in zip(batch, corners, strict=True):
        covered[:, top : top + side, left : left + side] = paint
    falls = outputs.logit[0] - bundle.run(batch).logit
    return float(falls[0]), float(falls[1:].mean())


def _hottest(evidence: npt.NDArray[np.float32], size: int, side: int) -> tuple[int, int]:
    """Return the corner of the square around the highest cell of a map, moved inside the film."""
    row, column = np.unravel_index(int(evidence.argmax()), evidence.shape)
    centre = (np.array([row, column]) + 0.5) * size / np.array(evidence.shape)
    top, left = np.clip(np.rint(centre - side / 2), 0, size - side).astype(int)
    return int(top), int(left)


def random_weights(onnx_bytes: bytes, seed: int) -> Any:
    """Return an ONNX Runtime session of the same graph with the values of every kernel shuffled."""
    import onnx
    import onnxruntime
    from onnx import numpy_helper

    rng = np.random.default_rng(seed)
    graph = onnx.load_from_string(onnx_bytes)
    for tensor in graph.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim == 4:
            shuffled = rng.permutation(values.reshape(-1)).reshape(values.shape)
            tensor.CopyFrom(numpy_helper.from_array(shuffled, tensor.name))
    return onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


def map_correlations(bundle: Bundle, films: npt.NDArray[np.float32], seed: int = 0) -> Floats:
    """Return for each film the correlation of its map with that of the same graph with random weights, float64 (N,)."""
    own = bundle.run(films).activation_map
    other = random_weights((bundle.path / "model.onnx").read_bytes(), seed).run(
        ["activation_map"], {"film": films}
    )[0]
    assert own is not None
    return np.array([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(own, other, strict=True)])


def measure(
    bundle: Bundle, films: Sequence[npt.NDArray[np.float32]], y_true: npt.NDArray[np.int64]
) -> dict[str, Any]:
    """Return the three checks over the inputs of films (channels, S, S) and labels (N,)."""
    rng = np.random.default_rng(0)
    batch = np.stack(films)
    probability = np.concatenate(
        [bundle.run(batch[k : k + 32]).probability for k in range(0, len(batch), 32)]
    )
    called = np.flatnonzero((y_true == 1) & (probability >= bundle.spec.threshold()))
    falls = {
        name: np.array(
            [
                deletion(bundle, films[k], rng, paint(films[k], axis=(1, 2), keepdims=True))
                for k in called.tolist()
            ]
        )
        for name, paint in (("black", np.min), ("mean_grey", np.mean))
    }
    correlations = map_correlations(bundle, batch[:64])
    return {
        "films": len(films),
        "mean_of_map_minus_logit": max(
            mean_error(bundle, batch[k : k + 32]) for k in range(0, len(batch), 32)
        ),
        "deletion": {"films": len(called), "square": SQUARE, "paint": "black", **_falls(falls["black"])},
        "deletion_by_mean_grey": _falls(falls["mean_grey"]),
        "random_weights": {
            "films": len(correlations),
            "mean_correlation_of_maps": round(float(correlations.mean()), 3),
            "mean_absolute_correlation_of_maps": round(float(np.abs(correlations).mean()), 3),
        },
    }


def _falls(falls: Floats) -> dict[str, float]:
    return {
        "fall_of_logit_hottest": round(float(falls[:, 0].mean()), 3),
        "fall_of_logit_random": round(float(falls[:, 1].mean()), 3),
        "share_of_films_hottest_falls_more": round(float((falls[:, 0] > falls[:, 1]).mean()), 3),
    }
