"""Export a finished run to a bundle: one ONNX graph, temperature, thresholds, and a comparison of both runtimes.

`write_model` is the recipe, in order: held-out films, temperature, detector, graph, agreement, thresholds, description, files.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
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
from pneumoscan.bundle.checks import DISTANCE_OUTPUT
from pneumoscan.bundle.load import Bundle, BundleSpec, load_bundle, self_check_inputs, self_check_of
from pneumoscan.bundle.spec import LungSpec, probability_of
from pneumoscan.bundle.write import write_bundle, write_records
from pneumoscan.data.layouts import Sources, load_sites
from pneumoscan.errors import BundleError, FilmError, UsageError
from pneumoscan.evaluate.calibration import fit_temperature
from pneumoscan.evaluate.held_out import (
    HeldOut,
    calibration_facts,
    ood_facts,
    operating_points,
    records_of,
    with_stress,
)
from pneumoscan.evaluate.sites import read_left_out
from pneumoscan.imaging.preprocessing import normalise
from pneumoscan.networks.exported import onnx_graph, round_weights
from pneumoscan.networks.ood_detector import OODDetector
from pneumoscan.networks.registry import build, count_parameters
from pneumoscan.train.config import TrainingConfig
from pneumoscan.train.detector import fit_ood_detector, turned_ways
from pneumoscan.train.films import TrainingFilms, micro_batches
from pneumoscan.train.outliner import LungsNetwork, write_outliner
from pneumoscan.train.readme import model_card
from pneumoscan.train.run import Progress, RunFolder, run_with_films

AGREEMENT = 1e-4
DISTANCE_AGREEMENT = 1e-3
AUGMENTED_VIEWS = 4
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


def export(
    run: RunFolder,
    config: TrainingConfig,
    films: TrainingFilms,
    out: Path | None = None,
    *,
    name: str = "",
    stress: Path | None = None,
    left_out: Sequence[Path] = (),
    aerated_alone: bool = False,
) -> Exported:
    """Write the bundle of a finished run.

    Args:
        run: A run with `model.safetensors`.
        config: Its configuration.
        films: Its films and hold-out.
        out: Folder of the bundle; by default `RUN/bundle`.
        name: Name of the model; by default preset and seed.
        stress: `metrics.json` of an evaluation of the held-out films of this run; its stress table is added to the records.
        left_out: Tables of `studies/hospitals.py` of the same training without a hospital; see `evaluate.sites.read_left_out`.
        aerated_alone: Whether the model sees the aerated lung alone (`Preprocessing.surroundings`), although training showed part
            of the films with their surroundings. Temperature, thresholds and records are those of such films.

    Raises:
        UsageError, DataDamagedError: The run is not finished, its weights are damaged, `stress` is of another model, `left_out`
            names no hospital that was left out, or the training never showed the aerated lung alone.
        BundleError: See `write_model`.
    """
    network = trained_network(run, config)
    if config.model.name == "outliner":
        raise UsageError(
            f"{run.path} finds lungs and classifies nothing.",
            "Train a classifier with --set data.input=lungs and --set data.lungs=RUN.",
        )
    if aerated_alone:
        if config.data.input != "lungs" or not config.augmentation.no_surroundings:
            raise UsageError(
                f"{run.path} never saw the aerated lung alone.",
                "Train with --set data.input=lungs and augmentation.no_surroundings above 0.",
            )
        films = replace(films, preprocessing=replace(films.preprocessing, surroundings=False))
    facts = run.read_manifest()
    measured = [row for path in left_out for row in read_left_out(path)]
    return write_model(
        network, config, films, facts, out or run.bundle, name=name, stress=stress, left_out=measured
    )


def write_model(
    network: nn.Module,
    config: TrainingConfig,
    films: TrainingFilms,
    facts: dict[str, Any],
    out: Path,
    *,
    name: str = "",
    stress: Path | None = None,
    left_out: Sequence[dict[str, Any]] = (),
) -> Exported:
    """Write the bundle of a trained network.

    Both runtimes classify all held-out films and must agree. Temperature and thresholds are chosen on these films, each
    unchanged and, if the run augments, in four augmented versions; with films of several sites, every site counts alike, and both
    classes within it. The reason is that held-out films look like the training
    films and new films do not: a threshold that fits the former exactly can be far off for the latter. The out-of-distribution
    detector is fitted to the training films, and its thresholds are chosen on the held-out films.

    Args:
        network: The network in evaluation mode.
        config: Configuration of the run.
        films: Its films and hold-out.
        facts: Content of the `manifest.json` of the run.
        out: Folder of the bundle.
        name: Name of the model; by default preset and seed.
        stress: See `export`.
        left_out: Value of `BundleSpec.left_out`.

    Raises:
        UsageError: `stress` is of another model.
        BundleError: The runtimes do not agree to `AGREEMENT` on the probability, or to `DISTANCE_AGREEMENT` on the distance.
    """
    # What the network says about the held-out films, and how sure it may be.
    held = read_held_out(network, films, config)
    temperature = fit_temperature(held.logits.ravel(), held.y_true, held.weights)
    expected = probability_of(held.logits[0], temperature)

    # How far films are from the training films, and from where on that is too far. A model that reads lungs judges the
    # outline of the lungs instead.
    lungs = LungsNetwork.at(config.data.lungs).in_half() if films.preprocessing.input == "lungs" else None
    detector = fit_ood_detector(films, seed=config.loop.seed) if lungs is None else None
    limits, distance = None, np.zeros(len(films.val))
    if detector is not None:
        distance = _distances(detector, films, films.images[films.val])
        turned = {
            way: _distances(detector, films, images)
            for way, images in turned_ways(films.images[films.val]).items()
        }
        limits = ood_facts(distance, held.patients, turned)

    # The graph, which must give the same answers as torch.
    graph = onnx_graph(network, config.data.size, temperature, detector)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    pieces = [films.plain(rows) for rows in micro_batches(films.val, 16)]
    asked = ["probability", DISTANCE_OUTPUT][: 1 if detector is None else 2]
    answers = [session.run(asked, {"film": piece.numpy()}) for piece in pieces]
    given, *measured = (np.concatenate(parts) for parts in zip(*answers, strict=True))
    difference = float(np.abs(given - expected).max())
    # Distances have no upper limit, so their difference is relative; the contrast of dark films is amplified before.
    apart = max((float((np.abs(found - distance) / (1 + distance)).max()) for found in measured), default=0.0)
    if not (difference <= AGREEMENT and apart <= DISTANCE_AGREEMENT):
        raise BundleError(
            f"torch and ONNX Runtime differ by {difference:.2g} on the probability of a held-out film and by "
            f"{apart:.2g} on its distance (allowed: {AGREEMENT:g} and {DISTANCE_AGREEMENT:g}).",
            "Nothing was exported; please report it with the versions that `pneumoscan doctor` prints.",
        )

    # The description, with an answer that is checked at every loading, and the files.
    known: npt.NDArray[np.float32] = session.run(["logit"], {"film": self_check_inputs(films.preprocessing)})[
        0
    ]
    spec = BundleSpec(
        name=name or f"{config.preset or config.model.name}-seed{config.loop.seed}",
        preprocessing=films.preprocessing,
        temperature=temperature,
        thresholds=operating_points(held, temperature),
        default_operating_point=DEFAULT_OPERATING_POINT,
        training=_training_facts(config, facts)
        | _site_facts(films)
        | _map_facts(network, films, temperature),
        commit=facts.get("commit") or "",
        licence=LICENCE,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        pneumoscan_version=pneumoscan.__version__,
        parameters=count_parameters(network),
        self_check=self_check_of(known, temperature),
        outputs=tuple(entry.name for entry in session.get_outputs()),
        guard=limits,
        calibration=calibration_facts(held.logits[0], held.labels, temperature),
        lungs=None if lungs is None else lungs.spec,
        left_out=left_out or None,
    )
    records = records_of(spec, held)
    write_bundle(
        out,
        onnx=graph,
        lungs=None if lungs is None else lungs.graph,
        spec=spec,
        readme=model_card(spec),
        training_films=facts.get("film_sha256", []),
        records=records if stress is None else with_stress(records, spec, stress),
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
    other_run = "Name the bundle that was exported from this run, or export the run again."
    own = bundle.spec.preprocessing
    if replace(films.preprocessing, surroundings=own.surroundings) != own:
        raise BundleError(f"{bundle.path} has another preprocessing than the run.", other_run)
    films = replace(films, preprocessing=own)
    held = read_held_out(trained_network(run, config), films, config)
    expected = probability_of(held.logits[0], bundle.spec.temperature)
    pieces = [bundle.run(films.plain(rows).numpy()).probability for rows in micro_batches(films.val, 16)]
    difference = float(np.abs(np.concatenate(pieces) - expected).max())
    if not difference <= AGREEMENT:
        raise BundleError(
            f"{bundle.path} differs by {difference:.2g} from the run on the probability of a held-out film: it is of "
            "another run.",
            other_run,
        )
    records = records_of(bundle.spec, held)
    write_records(bundle, records if stress is None else with_stress(records, bundle.spec, stress))
    return load_bundle(bundle.path)


def export_run(
    path: Path,
    data: Sources,
    out: Path | None = None,
    *,
    name: str = "",
    stress: Path | None = None,
    left_out: Sequence[Path] = (),
    aerated_alone: bool = False,
    decoding: Progress | None = None,
    cache: Path | None = None,
) -> Exported:
    """Export the finished run in `path` whose films are in `data`; raises as `export` and `run.train` say."""
    return export(
        *run_with_films(path, data, decoding, cache),
        out,
        name=name,
        stress=stress,
        left_out=left_out,
        aerated_alone=aerated_alone,
    )


def record_run(
    path: Path,
    data: Sources,
    out: Path | None = None,
    *,
    stress: Path | None = None,
    decoding: Progress | None = None,
    cache: Path | None = None,
) -> Bundle:
    """Write the records of the bundle of the run in `path`; raises as `export_records` and `run.train` say."""
    return export_records(*run_with_films(path, data, decoding, cache), out, stress=stress)


def report_val(path: Path, data: Sources) -> tuple[int, int]:
    """Classify the split `val` with the bundle of the run in `path`, and record the correct predictions in its manifest.

    In the Kaggle folder this split has 16 films, so one film is 6.25 points. It is reported and not used for any choice.

    Returns:
        (correct predictions, films read); (0, 0) if the split does not exist.
    """
    from pneumoscan.classifier import probability_of_film

    bundle, right, count = load_bundle(path), 0, 0
    manifest = load_sites(data).of_split("val")
    for film in manifest.films:
        with suppress(FilmError):
            called = probability_of_film(bundle, manifest.read(film)) >= bundle.spec.threshold()
            right, count = right + (called == film.label), count + 1
    if count:
        RunFolder(path).write_manifest({"val_split": {"right": right, "films": count}})
    return right, count


def write_lungs(
    path: Path, data: Sources, *, decoding: Progress | None = None, cache: Path | None = None
) -> LungSpec:
    """Write the lungs network of the finished run in `path`: `lungs.onnx` and `lungs.json`; raises as `run.train` says."""
    run, config, films = run_with_films(path, data, decoding, cache)
    source = f"{len(films.val)} held-out training films"
    return write_outliner(trained_network(run, config), config, films, run.path, source=source)


def trained_network(run: RunFolder, config: TrainingConfig) -> nn.Module:
    """Return the network of a finished run as it is exported, in evaluation mode; raises as `RunFolder.read_weights` says.

    The networks of the lungs have weights that are exact in float16, so that both together stay small.
    """
    network = build(config.model, config.data.size).eval()
    network.load_state_dict(run.read_weights())
    if config.model.name in {"outliner", "reader"}:
        round_weights(network)
    return network


def read_held_out(network: nn.Module, films: TrainingFilms, config: TrainingConfig) -> HeldOut:
    """Return the outputs for the held-out films, unchanged and, if the run augments, in four augmented versions each."""
    count = 0 if config.augmentation.is_off else AUGMENTED_VIEWS
    # Another seed than in training, whose augmented films the network knows.
    seed = config.loop.seed + 1
    views = [films.plain] + [
        partial(films.augmented, config=config.augmentation, seed=seed, epoch=number)
        for number in range(count)
    ]
    with torch.inference_mode():
        logits = [[network(view(piece)) for piece in micro_batches(films.val, 16)] for view in views]
    description = "held-out training films"
    if count:
        description = (
            f"views of {len(films.val)} held-out training films (each as it is and augmented {count} times)"
        )
    known = (films.patient_ids, films.sites, films.projections, films.readings)
    return HeldOut(
        films.labels[films.val].astype(np.int64),
        np.stack([torch.cat(pieces).numpy() for pieces in logits]).astype(np.float64),
        description,
        *(None if facts is None else facts[films.val] for facts in known),
    )


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


def _site_facts(films: TrainingFilms) -> dict[str, dict[str, int]]:
    """Return the number of films of each site, those held out included; nothing if there are not several sites."""
    if films.sites is None:
        return {}
    names, counts = np.unique(films.sites[np.r_[films.train, films.val]], return_counts=True)
    return {"sites": dict(zip(names.tolist(), counts.tolist(), strict=True))} if len(names) > 1 else {}


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
