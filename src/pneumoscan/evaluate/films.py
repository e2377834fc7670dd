"""Every film of a split with the model's probability, label and warnings, also in the views of the stress test; how many it answers."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.bundle.load import Bundle
from pneumoscan.bundle.spec import CLASS_NAMES
from pneumoscan.classifier import find_in, probability_of_film
from pneumoscan.data.manifest import FilmRecord, Manifest
from pneumoscan.errors import FilmError, NothingUsableError, UsageError, require
from pneumoscan.evaluate.arrays import Floats, Labels, check_outcome
from pneumoscan.evaluate.intervals import Interval, wilson
from pneumoscan.imaging.perturbation import Perturbation
from pneumoscan.predict.batch import answers_of
from pneumoscan.rows import PredictionRow

Progress = Callable[[int, int], None]
# Log-odds of a probability of 0 or 1.
_FARTHEST = 40.0


@dataclass(frozen=True)
class ReadSplit:
    """The films of one split and the predictions of the model.

    Attributes:
        films: The films that could be read, in the order of the manifest.
        y_prob: float64 (n,), probability of PNEUMONIA in [0, 1] by the network, whatever the label.
        sha256: n hashes of the bytes of the films, as in `data.cache`.
        refused: The films that could not be read: path, error code, message.
        data_sha256: Identifies the split, as in `data.cache`: over (path, label, content hash) of all its films.
        rows: n prediction rows of the unchanged films.
        views: float64 (n,) by name of the perturbation, the probabilities of the altered films.
    """

    films: tuple[FilmRecord, ...]
    y_prob: npt.NDArray[np.float64]
    sha256: tuple[str, ...]
    refused: tuple[tuple[str, str, str], ...]
    data_sha256: str
    rows: tuple[PredictionRow, ...]
    views: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Reading:
    """The result for one film: its row, the network's probability, that in each view, or its error."""

    film: FilmRecord
    sha256: str
    row: PredictionRow | None = None
    probability: float = 0.0
    views: tuple[float, ...] = ()
    error: FilmError | None = None


def read_split(
    bundle: Bundle,
    manifest: Manifest,
    *,
    threshold: float | None = None,
    perturbations: Sequence[Perturbation] = (),
    workers: int | None = None,
    progress: Progress | None = None,
) -> ReadSplit:
    """Classify every film of a manifest. Films that cannot be read are listed separately.

    Args:
        bundle: The model, loaded with one thread.
        manifest: The films, all of one split.
        threshold: Threshold of the labels in [0, 1]; by default the model's own.
        perturbations: Also classify each film with these perturbations. It is decoded once.
        workers: Threads that decode and run the network; by default one more than cores, at most 8.
        progress: Called with films done and films in all.

    Raises:
        UsageError: `workers` is below 1.
        NothingUsableError: No film could be read.
        BundleError: The network fails.
    """
    cut = bundle.spec.threshold() if threshold is None else threshold
    work = partial(_read_one, bundle, manifest, cut, perturbations)
    answers = answers_of(work, manifest.films, workers=workers, progress=progress)
    return _gather(answers, [view.name for view in perturbations])


def areas_by_site(
    bundle: Bundle, manifest: Manifest, *, workers: int | None = None, progress: Progress | None = None
) -> dict[str, tuple[float, int]]:
    """Return by site the area under the ROC curve of a model, and the number of films.

    Films that the model was trained or selected on are left out, and so are sites without both classes among the others.

    Raises:
        See `read_split`.
    """
    require("sklearn")
    from sklearn.metrics import roc_auc_score

    read, used = read_split(bundle, manifest, workers=workers, progress=progress), bundle.training_films()
    new = [place for place, digest in enumerate(read.sha256) if digest not in used]
    found = {}
    for site in manifest.site_names:
        rows = [place for place in new if read.films[place].site == site]
        y_true = [read.films[place].label for place in rows]
        if len(set(y_true)) == 2:
            found[site] = float(roc_auc_score(y_true, read.y_prob[rows])), len(rows)
    return found


def _gather(answers: Sequence[_Reading], views: Sequence[str]) -> ReadSplit:
    read = [answer for answer in answers if answer.error is None]
    refused = [(answer.film.path, answer.error.code, str(answer.error)) for answer in answers if answer.error]
    if not read:
        first = refused[0][2] if refused else "there is none."
        raise NothingUsableError(
            f"none of {len(refused)} films could be read; the first: {first}", "Check the data."
        )
    listed = sorted((answer.film.path, answer.film.label, answer.sha256) for answer in answers)
    rows = tuple(answer.row for answer in read if answer.row is not None)
    return ReadSplit(
        films=tuple(answer.film for answer in read),
        y_prob=np.array([answer.probability for answer in read], dtype=np.float64),
        sha256=tuple(answer.sha256 for answer in read),
        refused=tuple(refused),
        data_sha256=hashlib.sha256(json.dumps(listed).encode()).hexdigest(),
        rows=rows,
        views={name: np.array([answer.views[i] for answer in read]) for i, name in enumerate(views)},
    )


def _read_one(
    bundle: Bundle,
    manifest: Manifest,
    threshold: float,
    perturbations: Sequence[Perturbation],
    record: FilmRecord,
) -> _Reading:
    try:
        digest = hashlib.sha256(manifest.bytes_of(record)).hexdigest()
    except FilmError as problem:
        return _Reading(record, problem.code, error=problem)
    try:
        film = manifest.read(record)
    except FilmError as problem:
        return _Reading(record, digest, error=problem)
    views = tuple(probability_of_film(bundle, view.apply(film)) for view in perturbations)
    found = find_in(bundle, film, threshold)
    return _Reading(record, digest, found.row, found.probability, views)


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
        columns: n texts by name of a column of the table of films, empty where unknown.
        by: Columns by which the films are grouped, as in `groups.named_groups`.
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
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    by: tuple[str, ...] = ()
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
        for name in ("sites", "labels", "warnings"):
            if len(getattr(self, name)) not in (0, len(self.y_true)):
                raise UsageError(
                    f"{len(getattr(self, name))} {name} and {len(self.y_true)} films have different lengths.",
                    "Give one for every film, or none.",
                )
        for name, values in self.columns.items():
            if len(values) != len(self.y_true):
                raise UsageError(
                    f"the column {name!r} has {len(values)} values for {len(self.y_true)} films.",
                    "Give one for every film.",
                )

    @property
    def warned(self) -> list[bool]:
        """Whether each film has a warning."""
        return [bool(words) for words in self.warnings] or [False] * len(self.y_true)


# What the model answers


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
        given = np.array([CLASS_NAMES.index(label) if label in CLASS_NAMES else -1 for label in labels])
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
