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
from pneumoscan.imaging.preprocessing import normalise, standardise, standardise_lung_values
from pneumoscan.train.augment import apply, reshape_masks, sample
from pneumoscan.train.config import AugmentationConfig, SamplingConfig, TrainingConfig

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TrainingFilms:
    """Films and their hold-out.

    Attributes:
        images: uint8 (n, S, S), resized; or (n, planes, S, S), see `train.outliner`. May be memory-mapped.
        labels: float32 (n,), 0 or 1.
        train: int64 rows of the training films.
        val: int64 rows of the held-out films, which are of other patients.
        preprocessing: Preprocessing of a resized film.
        patient_ids: text (n,), the patients; None if unknown.
        sites: text (n,), the sites; None if unknown.
        sha256: Content hashes of the films, sorted; empty if not needed.
        known: bool (n, k): whether the planes after the input planes are known for a film; None without planes.
        surroundings: bool (n,): whether a film shows more than its aerated lung; None for whole films.
        projections: text (n,): `PA`, `AP` or empty; None if unknown.
        readings: text (n,): the readings of `data.manifest`, or empty; None if unknown.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.float32]
    train: Indices
    val: Indices
    preprocessing: Preprocessing
    patient_ids: npt.NDArray[np.str_] | None = None
    sha256: tuple[str, ...] = ()
    sites: npt.NDArray[np.str_] | None = None
    known: npt.NDArray[np.bool_] | None = None
    surroundings: npt.NDArray[np.bool_] | None = None
    projections: npt.NDArray[np.str_] | None = None
    readings: npt.NDArray[np.str_] | None = None

    def class_weights(self) -> npt.NDArray[np.float32]:
        """Return n / (2 · n_class) of the training films, for classes 0 and 1."""
        counts = np.bincount(self.labels[self.train].astype(np.int64), minlength=2)
        weights: npt.NDArray[np.float32] = (counts.sum() / (2 * np.maximum(counts, 1))).astype(np.float32)
        return weights

    def plain(self, rows: Indices) -> torch.Tensor:
        """Return inputs float32 (len(rows), channels, S, S), as in prediction."""
        return self.views(rows, None, seed=0, epoch=0)[0]

    def augmented(self, rows: Indices, config: AugmentationConfig, *, seed: int, epoch: int) -> torch.Tensor:
        """Return inputs like `plain`, with the augmentation of (seed, epoch, row)."""
        return self.views(rows, config, seed=seed, epoch=epoch)[0]

    def views(
        self, rows: Indices, config: AugmentationConfig | None, *, seed: int, epoch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the inputs of films and the planes that are not input, both changed alike.

        Args:
            rows: The films.
            config: The augmentation; None for none.
            seed: Seed of the augmentation.
            epoch: Its epoch.

        Returns:
            float32 (n, channels, S, S); float32 (n, k, S, S) in [0, 1].
        """
        settings, planes = self.preprocessing, self.images[rows]
        planes = planes[:, None] if planes.ndim == 3 else planes
        lungs = settings.input == "lungs"
        if config is None or config.is_off:
            inputs = normalise(planes[:, :2] if lungs else planes[:, 0], settings)
            rest = planes[:, settings.channels :].astype(np.float32) / np.float32(255)
            parameters = None
        else:
            parameters = sample(config, seed=seed, epoch=epoch, film_ids=rows, size=settings.size)
            unit = torch.from_numpy(planes.astype(np.float32) / np.float32(255))
            changed = apply(unit, parameters)
            grey, rest = changed[:, 0].numpy(), changed[:, settings.channels :].numpy()
            if lungs:
                inside = reshape_masks(changed[:, 1:2], parameters)[:, 0].numpy()
                inputs = standardise_lung_values(grey, inside)
            else:
                inputs = standardise(grey, settings)
        if lungs:
            assert self.surroundings is not None
            shown = self.surroundings[rows] & settings.surroundings
            shown &= True if parameters is None else ~parameters.no_surroundings
            inputs[:, 0] *= shown[:, None, None]
        else:
            inputs = inputs[:, None]
        return torch.from_numpy(inputs), torch.from_numpy(rest)


