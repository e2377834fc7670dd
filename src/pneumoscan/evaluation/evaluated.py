"""Input of the report: the probabilities of one split, and the facts about model and films."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import UsageError
from pneumoscan.evaluation.arrays import Floats, Labels

Thumbnail = Callable[[int], npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class EvaluatedSplit:
    """A model's probabilities for the films of one split.

    Attributes:
        model: Name of the model.
        split: `train`, `val`, `test` or `held-out`.
        y_true: int64 (n,), 1 is PNEUMONIA and 0 is NORMAL.
        y_prob: float64 (n,) in [0, 1].
        paths: n names of films, relative to the data.
        patient_ids: n patients of the films.
        threshold: The threshold of the evaluation, in [0, 1].
        threshold_source: Origin of the threshold, one sentence.
        views: float64 (n,) by name of a perturbation of `imaging.perturbation`, the probabilities of the altered films;
            empty without a stress test.
        sites: n sites of the films, empty if unknown; or none.
        labels: n labels of the model at `threshold`, including `UNSURE` and `NOT_A_CHEST_FILM`; or none.
        warnings: n lists of warnings; or none.
        resembles: n names of the known sites that the films resemble; or none.
        refused: Films that could not be read: path, error code, message.
        operating_points: Operating points of the model by name: `threshold`, `source` and more.
        cautions: Sentences to read before the figures.
        thumbnail: Returns the uint8 image (h, w) of the film at an index; it may raise an error. None shows no images.
        model_facts: Facts about the model for the report, in order.
        data_facts: Facts about the films for the report, in order.
        command: The command line of the evaluation; may be empty.
        seed: Seed of the bootstrap.
        n_bootstrap: Number of resamples.
    """

    model: str
    split: str
    y_true: Labels
    y_prob: Floats
    paths: tuple[str, ...]
    patient_ids: tuple[str, ...]
    threshold: float
    threshold_source: str
    views: Mapping[str, Floats] = field(default_factory=dict)
    sites: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    warnings: tuple[tuple[str, ...], ...] = ()
    resembles: tuple[str, ...] = ()
    refused: tuple[tuple[str, str, str], ...] = ()
    operating_points: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cautions: tuple[str, ...] = ()
    thumbnail: Thumbnail | None = None
    model_facts: Mapping[str, str] = field(default_factory=dict)
    data_facts: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    seed: int = 0
    n_bootstrap: int = 1000

    def __post_init__(self) -> None:
        if not len(self.paths) == len(self.patient_ids) == len(self.y_true) == len(self.y_prob):
            raise UsageError(
                f"{len(self.y_true)} labels, {len(self.y_prob)} probabilities, {len(self.paths)} paths and "
                f"{len(self.patient_ids)} patients have different lengths.",
                "Give one of each for every film.",
            )
        for name in ("sites", "labels", "warnings", "resembles"):
            if len(getattr(self, name)) not in (0, len(self.y_true)):
                raise UsageError(
                    f"{len(getattr(self, name))} {name} and {len(self.y_true)} films have different lengths.",
                    "Give one for every film, or none.",
                )

    @property
    def several_sites(self) -> bool:
        """Whether the films come from two or more sites."""
        return len(set(self.sites)) > 1
