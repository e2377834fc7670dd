"""What a report is made of: the probabilities of one split, and the facts about them."""

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
        patient_ids: n; films of one patient share theirs.
        threshold: The cut-off the films are evaluated at, in [0, 1].
        threshold_source: Where it came from, one sentence.
        views: By name of a change of `imaging.perturbation` float64 (n,), the probabilities of the films changed so;
            empty if they were evaluated as they are only.
        sites: n names of the places that the films are from, empty where that is not told; none: not told of any.
        labels: n labels that the model gave at `threshold`, `UNSURE` and `NOT_A_CHEST_FILM` among them; none: not known.
        warnings: n lists of the warnings that went with them; none: not known.
        resembles: n names of the known sites that the films resemble; none: not known.
        refused: Films that could not be read: path, error code, message.
        operating_points: By name what the model carries: `threshold`, `source` and more.
        cautions: What a reader must know before the figures, one sentence each.
        thumbnail: Gives the uint8 picture (h, w) of the film at an index; it may raise. None shows no pictures.
        model_facts: For the section on how it was made, in order.
        data_facts: Likewise.
        command: The command that made the report; may be empty.
        seed: Of the bootstrap.
        n_bootstrap: Resamples.
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
                f"{len(self.patient_ids)} patients do not go together.",
                "Give one of each per film.",
            )
        for name in ("sites", "labels", "warnings", "resembles"):
            if len(getattr(self, name)) not in (0, len(self.y_true)):
                raise UsageError(
                    f"{len(getattr(self, name))} {name} and {len(self.y_true)} films do not go together.",
                    "Give one per film, or none.",
                )

    @property
    def several_sites(self) -> bool:
        """Whether the films are of two sites or more."""
        return len(set(self.sites)) > 1
