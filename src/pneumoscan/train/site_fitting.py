"""Fit the heads for sites, and measure them on films of patients that they were not fitted to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pneumoscan.bundle.spec import log_odds, probability_of
from pneumoscan.evaluate.intervals import bootstrap_by_patient
from pneumoscan.networks.combined import Combined
from pneumoscan.networks.site_heads import (
    ANSWER_C,
    MEMBERSHIP_C,
    Float32,
    Float64,
    Head,
    Linear,
    Quadratic,
    SiteHeads,
    fit_linear,
    fit_ratio,
    means,
)
from pneumoscan.train.config import AugmentationConfig
from pneumoscan.train.films import Indices, TrainingFilms, micro_batches

FOLDS = 5
AUGMENTED_VIEWS = 2
# Share of a site's own films that its score does not recognise.
LOST = 0.04
# Number of inner maps that the score uses, from the first one, and of principal axes.
FIRST_MAPS, AXES = 2, 48
# The same share of augmented held-out films of the home site. It is lower, because these films may look different.
HOME_LOST = 0.01
MOST_CONFIDENT_AND_WRONG = 0.09
# Weight of the networks' logit in the answer of a head, both in units of their spread over the site's films.
GENERAL_SHARE = 0.25
_HOME_FILMS = 1500
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class OperatingRange:
    """The threshold of the model and the width of the band around it, in log-odds.

    Attributes:
        middle: Log-odds of the threshold.
        half_width: Half the width of the band within which films are UNSURE.
        temperature: Temperature of the model.
    """

    middle: float
    half_width: float
    temperature: float


@dataclass(frozen=True)
class SiteAnswers:
    """Answers of the model for films that it was not fitted to.

    Attributes:
        y_true: int64 (n,), 1 is PNEUMONIA.
        logits: float64 (n,), before the temperature.
        recognised: bool (n,), whether the film resembles its own site.
    """

    y_true: Labels
    logits: Float64
    recognised: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Fitted:
    """The heads and their figures.

    Attributes:
        heads: The module.
        answers: By site: for held-out films of the home site, and by cross-validation for all films of the others.
        sites: By site: `films`, `n_positive`, `roc_auc`, `roc_auc_ci95`, `source`, and for the other sites also the area of the
            networks alone (`roc_auc_left_out`) and the shares of films that are answered, wrong or not recognised.
    """

    heads: SiteHeads
    answers: dict[str, SiteAnswers]
    sites: dict[str, dict[str, object]]


@dataclass(frozen=True)
class Views:
    """The features of a site's films: n films, d features.

    Attributes:
        plain: float32 (n, d), of the films as they are.
        mirrored: float32 (n, d), of the mirrored films.
        augmented: float32 (n, d) for each augmented version.
        general: float64 (n,), logits of the networks, which were not fitted to the site.
        widths: Numbers of channels of the inner maps that the features come from.
    """

    plain: Float32
    mirrored: Float32
    augmented: tuple[Float32, ...]
    general: Float64
    widths: tuple[int, ...]


def read_views(
    network: Combined,
    films: TrainingFilms,
    rows: Indices,
    augmentation: AugmentationConfig,
    seed: int,
    count: int,
) -> Views:
    """Return the features of the films in `rows`, with `count` augmented versions."""
    plain, general, widths = _features(network, [films.plain(piece) for piece in micro_batches(rows, 16)])
    mirrored, _, _ = _features(network, [films.plain(piece).flip(3) for piece in micro_batches(rows, 16)])
    augmented = [
        _features(
            network,
            [films.augmented(p, augmentation, seed=seed, epoch=view) for p in micro_batches(rows, 16)],
        )[0]
        for view in range(count)
    ]
    return Views(plain, mirrored, tuple(augmented), general, widths)


def _features(network: Combined, batches: list[torch.Tensor]) -> tuple[Float32, Float64, tuple[int, ...]]:
    found, logits = [], []
    with torch.inference_mode():
        for batch in batches:
            evidence, inner = network.general(batch)
            found.append(means(inner))
            logits.append(evidence.mean((1, 2)))
    widths = tuple(part.shape[1] for part in inner)
    return torch.cat(found).numpy(), torch.cat(logits).numpy().astype(np.float64), widths


def fit_heads(
    network: Combined,
    home: tuple[str, TrainingFilms],
    others: Mapping[str, TrainingFilms],
    augmentation: AugmentationConfig,
    at: OperatingRange,
    *,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _text: None,
) -> Fitted:
    """Fit the score of the home site, and a head for each of the others.

    The score of a site separates its films from the films of all other sites. For a site other than the home site, augmented
    films of the site itself also count as others, because its head was fitted to films as they are and is only shown to work
    for these. A head is fitted to all films of its site. Its figures come from cross-validation grouped by patient.

    Args:
        network: Without heads.
        home: Name and films of the site where the networks were trained.
        others: Films of the other sites by name; their hold-outs are ignored.
        augmentation: Augmentation of the training of the networks.
        at: Threshold and band to which the answers of heads are scaled.
        seed: Seed of the folds, of the augmentation and of the choice of films of the home site.
        progress: Called with a description of each step.
    """
    name, films = home
    rng = np.random.default_rng([seed, len(films.train)])
    chosen = rng.permutation(films.train)[:_HOME_FILMS]
    progress(f"reading {len(chosen) + len(films.val)} films of {name}")
    trained = read_views(network, films, np.sort(chosen), augmentation, seed, count=1)
    held = read_views(network, films, films.val, augmentation, seed + 1, count=1)
    at_home = np.concatenate([trained.plain, *trained.augmented])
    read, heads, facts, answers = {}, [], {}, {}
    for site, own in others.items():
        progress(f"reading {len(own.labels)} films of {site}")
        read[site] = read_views(network, own, np.arange(len(own.labels)), augmentation, seed, AUGMENTED_VIEWS)
    for site, own in others.items():
        elsewhere = [at_home, *(view.plain for key, view in read.items() if key != site)]
        head, answers[site], facts[site] = _fit_head(
            site, own, read[site], np.concatenate(elsewhere), at, seed
        )
        heads.append(head)
    score, home_answers, home_facts = _fit_home(films, at_home, held, read)
    return Fitted(
        SiteHeads(score, heads, trained.widths), {name: home_answers, **answers}, {name: home_facts, **facts}
    )


def _fit_home(
    films: TrainingFilms, at_home: Float32, held: Views, read: Mapping[str, Views]
) -> tuple[Linear, SiteAnswers, dict[str, object]]:
    """Fit the score of the home site; return it with the answers and figures of the held-out films."""
    away = np.concatenate([part for view in read.values() for part in (view.plain, *view.augmented)])
    score = _separating(at_home, away, MEMBERSHIP_C / 10)
    score = score.less(float(np.quantile(score(np.concatenate([held.plain, *held.augmented])), HOME_LOST)))
    recognised = score(held.plain) >= 0
    facts = _figures(films, films.val, held.general, "films of held-out patients")
    facts |= {
        "lost": float((~recognised).mean()),
        "resembling_of_others": {key: float((score(v.plain) >= 0).mean()) for key, v in read.items()},
    }
    labels = films.labels[films.val].astype(np.int64)
    return score, SiteAnswers(labels, held.general, recognised), facts


def _fit_head(
    site: str, films: TrainingFilms, own: Views, elsewhere: Float32, at: OperatingRange, seed: int
) -> tuple[Head, SiteAnswers, dict[str, object]]:
    """Fit a head to all films of a site; return it with answers and figures of heads that were fitted to other patients."""
    y_true = films.labels.astype(np.int64)
    head_alone, resemblance = _cross_validated(films, own, elsewhere, seed)
    weight = GENERAL_SHARE * float(head_alone.std() / (own.general.std() or 1.0))
    answers = head_alone + weight * own.general
    cut = float(np.quantile(resemblance, LOST))
    every = np.arange(len(y_true))
    membership = _membership(own, elsewhere, every).less(cut)
    slope, constant = _scaling(answers, y_true)
    log_odds_of = slope * answers + constant
    half_width = _half_width(log_odds_of, y_true)
    stretch = at.half_width / half_width
    factor = at.temperature * stretch * slope
    moved = at.temperature * (at.middle + stretch * constant)
    answer = _answer(own, y_true, every).scaled(factor, moved)
    head = Head(site, membership, answer, factor * weight)
    known = resemblance >= cut
    given = np.where(known, factor * answers + moved, own.general)  # As `SiteHeads.mixed` does.
    facts = _figures(films, every, given, f"{FOLDS}-fold cross-validation by patient")
    facts["roc_auc_left_out"] = _figures(films, every, own.general, "")["roc_auc"]
    facts |= _shares(log_odds_of, half_width, y_true, known)
    facts["resembling_of_home"] = float((membership(elsewhere) >= 0).mean())
    return head, SiteAnswers(y_true, given, known), facts


def _cross_validated(
    films: TrainingFilms, own: Views, elsewhere: Float32, seed: int
) -> tuple[Float64, Float64]:
    """Return answer and score of each film, float64 (n,), of heads that were fitted to films of other patients."""
    y_true = films.labels.astype(np.int64)
    answers, resemblance = np.zeros(len(y_true)), np.zeros(len(y_true))
    for train, test in _folds(y_true, films.patient_ids, seed):
        answers[test] = _answer(own, y_true, train)(own.plain[test])
        resemblance[test] = _membership(own, elsewhere, train)(own.plain[test])
    return answers, resemblance


def _shares(
    odds: Float64, half_width: float, y_true: Labels, known: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """Return the shares of films that are not recognised, answered, and answered wrongly, and the accuracy of the answers."""
    wrong = (odds >= 0) != (y_true == 1)
    answered = (np.abs(odds) > half_width) & known
    return {
        "lost": float(1 - known.mean()),
        "answered": float(answered.mean()),
        "accuracy_answered": float(1 - wrong[answered].mean()),
        "confident_and_wrong": float((answered & wrong).mean()),
    }


def _answer(own: Views, y_true: Labels, rows: Indices) -> Linear:
    """Fit the answer to the deeper half of the maps: the first ones show the scanner more than the lungs."""
    views = (own.plain, own.mirrored, *own.augmented)
    start = sum(own.widths[: len(own.widths) // 2])
    features = np.concatenate([view[rows, start:] for view in views])
    deep = fit_linear(features, np.tile(y_true[rows] == 1, len(views)), ANSWER_C)
    return Linear(np.concatenate([np.zeros(start), deep.weight]), deep.bias)


def _membership(own: Views, elsewhere: Float32, rows: Indices) -> Quadratic:
    """Return the score that separates films of the site, as they are and mirrored, from all other films and augmented ones."""
    width = sum(own.widths[:FIRST_MAPS])
    inside = np.concatenate([own.plain[rows], own.mirrored[rows]])
    outside = np.concatenate([*(view[rows] for view in own.augmented), elsewhere])
    return fit_ratio(inside[:, :width], outside[:, :width], AXES)


def _separating(inside: Float32, outside: Float32, strength: float) -> Linear:
    features = np.concatenate([inside, outside])
    return fit_linear(features, np.arange(len(features)) < len(inside), strength)


def _folds(y_true: Labels, patients: npt.NDArray[np.str_] | None, seed: int) -> list[tuple[Indices, Indices]]:
    from sklearn.model_selection import StratifiedGroupKFold

    groups = np.arange(len(y_true)) if patients is None else patients
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(y_true, y_true, groups)
    return [(np.asarray(train), np.asarray(test)) for train, test in folds]


def _scaling(scores: Float64, y_true: Labels) -> tuple[float, float]:
    """Return the slope and constant that turn scores into log-odds (J. Platt, 1999)."""
    spread = float(scores.std()) or 1.0
    line = fit_linear(scores[:, None], y_true == 1, 1e3 / spread)
    return float(line.weight[0]), line.bias


def _half_width(odds: Float64, y_true: Labels) -> float:
    """Return the narrowest distance from 0 beyond which at most `MOST_CONFIDENT_AND_WRONG` of the films are wrong."""
    gap = np.abs(odds)
    wrong = np.sort(gap[(odds >= 0) != (y_true == 1)])[::-1]
    most = int(MOST_CONFIDENT_AND_WRONG * len(odds))
    return float(wrong[most]) if most < len(wrong) else 0.05


def _figures(films: TrainingFilms, rows: Indices, scores: Float64, source: str) -> dict[str, object]:
    y_true = films.labels[rows].astype(np.int64)
    patients = None if films.patient_ids is None else films.patient_ids[rows]
    # Only the order matters for the area, and the function takes probabilities.
    probability = probability_of(scores, 1.0)
    found = bootstrap_by_patient(y_true, probability, threshold=0.5, patient_ids=patients)
    from sklearn.metrics import roc_auc_score

    return {
        "films": len(rows),
        "n_positive": int(y_true.sum()),
        "roc_auc": float(roc_auc_score(y_true, scores)),
        "roc_auc_ci95": found.intervals["roc_auc"],
        "source": source,
    }


def range_of_model(
    point: Mapping[str, float], band: Mapping[str, float], temperature: float
) -> OperatingRange:
    """Return the operating range of a model from its default operating point and the band around it."""
    return OperatingRange(log_odds(point["threshold"]), max(band["half_width"], 0.05), temperature)
