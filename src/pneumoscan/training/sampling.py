"""Sampling: which films are used for training, and their order and frequency in an epoch."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import ConfigError
from pneumoscan.training.config import SamplingConfig
from pneumoscan.training.films import Indices, TrainingFilms


def restricted(films: TrainingFilms, sampling: SamplingConfig, *, seed: int) -> TrainingFilms:
    """Return the films restricted to the limits of `sampling.films`. A site with the limit 0 is left out of validation too.

    Args:
        films: Films and hold-out; `sites` is required if a site has a limit.
        sampling: The limits.
        seed: Seed of the choice; the films of a smaller limit are part of those of a larger one.

    Raises:
        ConfigError: A site with a limit has no training films, or a class is left without films.
    """
    limits = sampling.limits()
    if not limits:
        return films
    own = np.full(len(films.labels), "") if films.sites is None else films.sites
    train = films.train
    for site, limit in limits.items():
        here = train[own[train] == site]
        if not len(here) and limit:
            raise ConfigError(
                f"sampling.films names {site}, which has no training films.",
                "Name a site, as in --data NAME=PATH.",
            )
        taken = _few(films, here, limit, seed)
        train = np.concatenate([train[own[train] != site], taken])
    val = films.val[~np.isin(own[films.val], sorted(sampling.left_out))]
    for rows, part in ((train, "trained"), (val, "validated")):
        if len(set(films.labels[rows].tolist())) < 2:
            raise ConfigError(
                f"sampling.films leaves fewer than two classes to be {part} on.", "Allow more films."
            )
    return replace(films, train=np.sort(train), val=val)


def _few(films: TrainingFilms, rows: Indices, limit: int, seed: int) -> Indices:
    """Return `limit` rows with the proportion of the classes."""
    rng = np.random.default_rng([seed, 0xF117])
    classes = [rng.permutation(rows[films.labels[rows] == label]) for label in (0, 1)]
    if limit >= len(rows):
        return rows
    counts = _whole([len(part) / len(rows) for part in classes], limit)
    return np.concatenate([part[:count] for part, count in zip(classes, counts, strict=True)])


def epoch_order(films: TrainingFilms, sampling: SamplingConfig, *, seed: int, epoch: int) -> Indices:
    """Return the rows of an epoch in their order, which depends only on the arguments.

    By default every training film occurs once. With shares, an epoch has as many films as there are training films, and each
    group (a site, or a class of a site) has its share of them. The films of a group come in random order; after the last
    one, a new order starts.

    Args:
        films: Films and hold-out; `sites` is required if there are shares of sites.
        sampling: The shares.
        seed: Seed of the run.
        epoch: Counted from 0.

    Raises:
        ConfigError: A named site has no training films, or a site with training films is not named.
    """
    rng = np.random.default_rng([seed, epoch, 0x0EDE8])
    if sampling.is_off:
        return rng.permutation(films.train)
    groups = _groups(films, sampling)
    counts = _whole([share for _, share in groups], len(films.train))
    shown = [_taken(rng, rows, count) for (rows, _), count in zip(groups, counts, strict=True)]
    return rng.permutation(np.concatenate(shown))


def _groups(films: TrainingFilms, sampling: SamplingConfig) -> list[tuple[Indices, float]]:
    """Return the rows of each group and its share of an epoch."""
    groups = []
    for rows, share in _by_site(films, sampling):
        if not sampling.balanced_classes:
            groups.append((rows, share))
            continue
        parts = [rows[films.labels[rows] == label] for label in (0, 1)]
        there = [part for part in parts if len(part)]
        groups += [(part, share / len(there)) for part in there]
    return groups


def _by_site(films: TrainingFilms, sampling: SamplingConfig) -> list[tuple[Indices, float]]:
    wanted = sampling.shares()
    if not wanted:
        return [(films.train, 1.0)]
    own: npt.NDArray[np.str_] = (
        np.full(len(films.train), "") if films.sites is None else films.sites[films.train]
    )
    there = set(own.tolist())
    if there != set(wanted):
        raise ConfigError(
            f"sampling.sites names {', '.join(sorted(wanted))}; the training films are of "
            f"{', '.join(sorted(filter(None, there))) or 'an unknown site'}.",
            "Name every site once, as in --data NAME=PATH.",
        )
    total = sum(wanted.values())
    return [(films.train[own == site], share / total) for site, share in wanted.items()]


def _whole(shares: Sequence[float], total: int) -> list[int]:
    """Return integers near share · total whose sum is the total."""
    ends = np.rint(np.cumsum(shares) * total).astype(int)
    return [int(count) for count in np.diff(ends, prepend=0)]


def _taken(rng: np.random.Generator, rows: Indices, count: int) -> Indices:
    rounds = -(-count // len(rows))
    return np.concatenate([rng.permutation(rows) for _ in range(rounds)])[:count]
