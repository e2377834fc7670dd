"""Area under ROC and average precision for many weightings of the same films at once, as a bootstrap needs them."""

import numpy as np

from pneumoscan.evaluation.arrays import Floats, Labels


def weighted_roc_auc(y_true: Labels, y_prob: Floats, weights: Floats) -> Floats:
    """Return the area under the ROC curve for several weightings of the same films.

    The area is the share of pairs (PNEUMONIA, NORMAL) in the right order; ties count half (Mann–Whitney).

    Args:
        y_true: int64 (n,).
        y_prob: float64 (n,).
        weights: float64 (b, n), at least 0.

    Returns:
        float64 (b,); NaN if a class has no weight.
    """
    positive, negative = _weights_by_score(y_true, y_prob, weights)
    below = np.cumsum(negative, axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    ordered = np.einsum("bn,bn->b", positive, below)
    return divide(ordered, pairs)


def weighted_average_precision(y_true: Labels, y_prob: Floats, weights: Floats) -> Floats:
    """Return the average precision for several weightings: Σ (recall_k − recall_{k−1}) · precision_k.

    Args:
        y_true: int64 (n,).
        y_prob: float64 (n,).
        weights: float64 (b, n), at least 0.

    Returns:
        float64 (b,); NaN if no PNEUMONIA film has weight.
    """
    positive, negative = _weights_by_score(y_true, y_prob, weights)
    positive, negative = positive[:, ::-1], negative[:, ::-1]
    found = np.cumsum(positive, axis=1)
    called = found + np.cumsum(negative, axis=1)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return divide(np.einsum("bn,bn->b", positive, precision), found[:, -1])


def _weights_by_score(y_true: Labels, y_prob: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Sum the weights of each class at each distinct score, ascending: two float64 arrays (b, distinct)."""
    order = np.argsort(y_prob, kind="stable")
    scores, truth, ordered = y_prob[order], y_true[order], weights[:, order]
    starts = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])
    positive = np.add.reduceat(ordered * truth, starts, axis=1)
    negative = np.add.reduceat(ordered * (1 - truth), starts, axis=1)
    return positive, negative


def divide(numerator: Floats, denominator: Floats) -> Floats:
    """Return the quotients of two float64 arrays of one shape; NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)
