"""Shares of films that a model answers, warns about, and answers wrongly."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.evaluation.arrays import Floats, check_outcome
from pneumoscan.evaluation.intervals import Interval, wilson

CLASSES = ("NORMAL", "PNEUMONIA")
_FARTHEST = 40.0


@dataclass(frozen=True)
class Share:
    """`count` of `of` films, with the share and its 95% interval (Wilson) in [0, 1]; None if `of` is 0."""

    count: int
    of: int
    share: float | None
    ci95: Interval | None

    @classmethod
    def from_count(cls, count: int, of: int) -> "Share":
        """Return the share with its interval, treating films as independent."""
        return cls(count, of, count / of if of else None, wilson(count, of) if of else None)


@dataclass(frozen=True)
class Answers:
    """The answers of a model for films with known labels.

    Attributes:
        answered: Films labelled PNEUMONIA or NORMAL, of all.
        not_answered: Films labelled UNSURE or NOT_A_CHEST_FILM, of all.
        accuracy_answered: Films labelled correctly, of the answered.
        warned: Films with any warning, of all.
        confident_and_wrong: Films labelled wrongly without a warning, of all.
    """

    answered: Share
    not_answered: Share
    accuracy_answered: Share
    warned: Share
    confident_and_wrong: Share

    @classmethod
    def from_labels(
        cls, y_true: npt.ArrayLike, labels: Sequence[str], warned: Sequence[bool] | npt.ArrayLike
    ) -> "Answers":
        """Count the answers.

        Args:
            y_true: (n,) of 0 and 1.
            labels: n labels of the model.
            warned: (n,) whether a film has a warning.
        """
        truth, has_warning = np.asarray(y_true), np.asarray(warned, dtype=bool)
        given = np.array([CLASSES.index(label) if label in CLASSES else -1 for label in labels])
        answered, n = given >= 0, len(truth)
        right = answered & (given == truth)
        return cls(
            answered=Share.from_count(int(answered.sum()), n),
            not_answered=Share.from_count(int((~answered).sum()), n),
            accuracy_answered=Share.from_count(int(right.sum()), int(answered.sum())),
            warned=Share.from_count(int(has_warning.sum()), n),
            confident_and_wrong=Share.from_count(int((answered & ~right & ~has_warning).sum()), n),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the shares as JSON types."""
        return asdict(self)


def risk_coverage(y_true: npt.ArrayLike, y_prob: npt.ArrayLike, threshold: float) -> tuple[Floats, Floats]:
    """Return the risk-coverage curve: the share of films answered, most confident first, and the error among them.

    R. El-Yaniv, Y. Wiener, On the Foundations of Noise-free Selective Classification, JMLR 11 (2010) 1605–1641. Confidence is
    the distance of the log-odds of a film from those of the threshold.

    Args:
        y_true: (n,) of 0 and 1.
        y_prob: (n,) in [0, 1].
        threshold: A film is labelled PNEUMONIA from this probability on.

    Returns:
        Coverage k / n, float64 (n,), and the error among the k most confident films, float64 (n,).
    """
    outcome = check_outcome(y_true, y_prob)
    sure = np.abs(_log_odds(outcome.y_prob) - _log_odds(np.array([threshold]))[0])
    order = np.argsort(-sure, kind="stable")
    wrong = (outcome.y_prob >= threshold) != (outcome.y_true == 1)
    count = np.arange(1, outcome.n + 1)
    return count / outcome.n, np.cumsum(wrong[order]) / count


def _log_odds(probability: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        odds = np.log(probability) - np.log1p(-probability)
    clipped: Floats = np.clip(odds, -_FARTHEST, _FARTHEST)
    return clipped
