"""Fit temperature, offset and thresholds to a few labelled films, and cross-validate them.

With fifty films, the highest *observed* F1 or sensitivity depends on one or two films. Therefore the distributions of the logits
are smoothed first, and temperature and offset are fitted with a penalty. `balanced` is chosen as in training.
`benchmarks/simulation/adaptation.py` compares this with the alternatives.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pneumoscan.bundle.spec import probability_of
from pneumoscan.evaluate.arrays import Floats, Labels
from pneumoscan.evaluate.calibration import fit_probability
from pneumoscan.evaluate.thresholds import balanced_cut

RULES = {
    "best_f1": "highest F1 of the smoothed distributions",
    "balanced": "both classes, weighted alike, equally likely",
    "sensitivity_98": "sensitivity of at least 0.98 of the smoothed distributions",
}
SENSITIVE = 0.98
REPEATS = 10
_GRID = 801
# A logistic distribution of scale 1 has this standard deviation.
_LOGISTIC_DEVIATION = np.pi / np.sqrt(3)


@dataclass(frozen=True)
class Refit:
    """Fitted parameters: probability = sigmoid((logit + offset) / temperature).

    `cuts` are by operating point the logits from which a film is labelled PNEUMONIA, before offset and temperature.
    """

    temperature: float
    offset: float
    cuts: dict[str, float]

    def probability(self, logits: npt.ArrayLike) -> Floats:
        """Return the probability of PNEUMONIA of each logit."""
        return probability_of(np.asarray(logits, np.float64) + self.offset, self.temperature)

    def threshold(self, name: str) -> float:
        """Return the threshold of an operating point as a probability."""
        return float(self.probability(self.cuts[name]))


@dataclass(frozen=True)
class CrossValidated:
    """Predictions for each film under fits to other patients, `repeats` times.

    Attributes:
        calls: By operating point float64 (n,), the share of the repeats in which the film was labelled PNEUMONIA.
        y_prob: float64 (repeats, n).
        cuts: By operating point float64 (repeats, n), the logit from which each film was labelled PNEUMONIA.
        folds: Number of folds.
        temperatures: float64 (repeats · folds,), the fitted temperatures.
    """

    calls: dict[str, Floats]
    y_prob: Floats
    cuts: dict[str, Floats]
    folds: int
    temperatures: Floats


def fit(logits: Floats, y_true: Labels) -> Refit:
    """Fit temperature, offset and the three operating points.

    Args:
        logits: float64 (n,).
        y_true: int64 (n,), both classes present, two films of each at least.
    """
    temperature, offset = fit_probability(logits, y_true)
    return Refit(temperature, offset, choose_cuts(logits, y_true))


def choose_cuts(logits: Floats, y_true: Labels) -> dict[str, float]:
    """Choose the three operating points by `RULES`.

    `balanced` is `evaluate.thresholds.balanced_cut`; the others are read from `smoothed_rates`.

    Args:
        logits: float64 (n,).
        y_true: int64 (n,), both classes present.

    Returns:
        By operating point the logit from which a film is labelled PNEUMONIA.
    """
    grid, sensitivity, specificity = smoothed_rates(logits, y_true)
    n_positive = int(y_true.sum())
    found, share = sensitivity * n_positive, (1 - specificity) * (y_true.size - n_positive)
    f1 = 2 * found / (found + share + n_positive)
    balanced = balanced_cut(logits, y_true)
    # If the classes are well separated, more than 0.98 costs nothing.
    sensitive = min(balanced, float(grid[np.flatnonzero(sensitivity >= SENSITIVE)[-1]]))
    return {"best_f1": top(grid, f1), "balanced": balanced, "sensitivity_98": sensitive}


def smoothed_rates(logits: Floats, y_true: Labels) -> tuple[Floats, Floats, Floats]:
    """Return cut-offs, and the smoothed sensitivity and specificity at each, float64 (801,) each.

    Each class is smoothed with a logistic kernel of the width 1.06 · deviation · n^(-1/5) (B. Silverman, Density
    Estimation (1986), section 3.4.2).
    """
    positive, negative = logits[y_true == 1], logits[y_true == 0]
    widths = [_width(values, logits) for values in (positive, negative)]
    edge = 8 * max(widths)
    grid = np.linspace(logits.min() - edge, logits.max() + edge, _GRID)
    return grid, _share_above(positive, grid, widths[0]), 1 - _share_above(negative, grid, widths[1])


def _width(values: Floats, logits: Floats) -> float:
    deviation = float(values.std(ddof=1)) if values.size > 1 else 0.0
    width = 1.06 * deviation / math.pow(values.size, 0.2)
    return max(width, 1e-3 * float(logits.std()), 1e-9)


def _share_above(values: Floats, grid: Floats, width: float) -> Floats:
    scaled = (values - grid[:, None]) * (_LOGISTIC_DEVIATION / width)
    return np.asarray(probability_of(scaled, 1.0).mean(axis=1), np.float64)


def top(grid: Floats, gain: Floats) -> float:
    """Return the centre of the positions with the highest gain."""
    tops = np.flatnonzero(gain >= gain.max() - 1e-9)
    return float((grid[tops[0]] + grid[tops[-1]]) / 2)


def cross_validate(
    logits: Floats,
    y_true: Labels,
    patients: Labels,
    *,
    folds: int,
    repeats: int = REPEATS,
    seed: int = 0,
) -> CrossValidated:
    """Fit on all folds but one and evaluate that one, for every fold; repeated with new folds.

    Args:
        logits: float64 (n,).
        y_true: int64 (n,).
        patients: int64 (n,), from 0; all films of one are in the same fold.
        folds: At least 2, and at most the number of patients of either class.
        repeats: Number of repetitions with new folds.
        seed: Seed of the folds.
    """
    y_prob = np.empty((repeats, logits.size))
    cuts = {name: np.empty((repeats, logits.size)) for name in RULES}
    temperatures = []
    for repeat in range(repeats):
        dealt = deal(y_true, patients, folds, np.random.default_rng((seed, repeat)))
        for fold in range(folds):
            held = dealt == fold
            found = fit(logits[~held], y_true[~held])
            y_prob[repeat, held] = found.probability(logits[held])
            for name, cut in found.cuts.items():
                cuts[name][repeat, held] = cut
            temperatures.append(found.temperature)
    calls = {name: (logits >= own).mean(axis=0) for name, own in cuts.items()}
    return CrossValidated(calls, y_prob, cuts, folds, np.array(temperatures))


def deal(y_true: Labels, patients: Labels, folds: int, rng: np.random.Generator) -> Labels:
    """Assign whole patients to folds with similar numbers of both classes: int64 (n,) from 0 to folds - 1.

    Patients with many films come first, then in random order. Each goes to the fold with the fewest films of its classes.
    """
    counts = np.stack([np.bincount(patients, weights=y_true == label) for label in (0, 1)], axis=1)
    order = rng.permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    filled, place = np.zeros((folds, 2)), np.zeros(len(counts), np.int64)
    for patient in order:
        crowd = filled @ shares[patient] + 1e-6 * filled.sum(axis=1)
        place[patient] = int(np.argmin(crowd))
        filled[place[patient]] += shares[patient]
    return place[patients]


def patients_of_each(y_true: Labels, patients: Labels) -> Sequence[int]:
    """Return the numbers of patients with NORMAL and with PNEUMONIA films."""
    return [int(np.unique(patients[y_true == label]).size) for label in (0, 1)]
