"""Comparison of a variant with the baseline: the difference, its 95% interval, and the conclusion; the effect of early stopping.

Two sources make the difference of two trials uncertain. The first is the choice of held-out patients. Their resamples are the
same for the whole study, so what is common to both trials cancels out. The second is the seed. Its spread is assumed
proportional to the error (1 - figure), and the factor is pooled over all configurations of the study with two or more seeds,
because three seeds alone determine a spread only roughly. The interval is normal, with the sum of both variances. Means are
over seeds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pneumoscan.evaluate.intervals import Interval, patient_weights, weighted_roc_auc
from pneumoscan.study.evaluation import RESAMPLES
from pneumoscan.study.trial_records import TrialRecord

Floats = npt.NDArray[np.float64]
Verdict = Literal["better", "worse", "no detectable difference"]

Z = 1.959964
# Name → title; higher is better for all.
COMPARED = {
    "roc_auc": "AUC, unchanged films",
    "accuracy": "accuracy at 0.5, unchanged films",
    "stress_roc_auc": "mean AUC, stress test",
}
# The primary outcomes, which have conclusions.
PRIMARY = ("roc_auc", "stress_roc_auc")


@dataclass(frozen=True)
class TrialFigure:
    """A figure of one trial in [0, 1], and its value in each resample of the patients, float64 (b,); NaN where it is not defined."""

    value: float
    draws: Floats


@dataclass(frozen=True)
class Difference:
    """The mean of a variant over its seeds minus that of the baseline; above 0 the variant is better.

    `verdict` is `better` or `worse` if the interval excludes 0. Unless `seeds_known`, the interval lacks the spread over seeds and is too
    narrow.
    """

    value: float
    ci95: Interval
    verdict: Verdict
    seeds_known: bool


def figures_of(record: TrialRecord, y_true: npt.NDArray[np.int64], weights: Floats) -> dict[str, TrialFigure]:
    """Return the compared figures of a finished trial, without those that are not defined.

    Args:
        record: Record of the trial.
        y_true: int64 (n,), labels of the held-out films.
        weights: float64 (b, n), the result of `intervals.patient_weights`.
    """
    logits = record.logits.astype(np.float64)
    right = ((logits >= 0) == (y_true == 1)).astype(np.float64)
    draws = {
        "roc_auc": weighted_roc_auc(y_true, logits, weights),
        "accuracy": weights @ right / weights.sum(axis=1),
        "stress_roc_auc": record.stress_draws,
    }
    values = {
        "roc_auc": record.figures["roc_auc"],
        "accuracy": record.figures["accuracy"],
        "stress_roc_auc": record.score(),
    }
    return {
        name: TrialFigure(float(value), draws[name]) for name, value in values.items() if value is not None
    }


@dataclass(frozen=True)
class StudyComparison:
    """All finished trials of a study: by configuration and figure, one `TrialFigure` per seed.

    `seed_factor` is for each figure the spread over seeds divided by the error; None if no configuration has two seeds.
    """

    by_key: Mapping[str, Mapping[str, Sequence[TrialFigure]]]
    seed_factor: Mapping[str, float | None]

    @classmethod
    def of(
        cls, records: Iterable[TrialRecord], y_true: npt.NDArray[np.int64], patients: tuple[str, ...]
    ) -> "StudyComparison":
        """Create the comparison from the records of a study, without unfinished ones."""
        weights = patient_weights(patients, n_resamples=RESAMPLES)
        by_key: dict[str, dict[str, list[TrialFigure]]] = {}
        for record in records:
            if record.status != "done":
                continue
            for name, figure in figures_of(record, y_true, weights).items():
                by_key.setdefault(record.key, {}).setdefault(name, []).append(figure)
        return cls(by_key, {name: _seed_factor(by_key.values(), name) for name in COMPARED})

    def mean(self, key: str, name: str) -> float | None:
        """Return the mean of a figure over the seeds of a configuration; None if there is none."""
        found = self.by_key.get(key, {}).get(name, ())
        return float(np.mean([figure.value for figure in found])) if found else None

    def difference(self, key: str, baseline: str, name: str) -> Difference | None:
        """Return the difference of a configuration to the baseline; None for the baseline itself or without figures."""
        ours, theirs = (self.by_key.get(each, {}).get(name, ()) for each in (key, baseline))
        if key == baseline or not ours or not theirs:
            return None
        value = _mean(ours) - _mean(theirs)
        with np.errstate(invalid="ignore"):
            draws = _mean_draws(ours) - _mean_draws(theirs)
        draws = draws[np.isfinite(draws)]
        variance = float(draws.var(ddof=1)) if draws.size > 1 else 0.0
        factor = self.seed_factor[name]
        for figures in (ours, theirs):
            variance += ((factor or 0.0) * (1 - _mean(figures))) ** 2 / len(figures)
        half = Z * sqrt(variance)
        return Difference(
            value, (value - half, value + half), _verdict(value, half), seeds_known=factor is not None
        )


def _verdict(value: float, half: float) -> Verdict:
    if abs(value) <= half:
        return "no detectable difference"
    return "better" if value > 0 else "worse"


def _seed_factor(configs: Iterable[Mapping[str, Sequence[TrialFigure]]], name: str) -> float | None:
    """Return the root mean square over all seeds of (figure - mean of its configuration) / error."""
    squares, freedom = 0.0, 0
    for config in configs:
        values = np.array([figure.value for figure in config.get(name, ())])
        # A network without errors has no error to relate the spread to.
        if values.size < 2 or values.mean() == 1:
            continue
        squares += float((((values - values.mean()) / (1 - values.mean())) ** 2).sum())
        freedom += values.size - 1
    return sqrt(squares / freedom) if freedom else None


def _mean(figures: Sequence[TrialFigure]) -> float:
    return float(np.mean([figure.value for figure in figures]))


def _mean_draws(figures: Sequence[TrialFigure]) -> Floats:
    return np.asarray(np.mean([figure.draws for figure in figures], axis=0), dtype=np.float64)


# Early stopping, derived from runs without it


History = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Peak:
    """How a run continued after its best epoch, that of the lowest validation loss; and the same for the validation accuracy."""

    epochs: int
    best_epoch: int
    best_loss: float
    last_loss: float
    best_accuracy_epoch: int
    best_accuracy: float
    last_accuracy: float


@dataclass(frozen=True)
class Stop:
    """What early stopping with a patience would have done, as a share of the epochs `saved`.

    `stopped` is the epoch after which it would have ended (the run's last if never), `kept` the one with the lowest validation `loss`.
    """

    patience: int
    stopped: int
    kept: int
    loss: float
    saved: float


def peak_of(history: History) -> Peak | None:
    """Return how a run continued after its best epoch; None if a validation loss is not a number."""
    losses = [row["val_loss"] for row in history]
    if not losses or None in losses:
        return None
    accuracies = [row["val_accuracy"] for row in history]
    best, top = losses.index(min(losses)), accuracies.index(max(accuracies))
    return Peak(len(losses), best + 1, losses[best], losses[-1], top + 1, accuracies[top], accuracies[-1])


def stop_of(history: History, patience: int) -> Stop:
    """Return where `loop.early_stopping = patience` would have stopped a run, and which epoch it would have kept."""
    best, best_epoch = float("inf"), 0
    for place, row in enumerate(history, start=1):
        if row["val_loss"] < best:
            best, best_epoch = row["val_loss"], place
        if place - best_epoch >= patience:
            return Stop(patience, place, best_epoch, best, 1 - place / len(history))
    return Stop(patience, len(history), best_epoch, best, 0.0)
