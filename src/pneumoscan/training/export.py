"""Export a finished run to a bundle: one ONNX graph, temperature, thresholds, and a comparison of both runtimes."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import nn

import pneumoscan
from pneumoscan.evaluation.calibration import fit_temperature
from pneumoscan.evaluation.thresholds import choose_thresholds
from pneumoscan.imaging.preprocessing import normalise
from pneumoscan.inference.bundle import Bundle, BundleSpec, load_bundle, self_check_inputs, self_check_of
from pneumoscan.inference.bundle_writing import write_bundle, write_records
from pneumoscan.inference.spec import probability_of
from pneumoscan.models.registry import build, count_parameters
from pneumoscan.training.agreement import check_agreement, check_same_network
from pneumoscan.training.card import model_card
from pneumoscan.training.combined import Combined
from pneumoscan.training.config import TrainingConfig
from pneumoscan.training.films import TrainingFilms, micro_batches
from pneumoscan.training.graph import onnx_graph, widened
from pneumoscan.training.held_out import HeldOut, read_held_out
from pneumoscan.training.limits import calibration_facts, ood_facts, unsure_band
from pneumoscan.training.ood_detector import OODDetector, fit_ood_detector
from pneumoscan.training.ood_films import turned_ways
from pneumoscan.training.records import records_of, with_stress
from pneumoscan.training.run import RunFolder

MAP_QUANTILE = 0.99
DEFAULT_OPERATING_POINT = "balanced"
LICENCE = {
    "code": "Apache-2.0",
    "weights": "Apache-2.0",
    "data": "of the training films; for the Kermany et al. chest films CC BY 4.0 (doi 10.17632/rscbjbr9sj)",
}


@dataclass(frozen=True)
class Exported:
    """Result of an export: the folder of the bundle, the compared films, and the largest difference of probability."""

    bundle: Path
    films: int
    largest_difference: float
    temperature: float
    spec: BundleSpec


@dataclass(frozen=True)
class Trained:
    """A network that can be written as a bundle.

    Attributes:
        network: The network in evaluation mode.
        held: Its outputs for the held-out films.
        temperature: Temperature, fitted to these films.
        detector: Out-of-distribution detector, fitted to training films.
        name: Name of the model; by default preset and seed.
        sites: Value of `BundleSpec.sites`; None for a network without heads.
    """

    network: nn.Module
    held: HeldOut
    temperature: float
    detector: OODDetector
    name: str = ""
    sites: dict[str, dict[str, Any]] | None = None


def export(
    run: RunFolder,
    config: TrainingConfig,
    films: TrainingFilms,
    out: Path | None = None,
    *,
    stress: Path | None = None,
) -> Exported:
    """Write the bundle of a finished run.

    Both runtimes classify all held-out films and must agree. Temperature and thresholds are chosen on these films, each
    unchanged and, if the run augments, in four augmented versions. The reason is that held-out films look like the training
    films and new films do not: a threshold that fits the former exactly can be far off for the latter. The out-of-distribution
    detector is fitted to the training films, and its thresholds are chosen on the held-out films.

    Args:
        run: A run with `model.safetensors`.
        config: Its configuration.
        films: Its films and hold-out.
        out: Folder of the bundle; by default `RUN/bundle`.
        stress: `metrics.json` of an evaluation of the held-out films of this run; its stress table is added to the records.

    Raises:
        UsageError, DataDamagedError: The run is not finished, its weights are damaged, or `stress` is of another model.
        BundleError: The runtimes do not agree to `AGREEMENT` on the probability, or on the distance.
    """
    network = _network(run, config)
    held = read_held_out(network, films, config)
    temperature = fit_temperature(held.logits.ravel(), held.y_true)
    model = Trained(network, held, temperature, fit_ood_detector(films, seed=config.loop.seed))
    return write_model(model, config, films, run.read_manifest(), out or run.bundle, stress=stress)


def write_model(
    model: Trained,
    config: TrainingConfig,
    films: TrainingFilms,
    facts: dict[str, Any],
    out: Path,
    *,
    stress: Path | None = None,
) -> Exported:
    """Write the bundle of a trained network; see `export` for choices, checks and errors.

    Args:
        model: The network and what was fitted to the held-out films.
        config: Configuration of the run.
        films: Its films and hold-out.
        facts: Content of the `manifest.json` of the run.
        out: Folder of the bundle.
        stress: See `export`.
    """
    network, held, temperature, detector = model.network, model.held, model.temperature, model.detector
    distance = _distances(detector, films, films.images[films.val])
    limits = ood_facts(distance, held.patients, _turned_distances(detector, films))
    graph = onnx_graph(network, config.data.size, temperature, detector, limits)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    scores = _site_scores(network, films)
    shown = widened(torch.from_numpy(distance), scores, limits).numpy()
    difference = check_agreement(session, films, probability_of(held.logits[0], temperature), shown)
    spec = BundleSpec(
        name=model.name or f"{config.preset or config.model.name}-seed{config.loop.seed}",
        preprocessing=films.preprocessing,
        temperature=temperature,
        thresholds=operating_points(held, temperature),
        default_operating_point=DEFAULT_OPERATING_POINT,
        training=_training_facts(config, facts) | _map_facts(network, films, temperature),
        commit=facts.get("commit") or "",
        licence=LICENCE,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        pneumoscan_version=pneumoscan.__version__,
        parameters=count_parameters(network),
        self_check=self_check_of(_known_logits(session, films), temperature),
        outputs=tuple(entry.name for entry in session.get_outputs()),
        guard=limits,
        calibration=calibration_facts(held.logits[0], held.labels, temperature),
        sites=model.sites,
    )
    write_bundle(
        out,
        onnx=graph,
        spec=spec,
        readme=model_card(spec),
        training_films=facts.get("film_sha256", []),
        records=_records(spec, held, stress),
    )
    return Exported(out, len(films.val), difference, temperature, spec)


def export_records(
    run: RunFolder,
    config: TrainingConfig,
    films: TrainingFilms,
    out: Path | None = None,
    *,
    stress: Path | None = None,
) -> Bundle:
    """Write the records of a bundle that was exported from this run before. Its other files stay the same bytes.

    Args:
        run: A run with `model.safetensors`.
        config: Its configuration.
        films: Its films and hold-out.
        out: Folder of the bundle; by default `RUN/bundle`.
        stress: See `export`.

    Returns:
        The new bundle.

    Raises:
        UsageError, DataDamagedError: See `export`; or there is no bundle.
        BundleError: The bundle is damaged or belongs to another run: its network gives other probabilities.
    """
    bundle = load_bundle(out or run.bundle)
    held = read_held_out(_network(run, config), films, config)
    check_same_network(bundle, films, probability_of(held.logits[0], bundle.spec.temperature))
    write_records(bundle, _records(bundle.spec, held, stress))
    return load_bundle(bundle.path)


def _network(run: RunFolder, config: TrainingConfig) -> nn.Module:
    network = build(config.model, config.data.size)
    network.load_state_dict(run.read_weights())
    return network.eval()


def _records(spec: BundleSpec, held: HeldOut, stress: Path | None) -> dict[str, Any]:
    records = records_of(spec, held)
    return records if stress is None else with_stress(records, spec, stress)


def operating_points(held: HeldOut, temperature: float) -> dict[str, dict[str, Any]]:
    """Choose the operating points and their unsure bands on all versions of the held-out films."""
    logits, y_true = held.logits.ravel(), held.y_true
    points = choose_thresholds(
        y_true, probability_of(logits, temperature), on=held.description, patient_ids=held.patient_ids
    )
    return {
        name: point.to_json()
        | {"unsure_band": unsure_band(logits, y_true, temperature, point.threshold, held.description)}
        for name, point in points.items()
    }


def _known_logits(session: onnxruntime.InferenceSession, films: TrainingFilms) -> npt.NDArray[np.float32]:
    known: npt.NDArray[np.float32] = session.run(["logit"], {"film": self_check_inputs(films.preprocessing)})[
        0
    ]
    return known


def _distances(
    detector: OODDetector, films: TrainingFilms, images: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float64]:
    """Return the distances (n,) of resized films uint8 (n, S, S) from the training films."""
    with torch.inference_mode():
        pieces = [
            detector(
                torch.from_numpy(normalise(np.ascontiguousarray(piece), films.preprocessing)).unsqueeze(1)
            )
            for piece in np.array_split(images, max(1, len(images) // 64))
        ]
    return torch.cat(pieces).numpy().astype(np.float64)


def _site_scores(network: nn.Module, films: TrainingFilms) -> torch.Tensor | None:
    """Return the site scores of the held-out films, float32 (n, sites); None for a network without heads."""
    if not isinstance(network, Combined) or network.heads is None:
        return None
    with torch.inference_mode():
        pieces = [network.map_and_scores(film)[1] for film in map(films.plain, micro_batches(films.val, 16))]
    return torch.cat([piece for piece in pieces if piece is not None])


def _turned_distances(detector: OODDetector, films: TrainingFilms) -> dict[str, npt.NDArray[np.float64]]:
    ways = turned_ways(films.images[films.val])
    return {name: _distances(detector, films, images) for name, images in ways.items()}


def _map_facts(network: nn.Module, films: TrainingFilms, temperature: float) -> dict[str, float]:
    """Return the end of the colour scale: the value that one in a hundred cells of held-out PNEUMONIA maps exceeds.

    Two digits are enough for the end of a scale.
    """
    activation_map = getattr(network, "activation_map", None)
    positive = films.val[films.labels[films.val] == 1]
    if activation_map is None or not len(positive):
        return {}
    with torch.inference_mode():
        maps = [activation_map(films.plain(piece)) for piece in micro_batches(positive, 16)]
    highest = float(np.quantile(torch.cat(maps).numpy() / temperature, MAP_QUANTILE))
    return {"map_full_scale": float(f"{highest:.2g}")} if highest > 0 else {}


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
        **{key: facts[key] for key in ("members", "fitted_to") if key in facts},
    }
