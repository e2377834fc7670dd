"""Input checks: convert labels, probabilities and patients into checked arrays, or raise an error."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import NothingUsableError, UsageError

Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Labelled:
    """Films with labels `y_true`, int64 (n,): 1 is PNEUMONIA and 0 is NORMAL."""

    y_true: Labels

    @property
    def n(self) -> int:
        """Number of films."""
        return int(self.y_true.size)

    @property
    def n_positive(self) -> int:
        """Number of films labelled PNEUMONIA."""
        return int(self.y_true.sum())


@dataclass(frozen=True)
class Outcome(Labelled):
    """Checked labels and probabilities of the same films.

    Attributes:
        y_true: int64 (n,), 1 is PNEUMONIA and 0 is NORMAL; n is at least 1.
        y_prob: float64 (n,), finite, in [0, 1].
    """

    y_true: Labels
    y_prob: Floats

    @property
    def has_both_classes(self) -> bool:
        """Whether there is at least one film of each class."""
        return 0 < self.n_positive < self.n


def check_outcome(y_true: npt.ArrayLike, y_prob: npt.ArrayLike) -> Outcome:
    """Check labels and probabilities.

    Args:
        y_true: (n,) of 0 and 1, or bool.
        y_prob: (n,) in [0, 1].

    Raises:
        UsageError: Lengths differ, an array is not one-dimensional, a label is not 0 or 1, or a probability is NaN or
            outside [0, 1].
        NothingUsableError: There is no film.
    """
    outcome = Outcome(check_labels(y_true), check_finite(y_prob, "y_prob"))
    check_same_length(outcome.y_true, outcome.y_prob, "y_true", "y_prob")
    outside = np.flatnonzero((outcome.y_prob < 0) | (outcome.y_prob > 1))
    if outside.size:
        raise UsageError(
            f"y_prob[{outside[0]}] is {outcome.y_prob[outside[0]]!r} ({outside.size} such).",
            "Probabilities are in [0, 1]; logits need the sigmoid first.",
        )
    return outcome


def check_labels(y_true: npt.ArrayLike) -> Labels:
    """Return labels as int64 (n,).

    Raises:
        UsageError: The array is not one-dimensional, or a value is neither 0 nor 1.
        NothingUsableError: The array is empty.
    """
    values = _one_dimensional(y_true, "y_true")
    if values.dtype.kind not in "buif" or not np.isin(values, (0, 1)).all():
        raise UsageError("y_true has values other than 0 and 1.", "1 is PNEUMONIA, 0 is NORMAL.")
    return values.astype(np.int64)


def check_finite(values: npt.ArrayLike, name: str) -> Floats:
    """Return numbers as float64 (n,).

    Raises:
        UsageError: The array is not one-dimensional, or a value is not a finite number.
        NothingUsableError: The array is empty.
    """
    array = _one_dimensional(values, name)
    if array.dtype.kind not in "buif":
        raise UsageError(f"{name} has dtype {array.dtype}.", "It must hold numbers.")
    numbers = array.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if bad.size:
        raise UsageError(
            f"{name}[{bad[0]}] is {numbers[bad[0]]} ({bad.size} such).",
            "Every value must be a finite number.",
        )
    return numbers


def check_patients(patient_ids: Sequence[str] | npt.ArrayLike | None, n: int) -> Labels:
    """Return the patient of every film as int64 (n,) from 0. Without `patient_ids` every film is one patient.

    Raises:
        UsageError: The number of patients is not n.
    """
    if patient_ids is None:
        return np.arange(n, dtype=np.int64)
    names = np.asarray(patient_ids)
    if names.shape != (n,):
        raise UsageError(
            f"patient_ids has shape {names.shape}, but there are {n} films.", "Give one per film."
        )
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def check_same_length(
    first: npt.NDArray[np.generic], second: npt.NDArray[np.generic], name: str, other: str
) -> None:
    """Raise UsageError unless two arrays have the same length."""
    if first.size != second.size:
        raise UsageError(
            f"{name} has {first.size} films, {other} has {second.size}.", "They must be of the same films."
        )


def _one_dimensional(values: npt.ArrayLike, name: str) -> npt.NDArray[np.generic]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise UsageError(
            f"{name} has shape {array.shape}.", "It must be one-dimensional, one value per film."
        )
    if array.size == 0:
        raise NothingUsableError(
            f"{name} is empty: there is no film to evaluate.", "Check the folder and the split."
        )
    return array