def training_films(
    config: TrainingConfig, manifest: Manifest, table: FilmCache, hold: HoldOut
) -> TrainingFilms:
    """Combine a manifest, its cache and a hold-out; films that cannot be read are in neither part."""
    row_of = {int(place): row for row, place in enumerate(table.index)}

    def rows(places: tuple[int, ...]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array([row_of[place] for place in places if place in row_of], dtype=np.int64)

    settings = config.data.preprocessing()
    known = surroundings = None
    records = [manifest.films[place] for place in table.index]
    if table.images.ndim == 4:
        if settings.input == "lungs":
            known = np.array([[record.reading is not None or bool(record.boxes)] for record in records])
            # The preparation blackens what lies outside of the lungs of a film that shows nothing else.
            surroundings = np.array([bool((image[0] * (image[1] == 0)).any()) for image in table.images])
        else:
            known = np.array([[bool(record.mask), bool(record.aerated)] for record in records])
    return TrainingFilms(
        images=table.images,
        labels=manifest.labels[table.index].astype(np.float32),
        train=rows(hold.train),
        val=rows(hold.val),
        preprocessing=settings,
        patient_ids=manifest.patient_ids[table.index],
        sites=manifest.sites[table.index],
        known=known,
        surroundings=surroundings,
        projections=np.array([record.view or "" for record in records], np.str_),
        readings=np.array([record.reading or "" for record in records], np.str_),
    )


def micro_batches(rows: Indices, size: int) -> list[Indices]:
    """Divide a batch into pieces of `size` films (0: one piece); the last may be smaller."""
    step = size or max(1, len(rows))
    return [rows[start : start + step] for start in range(0, len(rows), step)]


def task_of(films: TrainingFilms, config: TrainingConfig) -> "FilmLabels | LungMasks":
    """Return what the network of a configuration learns."""
    return LungMasks(films, config) if config.model.name == "outliner" else FilmLabels(films, config)


class FilmLabels:
    """The task of a classifier: one logit a film, above 0 for PNEUMONIA; and the scores of cells, if the network gives them.

    The loop knows of a task only these four methods, so another one needs no other loop.
    """

    def __init__(self, films: TrainingFilms, config: TrainingConfig) -> None:
        self.films, self.config = films, config
        balanced = config.loss.class_weights == "balanced"
        self._weights = torch.from_numpy(films.class_weights() if balanced else np.ones(2, np.float32))
        self._scores_cells = config.model.name == "reader"

    def inputs(self, rows: Indices, epoch: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return inputs float32 (n, channels, S, S), augmented for an epoch, or as in prediction for None; and targets.

        Targets are labels float32 (n,). For a network that scores cells they are (n, 1 + cells) in training: the share of
        each cell that boxes cover, or -1 if nobody looked for boxes.
        """
        labels = torch.from_numpy(self.films.labels[rows])
        if epoch is None:
            return self.films.plain(rows), labels
        loop = self.config.loop
        inputs, rest = self.films.views(rows, self.config.augmentation, seed=loop.seed, epoch=epoch)
        if not self._scores_cells:
            return inputs, labels
        cells = torch.full((len(rows), (-(-inputs.shape[3] // 8)) ** 2), -1.0)
        if self.films.known is not None and rest.shape[1]:
            covered = F.adaptive_avg_pool2d(rest[:, :1], -(-inputs.shape[3] // 8)).flatten(1)
            cells = torch.where(torch.from_numpy(self.films.known[rows]), covered, cells)
        return inputs, torch.cat([labels[:, None], cells], 1)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss to differentiate, summed over films: with class weights and smoothed labels, and that of the cells."""
        logits, labels = _first(outputs), _first(targets).to(outputs.device)
        weights = self._weights.to(outputs.device)[labels.long()]
        smooth = self.config.loss.label_smoothing
        smoothed = labels * (1 - smooth) + smooth / 2
        loss = F.binary_cross_entropy_with_logits(logits, smoothed, weight=weights, reduction="sum")
        if outputs.ndim == 1 or not self.config.loss.boxes:
            return loss
        cells = targets[:, 1:].to(outputs.device)
        each = F.binary_cross_entropy_with_logits(outputs[:, 1:], cells.clamp(min=0), reduction="none")
        return loss + self.config.loss.boxes * (each * (cells >= 0)).mean(1).sum()

    def progress(self, outputs: torch.Tensor, targets: torch.Tensor) -> tuple[float, int]:
        """Return the summed cross-entropy, without weights and smoothing, and the correct predictions at 0.5."""
        logits, labels = _first(outputs), _first(targets)
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


def _first(values: torch.Tensor) -> torch.Tensor:
    """Return the logits or labels (n,) of outputs or targets (n,) or (n, 1 + cells)."""
    return values if values.ndim == 1 else values[:, 0]


GOOD_DICE = 0.9


class LungMasks:
    """The task of the outliner: two logits a pixel, of the lung field and the aerated lung.

    The loss is the cross-entropy and half of 1 - Dice (F. Milletari et al., 3DV 2016). A film counts as correct if the mean
    Dice of its masks is at least `GOOD_DICE`.
    """

    def __init__(self, films: TrainingFilms, config: TrainingConfig) -> None:
        if films.known is None or not films.known.any():
            raise ConfigError(
                "the films have no masks of the lungs.",
                "Give a table with a column mask or aerated, see docs/data.md.",
            )
        self.films, self.config, self._known = films, config, films.known

    def inputs(self, rows: Indices, epoch: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return inputs float32 (n, 1, S, S); and masks float32 (n, 2, S, S) in [0, 1], -1 where a film has none."""
        changes = None if epoch is None else self.config.augmentation
        inputs, masks = self.films.views(rows, changes, seed=self.config.loop.seed, epoch=epoch or 0)
        known = torch.from_numpy(self._known[rows])[:, :, None, None]
        return inputs, torch.where(known, masks, -1.0)

    def loss(self, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Return the loss to differentiate, summed over films."""
        masks = masks.to(logits.device)
        known = (masks[:, :, 0, 0] >= 0).float()
        targets = masks.clamp(min=0)
        entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean((2, 3))
        unlike = 1 - _dice(logits.sigmoid(), targets)
        return ((entropy + 0.5 * unlike) * known).sum()

    def progress(self, logits: torch.Tensor, masks: torch.Tensor) -> tuple[float, int]:
        """Return the summed loss, and the number of correct films."""
        return float(self.loss(logits, masks)), int((_mean_dice(logits, masks) >= GOOD_DICE).sum())

    def record(self, logits: torch.Tensor, rows: Indices) -> dict[str, float]:
        """Return the figures of the held-out films `rows` for the history: loss, share of correct films, mean Dice."""
        masks = torch.cat([self.inputs(piece, None)[1] for piece in micro_batches(rows, 64)])
        dice, known = _dice((logits > 0).float(), (masks > 0.5).float()), masks[:, :, 0, 0] >= 0
        means = [float(dice[:, k][known[:, k]].mean()) if known[:, k].any() else 0.0 for k in (0, 1)]
        return {
            "val_loss": float(self.loss(logits, masks)) / len(rows),
            "val_accuracy": float((_mean_dice(logits, masks) >= GOOD_DICE).float().mean()),
            "val_dice_field": means[0],
            "val_dice_aerated": means[1],
        }


def _dice(found: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return the Dice coefficient of each mask: (n, 2) of (n, 2, S, S), with 50 pixels added to both sides of the fraction."""
    common = (found * masks).sum((2, 3))
    return (2 * common + 50) / (found.sum((2, 3)) + masks.sum((2, 3)) + 50)


def _mean_dice(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    known = (masks[:, :, 0, 0] >= 0).float()
    dice = _dice((logits > 0).float(), (masks > 0.5).float())
    return (dice * known).sum(1) / known.sum(1).clamp(min=1)


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
