"""Measure the figures of a model card: one record for each section.

Three checks show whether the heatmap of a bundle shows the regions that determine its answer:

1. The mean of the map is the logit.
2. If the hottest square of a film labelled PNEUMONIA is covered, the logit falls more than if another square of the same size
   is covered: "deletion" in one step (V. Petsiuk, A. Das, K. Saenko, RISE, BMVC 2018). The square is black, like the
   borders of films. The mean grey of the film is measured as well, but in a lung it looks like an opacity.
3. With random weights the map differs (J. Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018).
"""

import json
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pneumoscan.bundle.checks import MAP_OUTPUT
from pneumoscan.bundle.load import Bundle, load_bundle
from pneumoscan.classifier import certain_distance, find_in, model_name
from pneumoscan.data.layouts import Sources, load_sites
from pneumoscan.data.splits import read_split_csv
from pneumoscan.errors import FilmError, UsageError
from pneumoscan.evaluate import HELD_OUT, evaluate
from pneumoscan.files import make_folder, write_json
from pneumoscan.imaging import Film, read
from pneumoscan.imaging.perturbation import PERTURBATIONS
from pneumoscan.phantom.foreign_pictures import DRAWN, TURNED, drawn
from pneumoscan.phantom.rendering import draw_film

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


def measure_heatmaps(
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


MOST_FILMS = 1000
Note = Callable[[str], None]
Progress = Callable[[int, int], None]


def measure_run(
    run: Path,
    data: Sources,
    folder: Path,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    note: Note = lambda _: None,
    command: str = "pneumoscan card",
) -> None:
    """Measure an exported run on its held-out films and on synthetic pictures; write the records.

    Args:
        run: The run folder, with `bundle/`, `split.csv`, `history.jsonl` and `manifest.json`.
        data: The films that it was trained on, as `data.layouts.load_sites` reads them.
        folder: Folder of the records; created if absent.
        workers: Threads that read films; by default one more than cores, at most 8.
        progress: Called with films done and films in all, while the held-out films are evaluated.
        note: Called with a description of each step.
        command: The command line, for the records.

    Raises:
        UsageError: `run` is not an exported run.
        DataDamagedError: The run held out other films than these.
        BundleError: The model is damaged.
        DiskFullError, NotWritableError: A record cannot be written.
    """
    bundle = load_bundle(run)
    files = [run / name for name in ("split.csv", "history.jsonl", "manifest.json")]
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise UsageError(f"{run} is not a run folder: it has no {missing[0]}.", "Name the folder of a run.")
    note("evaluating the held-out films in 11 views")
    _write_seed(bundle, run, data, folder, workers, progress)
    facts = {"command": command, "model": model_name(bundle), "machine": _machine()}
    films, labels = _films(run, data)
    if bundle.spec.guard:
        note("measuring the out-of-distribution detector")
        found = measure_detector(bundle, films, films_are="held out by the run")
        write_json(folder / "guard.json", {**facts, **found})
    if MAP_OUTPUT in bundle.spec.outputs:
        note("checking the heatmaps")
        inputs = [bundle.input_of(film)[0][0] for film in films]
        write_json(folder / "heatmaps.json", {**facts, **measure_heatmaps(bundle, inputs, labels)})
    note("timing a film")
    write_json(folder / "latency.json", {**facts, **measure_latency(bundle)})


def _write_seed(
    bundle: Bundle, run: Path, data: Sources, folder: Path, workers: int | None, progress: Progress | None
) -> None:
    """Write the records of the run itself: metrics, history, and manifest without the list of films."""
    own = make_folder(folder / f"seed-{bundle.spec.training.get('seed')}")
    evaluation = folder / "evaluation"
    evaluate(run, data, split=HELD_OUT, out=evaluation, stress=True, workers=workers, progress=progress)
    shutil.copyfile(evaluation / "metrics.json", own / "metrics.json")
    shutil.copyfile(run / "history.jsonl", own / "history.jsonl")
    manifest: Mapping[str, Any] = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    write_json(
        own / "manifest.json", {name: value for name, value in manifest.items() if name != "film_sha256"}
    )


def _films(run: Path, data: Sources) -> tuple[list[Film], Any]:
    """Return at most `MOST_FILMS` held-out films of the run, at equal distances in the list, and their labels."""
    train = load_sites(data).of_split("train")
    held = train.take(read_split_csv(run / "split.csv", train).val)
    films, labels = [], []
    for record in held.films[:: max(1, -(-len(held) // MOST_FILMS))]:
        try:
            films.append(held.read(record))
        except FilmError:
            continue
        labels.append(record.label)
    return films, np.array(labels, dtype=np.int64)


def _machine() -> dict[str, str]:
    return {"processor": platform.processor() or platform.machine(), "system": platform.system()}


SCHEMA_VERSION = 1
CUTS = ("unusual", "not_a_chest_film")
PICTURES = 100


def measure_detector(
    bundle: Bundle, films: Sequence[Film], *, films_are: str, pictures: int = PICTURES
) -> dict[str, Any]:
    """Return the shares of real and synthetic pictures at or beyond each cut-off, by kind.

    Args:
        bundle: A bundle with `guard`.
        films: Films that the detector was not fitted to.
        films_are: Description of the films, for the card.
        pictures: Number of pictures of each synthetic kind.
    """
    cuts = cuts_of(bundle)
    own: dict[str, Callable[[Film], Film]] = {"as_it_is": lambda film: film}
    own |= {change.name: change.apply for change in PERTURBATIONS}
    turned = {name: in_pixels(change) for name, change in TURNED.items()}
    return {
        "schema_version": SCHEMA_VERSION,
        "guard": cuts,
        "films_are": films_are,
        "n_films": len(films),
        "n_pictures": pictures,
        "films": {name: shares(bundle, map(change, films)) for name, change in own.items()},
        "turned": {name: shares(bundle, map(change, films)) for name, change in turned.items()},
        "drawn": {
            kind: shares(bundle, (film_of(drawn(kind, seed)) for seed in range(pictures))) for kind in DRAWN
        },
        "milliseconds": milliseconds(bundle),
    }


def shares(bundle: Bundle, films: Iterable[Film]) -> dict[str, float]:
    """Return which share of some films is at or beyond each cut-off."""
    cuts = cuts_of(bundle)
    distances = np.array([distance_of(bundle, film) for film in films])
    return {name: round(float((distances >= cuts[name]).mean()), 4) for name in CUTS}


def cuts_of(bundle: Bundle) -> dict[str, float]:
    """Return the distances from which a film is at least UNSURE, and NOT_A_CHEST_FILM."""
    cuts = bundle.spec.guard
    assert cuts is not None
    return {"unusual": float(cuts["unusual"]), "not_a_chest_film": certain_distance(cuts)}


def distance_of(bundle: Bundle, film: Film) -> float:
    """Return the distance of a film from the training films."""
    distance = find_in(bundle, film, bundle.spec.threshold()).distance
    assert distance is not None
    return distance


def film_of(pixels: npt.NDArray[np.uint8]) -> Film:
    """Return pixels as a film, also those of one colour, which `read` refuses."""
    some = np.indices(pixels.shape).sum(0).astype(np.uint8)
    return replace(read(some), pixels=pixels)


def in_pixels(change: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]) -> Callable[[Film], Film]:
    """Return a change of pixels as a change of films."""
    return lambda film: film.changed(lambda pixels: np.ascontiguousarray(change(pixels)))


def milliseconds(bundle: Bundle, rounds: int = 300) -> dict[str, float]:
    """Return the median time of one film with and without the detector, in turn, on one thread."""
    size, channels = bundle.spec.preprocessing.size, bundle.spec.preprocessing.channels
    film = np.random.default_rng(0).random((1, channels, size, size), dtype=np.float32)
    asked = {"without_guard": ["logit"], "with_guard": ["logit", "distance"]}
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(rounds):
        for name, outputs in asked.items():
            start = time.perf_counter()
            bundle.session.run(outputs, {"film": film})
            taken[name].append(1000 * (time.perf_counter() - start))
    return {name: round(median(values), 4) for name, values in taken.items()}


ROUNDS, FILMS = 9, 100
_PREPARING = {"film": "shrinking and normalising", "lungs": "finding the lungs, cutting and normalising"}


def measure_latency(bundle: Bundle, *, rounds: int = ROUNDS, films: int = FILMS) -> dict[str, Any]:
    """Measure each step, one film at a time; the result of a round is its median.

    Args:
        bundle: A bundle, loaded with one thread.
        rounds: Number of rounds for each step.
        films: Number of films per round.
    """
    pixels, picture = draw_film(0, 0, label=1, size=(1000, 1300)), BytesIO()
    Image.fromarray(pixels).save(picture, "JPEG", quality=92)
    data, film = picture.getvalue(), read(pixels)
    batch = bundle.input_of(film)[0]
    steps: dict[str, Callable[[], object]] = {
        "network with all its outputs, ms": lambda: bundle.run(batch),
        f"{_PREPARING[bundle.spec.preprocessing.input]} 1300×1000, ms": lambda: bundle.input_of(film),
        "reading and decoding a JPEG of 1300×1000, ms": lambda: read(data),
    }
    raw = {name: [_median(step, films) for _ in range(rounds)] for name, step in steps.items()}
    return {
        "medians": {name: round(median(found), 3) for name, found in raw.items()},
        "raw": raw,
        "films_a_round": films,
    }


def _median(step: Callable[[], object], count: int) -> float:
    step()
    times = []
    for _ in range(count):
        started = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - started))
    return median(times)
