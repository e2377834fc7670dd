"""Evaluate preparations of the films at a hospital that was left out, with a linear classifier on frozen ImageNet features.

    python studies/remedies.py --children chest_xray --adults nih_chest/films.csv --out results/sites

Note of 2026-11-30: the labels of the films of adults (NIH ChestX-ray14) were mined from reports, and their two classes are two batches
of films. An area on adults with these labels does not show how well pneumonia is found; see docs/log.md. `studies/readings.py`
judges by what radiologists read.

A remedy prepares the films of both hospitals in the same way, without labels. The features are the means of the inner maps of
EfficientNet-Lite0 with ImageNet weights, and the classifier is a logistic regression. It is fitted to one hospital and evaluated on all
films of the other one, and on the adults by 5-fold cross-validation by patient. Each seed draws other children and other folds. Only
the regression is trained, so ten remedies take minutes. `studies/sites.toml` trains networks.
"""

import argparse
import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from pneumoscan.data.cache import open_cache
from pneumoscan.networks.registry import build
from pneumoscan.networks.site_heads import ANSWER_C, fit_linear, means
from pneumoscan.networks.transfer import Transfer, TransferConfig, load_imagenet
from pneumoscan.system import keep_freed_memory
from pneumoscan.train.run import train_split

SIZE, CHILDREN, SEEDS, FOLDS = 200, 600, 3, 5
Float32 = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Fit = Callable[[Float32], npt.NDArray[np.float64]]


def plain(films: Float32) -> Float32:
    """The films as they are, in [0, 1]."""
    return films


def per_film(films: Float32) -> Float32:
    """Each film with the mean 0.5 and the standard deviation 0.25."""
    spread = np.maximum(films.std((1, 2), keepdims=True), 1 / 255)
    return 0.5 + 0.25 * (films - films.mean((1, 2), keepdims=True)) / spread


def equalised(films: Float32) -> Float32:
    """Each grey value replaced by the share of the film that is darker (histogram equalisation); black edges do not count."""
    grey = np.rint(films * 255).astype(np.intp)
    shares = np.empty_like(films)
    for place, film in enumerate(grey):
        counts = np.bincount(film.ravel(), minlength=256)
        counts[:4] = 0
        shares[place] = (np.cumsum(counts) / max(counts.sum(), 1))[film]
    return shares


def local_contrast(films: Float32) -> Float32:
    """Each point beside the mean and the spread of its neighbourhood, Gaussian, σ 8% of the side."""
    sigma = (0, 0.08 * SIZE, 0.08 * SIZE)
    gap = films - ndimage.gaussian_filter(films, sigma)
    spread = np.sqrt(ndimage.gaussian_filter(gap * gap, sigma))
    found: Float32 = np.clip(0.5 + 0.2 * gap / (spread + 0.02), 0, 1)
    return found


def middle(films: Float32) -> Float32:
    """The middle 80% of each side."""
    edge = SIZE // 10
    return _resized(films[:, edge:-edge, edge:-edge])


def lungs(films: Float32) -> Float32:
    """The box around the two largest dark regions that do not lie at an edge, or the middle where there are none."""
    return np.concatenate(
        [_resized(film[None, top:bottom, left:right]) for film, top, bottom, left, right in _boxed(films)]
    )


def blurred(films: Float32) -> Float32:
    """Without detail: a Gaussian blur, σ 2% of the side."""
    found: Float32 = ndimage.gaussian_filter(films, (0, 0.02 * SIZE, 0.02 * SIZE))
    return found


def masked(films: Float32) -> Float32:
    """The outer 12% of the side black at each edge, where letters and arms are."""
    edge, found = round(0.12 * SIZE), np.zeros_like(films)
    found[:, edge:-edge, edge:-edge] = films[:, edge:-edge, edge:-edge]
    return found


REMEDIES: dict[str, Callable[[Float32], Float32]] = {
    "as they are": plain,
    "standardised by film": per_film,
    "histogram equalised": equalised,
    "local contrast": local_contrast,
    "middle 80%": middle,
    "box around the lungs": lungs,
    "box around the lungs, equalised": lambda films: equalised(lungs(films)),
    "blurred": blurred,
    "edges masked": masked,
}


def _boxed(films: Float32) -> Iterator[tuple[Float32, int, int, int, int]]:
    smooth = ndimage.gaussian_filter(films, (0, 2, 2))
    dark = smooth - ndimage.gaussian_filter(smooth, (0, 28, 28)) < -4 / 255
    for film, mask in zip(films, dark, strict=True):
        parts, _ = ndimage.label(mask)
        areas = np.bincount(parts.ravel())
        boxes = [
            (areas[number], box)
            for number, box in enumerate(ndimage.find_objects(parts), 1)
            if areas[number] >= 400 and all(0.14 < (part.start + part.stop) / 2 / SIZE < 0.86 for part in box)
        ]
        largest = [box for _, box in sorted(boxes, key=lambda pair: -pair[0])[:2]]
        ends = (
            [
                (min(box[axis].start for box in largest), max(box[axis].stop for box in largest))
                for axis in (0, 1)
            ]
            if largest
            else []
        )
        if not largest or min(stop - start for start, stop in ends) < 60:
            ends = [(20, 180), (20, 180)]
        (top, bottom), (left, right) = [
            (max(0, round(a - 0.08 * (b - a))), min(SIZE, round(b + 0.08 * (b - a)))) for a, b in ends
        ]
        yield film, top, bottom, left, right


