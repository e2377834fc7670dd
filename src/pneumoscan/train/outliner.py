"""Lungs in training: what the cache keeps for the two networks of the lungs, and the outliner that a run wrote.

The outliner learns from three planes: the squashed film, the mask of the lung field, the mask of the aerated lung. A classifier
that reads lungs learns from three planes of the box of the lungs: the grey levels, the aerated lung, the boxes that a
radiologist drew. Both are what prediction computes, so that a film looks the same in training and in use.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from PIL import Image, ImageDraw
from torch import nn

from pneumoscan.bundle.checks import LUNGS_OUTPUT
from pneumoscan.bundle.contents import LUNGS, SHIPPED, SPEC
from pneumoscan.bundle.load import lung_answers, self_check_inputs
from pneumoscan.bundle.spec import FACTS, HIGH_IS_BAD, LUNG_PREPROCESSING, LungSpec
from pneumoscan.data.cache import Preparation
from pneumoscan.data.manifest import FilmRecord, Manifest
from pneumoscan.errors import ConfigError, UsageError
from pneumoscan.files import write_atomic, write_json
from pneumoscan.imaging import Film, preprocess
from pneumoscan.imaging.lungs import SIDE, Lungs, Quality, find_lungs, fit_shapes, shape_distance
from pneumoscan.imaging.preprocessing import box_crop, cut_film, lung_crop, squash
from pneumoscan.networks.exported import halved, onnx_of
from pneumoscan.train.config import AugmentationConfig, TrainingConfig
from pneumoscan.train.films import TrainingFilms, micro_batches

LUNGS_JSON = "lungs.json"
VERSION = 1
"""Version of what the cache keeps; another version gives another key."""
# One of a hundred held-out films, most of them changed, is called unsure for a fact about its lungs. Two of a thousand have
# outlines that failed, and say nothing about chest films.
_UNSURE, _FAILED = 0.01, 0.002
_CHANGED_VIEWS = 4
_BEYOND = 0.5
# One lung, or lungs that reach the edge, can be those of a patient; these facts alone never say that a film is none.
_CERTAIN = frozenset({"share", "upright", "distance"})
# A changed film is often cut off at the edge, as few films are: only unchanged ones say how often lungs are cut.
_UNCHANGED = frozenset({"cut"})


class LungsNetwork:
    """The outliner of a finished run or of a model: its graph and its description. `find` is thread-safe."""

    def __init__(self, graph: bytes, spec: LungSpec) -> None:
        self.graph, self.spec = graph, spec
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    @classmethod
    def at(cls, place: str) -> "LungsNetwork":
        """Open the lungs network of a run or model; empty: of the default model.

        Raises:
            ConfigError: There is no lungs network.
        """
        folder = Path(place) if place else SHIPPED
        for inner in (folder, folder / "bundle"):
            for described in (inner / LUNGS_JSON, inner / SPEC):
                if described.is_file() and (inner / LUNGS).is_file():
                    value = json.loads(described.read_text(encoding="utf-8"))
                    spec = LungSpec.from_json(value["lungs"] if described.name == SPEC else value)
                    return cls((inner / LUNGS).read_bytes(), spec)
        raise ConfigError(
            f"data.lungs: {folder} has no lungs network.",
            "Name a finished run of `pneumoscan train --preset lungs`, or a model with lungs.onnx.",
        )

    def in_half(self) -> "LungsNetwork":
        """Return the network with weights of two bytes, as bundles store it, and with its own known answers."""
        small = LungsNetwork(halved(self.graph), self.spec)
        known = small._session.run([LUNGS_OUTPUT], {"film": self_check_inputs(LUNG_PREPROCESSING)})[0]
        small.spec = replace(self.spec, answers=lung_answers(known))
        return small

    def find(self, film: Film) -> Lungs:
        """Return the lungs of a film, as prediction finds them."""
        batch = preprocess(film, LUNG_PREPROCESSING)[None, None]
        return find_lungs(self._session.run([LUNGS_OUTPUT], {"film": batch})[0][0], self.spec.margin)


def preparation_of(config: TrainingConfig, manifest: Manifest) -> Preparation | None:
    """Return what the cache keeps of the films for a configuration; None for squashed whole films.

    Raises:
        ConfigError: `data.lungs` has no lungs network.
    """
    size = config.data.size
    if config.model.name == "outliner":

        def masks(film: Film, record: FilmRecord) -> npt.NDArray[np.uint8]:
            both = (manifest.mask_of(record, name, (size, size)) for name in (record.mask, record.aerated))
            return np.stack([squash(film, size), *both])

        return Preparation(f"masks {VERSION}", 3, _facts(manifest), masks)
    if config.data.input == "film":
        return None
    network = LungsNetwork.at(config.data.lungs)

    def lungs(film: Film, record: FilmRecord) -> npt.NDArray[np.uint8]:
        film, frame = manifest.with_lungs(film, record), 0
        if film.lungs is None:
            found = network.find(film)
            crop, box = lung_crop(film, found, size), found.box
        else:
            crop, frame, box = cut_film(film, size)
        drawn = Image.new("L", (film.width + 2 * frame, film.height + 2 * frame))
        pen = ImageDraw.Draw(drawn)
        for left, top, width, height in record.boxes:
            pen.rectangle((left + frame, top + frame, left + frame + width, top + frame + height), fill=255)
        return np.concatenate([crop, box_crop(np.asarray(drawn), box, size)[None]])

    key = f"lungs {VERSION} {hashlib.sha256(network.graph).hexdigest()} {network.spec.margin}"
    return Preparation(key, 3, _facts(manifest), lungs)


def _facts(manifest: Manifest) -> Callable[[FilmRecord], str]:
    """Return the text of a record for the key of the cache: its boxes, and the content of its masks."""

    def facts(record: FilmRecord) -> str:
        parts = [repr(record.boxes)]
        for name in (record.mask, record.aerated):
            path = manifest.beside(record, name)
            parts.append(hashlib.sha256(path.read_bytes()).hexdigest() if name and path.is_file() else name)
        return " ".join(parts)

    return facts


def write_outliner(
    network: nn.Module, config: TrainingConfig, films: TrainingFilms, out: Path, *, source: str
) -> LungSpec:
    """Write `lungs.onnx` and `lungs.json` of a finished outliner.

    The limits of what counts as lungs are chosen on the held-out films: `unsure` where one in a hundred of them lies, and
    `not_a_chest_film` half as far again as all but two of a thousand. Other hospitals leave more or less room around the
    lungs than that of the training, and turn patients differently. So each film counts unchanged and in four versions with
    the augmentation of the run, uncropped; how far lungs are cut off by the edge is judged by unchanged films alone.

    Args:
        network: The outliner in evaluation mode.
        config: Its configuration.
        films: Its films and hold-out.
        out: The folder.
        source: What the held-out films are, in words.

    Raises:
        UsageError: The size of the films is not that of the outliner.
    """
    if config.data.size != SIDE or films.preprocessing != LUNG_PREPROCESSING:
        raise UsageError(
            f"the outliner reads films of {SIDE} pixels, normalised per film.",
            f"Train with data.size={SIDE} and data.normalisation=per_film.",
        )
    graph = onnx_of(network, torch.zeros(2, 1, SIDE, SIDE), (LUNGS_OUTPUT,))
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    known = session.run([LUNGS_OUTPUT], {"film": self_check_inputs(LUNG_PREPROCESSING)})[0]

    def found(changes: AugmentationConfig | None, epoch: int) -> list[Quality]:
        return [
            find_lungs(logits).quality
            for rows in micro_batches(films.val, 16)
            for logits in session.run(
                [LUNGS_OUTPUT],
                {"film": films.views(rows, changes, seed=config.loop.seed, epoch=epoch)[0].numpy()},
            )[0]
        ]

    unchanged = found(None, 0)
    uncropped = config.augmentation.model_copy(update={"crop": 1.0, "crop_aspect": 1.0})
    changed = [
        quality for view in range(_CHANGED_VIEWS) for quality in found(uncropped, config.loop.epochs + view)
    ]
    mean, inverse = fit_shapes(np.array([quality.shape for quality in unchanged if quality.parts]))
    facts: dict[str, list[float]] = {name: [] for name in FACTS}
    for name, values in facts.items():
        for quality in unchanged if name in _UNCHANGED else unchanged + changed:
            distance = shape_distance(quality, mean, inverse) if quality.parts else 0.0
            values.append(float(getattr(quality, name, distance)))
    spec = LungSpec(
        answers=lung_answers(known),
        limits={name: _limits(np.array(values), name) for name, values in facts.items()},
        shape_mean=tuple(mean.tolist()),
        shape_inverse=tuple(tuple(row) for row in inverse.tolist()),
        source=source,
    )
    write_atomic(out / LUNGS, graph)
    write_json(out / LUNGS_JSON, asdict(spec))
    return spec


def _limits(values: npt.NDArray[np.float64], name: str) -> dict[str, float | None]:
    """Return where a fact becomes unusual, and where no chest film lies: half as far again as the most unusual value."""
    sign = 1 if name in HIGH_IS_BAD else -1
    unsure, worst = (sign * float(np.quantile(sign * values, 1 - share)) for share in (_UNSURE, _FAILED))
    beyond = worst + sign * _BEYOND * abs(worst)
    certain = name in _CERTAIN and sign * beyond > sign * unsure
    return {"unsure": unsure, "not_a_chest_film": beyond if certain else None}
