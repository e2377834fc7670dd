"""The films of a study, with one hold-out for all trials, and the evaluation of a network on the held-out ones: at every threshold, and in the stress test."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from pneumoscan.bundle.spec import probability_of
from pneumoscan.data.cache import open_cache
from pneumoscan.data.layouts import Sources, as_words, load_sites
from pneumoscan.data.splits import hold_out
from pneumoscan.errors import NothingUsableError
from pneumoscan.evaluate.arrays import check_patients
from pneumoscan.evaluate.held_out import HeldOut
from pneumoscan.evaluate.intervals import area_draws, interval_of, patient_weights, weighted_roc_auc
from pneumoscan.evaluate.sites import VIEWS
from pneumoscan.evaluate.stress import StressTable, perturbed
from pneumoscan.evaluate.thresholds import balanced_cut, best_f1, threshold_table
from pneumoscan.imaging.perturbation import PERTURBATIONS, Perturbation
from pneumoscan.networks.baseline import BaselineConfig
from pneumoscan.networks.registry import build
from pneumoscan.train.backend import Backend
from pneumoscan.train.config import DataConfig, TrainingConfig
from pneumoscan.train.films import TrainingFilms, micro_batches, training_films
from pneumoscan.train.loop import VALIDATION_BATCH
from pneumoscan.train.outliner import preparation_of

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class StudyFilms:
    """Films of one size with their hold-out; `data_sha256` identifies them as in `data.cache`."""

    films: TrainingFilms
    held_out_paths: tuple[str, ...]
    held_out_patients: tuple[str, ...]
    data_sha256: str
    synthetic: bool = False

    @property
    def held_out_labels(self) -> npt.NDArray[np.int64]:
        """Labels of the held-out films: int64 (n,), 1 is PNEUMONIA."""
        return self.films.labels[self.films.val].astype(np.int64)

    @property
    def held_out_sha256(self) -> str:
        """SHA-256 over the paths of the held-out films, which identifies the hold-out."""
        return hashlib.sha256("\n".join(self.held_out_paths).encode("utf-8", "surrogateescape")).hexdigest()


def open_films(
    data: Sources, config: DataConfig, *, cache: Path | None = None, progress: Progress | None = None
) -> StudyFilms:
    """Return the films of the split train, with part of the patients held out.

    Args:
        data: Sources for `load_sites`.
        config: Size, preprocessing and hold-out.
        cache: Folder of the film cache.
        progress: Called with (done, total) while films are decoded.

    Raises:
        NothingUsableError, LayoutError: There are no such films, or too few patients; see `hold_out`.
        DataDamagedError, DiskFullError, NotWritableError: See `open_cache`.
    """
    manifest = load_sites(data).of_split("train")
    if not len(manifest):
        raise NothingUsableError(
            f"{as_words(data)} has no films of the split train.",
            "Put them in DIR/train/NORMAL and …/PNEUMONIA.",
        )
    settings = TrainingConfig(data=config, model=BaselineConfig(inputs=config.preprocessing().channels))
    preparation = preparation_of(settings, manifest)
    table = open_cache(manifest, size=config.size, preparation=preparation, folder=cache, progress=progress)
    hold = hold_out(
        manifest,
        fraction=config.val_fraction,
        seed=config.split_seed,
        duplicates=table.content_sha256,
    )
    films = training_films(settings, manifest, table, hold)
    held = [manifest.films[int(place)] for place in table.index[films.val]]
    return StudyFilms(
        films=films,
        held_out_paths=tuple(film.path for film in held),
        held_out_patients=tuple(film.patient_id for film in held),
        data_sha256=table.data_sha256,
        synthetic=manifest.synthetic,
    )


THRESHOLD = 0.5
# The same for every trial, so trials can be compared resample by resample.
RESAMPLES = 400
_AT_ONCE = 256

Floats = npt.NDArray[np.float64]
Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class NetworkEvaluation:
    """Outputs of a network for the held-out films, and their figures.

    Attributes:
        figures: JSON types: `n`, `n_positive`, `val_loss`, `accuracy`, `sensitivity`, `specificity` (at 0.5),
            `roc_auc`, `average_precision`, `best_f1`, `thresholds` (17 rows), `stress` (see `StressTable.to_json`); with several sites also `sites`: by
            name `left_out`, `n`, `n_positive`, `n_patients`, `roc_auc`, `roc_auc_ci95`, `sensitivity`, `specificity`, and in `views` the same
            for PA and AP.
        logits: float32 (n,), of the unchanged films.
        stress_draws: float64 (RESAMPLES,): the mean area under ROC of the views in each resample of `patient_weights`; NaN
            if a resample lacks a class.
    """

    figures: dict[str, Any]
    logits: Logits
    stress_draws: Floats


def evaluate_network(
    config: TrainingConfig, weights: Mapping[str, torch.Tensor], films: StudyFilms
) -> NetworkEvaluation:
    """Evaluate trained weights as in their validation: with the precision, micro-batches and worker threads of the run.

    Args:
        config: Resolved configuration of the run.
        weights: Weights by name.
        films: The films with their hold-out.
    """
    network = build(config.model, config.data.size)
    network.load_state_dict(dict(weights))
    network.to(torch.device(config.loop.device), memory_format=torch.channels_last)  # type: ignore[call-overload]
    with Backend(network, threads=config.loop.worker_threads, precision=config.loop.precision) as backend:
        plain = _plain_logits(backend, films)
        views = _view_logits(backend, films)
        sites = _by_site(backend, films, plain, config.sampling.left_out)
    y_true = films.held_out_labels
    return NetworkEvaluation(
        figures=_figures(y_true, plain, views) | sites,
        logits=plain,
        stress_draws=_stress_draws(y_true, views, films.held_out_patients),
    )


def _by_site(backend: Backend, films: StudyFilms, plain: Logits, left_out: frozenset[str]) -> dict[str, Any]:
    """Return `sites`: the figures at each site, on all films of a site that was left out.

    The threshold is that of the rule `balanced` on the held-out films of the sites in training, every one of which counts alike.
    """
    sites, rows = films.films.sites, films.films.val
    names = [] if sites is None else sorted(set(sites.tolist()))
    if len(names) < 2 or sites is None:
        return {}
    threshold = _threshold(films, plain, ~np.isin(sites[rows], sorted(left_out)))
    found = {}
    for name in names:
        if name in left_out:
            own = np.flatnonzero(sites == name)
            logits = torch.cat(
                backend.outputs(micro_batches(own, VALIDATION_BATCH), films.films.plain)
            ).numpy()
        else:
            here = sites[rows] == name
            own, logits = rows[here], plain[here]
        views = np.full(len(own), "") if films.films.projections is None else films.films.projections[own]
        by_view = {
            view: _at_site(films, own[views == view], logits[views == view], threshold)
            for view in VIEWS
            if (views == view).any()
        }
        facts = _at_site(films, own, logits, threshold)
        found[name] = {"left_out": name in left_out, **facts, "views": by_view}
    return {"sites": found}


def _threshold(films: StudyFilms, plain: Logits, seen: npt.NDArray[np.bool_]) -> float | None:
    """Return the logit from which a film is called PNEUMONIA; None if the films `seen` lack a class."""
    sites, labels, scores = films.films.sites, films.held_out_labels[seen], plain[seen].astype(np.float64)
    if sites is None or len(set(labels.tolist())) < 2:
        return None
    held = HeldOut(labels, scores[None], "", patients=None, sites=sites[films.films.val][seen])
    return balanced_cut(scores, labels, held.weights)


def _at_site(
    films: StudyFilms, rows: npt.NDArray[np.int64], logits: Logits, threshold: float | None
) -> dict[str, Any]:
    """Return the area under ROC with its interval over patients, sensitivity and specificity; None if a class is missing."""
    y_true = films.films.labels[rows].astype(np.int64)
    owners = films.films.patient_ids
    patients = check_patients(None if owners is None else owners[rows], len(rows))
    facts = {"n": len(rows), "n_positive": int(y_true.sum()), "n_patients": len(set(patients.tolist()))}
    if len(set(y_true.tolist())) < 2:
        return {**facts, "roc_auc": None, "roc_auc_ci95": None, "sensitivity": None, "specificity": None}
    area, draws = area_draws(y_true, logits.astype(np.float64), patients, n_resamples=RESAMPLES)
    interval = interval_of(draws)
    called = None if threshold is None else logits.astype(np.float64) >= threshold
    return {
        **facts,
        "roc_auc": area,
        "roc_auc_ci95": None if interval is None else list(interval),
        "sensitivity": None if called is None else float(called[y_true == 1].mean()),
        "specificity": None if called is None else float(1 - called[y_true == 0].mean()),
    }


def _plain_logits(backend: Backend, films: StudyFilms) -> Logits:
    pieces = micro_batches(films.films.val, VALIDATION_BATCH)
    return torch.cat(backend.outputs(pieces, films.films.plain)).numpy()


def _view_logits(backend: Backend, films: StudyFilms) -> dict[str, Logits]:
    rows, found = films.films.val, {}
    for view in PERTURBATIONS:
        parts = [
            _logits_of(backend, films.films, rows[start : start + _AT_ONCE], view)
            for start in range(0, len(rows), _AT_ONCE)
        ]
        found[view.name] = np.concatenate(parts)
    return found


def _logits_of(
    backend: Backend, films: TrainingFilms, rows: npt.NDArray[np.int64], view: Perturbation
) -> Logits:
    shown = None if films.surroundings is None else films.surroundings[rows]
    changed = replace(films, images=perturbed(films.images[rows], view), surroundings=shown)
    pieces = micro_batches(np.arange(len(rows), dtype=np.int64), VALIDATION_BATCH)
    return torch.cat(backend.outputs(pieces, changed.plain)).numpy()


def _figures(y_true: npt.NDArray[np.int64], plain: Logits, views: dict[str, Logits]) -> dict[str, Any]:
    from sklearn.metrics import average_precision_score

    prob = probability_of(plain, 1.0)
    stress = StressTable.from_predictions(
        y_true,
        prob,
        {name: probability_of(logits, 1.0) for name, logits in views.items()},
        threshold=THRESHOLD,
        n_bootstrap=0,
    )
    rows = threshold_table(y_true, prob)
    labels = torch.from_numpy(y_true.astype(np.float32))
    return {
        "n": int(y_true.size),
        "n_positive": int(y_true.sum()),
        "val_loss": float(F.binary_cross_entropy_with_logits(torch.from_numpy(plain), labels)),
        "accuracy": stress.plain.accuracy,
        "sensitivity": stress.plain.sensitivity,
        "specificity": stress.plain.specificity,
        "roc_auc": stress.plain.roc_auc,
        "average_precision": float(average_precision_score(y_true, prob)),
        "best_f1": asdict(best_f1(rows)),
        "thresholds": [asdict(row) for row in rows],
        "stress": stress.to_json(),
    }


def _stress_draws(
    y_true: npt.NDArray[np.int64], views: dict[str, Logits], patients: tuple[str, ...]
) -> Floats:
    weights = patient_weights(patients, n_resamples=RESAMPLES)
    areas = [weighted_roc_auc(y_true, logits.astype(np.float64), weights) for logits in views.values()]
    return np.asarray(np.mean(areas, axis=0), dtype=np.float64)
