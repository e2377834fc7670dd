"""Checks that torch and ONNX Runtime give the same answers for the held-out films."""

import numpy as np
import numpy.typing as npt
import onnxruntime

from pneumoscan.errors import BundleError
from pneumoscan.inference.bundle import Bundle
from pneumoscan.inference.outputs import DISTANCE_OUTPUT
from pneumoscan.training.films import TrainingFilms, micro_batches

AGREEMENT = 1e-4
DISTANCE_AGREEMENT = 1e-3
_OTHER_RUN = "Name the bundle that was exported from this run, or export the run again."


def check_same_network(bundle: Bundle, films: TrainingFilms, expected: npt.NDArray[np.float64]) -> None:
    """Check that a bundle gives the same probabilities for the held-out films as the network of the run.

    Args:
        bundle: The bundle.
        films: Films and hold-out of the run.
        expected: float64 (n,), probabilities of the network of the run.

    Raises:
        BundleError: The preprocessing differs, or a probability by more than `AGREEMENT`.
    """
    if bundle.spec.preprocessing != films.preprocessing:
        raise BundleError(f"{bundle.path} has another preprocessing than the run.", _OTHER_RUN)
    pieces = [bundle.run(films.plain(rows).numpy()).probability for rows in micro_batches(films.val, 16)]
    difference = float(np.abs(np.concatenate(pieces) - expected).max())
    if not difference <= AGREEMENT:
        raise BundleError(
            f"{bundle.path} differs by {difference:.2g} from the run on the probability of a held-out film: it is of "
            "another run.",
            _OTHER_RUN,
        )


def check_agreement(
    session: onnxruntime.InferenceSession,
    films: TrainingFilms,
    expected: npt.NDArray[np.float64],
    distance: npt.NDArray[np.float64],
) -> float:
    """Return the largest difference between ONNX Runtime and torch in the probabilities of the held-out films.

    Args:
        session: The exported graph.
        films: Films and hold-out of the run.
        expected: float64 (n,), probabilities by torch.
        distance: float64 (n,), distances by torch.

    Raises:
        BundleError: A probability differs by more than `AGREEMENT`, or a distance by more than `DISTANCE_AGREEMENT` of itself.
    """
    pieces = [
        session.run(["probability", DISTANCE_OUTPUT], {"film": films.plain(rows).numpy()})
        for rows in micro_batches(films.val, 16)
    ]
    given, measured = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    difference = float(np.abs(given - expected).max())
    # Distances have no upper limit, so their difference is relative; the contrast of dark films is amplified before.
    apart = float((np.abs(measured - distance) / (1 + distance)).max())
    if not (difference <= AGREEMENT and apart <= DISTANCE_AGREEMENT):
        raise BundleError(
            f"torch and ONNX Runtime differ by {difference:.2g} on the probability of a held-out film and by "
            f"{apart:.2g} on its distance (allowed: {AGREEMENT:g} and {DISTANCE_AGREEMENT:g}).",
            "Nothing was exported; please report it with the versions that `pneumoscan doctor` prints.",
        )
    return difference