def _resized(films: Float32) -> Float32:
    tensor = torch.from_numpy(np.ascontiguousarray(films))[:, None]
    side = (SIZE, SIZE)
    resized: Float32 = torch.nn.functional.interpolate(tensor, side, mode="bilinear", antialias=True)[
        :, 0
    ].numpy()
    return resized


def _whitened(features: Float32) -> Float32:
    """Whiten by the site's own covariance, shrunk by a tenth towards its diagonal (B. Sun, K. Saenko, ECCV Workshops 2016)."""
    z = (features - features.mean(0)) / (features.std(0) + 1e-6)
    covariance = 0.9 * np.cov(z.T) + 0.1 * np.eye(z.shape[1])
    values, vectors = np.linalg.eigh(covariance)
    found: Float32 = (z @ (vectors / np.sqrt(values)) @ vectors.T).astype(np.float32)
    return found


ALIGNED = {
    "features standardised by site": lambda features: (
        (features - features.mean(0)) / (features.std(0) + 1e-6)
    ),
    "features whitened by site (CORAL)": _whitened,
}


@torch.inference_mode()
def features_of(network: Transfer, films: Float32) -> Float32:
    """Return the means of the deeper half of the inner maps, float32 (n, d), for films (n, SIZE, SIZE) in [0, 1]."""
    found = []
    for start in range(0, len(films), 16):
        batch = torch.from_numpy(films[start : start + 16].astype(np.float32) * 2 - 1)[:, None]
        _, inner = network.map_and_inner(batch.contiguous(memory_format=torch.channels_last))
        found.append(means(inner[len(inner) // 2 :]).numpy())
    return np.concatenate(found)


def areas_of(
    children: tuple[Float32, Labels],
    adults: tuple[Float32, Labels],
    patients: npt.NDArray[np.str_],
    seed: int,
) -> dict[str, float]:
    """Return the areas under ROC of one remedy and one draw of children."""
    (young, ill), (old, sick) = children, adults
    within = np.zeros(len(sick))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(old, sick, patients)
    for train, test in folds:
        within[test] = fit_linear(old[train], sick[train] == 1, ANSWER_C)(old[test])
    return {
        "children_to_adults": float(roc_auc_score(sick, fit_linear(young, ill == 1, ANSWER_C)(old))),
        "adults_to_children": float(roc_auc_score(ill, fit_linear(old, sick == 1, ANSWER_C)(young))),
        "adults_cross_validated": float(roc_auc_score(sick, within)),
    }


def _read(source: str) -> tuple[Float32, Labels, npt.NDArray[np.str_]]:
    manifest = train_split(source)
    table = open_cache(manifest, size=SIZE)
    images = np.asarray(table.images, np.float32) / np.float32(255)
    return images, manifest.labels[table.index], manifest.patient_ids[table.index]


def _drawn(patients: npt.NDArray[np.str_], seed: int) -> npt.NDArray[np.intp]:
    """Return the rows of about `CHILDREN` films of patients drawn at random."""
    order = np.random.default_rng(seed).permutation(np.unique(patients))
    counts = dict(zip(*np.unique(patients, return_counts=True), strict=True))
    total = np.cumsum([counts[name] for name in order])
    return np.flatnonzero(np.isin(patients, order[: int(np.searchsorted(total, CHILDREN)) + 1]))


def main() -> None:
    """Write `remedies.csv`: remedy, seed, and three areas under ROC."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--children", required=True)
    arguments.add_argument("--adults", required=True)
    arguments.add_argument("--out", type=Path, required=True)
    given = arguments.parse_args()
    keep_freed_memory()
    network = build(TransferConfig(), SIZE)
    assert isinstance(network, Transfer)
    load_imagenet(network)
    network.eval().to(memory_format=torch.channels_last)
    young, ill, families = _read(given.children)
    old, sick, patients = _read(given.adults)
    draws = [_drawn(families, seed) for seed in range(SEEDS)]
    every = np.unique(np.concatenate(draws))
    rows = []

    def note(
        remedy: str,
        children: Float32,
        adults: Float32,
        align: Callable[[Float32], Float32] = lambda features: features,
    ) -> None:
        for seed, draw in enumerate(draws):
            own = align(children[np.searchsorted(every, draw)]), ill[draw]
            rows.append(
                {"remedy": remedy, "seed": seed, **areas_of(own, (align(adults), sick), patients, seed)}
            )
            print(rows[-1], flush=True)  # noqa: T201

    for remedy, prepare in REMEDIES.items():
        children, adults = (features_of(network, prepare(films)) for films in (young[every], old))
        note(remedy, children, adults)
        if prepare is plain:
            for name, align in ALIGNED.items():
                note(name, children, adults, align)
    with (given.out / "remedies.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(
            {key: f"{value:.4f}" if isinstance(value, float) else value for key, value in row.items()}
            for row in rows
        )


if __name__ == "__main__":
    main()
