"""From a film to a probability, on one page.

`PneumoniaClassifier` is the interface for Python. `find_in` is the way of every film: warnings about the film, its lungs if the model looks
for them, the network (`bundle.load`), the temperature, the threshold, and whether the model abstains.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pneumoscan.bundle.contents import pretrained_bundle
from pneumoscan.bundle.load import Bundle, Outputs, load_bundle
from pneumoscan.bundle.spec import BundleSpec, unsure_band
from pneumoscan.errors import FilmError, FilmValueError, UsageError
from pneumoscan.imaging import Film, FilmSource, read
from pneumoscan.imaging.grey import flat_share
from pneumoscan.imaging.lungs import Lungs
from pneumoscan.rows import PredictionRow, refused_row

if TYPE_CHECKING:
    from pneumoscan.bundle.regions import Regions

Films = FilmSource | Iterable[FilmSource]
SMALL = "smaller_than_input"
SHAPE = "unusual_shape"
CONTRAST = "low_contrast"
SYNTHETIC = "model_of_synthetic_films"
# The Kaggle films go up to 3.4 : 1; beyond that a chest is distorted too much.
_MAX_ASPECT = 4.0
_MIN_DEVIATION = 8
UNSURE = "UNSURE"
NOT_A_CHEST_FILM = "NOT_A_CHEST_FILM"
FAR = "far_from_training_films"
NEAR = "near_threshold"
CERTAIN = 6.0
"""The least distance of what is certainly no upright chest film.

