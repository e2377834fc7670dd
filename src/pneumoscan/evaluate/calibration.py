"""Calibration: reliability diagram, calibration errors, and the fits of temperature and offset."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pneumoscan.bundle.spec import probability_of
from pneumoscan.errors import UsageError
from pneumoscan.evaluate.arrays import (
    Floats,
    Labels,
    check_finite,
    check_labels,
    check_outcome,
    check_same_length,
)

BINS = 15
TEMPERATURE_RANGE = (0.05, 20.0)
RIDGE = 0.3
_STEPS = 100
# Slope of standardised logits; a model with an inverted ranking cannot be fitted.
_LEAST_SLOPE = 0.05


@dataclass(frozen=True)
class Reliability:
    """Mean probability and observed share of PNEUMONIA in each bin.

    Attributes:
        edges: float64 (bins + 1,), from 0 to 1. A bin includes its lower edge; the last one also includes 1.
        mean_probability: float64 (bins,); NaN in an empty bin.
        positive_rate: float64 (bins,); NaN in an empty bin.
        count: int64 (bins,), films.
    """

    edges: Floats
    mean_probability: Floats
    positive_rate: Floats
    count: Labels

    @property
    def expected_calibration_error(self) -> float:
        """Mean difference between probability and rate, weighted by the films of each bin; 0 is best, 1 is worst."""
        full = self.count > 0
        gaps = np.abs(self.mean_probability[full] - self.positive_rate[full])
        return float((gaps * self.count[full]).sum() / self.count.sum())

    @property
    def maximum_calibration_error(self) -> float:
        """The largest difference of any bin with films."""
        full = self.count > 0
        return float(np.abs(self.mean_probability[full] - self.positive_rate[full]).max())


def reliability(
    y_true: npt.ArrayLike, y_prob: npt.ArrayLike, bins: int = BINS, *, equal_mass: bool = False
) -> Reliability:
    """Compute the reliability diagram.

    M. Naeini, G. Cooper, M. Hauskrecht, AAAI 2015 (equal width); K. Nguyen, B. O'Connor, EMNLP 2015 (equal mass).

    Args:
        y_true: (n,) of 0 and 1.
        y_prob: (n,) probability of PNEUMONIA in [0, 1].
        bins: Number of bins, at least 1.
        equal_mass: Bins with equal numbers of films (equal probabilities stay together) instead of equal width.

    Raises:
        UsageError: See `check_outcome`; or `bins` is below 1.
    """
    outcome = check_outcome(y_true, y_prob)
    if bins < 1:
        raise UsageError(f"bins is {bins}.", "At least one bin is needed.")
    edges = _mass_edges(outcome.y_prob, bins) if equal_mass else np.arange(bins + 1) / bins
    place = np.clip(np.searchsorted(edges, outcome.y_prob, side="right") - 1, 0, edges.size - 2)
    count = np.bincount(place, minlength=edges.size - 1)
    return Reliability(
        edges=edges,
        mean_probability=_bin_means(outcome.y_prob, place, count),
        positive_rate=_bin_means(outcome.y_true.astype(np.float64), place, count),
        count=count.astype(np.int64),
    )


def _mass_edges(y_prob: Floats, bins: int) -> Floats:
    inner = np.quantile(y_prob, np.arange(1, bins) / bins, method="higher") if bins > 1 else np.empty(0)
    edges: Floats = np.unique(np.concatenate([[0.0], inner, [1.0]]))
    return edges


def _bin_means(values: Floats, place: npt.NDArray[np.intp], count: npt.NDArray[np.intp]) -> Floats:
    sums = np.bincount(place, weights=values, minlength=count.size)
    means: Floats = np.divide(sums, count, out=np.full(count.size, np.nan), where=count > 0)
    return means


def fit_temperature(
    logits: npt.ArrayLike, y_true: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> float:
    """Find the temperature T for which sigmoid(logit / T) has the lowest log loss.

    C. Guo, G. Pleiss, Y. Sun, K. Weinberger, ICML 2017, section 4. The loss is convex in 1/T, so the zero of its slope is
    found by bisection; the solution is unique. The ranking of the films, and so the ROC curve, does not change.

    Args:
        logits: (n,) before the sigmoid, finite; from films that the network was not trained on.
        y_true: (n,) of 0 and 1.
        weights: (n,), the weight of each film in the loss, above 0; None weighs all alike.

    Returns:
        T in [0.05, 20]; 0.05 if the classes are separated without an error, 20 if the logits are uninformative, 1.0 if all
        logits are 0.

    Raises:
        UsageError: Lengths differ, a logit is not finite, or a label is not 0 or 1.
        NothingUsableError: There is no film.
    """
    values, truth = check_finite(logits, "logits"), check_labels(y_true)
    check_same_length(values, truth, "logits", "y_true")
    weighed = np.ones(values.size) if weights is None else check_finite(weights, "weights")
    check_same_length(values, weighed, "logits", "weights")
    if not values.any():
        return 1.0
    low, high = np.log(1 / TEMPERATURE_RANGE[1]), np.log(1 / TEMPERATURE_RANGE[0])
    if _loss_slope(values, truth, weighed, np.exp(high)) <= 0:
        return TEMPERATURE_RANGE[0]
    if _loss_slope(values, truth, weighed, np.exp(low)) >= 0:
        return TEMPERATURE_RANGE[1]
    for _ in range(60):
        middle = (low + high) / 2
        if _loss_slope(values, truth, weighed, np.exp(middle)) > 0:
            high = middle
        else:
            low = middle
    return float(np.exp(-(low + high) / 2))


def _loss_slope(logits: Floats, y_true: Labels, weights: Floats, scale: float) -> float:
    """Derivative of the weighted mean log loss of sigmoid(scale · logit) with respect to scale."""
    return float(np.mean(weights * logits * (probability_of(scale * logits, 1.0) - y_true)))


def log_losses(y_true: Labels, y_prob: Floats) -> Floats:
    """Return -log of the probability of the true label of each film; probabilities are limited to 1e-12 from 0 and 1."""
    right = np.where(y_true == 1, y_prob, 1 - y_prob)
    return np.asarray(-np.log(np.clip(right, 1e-12, 1.0)), np.float64)


def fit_probability(logits: Floats, y_true: Labels, *, ridge: float = RIDGE) -> tuple[float, float]:
    """Return the temperature and offset with the lowest penalised log loss.

    J. Platt, Advances in Large Margin Classifiers (1999) 61–74, by Newton's method on standardised logits, with `ridge` / 2
    times the squares of slope and intercept added to the summed loss. Without the penalty, films that the model separates
    without an error give a temperature of 0. With it, few films give moderate probabilities.
    """
    centre, spread = float(logits.mean()), max(float(logits.std()), 1e-6)
    inputs = np.stack([(logits - centre) / spread, np.ones(logits.size)])  # (2, n)
    weights = np.array([1.0, 0.0])
    for _ in range(_STEPS):
        prob = probability_of(weights @ inputs, 1.0)
        slope = inputs @ (prob - y_true) + ridge * weights
        bend = (inputs * (prob * (1 - prob))) @ inputs.T + ridge * np.eye(2)
        step = np.linalg.solve(bend, slope)
        length = float(np.linalg.norm(step))
        # A longer step may overshoot where the loss is linear.
        weights = weights - step * min(1.0, 1.0 / max(length, 1e-12))
        if length < 1e-10:
            break
    temperature = spread / max(float(weights[0]), _LEAST_SLOPE)
    return temperature, float(weights[1]) * temperature - centre
