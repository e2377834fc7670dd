"""Evaluation of a trained network on the held-out films: unchanged at every threshold, and in the stress test."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from pneumoscan.bundle.spec import probability_of
from pneumoscan.evaluate import intervals
from pneumoscan.evaluate.arrays import check_patients
from pneumoscan.evaluate.intervals import weighted_roc_auc
from pneumoscan.evaluate.stress import StressTable, perturbed
from pneumoscan.evaluate.thresholds import best_f1, threshold_table
from pneumoscan.imaging.perturbation import PERTURBATIONS
from pneumoscan.imaging.preprocessing import normalise
from pneumoscan.networks.registry import build
from pneumoscan.study.trial_films import StudyFilms
from pneumoscan.train.backend import Backend
from pneumoscan.train.config import TrainingConfig
from pneumoscan.train.films import micro_batches
from pneumoscan.train.loop import VALIDATION_BATCH

THRESHOLD = 0.5
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
            name `left_out`, `n`, `n_positive`, `n_patients`, `roc_auc`, `roc_auc_ci95`.
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


def patient_weights(patients: tuple[str, ...], resamples: int = RESAMPLES) -> Floats:
    """Return the number of times that each film is in each resample of patients: float64 (resamples, n).

    The resamples are the same for every trial, so trials can be compared resample by resample.
    """
    return intervals.patient_weights(check_patients(patients, len(patients)), n_resamples=resamples)


def _by_site(backend: Backend, films: StudyFilms, plain: Logits, left_out: frozenset[str]) -> dict[str, Any]:
    """Return `sites`: the figures at each site, on all films of a site that was left out."""
    sites, rows = films.films.sites, films.films.val
    names = [] if sites is None else sorted(set(sites.tolist()))
    if len(names) < 2 or sites is None:
        return {}
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
        found[name] = {"left_out": name in left_out, **_area(films, own, logits)}
    return {"sites": found}


def _area(films: StudyFilms, rows: npt.NDArray[np.int64], logits: Logits) -> dict[str, Any]:
    """Return the area under ROC of films with its interval over their patients; None if a class is missing."""
    y_true = films.films.labels[rows].astype(np.int64)
    owners = films.films.patient_ids
    patients = tuple(str(row) for row in rows) if owners is None else tuple(owners[rows].tolist())
    facts = {"n": len(rows), "n_positive": int(y_true.sum()), "n_patients": len(set(patients))}
    if len(set(y_true.tolist())) < 2:
        return {**facts, "roc_auc": None, "roc_auc_ci95": None}
    scores = logits.astype(np.float64)
    area = float(weighted_roc_auc(y_true, scores, np.ones((1, len(rows))))[0])
    draws = weighted_roc_auc(y_true, scores, patient_weights(patients))
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return {**facts, "roc_auc": area, "roc_auc_ci95": [float(low), float(high)]}


def _plain_logits(backend: Backend, films: StudyFilms) -> Logits:
    pieces = micro_batches(films.films.val, VALIDATION_BATCH)
    return torch.cat(backend.outputs(pieces, films.films.plain)).numpy()


def _view_logits(backend: Backend, films: StudyFilms) -> dict[str, Logits]:
    images, rows = films.films.images, films.films.val
    found = {}
    for view in PERTURBATIONS:
        parts = [
            _logits_of(backend, perturbed(images[rows[start : start + _AT_ONCE]], view), films)
            for start in range(0, len(rows), _AT_ONCE)
        ]
        found[view.name] = np.concatenate(parts)
    return found


def _logits_of(backend: Backend, images: npt.NDArray[np.uint8], films: StudyFilms) -> Logits:
    def inputs(rows: npt.NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(normalise(images[rows], films.films.preprocessing)).unsqueeze(1)

    pieces = micro_batches(np.arange(len(images), dtype=np.int64), VALIDATION_BATCH)
    return torch.cat(backend.outputs(pieces, inputs)).numpy()


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
    weights = patient_weights(patients)
    areas = [weighted_roc_auc(y_true, logits.astype(np.float64), weights) for logits in views.values()]
    return np.asarray(np.mean(areas, axis=0), dtype=np.float64)