A score of 6 means odds of 400 to 1 against an upright chest film. Of 1,124 frontal films of children and adults from
many hospitals, one reached it, and it is upside down. Of 1,500 such films, turned by a right angle, upside down or inverted, 99% were.
"""
# The least shares of a film with one flat grey level, from which it is UNSURE and NOT_A_CHEST_FILM.
_FLAT, _SCREEN = 0.125, 0.18


class PneumoniaClassifier:
    """Classifies chest films as PNEUMONIA or NORMAL.

    A film is a path (`str` or `Path`), the bytes of a file, a Pillow image, or an array of shape (H, W), (H, W, 1),
    (H, W, 3) or (H, W, 4). Any other iterable contains several films: a list or generator, or an array (N, H, W) or
    (N, H, W, C). One film gives arrays of length 1.

    Example:
        >>> model = PneumoniaClassifier.from_pretrained("bundle")  # doctest: +SKIP
        >>> model.predict_proba(["a.jpeg", "b.jpeg"])  # doctest: +SKIP
        array([[0.91, 0.09],
               [0.04, 0.96]])

    Attributes:
        bundle: The verified model.
        classes_: str (2,): `NORMAL`, `PNEUMONIA`, the columns of `predict_proba`.
        threshold: Threshold of `predict` in [0, 1]: PNEUMONIA from this probability on.
    """

    def __init__(self, bundle: Bundle, *, operating_point: str | None = None) -> None:
        self.bundle = bundle
        self.classes_: npt.NDArray[np.str_] = np.array(bundle.spec.class_names)
        self.threshold = bundle.spec.threshold(operating_point)

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        threads: int = 1,
        operating_point: str | None = None,
    ) -> "PneumoniaClassifier":
        """Load a bundle folder, or a run folder with `bundle/` in it.

        Args:
            path: The folder; by default the model that comes with the package.
            threads: Cores per film.
            operating_point: Name of the threshold of `predict`; by default the default operating point.

        Raises:
            UsageError: `path` does not exist, or the bundle has no such operating point.
            BundleError: The bundle is incomplete, was changed, or fails its self-check.
        """
        folder = pretrained_bundle() if path is None else Path(path)
        return cls(load_bundle(folder, threads=threads), operating_point=operating_point)

    def predict_proba(self, films: Films) -> npt.NDArray[np.float64]:
        """Return float64 (n, 2), the probabilities of NORMAL and PNEUMONIA; each row sums to 1.

        These are the outputs of the network for every film, also for those that the rows of `pneumoscan predict` label UNSURE or
        NOT_A_CHEST_FILM; the latter have no probability there.

        Raises:
            FilmError: A film cannot be read; the message begins with its index.
        """
        positive = np.array([self._probability(i, film) for i, film in enumerate(_each(films))], np.float64)
        return np.stack([1 - positive, positive], axis=1)

    def predict(self, films: Films) -> npt.NDArray[np.str_]:
        """Return the class names (n,) at `threshold`. Raises the errors of `predict_proba`."""
        positive = self.predict_proba(films)[:, 1]
        names = [label_of(self.bundle, probability, self.threshold) for probability in positive.tolist()]
        return np.array(names, dtype=self.classes_.dtype)

    def activation_maps(self, films: Films) -> npt.NDArray[np.float32]:
        """Return the class activation maps: float32 (n, h, w), coarse, logits before the temperature.

        The mean of a map is the logit of the film. `bundle.heatmap.overlay` draws the map over the film.

        Raises:
            UsageError: The model has no activation map.
            FilmError: A film cannot be read; the message begins with its index.
        """
        from pneumoscan.bundle.heatmap import map_of_film  # here, because few need it

        maps = [map_of_film(self.bundle, _read(i, film)) for i, film in enumerate(_each(films))]
        return np.stack(maps) if maps else np.empty((0, 0, 0), np.float32)

    def lungs(self, film: FilmSource) -> Lungs:
        """Find the lungs of one film: `parts`, `mask`, `box`, `quality`, `outlines()`.

        Raises:
            UsageError: The model has no lungs network.
            FilmError: The film cannot be read.
        """
        return lungs_of_film(self.bundle, _read(0, film))

    def regions(self, film: FilmSource, *, always: bool = False) -> "Regions":
        """Find the regions of evidence in the lungs of one film, and the share of each lung field with evidence.

        Args:
            film: The film.
            always: Also for a film that is NORMAL at `threshold`, which has none otherwise. NOT_A_CHEST_FILM never has regions.

        Raises:
            UsageError: The model has no map of evidence or no lungs network.
            FilmError: The film cannot be read.
        """
        from pneumoscan.bundle.regions import check_has_regions  # here, because few need it

        check_has_regions(self.bundle)
        found = find_in(self.bundle, _read(0, film), self.threshold).regions(self.bundle, always=always)
        assert found is not None
        return found

    def _probability(self, index: int, film: FilmSource) -> float:
        return probability_of_film(self.bundle, _read(index, film))


def _read(index: int, film: FilmSource) -> Film:
    try:
        return read(film)
    except FilmError as problem:
        raise type(problem)(f"film {index}: {problem.message}", problem.remedy) from problem


def _each(films: Films) -> Iterator[FilmSource]:
    if isinstance(films, np.ndarray):
        return iter([films] if _is_one_film(films) else films)
    if isinstance(films, str | os.PathLike | bytes | bytearray | memoryview | Image.Image):
        return iter([films])
    if not isinstance(films, Iterable):
        raise FilmValueError(
            f"a film cannot be a {type(films).__name__}.",
            "Give a path, bytes, a Pillow image, an array, or a list.",
        )
    return iter(films)


def _is_one_film(array: npt.NDArray[np.generic]) -> bool:
    """Return whether an array is one film. No film is 4 pixels wide, so a last axis of 1, 3 or 4 is colour."""
    return array.ndim < 3 or (array.ndim == 3 and array.shape[2] in {1, 3, 4})


@dataclass(frozen=True)
class FilmResult:
    """The row of a film and the outputs of the network, from one run of the network.

    Attributes:
        row: The row, with status `ok`; without a probability if the label is NOT_A_CHEST_FILM.
        probability: Probability of PNEUMONIA in [0, 1], by the network, whatever the label.
        logit: Logit before the temperature.
        distance: Distance from the training films, at least 0, with the layout of the picture (`distance_with_layout`);
            None if the model has none.
        activation_map: float32 (h, w), before the temperature, over the film, or over the box of the lungs if the model reads
            them; its mean is `logit`. None if the model has none.
        lungs: The lungs of the film; None if the model does not look for them.
    """

    row: PredictionRow
    probability: float
    logit: float
    distance: float | None
    activation_map: npt.NDArray[np.float32] | None
    lungs: Lungs | None = None

    def regions(self, bundle: Bundle, *, always: bool = False) -> "Regions | None":
        """Return the regions of evidence; see `bundle.regions.regions_of`."""
        from pneumoscan.bundle.regions import regions_of

        return regions_of(bundle, self.row.label, self.activation_map, self.lungs, always=always)


def model_name(bundle: Bundle) -> str:
    """Return the column `model`: the name and the first 12 digits of the SHA-256 of the network."""
    return f"{bundle.spec.name}@{bundle.spec.files['model.onnx'][:12]}"


def label_of(bundle: Bundle, probability: float, threshold: float) -> str:
    """Return the class name: PNEUMONIA if the probability reaches the threshold."""
    return bundle.spec.class_names[int(probability >= threshold)]


def probability_of_film(bundle: Bundle, film: Film) -> float:
    """Return the probability of PNEUMONIA of one film.

    The film is a batch of its own, because in a larger batch the last digits would depend on the other films.
    """
    return float(outputs_of_film(bundle, film).probability[0])


def outputs_of_film(bundle: Bundle, film: Film) -> Outputs:
    """Return the outputs of the network for one film, as a batch of one."""
    return bundle.run(bundle.input_of(film)[0])


def predict_one(
    bundle: Bundle, source: FilmSource, threshold: float, *, name: str = "", regions: bool = False
) -> PredictionRow:
    """Classify one film and return its row. A film that cannot be read gives a refused row.

    Args:
        bundle: The model.
        source: See `imaging.read`.
        threshold: In [0, 1].
        name: The column `path`, if the film is not read from its path.
        regions: Whether the row has the regions of the film.

    Raises:
        BundleError: The network does not run.
    """
    try:
        film = read(source, name=name)
    except FilmError as problem:
        return refused_row(model_name(bundle), name or _path_of(source), threshold, problem)
    finding = find_in(bundle, film, threshold)
    found = finding.regions(bundle) if regions else None
    return (
        finding.row
        if found is None
        else replace(finding.row, regions=found.to_json((film.width, film.height)))
    )


def find_in(bundle: Bundle, film: Film, threshold: float) -> FilmResult:
    """Return the row of a film that was read, with the outputs of the network.

    Raises:
        BundleError: The network does not run.
    """
    warnings = _warnings(
        film, bundle
    )  # before the network runs, while the pixels are in the processor's cache
    batch, lungs = bundle.input_of(film)
    outputs = bundle.run(batch)
    probability = float(outputs.probability[0])
    distance = None if outputs.distance is None else float(outputs.distance[0])
    if distance is not None and bundle.spec.guard is not None:
        distance = distance_with_layout(distance, bundle.spec.guard, film.pixels)
    abstention = abstention_of(bundle.spec, probability, distance, threshold, lungs)
    label = abstention.label or label_of(bundle, probability, threshold)
    told = None if label == NOT_A_CHEST_FILM else probability
    row = PredictionRow(
        film.source, "ok", told, label, threshold, warnings + abstention.warnings, "", "", model_name(bundle),
    )  # fmt: skip
    evidence = None if outputs.activation_map is None else outputs.activation_map[0]
    return FilmResult(row, probability, float(outputs.logit[0]), distance, evidence, lungs)


def _path_of(source: FilmSource) -> str:
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>"
    return "<array>" if isinstance(source, np.ndarray) else "<image>"


def _warnings(film: Film, bundle: Bundle) -> tuple[str, ...]:
    found = {
        SYNTHETIC: bool(bundle.spec.training.get("synthetic")),
        SMALL: min(film.height, film.width) < bundle.spec.preprocessing.size,
        SHAPE: max(film.height, film.width) > _MAX_ASPECT * min(film.height, film.width),
        CONTRAST: _deviates_less(film.pixels[::16, ::16], _MIN_DEVIATION),
    }
    return tuple(name for name, holds in found.items() if holds)


def _deviates_less(levels: npt.NDArray[np.uint8], than: int) -> bool:
    """Return whether the standard deviation of grey levels is below a number; in integers, four times as fast as `std`."""
    values = levels.astype(np.int64).ravel()
    return values.size * int(values @ values) - int(values.sum()) ** 2 < (than * values.size) ** 2


def check_has_lungs(bundle: Bundle) -> None:
    """Raise UsageError if the model has no lungs network."""
    if bundle.spec.lungs is None:
        raise UsageError(
            f"model {bundle.spec.name} has no lungs network, so it cannot show lungs.",
            "Leave out the lungs, or use a model whose bundle has lungs.onnx.",
        )


def lungs_of_film(bundle: Bundle, film: Film) -> Lungs:
    """Return the lungs of one film.

    Raises:
        UsageError: The model has no lungs network.
        BundleError: The network does not run.
    """
    check_has_lungs(bundle)
    found = bundle.lungs_of(film)
    assert found is not None
    return found


@dataclass(frozen=True)
class Abstention:
    """Whether the model abstains from a class for a film, and why.

    Attributes:
        label: `NOT_A_CHEST_FILM` or `UNSURE` if the model abstains; otherwise empty.
        warnings: `no_lungs`, `one_lung`, `lungs_cut`, `unusual_lungs`, `far_from_training_films`, `near_threshold`.
    """

    label: str
    warnings: tuple[str, ...]


def abstention_of(
    spec: BundleSpec,
    probability: float,
    distance: float | None,
    threshold: float,
    lungs: Lungs | None = None,
) -> Abstention:
    """Return whether the model abstains from a class for one film.

    Args:
        spec: Description of the bundle, with or without `guard` and `unsure_band`.
        probability: Probability of PNEUMONIA in [0, 1].
        distance: Distance from the training films, at least 0; None if the model has none.
        threshold: The threshold in use, in [0, 1].
        lungs: The lungs of the film; None if the model does not look for them.
    """
    guard = spec.guard if distance is not None else None
    far = guard is not None and distance is not None and distance >= guard["unusual"]
    foreign = guard is not None and distance is not None and distance >= certain_distance(guard)
    band = unsure_band(spec, threshold)
    no_chest, about_lungs = spec.lungs.judge(lungs) if spec.lungs and lungs else (False, ())
    # What is no chest film has no probability that could be near.
    near = not (foreign or no_chest) and band is not None and band[0] <= probability <= band[1]
    warnings = about_lungs + tuple(name for name, holds in ((FAR, far), (NEAR, near)) if holds)
    if foreign or no_chest:
        return Abstention(NOT_A_CHEST_FILM, warnings)
    return Abstention(UNSURE if warnings else "", warnings)


def certain_distance(guard: Mapping[str, Any]) -> float:
    """Return the distance from which a picture is NOT_A_CHEST_FILM, for the entry `guard` of a bundle."""
    return max(float(guard["not_a_chest_film"]), CERTAIN)


def distance_with_layout(distance: float, guard: Mapping[str, Any], pixels: npt.NDArray[np.uint8]) -> float:
    """Return the distance of a film, raised if the film consists in part of flat areas like those of a screen.

    The detector sees a thumbnail, in which a screenshot with a chest film may look like one.

    Args:
        distance: Distance from the training films, at least 0.
        guard: The entry of the bundle.
        pixels: uint8 (height, width).
    """
    flat = flat_share(pixels)
    if flat < _FLAT:
        return distance
    return max(distance, certain_distance(guard) if flat >= _SCREEN else float(guard["unusual"]))


def shown_to_work(spec: BundleSpec) -> str:
    """Return one line about what to expect at a new hospital: what leaving a hospital out of the training measured."""
    if not spec.left_out:
        return "The hospitals for which this model is shown to work are unknown."
    sites = list(spec.training.get("sites") or ())
    number = {2: "two", 3: "three", 4: "four", 5: "five"}.get(len(sites), str(len(sites)))
    trained = f"Trained at {number} hospitals ({', '.join(sites)})" if len(sites) > 1 else "Trained"
    parts = [
        f"an area under ROC of {row['roc_auc']:.2f} ({row['roc_auc_ci95'][0]:.2f} to {row['roc_auc_ci95'][1]:.2f}), sensitivity "
        f"{row['sensitivity']:.2f} and specificity {row['specificity']:.2f} ({row['films']}; {row['n_positive']:,} and "
        f"{row['n_negative']:,} films; trained on {' and '.join(row['trained_on'])} alone)"
        for row in spec.left_out
    ]
    return (
        f"{trained}. At a hospital that it has not seen, expect {'; or '.join(parts)}. "
        "Check the threshold there with labelled films (pneumoscan adapt)."
    )
