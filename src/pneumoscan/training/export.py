"""From a finished run to a bundle: the network as an ONNX graph, its temperature and thresholds, and proof that it agrees."""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import nn

import pneumoscan
from pneumoscan.errors import BundleError
from pneumoscan.evaluation.calibration import fit_temperature
from pneumoscan.evaluation.thresholds import choose_thresholds
from pneumoscan.inference.bundle import BundleSpec, self_check_inputs, self_check_of, write_bundle
from pneumoscan.inference.spec import probability_of
from pneumoscan.models.registry import build, count_parameters
from pneumoscan.training.card import model_card
from pneumoscan.training.config import TrainingConfig
from pneumoscan.training.films import Indices, TrainingFilms, micro_batches
from pneumoscan.training.run import RunFolder

AGREEMENT = 1e-4
AUGMENTED_VIEWS = 4
DEFAULT_OPERATING_POINT = "balanced"
View = Callable[[Indices], torch.Tensor]
LICENCE = {
    "code": "Apache-2.0",
    "weights": "Apache-2.0",
    "data": "of the training films; for the Kermany et al. chest films CC BY 4.0 (doi 10.17632/rscbjbr9sj)",
}


@dataclass(frozen=True)
class Exported:
    """What an export found: the bundle's folder, films compared, and the largest difference of probability."""

    bundle: Path
    films: int
    largest_difference: float
    temperature: float
    spec: BundleSpec


class _Reader(nn.Module):
    """The network as a reader meets it: probability after the temperature, and the logit before it."""

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, film: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logit = self.network(film)
        return torch.sigmoid(logit / self.temperature), logit


def export(run: RunFolder, config: TrainingConfig, films: TrainingFilms, out: Path | None = None) -> Exported:
    """Write the bundle of a finished run.

    Both runtimes read all held-out films and must agree. Temperature and thresholds are chosen on the same films, each as
    it is and, if the run augments, in four augmented views: held-out films look like the training films, new ones do not,
    and a threshold that fits the former to the last percent is far off for the latter.

    Args:
        run: A run with `model.safetensors`.
        config: Its config.
        films: Its films and hold-out.
        out: The bundle's folder; `RUN/bundle` by default.

    Raises:
        UsageError, DataDamagedError: The run is not finished, or its weights are damaged.
        BundleError: The runtimes do not agree to `AGREEMENT` on the probability.
    """
    network = build(config.model, config.data.size)
    network.load_state_dict(run.read_weights())
    network.eval()
    views = _views(films, config)
    logits = np.stack([_torch_logits(network, films.val, view) for view in views])  # (views, films)
    y_true = np.tile(films.labels[films.val].astype(np.int64), len(views))
    temperature = fit_temperature(logits.ravel(), y_true)
    graph = onnx_graph(network, config.data.size, temperature)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    difference = _difference(session, films, probability_of(logits[0], temperature))
    known = session.run(["logit"], {"film": self_check_inputs(films.preprocessing)})[0]
    points = choose_thresholds(y_true, probability_of(logits.ravel(), temperature), on=_told(films, views))
    facts = run.read_manifest()
    spec = BundleSpec(
        name=f"{config.preset or config.model.name}-seed{config.loop.seed}",
        preprocessing=films.preprocessing,
        temperature=temperature,
        thresholds={name: point.to_json() for name, point in points.items()},
        default_operating_point=DEFAULT_OPERATING_POINT,
        training=_training_facts(config, facts),
        commit=facts.get("commit") or "",
        licence=LICENCE,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        pneumoscan_version=pneumoscan.__version__,
        parameters=count_parameters(network),
        self_check=self_check_of(known, temperature),
    )
    folder = out or run.bundle
    hashes = facts.get("film_sha256", [])
    write_bundle(folder, onnx=graph, spec=spec, readme=model_card(spec), training_films=hashes)
    return Exported(folder, len(films.val), difference, temperature, spec)


def onnx_graph(network: nn.Module, size: int, temperature: float) -> bytes:
    """Return a network as ONNX: `film` float32 (N, 1, size, size) → `probability` (N,), `logit` (N,).

    The weights are inside; no other file belongs to the graph.
    """
    # It says of each operator of torchvision that torchvision is not there; nothing here wants it.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    example = torch.zeros(2, 1, size, size)
    reader = _Reader(network, temperature).eval()
    with warnings.catch_warnings():
        # The exporter warns of its own deprecations; none of them concerns the graph.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            reader,
            (example,),
            input_names=["film"],
            output_names=["probability", "logit"],
            dynamic_shapes={"film": {0: torch.export.Dim("films")}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


def _views(films: TrainingFilms, config: TrainingConfig) -> Sequence[View]:
    """Return the ways in which held-out films are looked at: rows → inputs; the first is as they are."""
    count = 0 if config.augmentation.is_off else AUGMENTED_VIEWS
    # Another seed than the training's: its own draws are the ones the network knows.
    seed = config.loop.seed + 1
    return [films.plain] + [
        partial(films.augmented, config=config.augmentation, seed=seed, epoch=number)
        for number in range(count)
    ]


def _told(films: TrainingFilms, views: Sequence[View]) -> str:
    if len(views) == 1:
        return "held-out training films"
    return f"views of {len(films.val)} held-out training films (each as it is and augmented {len(views) - 1} times)"


def _torch_logits(network: nn.Module, rows: Indices, view: View) -> npt.NDArray[np.float32]:
    with torch.inference_mode():
        pieces = [network(view(piece)) for piece in micro_batches(rows, 16)]
    return torch.cat(pieces).numpy().astype(np.float32)


def _difference(
    session: onnxruntime.InferenceSession, films: TrainingFilms, expected: npt.NDArray[np.float64]
) -> float:
    """Return the largest difference of ONNX Runtime's probabilities of the held-out films, as they are, to torch's."""
    pieces = [
        session.run(["probability"], {"film": films.plain(rows).numpy()})[0]
        for rows in micro_batches(films.val, 16)
    ]
    difference = float(np.abs(np.concatenate(pieces) - expected).max())
    if not difference <= AGREEMENT:
        raise BundleError(
            f"torch and ONNX Runtime differ by {difference:.2g} on the probability of a held-out film "
            f"(allowed: {AGREEMENT:g}).",
            "Nothing was exported; please report it with the versions that `pneumoscan doctor` prints.",
        )
    return difference


def _training_facts(config: TrainingConfig, facts: dict[str, Any]) -> dict[str, Any]:
    films = facts.get("films", {})
    return {
        "preset": config.preset,
        "data_sha256": facts.get("data_sha256"),
        "synthetic": bool(facts.get("synthetic")),
        "n_films": films.get("train", 0) + films.get("val", 0),
        "n_patients": films.get("patients"),
        "n_positive": films.get("positive"),
        "seed": config.loop.seed,
        "split_seed": config.data.split_seed,
        "val_fraction": config.data.val_fraction,
        "epochs": facts.get("result", {}).get("epochs"),
        "kept_epoch": facts.get("result", {}).get("kept_epoch"),
        "hold_out": facts.get("result", {}).get("kept"),
        "config": config.model_dump(mode="json"),
    }
