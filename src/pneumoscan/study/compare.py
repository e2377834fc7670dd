"""Is a variant better than the baseline? The difference, its 95% interval, and the verdict in words.

Two things make a difference of two trials uncertain. Which patients were held out: their resamples are drawn once for
the whole study, so that both trials meet the same patients in each, and what is common to both cancels out. And the
seed: its spread is taken as proportional to the error (1 - figure), and the factor is pooled over all configurations of
the study that have two seeds or more, for three seeds alone say little of a spread. The interval is normal, with the
sum of both variances; the means are over seeds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt

from pneumoscan.evaluation.intervals import Interval, weighted_roc_auc
from pneumoscan.study.evaluation import patient_weights
from pneumoscan.study.records import TrialRecord

Floats = npt.NDArray[np.float64]
Verdict = Literal["better", "worse", "no detectable difference"]

Z = 1.959964
# Name → title; all are better when higher.
COMPARED = {
    "roc_auc": "AUC, films as they are",
    "accuracy": "accuracy at 0.5, films as they are",
    "stress_roc_auc": "mean AUC, films seen differently",
}
# The primary outcomes: those that the verdicts are on.
PRIMARY = ("roc_auc", "stress_roc_auc")


@dataclass(frozen=True)
class Figure:
    """A figure of one trial.

    Attributes:
        value: In [0, 1].
        draws: float64 (b,): its value in each resample of the patients; NaN where it is not defined.
    """

    value: float
    draws: Floats


@dataclass(frozen=True)
class Difference:
    """A variant's mean over seeds minus the baseline's.

    Attributes:
        value: The difference; above 0 the variant is better.
        ci95: Its interval.
        verdict: `better` or `worse` if the interval leaves 0 out.
        seeds_known: Whether the spread over seeds is in the interval; without it, it is too narrow.
    """

    value: float
    ci95: Interval
    verdict: Verdict
    seeds_known: bool


def figures_of(record: TrialRecord, y_true: npt.NDArray[np.int64], weights: Floats) -> dict[str, Figure]:
    """Return the compared figures of a done trial; one that is not defined is left out.

    Args:
        record: Of the trial.
        y_true: int64 (n,), of the held-out films.
        weights: float64 (b, n), of `evaluation.patient_weights`.
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
    return {name: Figure(float(value), draws[name]) for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Comparison:
    """All done trials of a study, ready to be compared.

    Attributes:
        by_key: By config the figures of its seeds: name → one `Figure` a seed.
        seed_factor: By figure the spread over seeds divided by the error; None where no config has two seeds.
    """

    by_key: Mapping[str, Mapping[str, Sequence[Figure]]]
    seed_factor: Mapping[str, float | None]

    @classmethod
    def of(
        cls, records: Iterable[TrialRecord], y_true: npt.NDArray[np.int64], patients: tuple[str, ...]
    ) -> "Comparison":
        """Gather the records of a study; those that are not done are left out."""
        weights = patient_weights(patients)
        by_key: dict[str, dict[str, list[Figure]]] = {}
        for record in records:
            if record.status != "done":
                continue
            for name, figure in figures_of(record, y_true, weights).items():
                by_key.setdefault(record.key, {}).setdefault(name, []).append(figure)
        return cls(by_key, {name: _seed_factor(by_key.values(), name) for name in COMPARED})

    def mean(self, key: str, name: str) -> float | None:
        """Return a figure's mean over the seeds of a config; None if there is none."""
        found = self.by_key.get(key, {}).get(name, ())
        return float(np.mean([figure.value for figure in found])) if found else None

    def difference(self, key: str, baseline: str, name: str) -> Difference | None:
        """Return how a config differs from the baseline; None if it is the baseline or either has no figure."""
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


def _seed_factor(configs: Iterable[Mapping[str, Sequence[Figure]]], name: str) -> float | None:
    """Return the root mean square, over seeds of all configs, of the distance from the config's mean over its error."""
    squares, freedom = 0.0, 0
    for config in configs:
        values = np.array([figure.value for figure in config.get(name, ())])
        # A network that never erred has no error to measure its spread by.
        if values.size < 2 or values.mean() == 1:
            continue
        squares += float((((values - values.mean()) / (1 - values.mean())) ** 2).sum())
        freedom += values.size - 1
    return sqrt(squares / freedom) if freedom else None


def _mean(figures: Sequence[Figure]) -> float:
    return float(np.mean([figure.value for figure in figures]))


def _mean_draws(figures: Sequence[Figure]) -> Floats:
    return np.asarray(np.mean([figure.draws for figure in figures], axis=0), dtype=np.float64)
