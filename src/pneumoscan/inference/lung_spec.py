"""The lungs network of a bundle as `model.json` describes it, and what a model says about the lungs that it found."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import BundleError, ConfigError
from pneumoscan.imaging import Preprocessing
from pneumoscan.imaging.lungs import MARGIN, SHAPE_FACTS, SIDE, Lungs, shape_distance
from pneumoscan.inference.numbers import is_number
from pneumoscan.inference.spec_checks import check_keys, mapping_of, row_of

NO_LUNGS, ONE_LUNG, CUT, UNUSUAL = "no_lungs", "one_lung", "lungs_cut", "unusual_lungs"
FACTS = {
    "share": NO_LUNGS,
    "balance": ONE_LUNG,
    "cut": CUT,
    "confidence": UNUSUAL,
    "upright": UNUSUAL,
    "distance": UNUSUAL,
}
"""The facts that have limits, and the warning of each. `distance` is that of the shape, the others are of `Quality`."""
HIGH_IS_BAD = frozenset({"cut", "distance"})
LUNG_PREPROCESSING = Preprocessing(size=SIDE, normalisation="per_film")
LUNG_TOLERANCE = 1e-3
_LABELS = ("unsure", "not_a_chest_film")
_AGAIN = "Export the model again, or copy the bundle again from its source."


@dataclass(frozen=True)
class LungSpec:
    """The part `lungs` of `model.json`.

    Attributes:
        answers: Known outputs: the mean logit of field and aerated lung on each image of `self_check_inputs`, four numbers.
        limits: By name of the fact (`FACTS`): `unsure` and `not_a_chest_film`, from which value on (down to which value, for
            share, balance, confidence and upright) a film gets that label; None never gives it. A fact may be absent.
        shape_mean: Mean of the shapes of chest films, one number for each of `SHAPE_FACTS`.
        shape_inverse: Inverse of their covariance, row by row; see `imaging.lungs.shape_distance`.
        source: The films on which limits and shapes were chosen.
        margin: Margin of the box as share of width and height of the field.
        tolerance: Largest allowed difference of `answers`, absolute up to 1, relative above.
        preprocessing: Input of the network: the whole film, standardised by its own mean and deviation.
    """

    answers: tuple[float, ...]
    limits: Mapping[str, Mapping[str, float | None]]
    shape_mean: tuple[float, ...]
    shape_inverse: tuple[tuple[float, ...], ...]
    source: str
    margin: float = MARGIN
    tolerance: float = LUNG_TOLERANCE
    preprocessing: Preprocessing = LUNG_PREPROCESSING

    def __post_init__(self) -> None:
        facts, rows = len(SHAPE_FACTS), (self.shape_mean, *self.shape_inverse)
        numbers = [*self.answers, self.margin, self.tolerance, *(value for row in rows for value in row)]
        if len(self.answers) != 4 or [len(row) for row in rows] != [facts] * (facts + 1):
            raise BundleError(f"model.json: lungs needs four answers and the shape of {facts} facts.", _AGAIN)
        if not all(map(is_number, numbers)) or not 0 <= self.margin <= 1:
            raise BundleError(
                "model.json: lungs has something that is not a number, or its margin is.", _AGAIN
            )
        if not 0 < self.tolerance <= LUNG_TOLERANCE:
            raise BundleError(f"model.json: lungs.tolerance is not in (0, {LUNG_TOLERANCE}].", _AGAIN)
        if self.preprocessing != LUNG_PREPROCESSING or not isinstance(self.source, str):
            raise BundleError("model.json: lungs has another preprocessing, or no source.", _AGAIN)
        for fact, limits in mapping_of(self.limits, "lungs.limits").items():
            if fact not in FACTS:
                raise BundleError(
                    f"model.json: lungs.limits: {fact!r} is not one of {', '.join(FACTS)}.", _AGAIN
                )
            check_keys(mapping_of(limits, f"lungs.limits.{fact}"), set(_LABELS), f"lungs.limits.{fact}")
            cuts = [value for value in limits.values() if value is not None]
            if not all(map(is_number, cuts)) or cuts != sorted(cuts, reverse=fact not in HIGH_IS_BAD):
                raise BundleError(
                    f"model.json: lungs.limits.{fact} is not two numbers, the second further away.", _AGAIN
                )

    @classmethod
    def from_json(cls, value: object) -> "LungSpec":
        """Create the description from the part of `model.json`.

        Raises:
            BundleError: A key is missing or unknown, or a value is illegal.
        """
        values = dict(mapping_of(value, "lungs"))
        check_keys(values, {entry.name for entry in fields(cls)}, "lungs")
        try:
            values["preprocessing"] = Preprocessing(
                **mapping_of(values["preprocessing"], "lungs.preprocessing")
            )
        except (ConfigError, TypeError) as problem:
            raise BundleError(f"model.json: lungs: {problem}", _AGAIN) from None
        rows = {key: row_of(values[key]) for key in ("answers", "shape_mean", "shape_inverse")}
        rows["shape_inverse"] = tuple(row_of(row) for row in rows["shape_inverse"])
        return cls(**{**values, **rows})

    @cached_property
    def _shapes(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        return np.asarray(self.shape_mean), np.asarray(self.shape_inverse)

    def facts_of(self, lungs: Lungs) -> dict[str, float]:
        """Return the facts that have limits, by name; `distance` is 0 where there are no lungs."""
        quality = lungs.quality
        distance = shape_distance(quality, *self._shapes) if quality.parts else 0.0
        return {name: float(getattr(quality, name, distance)) for name in FACTS}

    def judge(self, lungs: Lungs) -> tuple[bool, tuple[str, ...]]:
        """Return whether a film is no chest film, and the warnings about its lungs; each makes it at least UNSURE."""
        found: dict[str, None] = {}
        foreign = False
        for name, value in self.facts_of(lungs).items():
            limits = self.limits.get(name, {})
            # The larger the worse, for both directions.
            sign = 1 if name in HIGH_IS_BAD else -1
            held = [cut is not None and sign * value >= sign * cut for cut in map(limits.get, _LABELS)]
            # Without lungs, the other facts say nothing.
            if any(held) and not (NO_LUNGS in found and not lungs.quality.parts):
                found[FACTS[name]] = None
                foreign = foreign or held[1]
        return foreign, tuple(found)
