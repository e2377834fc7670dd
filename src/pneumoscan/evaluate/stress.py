"""The stress test: the figures of a model on altered versions (views) of the same films."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import UsageError, require
from pneumoscan.evaluate.arrays import Floats, Outcome, check_outcome
from pneumoscan.evaluate.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    figure_of,
    new_axes,
    say_undefined,
    styled,
)
from pneumoscan.evaluate.intervals import Interval, bootstrap_by_patient
from pneumoscan.evaluate.thresholds import check_threshold, count_calls
from pneumoscan.imaging.film import Film
from pneumoscan.imaging.perturbation import PERTURBATIONS, Perturbation
from pneumoscan.imaging.preprocessing import squash

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


FIGURES = ("roc_auc", "accuracy", "sensitivity", "specificity")
PLAIN = "plain"
_AT_ONCE = 256

Images = npt.NDArray[np.uint8]
Predict = Callable[[Images], npt.ArrayLike]


@dataclass(frozen=True)
class StressRow:
    """The figures of the films in one view, `plain` for the unchanged films; None means that the films do not determine it.

    The interval of the area is by bootstrap over patients, with the same resamples for every view.
    """

    perturbation: str
    n: int
    roc_auc: float | None
    roc_auc_ci95: Interval | None
    accuracy: float
    sensitivity: float | None
    specificity: float | None


@dataclass(frozen=True)
class Lowest:
    """The lowest value of a figure over the views, in [0, 1], and the perturbation of that view."""

    perturbation: str
    value: float


@dataclass(frozen=True)
class StressTable:
    """The figures of a model on the same films in several views, at the same threshold.

    Attributes:
        threshold: A film was labelled PNEUMONIA from this probability on.
        plain: The unchanged films.
        rows: The altered films, one row per view.
    """

    threshold: float
    plain: StressRow
    rows: tuple[StressRow, ...]

    @classmethod
    def from_predictions(
        cls,
        y_true: npt.ArrayLike,
        y_prob: npt.ArrayLike,
        views: Mapping[str, npt.ArrayLike],
        *,
        threshold: float,
        patient_ids: Sequence[str] | npt.ArrayLike | None = None,
        n_bootstrap: int = 1000,
        seed: int = 0,
    ) -> "StressTable":
        """Evaluate probabilities.

        Args:
            y_true: (n,) of 0 and 1.
            y_prob: (n,) in [0, 1], of the unchanged films.
            views: (n,) in [0, 1] by name of the perturbation, of the altered films; at least one.
            threshold: A film is labelled PNEUMONIA from this probability on; the same for all views.
            patient_ids: (n,); with None every film counts as one patient.
            n_bootstrap: Number of resamples; 0 leaves the intervals out.
            seed: Seed of the resampling.

        Raises:
            UsageError, NothingUsableError: See `check_outcome`, `check_patients`, `check_threshold`; or there is no
                view.
            MissingDependencyError: scikit-learn is not installed.
        """
        require("sklearn")
        if not views:
            raise UsageError("there is no view of the films to evaluate.", "Give at least one.")
        cut = check_threshold(threshold)
        rows = []
        for name, prob in {PLAIN: y_prob, **views}.items():
            outcome = check_outcome(y_true, prob)
            interval = _interval(outcome, cut, patient_ids, n_bootstrap, seed)
            rows.append(_row(name, outcome, cut, interval))
        return cls(cut, rows[0], tuple(rows[1:]))

    def mean(self, figure: str) -> float | None:
        """Return the mean of one of `FIGURES` over the views; None if it is not defined."""
        values = [getattr(row, figure) for row in self.rows]
        return None if None in values else float(np.mean(values))

    def worst(self, figure: str) -> Lowest | None:
        """Return the lowest value of one of `FIGURES` over the views, the first of equals; None if not defined."""
        values = [getattr(row, figure) for row in self.rows]
        if None in values:
            return None
        lowest = int(np.argmin(values))
        return Lowest(self.rows[lowest].perturbation, values[lowest])

    def to_json(self) -> dict[str, Any]:
        """Return threshold, plain row, table, mean and worst as JSON types, without NaN."""
        worst = {figure: self.worst(figure) for figure in FIGURES}
        return {
            "threshold": self.threshold,
            "plain": asdict(self.plain),
            "table": [asdict(row) for row in self.rows],
            "mean": {figure: self.mean(figure) for figure in FIGURES},
            "worst": {figure: asdict(found) if found else None for figure, found in worst.items()},
        }


def stress_table(
    images: Images,
    y_true: npt.ArrayLike,
    predict: Predict,
    threshold: float,
    *,
    perturbations: Sequence[Perturbation] = PERTURBATIONS,
    patient_ids: Sequence[str] | npt.ArrayLike | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> StressTable:
    """Evaluate a function that returns probabilities, on resized films and on their views.

    Altering a resized film equals resizing the altered film, except for a second resampling if the size changes, and for
    the width of the blur if the film was not square.

    Args:
        images: uint8 (n, S, S), the results of `imaging.preprocessing.squash`; may be memory-mapped.
        y_true: (n,) of 0 and 1.
        predict: Takes uint8 (m, S, S), m up to 256, and returns m probabilities of PNEUMONIA in [0, 1].
        threshold: A film is labelled PNEUMONIA from this probability on.
        perturbations: The perturbations.
        patient_ids: (n,); with None every film counts as one patient.
        n_bootstrap: Number of resamples; 0 leaves the intervals out.
        seed: Seed of the resampling.

    Raises:
        UsageError: The images are not such a stack; see also `StressTable.from_predictions`.
    """
    if images.ndim != 3 or images.shape[1] != images.shape[2] or images.dtype != np.uint8:
        raise UsageError(f"the films are {images.dtype} of shape {images.shape}.", "Give uint8 (n, S, S).")
    return StressTable.from_predictions(
        y_true,
        _probabilities(images, predict, None),
        {view.name: _probabilities(images, predict, view) for view in perturbations},
        threshold=threshold,
        patient_ids=patient_ids,
        n_bootstrap=n_bootstrap,
        seed=seed,
    )


def readable_name(name: str) -> str:
    """Return the readable name of a view: `gamma_0_6` becomes "gamma 0.6"."""
    return re.sub(r"_(\d)_(\d)$", r" \1.\2", name).replace("_", " ")


def perturbed(images: Images, view: Perturbation) -> Images:
    """Return resized films uint8 (n, S, S) in a view, resized to S×S again if their size changed.

    Of crops of lungs, uint8 (n, 2 or more, S, S), the planes of `imaging.preprocessing.lung_crop` are returned, the mask changed like its film.
    """
    if images.ndim == 4:
        return np.stack([perturbed(images[:, plane], view) for plane in (0, 1)], axis=1)
    size = images.shape[-1]
    films = [Film(view.change(image), "<array>", "array", "uint8") for image in images]
    return np.stack([squash(film, size) for film in films])


def _probabilities(images: Images, predict: Predict, view: Perturbation | None) -> Floats:
    """Return the probabilities of one view, computed in batches to limit the memory."""
    parts = [images[start : start + _AT_ONCE] for start in range(0, len(images), _AT_ONCE)]
    answers = [predict(part if view is None else perturbed(part, view)) for part in parts]
    return np.concatenate([np.asarray(answer, dtype=np.float64) for answer in answers] or [np.empty(0)])


def _interval(
    outcome: Outcome,
    threshold: float,
    patient_ids: Sequence[str] | npt.ArrayLike | None,
    n_bootstrap: int,
    seed: int,
) -> Interval | None:
    if not n_bootstrap:
        return None
    drawn = bootstrap_by_patient(
        outcome.y_true,
        outcome.y_prob,
        threshold=threshold,
        patient_ids=patient_ids,
        n_resamples=n_bootstrap,
        seed=seed,
    )
    return drawn.intervals["roc_auc"]


def _row(name: str, outcome: Outcome, threshold: float, interval: Interval | None) -> StressRow:
    from sklearn.metrics import roc_auc_score

    counts = count_calls(outcome, threshold)
    normal = outcome.n - outcome.n_positive
    return StressRow(
        perturbation=name,
        n=outcome.n,
        roc_auc=float(roc_auc_score(outcome.y_true, outcome.y_prob)) if outcome.has_both_classes else None,
        roc_auc_ci95=interval,
        accuracy=(counts.tp + counts.tn) / outcome.n,
        sensitivity=counts.tp / outcome.n_positive if outcome.n_positive else None,
        specificity=counts.tn / normal if normal else None,
    )


_SHARES = (("sensitivity", ORANGE, "^"), ("specificity", GREEN, "D"))


@dataclass(frozen=True)
class StressDisplay:
    """A dot for every view, with the unchanged films on top.

    Attributes:
        rows: The rows from the top.
        threshold: The threshold of sensitivity and specificity.
    """

    rows: tuple[StressRow, ...]
    threshold: float

    @classmethod
    def from_table(cls, table: StressTable) -> "StressDisplay":
        """Create the display from a table."""
        return cls((table.plain, *table.rows), table.threshold)

    def plot(self, ax: "Axes | None" = None) -> "Figure":
        """Draw two panels beside each other; a line marks the figures of the unchanged films.

        Args:
            ax: Axes that the panels replace; by default new ones.
        """
        with styled():
            ax = ax if ax is not None else new_axes(9.6, 1.3 + 0.3 * len(self.rows))
            ax.set_axis_off()
            ax.set_title("Stress test: the same films in altered views")
            left = ax.inset_axes((0.12, 0.12, 0.4, 0.86))
            right = ax.inset_axes((0.57, 0.12, 0.42, 0.86), sharey=left)
            self._draw_areas(left)
            self._draw_shares(right)
            left.set_yticks(self._places(), [readable_name(row.perturbation) for row in self.rows])
            left.set_ylim(len(self.rows) - 0.4, -0.6)
            right.tick_params(labelleft=False)
            for panel in (left, right):
                panel.tick_params(axis="y", length=0)
                panel.axhline(0.5, color=GREY, linewidth=0.8)
            return figure_of(ax)

    def _places(self) -> list[int]:
        return list(range(len(self.rows)))

    def _draw_areas(self, panel: "Axes") -> None:
        panel.set_xlabel("area under ROC, 95% interval over patients")
        areas = [row.roc_auc for row in self.rows if row.roc_auc is not None]
        if len(areas) < len(self.rows):
            say_undefined(panel, "All films have one label:\nthere is no area.")
            return
        panel.hlines(self._places(), 0, 1, color=PALE, linewidth=0.6, zorder=0)
        panel.axvline(areas[0], color=GREY, linewidth=1, linestyle=(0, (2, 2)))
        for place, row in enumerate(self.rows):
            if row.roc_auc_ci95 is not None:
                panel.plot(row.roc_auc_ci95, (place, place), color=BLUE, linewidth=1.4, alpha=0.5)
        panel.plot(areas, self._places(), "o", color=BLUE, markersize=6)
        low = min([*areas, *(row.roc_auc_ci95[0] for row in self.rows if row.roc_auc_ci95)])
        # No narrower than a tenth: small differences must not look large.
        span = max(0.1, 1 - low)
        panel.set_xlim(1 - 1.06 * span, 1 + 0.03 * span)
        panel.locator_params(axis="x", nbins=6)

    def _draw_shares(self, panel: "Axes") -> None:
        panel.hlines(self._places(), 0, 1, color=PALE, linewidth=0.6, zorder=0)
        for name, colour, marker in _SHARES:
            values = np.array([getattr(row, name) for row in self.rows], dtype=np.float64)
            if np.isfinite(values[0]):
                panel.axvline(values[0], color=colour, linewidth=1, linestyle=(0, (2, 2)))
            panel.plot(values, self._places(), marker, color=colour, markersize=6, label=name)
        panel.set_xlim(-0.02, 1.03)
        panel.set_xlabel(f"at threshold {self.threshold:.3g}")
        panel.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
