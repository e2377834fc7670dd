"""The input of the training loop: resized films with labels and hold-out, which of them an epoch shows, and the task."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from pneumoscan.data.cache import FilmCache
from pneumoscan.data.manifest import Manifest
from pneumoscan.data.splits import HoldOut
from pneumoscan.errors import ConfigError
from pneumoscan.imaging import Preprocessing
from pneumoscan.imaging.preprocessing import normalise, standardise
from pneumoscan.train.augment import apply, sample
from pneumoscan.train.config import AugmentationConfig, SamplingConfig, TrainingConfig

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TrainingFilms:
    """Films and their hold-out.

    Attributes:
        images: uint8 (n, S, S), resized; may be memory-mapped.
        labels: float32 (n,), 0 or 1.
        train: int64 rows of the training films.
        val: int64 rows of the held-out films, which are of other patients.
        preprocessing: Preprocessing of a resized film.
        patient_ids: text (n,), the patients; None if unknown.
        sites: text (n,), the sites; None if unknown.
        sha256: Content hashes of the films, sorted; empty if not needed.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.float32]
    train: Indices
    val: Indices
    preprocessing: Preprocessing
    patient_ids: npt.NDArray[np.str_] | None = None
    sha256: tuple[str, ...] = ()
    sites: npt.NDArray[np.str_] | None = None

    def class_weights(self) -> npt.NDArray[np.float32]:
        """Return n / (2 · n_class) of the training films, for classes 0 and 1."""
        counts = np.bincount(self.labels[self.train].astype(np.int64), minlength=2)
        weights: npt.NDArray[np.float32] = (counts.sum() / (2 * np.maximum(counts, 1))).astype(np.float32)
        return weights

    def plain(self, rows: Indices) -> torch.Tensor:
        """Return inputs float32 (len(rows), 1, S, S), as in prediction."""
        return torch.from_numpy(normalise(self.images[rows], self.preprocessing)).unsqueeze(1)

    def augmented(self, rows: Indices, config: AugmentationConfig, *, seed: int, epoch: int) -> torch.Tensor:
        """Return inputs like `plain`, with the augmentation of (seed, epoch, row)."""
        if config.is_off:
            return self.plain(rows)
        parameters = sample(config, seed=seed, epoch=epoch, film_ids=rows, size=self.preprocessing.size)
        unit = torch.from_numpy(self.images[rows].astype(np.float32) / np.float32(255)).unsqueeze(1)
        changed = apply(unit, parameters)
        return torch.from_numpy(standardise(changed.numpy(), self.preprocessing))


def training_films(
    config: TrainingConfig, manifest: Manifest, table: FilmCache, hold: HoldOut
) -> TrainingFilms:
    """Combine a manifest, its cache and a hold-out; films that cannot be read are in neither part."""
    row_of = {int(place): row for row, place in enumerate(table.index)}

    def rows(places: tuple[int, ...]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array([row_of[place] for place in places if place in row_of], dtype=np.int64)

    return TrainingFilms(
        images=table.images,
        labels=manifest.labels[table.index].astype(np.float32),
        train=rows(hold.train),
        val=rows(hold.val),
        preprocessing=config.data.preprocessing(),
        patient_ids=manifest.patient_ids[table.index],
        sites=manifest.sites[table.index],
    )


def micro_batches(rows: Indices, size: int) -> list[Indices]:
    """Divide a batch into pieces of `size` films (0: one piece); the last may be smaller."""
    step = size or max(1, len(rows))
    return [rows[start : start + step] for start in range(0, len(rows), step)]


class FilmLabels:
    """The task of the networks here: one logit a film, above 0 for PNEUMONIA.

    The loop knows of a task only these four methods, so another one (a mask, a map) needs no other loop.
    """

    def __init__(self, films: TrainingFilms, config: TrainingConfig) -> None:
        self.films, self.config = films, config
        balanced = config.loss.class_weights == "balanced"
        self._weights = torch.from_numpy(films.class_weights() if balanced else np.ones(2, np.float32))

    def inputs(self, rows: Indices, epoch: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return inputs float32 (n, 1, S, S), augmented for an epoch, or as in prediction for None; and labels float32 (n,)."""
        labels = torch.from_numpy(self.films.labels[rows])
        if epoch is None:
            return self.films.plain(rows), labels
        changes, seed = self.config.augmentation, self.config.loop.seed
        return self.films.augmented(rows, changes, seed=seed, epoch=epoch), labels

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss to differentiate, summed over films: with class weights and smoothed labels."""
        weights = self._weights[labels.long()].to(logits.device)
        smooth = self.config.loss.label_smoothing
        targets = (labels * (1 - smooth) + smooth / 2).to(logits.device)
        return F.binary_cross_entropy_with_logits(logits, targets, weight=weights, reduction="sum")

    def progress(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, int]:
        """Return the summed cross-entropy, without weights and smoothing, and the correct predictions at 0.5."""
        loss = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
        return float(loss), int(((logits > 0) == (labels > 0.5)).sum())

    def record(self, logits: torch.Tensor, rows: Indices) -> dict[str, float]:
        """Return the figures of the held-out films `rows` for the history; `val_loss` chooses the epoch."""
        from sklearn.metrics import roc_auc_score

        labels = torch.from_numpy(self.films.labels[rows])
        return {
            "val_loss": float(F.binary_cross_entropy_with_logits(logits, labels)),
            "val_accuracy": float(((logits > 0) == (labels > 0.5)).numpy().mean()),
            "val_auc": float(roc_auc_score(labels.numpy(), logits.numpy())),
        }


def restricted(films: TrainingFilms, sampling: SamplingConfig, *, seed: int) -> TrainingFilms:
    """Return the films restricted to the limits of `sampling.films`. A site with the limit 0 is left out of validation too.

    Args:
        films: Films and hold-out; `sites` is required if a site has a limit.
        sampling: The limits.
        seed: Seed of the choice; the films of a smaller limit are part of those of a larger one.

    Raises:
        ConfigError: A site with a limit has no training films, or a class is left without films.
    """
    limits = sampling.films
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
    wanted = sampling.sites
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
