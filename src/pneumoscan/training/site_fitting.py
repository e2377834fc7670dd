"""Fit the heads for sites, and measure them on films of patients that they were not fitted to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pneumoscan.evaluation.intervals import bootstrap_by_patient
from pneumoscan.inference.abstention import log_odds
from pneumoscan.inference.spec import probability_of
from pneumoscan.training.augmentation import AugmentationConfig
from pneumoscan.training.combined import Combined
from pneumoscan.training.films import Indices, TrainingFilms, micro_batches
from pneumoscan.training.site_heads import (
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

FOLDS = 5
AUGMENTED_VIEWS = 2
# Films of its own that a site loses to its score of resemblance.
LOST = 0.04
# The score of resemblance reads so many of the first inner maps, in so many principal axes.
FIRST_MAPS, AXES = 2, 48
# Of augmented held-out films of the home site: it is where films that look otherwise still get an answer.
HOME_LOST = 0.01
MOST_CONFIDENT_AND_WRONG = 0.09
# What the networks' logit counts in the answer of a head, both in units of their spread over the site's films.
GENERAL_SHARE = 0.25
_HOME_FILMS = 1500
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class OperatingRange:
    """Where the model's own threshold lies and how wide the band around it is, in log-odds.

    Attributes:
        middle: Log-odds of the threshold.
        half_width: Of the band within which films are UNSURE.
        temperature: Of the model.
    """

    middle: float
    half_width: float
    temperature: float


@dataclass(frozen=True)
class Views:
    """The features of a site's films.

    Attributes:
        plain: float32 (n, d), of the films as they are.
        others: The same films mirrored and augmented.
        general: float64 (n,), logits of the networks that were not fitted to the site.
        shares: Widths of the inner maps that the features come from.
    """

    plain: Float32
    mirrored: Float32
    augmented: tuple[Float32, ...]
    general: Float64
    widths: tuple[int, ...]


@dataclass(frozen=True)
class SiteAnswers:
    """What the model answers about films that it was not fitted to.

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
    """The heads and what was measured of them.

    Attributes:
        heads: The module.
        answers: By site, about held-out films of the home site and, by cross-validation, all films of the others.
        sites: By site: `films`, `n_positive`, `roc_auc`, `roc_auc_ci95`, `source`, `whom` and, beside the home site, what the
            networks alone reach there (`roc_auc_left_out`) and what it costs to answer.
    """

    heads: SiteHeads
    answers: dict[str, SiteAnswers]
    sites: dict[str, dict[str, object]]


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

    A score of resemblance is held against the films of the other sites and, beside the home site, against the site's own films
    augmented: a head that was fitted to films as they are has been shown to work for films that look so. All films
    of another site serve the head; what is told of it comes from cross-validation in which patients stay together.

    Args:
        network: Without heads.
        home: Name and films of the site that the networks were trained at.
        others: By name the films of the other sites; their hold-outs are not looked at.
        augmentation: What the networks were trained with.
        at: Threshold and band that answers of heads are brought to.
        seed: Of the folds, of the augmentation and of which films of the home site are used.
        progress: Called with what is being read.
    """
    name, films = home
    rng = np.random.default_rng([seed, len(films.train)])
    chosen = rng.permutation(films.train)[:_HOME_FILMS]
    progress(f"reading {len(chosen) + len(films.val)} films of {name}")
    trained = _views(network, films, np.sort(chosen), augmentation, seed, count=1)
    held = _views(network, films, films.val, augmentation, seed + 1, count=1)
    at_home = np.concatenate([trained.plain, *trained.augmented])
    read, heads, facts, answers = {}, [], {}, {}
    for site, own in others.items():
        progress(f"reading {len(own.labels)} films of {site}")
        read[site] = _views(network, own, np.arange(len(own.labels)), augmentation, seed, AUGMENTED_VIEWS)
    for site, own in others.items():
        elsewhere = [at_home, *(view.plain for key, view in read.items() if key != site)]
        head, answers[site], facts[site] = _fit_head(
            site, own, read[site], np.concatenate(elsewhere), at, seed
        )
        heads.append(head)
    away = np.concatenate([part for view in read.values() for part in (view.plain, *view.augmented)])
    score = _separating(at_home, away, MEMBERSHIP_C / 10)
    score = score.less(float(np.quantile(score(np.concatenate([held.plain, *held.augmented])), HOME_LOST)))
    home_facts = _figures(films, films.val, held.general, "films of held-out patients")
    home_facts |= {
        "lost": float((score(held.plain) < 0).mean()),
        "resembling_of_others": {key: float((score(v.plain) >= 0).mean()) for key, v in read.items()},
    }
    answers_at_home = SiteAnswers(
        films.labels[films.val].astype(np.int64), held.general, score(held.plain) >= 0
    )
    return Fitted(
        SiteHeads(score, heads, trained.widths),
        {name: answers_at_home, **answers},
        {name: home_facts, **facts},
    )


def _fit_head(
    site: str, films: TrainingFilms, own: Views, elsewhere: Float32, at: OperatingRange, seed: int
) -> tuple[Head, SiteAnswers, dict[str, object]]:
    """Fit a head to all films of a site, and return how heads that were fitted to other patients did."""
    y_true = films.labels.astype(np.int64)
    head_alone, resemblance = np.zeros(len(y_true)), np.zeros(len(y_true))
    for train, test in _folds(y_true, films.patient_ids, seed):
        head_alone[test] = _answer(own, y_true, train)(own.plain[test])
        resemblance[test] = _membership(own, elsewhere, train)(own.plain[test])
    weight = GENERAL_SHARE * float(head_alone.std() / (own.general.std() or 1.0))
    answers = head_alone + weight * own.general
    cut = float(np.quantile(resemblance, LOST))
    every = np.arange(len(y_true))
    membership = _membership(own, elsewhere, every).less(cut)
    slope, constant = _scaling(answers, y_true)
    half_width = _half_width(slope * answers + constant, y_true)
    stretch = at.half_width / half_width
    factor = at.temperature * stretch * slope
    moved = at.temperature * (at.middle + stretch * constant)
    answer = _answer(own, y_true, every).scaled(factor, moved)
    head = Head(site, membership, answer, factor * weight)
    known = resemblance >= cut
    gap = slope * answers + constant
    wrong = (gap >= 0) != (y_true == 1)
    told = (np.abs(gap) > half_width) & known
    given = factor * answers + moved
    given = np.where(known, given, own.general)  # As `SiteHeads.mixed` has it.
    facts = _figures(films, every, given, f"{FOLDS}-fold cross-validation by patient")
    facts |= {
        "roc_auc_left_out": _figures(films, every, own.general, "")["roc_auc"],
        "lost": float(1 - known.mean()),
        "answered": float(told.mean()),
        "accuracy_answered": float(1 - wrong[told].mean()),
        "confident_and_wrong": float((told & wrong).mean()),
        "resembling_of_home": float((membership(elsewhere) >= 0).mean()),
    }
    return head, SiteAnswers(y_true, given, known), facts


def _views(
    network: Combined,
    films: TrainingFilms,
    rows: Indices,
    augmentation: AugmentationConfig,
    seed: int,
    count: int,
) -> Views:
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


def _answer(own: Views, y_true: Labels, rows: Indices) -> Linear:
    """Fit the answer on the deeper half of the maps: the early ones tell a scanner from another better than the lungs."""
    views = (own.plain, own.mirrored, *own.augmented)
    start = sum(own.widths[: len(own.widths) // 2])
    features = np.concatenate([view[rows, start:] for view in views])
    deep = fit_linear(features, np.tile(y_true[rows] == 1, len(views)), ANSWER_C)
    return Linear(np.concatenate([np.zeros(start), deep.weight]), deep.bias)


def _membership(own: Views, elsewhere: Float32, rows: Indices) -> Quadratic:
    """Return the score that holds films of the site, as they are and mirrored, against all other films and augmented ones."""
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
    """Return slope and constant that make log-odds of scores (J. Platt, 1999): 0 where both classes are equally likely."""
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
    # Only the order counts for the AUC; a probability is what the function takes.
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
